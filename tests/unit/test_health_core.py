"""Deadlines, thresholds, programs and what becomes of a probe that misbehaves."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import (
    _health,
    _health_net,
    _health_process,
)
from health_fakes import Certificates, examine, full_listener


class Probe:
    """A kind whose probe does what the test says."""

    KIND = "fake"
    OPTIONS: t.ClassVar[dict[str, t.Any]] = {}

    def __init__(self, work: t.Callable[[_health.Deadline], list[_health.Finding]]) -> None:
        self._work = work
        self.TIMED = False

    def probe(self, check: _health.Check, deadline: _health.Deadline) -> list[_health.Finding]:
        return self._work(deadline)


def raising(error: BaseException) -> Probe:
    def work(deadline: _health.Deadline) -> list[_health.Finding]:
        deadline.stage("asking", "look at it")
        raise error

    return Probe(work)


@pytest.mark.parametrize(
    ("error", "state", "value", "advice"),
    [
        (_health.CannotCheck("no client", "install it"), "unknown", "no client", "install it"),
        (_health.Unhealthy("it is ill"), "critical", "it is ill", "look at it"),
        (_health.Unhealthy("it is ill", "1", "cure"), "critical", "it is ill", "cure"),
        (TimeoutError(), "critical", "asking: not done within 1 s", "look at it"),
        (PermissionError(13, "Permission denied"), "unknown", "asking: Permission denied", "run"),
        (PermissionError(), "unknown", "asking: not permitted", "run the check as root"),
        (
            ConnectionResetError(104, "Connection reset by peer"),
            "critical",
            "asking: Connection reset by peer",
            "look at it",
        ),
        (OSError(), "critical", "asking: OSError", "look at it"),
        (ssl.SSLError("odd"), "critical", "asking: ('odd',)", "look at it"),
        (
            ZeroDivisionError("by\x1b[2Jnothing"),
            "unknown",
            "the check itself failed: ZeroDivisionError: by [2Jnothing",
            "report this bug",
        ),
        (MemoryError(), "unknown", "the check itself failed: MemoryError", "report this bug"),
        (SystemExit(1), "unknown", "the check ended without a word", "report this bug"),
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_no_failure_of_a_probe_is_lost(
    error: BaseException, state: str, value: str, advice: str
) -> None:
    (finding,) = examine(raising(error), {})
    assert (finding.state, finding.check) == (state, "fake it")
    assert finding.value.startswith(value)
    assert finding.advice.startswith(advice)


def test_a_probe_without_findings_is_unknown() -> None:
    (finding,) = examine(Probe(lambda _deadline: []), {})
    assert (finding.state, finding.value) == ("unknown", "the check found nothing at all")


def test_a_probe_that_never_ends_is_left_behind_and_the_others_are_not() -> None:
    released = threading.Event()

    def hang(deadline: _health.Deadline) -> list[_health.Finding]:
        deadline.stage("waiting for Godot", "wait on")
        released.wait(30)
        return [_health.Finding("too late", _health.OK, "")]

    good = Probe(lambda _deadline: [_health.Finding("good", _health.OK, "fine")])
    checks: list[tuple[_health.Kind, _health.Check]] = [
        (Probe(hang), {"name": "a", "timeout": 0.3}),
        (good, {"name": "b"}),
    ]
    started = time.monotonic()
    found = _health.examine(checks, 60)
    released.set()
    assert time.monotonic() - started < 10
    hung = ("fake a", "critical", "waiting for Godot: not done within 0.3 s", "0.3 s", "wait on")
    assert found == [_health.Finding(*hung), _health.Finding("good", "ok", "fine")]


def test_what_measures_time_runs_before_what_would_spoil_it() -> None:
    heard: list[str] = []

    def made(name: str, timed: bool) -> tuple[_health.Kind, _health.Check]:
        def work(_deadline: _health.Deadline) -> list[_health.Finding]:
            heard.append(name)
            return [_health.Finding(name, _health.OK, "")]

        kind = Probe(work)
        kind.TIMED = timed
        return kind, {"name": name}

    found = _health.examine([made("heavy", False), made("timed", True)], 5)
    assert heard == ["timed", "heavy"]
    assert [row.check for row in found] == ["heavy", "timed"]


def test_a_deadline_runs_by_its_clock() -> None:
    now = [100.0]
    deadline = _health.Deadline(5, lambda: now[0])
    assert deadline.remaining() == 5
    now[0] = 104.0
    assert deadline.remaining() == 1
    now[0] = 105.0
    with pytest.raises(_health.Expired, match=r"starting: not done within 5 s"):
        deadline.remaining()


@pytest.mark.parametrize(
    ("value", "state"),
    [(80, "ok"), (80.1, "warning"), (90, "warning"), (90.1, "critical")],
)
def test_a_limit_may_be_reached(value: float, state: str) -> None:
    assert _health.judge(value, 80, 90) == state
    assert _health.judge(100 - value, 20, 10, lower_is_worse=True) == state


def test_the_worst_state_counts() -> None:
    def made(*states: str) -> list[_health.Finding]:
        return [_health.Finding("x", state, "") for state in states]

    assert _health.worst(made("ok", "warning", "ok")) == "warning"
    assert _health.worst(made("warning", "unknown")) == "unknown"
    assert _health.worst(made("unknown", "critical", "ok")) == "critical"
    assert _health.worst([]) == "unknown"


def test_foreign_text_is_one_printable_line() -> None:
    assert _health.brief("a\r\n\tb\x1b[31mc\u202e") == "a b [31mc"
    assert _health.brief("x" * 400) == "x" * 299 + "…"


def test_attempt_keeps_what_spoils_one_finding_to_itself() -> None:
    deadline = _health.Deadline(1)
    good = _health.Finding("a", _health.OK, "")
    assert _health.attempt("a", deadline, lambda: good) is good

    def spoil() -> _health.Finding:
        raise _health.CannotCheck("no", "do")

    assert _health.attempt("a", deadline, spoil).state == "unknown"


def test_a_unix_socket_is_dialled_or_told(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    deadline = _health.Deadline(5)
    with pytest.raises(_health.Unhealthy, match=r"a\.sock is not there"):
        _health_net.dial_unix(str(path), deadline)
    path.write_text("")
    with pytest.raises(ConnectionRefusedError):
        _health_net.dial_unix(str(path), deadline)
    path.unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        _health_net.dial_unix(str(path), deadline).close()
    assert deadline.doing == f"connecting to {path}"


def test_the_second_address_is_tried_where_the_first_refuses() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        # localhost is ::1 as well on most machines; where it is not, this tries one address.
        _health_net.dial("localhost", port, _health.Deadline(5)).close()


def test_a_channel_hands_out_no_more_than_allowed(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    deadline = _health.Deadline(5)
    deadline.stage("reading")
    channel = _health_net.Channel(ours, deadline, 4)
    theirs.sendall(b"123456789")
    assert channel.read(10) == b"1234"
    with pytest.raises(_health.Unhealthy, match="reading: more than 4 bytes"):
        channel.read(1)
    channel.allow(2)
    assert channel.read(10) == b"56"
    assert channel.readable()
    channel.close()
    channel.close()
    theirs.close()


def test_a_program_is_heard() -> None:
    said = _health_process.output(["sh", "-c", "echo $WHO"], _health.Deadline(10), {"WHO": "me"})
    assert said == "me\n"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo one >&2; echo two >&2; exit 3", "two"),
        ("echo out; exit 3", "out"),
        ("exit 3", "sh ended: 3"),
        ("yes", "asking: more than 1000 bytes"),
        ("yes >&2", "asking: more than 1000 bytes"),
    ],
)
def test_a_program_that_fails_or_floods_is_unhealthy(script: str, said: str) -> None:
    deadline = _health.Deadline(10)
    deadline.stage("asking")
    with pytest.raises(_health.Unhealthy) as trouble:
        _health_process.output(["sh", "-c", script], deadline, limit=1000)
    assert str(trouble.value) == said


def test_a_missing_program_cannot_be_asked() -> None:
    with pytest.raises(_health.CannotCheck) as trouble:
        _health_process.output(["no-such-program"], _health.Deadline(1))
    assert trouble.value.remedy == "install no-such-program"


@pytest.mark.parametrize(
    "script",
    [
        "sleep 60 & echo $! > {pid}; wait",
        # It is gone, but its child holds the pipe.
        "sleep 60 & echo $! > {pid}",
        # It closes its output and stays.
        "echo $$ > {pid}; exec >/dev/null 2>&1; sleep 60",
    ],
)
def test_a_program_that_hangs_is_ended_with_its_children(tmp_path: Path, script: str) -> None:
    pid = tmp_path / "pid"
    command = ["sh", "-c", script.format(pid=pid)]
    started = time.monotonic()
    with pytest.raises(_health.Expired):
        _health_process.output(command, _health.Deadline(1))
    assert time.monotonic() - started < 20
    number = pid.read_text().strip()

    def gone() -> bool:
        try:
            return "\nState:\tZ" in Path(f"/proc/{number}/status").read_text()
        except OSError:
            return True

    end = time.monotonic() + 10
    while not gone():
        assert time.monotonic() < end, f"{number} lives on"
        time.sleep(0.05)


def test_nobody_waits_at_exit_for_a_probe_that_hangs() -> None:
    """In an interpreter of its own, for it is the exit that a thread might hold up."""
    script = (
        "import sys, time, tests.conftest\n"
        "from ansible_collections.slipway.stack.plugins.module_utils import _health\n"
        "class Kind:\n"
        "    KIND, OPTIONS = 'fake', {}\n"
        "    def probe(self, check, deadline): time.sleep(300)\n"
        "print(_health.examine([(Kind(), {'name': 'x'})], 0.2)[0].state)\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, timeout=60,
        check=True,
    )  # fmt: skip
    assert done.stdout == "critical\n"


def test_fakes_are_what_they_say(tmp_path: Path) -> None:
    kept, port = full_listener()
    with pytest.raises(TimeoutError):
        _health_net.dial("127.0.0.1", port, _health.Deadline(0.3))
    for each in kept:
        each.close()
    assert Certificates(tmp_path).authority.read_text().startswith("-----BEGIN CERTIFICATE-----")
