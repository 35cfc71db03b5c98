"""Celery: what is asked, how answers are read, and what is made of them."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import runpy
import signal
import subprocess
import sys
import time
import types
import typing as t
from pathlib import Path

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import (
    _application_commands,
    _celery,
    _celery_processes,
    _celery_question,
    _health,
    _health_celery,
)
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError

NODE = "shop-default@one"
REVISION = "0123456789abcdef"
WORKER = _celery.Worker("shop-worker.service", "shop-default", "shop", "tasks", Path("/srv/shop"))


def said(**answer: t.Any) -> str:
    return _celery_question.MARK + json.dumps(answer)


def test_answers_are_found_among_whatever_else_is_printed() -> None:
    answers = _celery.parse(
        "\n".join(
            [
                said(stage="loading"),
                "\x1b[31mwarning\x1b[0m",
                said(nodes={NODE: None}),
                said(nodes={NODE: 7}),
                said(queue="celery", depth=1, age=None),
                said(taken={"count": 1, "age": 2}),
                said(tick={"tasks": 1, "overdue": 0}),
                said(stage="beat"),
                said(error="boom", at="beat"),
            ]
        )
    )
    assert answers.nodes == {NODE: 7}
    assert answers.queues == {"celery": {"depth": 1, "age": None}}
    assert answers.taken == {"count": 1, "age": 2}
    assert answers.tick == {"tasks": 1, "overdue": 0}
    assert (answers.stage, answers.errors, answers.said) == ("beat", {"beat": "boom"}, "warning")


def test_the_question_is_a_program_that_systemd_leaves_alone() -> None:
    question = _celery.Question("shop", "tasks", Path("/srv/shop"), (NODE,), ping_seconds=9)
    program, given = _celery.request(question, 4, now=100)[2:]
    assert "$" not in program
    compile(program, "question", "exec")
    request = json.loads(given)
    assert (request["until"], request["ping_seconds"], request["nodes"]) == (104, 2, [NODE])
    assert "home" not in request


def test_what_is_not_deployed_is_unknown(tmp_path: Path) -> None:
    for name in ("nobody-at-all", "root"):
        question = _celery.Question(name, "tasks", tmp_path)
        with pytest.raises(_health.CannotCheck, match="is not deployed here"):
            _celery.ask(question, _health.Deadline(5))


def test_an_application_is_asked_in_its_release_and_its_secrets_are_masked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "current").mkdir()
    monkeypatch.setattr(
        _application_commands, "read_environment", lambda _: {"SECRET_KEY": "hush-hush"}
    )
    seen: list[list[str]] = []

    def output(command: list[str], _deadline: t.Any) -> str:
        seen.append(command)
        return "the key is hush-hush"

    question = _celery.Question("root", "tasks", tmp_path)
    assert _celery.ask(question, _health.Deadline(5), output).said == "the key is ********"
    assert f"WorkingDirectory={tmp_path}/current/project" in seen[0]


def test_workers_are_asked_until_each_has_answered() -> None:
    told: list[_celery.Answers | _health.Unhealthy] = [
        *(_health.Unhealthy("no python"), _celery.Answers()),
        _celery.Answers(nodes={NODE: None}),
    ]
    slept: list[float] = []

    asked: list[bool] = []

    def ask(question: _celery.Question, _deadline: t.Any) -> _celery.Answers:
        asked.append(question.starting)
        answer = told.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    _celery.require_answers([WORKER], 9, ask, lambda: 0.0, slept.append, "one")
    assert (told, slept, asked) == ([], [0.5, 0.5], [True, False, False])


def test_a_silent_worker_is_named_with_what_was_heard() -> None:
    clock = iter([0.0, 1.0, 10.0])
    answers = _celery.Answers(errors={"x": "broker away"})
    with pytest.raises(StackError, match=r"shop-worker\.service.* 5 s.*broker away"):
        _celery.require_answers(
            [WORKER], 5, lambda *_: answers, lambda: next(clock), lambda _: None
        )


# The program itself, with an application that is given.


class Channel:
    """A channel of kombu's Redis transport, as far as it is used."""

    priority_steps = (0, 3)
    global_keyprefix = "shop:"

    def __init__(self, depths: list[int], messages: dict[str, t.Any]) -> None:
        self.depths, self.messages = depths, messages

    def _size(self, _name: str) -> int:
        return self.depths.pop(0) if len(self.depths) > 1 else self.depths[0]

    def _q_for_pri(self, name: str, step: int) -> str:
        return f"{name}{step or ''}"

    def conn_or_acquire(self) -> t.Any:
        return self

    def __enter__(self) -> t.Any:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def lindex(self, key: str, index: int) -> t.Any:
        assert index == -1
        message = self.messages.get(key)
        return json.dumps(message) if message else None


def looked(channel: t.Any) -> dict[str, t.Any]:
    times = iter(range(1000, 1010))
    return _celery_question.queue(channel, "q", lambda: float(next(times)), lambda _: None)


def sent(**headers: t.Any) -> dict[str, t.Any]:
    return {"headers": headers, "properties": {}}


def test_the_age_of_a_queue_is_that_of_its_oldest_message() -> None:
    channel = Channel([2], {"shop:q": sent(enqueued_at=990), "shop:q3": sent(timestamp=900)})
    assert looked(channel) == {"depth": 2, "age": 101.0}
    assert looked(Channel([0], {})) == {"depth": 0, "age": 0.0}
    # One priority has no time: nothing is known of the whole.
    channel = Channel([2], {"shop:q": sent(enqueued_at=990), "shop:q3": sent(id="x")})
    assert looked(channel) == {"depth": 2, "age": None}
    # Empties while it is watched.
    assert looked(Channel([2, 0], {"shop:q": sent()})) == {"depth": 0, "age": 0.0}


def test_another_broker_tells_the_depth_only() -> None:
    declared = types.SimpleNamespace(message_count=3)
    channel = types.SimpleNamespace(queue_declare=lambda queue, passive: declared)
    assert looked(channel) == {"depth": 3, "age": None}


@pytest.mark.parametrize(
    ("headers", "age"),
    [
        ({"enqueued_at": "990"}, 10),
        ({"sentry-task-enqueued-time": "999.5"}, 0.5),
        ({"timestamp": "1970-01-01T00:16:30+00:00"}, 10),
        ({"timestamp": 2000}, 0),
        ({"timestamp": "yesterday", "enqueued_at": 1}, 999),
        ({"timestamp": None}, None),
        ({}, None),
    ],
)
def test_times_are_read_in_any_form(headers: dict[str, t.Any], age: float | None) -> None:
    assert _celery_question.age_of({"headers": headers}, 1000) == age


class Turns(list[t.Any]):
    """Answers to one question after the other."""


class App:
    """A Celery application whose workers answer as they are told to."""

    def __init__(self, replies: dict[str, t.Any], schedule: t.Any = None) -> None:
        self.replies, self.control = replies, self
        self.conf = types.SimpleNamespace(beat_schedule=schedule or {})
        self.default_channel = Channel([0], {})
        self.asked: list[tuple[list[str], float]] = []

    def broadcast(self, command: str, **options: t.Any) -> t.Any:
        self.asked.append((options.get("destination", []), options["timeout"]))
        reply = self.replies[command]
        return reply.pop(0) if isinstance(reply, Turns) else reply

    def connection_for_read(self) -> App:
        return self

    def __enter__(self) -> App:
        return self

    def __exit__(self, *_: object) -> None:
        return None


def answered(question: t.Callable[..., None], app: t.Any, capsys: t.Any, **request: t.Any) -> t.Any:
    asked = {"nodes": [], "pids": True, "ping_seconds": 1, "starting": False, "since": None}
    question(app, {**asked, **request})
    return _celery.parse(capsys.readouterr().out)


def test_who_answers_is_asked_for_its_process(capsys: t.Any) -> None:
    app = App({"ping": [{NODE: {"ok": "pong"}}], "stats": [{NODE: {"pid": 7}}]})
    ping = _celery_question.ping
    assert answered(ping, app, capsys, nodes=[NODE]).nodes == {NODE: 7}
    assert answered(ping, app, capsys, nodes=[NODE], pids=False).nodes == {NODE: None}
    assert answered(ping, app, capsys).nodes == {}
    silent = App({"ping": None, "stats": None})
    assert answered(ping, silent, capsys, nodes=[NODE]).nodes == {}
    mute = App({"ping": [{NODE: {}}], "stats": None})
    assert answered(ping, mute, capsys, nodes=[NODE]).nodes == {NODE: None}


def test_who_still_starts_is_asked_again_soon(capsys: t.Any) -> None:
    other = "default@two"
    pong = {"ok": "pong"}
    app = App({"ping": Turns([None, [{other: pong}], [{NODE: pong}]])})
    request = {"nodes": [NODE, other], "pids": False, "ping_seconds": 3, "starting": True}
    found = answered(_celery_question.ping, app, capsys, **request)
    assert found.nodes == {NODE: None, other: None}
    assert app.asked == [([NODE, other], 1.0), ([NODE, other], 1.0), ([NODE], 3)]


def test_who_has_answered_is_told_before_another_is_waited_for(capsys: t.Any) -> None:
    other = "default@two"
    app = App({"ping": Turns([[{other: {"ok": "pong"}}]])})
    with pytest.raises(IndexError):  # what cuts it off
        answered(_celery_question.ping, app, capsys, nodes=[NODE, other], starting=True)
    assert _celery.parse(capsys.readouterr().out).nodes == {other: None}


def test_whoever_answers_is_asked_for_the_tasks_that_he_has(capsys: t.Any) -> None:
    at_work, other = _celery_question.at_work, "shop-b@two"
    app = App({"reserved": [{NODE: [{}, {}]}, {other: []}], "active": [{NODE: [{}]}]})
    assert answered(at_work, app, capsys, at_work=True).at_work == {NODE: 3, other: 0}
    assert answered(at_work, app, capsys, at_work=False).at_work == {}
    silent = App({"reserved": None, "active": None})
    assert answered(at_work, silent, capsys, at_work=True).at_work == {}


class Busy(App):
    """Workers that still have what is listed, one look after the other."""

    def __init__(self, *looks: int) -> None:
        super().__init__({"active_queues": [{NODE: [{"name": "b"}, {"name": "a"}]}]})
        self.looks, self.cancelled = list(looks), list[str]()

    def broadcast(self, command: str, **options: t.Any) -> t.Any:
        assert options["destination"] == [NODE]
        if command == "cancel_consumer":
            self.cancelled.append(options["arguments"]["queue"])
        if command == "reserved":
            return None
        if command == "active":
            return [{NODE: [{}] * self.looks.pop(0)}]
        return self.replies.get(command)


@pytest.mark.parametrize(
    ("looks", "slept"),
    [([0], 0.0), ([2, 1, 0], 0.2), ([1] * 200, 10.0)],
    ids=["idle", "soon idle", "busy for long"],
)
def test_a_worker_that_retires_is_waited_for_until_what_it_has_just_begun_is_done(
    looks: list[int], slept: float, capsys: t.Any
) -> None:
    app, naps = Busy(*looks), list[float]()

    def retire(app: App, request: dict[str, t.Any]) -> None:
        _celery_question.retire(app, request, lambda: sum(naps), naps.append)

    answered(retire, app, capsys, retire=[NODE])
    assert app.cancelled == ["a", "b"]
    assert sum(naps) == pytest.approx(slept, abs=0.15)


def test_nobody_retires_who_is_not_asked_to(capsys: t.Any) -> None:
    app = Busy()
    answered(_celery_question.retire, app, capsys, retire=[])
    assert app.cancelled == []


def test_queues_are_asked_over_one_connection(capsys: t.Any) -> None:
    found = answered(_celery_question.queues, App({}), capsys, queues=["a", "b"])
    assert set(found.queues) == {"a", "b"}


class Held:
    """What kombu's Redis transport keeps of messages that workers have taken."""

    global_keyprefix, unacked_key, unacked_index_key = "shop:", "unacked", "unacked_index"

    def __init__(self, **held: tuple[float, str | None]) -> None:
        self.held = held

    def conn_or_acquire(self) -> t.Any:
        return contextlib.nullcontext(self)

    def zcard(self, key: str) -> int:
        assert key == "shop:unacked_index"
        return len(self.held)

    def zrangebyscore(self, key: str, *limits: t.Any, withscores: bool) -> list[t.Any]:
        assert (key, limits[:3], withscores) == ("shop:unacked_index", ("-inf", "+inf", 0), True)
        return [(tag, since) for tag, (since, _text) in self.held.items()]

    def hmget(self, key: str, tags: list[str]) -> list[str | None]:
        assert key == "shop:unacked"
        return [self.held[tag][1] for tag in tags]


def message(eta: str | None) -> str:
    return json.dumps([{"headers": {"eta": eta}, "body": ""}, "", "celery"])


def test_what_workers_have_taken_is_counted_with_its_age() -> None:
    held = _celery_question.held
    assert held(Held(), 1000) == {"count": 0, "age": 0}
    assert held(Held(a=(100, message(None)), b=(990, message(None))), 1000) == {
        **{"count": 2, "age": 900}
    }
    # Kept for later, or done in the meantime: nobody is late.
    later, then = "1970-01-01T00:20:00+00:00", "1970-01-01T00:10:00+00:00"
    assert held(Held(a=(100, message(later)), b=(90, None)), 1000) == {"count": 2, "age": 0}
    assert held(Held(a=(100, message(then))), 1000)["age"] == 400


def test_a_broker_is_asked_for_what_it_knows(capsys: t.Any) -> None:
    app = App({})
    assert answered(_celery_question.taken, app, capsys, queues=["a"]).taken == {}
    app.default_channel = t.cast(t.Any, Held())
    asked = answered(_celery_question.taken, app, capsys, queues=["a"])
    assert asked.taken == {"count": 0, "age": 0}
    assert answered(_celery_question.taken, app, capsys, queues=[]).taken is None


class Every:
    """A schedule by whose reckoning a task is due `seconds` after its last run, at 1000."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def remaining_estimate(self, run: datetime.datetime) -> datetime.timedelta:
        return datetime.timedelta(seconds=run.timestamp() + self.seconds - 1000)


@pytest.fixture
def celery(monkeypatch: pytest.MonkeyPatch) -> None:
    schedules = types.ModuleType("celery.schedules")
    schedules.maybe_schedule = lambda every, relative, app: Every(every)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "celery", types.ModuleType("celery"))
    monkeypatch.setitem(sys.modules, "celery.schedules", schedules)


def test_beat_is_as_late_as_its_most_overdue_task(celery: None, capsys: t.Any) -> None:
    app = App({}, {"a": {"schedule": 10.0}, "b": {"schedule": 500.0, "relative": True}})
    beat = _celery_question.beat
    late = answered(beat, app, capsys, schedule="settings", since=900)
    assert late.tick == {"tasks": 2, "overdue": 90}
    assert answered(beat, app, capsys, schedule="settings", since=995).tick["overdue"] == 0
    assert answered(beat, app, capsys, schedule="settings").tick == {"tasks": 2, "overdue": None}
    assert answered(beat, app, capsys, schedule="").tick is None


def test_a_schedule_in_the_database_knows_each_last_run(
    monkeypatch: pytest.MonkeyPatch, capsys: t.Any
) -> None:
    def moment(seconds: int) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC)

    tasks = [
        types.SimpleNamespace(schedule=Every(10), last_run_at=moment(950), date_changed=None),
        types.SimpleNamespace(schedule=Every(10), last_run_at=None, date_changed=moment(980)),
    ]
    objects = types.SimpleNamespace(filter=lambda **_: tasks)
    modules: dict[str, dict[str, t.Any]] = {
        "django": {"setup": lambda: None},
        "django_celery_beat": {},
        "django_celery_beat.models": {"PeriodicTask": types.SimpleNamespace(objects=objects)},
    }
    for name, members in modules.items():
        module = types.ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    found = answered(_celery_question.beat, App({}), capsys, schedule="database")
    assert found.tick == {"tasks": 2, "overdue": 40}


def run_question(
    tmp_path: Path, body: str, seconds: float = 20, **request: t.Any
) -> _celery.Answers:
    """The program as it runs in a release, with a celery package of our own."""
    package = tmp_path / "celery" / "app"
    package.mkdir(parents=True)
    (tmp_path / "celery" / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "utils.py").write_text(body)
    question = _celery.Question("shop", "tasks", tmp_path, **request)
    _python, *rest = _celery.request(question, seconds, time.time())
    done = subprocess.run(
        [sys.executable, *rest], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    return _celery.parse(done.stdout)


FIND = "def find_app(module):\n    assert module == 'tasks'\n    "


def test_the_program_tells_what_went_wrong_and_goes_on(tmp_path: Path) -> None:
    answers = run_question(tmp_path, f"{FIND}return None\n", nodes=(NODE,), queues=("q",))
    asked = {_health_celery.PINGED, _health_celery.QUEUED, _health_celery.TAKEN}
    assert set(answers.errors) == asked
    assert answers.stage == _health_celery.TICKED


def test_the_program_tells_that_the_application_cannot_be_loaded(tmp_path: Path) -> None:
    answers = run_question(tmp_path, f"{FIND}raise ValueError('no settings')\n")
    assert answers.errors == {"loading the application": "ValueError: no settings"}


def test_the_program_cuts_itself_off(tmp_path: Path) -> None:
    body = f"{FIND}import time\n    time.sleep(60)\n"
    answers = run_question(tmp_path, body, seconds=4)
    assert "cut off" in answers.errors["loading the application"]


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., None]:
    """main() here, so that what it does is seen; without its alarm and its end."""

    def run(find_app: t.Callable[[str], t.Any], **request: t.Any) -> None:
        utils = types.ModuleType("celery.app.utils")
        utils.find_app = find_app  # type: ignore[attr-defined]
        for name in ("celery", "celery.app"):
            monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        monkeypatch.setitem(sys.modules, "celery.app.utils", utils)
        monkeypatch.setattr(os, "_exit", lambda code: None)
        monkeypatch.setattr(signal, "setitimer", lambda *_: None)
        handlers: list[t.Any] = []
        monkeypatch.setattr(signal, "signal", lambda _n, h: handlers.append(h))
        base = {"module": "tasks", "nodes": [], "queues": [], "schedule": "", "until": 0}
        _celery_question.main({**base, **request})
        with pytest.raises(_celery_question.Late):
            handlers[0]()

    return run


def test_main_tells_each_stage(in_process: t.Callable[..., None], capsys: t.Any) -> None:
    in_process(lambda _: App({}))
    assert _celery.parse(capsys.readouterr().out).stage == _health_celery.TICKED

    def late(_module: str) -> t.Any:
        raise _celery_question.Late

    in_process(late)
    assert "cut off" in _celery.parse(capsys.readouterr().out).errors["loading the application"]

    def wrong(_module: str) -> t.Any:
        raise ValueError("x")

    in_process(wrong)
    assert _celery.parse(capsys.readouterr().out).errors

    in_process(lambda _: None, queues=["q"])
    assert _health_celery.QUEUED in _celery.parse(capsys.readouterr().out).errors


def test_the_program_begins_with_what_it_was_given(
    monkeypatch: pytest.MonkeyPatch, capsys: t.Any
) -> None:
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    monkeypatch.setattr(signal, "setitimer", lambda *_: None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", ["-c", json.dumps({"module": "tasks", "until": 0})])
    runpy.run_path(str(_celery_question.__file__), run_name="__main__")
    # There is no celery here.
    assert "loading the application" in _celery.parse(capsys.readouterr().out).errors
    assert ended == [0]


# The processes of this machine.

BEAT = ["python", "/srv/shop/current/venv/bin/celery", "--app", "tasks", "beat"]


@pytest.mark.parametrize(
    ("words", "beat"),
    [
        (BEAT, True),
        (["celery", "-A", "tasks", "worker", "-B"], True),
        (["celery", "--app=tasks", "worker", "--beat"], True),
        (["celery", "-A", "shop", "beat"], True),
        (["celery", "-Ashop.celery", "beat"], True),
        (["celery", "-A", "shop.celery:app", "beat"], True),
        (["celery", "beat"], True),
        (["python", "-m", "celery", "beat"], True),
        (["celery", "worker", "-EB"], True),
        (["celery", "worker", "-BE"], True),
        (["celery", "-A", "tasks", "worker"], False),
        (["celery", "worker", "-Q", "beat"], False),
        (["celery", "worker", "-QBulk", "-nB@%h"], False),
        (["celery", "-ABeat", "worker", "--pool=Beta"], False),
        (["celery", "inspect", "active"], False),
        (["grep", "beat"], False),
        ([], False),
    ],
)
def test_a_beat_is_known_by_its_command_line(words: list[str], beat: bool) -> None:
    assert _celery_processes.is_beat(words) is beat


@pytest.fixture
def machine(tmp_path: Path) -> t.Callable[..., _celery_processes.Machine]:
    proc, home = tmp_path / "proc", tmp_path / "shop"
    (home / "releases/1").mkdir(parents=True)

    def process(pid: int, words: list[str], parent: int = 1, state: str = "S") -> None:
        folder = proc / str(pid)
        folder.mkdir(parents=True)
        (folder / "stat").write_text(f"{pid} (a) b) {state} {parent} 0 0\n")
        (folder / "cmdline").write_bytes("\0".join(words).encode() + b"\0")
        (folder / "environ").write_bytes(f"A=1\0RELEASE_REVISION={REVISION}\0".encode())
        (folder / "cwd").symlink_to(home / "releases/1")

    def build(
        processes: t.Sequence[tuple[t.Any, ...]] = (), output: t.Callable[..., str] = str
    ) -> _celery_processes.Machine:
        proc.mkdir(exist_ok=True)
        for each in processes:
            process(*each)
        return _celery_processes.Machine(proc, output, "one")

    return build


def test_beats_are_counted_once_and_by_application(
    machine: t.Callable[..., _celery_processes.Machine], tmp_path: Path
) -> None:
    embedded = ["celery", "-A", "tasks", "worker", "-B"]
    built = machine([(5, BEAT), (6, embedded, 1, "T"), (7, embedded, 6), (8, ["sh"])])
    (tmp_path / "proc/9").mkdir()  # one that ends while it is looked at
    (tmp_path / "proc/10").mkdir()
    (tmp_path / "proc/10/stat").write_text("10 (x) S 1 0\n")
    found = sorted(built.beats(tmp_path / "shop", None), key=lambda one: one.pid)
    assert [(one.pid, one.stopped) for one in found] == [(5, False), (6, True)]
    assert built.beats(tmp_path / "other", None) == []
    assert len(built.beats(tmp_path / "shop/releases/1", None)) == 2
    # Started by hand somewhere else, but as the application's user.
    assert len(built.beats(tmp_path / "other", os.getuid())) == 2
    assert built.beats(tmp_path / "other", os.getuid() + 1) == []
    assert _celery_processes.user_id("root") == 0
    assert _celery_processes.user_id("nobody-at-all") is None
    assert (built.revision_of(5), built.revision_of(99)) == (REVISION, "")
    (tmp_path / "proc/5/environ").write_bytes(b"A=1\0")
    assert built.revision_of(5) == ""


def test_systemd_and_the_journal_are_asked(
    machine: t.Callable[..., _celery_processes.Machine],
) -> None:
    deadline = _health.Deadline(5)
    assert machine(output=lambda *_: "42\n").main_process("a.service", deadline) == 42
    assert machine(output=lambda *_: "\n").main_process("a.service", deadline) == 0
    assert machine(output=lambda *_: "17.5 one celery: x\n").last_tick("a", deadline) == 17.5
    assert machine(output=lambda *_: "").last_tick("a", deadline) is None

    def nothing(*_: t.Any) -> str:
        raise _health.Unhealthy("ended with 1")

    assert machine(output=nothing).last_tick("a", deadline) is None


def test_the_published_revision_is_that_of_the_release(tmp_path: Path) -> None:
    assert _celery_processes.published_revision(tmp_path) == ""
    (tmp_path / "current").mkdir()
    (tmp_path / "current/release.env").write_text(f'RELEASE_REVISION="{REVISION}"\n')
    assert _celery_processes.published_revision(tmp_path) == REVISION


# What is made of it all.


def judged(answers: _celery.Answers, **given: t.Any) -> dict[str, _health.Finding]:
    values = {name: option.get("default") for name, option in _health_celery.OPTIONS.items()}
    check = {
        **{"label": "x", "name": "x", **values, "application": "shop", "module": "tasks"},
        **{"workers": [{"unit": "w.service", "node": "shop-default"}], **given.pop("check", {})},
    }
    settings: dict[str, t.Any] = {
        **{"pid": 7, "running": REVISION, "beats": 1, "stopped": False, "since": 990.0, **given}
    }
    machine = types.SimpleNamespace(
        host="one",
        main_process=lambda unit, deadline: settings["pid"],
        last_tick=lambda unit, deadline: settings["since"],
        revision_of=lambda pid: settings["running"],
        beats=lambda home, user: [
            _celery_processes.Process(pid, 1, settings["stopped"])
            for pid in range(settings["beats"])
        ],
    )
    found = _health_celery.probe(
        check, _health.Deadline(5), lambda *_: answers, t.cast(t.Any, machine), lambda: 1000.0
    )
    return {row.check.removeprefix("x "): row for row in found}


def good(**given: t.Any) -> _celery.Answers:
    return _celery.Answers(
        **{
            "nodes": {NODE: 7},
            "queues": {"celery": {"depth": 1, "age": 2.0}},
            "taken": {"count": 1, "age": 2.0},
            "tick": {"tasks": 1, "overdue": 0.0},
            **given,
        }
    )


@pytest.fixture(autouse=True)
def published(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "published_revision" not in request.node.name and "tmp_path" not in request.fixturenames:
        monkeypatch.setattr(_celery_processes, "published_revision", lambda home: REVISION)


def test_an_application_that_works_is_well() -> None:
    rows = judged(good())
    assert {row.state for row in rows.values()} == {"ok"}
    assert set(rows) == {
        "w.service", "queue celery depth", "queue celery age", "taken", "beat", "last tick",
    }  # fmt: skip
    elsewhere = judged(good(), beats=0, check={"beats": 0, "beat_unit": "b", "home": "/x"})
    assert {row.state for row in elsewhere.values()} == {"ok"}
    assert "last tick" not in elsewhere
    assert "taken" not in judged(good(taken={}))
    assert "taken" not in judged(good(taken=None), check={"queues": []})
    assert judged(good(taken={"count": 0, "age": 0.0}))["taken"].value == "0 taken and not done"


ERROR = {"asking the broker for its queues": "refused"}
TROUBLE: list[tuple[dict[str, t.Any], dict[str, t.Any], str, str, str]] = [
    ({"nodes": {}}, {}, "w.service", "critical", "no pong, main process 7: no answer"),
    ({"nodes": {}}, {"pid": 0}, "w.service", "critical", "no pong, no main process: no answer"),
    ({"nodes": {"b@one": 1}}, {}, "w.service", "critical", "no pong, main process 7"),
    ({"nodes": {NODE: 8}}, {}, "w.service", "warning", "pong from process 8, the unit's is 7"),
    ({"nodes": {NODE: None}}, {}, "w.service", "unknown", "pong, of an unknown revision"),
    ({}, {"running": ""}, "w.service", "unknown", "pong, of an unknown revision"),
    ({}, {"running": "fedcba"}, "w.service", "warning", "pong, but it runs fedcba"),
    ({"queues": {}}, {}, "queue celery depth", "critical", "no answer"),
    ({"queues": {}, "errors": ERROR}, {}, "queue celery depth", "critical", "refused"),
    ({"queues": {"celery": {"depth": 51, "age": 0.0}}}, {}, "queue celery depth", "warning",
     "51 wait"),
    ({"queues": {"celery": {"depth": 501, "age": 0.0}}}, {}, "queue celery depth", "critical",
     "501 wait"),
    ({"queues": {"celery": {"depth": 1, "age": 301.0}}}, {}, "queue celery age", "warning",
     "the oldest was sent 301 s ago"),
    ({"queues": {"celery": {"depth": 1, "age": 1801.0}}}, {}, "queue celery age", "critical",
     "the oldest was sent 1801 s ago"),
    ({"queues": {"celery": {"depth": 1, "age": None}}}, {}, "queue celery age", "unknown",
     "1 wait, without the time of sending"),
    ({"taken": {"count": 8, "age": 301.0}}, {}, "taken", "warning",
     "8 taken and not done, the oldest 301 s ago"),
    ({"taken": {"count": 8, "age": 1801.0}}, {}, "taken", "critical",
     "8 taken and not done, the oldest 1801 s ago"),
    ({"taken": None, "errors": {"asking the broker for what workers hold": "NOPERM"}}, {},
     "taken", "unknown", "NOPERM"),
    ({}, {"beats": 0}, "beat", "critical", "0 on this machine"),
    ({}, {"beats": 2}, "beat", "critical", "2 on this machine (process 0, 1)"),
    ({}, {"stopped": True}, "beat", "critical", "1 on this machine (process 0), stopped"),
    ({"tick": None}, {}, "last tick", "unknown", "last tick 10 s ago"),
    ({"tick": None}, {"since": None}, "last tick", "unknown", "no tick in the journal"),
    ({"tick": None, "errors": {"reading beat's schedule": "no table"}}, {}, "last tick",
     "unknown", "last tick 10 s ago: no table"),
    ({"tick": {"tasks": 0, "overdue": None}}, {}, "last tick", "unknown",
     "last tick 10 s ago, nothing is scheduled"),
    ({"tick": {"tasks": 1, "overdue": 301.0}}, {}, "last tick", "warning",
     "last tick 10 s ago, most overdue of 1 tasks: 301 s"),
    ({"tick": {"tasks": 1, "overdue": 901.0}}, {}, "last tick", "critical",
     "last tick 10 s ago, most overdue of 1 tasks: 901 s"),
]  # fmt: skip


@pytest.mark.parametrize(("answers", "given", "what", "state", "value"), TROUBLE)
def test_trouble_is_told(
    answers: dict[str, t.Any], given: dict[str, t.Any], what: str, state: str, value: str
) -> None:
    rows = judged(good(**answers), **given)
    assert (rows[what].state, rows[what].value) == (state, value)
    assert {name for name, row in rows.items() if row.state != "ok"} == {what}


@pytest.mark.parametrize(
    ("kept", "since", "schedule", "given"),
    [
        ("database", None, "database", None),
        ("database", 5.0, "database", None),
        ("settings", 5.0, "settings", 5.0),
        ("settings", None, "", None),
        ("other", 5.0, "", None),
    ],
)
def test_beat_s_schedule_is_asked_for_where_it_can_be_known(
    kept: str, since: float | None, schedule: str, given: float | None
) -> None:
    check = {
        **{"application": "shop", "module": "tasks", "workers": [], "queues": []},
        **{"beats": 1, "beat_schedule": kept},
    }
    question = _health_celery._question(check, Path("/srv/shop"), "one", since)
    assert (question.schedule, question.since) == (schedule, given)
    none = _health_celery._question({**check, "beats": 0}, Path("/srv/shop"), "one", since)
    assert none.schedule == ""
