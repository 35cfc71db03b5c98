# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What to go back to, and what is left alone."""

from __future__ import annotations

import dataclasses
import typing as t
from pathlib import Path

import pytest
from ansible_collections.slipway.stack.plugins.action import app_publish
from ansible_collections.slipway.stack.plugins.module_utils import (
    _celery,
    _commands,
    _deployments,
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

GOOD, FAILED, WITHDRAWN = _releases.GOOD, _releases.FAILED, _releases.WITHDRAWN


@pytest.fixture
def releases(tmp_path: Path) -> _releases.Releases:
    (tmp_path / "releases").mkdir()
    return _releases.Releases(tmp_path)


def add(releases: _releases.Releases, name: str, result: str, proved: str = "") -> None:
    releases.path(name).mkdir()
    releases.finish(name, f"revision-{name}", "/usr/bin/python3", f"v{name}")
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


@pytest.mark.parametrize("wanted", ["1", "v1", "revision-1"])
def test_a_good_release_can_be_named(releases: _releases.Releases, wanted: str) -> None:
    add(releases, "1", GOOD)
    assert app_revert.choose("shop", releases, wanted) == "1"


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
    [(False, ["worker", "web", "beat"]), (True, ["web", "beat", "worker"])],
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
    restarted = [told.split()[-1] for told in machine.told if told.startswith("restart")]
    assert restarted == [f"{name}.service" for name in order]
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
    switch = _publication.Switch("3", before="2", previous="1", reason="another one failed")
    _publication.undo(application, switch, Machine())
    failed = releases.read("3")
    links = [releases.linked(link) for link in ("current", "previous")]
    assert [link.name for link in links if link] == ["2", "1"]
    assert failed
    assert (failed.result, failed.reason) == (FAILED, "another one failed")


@pytest.mark.parametrize(
    ("told", "wrong"),
    [
        ({"a": {}, "b": {}}, ""),
        ({"a": {}, "b": {"built": {"failed": True}}}, "b"),
        ({"a": {}, "b": {"built": {"unreachable": True}}}, "b"),
        ({"a": {"built": {"failed": True}}, "b": {}}, ""),
        ({"a": {}, "b": {"other": {"failed": True}}}, ""),
    ],
)
def test_a_peer_s_failure_is_seen(told: dict[str, t.Any], wrong: str) -> None:
    arguments = {"peers": ["a", "b", "c"], "steps": ["built", "switched"]}
    variables = {"inventory_hostname": "a", "hostvars": told}
    assert app_publish.failed_peer(arguments, variables) == wrong
