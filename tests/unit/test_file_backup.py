"""Files saved, read back, thinned out; a stand-in plays restic, moto in this process the store."""

from __future__ import annotations

import hashlib
import json
import pathlib
import typing as t
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import moto
import pytest
from ansible_collections.slipway.stack.plugins.filter.backup_table import backup_table
from ansible_collections.slipway.stack.plugins.module_utils import (
    _backup_state,
    _errors,
    _file_backup,
    _s3,
)

NOW = datetime(2026, 11, 29, 2, 30, tzinfo=UTC)
TARGET = _s3.Target(bucket="backups", prefix="site/files/one", access_key="k", secret_key="s")
KEEP = ["--keep-within=90d", "--keep-weekly=4"]
DAMAGED = "came back as 5 bytes with sha256 .*, which its name is not: do not trust"


class Run:
    """A run whose restic stores what it should, unless it is told to answer something else."""

    def __init__(self, path: pathlib.Path) -> None:
        (path / "state").mkdir()
        (path / "media").mkdir()
        self.options = _file_backup.Settings(
            [str(path / "media"), str(path / "absent")],
            ["*.tmp"],
            path / "state",
            "restic",
            KEEP,
            TARGET,
        )
        self.client = _s3.client(TARGET)
        self.client.create_bucket(Bucket="backups")
        self.asked: list[tuple[str, ...]] = []
        self.said: list[str] = []
        self.answers: dict[str, _file_backup.Answer] = {}
        self.size = 1000
        self.number = 0

    def put(self, key: str, body: bytes) -> None:
        self.client.put_object(Bucket="backups", Key=TARGET.key(key), Body=body)

    def restic(self, *words: str) -> _file_backup.Answer:
        self.asked.append(words)
        if words[0] == "init":
            self.put("config", b"secret")
        if words[0] == "backup":
            self.number += 1
            body = f"pack {self.number}".encode()
            self.put(f"data/ab/{hashlib.sha256(body).hexdigest()}", body)
            self.put("locks/1", b"a lock")
        words = tuple(each for each in words if each not in _file_backup.READ_ONLY)
        if words[0] in self.answers:
            return self.answers[words[0]]
        summary = {
            "message_type": "summary",
            "snapshot_id": "881d92ea0000",
            "data_added": 10,
            "total_bytes_processed": self.size,
        }
        told = {"backup": json.dumps(summary), "forget": "[]\n[0:00] 100.00%"}
        return 0, told.get(words[0], ""), ""

    def __call__(self) -> bool:
        means = _file_backup.Means(self.restic, self.client, lambda: NOW, self.said.append)
        succeeded: bool = _file_backup.run([(self.options, means)])
        return succeeded

    def state(self) -> dict[str, t.Any]:
        found: dict[str, t.Any] = _backup_state.read(self.options.state / "files.json")
        files: dict[str, t.Any] = found["databases"]["files"]
        return files

    def words(self) -> list[str]:
        return [words[0] for words in self.asked]


@pytest.fixture
def run(tmp_path: pathlib.Path) -> t.Iterator[Run]:
    with moto.mock_aws():
        yield Run(tmp_path)


def test_files_are_saved_read_back_and_only_then_thinned_out(run: Run) -> None:
    assert run()
    assert run.words() == ["init", "unlock", "backup", "check", "snapshots", "forget"]
    media = run.options.paths[0]
    assert run.asked[2] == ("backup", "--json", "--exclude=*.tmp", "--", media)
    assert run.asked[5] == ("forget", "--json", "--group-by=host", "--prune", *KEEP)
    state = run.state()
    assert (state["ok"], state["verified"], state["paths"]) == (True, True, [media])
    assert state["last_success"] == "2026-11-29T02:30:00+00:00"
    assert run.said == [
        "files: 1.0 kB, 10 B of them new, snapshot 881d92ea, 1 objects read back from"
        " s3://backups/site/files/one."
    ]
    run.asked.clear()
    assert run()
    assert run.words()[0] == "unlock"


def test_what_was_read_back_before_is_not_read_again(run: Run) -> None:
    assert run()
    old = f"data/cd/{'0' * 64}"
    run.put(old, b"other")
    since = _s3.list_objects(run.client, TARGET)
    newest = max(item.modified for item in since)
    objects = [item for item in _s3.list_objects(run.client, TARGET) if item.key.endswith(old)]
    means = _file_backup.Means(run.restic, run.client, lambda: NOW, run.said.append)
    later = _backup_state.utc(newest.replace(year=newest.year + 1))
    assert _file_backup.read_back(run.options, means, later)[0] == 0
    with pytest.raises(_errors.BackupError, match=DAMAGED):
        _file_backup.read_back(run.options, means, _backup_state.utc(objects[0].modified))


def test_an_object_that_came_back_changed_does_not_count(run: Run) -> None:
    run.put("config", b"secret")
    run.put(f"data/cd/{'0' * 64}", b"other")
    assert not run()
    assert "do not trust this object store" in run.state()["detail"]
    assert "forget" not in run.words()
    assert run.state()["last_success"] is None


def test_a_repository_without_its_configuration_is_not_made_anew(run: Run) -> None:
    run.put("data/ab/cd", b"")
    assert not run()
    assert run.words() == []
    assert "s3://backups/site/files/one/config is missing" in run.state()["detail"]


def test_where_nothing_is_there_nothing_was_saved(run: Run) -> None:
    pathlib.Path(run.options.paths[0]).rmdir()
    assert not run()
    assert "is there: correct the paths of backup_files." in run.state()["detail"]


@pytest.mark.parametrize(
    ("words", "answer", "sentence"),
    [
        ("init", (1, "", "Fatal: no\n"), "restic init ended with 1: no."),
        ("unlock", (12, "", "\n"), "restic unlock ended with 12: no word."),
        (
            "backup",
            (1, "", "hint\nFatal: wrong password\n"),
            "backup ended with 1: wrong password.",
        ),
        ("backup", (0, "", ""), "restic backup told no summary"),
        ("check", (1, "", "error for tree 0a\n"), "restic check ended with 1: error for tree 0a."),
    ],
)
def test_what_restic_complains_of_is_one_sentence(
    run: Run, words: str, answer: _file_backup.Answer, sentence: str
) -> None:
    run.answers[words] = answer
    assert not run()
    assert sentence in run.state()["detail"]
    assert run.said[0] == f"<3>Backup of the files failed: {run.state()['detail']}"


def test_a_file_that_vanished_is_no_failure_but_one_that_cannot_be_read_is(run: Run) -> None:
    run.put("config", b"secret")
    output = run.restic("backup")[1]
    gone = json.dumps({"message_type": "error", "item": f"{run.options.paths[0]}/gone"})
    run.answers["backup"] = (3, output, f"plain words\n[]\n{gone}\n")
    assert run()
    there = json.dumps({"message_type": "error", "item": run.options.paths[0]})
    run.answers["backup"] = (3, output, f"{there}\n")
    assert not run()
    assert run.state()["detail"] == f"restic could not read {run.options.paths[0]}."


def test_a_size_that_collapsed_is_told(run: Run) -> None:
    assert run()
    run.size = 501
    assert run()
    assert not any("<4>" in line for line in run.said)
    run.size = 250
    assert run()
    assert run.said[-1].startswith("<4>files: 250 B were there, 501 B the last time: see whether")


def test_what_somebody_named_and_is_not_there_fails_once_the_rest_is_saved(run: Run) -> None:
    assert run(), "of what nobody named"
    media, absent = run.options.paths
    run.options = replace(run.options, required=[absent])
    run.asked.clear()
    assert not run()
    assert run.words() == ["unlock", "backup", "check"], "saved, and nothing is forgotten"
    state = run.state()
    assert state["detail"].startswith(f"{absent} is not there, but named in stack_backup_paths: ")
    assert "The rest is in snapshot 881d92ea, " in state["detail"]
    assert state["last_success"] == "2026-11-29T02:30:00+00:00", "of the run before"
    run.options = replace(run.options, required=[media])
    assert run()


@pytest.mark.parametrize(
    ("days", "thinned"),
    [
        ([], True),
        ([1, 0], True),
        ([3, 2, 1, 0], True),
        ([9, 8, 7, 6, 0], True),
        ([10, 9, 8, 0], False),
        ([3, 2, 1, -400], False),
        ([3, 2, -400, -401], False),
        ([3, -400, -401, -402], False),
        ([0, -8], False),
    ],
)
def test_a_clock_that_jumped_ahead_forgets_nothing(
    run: Run, days: list[int], thinned: bool
) -> None:
    """Neither while it is ahead, nor when it is right again and restic reckons from that night."""
    times = [(NOW - timedelta(days=each)).isoformat() for each in days]
    found = [{"time": time, "short_id": f"id{number}"} for number, time in enumerate(times)]
    run.answers["snapshots"] = (0, json.dumps(found), "")
    assert run()
    assert ("forget" in run.words()) == thinned
    told = run.said[-1].startswith("<4>Old snapshots of files stay: the newest, id")
    assert told != thinned
    assert (f"forget id{len(days) - 1}." in run.said[-1]) != thinned


def test_old_snapshots_that_go_are_named_and_staying_is_no_failure(run: Run) -> None:
    removed = [{"time": "2026-05-01T04:30:11.691090441+02:00"}]
    groups = json.dumps([{"remove": removed}, {"remove": None}])
    run.answers["forget"] = (0, f"{groups}\n[0:00] done", "")
    assert run()
    words = "--keep-within=90d --keep-weekly=4"
    assert (
        run.said[-1] == f"files: deleted the snapshot of 2026-05-01T02:30:11+00:00, past {words}."
    )
    run.answers["forget"] = (1, "", "Fatal: AccessDenied\n")
    assert run()
    assert run.said[-1].startswith("<4>Old snapshots of files stay, for room: AccessDenied")
    assert run.said[-1].endswith("playbooks/prune_backups.yml deletes with others.")
    means = _file_backup.Means(run.restic, run.client, lambda: NOW, run.said.append)
    assert not _file_backup.prune([(run.options, means)])
    run.answers.clear()
    assert _file_backup.prune([(run.options, means)])
    (run.options.state / _file_backup.STATE).unlink()
    assert not _file_backup.prune([(run.options, means)])
    assert run.said[-1] == "<3>files: no backup was taken yet, so nothing is deleted."
    run.answers["backup"] = (1, "", "Fatal: no answer\n")
    assert not run()
    assert not _file_backup.prune([(run.options, means)])
    assert run.said[-1] == "<3>files: the last backup failed, so nothing is deleted."


def test_each_place_gets_the_files_whatever_becomes_of_the_other(
    run: Run, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "other").mkdir()
    other = Run(tmp_path / "other")
    target = replace(TARGET, prefix="other/files/one")
    other.put = lambda key, body: run.client.put_object(  # type: ignore[method-assign]
        Bucket="backups", Key=target.key(key), Body=body
    )
    places = [
        (run.options, _file_backup.Means(run.restic, run.client, lambda: NOW, run.said.append)),
        (
            replace(run.options, name="files-second", target=target),
            _file_backup.Means(other.restic, run.client, lambda: NOW, run.said.append),
        ),
    ]

    def states() -> dict[str, tuple[bool, bool]]:
        found = _backup_state.read(run.options.state / "files.json")["databases"]
        return {name: (each["ok"], bool(each["last_success"])) for name, each in found.items()}

    run.answers["backup"] = (1, "", "Fatal: no answer\n")
    assert not _file_backup.run(places)
    assert states() == {"files": (False, False), "files-second": (True, True)}
    assert run.said[0] == "<3>Backup of the files failed: restic backup ended with 1: no answer."
    assert run.said[1].startswith("files-second: 1.0 kB")
    assert run.said[1].endswith("s3://backups/other/files/one.")
    assert not _file_backup.prune(places)
    assert [words[0] for words in other.asked].count("forget") == 2, "of the other all the same"
    run.answers.clear()
    assert _file_backup.run(places)
    assert states() == {"files": (True, True), "files-second": (True, True)}
    assert _file_backup.prune(places)


def test_settings_name_one_place_or_two(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_SECOND_ACCESS_KEY_ID", "other")
    monkeypatch.setenv("SLIPWAY_SECOND_SECRET_ACCESS_KEY", "secret")
    told: dict[str, t.Any] = {"paths": [], "exclude": [], "state": "/x", "restic": "/files"}
    told |= {"keep": KEEP, "target": {"bucket": "one"}, "second": {}}
    (tmp_path / "settings").write_text(json.dumps(told))
    (first,) = _file_backup.settings(tmp_path / "settings")
    assert (first.name, first.restic, first.target.bucket) == ("files", "/files", "one")
    told["second"] = {"restic": "/files-second", "target": {"bucket": "two"}}
    (tmp_path / "settings").write_text(json.dumps(told))
    first, second = _file_backup.settings(tmp_path / "settings")
    assert (first.name, first.restic, first.target.bucket) == ("files", "/files", "one")
    assert (second.name, second.restic, second.target.bucket) == (
        "files-second",
        "/files-second",
        "two",
    )
    assert (first.target.access_key, second.target.access_key) == (None, "other")


def snapshots(*hours: int) -> tuple[int, str, str]:
    told = [
        {"time": (NOW - timedelta(hours=each)).isoformat(), "short_id": f"{each:08}"}
        for each in hours
    ]
    return 0, json.dumps(told), ""


@pytest.mark.parametrize(
    ("answers", "level", "severity", "said"),
    [
        ({"snapshots": snapshots(30, 3)}, "readable", None, ""),
        ({"snapshots": (1, "", "Fatal: wrong password\n")}, "none", "unknown", "wrong password"),
        ({"snapshots": (0, "null", "")}, "none", "critical", "none"),
        ({"snapshots": snapshots(26, 50)}, "none", "critical", "one of 26.0 h"),
        (
            {"snapshots": snapshots(3), "check": (1, "", "Load(<data/0a>): wrong hash\n")},
            *("present", "critical", "Load(<data/0a>): wrong hash"),
        ),
        (
            {"snapshots": snapshots(3), "check": (1, "pack 0a is damaged\n", "")},
            *("present", "critical", "pack 0a is damaged"),
        ),
    ],
)
def test_a_verdict_on_the_files_reads_every_byte(
    run: Run, answers: dict[str, t.Any], level: str, severity: str | None, said: str
) -> None:
    run.answers = answers
    means = _file_backup.Means(run.restic, run.client, lambda: NOW, run.said.append)
    verdict = _file_backup.verify(run.options, means, 90_000)
    assert (verdict["level"], verdict["verified"]) == (level, severity is None)
    assert [one["severity"] for one in verdict["findings"]] == ([severity] if severity else [])
    assert [one["found"] for one in verdict["findings"]] == ([said] if severity else [])
    assert backup_table({"web1": [verdict]}).count("\n") == (3 if severity else 2)
    if severity is None:
        assert (verdict["key"], verdict["age"]) == ("00000003", 3 * 3600)
        assert run.asked[-1] == ("--no-lock", "--no-cache", "check", "--read-data")


def test_the_program_runs_alone_and_says_in_one_sentence_what_is_wrong(
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    restic = tmp_path / "restic"
    restic.write_text("#!/bin/sh\necho 'Fatal: no repository' >&2; exit 1\n")
    restic.chmod(0o755)
    settings = {
        "paths": [str(tmp_path)],
        "exclude": [],
        "state": str(tmp_path),
        "restic": str(restic),
        "keep": KEEP,
        "ping_url": "",
        "target": {"bucket": "backups", "access_key": "k", "secret_key": "s"},
    }
    place = tmp_path / "files.json.settings"
    call = ["back_up_files", str(place)]
    place.write_text("{}")
    assert _file_backup.main(call) == 1
    said = capsys.readouterr().out
    assert said.startswith("<3>No file was backed up: ")
    assert said.endswith("cannot be used: KeyError('state'). Run site.yml to write it anew.\n")
    place.write_text(json.dumps(settings))
    with moto.mock_aws():
        _s3.client(TARGET).create_bucket(Bucket="backups")
        assert _file_backup.main(call) == 1
        assert "restic init ended with 1: no repository." in capsys.readouterr().out
        assert _file_backup.main([*call, "verify", "90000"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["findings"]
    assert (found["severity"], found["found"]) == ("unknown", "no repository")

    def full(*_: t.Any) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_file_backup, "run", full)
    assert _file_backup.main(call) == 1
    said = capsys.readouterr().out
    assert said == "<3>The run was given up: [Errno 28] No space left on device.\n"
