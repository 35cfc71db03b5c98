# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ages of backups, as Prometheus, a dead man's switch and the health table learn of them."""

from __future__ import annotations

import http.server
import json
import os
import pathlib
import threading
import typing as t
from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import (
    _backup_ages,
    _health,
    _health_backup,
)

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def result(age: timedelta | None, ok: t.Any = True, **more: t.Any) -> dict[str, t.Any]:
    moment = None if age is None else (NOW - age).isoformat()
    return {"ok": ok, "last_success": moment, "detail": "why", **more}


def store(directory: pathlib.Path, kind: str, **results: t.Any) -> None:
    path = directory / _backup_ages.STATES[kind]
    path.write_text(json.dumps({"databases": results}))


def test_prometheus_reads_what_the_states_say(tmp_path: pathlib.Path) -> None:
    store(
        tmp_path,
        "dump",
        shop=result(HOUR, size=10, seconds=1.5),
        blog=result(None, ok=None),
        wiki=result(HOUR, ok=False),
    )
    rehearsal = result(HOUR, rto_seconds=61.5, rpo_seconds=None, size=3)
    (tmp_path / "rehearsal.json").write_text(json.dumps(rehearsal))
    said: list[str] = []
    _backup_ages.tell(tmp_path, "", said.append)
    path = tmp_path.parent / "metrics" / f"{tmp_path.name}.prom"
    text = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o644
    moment = int((NOW - HOUR).timestamp())
    for line in (
        f'slipway_backup_last_success_timestamp_seconds{{kind="dump",name="shop"}} {moment}',
        'slipway_backup_last_success_timestamp_seconds{kind="dump",name="blog"} 0',
        'slipway_backup_last_run_ok{kind="dump",name="shop"} 1',
        'slipway_backup_last_run_ok{kind="dump",name="wiki"} 0',
        'slipway_backup_duration_seconds{kind="dump",name="shop"} 1.5',
        'slipway_backup_rto_seconds{kind="rehearsal",name=""} 61.5',
    ):
        assert f"{line}\n" in text
    assert text.count("# TYPE slipway_backup_size_bytes gauge") == 1
    assert 'last_run_ok{kind="dump",name="blog"}' not in text, "it may be under way"
    assert "rpo" not in text
    assert said == []


def test_names_cannot_break_the_format() -> None:
    age = _backup_ages.Age("dump", 'a"b\\c\nd', None, False, "", {})
    text = _backup_ages.metrics([age])
    assert r'name="a\"b\\c\nd"' in text
    assert _backup_ages.metrics([]) == ""


def test_a_dead_mans_switch_is_told_and_may_be_dead_itself(tmp_path: pathlib.Path) -> None:
    asked: list[str] = []

    class Switch(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(204 if self.path == "/well" else 500)
            self.end_headers()

        def log_message(self, *_: t.Any) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Switch)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    said: list[str] = []
    _backup_ages.tell(tmp_path, f"{url}/well", said.append)
    assert (asked, said) == (["/well"], [])
    _backup_ages.tell(tmp_path, f"{url}/ill", said.append)
    server.shutdown()
    server.server_close()
    _backup_ages.tell(tmp_path, f"{url}/well", said.append)
    _backup_ages.tell(tmp_path, "no url", said.append)
    assert len(said) == 3
    assert all(line.startswith("<4>backup_ping_url did not answer (") for line in said)


def examined(
    place: pathlib.Path, running: str = "", **options: t.Any
) -> dict[str, _health.Finding]:
    """What is found while the unit that is named `running` runs; systemd is a stand-in."""

    def systemd(command: list[str], *_more: t.Any) -> str:
        return "activating\n" if command[-1] == running else "inactive\n"

    values = {name: option["default"] for name, option in _health_backup.OPTIONS.items()}
    values |= {"label": "backup db1", "directory": str(place), "units": str(place)}
    values["files_directory"] = "/nonexistent"
    check = {**values, **options}
    found = _health_backup.probe(check, _health.Deadline(5), NOW.timestamp, systemd)
    return {one.check.removeprefix("backup db1 "): one for one in found}


def test_databases_that_nobody_dumps_are_told_by_name(tmp_path: pathlib.Path) -> None:
    state = {"databases": {"shop": result(HOUR)}, "undeclared": ["crm", "wiki"]}
    (tmp_path / "state.json").write_text(json.dumps(state))
    found = examined(tmp_path, databases=["shop"])
    assert (found["dump shop"].state, found["undeclared"].state) == ("ok", "warning")
    assert found["undeclared"].value.startswith("crm, wiki: declared by no application")
    assert "ignored_databases" in found["undeclared"].advice
    found = examined(tmp_path, databases=["shop"], ignored_databases=["wiki"])
    assert found["undeclared"].value.startswith("crm: ")
    store(tmp_path, "dump", shop=result(HOUR))
    assert list(examined(tmp_path, databases=["shop"])) == ["dump shop"]


@pytest.mark.parametrize(
    ("kind", "hours", "state"),
    [
        *(("dump", 26, "ok"), ("dump", 26.1, "warning"), ("dump", 36.1, "critical")),
        *(("physical", 13, "ok"), ("physical", 13.1, "warning"), ("physical", 26.1, "critical")),
        *(("files", 26, "ok"), ("files", 26.1, "warning"), ("files", 36.1, "critical")),
        *(("rehearsal", 192, "ok"), ("rehearsal", 337, "critical")),
    ],
)
def test_what_is_overdue_is_told(
    tmp_path: pathlib.Path, kind: str, hours: float, state: str
) -> None:
    value = result(HOUR * hours)
    if kind == "rehearsal":
        (tmp_path / "rehearsal.json").write_text(json.dumps(value))
    else:
        names = {"physical": "cluster", "files": "files"}
        store(tmp_path, kind, **{names.get(kind, "shop"): value})
    found = examined(
        tmp_path,
        databases=["shop"] if kind == "dump" else [],
        physical=kind == "physical",
        rehearsal=kind == "rehearsal",
        files=kind == "files",
        files_directory="/nonexistent" if kind != "files" else str(tmp_path),
        directory=str(tmp_path) if kind != "files" else "/nonexistent",
    )
    (finding,) = found.values()
    assert (finding.state, finding.value) == (state, f"{hours:.1f} h old")
    assert bool(finding.advice) == (state != "ok")


@pytest.mark.parametrize(
    ("hours", "state", "value"),
    [
        (-0.1, "ok", "-0.1 h old"),
        (-0.2, "warning", "0.2 h in the future: the clock was ahead then, or is behind now"),
        (-9000, "warning", "9000.0 h in the future: the clock was ahead then, or is behind now"),
    ],
)
def test_a_success_in_the_future_is_no_fresh_one(
    tmp_path: pathlib.Path, hours: float, state: str, value: str
) -> None:
    store(tmp_path, "dump", shop=result(HOUR * hours))
    finding = examined(tmp_path, databases=["shop"])["dump shop"]
    assert (finding.state, finding.value) == (state, value)
    assert ("timedatectl" in finding.advice) == (state != "ok")


def test_before_the_first_success_time_counts_from_the_timer(tmp_path: pathlib.Path) -> None:
    assert examined(tmp_path, databases=["shop"])["dump shop"].state == "critical"
    timer = tmp_path / "slipway-backup.timer"
    timer.touch()
    for hours, state in ((1, "ok"), (30, "warning"), (37, "critical")):
        moment = (NOW - HOUR * hours).timestamp()
        os.utime(timer, (moment, moment))
        finding = examined(tmp_path, databases=["shop"])["dump shop"]
        assert finding.state == state
        assert finding.value == f"none yet, {hours:.1f} h after it was scheduled"


def test_the_second_repository_is_expected_beside_the_first(tmp_path: pathlib.Path) -> None:
    both = {"cluster": result(HOUR), "cluster-second": result(HOUR * 30)}
    store(tmp_path, "physical", **both)
    found = examined(tmp_path, physical=True, second=True)
    assert {name: one.state for name, one in found.items()} == {
        "physical cluster": "ok",
        "physical cluster-second": "critical",
    }
    assert list(examined(tmp_path, physical=True)) == ["physical cluster"]
    assert examined(tmp_path, second=True) == {}
    store(tmp_path, "files", files=result(HOUR))
    found = examined(tmp_path, second=True, files=True, files_directory=str(tmp_path))
    assert {name: one.state for name, one in found.items()} == {
        "files files": "ok",
        "files files-second": "critical",
    }


def test_a_last_run_that_failed_is_a_warning_at_once(tmp_path: pathlib.Path) -> None:
    store(tmp_path, "physical", cluster=result(HOUR, ok=False))
    finding = examined(tmp_path, physical=True)["physical cluster"]
    assert finding.state == "warning"
    assert finding.value == "1.0 h old, but the last run failed: why"


def test_a_run_that_is_under_way_has_not_failed(tmp_path: pathlib.Path) -> None:
    store(tmp_path, "physical", cluster=result(HOUR, ok=None))
    unit = "slipway-backup-physical.service"
    for running, state, said in (
        (unit, "ok", "1.0 h old, a run is under way"),
        ("slipway-backup.service", "warning", "1.0 h old, but the last run failed: why"),
    ):
        finding = examined(tmp_path, running, physical=True)["physical cluster"]
        assert (finding.state, finding.value) == (state, said)
    store(tmp_path, "physical", cluster=result(HOUR * 14, ok=None))
    finding = examined(tmp_path, unit, physical=True)["physical cluster"]
    assert (finding.state, finding.value) == ("warning", "14.0 h old, a run is under way")


def test_a_rehearsal_under_way_takes_back_no_failure(tmp_path: pathlib.Path) -> None:
    value = result(HOUR, ok=None, failed=True)
    (tmp_path / "rehearsal.json").write_text(json.dumps(value))
    finding = examined(tmp_path, "slipway-rehearsal.service", rehearsal=True)["rehearsal"]
    assert finding.state == "critical"
    assert finding.value == "1.0 h old, a run is under way, and the one before failed"


@pytest.mark.parametrize(
    ("more", "hours", "state"),
    [
        ({"ok": False}, 1, "critical"),
        ({"ok": False}, 200, "critical"),
        ({"ok": None}, 1, "warning"),
        ({"ok": None, "failed": True}, 1, "critical"),
    ],
)
def test_a_proof_that_failed_is_critical_at_once(
    tmp_path: pathlib.Path, more: dict[str, t.Any], hours: int, state: str
) -> None:
    value = {**result(HOUR * hours), **more}
    (tmp_path / "rehearsal.json").write_text(json.dumps(value))
    finding = examined(tmp_path, rehearsal=True)["rehearsal"]
    assert finding.state == state
    assert finding.value == f"{hours}.0 h old, but the last run failed: why"
    assert "slipway-rehearsal" in finding.advice
