# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What every health check shares: findings, thresholds, deadlines, and running checks at once.

A probe returns Findings; what it cannot find out is `unknown`, never `ok`. A probe that does not
come back is cut off at its deadline and says what it was waiting for. Nothing is ever changed.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import ssl
import threading
import time
import typing as t

from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError

OK, WARNING, CRITICAL, UNKNOWN = "ok", "warning", "critical", "unknown"
# The worst first. What is not known may be anything, so it stands before a mere warning.
STATES = (CRITICAL, UNKNOWN, WARNING, OK)
# Probes notice their own deadline and say more than an outsider can; so long they are waited for.
GRACE = 0.5
_TEXT = 300


@dataclasses.dataclass(frozen=True)
class Finding:
    """One row of the health table."""

    check: str
    state: str
    value: str
    limit: str = ""
    advice: str = ""


class Unhealthy(StackError):
    """The service answered, but not as a healthy one does, or not at all."""

    def __init__(self, value: str, limit: str = "", advice: str = "") -> None:
        super().__init__(value)
        self.value, self.limit, self.advice = value, limit, advice


class CannotCheck(StackError):
    """Nothing can be said about the service until the remedy was applied."""

    def __init__(self, sentence: str, remedy: str) -> None:
        super().__init__(sentence)
        self.remedy = remedy


class Expired(StackError):
    """The deadline has passed."""


class Deadline:
    """The time that a probe has, and what it is doing with it."""

    def __init__(self, seconds: float, clock: t.Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self.clock = clock
        self.doing, self.advice = "starting", ""
        self._end = clock() + seconds

    def stage(self, doing: str, advice: str = "") -> None:
        """Note what is waited for (`connecting to 10.0.0.1:5432`) and what to do if in vain."""
        self.doing, self.advice = doing, advice

    def remaining(self) -> float:
        """Seconds left, always more than none: fit for a socket's timeout."""
        left = self._end - self.clock()
        if left <= 0:
            raise Expired(self.said())
        return left

    def said(self) -> str:
        return f"{self.doing}: not done within {self.seconds:g} s"


Check = dict[str, t.Any]


class Kind(t.Protocol):
    """A module `_health_<kind>.py`."""

    @property
    def KIND(self) -> str: ...

    @property
    def OPTIONS(self) -> dict[str, t.Any]: ...

    def probe(self, check: Check, deadline: Deadline) -> list[Finding]: ...


def judge(value: float, warning: float, critical: float, *, lower_is_worse: bool = False) -> str:
    """The state of a figure: a limit may be reached, only what is beyond it is bad."""
    sign = -1 if lower_is_worse else 1
    if value * sign > critical * sign:
        return CRITICAL
    return WARNING if value * sign > warning * sign else OK


def worst(findings: collections.abc.Iterable[Finding]) -> str:
    """The state of the whole; of nothing at all nothing is known."""
    return min((finding.state for finding in findings), key=STATES.index, default=UNKNOWN)


def brief(text: object, length: int = _TEXT) -> str:
    """Foreign text on one line, printable and bounded: it ends up on a terminal."""
    words = "".join(sign if sign.isprintable() else " " for sign in str(text)).split()
    line = " ".join(words)
    return line if len(line) <= length else f"{line[: length - 1]}…"


class _Run:
    """One check in a thread of its own."""

    def __init__(self, kind: Kind, check: Check, deadline: Deadline) -> None:
        self.check = {"label": f"{kind.KIND} {check['name']}", **check}
        self.deadline = deadline
        self._kind = kind
        self._found: list[Finding] = []
        # A daemon: getaddrinfo cannot be interrupted, and nobody may wait for it at exit.
        self.thread = threading.Thread(target=self._work, daemon=True)

    def _work(self) -> None:
        label = self.check["label"]
        try:
            self._found = self._kind.probe(self.check, self.deadline) or [
                Finding(label, UNKNOWN, "the check found nothing at all", "", "report this bug")
            ]
        except Exception as error:
            self._found = [explain(label, error, self.deadline)]

    def findings(self) -> list[Finding]:
        if self._found:
            return self._found
        deadline, label = self.deadline, self.check["label"]
        if self.thread.is_alive():
            return [explain(label, Expired(deadline.said()), deadline)]
        return [Finding(label, UNKNOWN, "the check ended without a word", "", "report this bug")]


def explain(label: str, error: Exception, deadline: Deadline) -> Finding:
    """The finding that an exception amounts to."""
    if isinstance(error, CannotCheck):
        return Finding(label, UNKNOWN, brief(error), "", error.remedy)
    if isinstance(error, Unhealthy):
        advice = error.advice or deadline.advice
        return Finding(label, CRITICAL, brief(error), error.limit, advice)
    if isinstance(error, (Expired, TimeoutError)):
        limit = f"{deadline.seconds:g} s"
        return Finding(label, CRITICAL, brief(deadline.said()), limit, deadline.advice)
    if isinstance(error, PermissionError):
        what = f"{deadline.doing}: {error.strerror or 'not permitted'}"
        return Finding(label, UNKNOWN, brief(what), "", "run the check as root (become: true)")
    if isinstance(error, OSError):
        said = brief(f"{deadline.doing}: {_reason(error)}")
        return Finding(label, CRITICAL, said, "", deadline.advice)
    what = brief(f"the check itself failed: {type(error).__name__}: {error}")
    return Finding(label, UNKNOWN, what, "", f"report this bug; it was {deadline.doing}")


def attempt(label: str, deadline: Deadline, find: t.Callable[[], Finding]) -> Finding:
    """One of several findings; what spoils it does not take the others along."""
    try:
        return find()
    except Exception as error:
        return explain(label, error, deadline)


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        # Not every SSLError has a reason.
        return (getattr(error, "reason", None) or str(error)).replace("_", " ").lower()
    return error.strerror or str(error) or type(error).__name__


def examine(
    checks: collections.abc.Sequence[tuple[Kind, Check]],
    timeout: float,
    clock: t.Callable[[], float] = time.monotonic,
) -> list[Finding]:
    """The findings of all checks in their order; none is waited for in vain.

    A check that has a `timeout` of its own has that many seconds instead. Kinds that are TIMED run
    before all others: what those cost the machine would be told as slowness of the service.
    """
    found: list[list[Finding]] = [[] for _check in checks]
    for timed in (True, False):
        wave = [
            number
            for number, (kind, _check) in enumerate(checks)
            if bool(getattr(kind, "TIMED", False)) is timed
        ]
        runs = _together([checks[number] for number in wave], timeout, clock)
        for number, run in zip(wave, runs, strict=True):
            found[number] = run.findings()
    return [row for rows in found for row in rows]


def _together(
    checks: collections.abc.Sequence[tuple[Kind, Check]],
    timeout: float,
    clock: t.Callable[[], float],
) -> list[_Run]:
    """All of them at once, each until its deadline."""
    runs = [
        _Run(kind, check, Deadline(check.get("timeout") or timeout, clock))
        for kind, check in checks
    ]
    end = clock() + GRACE
    for run in runs:
        run.thread.start()
    for run in runs:
        run.thread.join(max(0.0, end + run.deadline.seconds - clock()))
    return runs
