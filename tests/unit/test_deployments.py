# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One deployment at a time, each with a line in the history, none blocking for ever."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import threading
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.slipway.stack.plugins.filter.release_table import release_table
from ansible_collections.slipway.stack.plugins.module_utils import _deployments, _lock
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError
from ansible_collections.slipway.stack.plugins.plugin_utils import _operator

NOW = datetime.datetime(2026, 11, 21, 8, 0, tzinfo=datetime.UTC)
ADA = _lock.Holder("ada", "laptop", "1:2:3")
BOB = _lock.Holder("bob", "awx", "4:5:6")


def later(minutes: float) -> datetime.datetime:
    return NOW + datetime.timedelta(minutes=minutes)


def order(holder: _lock.Holder = ADA, dead: str = "") -> _deployments.Order:
    return _deployments.Order("deploy", "v2", holder, 900, dead)


def test_a_second_deployment_is_told_who_holds_the_lock(tmp_path: Path) -> None:
    _deployments.start("shop", order(), "1", NOW, tmp_path)
    with pytest.raises(_lock.Locked, match=r"ada on laptop .*2026-11-21T08:00:00Z \(deploy v2\)"):
        _deployments.start("shop", order(BOB), "1", later(14), tmp_path)


@pytest.mark.parametrize(
    ("holder", "minutes", "gone"),
    [(BOB, 16, False), (ADA, 0, False), (BOB, 1, True)],
    ids=["has expired", "is the same run's", "belongs to a process that is gone"],
)
def test_a_lock_is_taken_over_that(
    tmp_path: Path, holder: _lock.Holder, minutes: float, gone: bool
) -> None:
    number, _none = _deployments.start("shop", order(), "1", NOW, tmp_path)
    wanted = order(holder, number if gone else "")
    _second, interrupted = _deployments.start("shop", wanted, "1", later(minutes), tmp_path)
    assert [(one.id, one.result) for one in interrupted] == [(number, _deployments.INTERRUPTED)]


def test_whoever_lost_the_lock_does_no_more(tmp_path: Path) -> None:
    number, _none = _deployments.start("shop", order(), "1", NOW, tmp_path)
    _deployments.start("shop", order(BOB), "1", later(16), tmp_path)
    with (
        pytest.raises(StackError, match="bob has taken it over"),
        _deployments.phase("shop", number, tmp_path),
    ):
        pytest.fail("the phase must not be entered")


def test_a_long_phase_shows_signs_of_life(tmp_path: Path) -> None:
    held = _lock.Held("1", ADA, "deploy", "", "", 900)
    lock = _lock.Lock("shop", tmp_path)
    lock.take(held, NOW)
    with lock.kept("1", beat=0.01):
        # The sign of life with which it begins is not the one that is meant.
        stale = dataclasses.replace(held, expires="2000-01-01T00:00:00Z")
        with lock._alone():  # as whoever writes it, or the two would meet in one file
            lock._write(stale)
        deadline = time.monotonic() + 60
        while lock.read() == stale and time.monotonic() < deadline:
            time.sleep(0.01)
    after = lock.read()
    assert after
    assert after.expires > stale.expires


def test_a_lock_that_was_lost_meanwhile_does_not_end_the_work(tmp_path: Path) -> None:
    lock = _lock.Lock("shop", tmp_path)
    lock.take(_lock.Held("1", ADA, "deploy", "", "", 900), NOW)
    with lock.kept("1", beat=0.01):
        with lock._alone():  # and not between a look at it and a sign of life
            lock.path.unlink()
        time.sleep(0.05)
    assert lock.read() is None


def test_what_a_killed_run_left_at_work_is_waited_for(tmp_path: Path) -> None:
    """The lock is taken over at once; who was at work goes on to his end, and nobody beside him."""
    lock, done = _lock.Lock("shop", tmp_path), []
    lock.take(_lock.Held("1", ADA, "deploy", "", "", 900), NOW)

    def follow() -> None:
        with lock.kept("2"):
            done.append("2")

    with lock.kept("1"):
        lock.take(_lock.Held("2", BOB, "deploy", "", "", 900), NOW, dead="1")
        with (
            pytest.raises(StackError, match="on shop still goes on here after 0 s"),
            lock.kept("2", patience=0),
        ):
            pass
        follower = threading.Thread(target=follow)
        follower.start()
        follower.join(0.3)
        done.append("1")
    follower.join(60)
    assert done == ["1", "2"]


def test_only_its_own_lock_is_given_back(tmp_path: Path) -> None:
    lock = _lock.Lock("shop", tmp_path)
    lock.take(_lock.Held("1", ADA, "deploy", "", "", 900), NOW)
    for number, held in (("2", True), ("1", False), ("1", False)):
        lock.release(number)
        assert (lock.read() is not None) == held


def test_without_a_deployment_nothing_is_noted(tmp_path: Path) -> None:
    with pytest.raises(StackError), _deployments.phase("shop", "", tmp_path):
        raise StackError("no")
    assert list(tmp_path.iterdir()) == []
    assert _deployments.directory("shop") == Path("/var/lib/slipway/deployments/shop")


def test_a_deployment_ends_as_its_phases_have_noted(tmp_path: Path) -> None:
    number, _none = _deployments.start("shop", order(), "1", NOW, tmp_path)
    with pytest.raises(StackError), _deployments.phase("shop", number, tmp_path):
        raise StackError("it does not start")
    failed = _deployments.finish("shop", number, later(1), tmp_path)
    assert (failed.result, failed.reason) == (_deployments.FAILED, "it does not start")
    assert _lock.Lock("shop", tmp_path).read() is None
    number, _none = _deployments.start("shop", order(), "1", later(2), tmp_path)
    _deployments.History(tmp_path).note(number, result=_deployments.PUBLISHED, release="2")
    assert _deployments.finish("shop", number, later(3), tmp_path).result == _deployments.SUCCEEDED
    lines = _deployments.History(tmp_path).all()
    assert [line.result for line in lines] == ["failed", "succeeded"]


def test_the_history_is_bounded_and_survives_a_broken_file(tmp_path: Path) -> None:
    history = _deployments.History(tmp_path)
    history.path.write_text("{")
    assert history.all() == []
    for number in range(_deployments.KEPT + 5):
        history.begin(_deployments.Deployment(str(number), "deploy", "ada", ""), "")
    assert len(history.all()) == _deployments.KEPT


def test_what_this_version_does_not_know_stays_in_the_history(tmp_path: Path) -> None:
    """Another controller may be newer; its lines say which migrations broke what."""
    history = _deployments.History(tmp_path)
    history.begin(_deployments.Deployment("1", "deploy", "ada", "", breaking="shop.0003"), "")
    (line,) = json.loads(history.path.read_text())
    history.path.write_text(json.dumps([{**line, "ticket": "OPS-7"}]))
    assert [one.breaking for one in history.all()] == ["shop.0003"]
    (interrupted,) = history.begin(_deployments.Deployment("2", "deploy", "bob", ""), "later")
    history.note("1", reason="killed")
    assert (interrupted.id, interrupted.result) == ("1", _deployments.INTERRUPTED)
    first, second = json.loads(history.path.read_text())
    changed = {"finished": "later", "result": _deployments.INTERRUPTED, "reason": "killed"}
    assert first == {**line, **changed, "ticket": "OPS-7"}
    assert second["id"] == "2"


@pytest.mark.parametrize("text", ["{}", "[1]", '[{"id": "1"}]'])
def test_what_is_no_history_at_all_keeps_nobody_from_deploying(tmp_path: Path, text: str) -> None:
    history = _deployments.History(tmp_path)
    history.path.write_text(text)
    assert history.all() == []
    history.begin(_deployments.Deployment("2", "deploy", "bob", ""), "")
    assert [one.id for one in history.all()] == ["2"]


def test_a_process_is_known_to_be_gone_only_on_its_own_controller() -> None:
    mine = _operator.holder({"awx_user_name": "ada"})
    assert mine["who"] == "ada"
    alive = {**mine, "process": _operator.process(os.getpid())}
    place = alive["process"].split(":", 2)[2]
    dead = {**mine, "process": f"999999999:1:{place}"}
    recycled = {**mine, "process": f"{os.getpid()}:1:{place}"}
    elsewhere = {**dead, "controller": "elsewhere"}
    unreadable = {**mine, "process": "who knows"}
    every = (alive, dead, recycled, elsewhere, unreadable)
    gone = [_operator.is_gone(held, mine) for held in every]
    assert gone == [False, True, True, False, False]


def _machine(root: Path, boot: str = "b", namespace: str = "pid:[1]") -> Path:
    """What /proc says of one controller on which no process is."""
    (root / "sys/kernel/random").mkdir(parents=True)
    (root / "sys/kernel/random/boot_id").write_text(f"{boot}\n")
    (root / "self/ns").mkdir(parents=True)
    (root / "self/ns/pid").symlink_to(namespace)
    return root


@pytest.mark.parametrize(
    ("other", "gone"),
    [({}, True), ({"boot": "c"}, False), ({"namespace": "pid:[2]"}, False)],
    ids=["the very same", "another laptop of that name, or this one before", "a container"],
)
def test_controllers_of_one_name_are_kept_apart(
    tmp_path: Path, other: dict[str, str], gone: bool
) -> None:
    here, there = _machine(tmp_path / "here"), _machine(tmp_path / "there", **other)
    held = {"controller": "debian", "process": _operator.process(7, there)}
    # Seen from here, another process has the number by now.
    (here / "7").mkdir()
    (here / "7" / "stat").write_text(f"7 (x) {' '.join('5' * 30)}")
    mine = {"controller": "debian", "process": _operator.process(7, here)}
    assert _operator.is_gone(held, mine, here) is gone


def test_nobody_is_gone_where_no_process_can_be_looked_at(tmp_path: Path) -> None:
    assert _operator.holder({}, tmp_path)["process"] == f"{os.getppid()}::"
    held = {"controller": "mac", "process": "7:1:"}
    assert not _operator.is_gone(held, held, tmp_path)


@pytest.mark.parametrize("killed", [False, True])
def test_who_outlives_the_run_that_was_killed_holds_no_lock_of_whoever_adopts_it(
    tmp_path: Path, killed: bool
) -> None:
    """Workers of Ansible have sessions of their own: a SIGKILL for its group leaves them alive."""
    _machine(tmp_path)
    for number, words in ((os.getpid(), b"ansible\0"), (os.getppid(), b"ansible\0")):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "cmdline").write_bytes(words)
    if killed:
        (tmp_path / str(os.getppid()) / "cmdline").write_bytes(b"/sbin/init\0")
    held = _operator.holder({}, tmp_path)
    assert _operator.is_gone(held, held, tmp_path) is killed


def machine(current: str, *lines: dict[str, str]) -> dict[str, t.Any]:
    """What the history of a machine is found to be; each line with what matters to the test."""
    common = {"who": "ada", "what": "deploy", "version": "v1", "result": "succeeded", "reason": ""}
    shop = {"history": [{**common, "release": "a", **line} for line in lines], "current": current}
    return {"__app_info": {"applications": {"shop": shop}}}


MORNING = {"started": "2026-11-29T08:00:00Z"}
NOON = {"started": "2026-11-29T12:00:00Z", "release": "b"}


def test_the_table_shows_the_newest_first_and_what_serves() -> None:
    every = {"a": machine("b", MORNING, {**NOON, "reason": "z\n"})}
    lines = release_table(["a"], every).splitlines()
    assert [line.split()[1] for line in lines] == ["when", NOON["started"], MORNING["started"]]
    assert "  a         b (serves)" in lines[1]
    assert lines[1].endswith("z")


def test_a_deployment_of_several_machines_is_one_line_of_one_table() -> None:
    later = {**NOON, "started": "2026-11-29T12:00:41Z"}
    every = {"a": machine("b", MORNING, NOON), "b": machine("b", MORNING, later), "gone": {}}
    lines = release_table(["a", "b", "gone"], every).splitlines()
    assert len(lines) == 3
    assert lines[1].split()[:6] == ["shop", NOON["started"], "ada", "deploy", "v1", "all"]


def test_machines_on_which_it_came_to_something_else_have_a_line_of_their_own() -> None:
    failed = {**NOON, "result": "failed"}
    every = {
        "a": machine("a", MORNING, {**failed, "reason": "c failed, so this one went back"}),
        "b": machine("a", MORNING, {**failed, "reason": "c failed, so this one went back"}),
        "c": machine("a", MORNING, {**failed, "reason": "it is ill"}),
        "d": machine("a", MORNING, NOON | {"started": "2026-11-29T13:00:00Z"}),
    }
    lines = release_table(list(every), every).splitlines()
    assert [line.split()[5].strip(",") for line in lines[1:]] == ["d", "a", "c", "all"]
    assert "a, b      b " in lines[2] and lines[3].endswith("it is ill")


def test_a_reason_is_not_cut_in_the_middle_of_a_word() -> None:
    every = {"a": machine("a", {**MORNING, "reason": "because " * 20})}
    line = release_table(["a"], every).splitlines()[1]
    assert line.endswith("because because ...")
    assert line.count("because") == 12
