"""The listing of a bucket, on moto inside this process."""

from __future__ import annotations

import json
import typing as t
from dataclasses import replace
from datetime import UTC, datetime

import moto
import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _backups, _catalog, _s3

TARGET = _s3.Target(bucket="backups", prefix="night", access_key="AKIA1", secret_key="s3cr3t")
NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)


def record(day: int, database: str = "shop") -> _backups.Record:
    taken = datetime(2026, 11, day, 2, 0, tzinfo=UTC)
    return _backups.Record(
        database=database,
        file=_backups.file_name(taken, "0a1b2c3d"),
        size=5,
        sha256="ab" * 32,
        nonce="0a1b2c3d",
        started=taken.isoformat(),
        finished=taken.isoformat(),
        server_version="17.6",
        client_version="17.6",
        compression="zstd:1",
        verified=True,
    )


class Bucket:
    def __init__(self) -> None:
        self.s3 = _s3.client(TARGET)
        self.s3.create_bucket(Bucket="backups")

    def put(self, *parts: str, body: str = "12345") -> None:
        self.s3.put_object(Bucket="backups", Key=TARGET.key(*parts), Body=body.encode())

    def put_backup(self, found: _backups.Record, body: str = "12345") -> None:
        self.put(found.database, found.file, body=body)
        self.put(found.database, _backups.record_name(found.file), body=found.as_json())

    def catalog(self, *databases: str) -> _catalog.Catalog:
        found: _catalog.Catalog = _catalog.catalog(self.s3, TARGET, databases)
        return found

    def listing(self, *databases: str) -> list[_catalog.Listed]:
        found: list[_catalog.Listed] = self.catalog(*databases).backups
        return found


@pytest.fixture
def bucket() -> t.Iterator[Bucket]:
    with moto.mock_aws():
        yield Bucket()


def test_backups_are_listed_newest_first_with_age_and_digest(bucket: Bucket) -> None:
    for day in (19, 21, 20):
        bucket.put_backup(record(day))
    found = bucket.catalog().as_dict(NOW)
    assert [listed["age"] // 86400 for listed in found["backups"]] == [0, 1, 2]
    newest = {
        "database": "shop",
        "key": "night/shop/20261121T020000Z-0a1b2c3d.dump",
        "size": 5,
        "taken": "2026-11-21T02:00:00+00:00",
        "age": 3600,
        "problem": None,
        "verified": found["backups"][0]["verified"],
    }
    assert found["backups"][0] == newest
    stored = datetime.now(UTC) - datetime.fromisoformat(newest["verified"])
    assert abs(stored.total_seconds()) < 60, "when its record was stored"
    assert found["newest"] == {"shop": {**newest, "sha256": "ab" * 32}}


def test_records_are_read_only_until_one_counts(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in range(10, 20):
        bucket.put_backup(record(day))
        bucket.put_backup(record(day, "blog"))
    bucket.put_backup(record(20), body="")
    read: list[str] = []
    real = _s3.read_text

    def spy(s3: t.Any, where: _s3.Target, key: str) -> str:
        read.append(key.split("/", 1)[1][:16])
        return str(real(s3, where, key))

    monkeypatch.setattr(_s3, "read_text", spy)
    assert len(bucket.listing()) == 21
    assert sorted(read) == ["blog/20261119T02", "shop/20261119T02", "shop/20261120T02"]


def test_only_the_databases_asked_for_are_listed(bucket: Bucket) -> None:
    bucket.put_backup(record(21))
    bucket.put_backup(record(21, "blog"))
    assert {listed.database for listed in bucket.listing()} == {"shop", "blog"}
    assert {listed.database for listed in bucket.listing("blog")} == {"blog"}
    assert bucket.listing("other") == []


@pytest.mark.parametrize(
    ("found", "body", "problem"),
    [
        (record(21), "1234", "holds 4 bytes, but 5 were recorded"),
        (record(21), "", "holds 0 bytes, but 5 were recorded"),
        (replace(record(21), verified=False), "12345", "was never read back"),
    ],
)
def test_a_backup_unlike_its_record_does_not_count(
    bucket: Bucket, found: _backups.Record, body: str, problem: str
) -> None:
    bucket.put_backup(found, body)
    (listed,) = bucket.listing()
    assert problem in str(listed.problem)
    assert bucket.catalog().newest == {}


@pytest.mark.parametrize("other", [record(20), record(21, "blog")])
def test_a_record_of_another_backup_does_not_count(bucket: Bucket, other: _backups.Record) -> None:
    mine = record(21)
    bucket.put("shop", mine.file)
    bucket.put("shop", _backups.record_name(mine.file), body=other.as_json())
    (listed,) = bucket.listing("shop")
    assert str(listed.problem).startswith("its record is that of ")


def test_a_dump_without_record_is_listed_but_does_not_count(bucket: Bucket) -> None:
    bucket.put("shop", record(21).file)
    (listed,) = bucket.listing()
    assert listed.as_dict(NOW)["problem"] == "has no record: no upload of it was ever read back"


def test_a_record_that_cannot_be_read_does_not_stop_the_listing(bucket: Bucket) -> None:
    bucket.put_backup(record(20))
    bucket.put("shop", record(21).file)
    bucket.put("shop", _backups.record_name(record(21).file), body="{")
    first, second = bucket.listing()
    assert "is not the record of a backup" in str(first.problem)
    assert second.problem is None


def test_other_objects_are_passed_over(bucket: Bucket) -> None:
    for parts in (("shop", "notes.txt"), ("a", "b", record(21).file), ("archive.dump",)):
        bucket.put(*parts)
    bucket.put(record(21).file)
    assert bucket.listing() == []


def test_the_newest_is_the_newest_that_counts(bucket: Bucket) -> None:
    bucket.put_backup(record(19))
    bucket.put_backup(record(20))
    bucket.put_backup(record(21), body="")
    newest, _sha256 = bucket.catalog().newest["shop"]
    assert newest.taken.day == 20


def test_a_bucket_may_hold_backups_without_a_prefix(bucket: Bucket) -> None:
    found = record(21)
    for name, body in ((found.file, "12345"), (found.file[:-5] + ".json", found.as_json())):
        bucket.s3.put_object(Bucket="backups", Key=f"shop/{name}", Body=body.encode())
    whole = _s3.Target(bucket="backups")
    (listed,) = _catalog.catalog(bucket.s3, whole, []).backups
    assert (listed.database, listed.problem) == ("shop", None)
    assert json.loads(found.as_json())["database"] == "shop"
