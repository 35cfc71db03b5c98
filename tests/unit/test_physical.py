# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Physical backups: which kind is due, and what becomes of a run; stand-ins play pgBackRest."""

from __future__ import annotations

import json
import os
import pathlib
import typing as t
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import moto
import pytest
from ansible_collections.slipway.stack.plugins.module_utils import (
    _backup_state,
    _errors,
    _findings,
    _physical,
    _s3,
    _verify_request,
)

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
TARGET = _s3.Target(bucket="backups", prefix="site/pgbackrest", access_key="k", secret_key="s")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def backup(kind: str, age: timedelta) -> dict[str, t.Any]:
    begun = int((NOW - age).timestamp())
    return {
        "label": f"{NOW - age:%Y%m%d-%H%M%S}{kind[0].upper()}",
        "type": kind,
        "timestamp": {"start": begun, "stop": begun + 2},
        "info": {"repository": {"delta": 4_700_000}},
        "archive": {"start": "000000010000000000000003", "stop": "000000010000000000000004"},
    }


def told(*backups: dict[str, t.Any], code: int = 0) -> str:
    status = {"code": code, "message": "no valid backups" if code == 2 else "missing stanza path"}
    return json.dumps([{"name": "main", "backup": backups, "status": status}])


class Run:
    """A run whose pgBackRest remembers what it was asked and may fail at it."""

    def __init__(self, state: pathlib.Path) -> None:
        first = _physical.Repository(1, "cluster", TARGET)
        self.options = _physical.Settings(state, 5432, 7, 24, 90, [first])
        self.asked: list[tuple[str, ...]] = []
        self.said: list[str] = []
        self.backups: list[dict[str, t.Any]] = []
        self.expired: list[dict[str, t.Any]] = []
        self.failing: set[str] = set()
        self.kept: dict[str, str] = {}
        self.kept_in: list[str] = []
        self.forgotten: list[tuple[str, str]] = []
        self.gone: int | None = None
        self.findings: list[_findings.Finding] = []

    def pgbackrest(self, *arguments: str) -> str:
        self.asked.append(arguments)
        if arguments[0] in self.failing or f"--repo={self.gone}" in arguments:
            raise _errors.BackupError(f"pgbackrest {arguments[0]} ended with [049]: no answer.")
        if arguments[0] == "info":
            return told(*self.backups, code=0 if self.backups else 2)
        if arguments[0] == "backup":
            made = backup(arguments[2].partition("=")[2], timedelta())
            fulls = [one["label"] for one in self.backups if one["type"] == "full"]
            if made["type"] != "full":
                made["label"] = f"{fulls[-1]}_{made['label']}"
            self.backups.append(made)
        else:
            self.backups = [one for one in self.backups if one not in self.expired]
        return ""

    def keep(self, repository: _physical.Repository, label: str, record: str) -> None:
        self.kept[label] = record
        self.kept_in.append(repository.name)

    def verify(
        self, _repository: _physical.Repository, _moment: datetime
    ) -> _verify_request.Verdict:
        reached = "present" if self.findings else "intact"
        return _verify_request.Verdict("main", reached, self.findings)

    def __call__(self) -> bool:
        succeeded: bool = _physical.run(self.options, self.means())
        return succeeded

    def means(self) -> _physical.Means:
        return _physical.Means(
            self.pgbackrest,
            self.verify,
            self.keep,
            lambda repository, label: self.forgotten.append((repository.name, label)),
            lambda: NOW,
            self.said.append,
        )

    def kinds(self) -> list[str]:
        return [given[2].partition("=")[2] for given in self.asked if given[0] == "backup"]

    def state(self) -> dict[str, t.Any]:
        found: dict[str, t.Any] = _backup_state.read(self.options.state / "physical.json")
        cluster: dict[str, t.Any] = found["databases"]["cluster"]
        return cluster


@pytest.fixture
def run(tmp_path: pathlib.Path) -> Run:
    return Run(tmp_path)


@pytest.mark.parametrize(
    ("before", "sound", "kind"),
    [
        ([], True, "full"),
        ([("full", 7 * DAY)], True, "full"),
        ([("full", 7 * DAY - HOUR + timedelta(seconds=1))], True, "full"),
        ([("full", 7 * DAY - HOUR)], True, "diff"),
        ([("full", 8 * DAY), ("diff", HOUR)], True, "full"),
        ([("full", 2 * DAY), ("diff", DAY)], True, "diff"),
        ([("full", 2 * DAY), ("diff", DAY - HOUR)], True, "incr"),
        ([("full", 6 * HOUR)], True, "incr"),
        ([("full", 2 * DAY), ("diff", 7 * HOUR), ("incr", HOUR)], True, "incr"),
        ([("full", 2 * DAY), ("incr", HOUR)], True, "diff"),
        ([("full", HOUR)], False, "full"),
    ],
)
def test_the_kind_that_is_due(
    run: Run, before: list[tuple[str, timedelta]], sound: bool, kind: str
) -> None:
    found = _physical.taken(told(*(backup(*one) for one in before)))
    assert _physical.due(found, run.options, NOW, sound) == kind


def test_a_repository_that_cannot_be_used_is_told_from_an_empty_one() -> None:
    assert _physical.taken(told(code=2)) == []
    with pytest.raises(_errors.BackupError, match=r"used: missing stanza path\. Try systemctl"):
        _physical.taken(told(code=1))
    silent = json.loads(told(code=99))
    silent[0]["repo"] = [{"status": {"code": 99, "message": "[HostConnectError]\nno answer"}}]
    with pytest.raises(_errors.BackupError, match=r"used: \[HostConnectError\] no answer\. Try"):
        _physical.taken(json.dumps(silent))
    silent[0]["repo"] = [{"status": {"code": 99, "message": "[FormatError] x:\nline 1: \x01"}}]
    unescaped = json.dumps(silent).replace("\\u0001", "\x01")
    with pytest.raises(_errors.BackupError, match=r"used: \[FormatError\] x\. Try"):
        _physical.taken(unescaped)
    with pytest.raises(_errors.BackupError, match="cannot be used"):
        _physical.taken("[]")


def test_a_backup_counts_once_it_was_read_back_and_only_then_old_ones_go(run: Run) -> None:
    run.backups = [backup("full", 100 * DAY)]
    run.expired = list(run.backups)
    assert run()
    assert [given[0] for given in run.asked] == ["info", "backup", "info", "expire", "info"]
    state = run.state()
    assert (state["ok"], state["verified"], state["kind"]) == (True, True, "full")
    assert state["last_success"] == NOW.isoformat()
    place = f"s3://backups/site/pgbackrest/backup/main/{state['label']}"
    assert state["detail"] == f"full, read back whole from {place}"
    label = run.expired[0]["label"]
    assert run.said[-1] == (
        f"cluster: deleted {label}, older than 90 days and none of the 12 monthly ones."
    )
    assert run.forgotten == [("cluster", label)]


def test_a_ladder_of_full_backups_stays_and_the_window_keeps_its_wal(run: Run) -> None:
    """Weekly ones for two years, daily ones between; the rungs stay alone."""
    weeks = [backup("full", 7 * DAY * week) for week in range(104, -1, -1)]
    daily = []
    for full in weeks:
        one = backup("diff", NOW - datetime.fromtimestamp(full["timestamp"]["start"], UTC) - DAY)
        daily.append({**one, "label": f"{full['label']}_{one['label']}"})
    found = _physical.taken(told(*weeks, *daily))
    gone, whole = _physical.ladder(found, 90, NOW)
    left = [one for one in found if one not in gone]
    fulls = [one for one in left if one.kind == "full"]
    assert whole == 14, "of 90 days ago is in the thirteenth week, so the one before begins it"
    assert NOW - fulls[-whole].started >= 90 * DAY > NOW - fulls[-whole + 1].started
    rungs = fulls[:-whole]
    months = [f"{one.started:%Y-%m}" for one in rungs]
    assert months == ["2025-11", "2025-12", *(f"2026-{month:02}" for month in range(1, 9))]
    assert all(one.started.day <= 7 for one in rungs)
    assert {one.label.partition("_")[0] for one in left if one.kind == "diff"} == {
        one.label for one in fulls[-whole:]
    }
    assert gone == sorted(gone, key=found.index, reverse=True)


def rungs(verdicts: dict[str, bool | None], *ages: int) -> tuple[list[int], int]:
    """Of full backups of those ages in days: which stay, and how many keep their WAL."""
    found = _physical.taken(told(*(backup("full", age * DAY) for age in ages)))
    named = {label_of(int(age)): verdict for age, verdict in verdicts.items()}
    gone, whole = _physical.ladder(found, 90, NOW, named)
    kept = [age for age, one in zip(ages, found, strict=True) if one not in gone]
    return kept, whole


def label_of(age: int) -> str:
    label: str = backup("full", age * DAY)["label"]
    return label


def test_a_damaged_full_backup_is_no_rung_and_no_base() -> None:
    """Of 1 and 5 August, of 23 and 16 August, which begin what can be gone back to."""
    sound: dict[str, bool | None] = dict.fromkeys(map(str, (113, 109, 98, 91, 1)), True)
    assert rungs(sound, 113, 109, 98, 91, 1) == ([113, 91, 1], 2)
    assert rungs({**sound, "113": False}, 113, 109, 98, 91, 1) == ([109, 91, 1], 2)
    assert rungs({**sound, "91": False}, 113, 109, 98, 91, 1) == ([113, 98, 91, 1], 3)
    assert rungs({"113": False, "91": False, "1": True}, 113, 91, 1) == ([91, 1], 2)


def test_a_backup_of_which_nothing_is_known_stays_a_rung_but_takes_no_place() -> None:
    """What another machine took is not deleted because this one has not read it."""
    assert rungs({"1": True}, 141, 113, 109, 91, 1) == ([141, 113, 91, 1], 2)
    told_of: dict[str, bool | None] = {"109": True, "91": True, "1": True}
    assert rungs(told_of, 141, 113, 109, 91, 1) == ([141, 113, 109, 91, 1], 2)
    assert rungs({"141": False, "113": False}, 141, 113, 1) == ([113, 1], 2)


def test_the_verdict_on_a_backup_is_read_from_its_record(run: Run) -> None:
    folder = run.options.state / "verifications"
    folder.mkdir()

    def verdict(text: str) -> bool | None:
        (folder / "one.json").write_text(text)
        found: bool | None = _physical.read_back(run.options.state, "one")
        return found

    assert verdict('{"verified": true, "sound": true}') is True
    assert verdict('{"verified": false, "sound": false}') is False
    assert verdict('{"verified": false, "sound": true}') is None, "the store did not answer"
    assert verdict("") is None
    run.backups = [backup("full", age * DAY) for age in (113, 109, 91, 2, 1)]
    (folder / f"{label_of(113)}.json").write_text('{"verified": false, "sound": false}')
    assert run()
    expired = [given[-1] for given in run.asked if given[0] == "expire"]
    assert expired[:-1] == [f"--set={label_of(113)}"]


def test_what_leaves_the_ladder_is_named_to_pgbackrest(run: Run) -> None:
    run.backups = [backup("full", age * DAY) for age in (205, 201, 100, 1)]
    assert run(), "the last but two is of 100 days ago, so the clock may have jumped"
    run.asked, run.expired = [], run.backups[1:2]
    assert run()
    how = ("--repo=1", "--repo1-retention-archive-type=full", "--repo1-retention-archive=2")
    assert [given for given in run.asked if given[0] == "expire"] == [
        ("expire", *how, f"--set={run.expired[0]['label']}"),
        ("expire", *how),
    ]


def test_a_backup_that_does_not_read_back_deletes_nothing_and_makes_the_next_a_full_one(
    run: Run,
) -> None:
    run.backups = [backup("full", 2 * HOUR)]
    assert run()
    finding = _findings.Finding("intact", "critical", "bundle/1", "sha1 a", "b", "take a full one")
    run.findings = [finding]
    assert not run()
    assert "expire" not in [given[0] for given in run.asked[-3:]]
    assert "bundle/1: expected sha1 a, found b" in run.state()["detail"]
    assert run.state()["last_success"] == NOW.isoformat()
    assert run.said[-1].startswith("<3>Physical backup of cluster failed: ")
    run.findings = []
    assert run()
    assert run.kinds() == ["incr", "incr", "full"]
    assert run.state()["sound"]


def test_a_full_backup_that_is_wanted_is_taken_until_one_succeeds(run: Run) -> None:
    run.backups = [backup("full", HOUR)]
    wish = run.options.state / _backup_state.FULL_WANTED
    wish.touch()
    run.failing = {"backup"}
    assert not run()
    assert wish.exists()
    run.failing = set()
    assert run() and run()
    assert run.kinds() == ["full", "full", "incr"]


@pytest.mark.parametrize("before", [False, True])
def test_a_full_backup_that_is_wanted_during_a_run_is_the_next(run: Run, before: bool) -> None:
    run.backups = [backup("full", HOUR)]
    wish = run.options.state / _backup_state.FULL_WANTED
    verify = run.verify
    if before:
        wish.touch()
        os.utime(wish, (1, 1))

    def asked_again(*given: t.Any) -> _verify_request.Verdict:
        wish.touch()
        return verify(*given)

    run.verify = asked_again  # type: ignore[method-assign, assignment]
    assert run()
    run.verify = verify  # type: ignore[method-assign]
    assert run() and run()
    assert run.kinds() == ["full" if before else "incr", "full", "incr"]
    assert not wish.exists()


def test_what_could_not_be_read_is_no_damage(run: Run) -> None:
    run.backups = [backup("full", 2 * HOUR)]
    run.findings = [_findings.Finding("intact", "unknown", "x", "every byte", "busy", "wait")]
    assert not run()
    run.findings = []
    assert run()
    assert run.kinds() == ["incr", "incr"]


@pytest.mark.parametrize("failing", ["info", "backup"])
def test_a_failure_is_one_sentence_and_forgets_no_success(run: Run, failing: str) -> None:
    run.backups = [backup("full", 2 * HOUR)]
    assert run()
    run.failing = {failing}
    assert not run()
    sentence = f"pgbackrest {failing} ended with [049]: no answer."
    assert run.said[-1] == f"<3>Physical backup of cluster failed: {sentence}"
    state = run.state()
    assert (state["ok"], state["verified"], state["detail"]) == (False, False, sentence)
    assert state["last_success"] == NOW.isoformat()


def test_a_backup_in_the_future_is_told_with_what_to_do(run: Run) -> None:
    ahead = backup("full", -DAY)
    run.backups = [backup("full", 2 * DAY), ahead]
    assert not run()
    assert run.kinds() == []
    detail = run.state()["detail"]
    assert detail.startswith(f"{ahead['label']} was begun in the future")
    assert detail.endswith(f"--repo1-retention-history=0 --set={ahead['label']} expire")
    run.backups = [backup("full", -timedelta(minutes=1))]
    assert run(), "clocks are put right a little all the time"


def test_a_clock_that_jumped_ahead_expires_nothing(run: Run) -> None:
    run.backups = [backup("full", age * DAY) for age in (420, 413, 406)]
    assert run()
    assert not [given for given in run.asked if given[-1].startswith("--set")]
    how = ("--repo=1", "--repo1-retention-archive-type=full", "--repo1-retention-archive=4")
    assert ("expire", *how) in run.asked


def test_keys_that_may_not_delete_make_a_backup_no_worse(run: Run) -> None:
    run.failing = {"expire"}
    assert run()
    assert run.said[-1].startswith("<4>Old physical backups stay, for room: pgbackrest expire")
    assert run.said[-1].endswith("playbooks/prune_backups.yml deletes with others.")


def test_what_may_not_be_deleted_at_night_is_pruned_with_other_keys(run: Run) -> None:
    means = run.means()
    assert not _physical.prune(run.options, means), "there was no run yet"
    assert run.said == ["<3>cluster: no backup was taken yet, so nothing is deleted."]
    run.backups = [backup("full", 100 * DAY), backup("full", DAY)]
    assert run()
    run.expired = run.backups[:1]
    label = run.backups[0]["label"]
    assert _physical.prune(run.options, means)
    assert run.said[-1] == (
        f"cluster: deleted {label}, older than 90 days and none of the 12 monthly ones."
    )
    assert run.forgotten == [("cluster", label)]
    run.failing = {"expire"}
    assert not _physical.prune(run.options, means)
    run.failing = {"backup"}
    assert not run()
    assert not _physical.prune(run.options, means)
    assert run.said[-1] == "<3>cluster: the last backup failed, so nothing is deleted."


@pytest.fixture
def twice(run: Run) -> Run:
    """The same run with a second repository."""
    second = _physical.Repository(2, "cluster-second", replace(TARGET, bucket="elsewhere"))
    run.options = replace(run.options, repositories=[*run.options.repositories, second])
    return run


def test_each_repository_gets_its_own_backup(twice: Run) -> None:
    assert twice()
    assert [given[:2] for given in twice.asked if given[0] in ("backup", "expire")] == [
        *(("backup", "--repo=1"), ("expire", "--repo=1")),
        *(("backup", "--repo=2"), ("expire", "--repo=2")),
    ]
    state = _backup_state.read(twice.options.state / "physical.json")["databases"]
    assert state["cluster"]["detail"].startswith("full, read back whole from s3://backups/")
    assert "read back whole from s3://elsewhere/" in state["cluster-second"]["detail"]
    assert twice.kept_in == ["cluster", "cluster-second"]


@pytest.mark.parametrize(("gone", "name"), [(1, "cluster"), (2, "cluster-second")])
def test_a_repository_that_is_gone_keeps_no_backup_from_the_other(
    twice: Run, gone: int, name: str
) -> None:
    wish = twice.options.state / _backup_state.FULL_WANTED
    wish.touch()
    twice.gone = gone
    assert not twice()
    state = _backup_state.read(twice.options.state / "physical.json")["databases"]
    assert {one: result["ok"] for one, result in state.items()} == {
        "cluster": gone == 2,
        "cluster-second": gone == 1,
    }
    failed = [line for line in twice.said if line.startswith("<3>")]
    assert failed == [
        f"<3>Physical backup of {name} failed: pgbackrest info ended with [049]: no answer."
    ]
    assert wish.exists()


CONFIGURATION: dict[str, t.Any] = {
    **{"state": "/var/lib/slipway/backup", "port": 5432, "full_days": 7},
    **{"differential_hours": 24, "retention_days": 90, "s3": {"bucket": "backups"}},
}


def test_settings_without_a_part_are_refused(tmp_path: pathlib.Path) -> None:
    place = tmp_path / "physical.json"
    place.write_text(json.dumps(CONFIGURATION))
    assert _physical.settings(place).repositories[0].target.bucket == "backups"
    for name in CONFIGURATION:
        less = {key: value for key, value in CONFIGURATION.items() if key != name}
        place.write_text(json.dumps(less))
        with pytest.raises(_errors.BackupError, match=r"cannot be used: .* Run site\.yml"):
            _physical.settings(place)


def program(folder: pathlib.Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def programs(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return folder


def test_what_pgbackrest_complains_of_first_is_the_reason(programs: pathlib.Path) -> None:
    program(programs, "pgbackrest", 'echo "$@"')
    assert _physical.pgbackrest("backup", "--type=full") == "--stanza=main backup --type=full\n"
    program(programs, "pgbackrest", r"printf '\377'")
    assert _physical.pgbackrest("info") == "\ufffd"
    lines = r"WARN: x\nERROR: [041]: cannot open the file\nERROR: [042]: later\n"
    program(programs, "pgbackrest", f"printf '{lines}' >&2; exit 41")
    with pytest.raises(_errors.BackupError) as raised:
        _physical.pgbackrest("backup")
    assert str(raised.value) == "pgbackrest backup ended with [041]: cannot open the file."
    refused = r"ERROR: [039]: HTTP request failed with 403 (Forbidden):\n"
    refused += r"   *** Path/Query ***:\n   DELETE /backups/x\n   *** Headers ***:\n"
    program(programs, "pgbackrest", f"printf '{refused}' >&2; exit 39")
    with pytest.raises(_errors.BackupError, match=r"403 \(Forbidden\): DELETE /backups/x\."):
        _physical.pgbackrest("expire")
    program(programs, "pgbackrest", "exit 1")
    with pytest.raises(_errors.BackupError, match=r"ended with no word\."):
        _physical.pgbackrest("expire")
    program(programs, "pgbackrest", "echo Killed >&2; exit 137")
    with pytest.raises(_errors.BackupError, match=r"backup ended with Killed\."):
        _physical.pgbackrest("backup")


def test_what_reading_back_has_found_lies_beside_the_backup(run: Run) -> None:
    assert run()
    run.findings = [_findings.Finding("intact", "critical", "x", "y", "z", "again", "main")]
    assert not run()
    first, last = (json.loads(text) for text in run.kept.values())
    assert (first["verified"], first["verdict"]["findings"]) == (True, [])
    assert (last["ok"], last["verdict"]["findings"][0]["found"]) == (False, "z")
    with moto.mock_aws():
        client = _s3.client(TARGET)
        client.create_bucket(Bucket="backups")
        (first,) = run.options.repositories
        _physical.publish(run.options, client, first, "20261122-030000F", "{}\n")
        key = "site/pgbackrest/verifications/20261122-030000F.json"
        assert _s3.read_text(client, TARGET, key) == "{}\n"
        _physical.forget({"cluster": client}, first, "20261122-030000F")
        assert list(_s3.list_objects(client, TARGET)) == []
    local = run.options.state / "verifications/20261122-030000F.json"
    assert local.read_text() == "{}\n"
    run.backups = [backup("full", 91 * DAY), backup("full", 2 * DAY)]
    gone = run.backups[0]["label"]
    local.rename(local.with_name(f"{gone}.json"))
    run.findings, run.expired = [], run.backups[:1]
    assert run()
    assert list(local.parent.iterdir()) == [], "it goes with its backup"


def test_the_last_segment_is_asked_of_the_server(programs: pathlib.Path) -> None:
    program(programs, "psql", "echo 00000001000000000000000A")
    assert _physical.last_archived(5432) == "00000001000000000000000A"
    program(programs, "psql", "echo")
    assert _physical.last_archived(5432) is None
    program(programs, "psql", "echo no server >&2; exit 2")
    with pytest.raises(_errors.BackupError, match="psql ended with 2: no server"):
        _physical.last_archived(5432)


def test_the_passphrase_is_that_of_pgbackrest_itself(tmp_path: pathlib.Path) -> None:
    place = tmp_path / "pgbackrest.conf"
    place.write_text("[global]\nrepo1-cipher-pass=a%b=c;d\n\n[main]\npg1-port=5432\n")
    assert _physical.passphrase(place) == "a%b=c;d"
    for text in ("", "[global]\n", "no section"):
        place.write_text(text)
        with pytest.raises(_errors.BackupError, match="names no passphrase"):
            _physical.passphrase(place)


def test_the_program_runs_alone_and_says_in_one_sentence_what_is_wrong(
    tmp_path: pathlib.Path,
    programs: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = tmp_path / "settings.json"
    place.write_text(json.dumps({**CONFIGURATION, "state": str(tmp_path)}))
    call = ["back_up_physical", str(place)]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    configuration = tmp_path / "pgbackrest.conf"
    configuration.write_text("[global]\nrepo1-cipher-pass=correct horse\n")
    monkeypatch.setattr(_physical, "CONFIGURATION", configuration)
    program(programs, "psql", "echo")
    found = told(backup("full", timedelta()))
    program(programs, "pgbackrest", f"echo '{found}'")
    with moto.mock_aws():
        _s3.client(TARGET).create_bucket(Bucket="backups")
        assert _physical.main(call) == 1
    assert "backup.info is missing" in capsys.readouterr().out
    (kept,) = (tmp_path / "verifications").iterdir()
    assert json.loads(kept.read_text())["verified"] is False
    monkeypatch.setattr(_physical, "run", lambda *_: True)
    assert _physical.main(call) == 0
    with _backup_state.alone(tmp_path / "physical.lock"):
        assert _physical.main(call) == 1
    assert capsys.readouterr().out.startswith("<3>Nothing was backed up: Another backup is")

    def full(*_: t.Any) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_physical, "run", full)
    assert _physical.main(call) == 1
    said = capsys.readouterr().out
    assert said == "<3>The run was given up: [Errno 28] No space left on device.\n"
