# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ask an application's Celery, in its own release and environment, and believe nobody else."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import socket
import time
import typing as t
from pathlib import Path

from . import _application_python, _celery_question, _health, _health_process
from ._errors import StackError

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclasses.dataclass(frozen=True)
class Worker:
    """One worker as its unit runs it."""

    unit: str
    node: str
    application: str
    module: str
    home: Path


@dataclasses.dataclass(frozen=True)
class Question:
    """What to find out; `schedule` is where beat's tasks stand: database, settings or nowhere.

    Nodes that `retire` take no more tasks until they start anew. Those that may be `starting` are
    asked again soon.
    """

    application: str
    module: str
    home: Path
    nodes: tuple[str, ...] = ()
    pids: bool = False
    at_work: bool = False
    retire: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    schedule: str = ""
    since: float | None = None
    ping_seconds: float = 3
    starting: bool = False


@dataclasses.dataclass
class Answers:
    """What had been answered when it ended; `errors` are by the stage in which they arose."""

    nodes: dict[str, int | None] = dataclasses.field(default_factory=dict)
    at_work: dict[str, int] = dataclasses.field(default_factory=dict)
    queues: dict[str, dict[str, t.Any]] = dataclasses.field(default_factory=dict)
    taken: dict[str, t.Any] | None = None
    tick: dict[str, t.Any] | None = None
    stage: str = ""
    errors: dict[str, str] = dataclasses.field(default_factory=dict)
    said: str = ""


def request(question: Question, seconds: float, now: float) -> list[str]:
    """The application's Python with our question; no dollar, which systemd-run would expand."""
    said = {
        **dataclasses.asdict(question),
        "ping_seconds": min(question.ping_seconds, seconds / 2),
        # By the clock, for the application's Python may take long to start.
        "until": now + seconds,
    }
    said = {key: said[key] for key in said if key not in ("application", "home")}
    return ["python", "-c", inspect.getsource(_celery_question), json.dumps(said)]


def parse(said: str) -> Answers:
    """The answers among whatever else the application printed."""
    answers, other = Answers(), []
    for line in _COLOUR.sub("", said).splitlines():
        _before, mark, text = line.partition(_celery_question.MARK)
        if not mark:
            other.append(line)
            continue
        answer = json.loads(text)
        if "nodes" in answer:
            answers.nodes.update(answer["nodes"])
        elif "at_work" in answer:
            answers.at_work.update(answer["at_work"])
        elif "queue" in answer:
            answers.queues[answer.pop("queue")] = answer
        elif "taken" in answer:
            answers.taken = answer["taken"]
        elif "tick" in answer:
            answers.tick = answer["tick"]
        elif "error" in answer:
            answers.errors[answer["at"]] = answer["error"]
        else:
            answers.stage = answer["stage"]
    answers.said = "\n".join(other[-5:])
    return answers


def ask(
    question: Question,
    deadline: _health.Deadline,
    output: t.Callable[..., str] = _health_process.output,
) -> Answers:
    """One start of the application's Python, whatever is asked."""
    said = _application_python.ask(
        question.application,
        question.home,
        lambda seconds: request(question, seconds, time.time()),
        deadline,
        output,
    )
    return parse(said)


def require_answers(
    workers: t.Sequence[Worker],
    timeout: float,
    ask: t.Callable[[Question, _health.Deadline], Answers] = ask,
    clock: t.Callable[[], float] = time.monotonic,
    sleep: t.Callable[[float], None] = time.sleep,
    host: str = "",
) -> None:
    """Ask until every worker has answered, or say which one did not."""
    host = host or socket.gethostname()
    end = clock() + timeout
    for application in sorted({worker.application for worker in workers}):
        silent = [worker for worker in workers if worker.application == application]
        starting = True
        while silent:
            nodes = tuple(f"{worker.node}@{host}" for worker in silent)
            first = silent[0]
            question = Question(application, first.module, first.home, nodes, starting=starting)
            # Whoever is slow has those questions still to answer.
            starting = False
            try:
                answers = ask(question, _health.Deadline(60))
            except StackError as error:
                answers = Answers(said=str(error))
            silent = [worker for worker in silent if f"{worker.node}@{host}" not in answers.nodes]
            if silent and clock() >= end:
                said = "; ".join([*answers.errors.values(), answers.said]) or "no answer at all"
                raise StackError(
                    f"{silent[0].unit} does not answer a ping after {timeout:.0f} s; see journalctl"
                    f" -u {silent[0].unit}. The question ended with: {said}"
                )
            if silent:
                sleep(0.5)
