# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The doors: modules and actions as Ansible runs them. What they ask of a machine is a fake."""

from __future__ import annotations

import dataclasses
import datetime
import importlib
import json
import os
import pwd
import typing as t
from pathlib import Path

import pytest
from ansible_collections.slipway.stack.plugins.action import app_deployment as action_plugin
from ansible_collections.slipway.stack.plugins.module_utils import (
    _application_commands,
    _clusters,
    _commands,
    _deployments,
    _files,
    _lock,
    _provided,
    _psql,
    _publication,
    _releases,
    _serving,
    _units,
)
from ansible_collections.slipway.stack.plugins.modules import postgres_cluster
from ansible_collections.slipway.stack.plugins.plugin_utils import _operator
from fakes import SERVICE, Shop, action, needs_root, program, run_module
from test_sources import USER, Repository

Capture = pytest.CaptureFixture[str]
ADA = {"who": "ada", "controller": "laptop", "process": "1:2:3"}


@pytest.fixture
def deployments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(_deployments, "DIRECTORY", tmp_path / "deployments")
    return tmp_path / "deployments"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where programs are looked for before anywhere else."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(_commands, "_SEARCH", f"{folder}:/usr/bin:/bin")
    return folder


# Deployments.


def begin(capsys: Capture, shop: Shop, **given: t.Any) -> dict[str, t.Any]:
    options = {"state": "begun", "holder": ADA, "version": "v2", **given}
    return run_module(
        "app_deployment", capsys, name="shop", home=str(shop.releases.home), **options
    )


def end(capsys: Capture, shop: Shop, number: str, **given: t.Any) -> dict[str, t.Any]:
    return begin(capsys, shop, state="ended", deployment=number, **given)


def test_a_deployment_begins_and_ends(deployments: Path, shop: Shop, capsys: Capture) -> None:
    for name in "1234":
        shop.add(name, _releases.GOOD)
    shop.releases.point("current", "4")
    begun = begin(capsys, shop)
    assert (begun["rc"], begun["interrupted"], begun["recovered"]) == (0, [], "")
    (line,) = _deployments.History(deployments / "shop").all()
    assert (line.id, line.before, line.who) == (begun["deployment"], "4", "ada")
    shop.releases.point("next", "1")
    ended = end(capsys, shop, begun["deployment"], keep=2)
    assert shop.linked("next") == "" and not (shop.releases.home / "next").is_symlink()
    assert ended["pruned"] == ["1", "2"]
    assert _lock.Lock("shop", deployments / "shop").read() is None
    (line,) = _deployments.History(deployments / "shop").all()
    assert (line.result, line.reason) == ("failed", "it ended without an answer")


def test_a_machine_that_stops_because_of_another_one_says_so(
    deployments: Path, shop: Shop, capsys: Capture
) -> None:
    number = begin(capsys, shop)["deployment"]
    end(capsys, shop, number, trouble="b failed, nothing is switched here.")
    (line,) = _deployments.History(deployments / "shop").all()
    assert (line.result, line.reason) == ("failed", "b failed, nothing is switched here.")


def test_whoever_lost_the_lock_removes_nothing_of_the_winners(
    deployments: Path, shop: Shop, capsys: Capture
) -> None:
    """A build has no record before it is complete, so that it looks like something left behind."""
    shop.add("1", _releases.GOOD)
    shop.releases.point("current", "1")
    lost = begin(capsys, shop)["deployment"]
    won = begin(capsys, shop, holder={**ADA, "who": "bob", "process": "9:9:9"}, dead=lost)
    shop.add("2", _releases.BUILT)
    shop.releases.path("3").mkdir()
    said = end(capsys, shop, lost)
    assert said["rc"] == 1 and "has lost its lock: bob has taken it over" in said["msg"]
    assert sorted(path.name for path in shop.releases.directory.iterdir()) == ["1", "2", "3"]
    held = _lock.Lock("shop", deployments / "shop").read()
    assert held and held.deployment == won["deployment"]
    first = _deployments.History(deployments / "shop").find(lost)
    assert first and first.result == _deployments.INTERRUPTED


@pytest.mark.parametrize("other", [{}, {"who": "bob", "process": "9:9:9"}])
def test_whoever_asks_takes_nothing(
    deployments: Path, shop: Shop, capsys: Capture, other: dict[str, str]
) -> None:
    assert begin(capsys, shop, state="asked")["rc"] == 0
    assert not deployments.exists()
    begin(capsys, shop)
    held = _lock.Lock("shop", deployments / "shop").read()
    said = begin(capsys, shop, state="asked", holder={**ADA, **other})
    assert said["rc"] == bool(other) and ("held" in said) == bool(other)
    assert _lock.Lock("shop", deployments / "shop").read() == held


@pytest.mark.parametrize("refused", [True, False])
def test_no_machine_begins_while_one_of_them_is_anothers(refused: bool) -> None:
    """One that waits seems abandoned while a peer of it builds, migrates or takes its turn."""
    plugin = action(action_plugin, {"state": "begun", "peers": ["one", "two"]})
    plugin._execute_module = lambda _name, **_given: {"deployment": "8"}
    left = ["two"] if refused else ["one", "two"]
    hosts = {"ansible_play_hosts_all": ["one", "two"], "ansible_play_hosts": left}
    said = plugin.run(task_vars={"inventory_hostname": "two", **hosts})
    assert ("deployment" in said) != refused
    assert said.get("msg") == ("one failed, nothing is begun here." if refused else None)


@pytest.mark.parametrize("published", [True, False])
def test_what_goes_on_serving_collects_its_files_again(
    deployments: Path,
    shop: Shop,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    published: bool,
) -> None:
    """A release that was refused has put its own there, and so has one that was interrupted."""
    collected: list[tuple[str, ...]] = []

    def collect(*given: t.Any) -> _application_commands.Outcome:
        collected.append(tuple(map(str, given[:4])))
        return _application_commands.Outcome(1, "no room")

    monkeypatch.setattr(_application_commands, "at_home", collect)
    shop.add("1", _releases.GOOD)
    shop.releases.point("current", "1")
    commands = [{"name": "collectstatic", "command": "collect"}]
    number = begin(capsys, shop, commands=commands)["deployment"]
    assert collected == []
    if published:
        history = _deployments.History(deployments / "shop")
        history.note(number, result=_deployments.PUBLISHED)
    said = end(capsys, shop, number, commands=commands)
    home = shop.releases.home
    once = ("shop", "collect", str(home), str(home / "releases/1"))
    assert collected == ([] if published else [once])
    missed = "The release of shop that serves: collectstatic failed: no room"
    assert said["warnings"] == ([] if published else [missed])
    dead = begin(capsys, shop)["deployment"]
    begun = begin(capsys, shop, commands=commands, dead=dead)
    assert collected == [once] * (1 if published else 2)
    assert begun["warnings"] == [missed]


def test_a_deployment_that_never_began_cannot_end(
    deployments: Path, shop: Shop, capsys: Capture
) -> None:
    said = end(capsys, shop, "none")
    assert said["msg"] == "shop has no deployment none; begin one first."


def test_who_holds_the_lock_is_told_so_that_the_controller_can_judge(
    deployments: Path, shop: Shop, capsys: Capture
) -> None:
    number = begin(capsys, shop)["deployment"]
    other = {**ADA, "who": "bob", "process": "9:9:9"}
    said = begin(capsys, shop, holder=other)
    assert said["rc"] == 1 and said["msg"].startswith("shop is locked: ada on laptop")
    assert (said["held"]["deployment"], said["held"]["holder"]) == (number, ADA)
    taken = begin(capsys, shop, holder=other, dead=number)
    assert taken["interrupted"][0].startswith("deploy of ") and taken["rc"] == 0


def test_what_cannot_be_put_right_ends_the_deployment(
    deployments: Path, shop: Shop, capsys: Capture, path: Path
) -> None:
    """A release half-way, its application without a systemd that answers."""
    program(path, "systemctl", "echo no bus; exit 1")
    shop.add("1", _releases.GOOD)
    shop.add("2", _releases.BUILT)
    shop.releases.point("previous", "1")
    shop.releases.point("current", "2")
    endpoint = {"service": SERVICE, "kind": "web", "address": "/x", "path": "/", "host": "x"}
    given = {"endpoints": [{**endpoint, "strict": True}], "units": [{"name": SERVICE}]}
    said = begin(capsys, shop, **given)
    assert said["rc"] == 1 and "systemd does not answer" in said["msg"]
    assert _lock.Lock("shop", deployments / "shop").read() is None
    (line,) = _deployments.History(deployments / "shop").all()
    assert (line.result, bool(line.finished)) == ("failed", True)


def test_what_served_before_two_runs_that_were_killed_is_gone_back_to(
    deployments: Path, shop: Shop, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one was killed before it could put right what the first one had left."""
    for name, result in (("0", _releases.GOOD), ("1", _releases.GOOD), ("2", _releases.BUILT)):
        shop.add(name, result)
    shop.releases.point("previous", "0")
    shop.releases.point("current", "1")
    begin(capsys, shop)
    shop.releases.point("current", "2")
    with monkeypatch.context() as patch:
        patch.setattr(_publication, "recover", lambda *_, **__: ("", ""))
        begin(capsys, shop)
    assert begin(capsys, shop)["recovered"] == "2"
    assert (shop.linked(), shop.linked("previous")) == ("1", "0")
    lines = _deployments.History(deployments / "shop").all()
    assert [line.before for line in lines] == ["1", "1", "1"]


def test_check_mode_begins_nothing(deployments: Path, shop: Shop, capsys: Capture) -> None:
    given = {"name": "shop", "home": str(shop.releases.home), "state": "begun"}
    said = run_module("app_deployment", capsys, True, **given)
    assert (said["deployment"], deployments.exists()) == ("", False)


@pytest.mark.parametrize("gone", [True, False])
def test_the_lock_of_a_process_that_is_gone_is_taken_over(gone: bool) -> None:
    mine = _operator.holder({"awx_user_name": "ada"})
    process = _operator.process(999999999 if gone else os.getpid())
    process = process.replace("999999999::", "999999999:1:")
    held = {"deployment": "7", "holder": {**mine, "process": process}}
    plugin, asked = action(action_plugin, {"state": "begun"}), []

    def execute(_name: str, module_args: dict[str, t.Any], task_vars: t.Any) -> dict[str, t.Any]:
        asked.append(module_args)
        return {"deployment": "8"} if "dead" in module_args else {"failed": True, "held": held}

    plugin._execute_module = execute
    result = plugin.run(task_vars={"awx_user_name": "ada"})
    assert [one.get("dead") for one in asked] == ([None, "7"] if gone else [None])
    assert asked[0]["holder"]["who"] == "ada"
    assert ("failed" in result) != gone


# Publication.


@pytest.mark.parametrize(("check_mode", "prove"), [(True, True), (True, False)])
def test_check_mode_publishes_nothing(
    shop: Shop, capsys: Capture, check_mode: bool, prove: bool
) -> None:
    given = {"name": "shop", "home": str(shop.releases.home), "release": "2", "prove_only": prove}
    said = run_module("app_publish", capsys, check_mode, **given)
    assert (said["changed"], said["release"], shop.linked()) == (not prove, "2", "")


def publish(capsys: Capture, shop: Shop, **given: t.Any) -> dict[str, t.Any]:
    return run_module("app_publish", capsys, name="shop", home=str(shop.releases.home), **given)


def test_without_a_release_there_is_nothing_to_restart(shop: Shop, capsys: Capture) -> None:
    assert publish(capsys, shop)["msg"].startswith("shop has no release to restart: deploy one")


@pytest.mark.parametrize("sick", [False, True])
def test_a_release_can_be_proved_only(shop: Shop, capsys: Capture, sick: bool) -> None:
    shop.add("1", _releases.GOOD)
    shop.releases.point("current", "1")
    shop.sick = {"1"} if sick else set()
    endpoint = {
        **dataclasses.asdict(shop.server.endpoint),
        **{"service": SERVICE, "kind": "web", "module": "m", "configuration": "c"},
    }
    said = publish(capsys, shop, prove_only=True, endpoints=[endpoint], health_timeout=1)
    assert said["rc"] == int(sick)
    if sick:
        assert said["msg"].endswith(". See journalctl -u 'shop-*'.")
    else:
        assert (said["changed"], said["release"]) == (False, "1")


@pytest.mark.parametrize(
    ("trouble", "tolerant"), [("", False), ("no bus", False), ("no bus", True)]
)
def test_workers_follow_what_serves(
    deployments: Path,
    shop: Shop,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    trouble: str,
    tolerant: bool,
) -> None:
    """At the start of a deployment as far as they can: it may be what mends them."""
    shop.add("1", _releases.GOOD)
    shop.releases.point("current", "1")
    monkeypatch.setattr(_publication, "follow", lambda *_: trouble)
    number = begin(capsys, shop)["deployment"]
    said = publish(capsys, shop, part="quiet", tolerant=tolerant, deployment=number)
    told = ["Workers of shop do not run 1: no bus."] if trouble else []
    (line,) = _deployments.History(deployments / "shop").all()
    if trouble and not tolerant:
        assert [said["msg"]] == [line.reason] == told
    else:
        assert (said["changed"], said["release"], said["warnings"]) == (True, "1", told)
        assert line.result == _deployments.UNDER_WAY


def test_what_was_published_stands_in_the_history(
    deployments: Path, shop: Shop, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.add("1", _releases.GOOD)
    shop.add("2", _releases.BUILT)
    shop.releases.point("current", "1")
    number = begin(capsys, shop)["deployment"]
    first = publish(capsys, shop, release="2", part="workers", deployment=number)
    assert first["found"] == {"before": "", "previous": "", "boot_seconds": 0.0, "switched": True}
    assert _deployments.History(deployments / "shop").all()[0].release == ""
    found = {**first["found"], "before": "1"}
    said = publish(capsys, shop, release="2", part="servers", deployment=number, found=found)
    assert (said["diff"]["before"], said["diff"]["after"]) == ("2\n", "2\n")
    assert _deployments.History(deployments / "shop").all()[0].release == "2"
    assert publish(capsys, shop)["diff"] == {**said["diff"]}, "a restart has no line of its own"
    undone = publish(
        capsys, shop, release="2", part="undo", found=found, reason="b failed.", withdraw=True
    )
    assert (undone["rc"], undone["msg"], shop.linked()) == (1, "b failed.", "1")
    shop.add("3", _releases.BUILT)
    publish(capsys, shop, release="3", part="all")
    missed = "collectstatic failed: no room"
    monkeypatch.setattr(_publication, "collect", lambda *_: missed)
    tried = publish(capsys, shop, release="3", part="try", withdraw=True)
    assert tried["warnings"] == [f"Release 3 of shop may miss its files: {missed}"]
    back = {"release": "3", "part": "undo", "found": {**found, "before": "1"}}
    watched = publish(capsys, shop, **back, trouble="it is slow", reason="it is slow")
    assert watched["msg"] == (
        f"Release 3 of shop was taken back, 1 serves again: it is slow. It serves, but: {missed}."
    )
    assert shop.linked() == "1"
    failed = shop.releases.read("3")
    assert failed
    assert failed.result == _releases.FAILED


# What there is to know of releases.


def info(capsys: Capture, home: Path, **given: t.Any) -> dict[str, t.Any]:
    again, history = given.pop("again", False), given.pop("history", False)
    one = {"name": USER, "home": str(home), "python": "/usr/bin/python3", **given}
    return run_module("app_release_info", capsys, applications=[one], again=again, history=history)


@pytest.mark.parametrize(
    ("result", "revision", "again", "needed", "withdrawn"),
    [
        (_releases.GOOD, "revision-1", False, False, False),
        (_releases.GOOD, "revision-2", False, True, False),
        (_releases.BUILT, "revision-1", False, True, False),
        (_releases.WITHDRAWN, "revision-1", False, False, True),
        (_releases.WITHDRAWN, "revision-1", True, True, False),
    ],
)
def test_a_release_is_needed_unless_it_serves_or_was_withdrawn(
    shop: Shop,
    capsys: Capture,
    result: str,
    revision: str,
    again: bool,
    needed: bool,
    withdrawn: bool,
) -> None:
    shop.add("1", result)
    shop.releases.point("current", "1")
    said = info(capsys, shop.releases.home, revision=revision, again=again)
    found = said["applications"][USER]
    assert (found["needed"], found["withdrawn"], found["current"]) == (needed, withdrawn, "1")
    assert (found["previous"], "history" in found) == ("", False)


def test_a_revision_that_was_rolled_back_is_not_released_once_it_is_pruned(
    shop: Shop, capsys: Capture
) -> None:
    for name, result in (("1", _releases.GOOD), ("2", _releases.WITHDRAWN)):
        shop.add(name, result)
    shop.releases.point("current", "1")
    found = []
    for again in (False, True):
        assert shop.releases.prune(5) == ([] if again else ["2"])
        said = info(capsys, shop.releases.home, revision="revision-2", again=again)
        one = said["applications"][USER]
        found.append((one["needed"], one["withdrawn"]))
    assert found == [(False, True), (True, False)]


def test_a_release_that_a_stand_in_was_left_beside_is_needed_again(
    shop: Shop, capsys: Capture
) -> None:
    """Whoever killed the switch in which it stood in may have left it answering visitors."""
    shop.add("1", _releases.GOOD)
    shop.releases.point("current", "1")
    found = []
    for standin in ("1", None):
        shop.releases.point(_serving.STANDIN, standin)
        said = info(capsys, shop.releases.home, revision="revision-1")
        found.append(said["applications"][USER]["needed"])
    assert found == [True, False]


@pytest.mark.parametrize("state", ["active", "inactive"])
def test_a_release_is_needed_again_while_a_server_runs_another(
    shop: Shop, capsys: Capture, path: Path, state: str
) -> None:
    """Not every server has a stand-in that tells of a switch that was killed."""
    program(path, "systemctl", f'echo "{SHOWN.format(state=state)}"')
    shop.add("1", _releases.GOOD)
    shop.releases.point("current", "1")
    current = str(shop.releases.home / "current")
    found = []
    for digest in ("of another release", _files.digest(current, {})):
        _units.remember(SERVICE, {current: digest})
        said = info(capsys, shop.releases.home, revision="revision-1", servers=[SERVICE])
        found.append(said["applications"][USER]["needed"])
    assert found == [state == "active", False]


@pytest.mark.parametrize("locked", [True, False])
def test_the_history_tells_who_is_at_it(
    deployments: Path, shop: Shop, capsys: Capture, locked: bool
) -> None:
    if locked:
        order = _deployments.Order("deploy", "v2", _lock.Holder(**ADA), 900)
        _deployments.start(USER, order, "", datetime.datetime.now(datetime.UTC))
    found = info(capsys, shop.releases.home, revision="x", history=True)["applications"][USER]
    assert len(found["history"]) == int(locked)
    assert (found["lock"].get("holder") == ADA) == locked


@needs_root
def test_a_branch_is_looked_up_in_its_repository(room: Path, capsys: Capture) -> None:
    repository, home = Repository(room / "shop.git"), room / "home"
    given = {"repository": str(repository.path), "version": "main", "deploy_key": "/none"}
    assert info(capsys, home, **given)["applications"][USER]["wanted"] == "", "not installed yet"
    (home / "cache").mkdir(parents=True)
    os.chown(home / "cache", pwd.getpwnam(USER).pw_uid, -1)
    found = info(capsys, home, **given)["applications"][USER]
    assert found["wanted"] == repository.commits[1]
    assert info(capsys, home, **given, name="nobody-at-all")["applications"] == {
        "nobody-at-all": {**found, "wanted": ""}
    }
    fixed = info(capsys, home, **given, fixed=True)
    assert fixed["msg"].startswith(f"main of {USER} is no tag and may hold")
    assert (
        "neither a tag nor a branch 'v9'" in info(capsys, home, **{**given, "version": "v9"})["msg"]
    )


# Backups, workers, databases.


@pytest.mark.parametrize("ok", [True, False])
def test_a_backup_is_started_and_judged_by_its_state(
    path: Path, tmp_path: Path, capsys: Capture, ok: bool
) -> None:
    now = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=1)).isoformat()
    result = {"ok": ok, "verified": ok, "size": 1, "seconds": 1, "detail": "no room."}
    state = {"started": now, "databases": {"shop": result}}
    (tmp_path / "next").write_text(json.dumps(state))
    program(path, "systemctl", f"mv {tmp_path}/next {tmp_path}/state.json")
    given = {"state_file": str(tmp_path / "state.json")}
    assert run_module("back_up", capsys, True, **given)["databases"] == []
    said = run_module("back_up", capsys, **given)
    assert (said["rc"], [one["database"] for one in said["databases"]]) == (int(not ok), ["shop"])
    assert ok or said["msg"] == "Backup failed for shop: no room."
    assert not (tmp_path / "full_wanted").exists()


def test_a_full_backup_is_asked_for(
    path: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_psql, "as_user", lambda _user, command: command)
    program(path, "systemctl", "true")
    given = {"state_file": str(tmp_path / "state.json"), "full": True}
    assert "did not run" in run_module("back_up", capsys, **given)["msg"]
    assert (tmp_path / "full_wanted").exists()


WORKER = {"unit": "w.service", "node": "", "application": "shop", "module": "m", "home": "/x"}
SHOWN = "LoadState=loaded\nActiveState={state}\nSubState=x\nType=notify"


@pytest.mark.parametrize("state", ["active", "failed"])
def test_workers_are_restarted_on_what_they_watch(
    path: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setattr(_units, "RECORDS", str(tmp_path / "records"))
    text = f'echo $1 >> {tmp_path}/told; [ $1 != show ] || echo "{SHOWN.format(state=state)}"'
    program(path, "systemctl", text)
    workers = [{**WORKER, "restart_on": [str(tmp_path / "current")]}]
    given = {"workers": workers, "restart": True, "timeout": 0}
    assert run_module("celery_ping", capsys, True, **given)["changed"]
    assert not (tmp_path / "told").exists()
    said = run_module("celery_ping", capsys, **given)
    assert "restart" in (tmp_path / "told").read_text().split()
    if state == "active":
        assert (said["changed"], said["nodes"]) == (True, [])
        assert _units.recall("w.service") == {str(tmp_path / "current"): "absent"}
    else:
        assert said["msg"].startswith("w.service does not start again: it is failed (x)")


def test_a_worker_that_is_not_there_does_not_answer(capsys: Capture) -> None:
    said = run_module("celery_ping", capsys, workers=[{**WORKER, "node": "shop-w"}], timeout=0)
    assert said["msg"].startswith("w.service does not answer a ping after 0 s")


def answers(monkeypatch: pytest.MonkeyPatch, *said: tuple[int, str, str]) -> list[str]:
    """A fake of psql; what it was told."""
    left, told = list(said), []

    def run(_command: t.Any, sql: str) -> tuple[int, str, str]:
        told.append(sql)
        return left.pop(0)

    others = (_psql.Psql.__init__.__defaults__ or ())[3:]
    given = (run, "postgres", lambda _s: None, *others)
    monkeypatch.setattr(_psql.Psql.__init__, "__defaults__", given)
    return told


def cluster(**given: t.Any) -> tuple[int, str, str]:
    plain = {"version": 170000, "roles": {}, "databases": {}, "pending_restart": []}
    return 0, json.dumps({**plain, "hba_errors": [], **given}), ""


BLOG = {"name": "blog", "password": "secret-secret"}
CONTENT: dict[str, t.Any] = {
    "name": "postgres",
    "extensions": [],
    "available": [],
    "schemas": {},
    "lookup": None,
    "point_setters": [],
}


def test_databases_are_made_and_what_waits_for_a_restart_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    pending = cluster(pending_restart=["shared_buffers"])
    told = answers(monkeypatch, pending, (0, "", ""), (0, "", ""))
    said = run_module("postgres_objects", capsys, databases=[BLOG])
    assert said["changed"] and "database blog: create it, owned by blog" in said["actions"]
    assert "PostgreSQL follows shared_buffers only after a restart" in said["warned"]
    assert "CREATE DATABASE" in told[-1] and "secret-secret" not in told[-1] + str(said["actions"])


@pytest.mark.parametrize("reachable", [True, False])
def test_databases_are_foreseen_without_a_server_or_a_package(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, reachable: bool
) -> None:
    there = cluster(databases={"postgres": {"grants": []}})
    read = [(0, "1", ""), there, (0, json.dumps(CONTENT), "")]
    told = answers(monkeypatch, *(read if reachable else [(2, "", "no server")]))
    given = {"databases": [BLOG], "extensions": ["pg_later"]}
    said = run_module("postgres_objects", capsys, True, **given)
    assert "database postgres: create extension pg_later" in said["actions"]
    assert not any("CREATE" in sql for sql in told)


@pytest.mark.parametrize(
    ("given", "said", "sentence"),
    [
        ({"databases": [BLOG, BLOG]}, [], "database blog is declared twice"),
        (
            {},
            [cluster(hba_errors=["line 3: x"]), (0, "", "")],
            "pg_hba.conf has an error in line 3",
        ),
        ({}, [(1, "", "psql: error: no")], "no"),
    ],
)
def test_what_postgres_cannot_have_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    given: dict[str, t.Any],
    said: list[tuple[int, str, str]],
    sentence: str,
) -> None:
    answers(monkeypatch, *said)
    failed = run_module("postgres_objects", capsys, **given)
    assert failed["rc"] == 1 and failed["msg"].startswith(sentence)


def test_a_providers_server_is_kept_by_its_administrator(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    server = {"host": "db.example.com", "user": "doadmin", "password": "secret-of-the-admin"}
    told = answers(monkeypatch, (2, "", "psql: error: no route"))
    monkeypatch.setattr(_provided.Server, "psql", lambda _self: _psql.Psql(5432))
    said = run_module("postgres_objects", capsys, True, databases=[BLOG], server=server)
    assert "role blog: let the administrator act as it" in said["actions"]
    assert not any("CREATE" in sql for sql in told)


def test_psql_is_told_by_stdin_and_its_errors_are_read(path: Path) -> None:
    program(path, "psql", 'cat; echo "$PGOPTIONS $PGCONNECT_TIMEOUT" >&2; exit 3')
    code, out, err = _psql.run(["psql"], "SELECT 'ä'")
    assert (code, out) == (3, "SELECT 'ä'")
    assert "-c log_statement=none" in err and err.split()[-1] == "10"


@pytest.mark.parametrize("major", [17, 15])
def test_a_cluster_is_foreseen_or_refused(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, major: int
) -> None:
    there = tmp_path / "etc/postgresql/15/main/postgresql.conf"
    there.parent.mkdir(parents=True)
    if major == 17:
        there.touch()
    monkeypatch.setattr(postgres_cluster, "ROOT", tmp_path)
    said = run_module("postgres_cluster", capsys, True, version=17)
    if major == 17:
        assert said["msg"].startswith("this machine holds the PostgreSQL cluster 15/main")
    else:
        assert (said["changed"], said["exists"]) == (True, True)
        assert "cluster 17/main with data checksums" in said["diff"]["after"]


def test_a_cluster_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    made = _clusters.Cluster(17, "main", tmp_path)
    made.configuration.parent.mkdir(parents=True)
    made.configuration.touch()
    with pytest.raises(Exception, match=r"pg_controldata cannot read /var/lib/postgresql/17/main:"):
        _clusters.require_checksums(made, lambda *_, **__: (1, "no permission\n", ""))


# Each kind of check is a module of its own as well; nothing answers here.


@pytest.mark.parametrize("kind", ["celery", "host", "pgbouncer", "postgres", "redis"])
def test_each_check_can_be_run_alone(kind: str, capsys: Capture) -> None:
    module = importlib.import_module(
        f"ansible_collections.slipway.stack.plugins.module_utils._health_{kind}"
    )
    required = {name for name, option in module.OPTIONS.items() if option.get("required")}
    given = dict.fromkeys(required, "nobody-at-all")
    if "port" in module.OPTIONS:
        given["port"] = 1  # type: ignore[assignment]
    said = run_module(f"{kind}_health", capsys, name="x", timeout=3, **given)
    assert said["findings"] and not said["changed"]
    assert (said["state"] in ("critical", "unknown")) == bool(said["rc"])


@pytest.mark.parametrize("name", ["health_report", "result"])
def test_what_runs_on_the_controller_has_its_documentation_alone(name: str) -> None:
    module = importlib.import_module(f"ansible_collections.slipway.stack.plugins.modules.{name}")
    assert module.DOCUMENTATION and not hasattr(module, "main")
