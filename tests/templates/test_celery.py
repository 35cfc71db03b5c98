# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a worker's unit stops it; the worker is a stand-in, what asks it is the unit's own."""

from __future__ import annotations

import re
import signal
import subprocess
import time
import typing as t

import pytest
from test_redis_pgbouncer import render

WORKER = {
    **{"application": "shop", "module": "tasks", "home": "/srv/shop", "settings": "/etc/x"},
    **{"description": "Worker", "node": "shop-default", "command": "worker", "memory": 512},
    **{"name": "shop-worker-default.service", "stop_timeout": 1, "return_timeout": 3},
}
# Says which signals it has got; a child of its own, as it would be of systemd.
STANDIN = "trap 'echo TERM; {term}' TERM; trap 'echo QUIT; {quit}' QUIT; echo ready;"
WAITS = "while :; do sleep 0.1; done"


def rendered(**unit: t.Any) -> str:
    return "\n".join(render("celery", "celery.service.j2", unit={**WORKER, **unit}))


def stop_command(unit: str) -> str:
    """What systemd makes of the line: it joins it, and knows the main process."""
    (quoted,) = re.findall(r"^ExecStop=-/bin/sh -c '(.*?)'$", unit, re.MULTILINE | re.DOTALL)
    return str(quoted).replace("\\\n", " ").replace("$$", "$")


@pytest.fixture
def quit_is_heard() -> t.Iterator[None]:
    """A shell in the background ignores SIGQUIT, and so would all that is started there."""
    before = signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGQUIT, before)


@pytest.mark.usefixtures("quit_is_heard")
@pytest.mark.parametrize(
    ("term", "quit_", "heard", "least"),
    [
        ("exit 0", "exit 1", ["TERM"], 0.0),
        (":", "exit 1", ["TERM", "QUIT"], 1.0),
        (":", ":", ["TERM", "QUIT"], 4.0),
    ],
    ids=["in time", "too late", "not at all"],
)
def test_a_worker_is_asked_to_end_and_then_to_give_back(
    term: str, quit_: str, heard: list[str], least: float
) -> None:
    script = STANDIN.format(term=term, quit=quit_) + WAITS
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout and worker.stdout.readline() == "ready\n"
        begun = time.monotonic()
        asking = subprocess.Popen(
            ["sh", "-c", stop_command(rendered())], env={"MAINPID": str(worker.pid)}
        )
        # As systemd, which takes a process away as soon as it has ended.
        while asking.poll() is None:
            worker.poll()
            time.sleep(0.02)
        took = time.monotonic() - begun
        worker.kill()
        assert worker.stdout.read().split() == heard
    assert least <= took < least + 3


def test_nobody_is_asked_when_the_worker_has_ended_by_itself() -> None:
    done = subprocess.run(
        ["sh", "-c", stop_command(rendered())], env={}, capture_output=True, check=False, timeout=5
    )
    assert done.returncode != 0


def test_systemd_waits_for_both_limits() -> None:
    assert "TimeoutStopSec=14" in rendered().splitlines()
    beat = rendered(node="").splitlines()
    assert "TimeoutStopSec=1" in beat
    assert not any(line.startswith(("ExecStop", "KillSignal")) for line in beat)
