# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""By how much a machine's clock is wrong, and who says so."""

from __future__ import annotations

import contextlib
import math
import re
import socket
import struct
import time
import typing as t
from pathlib import Path

from . import _health
from . import _health_limits as _limits
from ._health import CRITICAL, UNKNOWN, WARNING, Finding, judge

# Between reading the controller's clock and ours lie a template, a connection and a start.
TRAVEL_SECONDS = 15.0
SNTP_SECONDS = 5.0
# So many polls may be lost before the last answer says nothing any more; and the least of it.
POLLS, PATIENCE_SECONDS = 4, 1024.0
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_NTP_EPOCH = 2_208_988_800  # seconds from 1900, where NTP begins, to 1970

Output = t.Callable[..., str]


class Word(t.NamedTuple):
    """Who keeps the clock, the offset at the last answer of its server, and how old that is."""

    who: str
    offset: float
    silence: float = 0.0
    patience: float = PATIENCE_SECONDS

    @property
    def stale(self) -> bool:
        return self.silence > self.patience


def clock(label: str, check: dict[str, t.Any], deadline: t.Any, machine: t.Any) -> list[Finding]:
    """By how much the clock is wrong: sessions, certificates and backups all believe it."""
    warning, critical = _limits.pair(check, "clock", "seconds")
    name, limit, advice = f"{label} clock", f"at most {warning:g} s", "timedatectl; chronyc sources"
    late = by_controller(check["reference_time"], machine.clock())
    word = _word(check, deadline, machine)
    if word is None and late is None:
        advice = "install systemd-timesyncd or chrony, or set clock_server"
        return [Finding(name, UNKNOWN, "nobody keeps the clock here", limit, advice)]
    if word is None:
        word, late = Word("the controller", t.cast(float, late)), None
    state, value = judge(abs(word.offset), warning, critical), f"{word.offset:+.3f} s by {word.who}"
    if word.stale:
        old = f"whose last answer is {word.silence:.0f} s old"
        value += f", {old if math.isfinite(word.silence) else 'which had no answer yet'}"
        state = _limits.worst([state, UNKNOWN if late is None else WARNING])
        advice = f"do its servers answer, does a firewall drop UDP port 123? {advice}"
    if late is not None and abs(late) > critical:
        # Not for seconds, of which the way takes some, and the controller may be wrong by others.
        state, value = CRITICAL, f"{value}; {late:+.0f} s by the controller"
        advice = f"see which of the two clocks is wrong: {advice}"
    return [Finding(name, state, value, limit, advice)]


def by_controller(reference: float | None, now: float) -> float | None:
    """Late is what every answer is; only beyond that something is wrong."""
    if reference is None:
        return None
    passed = now - reference
    return passed if passed < 0 else max(0.0, passed - TRAVEL_SECONDS)


def _word(check: dict[str, t.Any], deadline: _health.Deadline, machine: t.Any) -> Word | None:
    if check["clock_server"]:
        return Word(check["clock_server"], sntp(check["clock_server"], deadline, machine.clock))
    return kept(deadline, machine.output, machine.run, machine.clock())


def sntp(
    server: str, deadline: _health.Deadline, clock: t.Callable[[], float] = time.time
) -> float:
    """Seconds by which this clock is ahead of a time server's (RFC 4330)."""
    host, _colon, port = server.partition(":")
    remedy = "does a firewall drop UDP port 123? is it the right clock_server?"
    deadline.stage(f"asking {server} for the time", remedy)
    seconds = min(SNTP_SECONDS, deadline.remaining() / 3)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        # What is left is for the other parts of the check.
        connection.settimeout(seconds)
        connection.connect((host, int(port or 123)))
        sent = clock()
        connection.send(b"\x23" + 47 * b"\0")
        try:
            answer = connection.recv(512)
        except TimeoutError:
            said = f"{server} does not tell the time within {seconds:.1f} s"
            raise _health.CannotCheck(said, remedy) from None
        received = clock()
    # A leap indicator of 3 and a stratum of 0 or 16 are a server's words for not knowing it.
    if len(answer) < 48 or answer[0] >> 6 == 3 or not 0 < answer[1] < 16:
        raise _health.CannotCheck(f"{server} does not know the time itself", "take another one")
    theirs = [value / 2**32 - _NTP_EPOCH for value in struct.unpack("!2Q", answer[32:48])]
    return ((sent - theirs[0]) + (received - theirs[1])) / 2


def kept(deadline: _health.Deadline, output: Output, run: Path, now: float) -> Word | None:
    """Who keeps this machine's clock, and what it says of it; None where nobody does."""
    with contextlib.suppress(_health.CannotCheck, _health.Unhealthy):
        if found := chrony(output(["chronyc", "-c", "tracking"], deadline), now):
            return found
    with contextlib.suppress(_health.CannotCheck, _health.Unhealthy):
        said = output(["timedatectl", "--no-pager", "timesync-status"], deadline)
        return timesyncd(said, run / "systemd/timesync/synchronized", now)
    return None


def chrony(tracking: str, now: float) -> Word | None:
    """What `chronyc -c tracking` says, or None where chrony does not run."""
    fields = tracking.strip().split(",")
    if len(fields) < 14:
        return None
    if fields[2] == "0" or fields[13] == "Not synchronised":
        return Word("chrony", float(fields[4]), math.inf)
    patience = max(PATIENCE_SECONDS, POLLS * float(fields[12]))
    return Word("chrony", float(fields[4]), abs(now - float(fields[3])), patience)


def timesyncd(status: str, touched: Path, now: float) -> Word | None:
    """What `timedatectl timesync-status` says, or None before there is an offset.

    It tells the offset of the last answer for ever; the file is touched at every answer.
    """
    found = re.search(r"^\s*Offset: ([+-])(.+)$", status, re.MULTILINE)
    if not found:
        return None
    poll = re.search(r"^\s*Poll interval: ([^(\n]+)", status, re.MULTILINE)
    patience = max(PATIENCE_SECONDS, POLLS * _seconds(poll[1] if poll else ""))
    silence = abs(now - touched.stat().st_mtime) if touched.exists() else math.inf
    return Word("timesyncd", float(f"{found[1]}1") * _seconds(found[2]), silence, patience)


def _seconds(text: str) -> float:
    parts = re.findall(r"([\d.]+)(us|ms|min|s|h|d)\b", text)
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
