# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What to go back to, and what is left alone."""

from __future__ import annotations

import contextlib
import dataclasses
import typing as t
from pathlib import Path

import pytest
from ansible_collections.slipway.stack.plugins.action import app_publish
from ansible_collections.slipway.stack.plugins.module_utils import (
    _application_commands,
    _celery,
    _commands,
    _deployments,
    _files,
    _following,
    _probe,
    _publication,
    _releases,
    _serving,
    _trial,
    _units,
)
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError
from ansible_collections.slipway.stack.plugins.modules import app_revert
from fakes import (
    SECRET,
    SERVICE,
    SOCKET,
    STANDIN,
    Shop,
    action,
    needs_root,
    run_module,
    systemd_run,
)

GOOD, FAILED, WITHDRAWN = _releases.GOOD, _releases.FAILED, _releases.WITHDRAWN


@pytest.fixture
def releases(tmp_path: Path) -> _releases.Releases:
    (tmp_path / "releases").mkdir()
    return _releases.Releases(tmp_path)


def add(
    releases: _releases.Releases, name: str, result: str, proved: str = "", version: str = ""
) -> None:
    releases.path(name).mkdir()
    releases.finish(name, f"revision-{name}", "/usr/bin/python3", version or f"v{name}")
    releases.judge(name, result, now=proved)


@pytest.mark.parametrize(
    ("results", "current", "chosen"),
    [
        ([GOOD, GOOD], "2", "1"),
        ([GOOD, FAILED, FAILED, GOOD], "4", "1"),
        ([GOOD, GOOD, WITHDRAWN], "2", "1"),
        ([GOOD, WITHDRAWN, GOOD], "3", "1"),
    ],
)
def test_a_rollback_goes_to_the_last_good_release(
    releases: _releases.Releases, results: list[str], current: str, chosen: str
) -> None:
    for number, result in enumerate(results, 1):
        add(releases, str(number), result, proved=str(number))
    releases.point("current", current)
    assert app_revert.choose("shop", releases, "") == chosen


def test_what_was_proved_last_counts_and_not_what_was_built_last(
    releases: _releases.Releases,
) -> None:
    for name, proved in (("1", "9"), ("2", "3"), ("3", "10")):
        add(releases, name, GOOD, proved=proved.zfill(2))
    releases.point("current", "3")
    assert app_revert.choose("shop", releases, "") == "1"


def test_without_a_good_release_there_is_no_rollback(releases: _releases.Releases) -> None:
    add(releases, "1", GOOD)
    add(releases, "2", FAILED)
    releases.point("current", "1")
    with pytest.raises(StackError, match="no good release besides"):
        app_revert.choose("shop", releases, "")
    with pytest.raises(StackError, match=r"no good release 'v2'.*1 \(v1\)"):
        app_revert.choose("shop", releases, "v2")
    # The beginning of a commit is as long as git shows it; less is a slip.
    with pytest.raises(StackError, match="no good release 'revisi'"):
        app_revert.choose("shop", releases, "revisi")


@pytest.mark.parametrize("wanted", ["1", "v1", "revision-1", "revisio"])
def test_a_good_release_can_be_named(releases: _releases.Releases, wanted: str) -> None:
    add(releases, "1", GOOD)
    assert app_revert.choose("shop", releases, wanted) == "1"


def test_of_the_releases_of_a_branch_the_one_that_serves_is_not_gone_back_to(
    releases: _releases.Releases,
) -> None:
    for name in "123":
        add(releases, name, GOOD, version="main")
    releases.point("current", "3")
    assert app_revert.choose("shop", releases, "main") == "2"
    with pytest.raises(StackError, match=r"^shop already serves 3 \(main\)\.$"):
        app_revert.choose("shop", releases, "3")


LINE = _deployments.Deployment("1", "deploy", "ada", "2026-11-21T08:00:00Z")


@pytest.mark.parametrize(
    ("line", "proved", "broken"),
    [
        ({}, "2026-11-21T07", ""),
        ({"breaking": "a,b", "schema_before": "z", "schema_after": "b"}, "2026-11-21T07", "a,b"),
        ({"breaking": "a", "schema_before": "z", "schema_after": ""}, "2026-11-21T07", "a"),
        ({"breaking": "a", "schema_before": "z", "schema_after": "z"}, "2026-11-21T07", ""),
        ({"breaking": "a", "schema_before": "z", "schema_after": "a"}, "2026-11-21T09", ""),
    ],
)
def test_a_release_from_before_a_breaking_migration_is_not_gone_back_to(
    line: dict[str, str], proved: str, broken: str
) -> None:
    one = dataclasses.replace(LINE, **line)
    release = _releases.Release("1", "r", "python", GOOD, proved=proved)
    if not broken:
        app_revert.require_compatible(release, [one], [])
        return
    with pytest.raises(StackError, match=f"before {broken}: .* -e allow_migrations={broken}"):
        app_revert.require_compatible(release, [LINE, one], [])
    app_revert.require_compatible(release, [one], broken.split(","))


def test_what_is_refused_is_removed_unless_it_serves(releases: _releases.Releases) -> None:
    for name in ("1", "2"):
        add(releases, name, _releases.BUILT)
    assert releases.refuse("2") == "there is none to go on with"
    releases.point("current", "1")
    assert releases.refuse("1") == "1 goes on serving"
    assert [release.name for release in releases.all()] == ["1"]


class Machine:
    """systemd of a sort that notes what it is told; no unit fails."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def __call__(self, argv: t.Sequence[str], timeout: float = 0) -> _commands.Completed:
        if argv[1] == "show":
            names = argv[argv.index("--") + 1 :]
            known = "LoadState=loaded\nActiveState=active\nSubState=running\nType=notify"
            return _commands.Completed(0, "\n\n".join(known for _name in names))
        self.told.append(" ".join(argv[1:]))
        return _commands.Completed(0, "")


@pytest.mark.parametrize(
    ("withdraw", "order"),
    [
        (False, ["stop worker", "restart worker", "restart web", "restart beat"]),
        (True, ["restart web", "restart beat", "stop worker", "restart worker"]),
    ],
    ids=["forward", "back"],
)
def test_who_does_tasks_is_never_older_than_who_creates_them(
    releases: _releases.Releases,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    withdraw: bool,
    order: list[str],
) -> None:
    monkeypatch.setattr(_units, "RECORDS", str(tmp_path / "records"))
    monkeypatch.setattr(_trial, "run_all", lambda *_: ("", 0.0))
    monkeypatch.setattr(_serving, "prove", lambda *_: "")
    monkeypatch.setattr(_celery, "require_answers", lambda *_: None)
    monkeypatch.setattr(_following, "wait_until_idle", lambda *_: None)
    for name in "12":
        add(releases, name, GOOD)
    releases.point("current", "1")
    endpoint = _probe.Endpoint("/nowhere", "/", "shop")
    application = _serving.Application(
        name="shop",
        releases=releases,
        environment_file=tmp_path / "environment",
        servers=(_serving.Server("web.service", "web", "m", "c", endpoint),),
        units=(_units.Unit("web.service", True, "started", (), ()),),
        health_timeout=1,
        workers=(_celery.Worker("worker.service", "n", "shop", "m", releases.home),),
        beat="beat.service",
    )
    machine = Machine()
    _publication.publish(application, _publication.Switch("2", withdraw), machine)
    words = [one.split() for one in machine.told]
    told = [f"{one[0]} {one[-1]}" for one in words if one[0] in ("stop", "restart")]
    # Trials, and what systemd would do by itself, are named after the application.
    assert [one for one in told if one.endswith(".service") and " shop-" not in one] == [
        f"{one}.service" for one in order
    ]
    before = releases.read("1")
    assert before
    assert before.result == (WITHDRAWN if withdraw else GOOD)


def test_a_machine_that_goes_back_with_the_others_has_its_links_again(
    releases: _releases.Releases, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(_serving, "prove", lambda *_: "")
    for name in "123":
        add(releases, name, GOOD)
    releases.point("current", "3")
    releases.point("previous", "2")
    application = _serving.Application("shop", releases, tmp_path / "environment", (), (), 1)
    switch = _publication.Switch("3", before="2", previous="1", reason="visitors suffer")
    _publication.undo(application, switch, True, Machine())
    failed = releases.read("3")
    links = [releases.linked(link) for link in ("current", "previous")]
    assert [link.name for link in links if link] == ["2", "1"]
    assert failed
    assert (failed.result, failed.reason) == (FAILED, "visitors suffer")


def test_files_are_found_before_their_release_is_switched_to(serving: Shop) -> None:
    publish(serving, part=_publication.TRY)
    assert serving.linked("next") == "", "servers answer for themselves"
    serving.application = dataclasses.replace(serving.application, servers=(), units=())
    publish(serving, part=_publication.TRY)
    assert (serving.linked("next"), serving.linked()) == ("2", "1")


def test_files_that_go_back_to_nothing_have_no_server_to_stop(shop: Shop) -> None:
    files = dataclasses.replace(shop.application, servers=(), units=())
    shop.add("2", _releases.BUILT)
    _publication.publish(files, _publication.Switch("2"), shop.systemd)
    assert shop.releases.linked("current")
    switch = _publication.Switch("2", reason="another failed")
    _publication.undo(files, switch, False, shop.systemd)
    assert shop.releases.linked("current") is None
    assert shop.systemd.told == []


@pytest.mark.parametrize(
    ("every", "left", "wrong"),
    [
        (["a", "b", "c"], ["a", "b", "c"], ""),
        (["a", "b", "c"], ["a", "c"], "b"),
        (["a", "b", "c"], ["b", "c"], ""),  # its own trouble is not another's
        (["a", "b"], ["a", "b"], ""),  # --limit leaves c out
        (["a", "b", "c", "d"], ["a", "b", "c"], ""),  # d does other work
    ],
)
def test_a_peer_that_has_left_the_run_is_seen(
    every: list[str], left: list[str], wrong: str
) -> None:
    names = {"ansible_play_hosts_all": every, "ansible_play_hosts": left}
    variables = {"inventory_hostname": "a", **names}
    assert app_publish.failed_peer({"peers": ["a", "b", "c"]}, variables) == wrong


@pytest.mark.parametrize(("broken", "stays"), [([], False), (["shop.0003_drop"], True)])
def test_a_release_stays_where_the_database_has_left_the_one_before(
    broken: list[str], stays: bool
) -> None:
    found = {"before": "1"}
    arguments = {"peers": ["a", "b"], "release": "2", "found": found, "trouble": "it is slow"}
    machines = {"a": {"__app_migrated": {"broken": broken}}, "b": {}}
    said = app_publish.why_it_stays(arguments, {"hostvars": machines})
    assert bool(said) is stays
    assert not stays or ("it is slow" in said and "allow_migrations=shop.0003_drop" in said)


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ({"part": "try"}, {"part": "try"}),
        ({"part": "undo"}, {}),
        (
            {"part": "undo", "trouble": "it is slow"},
            {"part": "undo", "withdraw": True, "reason": "it is slow"},
        ),
        ({"part": "quiet", "peers": ["b"], "found": {"switched": False}}, {}),
        ({"part": "all", "peers": ["b"]}, {}),
        (
            {"part": "servers", "peers": ["b"], "found": {"switched": True}},
            {
                "part": "undo",
                "withdraw": True,
                "reason": "b failed, so this machine has gone back as well.",
            },
        ),
        ({"part": "undo", "peers": ["b"]}, {"part": "undo", "withdraw": True}),
    ],
)
def test_a_machine_stops_or_goes_back_when_another_has_failed(
    arguments: dict[str, t.Any], sent: dict[str, t.Any]
) -> None:
    plugin = action(app_publish, arguments)
    executed: list[dict[str, t.Any]] = []

    def execute(_name: str, module_args: dict[str, t.Any], **_: t.Any) -> dict[str, t.Any]:
        executed.append(module_args)
        return {"changed": True}

    plugin._execute_module = execute
    hosts = {"ansible_play_hosts_all": ["a", "b"], "ansible_play_hosts": ["a"]}
    result = plugin.run(task_vars={"inventory_hostname": "a", **hosts})
    assert [one.items() >= sent.items() for one in executed] == ([True] if sent else [])
    stops = bool(arguments.get("peers")) and arguments["part"] in ("quiet", "all")
    assert bool(result.get("failed")) == stops
    assert not stops or result["msg"] == "b failed, nothing is switched here."


# From here on with the real trial, switch and proof; only systemd and gunicorn are fakes.


@pytest.fixture
def serving(shop: Shop) -> Shop:
    """Release 1 serves, release 2 is built."""
    shop.add("1", GOOD)
    shop.add("2", _releases.BUILT)
    shop.releases.point("current", "1")
    return shop


def publish(shop: Shop, **switch: t.Any) -> _publication.Switch:
    wanted = _publication.Switch(switch.pop("release", "2"), **switch)
    return _publication.publish(shop.application, wanted, shop.systemd)


def test_a_release_that_proves_itself_serves_and_the_one_before_is_remembered(
    serving: Shop,
) -> None:
    found = publish(serving)
    assert (serving.linked(), serving.linked("previous")) == ("2", "1")
    assert (serving.result("2"), serving.result("1")) == (GOOD, GOOD)
    assert (found.before, found.previous, found.boot_seconds > 0) == ("1", "", True)


def test_the_first_release_of_all_has_none_before_it(shop: Shop) -> None:
    shop.add("2", _releases.BUILT)
    publish(shop)
    assert (shop.linked(), shop.linked("previous"), shop.result("2")) == ("2", "", GOOD)


def test_parts_make_one_whole(serving: Shop) -> None:
    found = publish(serving, part=_publication.TRY)
    assert (serving.linked(), found.switched) == ("1", False)
    found = publish(serving, part=_publication.WORKERS, before=found.before)
    assert (serving.linked(), serving.result("2")) == ("2", _releases.BUILT)
    assert serving.systemd.told.count(f"restart {SERVICE}") == 0, "workers come first"
    publish(serving, part=_publication.SERVERS, before=found.before)
    assert (serving.linked("previous"), serving.result("2")) == ("1", GOOD)
    assert len(serving.tried) == 1


def test_a_release_that_fails_its_trial_is_refused_and_nothing_else_happens(serving: Shop) -> None:
    serving.sick_on_trial = {"2"}
    with pytest.raises(StackError, match=r"^Release 2 of shop was refused, 1 goes on serving: "):
        publish(serving)
    assert serving.linked() == "1"
    assert not serving.releases.path("2").exists()
    assert f"restart {SERVICE}" not in serving.systemd.told


def test_a_restart_that_would_fail_is_refused_and_keeps_the_release(serving: Shop) -> None:
    serving.sick_on_trial = {"1"}
    with pytest.raises(StackError, match="1 goes on serving"):
        publish(serving, release="1")
    assert serving.result("1") == GOOD


def test_a_good_release_that_is_not_well_after_a_restart_goes_on(serving: Shop) -> None:
    serving.sick = {"1"}
    with pytest.raises(StackError, match=r"^shop is not well after a restart: "):
        publish(serving, release="1")
    assert (serving.linked(), serving.result("1")) == ("1", GOOD)


@pytest.mark.parametrize("old_one_is_sick", [False, True])
def test_a_release_that_is_not_well_once_it_serves_is_taken_back(
    serving: Shop, old_one_is_sick: bool
) -> None:
    serving.sick = {"1", "2"} if old_one_is_sick else {"2"}
    with pytest.raises(StackError) as refusal:
        publish(serving)
    said = str(refusal.value)
    assert said.startswith("Release 2 of shop was taken back, 1 goes on serving: shop-web.service")
    assert said.endswith("Traceback: ******** is not good") and SECRET not in said
    assert ("Nor does the old one serve" in said) == old_one_is_sick
    assert (serving.linked(), serving.result("2")) == ("1", FAILED)
    failed = serving.releases.read("2")
    assert failed and "is not healthy" in failed.reason


def test_who_fails_at_the_switch_is_heard(serving: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a stand-in that does not start has said is in its own journal."""
    serving.systemd.dies = {STANDIN}
    monkeypatch.setattr(_units, "journal", lambda unit, *_: f"words of {unit}")
    with pytest.raises(StackError) as refusal:
        publish(serving)
    said = str(refusal.value)
    assert f"taken back, 1 goes on serving: {STANDIN} does not start: it is inactive" in said
    assert said.endswith(f".\nwords of {STANDIN}")


def test_a_first_release_that_is_taken_back_leaves_nothing_running(shop: Shop) -> None:
    shop.add("2", _releases.BUILT)
    shop.sick = {"2"}
    with pytest.raises(StackError, match="taken back, there is none to go on with"):
        publish(shop)
    assert shop.linked() == ""
    assert f"stop {SOCKET} {SERVICE}" in shop.systemd.told


def test_a_machine_that_cannot_go_back_says_so(serving: Shop) -> None:
    publish(serving)
    serving.sick = {"1"}
    with pytest.raises(StackError, match=r"^shop cannot go back to 1: "):
        _publication.undo(
            serving.application, _publication.Switch("2", before="1"), True, serving.systemd
        )
    assert serving.result("2") == FAILED


@pytest.mark.parametrize(
    ("current", "previous", "known", "left"),
    [
        (_releases.BUILT, GOOD, "", "2"),
        (_releases.BUILT, GOOD, "1", "2"),
        (_releases.BUILT, FAILED, "", ""),
        (_releases.BUILT, GOOD, "2", ""),
        (_releases.BUILT, "", "", ""),
        (GOOD, GOOD, "", ""),
        ("", GOOD, "", ""),
    ],
)
def test_what_a_killed_publication_left_is_put_right(
    shop: Shop, current: str, previous: str, known: str, left: str
) -> None:
    for link, name, result in (("previous", "1", previous), ("current", "2", current)):
        if result:
            shop.add(name, result)
            shop.releases.point(link, name)
    assert _publication.recover(shop.application, known, shop.systemd) == (left, "")
    assert shop.linked() == ("1" if left else "2" if current else "")
    assert shop.systemd.told[0] == "stop shop-web-trial.service"
    assert (f"restart {SERVICE}" in shop.systemd.told) == bool(left)


def test_a_good_release_that_does_not_come_back_either_is_told(shop: Shop) -> None:
    shop.add("1", GOOD)
    shop.add("2", _releases.BUILT)
    shop.releases.point("previous", "1")
    shop.releases.point("current", "2")
    shop.sick = {"1"}
    with pytest.raises(StackError, match=r"half-way between 1 and 2, and 1 does not serve either"):
        _publication.recover(shop.application, run=shop.systemd)


def test_what_to_go_back_to_is_told_or_why_there_is_nothing(
    releases: _releases.Releases, capsys: pytest.CaptureFixture[str]
) -> None:
    add(releases, "1", GOOD)
    given = {"name": "shop", "home": str(releases.home)}
    said = run_module("app_revert", capsys, **given)
    assert (said["release"], said["changed"], said["rc"]) == ("1", False, 0)
    said = run_module("app_revert", capsys, **given, release="v9")
    assert (said["rc"], said["msg"][:30]) == (1, "shop has no good release 'v9' ")


# What a release is on record as, after it was taken back for what was not its fault.


@pytest.fixture
def three(shop: Shop) -> Shop:
    """Releases 0, 1 and 2 were proved one after the other, and 2 serves."""
    for name in "012":
        shop.add(name, GOOD)
        shop.releases.judge(name, GOOD, now=f"2026-01-0{name}")
    shop.releases.point("current", "2")
    shop.releases.point("previous", "1")
    return shop


def watching(shop: Shop) -> None:
    """The server's unit is known to have been started on what `current` names."""
    current = str(shop.releases.home / "current")
    units = [
        dataclasses.replace(unit, restart_on=(current,)) if unit.name == SERVICE else unit
        for unit in shop.application.units
    ]
    shop.application = dataclasses.replace(shop.application, units=tuple(units))
    _units.remember(SERVICE, _units.digests_of(units[1], {}))


def records(shop: Shop) -> list[tuple[str, str, str]]:
    return [(one.name, one.result, one.proved) for one in shop.releases.all()]


def undo(shop: Shop, found: _publication.Switch, own: bool = False) -> None:
    switch = dataclasses.replace(found, withdraw=True, reason="b failed")
    _publication.undo(shop.application, switch, own, shop.systemd)


@pytest.mark.parametrize("parts", [["try", "quiet"], ["try", "quiet", "workers", "servers"]])
@pytest.mark.parametrize("target", ["1", "0"])
@pytest.mark.parametrize("withdraw", [True, False])
def test_a_peer_s_failure_changes_no_record(
    three: Shop, parts: list[str], target: str, withdraw: bool
) -> None:
    before, found = records(three), _publication.Switch(target)
    for part in parts:
        links = {"before": found.before, "previous": found.previous}
        found = publish(three, release=target, withdraw=withdraw, part=part, **links)
    undo(three, found)
    assert records(three) == before
    assert (three.linked(), three.linked("previous")) == ("2", "1")
    assert app_revert.choose("shop", three.releases, "") == "1"


def test_a_withdrawn_release_that_a_peer_takes_back_is_withdrawn_again(three: Shop) -> None:
    three.releases.judge("0", WITHDRAWN, "slow")
    undo(three, publish(three, release="0"))
    withdrawn = three.releases.read("0")
    assert withdrawn and (withdrawn.result, withdrawn.reason) == (WITHDRAWN, "slow")


def test_what_visitors_suffered_from_has_failed_unless_it_has_served_well_before(
    three: Shop,
) -> None:
    before = records(three)
    undo(three, publish(three, release="0"), own=True)
    assert (records(three), three.linked()) == (before, "2")
    three.add("3", _releases.BUILT)
    undo(three, publish(three, release="3"), own=True)
    assert (three.result("3"), three.result("2")) == (FAILED, GOOD)


@pytest.mark.parametrize("result", [GOOD, WITHDRAWN])
@pytest.mark.parametrize("withdraw", [True, False])
def test_a_release_that_has_served_well_stays_what_it_was_when_it_fails_later(
    three: Shop, result: str, withdraw: bool
) -> None:
    """A disk that is full, or a database that is away, is no fault of its own."""
    three.releases.judge("1", result)
    before, three.sick = records(three), {"1"}
    with pytest.raises(StackError, match="1 of shop was taken back, 2 goes on serving"):
        publish(three, release="1", withdraw=withdraw)
    assert (records(three), three.linked()) == (before, "2")


def test_a_restart_has_nothing_to_go_back_to(three: Shop) -> None:
    before, found = records(three), publish(three, release="2", part=_publication.TRY)
    three.systemd.told.clear()
    undo(three, found)
    assert (found.before, three.linked(), three.systemd.told) == ("2", "2", [])
    assert records(three) == before


class Killed(BaseException):
    """SIGKILL, as far as a test can show it."""


@contextlib.contextmanager
def killed(monkeypatch: pytest.MonkeyPatch, moment: str) -> t.Iterator[None]:
    """Killed before one of the changes on disk."""
    write, point = _releases.Releases._write, _releases.Releases.point

    def writes(self: _releases.Releases, name: str, record: dict[str, t.Any]) -> None:
        if moment == f"{name} is {record['result']}":
            raise Killed
        write(self, name, record)

    def points(self: _releases.Releases, link: str, name: str | None) -> None:
        if moment == f"{link} is {name}":
            raise Killed
        point(self, link, name)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(_releases.Releases, "_write", writes)
        patch.setattr(_releases.Releases, "point", points)
        yield


@pytest.mark.parametrize("moment", ["1 is built", "current is 1", "2 is withdrawn", "1 is good"])
def test_a_rollback_that_is_killed_goes_to_the_same_release_the_next_time(
    three: Shop, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    before = records(three)
    with killed(monkeypatch, moment):
        publish(three, release="1", withdraw=True)
    _publication.recover(three.application, "2", three.systemd)
    assert (records(three), three.linked()) == (before, "2")
    assert app_revert.choose("shop", three.releases, "") == "1"


@pytest.mark.parametrize("moment", ["current is 2", "2 is good", "1 is good", "standin is None"])
def test_a_rollback_that_is_killed_when_a_peer_undoes_it_is_undone(
    three: Shop, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    before, current = records(three), str(three.releases.home / "current")
    watching(three)
    found = publish(three, release="1", withdraw=True)
    with killed(monkeypatch, moment):
        undo(three, found)
    three.systemd.told.clear()
    _publication.recover(three.application, "2", three.systemd)
    assert (records(three), three.linked(), three.linked(_serving.STANDIN)) == (before, "2", "")
    assert (f"restart {SERVICE}" in three.systemd.told) == (moment != "standin is None")
    assert _units.recall(SERVICE) == {current: _files.digest(current, {})}


# What is killed on the way back.


class Runs:
    """systemd that knows which release the server's process runs, and is killed when told so."""

    def __init__(self, shop: Shop, killed_at: str) -> None:
        self.shop, self.killed_at, self.release = shop, killed_at, shop.linked()

    def __call__(self, argv: t.Sequence[str], timeout: float = 0) -> _commands.Completed:
        restarts = argv[:2] == ["systemctl", "restart"] and SERVICE in argv
        if restarts and self.killed_at == f"before {self.shop.linked()}":
            raise Killed
        done = self.shop.systemd(argv, timeout)
        if restarts:
            self.release = self.shop.linked()
        if restarts and self.killed_at == f"after {self.shop.linked()}":
            raise Killed
        return done


@pytest.mark.parametrize("moment", ["before 1", "after 1", "before 2", "after 2"])
@pytest.mark.parametrize("again", ["", "before 1", "after 1"])
def test_a_way_back_that_is_killed_is_gone_to_its_end(
    serving: Shop, moment: str, again: str
) -> None:
    """Killed while release 2, which is ill, is taken back; perhaps the recovery as well."""
    watching(serving)
    serving.sick = {"2"}
    machine = Runs(serving, moment)
    with pytest.raises(Killed):
        _publication.publish(serving.application, _publication.Switch("2"), machine)
    machine.killed_at = again
    with contextlib.suppress(Killed):
        _publication.recover(serving.application, "1", machine)
    machine.killed_at = ""
    _publication.recover(serving.application, "1", machine)
    assert (machine.release, serving.linked(), serving.linked(_serving.STANDIN)) == ("1", "1", "")
    serving.systemd.told.clear()
    assert _publication.recover(serving.application, "1", machine) == ("", "")
    assert f"restart {SERVICE}" not in serving.systemd.told


def test_what_is_ill_after_the_way_back_does_not_keep_a_good_release_away(serving: Shop) -> None:
    watching(serving)
    _units.remember(SERVICE, {str(serving.releases.home / "current"): "of another release"})
    serving.sick = {"1"}
    assert _publication.recover(serving.application, "1", serving.systemd) == ("", "")
    assert f"restart {SERVICE}" in serving.systemd.told


def test_who_does_not_run_need_not_be_taken_back(serving: Shop) -> None:
    watching(serving)
    _units.remember(SERVICE, {str(serving.releases.home / "current"): "of another release"})
    serving.systemd.running.remove(SERVICE)
    _publication.recover(serving.application, "1", serving.systemd)
    assert f"restart {SERVICE}" not in serving.systemd.told


def test_workers_that_were_killed_on_the_way_back_are_taken_there(
    serving: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = serving.releases.home
    worker = _celery.Worker("worker.service", "n", "shop", "m", home)
    serving.application = dataclasses.replace(serving.application, workers=(worker,))
    serving.systemd.known.add("worker.service")
    serving.systemd.running.add("worker.service")
    monkeypatch.setattr(_celery, "require_answers", lambda *_: None)
    monkeypatch.setattr(_following, "wait_until_idle", lambda *_: None)
    _units.remember("worker.service", {str(home / "current"): "of another release"})
    _publication.recover(serving.application, "1", serving.systemd)
    assert "restart worker.service" in serving.systemd.told
    told = len(serving.systemd.told)
    _publication.recover(serving.application, "1", serving.systemd)
    assert "restart worker.service" not in serving.systemd.told[told:]


# Several machines: workers wait until the servers of all of them are back.

WORKER = "worker.service"


@pytest.fixture
def staffed(serving: Shop, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A machine with a worker as well, one of several."""
    worker = _celery.Worker(WORKER, "n", "shop", "m", serving.releases.home)
    serving.application = dataclasses.replace(serving.application, workers=(worker,))
    serving.systemd.known.add(WORKER)
    serving.systemd.running.add(WORKER)
    monkeypatch.setattr(_celery, "require_answers", lambda *_: None)
    monkeypatch.setattr(_following, "wait_until_idle", lambda *_: None)
    current = str(serving.releases.home / "current")
    _units.remember(WORKER, {current: _files.digest(current, {})})
    return serving


def follow(shop: Shop) -> list[str]:
    """What systemd is told until the worker is where the servers are."""
    begun = len(shop.systemd.told)
    for part in ("quiet", "workers"):
        assert _publication.follow(shop.application, part, shop.systemd) == ""
    return shop.systemd.told[begun:]


FOLLOWED = [f"stop {WORKER}", f"restart {WORKER}"]


def test_workers_follow_a_release_that_failed_on_another_machine_when_all_servers_are_back(
    staffed: Shop,
) -> None:
    found = publish(staffed, part="try")
    for part in ("quiet", "workers"):
        found = publish(staffed, part=part, before=found.before, together=True)
    staffed.systemd.told.clear()
    undo(staffed, found)
    assert (staffed.linked(), f"restart {SERVICE}" in staffed.systemd.told) == ("1", True)
    assert not any(WORKER in one for one in staffed.systemd.told)
    assert follow(staffed) == FOLLOWED
    assert follow(staffed) == []


def test_workers_of_the_machine_that_failed_wait_as_well(staffed: Shop) -> None:
    staffed.sick = {"2"}
    publish(staffed, part="workers", before="1")
    staffed.systemd.told.clear()
    with pytest.raises(StackError, match="2 of shop was taken back, 1 goes on serving"):
        publish(staffed, part="servers", before="1", together=True)
    assert not any(WORKER in one for one in staffed.systemd.told)
    assert follow(staffed) == FOLLOWED


@pytest.mark.parametrize("part", ["quiet", "workers"])
def test_after_a_kill_workers_follow_when_all_servers_are_back(staffed: Shop, part: str) -> None:
    publish(staffed, part=part, before="1")
    staffed.systemd.told.clear()
    recovered = _publication.recover(staffed.application, "1", staffed.systemd, together=True)
    assert recovered == ("2", "")
    assert not any(WORKER in one for one in staffed.systemd.told)
    assert [one.unit for one in _publication.behind(staffed.application, staffed.systemd)] == [
        WORKER
    ]
    assert follow(staffed)[-1] == FOLLOWED[-1]
    assert WORKER in staffed.systemd.running
    assert _publication.behind(staffed.application, staffed.systemd) == []


def test_a_switch_that_was_killed_when_it_had_failed_is_taken_back(serving: Shop) -> None:
    serving.releases.point("current", "2")
    serving.releases.judge("2", FAILED, "it is ill")
    assert _publication.recover(serving.application, "1", serving.systemd) == ("2", "")
    assert (serving.linked(), serving.result("2")) == ("1", FAILED)


# Files that all releases put into the same place.


@pytest.fixture
def collecting(serving: Shop, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """Each release collects its files; what that would run is a fake that notes it."""

    def collect(_user: str, command: str, _home: Path, release: Path, *_more: t.Any) -> t.Any:
        serving.systemd.told.append(f"{command} {release.name}")
        return _application_commands.Outcome(int(command == "broken"), "no room")

    monkeypatch.setattr(_application_commands, "at_home", collect)
    return with_command(serving, "collect")


def with_command(shop: Shop, command: str) -> Shop:
    commands = (("collectstatic", command),)
    shop.application = dataclasses.replace(shop.application, commands=commands)
    return shop


def test_who_serves_again_collects_its_files_before_its_server_reads_their_names(
    collecting: Shop,
) -> None:
    collecting.sick = {"2"}
    with pytest.raises(StackError, match="1 goes on serving"):
        publish(collecting)
    told = collecting.systemd.told
    collected = told.index("collect 1")
    assert f"restart {SERVICE}" in told[:collected] and f"restart {SERVICE}" in told[collected:]
    collecting.sick = set()
    collecting.releases.judge("2", _releases.BUILT)
    found = publish(collecting)
    told.clear()
    _publication.undo(collecting.application, found, True, collecting.systemd)
    assert told.index("collect 1") < told.index(f"restart {SERVICE}")


MISSED = "collectstatic failed: no room"


def test_who_cannot_collect_its_files_serves_again_and_says_so(collecting: Shop) -> None:
    found = publish(with_command(collecting, "broken"))
    collecting.systemd.told.clear()
    missed = _publication.undo(collecting.application, found, True, collecting.systemd)
    assert (missed, collecting.linked()) == (MISSED, "1")
    assert f"restart {SERVICE}" in collecting.systemd.told


def test_a_release_that_serves_without_its_files_is_not_said_not_to(collecting: Shop) -> None:
    collecting.sick = {"2"}
    with pytest.raises(StackError, match=f"1 goes on serving: .* It serves, but: {MISSED}") as told:
        publish(with_command(collecting, "broken"))
    assert "Nor does the old one" not in str(told.value)


@pytest.mark.parametrize("result", [_releases.BUILT, GOOD])
def test_a_deployment_goes_on_although_what_serves_again_misses_its_files(
    collecting: Shop, result: str
) -> None:
    """Killed before the server was restarted, or on its way back."""
    watching(collecting)
    _units.remember(SERVICE, {str(collecting.releases.home / "current"): "of another release"})
    collecting.releases.judge("2", result)
    collecting.releases.point("current", "1" if result == GOOD else "2")
    application = with_command(collecting, "broken").application
    left = "" if result == GOOD else "2"
    assert _publication.recover(application, "1", collecting.systemd) == (left, MISSED)


def test_a_release_that_is_gone_back_to_collects_its_files_before_it_is_tried(
    collecting: Shop,
) -> None:
    def trial(_argv: t.Any) -> t.NoReturn:
        collecting.systemd.told.append("trial")
        raise Killed

    collecting.systemd.transient = trial
    for withdraw, told in ((True, ["collect 2", "trial"]), (False, ["trial"])):
        collecting.systemd.told.clear()
        with pytest.raises(Killed):
            publish(collecting, withdraw=withdraw)
        assert [one for one in collecting.systemd.told if one in ("collect 2", "trial")] == told


@pytest.mark.parametrize("sick", [True, False])
def test_who_cannot_collect_its_files_is_gone_back_to_all_the_same(
    collecting: Shop, sick: bool
) -> None:
    shop = with_command(collecting, "broken")
    if not sick:
        found = publish(shop, withdraw=True)
        assert (found.missed, shop.linked(), shop.result("1")) == (MISSED, "2", WITHDRAWN)
        return
    shop.sick_on_trial = {"2"}
    with pytest.raises(StackError, match=f"was refused, 1 goes on serving: {MISSED}; "):
        publish(shop, withdraw=True)


@needs_root
def test_a_collection_that_does_not_end_keeps_nobody_from_serving(
    serving: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """systemd, which ends it, is a fake: for how long it may run is in what it is told."""
    asked = tmp_path / "asked"
    systemd_run(monkeypatch, tmp_path, f"echo $* > {asked}; sleep 0.3; exit 1")
    shop = with_command(serving, "collect")
    application = dataclasses.replace(shop.application, name="daemon", health_timeout=0.2)
    assert not _publication.collect(application).endswith("did not end within 0 s")
    assert f"RuntimeMaxSec={_publication._COLLECT_SECONDS}" in asked.read_text().split()
    monkeypatch.setattr(_publication, "_COLLECT_SECONDS", 0)
    assert _publication.collect(application).endswith("It did not end within 0 s")
