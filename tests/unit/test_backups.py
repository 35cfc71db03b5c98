"""Names, records and the choice of what may go: case tables, nothing else involved."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _backups, _errors

NOW = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)
RECORD = _backups.Record(
    database="shop",
    file="20261121T020000Z-0a1b2c3d.dump",
    size=3,
    sha256="ab" * 32,
    nonce="0a1b2c3d",
    started="2026-11-21T02:00:00+00:00",
    finished="2026-11-21T02:00:01+00:00",
    server_version="17.6",
    client_version="17.6",
    compression="zstd:1",
    tables={"public.bids": 3},
)


def copies(*ages: str) -> list[_backups.Copy]:
    """'40v' is a verified copy of 40 days, '40u' one that never was verified."""
    return [
        _backups.Copy("shop", f"{age}.dump", NOW - timedelta(days=int(age[:-1])), age[-1] == "v")
        for age in ages
    ]


@pytest.mark.parametrize(
    ("present", "gone"),
    [
        pytest.param([], [], id="nothing there"),
        pytest.param(["40v"], [], id="the only one, however old"),
        pytest.param(["60v", "50v", "40v"], [], id="the last three verified"),
        pytest.param(["70v", "60v", "50v", "40v"], ["70v"], id="a fourth, older than all"),
        pytest.param(["2v", "1v", "0v"], [], id="young ones"),
        pytest.param(["40v", "2v", "1v", "0v"], ["40v"], id="old, with three young ones"),
        pytest.param(["40v", "1v", "0v"], [], id="old, but one of three"),
        pytest.param(["40v", "2u", "1u", "0v"], [], id="unverified ones do not count"),
        pytest.param(["40u", "2v", "1v", "0v"], ["40u"], id="an old unverified one"),
        pytest.param(["40u"], [], id="unverified, but all there is"),
        pytest.param(["60v", "50v", "45v", "40u"], [], id="unverified, newer than any verified"),
        pytest.param(["31v", "30v", "2v", "1v", "0v"], ["31v"], id="at the limit is not past it"),
        pytest.param(["2v", "40v", "0v", "50v", "1v"], ["50v", "40v"], id="in any order"),
        pytest.param(["40v", "0v", "-1v", "-2v"], ["40v"], id="a clock that ran ahead"),
    ],
)
def test_only_what_nobody_needs_is_prunable(present: list[str], gone: list[str]) -> None:
    found = _backups.prunable(copies(*present), NOW, retention_days=30, keep=3)
    assert [copy.file for copy in found] == [f"{age}.dump" for age in gone]


@pytest.mark.parametrize(
    ("taken", "believed"),
    [
        pytest.param([], 0, id="nothing to compare with"),
        pytest.param([2, 1, 0], 0, id="every night"),
        pytest.param([14, 7, 0], 7, id="every week"),
        pytest.param([400, 399, 398, 0], 392, id="ahead for one night"),
        pytest.param([400, 399, 1, 0], 392, id="ahead for two nights"),
        pytest.param([400, 2, 1, 0], 0, id="three copies agree"),
        pytest.param([-400, 2, 1, 0], 0, id="ahead once, long ago"),
        pytest.param([40, 0], 33, id="two in all"),
    ],
)
def test_a_clock_that_jumped_ahead_makes_nothing_old(taken: list[int], believed: int) -> None:
    moments = [NOW - timedelta(days=days) for days in taken]
    assert _backups.believed(NOW, moments) == NOW - timedelta(days=believed)


@pytest.mark.parametrize("keep", [0, -5])
def test_the_newest_verified_copy_stays_whatever_is_asked(keep: int) -> None:
    found = _backups.prunable(copies("50v", "40v"), NOW, retention_days=0, keep=keep)
    assert [copy.file for copy in found] == ["50v.dump"]


def test_a_file_name_tells_when_the_dump_was_begun() -> None:
    name = _backups.file_name(NOW, "0a1b2c3d")
    assert name == RECORD.file
    assert _backups.taken(name) == NOW
    assert _backups.record_name(name) == "20261121T020000Z-0a1b2c3d.json"


def test_a_file_name_is_in_utc_wherever_the_machine_is() -> None:
    kolkata = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert _backups.file_name(kolkata, "0a1b2c3d") == RECORD.file


@pytest.mark.parametrize(
    "name",
    [
        "",
        "shop.dump",
        "20261121T020000Z.dump",
        "20261121T020000Z-0a.json",
        "99999999T020000Z-a.dump",
    ],
)
def test_a_foreign_name_is_no_backup(name: str) -> None:
    assert _backups.taken(name) is None


def test_a_record_survives_writing_and_reading() -> None:
    assert _backups.record(RECORD.as_json(), "here") == RECORD


def test_a_record_of_a_later_version_is_readable() -> None:
    text = json.dumps({**json.loads(RECORD.as_json()), "schema_revision": "0042"})
    assert _backups.record(text, "here") == RECORD


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        pytest.param(RECORD.as_json().replace("true", "1").replace('"size": 3', '"size": "3"')),
        pytest.param(RECORD.as_json().replace('"verified": false', '"verified": "no"')),
    ],
)
def test_half_a_record_is_refused(text: str) -> None:
    with pytest.raises(_errors.BackupError, match=r"^here is not the record of a backup: .*\.$"):
        _backups.record(text, "here")


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a\nb", "a\0b"])
def test_a_name_that_is_no_directory_is_refused(name: str) -> None:
    with pytest.raises(_errors.BackupError, match="rename it"):
        _backups.require_directory_name(name)


@pytest.mark.parametrize("name", ["shop", "Shop 2", "été", "a=b", 'quo"ted'])
def test_any_other_name_is_usable(name: str) -> None:
    _backups.require_directory_name(name)


@pytest.mark.parametrize(
    ("database", "last", "needed"), [(1000, None, 1000), (1000, 100, 200), (1000, 900, 1000)]
)
def test_room_is_estimated_from_the_last_dump(database: int, last: int | None, needed: int) -> None:
    assert _backups.bytes_needed(database, last) == needed


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2.5e9, "2.5 GB"), (4e12, "4.0 TB")],
)
def test_sizes_are_for_people(size: float, text: str) -> None:
    assert _backups.human_size(size) == text


def test_the_newest_copy_is_the_one_taken_last() -> None:
    newest = _backups.newest(copies("3v", "1u", "2v"))
    assert newest is not None
    assert newest.file == "1u.dump"
    assert _backups.newest([]) is None
