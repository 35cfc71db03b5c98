# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Workers and beat follow a release: workers before the servers that create tasks, beat last."""

from __future__ import annotations

import re
import socket
import time
import typing as t
from pathlib import Path

from ansible_collections.slipway.stack.plugins.module_utils import (
    _application_commands,
    _celery,
    _commands,
    _files,
    _units,
)
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError

_LONGEST_STOP = 24 * 3600.0
_RESERVED = re.compile(r"^\s+\* \{", re.MULTILINE)


def holding(said: str) -> bool:
    """Whether a node keeps tasks in reserve, from what `celery inspect reserved` printed."""
    return "- empty -" not in said or bool(_RESERVED.search(said))


def wait_until_idle(
    workers: t.Sequence[_celery.Worker],
    timeout: float,
    clock: t.Callable[[], float] = time.monotonic,
    sleep: t.Callable[[float], None] = time.sleep,
) -> None:
    """Wait until no worker has tasks in reserve, which means that its queues are empty.

    Whoever is busy for longer goes on: the limit is what keeps a rollback from waiting for ever.
    """
    end = clock() + timeout
    while workers and holding(_reserved(workers, socket.gethostname())) and clock() < end:
        sleep(0.5)


def _reserved(workers: t.Sequence[_celery.Worker], host: str) -> str:
    """What the workers of one application have fetched and not begun."""
    one, nodes = workers[0], ",".join(f"{worker.node}@{host}" for worker in workers)
    return _application_commands.in_release(
        one.application,
        f"celery --no-color --app {one.module} inspect reserved --timeout 3 --destination {nodes}",
        release=(one.home / "current").resolve(),
        writable=[one.home / "media"],
        environment_file=Path(f"/etc/slipway/{one.application}/environment"),
        environment={},
        timeout=60,
    ).output


def restart(names: t.Sequence[str], current: str, run: _commands.Run) -> tuple[list[str], str]:
    """Restart those of the units that run; returns their names, and what went wrong.

    systemd stops them side by side, and each starts again as soon as its own tasks are done.
    """
    shown = _units.show(names, run)
    running = [name for name in names if shown[name].is_running]
    if not running:
        return [], ""
    digest = {current: _files.digest(current, {})}
    for name in running:
        _units.announce(_units.Unit(name, True, "started", (current,), ()), [current])
    done = run(["systemctl", "restart", "--", *running], timeout=_LONGEST_STOP)
    if not done.ok:
        return running, f"{', '.join(running)} did not restart: {done.output.strip()}"
    for name in running:
        unit = _units.Unit(name, True, "started", (current,), ())
        if trouble := _units.watch(unit, 0, run, time.sleep):
            return running, f"{name} does not start: {trouble}"
        _units.remember_all(name, _units.recall(name) or {}, digest, fresh=True)
    return running, ""


def workers(
    all_of_them: t.Sequence[_celery.Worker], timeout: float, run: _commands.Run, going_back: bool
) -> str:
    """Let workers finish, start on what `current` names, and answer a ping; empty is success."""
    if not all_of_them:
        return ""
    names = [worker.unit for worker in all_of_them]
    current = str(all_of_them[0].home / "current")
    try:
        if going_back:
            # What they hold in reserve may be tasks that only their own release knows.
            running = _units.show(names, run)
            wait_until_idle(
                [worker for worker in all_of_them if running[worker.unit].is_running], timeout
            )
        restarted, trouble = restart(names, current, run)
        if not trouble:
            answering = [worker for worker in all_of_them if worker.unit in restarted]
            _celery.require_answers(answering, timeout)
    # A disk without room must not keep the release from going back.
    except (StackError, OSError) as error:
        return str(error)
    return trouble


def beat(name: str, current: str, run: _commands.Run) -> str:
    """Restart the scheduler where it runs; empty is success."""
    try:
        return restart([name], current, run)[1] if name else ""
    except (StackError, OSError) as error:
        return str(error)
