# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether an application's workers answer, its queues move, and exactly one beat ticks."""

from __future__ import annotations

import time
import typing as t
from pathlib import Path

from . import _celery, _celery_processes, _health
from . import _health_limits as _limits
from ._health import CRITICAL, OK, UNKNOWN, WARNING, Finding, judge

KIND = "celery"
OPTIONS: dict[str, t.Any] = {
    "application": {"type": "str", "required": True},
    "module": {"type": "str", "required": True},
    "home": {"type": "path"},
    "workers": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "unit": {"type": "str", "required": True},
            "node": {"type": "str", "required": True},
        },
    },
    "queues": {"type": "list", "elements": "str", "default": ["celery"]},
    "beats": {"type": "int", "default": 1},
    "beat_unit": {"type": "str"},
    "beat_schedule": {
        "type": "str",
        "default": "settings",
        "choices": ["database", "settings", "other"],
    },
    **_limits.options("int", depth_messages=(50, 500)),
    **_limits.options("float", age_seconds=(300, 1800), beat_seconds=(300, 900)),
}
SEND_TIME = "let the application send the time: before_task_publish sets headers['enqueued_at']"
PINGED = "asking its workers over the broker"
QUEUED = "asking the broker for its queues"
TAKEN = "asking the broker for what workers hold"
TICKED = "reading beat's schedule"

Check = dict[str, t.Any]


def probe(
    check: Check,
    deadline: _health.Deadline,
    ask: t.Callable[..., _celery.Answers] = _celery.ask,
    machine: _celery_processes.Machine | None = None,
    clock: t.Callable[[], float] = time.time,
) -> list[Finding]:
    """The findings of one application on this machine."""
    machine = machine or _celery_processes.Machine()
    home = Path(check["home"] or f"/srv/{check['application']}")
    unit = check["beat_unit"] or f"{check['application']}-beat.service"
    deadline.stage("asking systemd and the journal")
    pids = {each["unit"]: machine.main_process(each["unit"], deadline) for each in check["workers"]}
    since = machine.last_tick(unit, deadline) if check["beats"] else None
    answers = ask(_question(check, home, machine.host, since), deadline)
    label, published = check["label"], _celery_processes.published_revision(home)
    found = []
    for each in check["workers"]:
        node, pid = f"{each['node']}@{machine.host}", pids[each["unit"]]
        running = machine.revision_of(answers.nodes.get(node) or 0)
        found.append(worker(label, each["unit"], node, pid, answers, (running, published)))
    for name in check["queues"]:
        found += queue(label, check, name, answers)
    found += taken(label, check, answers)
    there = machine.beats(home, _celery_processes.user_id(check["application"]))
    found.append(beats(label, check, unit, there))
    if check["beats"]:
        found.append(tick(label, check, unit, since and clock() - since, answers))
    return found


def _question(check: Check, home: Path, host: str, since: float | None) -> _celery.Question:
    known = {"database": True, "settings": since is not None, "other": False}
    kept = check["beat_schedule"]
    return _celery.Question(
        check["application"],
        check["module"],
        home,
        nodes=tuple(f"{worker['node']}@{host}" for worker in check["workers"]),
        pids=True,
        queues=tuple(check["queues"]),
        schedule=kept if check["beats"] and known[kept] else "",
        since=since if kept == "settings" else None,
    )


def _why(answers: _celery.Answers, stage: str) -> str:
    """Why there is no answer: the error of its stage, or of one before it."""
    said = answers.errors.get(stage) or next(iter(answers.errors.values()), "")
    return _health.brief(said or answers.said or "no answer", 160)


def worker(
    label: str,
    unit: str,
    node: str,
    pid: int,
    answers: _celery.Answers,
    revisions: tuple[str, str],
) -> Finding:
    """The worker's own answer over the broker: a unit that is active proves nothing."""
    name, (running, published) = f"{label} {unit}", revisions
    if node not in answers.nodes:
        value = f"no pong, main process {pid}" if pid else "no pong, no main process"
        if PINGED in answers.errors or not answers.nodes:
            value = f"{value}: {_why(answers, PINGED)}"
        return Finding(name, CRITICAL, value, "pong", f"journalctl -u {unit}; restart it")
    answered = answers.nodes[node]
    if answered is not None and answered != pid:
        value = f"pong from process {answered}, the unit's is {pid or 'not there'}"
        return Finding(name, WARNING, value, f"process {pid}", "end the worker that has its name")
    if answered is None or not running or not published:
        advice = "answer stats, and start it with RELEASE_REVISION in its environment"
        return Finding(name, UNKNOWN, "pong, of an unknown revision", published[:12], advice)
    if running != published:
        value = f"pong, but it runs {running[:12]}"
        return Finding(name, WARNING, value, published[:12], f"systemctl restart {unit}")
    return Finding(name, OK, f"pong of {running[:12]}", published[:12])


def queue(label: str, check: Check, name: str, answers: _celery.Answers) -> list[Finding]:
    """How many messages wait, and since when the oldest does."""
    label, found = f"{label} queue {name}", answers.queues.get(name)
    if found is None:
        advice = "see the broker's own check"
        return [Finding(f"{label} depth", CRITICAL, _why(answers, QUEUED), "", advice)]
    (many, most), (old, oldest) = (
        _limits.pair(check, "depth", "messages"),
        _limits.pair(check, "age", "seconds"),
    )
    depth, age = found["depth"], found["age"]
    advice = "see whether its workers are busy or gone; add workers"
    limit, limits = f"at most {old:g} s", f"at most {many:g}"
    rows = [Finding(f"{label} depth", judge(depth, many, most), f"{depth} wait", limits, advice)]
    if age is None:
        value = f"{depth} wait, without the time of sending"
        return [*rows, Finding(f"{label} age", UNKNOWN, value, limit, SEND_TIME)]
    value = f"the oldest was sent {age:.0f} s ago" if depth else "empty"
    return [*rows, Finding(f"{label} age", judge(age, old, oldest), value, limit, advice)]


def taken(label: str, check: Check, answers: _celery.Answers) -> list[Finding]:
    """What workers took and have not done, which no queue shows any more."""
    name, (old, oldest) = f"{label} taken", _limits.pair(check, "age", "seconds")
    limit = f"at most {old:g} s"
    if not check["queues"] or answers.taken == {}:
        return []  # a broker that does not tell it to a client
    if answers.taken is None:
        advice = "see the broker's own check; its user needs +@read"
        return [Finding(name, UNKNOWN, _why(answers, TAKEN), limit, advice)]
    count, age = answers.taken["count"], answers.taken["age"]
    value = f"{count} taken and not done" + (f", the oldest {age:.0f} s ago" if age else "")
    advice = "see what its workers do: celery inspect active; one that hangs: restart its unit"
    return [Finding(name, judge(age, old, oldest), value, limit, advice)]


def beats(label: str, check: Check, unit: str, found: list[_celery_processes.Process]) -> Finding:
    """Two beats send every task twice, none sends nothing; each machine has its number."""
    expected = check["beats"]
    pids = ", ".join(str(process.pid) for process in found)
    value = f"{len(found)} on this machine" + (f" (process {pids})" if found else "")
    limit, advice = f"{expected} on this machine", f"systemctl status {unit}"
    if len(found) > expected:
        advice = f"stop those that {unit} has not started: systemctl status <process>"
    state = OK if len(found) == expected else CRITICAL
    if any(process.stopped for process in found):
        state, value, advice = CRITICAL, f"{value}, stopped", f"kill -CONT it; journalctl -u {unit}"
    return Finding(f"{label} beat", state, value, limit, advice)


def tick(
    label: str, check: Check, unit: str, ago: float | None, answers: _celery.Answers
) -> Finding:
    """By how much the most overdue task is late, by beat's own schedule."""
    name, (warning, critical) = f"{label} last tick", _limits.pair(check, "beat", "seconds")
    limit = f"at most {warning:g} s late"
    said = "no tick in the journal" if ago is None else f"last tick {ago:.0f} s ago"
    if answers.tick is None:
        why = f": {_why(answers, TICKED)}" if answers.errors else ""
        advice = f"let {unit} log at level info, or keep the schedule in the database"
        return Finding(name, UNKNOWN, f"{said}{why}", limit, advice)
    if not answers.tick["tasks"] or answers.tick["overdue"] is None:
        advice = "schedule a task that runs every minute, so that beat shows that it lives"
        return Finding(name, UNKNOWN, f"{said}, nothing is scheduled", limit, advice)
    overdue = answers.tick["overdue"]
    value = f"{said}, most overdue of {answers.tick['tasks']} tasks: {overdue:.0f} s"
    advice = f"journalctl -u {unit}; restart it"
    return Finding(name, judge(overdue, warning, critical), value, limit, advice)
