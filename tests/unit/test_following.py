# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Workers and beat follow a release; systemd is a fake, also the systemd-run that asks Celery."""

from __future__ import annotations

import errno
import socket
import typing as t
from pathlib import Path

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _celery, _following, _units
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError
from fakes import Systemd, needs_root, systemd_run

ONE, TWO = "shop-worker-a.service", "shop-worker-b.service"


@pytest.fixture(autouse=True)
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_units, "RECORDS", str(tmp_path / "records"))


def worker(unit: str = ONE, home: Path = Path("/srv/shop")) -> _celery.Worker:
    return _celery.Worker(unit, "shop-a", "root", "tasks", home)


HERE = socket.gethostname()
NOBODY: dict[str, int] = {}


@pytest.mark.parametrize(
    ("answers", "pauses"),
    [
        ([{f"shop-a@{HERE}": 0}], 0),
        ([{f"shop-a@{HERE}": 0, "shop-a@other": 1}, {f"shop-a@{HERE}": 0}], 1),
        ([{f"shop-a@{HERE}": 0, "blog-a@other": 1}], 0),
        ([{f"shop-a@{HERE}": 2}] * 9, 3),
        ([NOBODY, {"shop-a@other": 0}, {f"shop-a@{HERE}": 0}], 2),
        ([None, {f"shop-a@{HERE}": 0}], 1),
    ],
    ids=["idle", "busy elsewhere", "another application's", "busy for long", "silent", "no answer"],
)
def test_workers_are_waited_for_until_idle_but_not_for_ever(
    answers: list[dict[str, int] | None], pauses: int
) -> None:
    asked: list[_celery.Question] = []

    def ask(question: _celery.Question, _deadline: object) -> _celery.Answers:
        asked.append(question)
        told = answers[len(asked) - 1]
        if told is None:
            raise StackError("the broker is not there")
        return _celery.Answers(at_work=told)

    slept: list[float] = []
    _following.wait_until_idle([worker()], 1.5, ask, clock=lambda: sum(slept), sleep=slept.append)
    assert len(slept) == pauses
    assert len(asked) == pauses + 1
    assert asked[0].at_work


def test_nobody_is_asked_where_no_worker_runs() -> None:
    _following.wait_until_idle([], 9)


@pytest.mark.parametrize("known", [True, False])
def test_a_worker_that_was_stopped_starts_also_when_whoever_stopped_it_was_killed(
    tmp_path: Path, known: bool
) -> None:
    (tmp_path / "current").symlink_to("releases/2")
    current, systemd = str(tmp_path / "current"), Systemd(ONE, TWO)
    systemd.running.remove(TWO)
    if known:  # not where somebody else has started it
        _units.remember(ONE, _units.digests_of(_unit(current), {}))
    both = [worker(ONE, tmp_path), worker(TWO, tmp_path)]
    assert _following.quiet(both, 1, systemd, going_back=False) == ""
    assert systemd.told == [f"stop {ONE}"]
    assert _units.announced([ONE, TWO], current) == [ONE]
    # Not before another machine may have waited for its tasks in vain.
    assert systemd.timers == {"root-workers-abandoned": "start after 121"}
    assert _following.restart([ONE, TWO], current, systemd) == ([ONE], "")
    assert _units.announced([ONE, TWO], current) == []
    assert systemd.running == {ONE}


def test_nobody_starts_workers_that_have_been_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_celery, "require_answers", lambda *_: None)
    systemd, one = Systemd(ONE), [worker(home=tmp_path)]
    assert _following.quiet(one, 1, systemd, going_back=False) == ""
    assert _following.workers(one, 1, systemd) == ""
    assert (systemd.timers, systemd.running) == ({}, {ONE})


def test_nobody_restarts_workers_that_are_being_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That takes as long as their tasks, which is longer than they may be deaf."""
    monkeypatch.setattr(_celery, "require_answers", lambda *_: None)
    systemd, armed = Systemd(ONE), []
    systemd.timers = {"root-workers-deaf": "restart after 120", "root-workers-abandoned": "start"}

    def run(argv: t.Sequence[str], timeout: float = 0) -> t.Any:
        if argv[1] == "restart":
            armed.append(list(systemd.timers))
        return systemd(argv, timeout)

    assert _following.workers([worker(home=tmp_path)], 1, run) == ""
    assert armed == [["root-workers-abandoned"]]


@pytest.mark.parametrize("fired", [True, False])
@pytest.mark.parametrize("name", ["root-workers-deaf", "root-workers-abandoned"])
def test_what_a_killed_run_has_left_to_systemd_keeps_nobody_from_stopping_workers(
    tmp_path: Path, name: str, fired: bool
) -> None:
    """Once it has begun it goes on as long as the tasks that it waits for."""
    systemd = Systemd(ONE)
    systemd.timers, systemd.fired = ({}, {name}) if fired else ({name: "of before"}, set())
    assert _following.quiet([worker(home=tmp_path)], 1, systemd, going_back=False) == ""
    assert systemd.timers == {"root-workers-abandoned": "start after 121"}


@pytest.mark.parametrize("answers", [True, False])
def test_workers_take_no_more_tasks_before_they_stop(tmp_path: Path, answers: bool) -> None:
    systemd, asked = Systemd(ONE), []

    def ask(question: _celery.Question, _deadline: object) -> _celery.Answers:
        # Whoever is deaf starts anew also when we are killed here.
        asked.append((question.retire, dict(systemd.timers), list(systemd.told)))
        if not answers:
            raise StackError("the broker is not there")
        return _celery.Answers()

    assert _following.quiet([worker(home=tmp_path)], 1, systemd, False, ask) == ""
    armed = {"root-workers-deaf": "restart after 120"}
    assert asked == [((f"shop-a@{HERE}",), armed, [])]
    assert systemd.told == [f"stop {ONE}"]
    assert systemd.timers == {"root-workers-abandoned": "start after 121"}


def test_workers_that_do_not_stop_are_told_and_do_not_stay_deaf() -> None:
    systemd = Systemd(ONE)
    systemd.refuses = {f"stop {ONE}": "no bus"}
    said = _following.quiet([worker()], 1, systemd, going_back=False)
    assert said == f"{ONE} did not stop: no bus"
    assert "root-workers-deaf" in systemd.timers


def test_a_disk_without_room_is_told_as_trouble(tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to("releases/2")

    def full(*_arguments: t.Any, **_options: t.Any) -> t.Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    told = "[Errno 28] No space left on device"
    assert _following.workers([worker(home=tmp_path)], 1, full) == told
    assert _following.quiet([worker(home=tmp_path)], 1, full, going_back=True) == told
    assert _following.beat(ONE, str(tmp_path / "current"), full) == told


def test_units_that_run_are_restarted_together_and_the_others_left_alone(tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to("releases/2")
    systemd = Systemd(ONE, TWO)
    systemd.running.remove(TWO)
    current = str(tmp_path / "current")
    assert _following.restart([ONE, TWO], current, systemd) == ([ONE], "")
    assert systemd.told == [f"restart {ONE}"]
    assert _units.recall(TWO) is None
    recorded = _units.recall(ONE)
    (tmp_path / "current").unlink()
    assert recorded and recorded != _units.digests_of(_unit(current), {})


def _unit(current: str) -> _units.Unit:
    return _units.Unit(ONE, True, "started", (current,), ())


def test_where_nothing_runs_nothing_is_restarted() -> None:
    systemd = Systemd()
    assert _following.restart([ONE], "/current", systemd) == ([], "")
    assert _following.beat(ONE, "/current", systemd) == ""
    assert _following.beat("", "/current", systemd) == ""
    assert systemd.told == []


@pytest.mark.parametrize(
    ("refuses", "dies", "trouble"),
    [
        ({f"restart {ONE}": "no memory"}, set(), f"{ONE} did not restart: no memory"),
        ({}, {ONE}, f"{ONE} does not start: it is inactive (x) afterwards"),
    ],
)
def test_a_worker_that_does_not_come_back_is_named_and_not_pinged(
    refuses: dict[str, str], dies: set[str], trouble: str
) -> None:
    class Dying(Systemd):  # type: ignore[misc]
        """A fake whose units end as soon as they were restarted."""

        def __call__(self, argv: list[str], timeout: float = 0) -> object:
            done = super().__call__(argv, timeout)
            self.running -= dies if argv[1] == "restart" else set()
            return done

    systemd = Dying(ONE)
    systemd.refuses = refuses
    said = _following.workers([worker()], 1, systemd)
    assert said.startswith(trouble)
    assert _units.recall(ONE) is None


@needs_root
def test_a_worker_that_does_not_answer_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    systemd_run(monkeypatch, tmp_path, "exit 1")
    systemd = Systemd(ONE)
    said = _following.workers([worker(home=tmp_path)], 0, systemd)
    assert said.startswith(f"{ONE} does not answer a ping after 0 s")
    assert "is not deployed here" in said


def test_an_application_without_workers_has_nothing_to_follow() -> None:
    assert _following.quiet([], 1, Systemd(), going_back=True) == ""
    assert _following.workers([], 1, Systemd()) == ""
