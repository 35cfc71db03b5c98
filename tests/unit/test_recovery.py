"""Which moment, from which backup, and whether a recovered server is there."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _errors, _recovery
from restore_fakes import answer, info


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("latest", ["--type=default"]),
        (
            "2026-11-28T22:14:05+01:00",
            ["--type=time", "--target=2026-11-28 21:14:05+00:00", "--target-action=promote"],
        ),
        ("backup:20261128-030000F", ["--type=immediate", "--target-action=promote"]),
        ("point:v1.4.2", ["--type=name", "--target=v1.4.2", "--target-action=promote"]),
        (
            "xid:1234",
            ["--type=xid", "--target=1234", "--target-action=promote", "--target-exclusive"],
        ),
    ],
)
def test_a_target_is_said_in_pgbackrests_words(text: str, options: list[str]) -> None:
    assert _recovery.target(text).options() == options


@pytest.mark.parametrize(
    "text",
    [
        "",
        "newest",
        "2026-11-28T21:14:05",
        "xid:0",
        "xid:x",
        "point:",
        "point:a b",
        "time:1",
        "backup:x",
    ],
)
def test_a_moment_is_never_guessed(text: str) -> None:
    with pytest.raises(_errors.BackupError, match=r"^restore_to is .*; write latest, a time with"):
        _recovery.target(text)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("latest", ["20261128-030000F"]),
        ("2026-11-27T12:00:00Z", ["20261121-030000F"]),
        ("xid:7", ["20261128-030000F", "20261121-030000F"]),
        ("point:x", ["20261128-030000F", "20261121-030000F"]),
        ("backup:20261121-030000F", ["20261121-030000F"]),
    ],
)
def test_the_backup_is_older_than_the_target(text: str, labels: list[str]) -> None:
    found = _recovery.backups(info(21, 28))
    chosen = _recovery.candidates(_recovery.target(text), found)
    assert [each.label for each in chosen] == labels
    assert {each.version for each in chosen} == {"17"}


@pytest.mark.parametrize(
    ("text", "days", "said"),
    [
        ("2026-11-20T00:00:00Z", (21,), "no physical backup was finished before 2026-11-20"),
        ("backup:20250101-030000F", (21,), "no physical backup is called 20250101-030000F; play"),
        ("latest", (), "there is no physical backup; take one with"),
    ],
)
def test_no_backup_is_a_sentence(text: str, days: tuple[int, ...], said: str) -> None:
    with pytest.raises(_errors.BackupError, match=said):
        _recovery.candidates(_recovery.target(text), _recovery.backups(info(*days)))


@pytest.mark.parametrize("text", ["", "[]", "[{}]", '[{"db": [], "backup": [1]}]'])
def test_what_pgbackrest_never_says_is_refused(text: str) -> None:
    with pytest.raises(_errors.BackupError, match="cannot be understood"):
        _recovery.backups(text)


def test_only_how_to_recover_is_taken_from_the_original() -> None:
    written = "port = '5432'\narchive_command = 'push'\nrestore_command = 'get'\n"
    found = _recovery.configuration("/scratch", 5499, written + "recovery_target = 'x'\n")
    assert "archive_mode = 'off'" in found
    assert "restore_command = 'get'\nrecovery_target = 'x'\n" in found
    assert "push" not in found
    assert "5432" not in found


def test_a_recovered_server_says_where_it_is() -> None:
    (backup,) = _recovery.backups(info(28))
    wanted = _recovery.target("2026-11-28T21:14:05Z")
    found = _recovery.reached(wanted, backup, answer())
    assert found.as_dict() == {
        "backup": "20261128-030000F",
        "last_commit": "2026-11-28T21:14:04.5+00:00",
        "lsn": "0/1",
        "timeline": 2,
        "checksums": True,
    }
    assert _recovery.reached(wanted, backup, answer(last_commit=None)).last_commit == ""


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"in_recovery": True}, "still in recovery"),
        ({"last_commit": "2026-11-28T21:14:05.1+00:00"}, "holds a transaction of 2026-11-28T21:14"),
    ],
)
def test_a_server_elsewhere_is_refused(values: dict[str, t.Any], said: str) -> None:
    (backup,) = _recovery.backups(info(28))
    with pytest.raises(_errors.BackupError, match=said):
        _recovery.reached(_recovery.target("2026-11-28T21:14:05Z"), backup, answer(**values))


def test_a_server_complains_last_of_what_ended_it() -> None:
    log = "LOG:  a\n2026 [1] FATAL:  no room\nLOG:  shut down\n"
    assert _recovery.complaint(log) == "no room"
    assert _recovery.complaint("") == ""


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (None, "other"),
        ("[CryptoError] no key", r"\[CryptoError\] no key"),
        ("[HostConnectError] no file:\nno answer", r"\[HostConnectError\] no file: no answer"),
        (
            "[FormatError] no file:\nat line 1: \ufffd\x08x\nat line 2: \x01",
            r"\[FormatError\] no file",
        ),
        ("\ufffd", "it does not say why"),
        (
            "[ProtocolError] failed with 403:\n*** Request ***:\nGET /\n<Code>Skewed</Code>",
            r"\[ProtocolError\] failed with 403: Skewed",
        ),
    ],
)
def test_a_repository_that_cannot_be_read_is_not_an_empty_one(
    message: str | None, why: str
) -> None:
    status = {"code": 99, "message": "other"}
    repositories = [{"status": {"message": message}}] if message else []
    told = json.dumps([{"status": status, "repo": repositories, "db": [], "backup": []}])
    # pgBackRest does not escape all that JSON wants to be escaped.
    told = told.replace("\\u0001", "\x01").replace("\\b", "\b")
    with pytest.raises(
        _errors.BackupError, match=f"cannot be used: {why}. Look at stack_backup_s3"
    ):
        _recovery.backups(told)
    empty = json.dumps([{"status": {"code": 2}, "db": [], "backup": []}])
    assert _recovery.backups(empty) == []


def test_a_repository_that_is_gone_hides_nothing_of_the_other() -> None:
    """One was made after an upgrade, so it counts the servers in another way."""
    (stanza,) = json.loads(info(21, 28))
    first, second = stanza["backup"]
    first["database"] = {"id": 1, "repo-key": 2}
    second["database"] = {"id": 1, "repo-key": 1}
    stanza["db"] = [
        {"id": 1, "repo-key": 1, "version": "15"},
        {"id": 1, "repo-key": 2, "version": "17"},
    ]
    stanza["status"] = {"code": 4, "message": "different across repos"}
    gone = {"key": 1, "status": {"code": 99, "message": "[HostConnectError] no answer"}}
    stanza["repo"] = [gone, {"key": 2, "status": {"code": 0, "message": "ok"}}]
    found = _recovery.backups(json.dumps([stanza]))
    assert [(each.label, each.version) for each in found] == [
        (second["label"], "15"),
        (first["label"], "17"),
    ]
    stanza["repo"][1]["status"] = {"code": 2, "message": "no valid backups"}
    with pytest.raises(
        _errors.BackupError, match=r"cannot be used: \[HostConnectError\] no answer"
    ):
        _recovery.backups(json.dumps([stanza]))
