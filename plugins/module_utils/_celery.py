# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ask Celery workers over their broker whether they are there."""

from __future__ import annotations

import dataclasses
import re
import socket
import time
import typing as t
from pathlib import Path

from ansible_collections.slipway.stack.plugins.module_utils import _application_commands
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError

_PONG = re.compile(r"^->\s+(\S+):\s+OK", re.MULTILINE)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclasses.dataclass(frozen=True)
class Worker:
    """One worker as its unit runs it."""

    unit: str
    node: str
    application: str
    module: str
    home: Path


def answering(said: str) -> set[str]:
    """The nodes that answered, from what `celery inspect ping` printed."""
    return set(_PONG.findall(_COLOUR.sub("", said)))


def ask(application: str, workers: t.Sequence[Worker], host: str) -> _application_commands.Outcome:
    """One question to all workers of an application."""
    nodes = ",".join(f"{worker.node}@{host}" for worker in workers)
    home, module = workers[0].home, workers[0].module
    return _application_commands.in_release(
        application,
        f"celery --no-color --app {module} inspect ping --timeout 3 --destination {nodes}",
        release=(home / "current").resolve(),
        writable=[home / "media"],
        environment_file=Path(f"/etc/slipway/{application}/environment"),
        environment={},
        timeout=60,
    )


def require_answers(
    workers: t.Sequence[Worker],
    timeout: float,
    ask: t.Callable[..., _application_commands.Outcome] = ask,
    clock: t.Callable[[], float] = time.monotonic,
    sleep: t.Callable[[float], None] = time.sleep,
    host: str = "",
) -> None:
    """Ask until every worker has answered, or say which one did not."""
    host = host or socket.gethostname()
    end = clock() + timeout
    for application in sorted({worker.application for worker in workers}):
        silent = [worker for worker in workers if worker.application == application]
        while silent:
            outcome = ask(application, silent, host)
            there = answering(outcome.output)
            silent = [worker for worker in silent if f"{worker.node}@{host}" not in there]
            if silent and clock() >= end:
                raise StackError(
                    f"{silent[0].unit} does not answer a ping after {timeout:.0f} s; see journalctl"
                    f" -u {silent[0].unit}. The question ended with: {outcome.tail(5)}"
                )
            if silent:
                sleep(0.5)
