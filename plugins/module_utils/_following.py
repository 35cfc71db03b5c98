# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Workers and beat follow a release: workers before the servers that create tasks, beat last."""

from __future__ import annotations

import contextlib
import socket
import time
import typing as t

from ansible_collections.slipway.stack.plugins.module_utils import (
    _celery,
    _commands,
    _files,
    _health,
    _units,
)
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError

_LONGEST_STOP = 24 * 3600.0
_ASK_SECONDS = 60
# Everybody is asked, so nobody knows how many will answer: both questions take all of it.
_ANSWER_SECONDS = 2
_ABANDONED = "abandoned"
# After the longest that a machine may wait for its workers' tasks, while others' have stopped: by
# then all have, and whoever is to start them is at it.
_ABANDONED_SECONDS = 120
_DEAF = "deaf"
# Longer than telling workers to take no more tasks may take: whoever did stops them next.
_DEAF_SECONDS = 2 * _ASK_SECONDS
Ask = t.Callable[[_celery.Question, _health.Deadline], _celery.Answers]


def wait_until_idle(
    workers: t.Sequence[_celery.Worker],
    timeout: float,
    ask: Ask = _celery.ask,
    clock: t.Callable[[], float] = time.monotonic,
    sleep: t.Callable[[float], None] = time.sleep,
) -> None:
    """Wait until no worker has a task, here or elsewhere: then their queues are empty as well.

    Whoever is busy for longer goes on: the limit is what keeps a rollback from waiting for ever.
    """
    end = clock() + timeout
    while workers and _busy(workers, socket.gethostname(), ask) and clock() < end:
        sleep(0.5)


def _busy(workers: t.Sequence[_celery.Worker], host: str, ask: Ask) -> bool:
    """Whether a worker has tasks, or one of this machine does not say."""
    one, own = workers[0], {f"{worker.node}@{host}" for worker in workers}
    question = _celery.Question(
        one.application, one.module, one.home, at_work=True, ping_seconds=_ANSWER_SECONDS
    )
    try:
        told = ask(question, _health.Deadline(_ASK_SECONDS)).at_work
    except StackError:
        return True
    kinds = {worker.node for worker in workers}
    return not own <= set(told) or any(
        count for node, count in told.items() if node.partition("@")[0] in kinds
    )


def quiet(
    all_of_them: t.Sequence[_celery.Worker],
    timeout: float,
    run: _commands.Run,
    going_back: bool,
    ask: Ask = _celery.ask,
) -> str:
    """Let workers take no more tasks and end those that they have; empty is success.

    Going back, they first do what may be known to nobody else.
    """
    try:
        names = [worker.unit for worker in all_of_them]
        shown = _units.show(names, run)
        running = [worker for worker in all_of_them if shown[worker.unit].is_running]
        if going_back:
            wait_until_idle(running, timeout, ask)
        return _stop(running, timeout + _ABANDONED_SECONDS, run, ask) if running else ""
    # A disk without room must not keep the release from going back.
    except (StackError, OSError) as error:
        return str(error)


def _stop(
    workers: t.Sequence[_celery.Worker], abandoned: float, run: _commands.Run, ask: Ask
) -> str:
    """Without waiting for long tasks.

    When whoever is to start them is killed, deaf workers start anew, and stopped ones start later.
    """
    names, deaf = [worker.unit for worker in workers], _timer(workers, _DEAF)
    for name in names:
        _units.expect(name, _current(workers))
    done = _later(deaf, _DEAF_SECONDS, ["restart", "--", *names], run)
    if done.ok:
        _retire(workers, ask)
        done = _later(_timer(workers, _ABANDONED), abandoned, ["start", "--", *names], run)
    if done.ok:
        done = run(["systemctl", "stop", "--no-block", "--", *names])
    if done.ok:
        # It would restart those that others have started meanwhile.
        _call_off(deaf, run)
    return "" if done.ok else f"{', '.join(names)} did not stop: {done.output.strip()}"


def _later(
    timer: str, seconds: float, words: t.Sequence[str], run: _commands.Run
) -> _commands.Completed:
    """Let systemd do it by itself, unless it is called off."""
    _call_off(timer, run)
    options = ["--quiet", "--collect", f"--unit={timer}", f"--on-active={seconds:.0f}"]
    return run(["systemd-run", *options, "systemctl", *words])


def _call_off(timer: str, run: _commands.Run) -> None:
    """Also what has begun: it waits for workers' tasks, and its name would not be free again."""
    run(["systemctl", "stop", f"{timer}.timer", f"{timer}.service"])


def _retire(workers: t.Sequence[_celery.Worker], ask: Ask) -> None:
    """Let workers take no more tasks; of those that do not answer, one may be done twice."""
    one, host = workers[0], socket.gethostname()
    nodes = tuple(f"{worker.node}@{host}" for worker in workers)
    question = _celery.Question(
        one.application, one.module, one.home, retire=nodes, ping_seconds=_ANSWER_SECONDS
    )
    with contextlib.suppress(StackError):
        ask(question, _health.Deadline(_ASK_SECONDS))


def _timer(workers: t.Sequence[_celery.Worker], what: str) -> str:
    return f"{workers[0].application}-workers-{what}"


def _unit(name: str, current: str) -> _units.Unit:
    return _units.Unit(name, True, "started", (current,), ())


def _current(workers: t.Sequence[_celery.Worker]) -> str:
    return str(workers[0].home / "current") if workers else ""


def restart(names: t.Sequence[str], current: str, run: _commands.Run) -> tuple[list[str], str]:
    """Restart those of the units that run or were to; returns their names, and what went wrong.

    systemd stops them side by side, and each starts again as soon as its own tasks are done.
    """
    shown, stopped = _units.show(names, run), _units.announced(names, current)
    running = [name for name in names if shown[name].is_running or name in stopped]
    if not running:
        return [], ""
    digest = {current: _files.digest(current, {})}
    for name in running:
        _units.announce(_unit(name, current), [current])
    done = run(["systemctl", "restart", "--", *running], timeout=_LONGEST_STOP)
    if not done.ok:
        return running, f"{', '.join(running)} did not restart: {done.output.strip()}"
    for name in running:
        if trouble := _units.watch(_unit(name, current), 0, run, time.sleep):
            return running, f"{name} does not start: {trouble}"
        _units.remember_all(name, _units.recall(name) or {}, digest, fresh=True)
    return running, ""


def workers(all_of_them: t.Sequence[_celery.Worker], timeout: float, run: _commands.Run) -> str:
    """Let workers start on what `current` names and answer a ping; empty is success."""
    try:
        names = [worker.unit for worker in all_of_them]
        if names:
            _call_off(_timer(all_of_them, _DEAF), run)
        restarted, trouble = restart(names, _current(all_of_them), run)
        if restarted:
            _call_off(_timer(all_of_them, _ABANDONED), run)
        if not trouble:
            answering = [worker for worker in all_of_them if worker.unit in restarted]
            _celery.require_answers(answering, timeout)
    except (StackError, OSError) as error:
        return str(error)
    return trouble


def beat(name: str, current: str, run: _commands.Run) -> str:
    """Restart the scheduler where it runs; empty is success."""
    try:
        return restart([name], current, run)[1] if name else ""
    except (StackError, OSError) as error:
        return str(error)
