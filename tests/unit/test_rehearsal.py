"""A rehearsal, and everything that must make it fail."""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import (
    _backup_ages,
    _backup_state,
    _backups,
    _errors,
    _rehearsal,
    _rehearsal_facts,
    _rehearsal_report,
)
from ansible_collections.slipway.stack.plugins.modules import rehearse_restore
from fakes import run_module
from restore_fakes import Rehearsed, facts

NOW = datetime(2026, 11, 28, 21, 14, 5, tzinfo=UTC)
CHECKS = [
    "pages carry checksums",
    "the newest commit is there",
    "shop is what the live database was",
    "shop beside its newest dump",
    "no bid is negative",
    "pg_amcheck finds every index and heap sound",
    "RTO is within its target",
    "RPO is within its target",
    "the restore is not much slower than it was",
]


@pytest.fixture
def machine(tmp_path: Path) -> Rehearsed:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "state").mkdir()
    (tmp_path / "dumps/shop").mkdir(parents=True)
    return Rehearsed(tmp_path / "scratch")


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    path = tmp_path / "rehearsal.json"
    settings = {
        "databases": ["shop"],
        "dumps": str(tmp_path / "dumps"),
        "state": str(tmp_path / "state"),
        "scratch": str(tmp_path / "scratch"),
        "port": 5498,
        "live_port": 5432,
        "rto_seconds": 3600,
        "rpo_seconds": 300,
        "hashed_tables": {"shop": ["public.bids", "public.gone"]},
        "reserve_percent": 5,
        "assertions": [{"name": "no bid is negative", "database": "shop", "sql": "SELECT ours; "}],
    }
    path.write_text(json.dumps(settings))
    return path


def rehearsed(
    configuration: Path, machine: Rehearsed, step: float = 1, free: int = 10**9
) -> _rehearsal_report.Rehearsal:
    """A rehearsal whose clock goes on by `step` seconds each time that it is read."""
    ticks = iter(range(100))
    means = _rehearsal.Means(
        run=machine,
        clock=lambda: NOW + timedelta(seconds=step * next(ticks)),
        wait=lambda _: None,
        moment=machine.moment,
        usage=lambda _path: SimpleNamespace(total=10**9, free=free),
    )
    return _rehearsal.rehearse(_rehearsal.settings(configuration), means)


def wrong(done: _rehearsal_report.Rehearsal) -> dict[str, str]:
    return {each.check: each.detail for each in done.findings if not each.ok}


def record(tmp_path: Path, **tables: int) -> None:
    told = {f"public.{name}": rows for name, rows in tables.items()}
    values = {"size": 1, "sha256": "", "nonce": "", "started": "", "finished": ""}
    versions = {"server_version": "17", "client_version": "17", "compression": "zstd"}
    dump = _backups.Record("shop", "x.dump", **values, **versions, tables=told)  # type: ignore[arg-type]
    (tmp_path / "dumps/shop/x.json").write_text(dump.as_json())


def test_a_restore_that_works_is_proven_and_leaves_nothing(
    configuration: Path, machine: Rehearsed, tmp_path: Path
) -> None:
    record(tmp_path, bids=9, empty=0)
    machine.last_commit = (NOW + timedelta(seconds=1)).isoformat()
    done = rehearsed(configuration, machine)
    assert [each.check for each in done.findings] == CHECKS
    assert wrong(done) == {}
    assert (done.rto_seconds, done.rpo_seconds, done.size) == (1, 1, 2_500_000)
    said = {each.check: each.detail for each in done.findings}
    assert (said[CHECKS[6]], said[CHECKS[7]]) == ("1 s of 3600 s", "1 s of 300 s")
    assert list(machine.base.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "check", "said"),
    [
        ({"checksums": False}, CHECKS[0], "a flipped bit would pass unseen"),
        ({"last_commit": "2026-11-28T21:00:00+00:00"}, CHECKS[1], "the copy ends at 2026-11-28T21"),
        ({"last_commit": None}, CHECKS[1], "the copy ends at no commit, before 2026-11-28T21:14"),
        ({"copy": facts(tables={"public.bids": 9})}, CHECKS[2], "bids has 9 rows, and had 10"),
        ({"copy": facts(tables={})}, CHECKS[2], "public.bids is not there"),
        ({"digest": "bbb"}, CHECKS[2], "bids has as many rows, but not t"),
        ({"assertion": "f"}, CHECKS[4], "the answer is f, not t"),
        ({"assertion": ""}, CHECKS[4], "the answer is empty, not t"),
        ({"assertion": "error"}, CHECKS[4], "no such table"),
        ({"fails": "pg_amcheck"}, CHECKS[5], "no."),
    ],
)
def test_what_is_wrong_makes_it_fail(
    configuration: Path, machine: Rehearsed, change: dict[str, t.Any], check: str, said: str
) -> None:
    machine.last_commit = (NOW + timedelta(seconds=1)).isoformat()
    for name, value in change.items():
        setattr(machine, name, value)
    done = rehearsed(configuration, machine)
    assert not done.ok
    assert list(wrong(done)) == [check]
    assert said in wrong(done)[check]


def test_the_copy_is_one_of_the_moment_that_was_looked_at(
    configuration: Path, machine: Rehearsed
) -> None:
    rehearsed(configuration, machine)
    (restore,) = [said for said in machine.commands if said.endswith(" restore")]
    assert "--type=name --target=rehearsal-1795900446-0 --target-action=promote" in restore
    assert machine.wanted[:2] == (5432, {"shop": ["public.bids", "public.gone"]})
    switched = [text for text in machine.statements if "pg_switch_wal" in text]
    assert switched, "the point must be in the repository"


def test_each_place_is_rehearsed_in_turn_and_again_until_it_succeeds(
    configuration: Path, machine: Rehearsed, tmp_path: Path
) -> None:
    values = json.loads(configuration.read_text())
    configuration.write_text(json.dumps({**values, "places": 2}))
    places = []
    for checksums in (True, False, True, True):
        machine.checksums = checksums
        machine.last_commit = (NOW + timedelta(seconds=1)).isoformat()
        done = rehearsed(configuration, machine)
        _rehearsal_report.keep(tmp_path / "state", done)
        (restore,) = [said for said in machine.commands if said.endswith(" restore")]
        machine.commands.clear()
        places.append((done.place, re.findall(r"--repo=\d", restore), done.ok))
    assert places == [
        ("first", ["--repo=1"], True),
        ("second", ["--repo=2"], False),
        ("second", ["--repo=2"], True),
        ("first", ["--repo=1"], True),
    ]
    assert "2.5 MB restored from the first place in 1 s" in done.summary()


def test_what_a_dump_had_and_is_gone_is_remarked(
    configuration: Path, machine: Rehearsed, tmp_path: Path
) -> None:
    record(tmp_path, bids=9, gone=5)
    machine.last_commit = (NOW + timedelta(seconds=1)).isoformat()
    done = rehearsed(configuration, machine)
    assert done.ok
    (said,) = [each.detail for each in done.findings if each.check == CHECKS[3]]
    assert said == "public.gone had 5 rows in x.dump, and no such table now"
    assert f"| {CHECKS[3]} | ok | {said} |" in _rehearsal_report.markdown(done)


def test_what_was_not_compared_is_remarked(configuration: Path, machine: Rehearsed) -> None:
    machine.last_commit = (NOW + timedelta(seconds=1)).isoformat()
    names = tuple(f"public.t{number}" for number in range(7))
    machine.live = replace(machine.live, skipped=names)
    done = rehearsed(configuration, machine)
    assert done.ok
    (said,) = [each.detail for each in done.findings if each.check == CHECKS[2]]
    assert said.startswith("not compared, because somebody was writing")
    assert said.endswith(
        "since: 7, public.t0, public.t1, public.t2, public.t3, public.t4 and others"
    )
    told = done.as_dict()
    assert f"{CHECKS[2]}: {said}" in told["lines"]
    assert said not in told["detail"], "which names what is wrong"
    machine.live = replace(machine.live, skipped=(), schema="")
    done = rehearsed(configuration, machine)
    assert done.ok
    assert (
        f"{CHECKS[2]}: its schema was not compared, because somebody was changing it"
        in done.remarks()
    )


def test_a_rehearsal_that_compared_nothing_proves_nothing(
    configuration: Path, machine: Rehearsed
) -> None:
    machine.last_commit = (NOW + timedelta(seconds=1)).isoformat()
    machine.live = replace(machine.live, tables={}, hashes={}, skipped=("public.orders",))
    done = rehearsed(configuration, machine)
    assert not done.ok
    assert wrong(done)[CHECKS[2]].startswith("none of its tables was compared: rehearse when less")
    # A database that has no tables is a copy of itself.
    machine.live = replace(machine.live, skipped=())
    assert rehearsed(configuration, machine).ok


def test_a_table_that_somebody_has_named_must_be_compared(
    configuration: Path, machine: Rehearsed
) -> None:
    machine.last_commit = (NOW + timedelta(seconds=1)).isoformat()
    kept = {"public.orders": 10}
    machine.live = replace(machine.live, tables=kept, hashes={}, skipped=("public.bids",))
    machine.copy = facts(tables=kept)
    done = rehearsed(configuration, machine)
    assert list(wrong(done)) == [CHECKS[2]]
    said = "public.bids was not compared, and hashed_tables names it; not compared, because"
    assert wrong(done)[CHECKS[2]].startswith(said)


def test_the_live_server_keeps_its_share_of_the_disk(
    configuration: Path, machine: Rehearsed
) -> None:
    done = rehearsed(configuration, machine, free=5 * 10**7)
    assert "has 0 B free, but a copy" in wrong(done)["the rehearsal comes to its end"]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(239, ""), (240, ""), (241, "it took 241 s, and 120 s are usual for its size: "), (1, "")],
)
def test_a_restore_that_became_slow_is_told(seconds: int, said: str) -> None:
    point: dict[str, t.Any] = {"ok": True, "rto_seconds": 60, "size": 1000}
    failed = {**point, "ok": False, "rto_seconds": 900}
    history = [point, failed, {**point, "rto_seconds": None}, {**point, "size": 0}]
    assert _rehearsal_report.slower(history, "", seconds, 2000) == ""
    told = _rehearsal_report.slower([*history, point, point, point], "", seconds, 2000)
    assert told.startswith(said)
    assert bool(told) == bool(said)


def rehearse_weeks(state: Path, took: t.Callable[[int, str], int], places: range) -> list[str]:
    """The places in their turns, with what was ill, of weeks in which nothing but time varies."""
    told = []
    for week in range(1, 21):
        place = _rehearsal_report.turn(state) if week in places else ""
        history = _backup_state.read(state / "rehearsal.json").get("history") or []
        seconds = took(week, place)
        done = _rehearsal_report.Rehearsal(
            f"2026-01-{week:02}", "later", seconds, 5, 10**9, place=place
        )
        slow = _rehearsal_report.slower(history, place, seconds, 10**9)
        done = done.found("rows", "").found(_rehearsal_report.SLOWER, slow)
        _rehearsal_report.keep(state, done)
        told.append(place + ("" if done.ok else "!"))
    return told


def test_a_slow_place_is_not_compared_with_a_fast_one(tmp_path: Path) -> None:
    def took(_week: int, place: str) -> int:
        return 600 if place == "second" else 150

    both = rehearse_weeks(tmp_path, took, range(1, 21))
    assert both == ["first", "second"] * 10


def test_a_place_that_is_declared_later_is_not_stuck(tmp_path: Path) -> None:
    def took(_week: int, place: str) -> int:
        return 600 if place == "second" else 150

    assert rehearse_weeks(tmp_path, took, range(6, 21)) == [
        *[""] * 5,
        *["first", "second"] * 7,
        "first",
    ]


def test_a_change_that_lasts_is_told_twice_and_is_usual_then(tmp_path: Path) -> None:
    def took(week: int, _place: str) -> int:
        return 900 if week > 10 else 150

    assert rehearse_weeks(tmp_path, took, range(0)) == [*[""] * 10, "!", "!", *[""] * 8]


@pytest.mark.parametrize(("also", "usual"), [("", True), ("none", False)])
def test_what_was_ill_in_another_way_too_is_not_usual(
    tmp_path: Path, also: str, usual: bool
) -> None:
    done = _rehearsal_report.Rehearsal("2026-01-01", "later", 900, 5, 1000)
    done = done.found("rows", also).found(_rehearsal_report.SLOWER, "it took 900 s")
    for _week in range(4):
        _rehearsal_report.keep(tmp_path, done)
    history = _backup_state.read(tmp_path / "rehearsal.json")["history"]
    assert [point["ok"] for point in history] == [False] * 4
    assert bool(_rehearsal_report.slower(history, "", 2000, 1000)) == usual


def test_the_report_tells_what_was_put_back_since_the_last(tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    told = {"database": "shop", "source": "xid:7", "safety_copy": "shop_before_x"}
    for day in (27, 28):
        moment = f"2026-11-{day}T03:00:00+00:00"
        text = json.dumps({**told, "swapped": moment, "took": " It took 7 min."})
        (tmp_path / f"reports/restore-shop-{day}.json").write_text(text)
    (tmp_path / "rehearsal.json").write_text('{"started": "2026-11-27T04:00:00+00:00"}')
    done = _rehearsal_report.Rehearsal(started="2026-11-28T04:00:00+00:00")
    _rehearsal_report.keep(tmp_path, done)
    (report,) = (tmp_path / "reports").glob("rehearsal-*.md")
    line = (
        "shop was put back at 2026-11-28T03:00:00+00:00 as it was at xid:7; what was there before"
        " is kept as shop_before_x. It took 7 min."
    )
    assert f"## Restores since the last one\n\n- {line}\n" in report.read_text()
    assert report.read_text().count("was put back") == 1
    assert line in (tmp_path / "reports/rehearsals.html").read_text()


def test_a_restore_of_seconds_may_take_some_more() -> None:
    points = [{"ok": True, "rto_seconds": 2, "size": 1000}] * 4
    assert _rehearsal_report.slower(points, "", 50, 1000) == ""
    assert _rehearsal_report.slower(points, "first", 63, 1000) != ""


def test_a_target_that_is_missed_is_a_failure(configuration: Path, machine: Rehearsed) -> None:
    machine.last_commit = (NOW + timedelta(days=1)).isoformat()
    done = rehearsed(configuration, machine, step=4000)
    assert wrong(done) == {
        CHECKS[6]: "4000 s, but at most 3600 s are promised",
        CHECKS[7]: "4000 s, but at most 300 s are promised",
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"archives": False}, "WAL segment 000000010000000000000002 was not archived within 600 s"),
        ({"fails": " restore"}, "pgbackrest restore failed: no."),
        ({"live": "no JSON"}, "Expecting value"),
        ({"live": "[]"}, "list indices must be integers"),
    ],
)
def test_a_rehearsal_that_ends_early_failed_and_leaves_nothing(
    configuration: Path, machine: Rehearsed, change: dict[str, t.Any], said: str
) -> None:
    for name, value in change.items():
        setattr(machine, name, value)
    if change.get("live"):
        machine.sql = lambda _text: (0, change["live"], "")
    done = rehearsed(configuration, machine)
    assert said in wrong(done)["the rehearsal comes to its end"]
    assert "FAILED before anything was restored" in done.summary()
    assert list(machine.base.iterdir()) == []


@pytest.mark.parametrize(
    ("live", "copy", "said"),
    [
        ({}, {}, []),
        ({}, {"tables": {"public.bids": 10, "public.new": 1}}, []),
        ({}, {"tables": {"public.bids": 9}}, ["public.bids has 9 rows, and had 10"]),
        ({}, {"tables": {"public.bids": 11}}, ["public.bids has 11 rows, and had 10"]),
        ({}, {"tables": {}}, ["public.bids is not there"]),
        ({"tables": {}}, {}, []),
        ({}, {"sequences": {"public.ids": 30}}, []),
        ({}, {"sequences": {}}, ["sequence public.ids is at None, but was at 7 already"]),
        (
            {},
            {"schema": "x"},
            ["its tables, columns, constraints, indexes or triggers are others"],
        ),
        # Nobody knows what it was.
        ({"schema": ""}, {"schema": "x"}, []),
    ],
)
def test_a_copy_has_what_the_live_database_had(
    live: dict[str, t.Any], copy: dict[str, t.Any], said: list[str]
) -> None:
    read = [_rehearsal_facts.Facts(**facts(**each)) for each in (live, copy)]
    assert _rehearsal_facts.compare(*read) == said


def good(started: str = "2026-11-28T04:00:00+00:00") -> _rehearsal_report.Rehearsal:
    done = _rehearsal_report.Rehearsal(started, "2026-11-28T04:10:00+00:00", 60.4, 5, 2_500_000)
    return done.found("rows", "")


def test_reports_are_kept_with_their_history(tmp_path: Path) -> None:
    _rehearsal_report.keep(tmp_path, good())
    bad = good("2026-12-05T04:00:00+00:00").found("a <b> | c", "x | y\nz")
    _rehearsal_report.keep(tmp_path, bad)
    state = json.loads((tmp_path / "rehearsal.json").read_text())
    assert (state["ok"], state["last_success"]) == (False, "2026-11-28T04:10:00+00:00")
    assert [point["ok"] for point in state["history"]] == [True, False]
    text = (tmp_path / "reports/rehearsal-2026-12-05T040000Z.md").read_text()
    assert "| a <b> | c | **failed** | x \\| y z |" in text
    page = (tmp_path / "reports/rehearsals.html").read_text()
    assert "a &lt;b&gt; | c" in page
    assert page.count("<polyline") == 3
    assert "http" not in page


@pytest.mark.parametrize("left", ["{", "[]"])
def test_a_state_that_cannot_be_read_is_none(tmp_path: Path, left: str) -> None:
    (tmp_path / "rehearsal.json").write_text(left)
    _rehearsal_report.keep(tmp_path, _rehearsal_report.Rehearsal("2026-11-28T04:00:00+00:00"))
    assert "<svg" in (tmp_path / "reports/rehearsals.html").read_text()  # of the size alone
    assert not json.loads((tmp_path / "rehearsal.json").read_text())["ok"]


def test_the_program_tells_and_keeps_what_it_found(
    configuration: Path, machine: Rehearsed, tmp_path: Path
) -> None:
    said: list[str] = []
    means = _rehearsal.Means(machine, lambda: NOW, lambda _: None, said.append, machine.moment)
    assert _rehearsal.main(["rehearse", str(configuration)], means) == 0
    machine.checksums = False
    assert _rehearsal.main(["rehearse", str(configuration)], means) == 1
    assert said[0].startswith("The rehearsal of 2026-11-28T21:14:05+00:00 succeeded: 2.5 MB")
    (failed,) = [line for line in said if "pages carry checksums" in line]
    assert failed.startswith("<3>pages carry checksums: a flipped bit")
    assert said[-1] == "RPO is within its target: 0 s of 300 s", "what is fine is no error"
    assert json.loads((tmp_path / "state/rehearsal.json").read_text())["detail"]
    metrics = (tmp_path / "metrics/state.prom").read_text()
    assert 'slipway_backup_last_run_ok{kind="rehearsal",name=""} 0' in metrics
    configuration.write_text("{}")
    assert _rehearsal.main(["rehearse", str(configuration)], means) == 1
    assert said[-1].startswith("<3>Nothing was rehearsed: ")


def test_a_copy_that_cannot_be_removed_does_not_hide_what_was_found(
    configuration: Path, machine: Rehearsed, tmp_path: Path
) -> None:
    _rehearsal_report.keep(tmp_path / "state", good("2026-11-21T04:00:00+00:00"))
    said: list[str] = []
    means = _rehearsal.Means(machine, lambda: NOW, lambda _: None, said.append, machine.moment)
    machine.fails = "rm -rf"
    assert _rehearsal.main(["rehearse", str(configuration)], means) == 1
    state = json.loads((tmp_path / "state/rehearsal.json").read_text())
    assert (state["ok"], state["started"]) == (False, NOW.isoformat())
    assert state["last_success"] == "2026-11-28T04:10:00+00:00"
    assert "nothing of the copy is left: cannot remove the old copy: no." in state["detail"]
    assert CHECKS[4] in [each["check"] for each in state["findings"]]


def test_a_run_that_is_killed_is_not_the_success_before_it(tmp_path: Path) -> None:
    def begun() -> dict[str, t.Any]:
        _rehearsal_report.begin(tmp_path)
        found: dict[str, t.Any] = json.loads((tmp_path / "rehearsal.json").read_text())
        return found

    assert (begun()["ok"], begun()["failed"]) == (None, False)
    _rehearsal_report.keep(tmp_path, good())
    found = begun()
    assert (found["ok"], found["failed"]) == (None, False)
    assert found["detail"] == "this run did not come to its end"
    assert found["started"] == good().started, "whoever waits for a new one does not take it so"
    assert (found["last_success"], len(found["history"])) == (good().finished, 1)
    _rehearsal_report.keep(tmp_path, good().found("rows", "none"))
    assert (begun()["failed"], begun()["failed"]) == (True, True), "also when killed twice"
    _rehearsal_report.keep(tmp_path, good())
    assert begun()["failed"] is False


def test_a_dead_mans_switch_is_told_of_a_proof_alone(
    configuration: Path, machine: Rehearsed, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(_backup_ages, "tell", lambda _state, url, _say: told.append(url))
    values = json.loads(configuration.read_text())
    configuration.write_text(json.dumps({**values, "ping_url": "https://switch/web1"}))
    means = _rehearsal.Means(machine, lambda: NOW, lambda _: None, print, machine.moment)
    _rehearsal.main(["rehearse", str(configuration)], means)
    machine.checksums = False
    _rehearsal.main(["rehearse", str(configuration)], means)
    assert told == ["https://switch/web1", ""]


def test_the_program_has_a_clock_and_a_voice(capsys: pytest.CaptureFixture[str]) -> None:
    means = _rehearsal.Means()
    means.say("hello")
    assert capsys.readouterr().out == "hello\n"
    assert means.clock().tzinfo
    assert _rehearsal.main(["rehearse", "/nowhere"]) == 1


def test_only_a_new_run_counts() -> None:
    old = {"started": "2026-11-21"}
    with pytest.raises(_errors.BackupError, match=r"did not run: Unit not found\.$"):
        rehearse_restore.result(lambda: "Unit not found.", lambda: old, "2026-11-28")
    with pytest.raises(_errors.BackupError, match=r"its state file tells of no new run\.$"):
        rehearse_restore.result(lambda: "", lambda: {}, "2026-11-28")
    assert rehearse_restore.result(lambda: "", lambda: old, "2026-11-20") == old


@pytest.mark.parametrize(("ok", "code"), [(True, 0), (False, 1)])
def test_the_module_tells_what_the_unit_found(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, ok: bool, code: int
) -> None:
    told = {"lines": ["so it is"], "rto_seconds": 1.0, "rpo_seconds": 2.0}
    told |= {"ok": ok, "detail": "no."}
    monkeypatch.setattr(rehearse_restore, "result", lambda *_: told)
    said = run_module("rehearse_restore", capsys)
    assert (said["rc"], said["lines"]) == (code, ["so it is"])
    assert said.get("msg", "no.") == "no."
    assert run_module("rehearse_restore", capsys, True)["changed"]


def test_the_module_names_a_unit_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    said = run_module("rehearse_restore", capsys, unit="slipway-nowhere.service", state_file="/x")
    assert said["msg"].startswith("The rehearsal did not run: ")
