# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What visitors get after a release, judged while they come: errors, latency, health.

The figures are nginx's, from its access log; the health endpoint is asked beside it. What was no
better before the release is no reason to take it back.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime
import json
import math
import os
import time
import typing as t

from . import _probe

ROUND_SECONDS = 2.0
ASK_SECONDS = 5.0
# Figures are of the last seconds, on a quiet site of so many visits before; of fewer than the last
# number nothing is said. A busy one is cut where its visits would fill the memory.
RECENT_SECONDS = 10.0
LATEST, MOST, ENOUGH = 200, 100_000, 20
# So many visits before the deployment tell how it was.
COMPARED = 2_000
# One or two errors are any application's.
ERRORS = 5
# For so long it must be slow or ill: caches are cold after a start, and databases restart.
SUSTAINED_SECONDS = 30.0
PAST_BYTES = 16 * 1024 * 1024
# Holds some lines of a log in any case.
PIECE_BYTES = 64 * 1024
SWITCHED_PROTOCOLS = 101


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a release may cost its visitors; twice what they had before is allowed too."""

    error_percent: float = 1.0
    p95_milliseconds: float = 1000.0


@dataclasses.dataclass(frozen=True)
class Visit:
    """One request that reached the application: seconds since 1970, status, seconds it took."""

    moment: float
    status: int
    seconds: float


@dataclasses.dataclass(frozen=True)
class Figures:
    """What many visits amount to."""

    requests: int = 0
    errors: int = 0
    p95_milliseconds: float = 0.0

    @property
    def error_percent(self) -> float:
        return 100 * self.errors / max(1, self.requests)

    @property
    def known(self) -> bool:
        """Whether they say anything: what few visits got is nothing to compare with."""
        return self.requests >= ENOUGH

    def __str__(self) -> str:
        return (
            f"of the last {self.requests} requests {self.errors} failed,"
            f" p95 is {self.p95_milliseconds:.0f} ms"
        )


def visits(lines: t.Iterable[bytes], servers: t.Collection[str]) -> t.Iterator[Visit]:
    """Those lines of nginx's log that are requests to one of these servers."""
    for line in lines:
        try:
            said = json.loads(line)
            asked = str(said["upstream"]).replace(",", " ").split()
            moment = _moment(said)
            # After a retry there is a time for each server; what the visitor waited is their sum.
            times = str(said["upstream_time"]).replace(",", " ").split()
            seconds = math.fsum(float(one) for one in times if one != "-")
            status = int(said["status"])
        except (ValueError, TypeError, KeyError):
            continue
        # WebSockets last as long as they are wanted.
        if status != SWITCHED_PROTOCOLS and not set(servers).isdisjoint(asked):
            yield Visit(moment, status, seconds)


def _moment(said: dict[str, t.Any]) -> float:
    return datetime.datetime.fromisoformat(said["time"]).timestamp()


def figures(seen: t.Collection[Visit]) -> Figures:
    ordered = sorted(visit.seconds for visit in seen) or [0.0]
    p95 = ordered[math.ceil(0.95 * len(ordered)) - 1] * 1000
    return Figures(len(seen), sum(visit.status >= 500 for visit in seen), p95)


def too_many_errors(before: Figures, latest: Figures, limits: Limits) -> str:
    """Which share of requests failed, if that is more than it may be."""
    allowed = max(limits.error_percent, 2 * before.error_percent if before.known else 0)
    few = not latest.known or latest.errors < ERRORS
    if few or latest.error_percent <= allowed:
        return ""
    return (
        f"{latest.errors} of the last {latest.requests} requests failed,"
        f" at most {allowed:.3g} % may (before: {_known(before, f'{before.error_percent:.3g} %')})"
    )


def too_slow(before: Figures, latest: Figures, limits: Limits) -> str:
    """The latency of the slower visits, if that is more than it may be."""
    allowed = max(limits.p95_milliseconds, 2 * before.p95_milliseconds if before.known else 0)
    if not latest.known or latest.p95_milliseconds <= allowed:
        return ""
    return (
        f"p95 of the last {latest.requests} requests is {latest.p95_milliseconds:.0f} ms,"
        f" at most {allowed:.0f} ms (before: {_known(before, f'{before.p95_milliseconds:.0f} ms')})"
    )


def _known(before: Figures, figure: str) -> str:
    return figure if before.known else "unknown"


def forget(seen: collections.deque[Visit]) -> None:
    """Let go of visits that are neither recent nor needed for a figure."""
    while len(seen) > LATEST and seen[0].moment < seen[-1].moment - RECENT_SECONDS:
        seen.popleft()


class Log:
    """A log that is followed, also when it is rotated."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._file = open(path, "rb")  # noqa: SIM115 - read for as long as the watch lasts
        self._rest = b""

    def past(self) -> list[bytes]:
        """The lines so far, the last of them if there are many."""
        size = os.fstat(self._file.fileno()).st_size
        self._file.seek(max(0, size - PAST_BYTES))
        return self._lines()

    def fresh(self) -> list[bytes]:
        """The lines since the last look."""
        lines = self._lines()
        if self._rotated():
            self.close()
            self._file, self._rest = open(self.path, "rb"), b""  # noqa: SIM115
            lines += self._lines()
        return lines

    def close(self) -> None:
        self._file.close()

    def _lines(self) -> list[bytes]:
        """Whole lines; one that nginx is still writing is left for the next look."""
        *lines, self._rest = (self._rest + self._file.read(PAST_BYTES)).split(b"\n")
        return lines

    def _rotated(self) -> bool:
        mine = os.fstat(self._file.fileno())
        try:
            there = os.stat(self.path)
        except FileNotFoundError:  # between its removal and the new one
            return False
        return mine.st_ino != there.st_ino or there.st_size < self._file.tell()


class Doubt:
    """A trouble that counts once it has lasted."""

    def __init__(self, since: float) -> None:
        self.since = since

    def lasts(self, trouble: str, now: float) -> bool:
        self.since = min(self.since, now) if trouble else math.inf
        return now - self.since >= SUSTAINED_SECONDS


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is watched: servers as nginx names them, its log if any, and where health is asked."""

    servers: tuple[str, ...]
    endpoints: tuple[_probe.Endpoint, ...]
    log: str = ""
    since: float = 0.0


@dataclasses.dataclass(frozen=True)
class State:
    """What one look hands to the next: how it was before, and since when it is looked at or bad."""

    before: Figures
    began: float
    slow_since: float = math.inf
    ill_since: float = math.inf

    @classmethod
    def read(cls, given: t.Mapping[str, t.Any]) -> State | None:
        if not given:
            return None
        doubts = {key: given.get(key) or math.inf for key in ("slow_since", "ill_since")}
        return cls(Figures(**given["before"]), given["began"], **doubts)

    def as_dict(self) -> dict[str, t.Any]:
        """Without infinity, which JSON does not know."""
        found = dataclasses.asdict(self)
        return {key: None if value == math.inf else value for key, value in found.items()}


@dataclasses.dataclass(frozen=True)
class Look:
    """Why the release must go back, if it must, what visitors got, and what the next look needs."""

    trouble: str
    seen: Figures
    state: State


def watch(
    subject: Subject,
    limits: Limits,
    seconds: float,
    state: State | None = None,
    last: bool = True,
    clock: t.Callable[[], float] = time.time,
    sleep: t.Callable[[float], None] = time.sleep,
    ask: t.Callable[[_probe.Endpoint, float], _probe.Answer] = _probe.ask,
) -> Look:
    """One look of so many seconds; whoever looks again goes on where the state says.

    Raises OSError where the log cannot be read.
    """
    opened = contextlib.closing(Log(subject.log)) if subject.log else contextlib.nullcontext()
    with opened as log:
        past = list(visits(log.past(), subject.servers)) if log else []
        # nginx writes whole seconds.
        state = state or State(_before(subject), math.floor(clock()))
        seen = [visit for visit in past if visit.moment >= state.began]
        latest: collections.deque[Visit] = collections.deque(seen, MOST)
        slow, ill = Doubt(state.slow_since), Doubt(state.ill_since)
        end = clock() + seconds
        while True:
            if log:
                latest.extend(visits(log.fresh(), subject.servers))
                forget(latest)
            now = figures(latest)
            trouble = too_many_errors(state.before, now, limits) or _lasting(
                clock(),
                (slow, too_slow(state.before, now, limits)),
                (ill, _ill(subject.endpoints, ask)),
            )
            # What is in doubt at the very end is waited for, but not for ever.
            doubtful = last and min(slow.since, ill.since) < math.inf
            if trouble or clock() >= end + (2 * SUSTAINED_SECONDS if doubtful else 0):
                after = dataclasses.replace(state, slow_since=slow.since, ill_since=ill.since)
                return Look(trouble, now, after)
            sleep(ROUND_SECONDS)


def _before(subject: Subject) -> Figures:
    """What visitors got before; of the log that was rotated last, too, where this one is young."""
    found: list[Visit] = []
    for path in (subject.log, f"{subject.log}.1") if subject.log else ():
        with contextlib.suppress(OSError), open(path, "rb") as file:
            end = _place(file, subject.since) + PIECE_BYTES
            start = file.seek(max(0, end - PAST_BYTES))
            lines = file.read(end - start).split(b"\n")
            earlier = visits(lines, subject.servers)
            found = [visit for visit in earlier if visit.moment < subject.since] + found
        if len(found) >= COMPARED:
            break
    return figures(found[-COMPARED:])


def _place(file: t.BinaryIO, moment: float) -> int:
    """Where in a log, about, that moment is: what a busy site has got since may be long."""
    low, high = 0, os.fstat(file.fileno()).st_size
    while low < high:
        middle = (low + high) // 2
        file.seek(middle)
        if _first_moment(file.read(PIECE_BYTES).split(b"\n")[1:]) < moment:
            low = middle + 1
        else:
            high = middle
    return low


def _first_moment(lines: t.Iterable[bytes]) -> float:
    for line in lines:
        with contextlib.suppress(ValueError, TypeError, KeyError):
            return _moment(json.loads(line))
    return math.inf


def _lasting(now: float, *doubts: tuple[Doubt, str]) -> str:
    found = [trouble for doubt, trouble in doubts if doubt.lasts(trouble, now)]
    return found[0] if found else ""


def _ill(endpoints: t.Iterable[_probe.Endpoint], ask: t.Callable[..., _probe.Answer]) -> str:
    for endpoint in endpoints:
        answer = ask(endpoint, ASK_SECONDS)
        if not answer.healthy:
            return (
                f"{endpoint.path} at {endpoint.address} has not been well for"
                f" {SUSTAINED_SECONDS:.0f} s: {answer.detail}"
            )
    return ""
