# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The rules on dumps, in tables: what is just good enough, and what is just not."""

from __future__ import annotations

import typing as t
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import (
    _backups,
    _evidence,
    _verification,
)
from ansible_collections.slipway.stack.plugins.module_utils._evidence import Contents, Sums
from ansible_collections.slipway.stack.plugins.module_utils._verification import Promise, Stored

NOW = datetime(2026, 11, 21, 3, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def stored(age: timedelta, size: int = 1000, late: timedelta = MINUTE) -> Stored:
    taken = NOW - age
    return Stored(f"night/shop/{taken:%Y%m%dT%H%M%SZ}-0a.dump", size, taken + late)


def candidates(*items: Stored, recorded: bool = True) -> list[_verification.Candidate]:
    records = [Stored(_backups.record_name(item.key), 1, item.modified) for item in items]
    found = _verification.group([*items, *(records if recorded else [])], "night")
    return found.get("shop", [])


def present(*items: Stored, recorded: bool = True, **promise: t.Any) -> list[str]:
    found = _verification.present(
        "shop", candidates(*items, recorded=recorded), Promise(**promise), NOW
    )
    return [f"{one.severity}: {one.expected}" for one in found]


@pytest.mark.parametrize(
    ("file", "taken"),
    [
        ("20261120T020000Z-0a.dump", datetime(2026, 11, 20, 2, tzinfo=UTC)),
        ("shop-2026-11-20_02-00-07.sql.gz", datetime(2026, 11, 20, 2, 0, 7, tzinfo=UTC)),
        ("shop 2026-11-20 02:30.sql", datetime(2026, 11, 20, 2, 30, tzinfo=UTC)),
        ("20261120.sql", None),
        ("20261101.sql", datetime(2026, 11, 1, tzinfo=UTC)),
        ("20269999T020000Z.dump", None),
        ("shop.dump", None),
        ("9820261120T020000Z.dump", None),
    ],
)
def test_when_a_dump_was_taken(file: str, taken: datetime | None) -> None:
    assert _verification.taken(file, NOW) == (taken or NOW, taken is not None)


@pytest.mark.parametrize(
    ("file", "counts"),
    [
        *((name, True) for name in ("a.dump", "a.sql.zst.gpg", "a.TGZ", "a.dmp", "a.sql.zstd.asc")),
        *((name, False) for name in ("a.json", "a.dump.partial", "a.gz", "a.dump.json")),
    ],
)
def test_what_is_taken_for_a_dump(file: str, counts: bool) -> None:
    found = _verification.group([Stored(f"shop/{file}", 1, NOW)], "")
    assert bool(found) is counts


@pytest.mark.parametrize(
    ("hours", "named"), [(-1, True), (0, False), (47, False), (48, True), (49, True)]
)
def test_a_mere_date_covers_two_days(hours: int, named: bool) -> None:
    day = datetime(2026, 11, 19, tzinfo=UTC)
    modified = day + hours * HOUR
    assert _verification.taken("20261119.sql", modified) == (day if named else modified, named)


def test_what_is_no_dump_does_not_hide_those_behind_it() -> None:
    keys = ("night/a.dump", "night/shop/a.json.txt", "night/shop/b.dump")
    (found,) = _verification.group([Stored(key, 1, NOW) for key in keys], "night")["shop"]
    assert found.key == "night/shop/b.dump"


def test_only_files_right_below_a_database_are_dumps() -> None:
    keys = ("night/a.dump", "night/shop/x/a.dump", "day/shop/a.dump", "night//a.dump")
    assert _verification.group([Stored(key, 1, NOW) for key in keys], "night") == {}


@pytest.mark.parametrize(
    ("items", "found"),
    [
        ([stored(25 * HOUR)], []),
        ([stored(25 * HOUR + timedelta(seconds=1))], ["critical: at most 25.0 h old"]),
        ([stored(-5 * MINUTE, late=-5 * MINUTE)], []),
        ([stored(HOUR, late=-6 * MINUTE)], ["critical: begun before it was stored at"]),
        ([stored(-6 * MINUTE)], ["critical: begun before it was stored at"]),
        ([stored(HOUR, 200)], []),
        ([stored(HOUR, 199)], ["critical: at least 200 B"]),
        ([stored(9 * HOUR), stored(HOUR, 500)], []),
        ([stored(9 * HOUR), stored(HOUR, 499)], ["critical: at least 50% of the median"]),
        ([stored(9 * HOUR), stored(HOUR, 4000)], []),
        ([stored(9 * HOUR), stored(HOUR, 4001)], ["warning: at most 400% of the median"]),
        ([stored(9 * HOUR, 0), stored(HOUR, 300)], []),
        ([], ["critical: a backup"]),
    ],
)
def test_presence(items: list[Stored], found: list[str]) -> None:
    said = present(*items)
    assert len(said) == len(found)
    assert all(one.startswith(start) for one, start in zip(said, found, strict=True))


@pytest.mark.parametrize(("minutes", "text"), [(0, "0.0 h"), (90, "1.5 h"), (60_000, "1000.0 h")])
def test_ages_are_told_in_hours(minutes: int, text: str) -> None:
    assert _verification.hours(minutes * MINUTE) == text


def test_what_is_promised_unless_said_otherwise() -> None:
    assert Promise() == Promise(25 * HOUR, 5 * MINUTE, 200, 0.5, 4.0, True, {})


@pytest.mark.parametrize(
    ("required", "recorded", "chosen"),
    [
        (True, (True, False), 0),
        (False, (True, False), 1),
        (True, (True, True), 1),
        (True, (False, False), 1),
    ],
)
def test_the_newest_is_the_last_that_counts(
    required: bool, recorded: tuple[bool, bool], chosen: int
) -> None:
    found = [
        replace(one, recorded=has)
        for one, has in zip(candidates(stored(9 * HOUR), stored(HOUR)), recorded, strict=True)
    ]
    promise = Promise(require_record=required)
    assert _verification.newest(found, promise) == found[chosen]
    assert _verification.newest([], promise) is None


def test_a_newer_one_without_record_hides_no_collapse() -> None:
    chosen = stored(2 * HOUR, 499)
    record = Stored(_backups.record_name(chosen.key), 1, NOW)
    before = [stored(9 * HOUR), Stored(_backups.record_name(stored(9 * HOUR).key), 1, NOW)]
    found = _verification.group([*before, chosen, record, stored(HOUR)], "night")["shop"]
    said = _verification.present("shop", found, Promise(), NOW)
    assert [(one.severity, one.object) for one in said if "median" in one.expected] == [
        ("critical", chosen.key)
    ]


def test_the_median_is_that_of_the_seven_before() -> None:
    """It is 1000 only of seven: of six, and of eight, it would be 5000."""
    sizes = [9000, 1000, 9000, 9000, 9000, 1000, 1000, 1000]
    before = [stored((9 - n) * HOUR, size) for n, size in enumerate(sizes)]
    assert present(*before, stored(HOUR / 2, 600)) == []


@pytest.mark.parametrize(("required", "severity"), [(True, "critical"), (False, "warning")])
def test_a_dump_without_record(required: bool, severity: str) -> None:
    said = present(stored(HOUR), recorded=False, require_record=required)
    assert said == [f"{severity}: a record beside it"]


def test_the_oldest_is_first_whatever_order_the_server_lists_in() -> None:
    ages = [9 * HOUR, 90 * HOUR, HOUR]
    found = _verification.group([stored(age) for age in ages], "night")["shop"]
    assert [one.taken for one in found] == [NOW - age for age in sorted(ages, reverse=True)]


ONE = candidates(stored(HOUR))[0]
RECORD = _backups.Record(
    *("shop", ONE.file, 1000, "ab" * 32, "0a", ONE.taken.isoformat(), "", "18", "18", "gzip"),
    tables={"public.a": 3},
    verified=True,
)


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({}, 0),
        ({"database": "blog"}, 1),
        ({"file": "x.dump"}, 1),
        ({"size": 999}, 1),
        ({"size": 1001}, 1),
        ({"verified": False}, 1),
        ({"started": (ONE.taken + 5 * MINUTE).isoformat()}, 0),
        ({"started": (ONE.taken - 6 * MINUTE).isoformat()}, 1),
        ({"started": "2026-11-21T02:00:00"}, 0),
        ({"started": "soon"}, 1),
    ],
)
def test_the_record_is_that_of_the_dump(changes: dict[str, t.Any], count: int) -> None:
    found = _evidence.record_findings(ONE, replace(RECORD, **changes), (), 5 * MINUTE)
    assert len(found) == count


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({}, 0),
        ({"file": "y.dump"}, 1),
        ({"file": "0.dump"}, 1),
        ({"file": "y", "sha256": "cd"}, 0),
        ({"file": "y", "sha256": "aa"}, 0),
    ],
)
def test_the_bytes_are_not_those_of_the_one_before(changes: dict[str, t.Any], count: int) -> None:
    other = replace(RECORD, file="z.dump", sha256="ef")
    before = replace(RECORD, **changes)
    assert len(_evidence.record_findings(ONE, RECORD, [before], MINUTE)) == count
    assert len(_evidence.record_findings(ONE, RECORD, [before, other, before], MINUTE)) == count


@pytest.mark.parametrize(
    ("etags", "size", "recorded", "count"),
    [
        (("ab", "ab"), 1000, False, 1),
        (("ab", "ab"), 999, False, 0),
        (("ab", "ab"), 1001, False, 0),
        (("ab", "cd"), 1000, False, 0),
        (("cd", "ab"), 1000, False, 0),
        (("", ""), 1000, False, 0),
        (("ab", "ab"), 1000, True, 0),
    ],
)
def test_without_a_record_the_etag_tells_of_a_copy(
    etags: tuple[str, str], size: int, recorded: bool, count: int
) -> None:
    """With one, its sha256 does."""
    before = replace(ONE, etag=etags[0], file="y.dump", size=size)
    newest = replace(ONE, etag=etags[1], recorded=recorded)
    promise = Promise(require_record=False)
    found = _verification.present("shop", [before, newest], promise, NOW)
    assert len([one for one in found if one.expected == "bytes of its own"]) == count
    many = [before, *(replace(ONE, etag=f"{n}") for n in range(7)), newest]
    found = _verification.present("shop", many, promise, NOW)
    assert not [one for one in found if one.expected == "bytes of its own"]


@pytest.mark.parametrize(
    ("record", "sums", "read", "size", "severities"),
    [
        (RECORD, Sums(), {"sha256": "ab" * 32}, 1000, []),
        (RECORD, Sums(), {"sha256": "cd" * 32}, 1000, ["critical"]),
        (RECORD, Sums(), {"sha256": "ab" * 32}, 999, ["critical"]),
        (RECORD, Sums(), {"sha256": "ab" * 32}, 1001, ["critical"]),
        (RECORD, Sums(metadata_sha256="AB" * 32), {"sha256": "ab" * 32}, 1000, []),
        (None, Sums(metadata_sha256="cd"), {"sha256": "ab"}, 1000, ["critical"]),
        (None, Sums(sha256="cd"), {"sha256": "ab"}, 1000, ["critical"]),
        (None, Sums(sha1="cd"), {"sha1": "ab"}, 1000, ["critical"]),
        (None, Sums(crc32="cd"), {"crc32": "ab"}, 1000, ["critical"]),
        (None, Sums(md5="cd"), {"md5": "ab"}, 1000, ["critical"]),
        (None, Sums(multipart_md5="cd"), {"multipart_md5": "cd"}, 1000, []),
        (None, Sums(), {}, 1000, ["unknown"]),
    ],
)
def test_digests(
    record: _backups.Record | None,
    sums: Sums,
    read: dict[str, str],
    size: int,
    severities: list[str],
) -> None:
    found = _evidence.digest_findings(ONE, record, sums, read, size)
    assert [one.severity for one in found] == severities


@pytest.mark.parametrize(
    ("unused", "found"),
    [
        ((), "none"),
        (("CRC32C", "CRC64NVME"), "only CRC32C and CRC64NVME, not computed here"),
    ],
)
def test_a_checksum_that_cannot_be_compared_is_named(unused: tuple[str, ...], found: str) -> None:
    (one,) = _evidence.digest_findings(ONE, None, Sums(unused=unused), {}, 1000)
    assert (one.severity, one.found) == ("unknown", found)


GOOD = Contents("custom", {"public.a": 3}, database="shop", created=ONE.taken)


@pytest.mark.parametrize(
    ("changes", "severities"),
    [
        ({}, []),
        ({"database": None, "created": None}, []),
        ({"database": "blog"}, ["critical"]),
        ({"created": ONE.taken + timedelta(hours=14)}, []),
        ({"created": ONE.taken + timedelta(hours=14, seconds=1)}, ["critical"]),
        ({"created": ONE.taken - timedelta(hours=12)}, []),
        ({"created": ONE.taken - timedelta(hours=12, seconds=1)}, ["critical"]),
        ({"complete": False}, ["critical"]),
        ({"homeless": ["public.a"]}, ["critical"]),
        ({"tables": {}}, ["critical"]),
        ({"tables": {}, "inserts": True}, ["unknown"]),
        ({"tables": {"public.a": 2}}, ["critical"]),
        ({"tables": {"public.a": 4}}, ["critical"]),
        ({"tables": {"public.a": 3, "public.b": 1}}, []),
    ],
)
def test_contents(changes: dict[str, t.Any], severities: list[str]) -> None:
    found = _evidence.contents_findings(ONE, RECORD, replace(GOOD, **changes), (), None)
    assert [one.severity for one in found] == severities


@pytest.mark.parametrize(
    ("before", "severity"),
    [(None, "warning"), (RECORD, "critical"), (replace(RECORD, tables={}), "warning")],
)
def test_a_dump_without_a_table(before: _backups.Record | None, severity: str) -> None:
    empty = replace(GOOD, tables={})
    (found,) = _evidence.contents_findings(ONE, None, empty, (), before)
    assert found.severity == severity


@pytest.mark.parametrize(
    ("count", "rest"), [(1, ""), (5, ""), (6, " and 1 more"), (8, " and 3 more")]
)
def test_many_missing_tables_are_counted(count: int, rest: str) -> None:
    names = [f"public.t{n}" for n in range(count)]
    (found,) = _evidence.contents_findings(ONE, RECORD, GOOD, names, None)
    assert found.expected == "table " + ", ".join(names[:5]) + rest


@pytest.mark.parametrize(
    ("wanted", "encrypted", "server", "count"),
    [
        ("none", False, None, 0),
        ("client", False, "AES256", 1),
        ("client", True, None, 0),
        ("server", True, None, 1),
        ("server", False, "AES256", 0),
    ],
)
def test_encryption(wanted: str, encrypted: bool, server: str | None, count: int) -> None:
    assert not GOOD.encrypted
    contents = replace(GOOD, encrypted=encrypted)
    found = _evidence.encryption_findings(ONE, wanted, contents, Sums(server_encryption=server))
    assert len(found) == count


@pytest.mark.parametrize(("hours", "count"), [(0, 1), (1, 0), (2, 0)])
def test_only_what_was_deleted_after_the_newest_hides_it(hours: int, count: int) -> None:
    markers = {stored(hours * HOUR).key: NOW, "night/shop/notes.txt": NOW}
    older = candidates(stored(9 * HOUR), stored(8 * HOUR))
    assert len(_verification.hidden("shop", markers, [*older, ONE])) == count
    assert len(_verification.hidden("shop", markers, [])) == 1
