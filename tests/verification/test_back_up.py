# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The nightly program as it is installed: a real PostgreSQL, a real S3 server, real files."""

from __future__ import annotations

import concurrent.futures
import fcntl
import json
import os
import pathlib
import subprocess
import time
import typing as t

import botocore.exceptions
import pytest
from ansible_collections.slipway.stack.plugins.module_utils import (
    _back_up,
    _dump,
    _errors,
    _rehearsal_moment,
    _s3,
    _schema,
)

from .conftest import Dumps
from .database import MAJOR, SHOP_TABLES
from .injector import Faults, injected

HASHED = 'public.odd " na.me'
TOLD = """
CREATE TABLE bids (id serial PRIMARY KEY, at timestamptz DEFAULT now());
INSERT INTO bids SELECT FROM generate_series(1, 3);
CREATE TABLE "odd "" na.me" (t int, "a b" text);
INSERT INTO "odd "" na.me" VALUES (1, 'a'), (2, NULL);
SELECT lo_from_bytea(0, repeat('large object', 10000)::bytea);
CREATE TABLE alembic_version (version_num text);
INSERT INTO alembic_version VALUES ('3c4d'), ('1a2b');
CREATE TABLE django_migrations (id serial, app text, name text);
INSERT INTO django_migrations (app, name) VALUES ('shop', '0001_initial'), ('shop', '0002_bids');
ALTER SEQUENCE django_migrations_id_seq CYCLE;
"""
MOVED = """
DELETE FROM "odd "" na.me" WHERE t = 1;
INSERT INTO "odd "" na.me" VALUES (1, 'a');
"""
MANY = """
DO $$ BEGIN FOR number IN {begin}..{end} LOOP
  EXECUTE format('CREATE TABLE t%s AS SELECT 1 AS id', number);
END LOOP; END $$
"""
LARGE = "SELECT sum(length(lo_get(oid))) FROM pg_largeobject_metadata"
CHANGED = 'UPDATE "odd "" na.me" SET "a b" = \'b\' WHERE t = 1'
TARGET = {"bucket": "nightly", "access_key": "AKIA1", "secret_key": "s3cr3t"}


class Night:
    """The program's folders and its configuration."""

    def __init__(self, path: pathlib.Path, endpoint: str) -> None:
        for name in ("state", "backups"):
            (path / name).mkdir()
        self.path = path
        self.target: dict[str, t.Any] = {**TARGET, "endpoint_url": endpoint, "prefix": path.name}
        self.client = _s3.client(_s3.target(self.target))
        self.client.create_bucket(Bucket="nightly")

    def run(
        self,
        *databases: str,
        to_s3: bool = True,
        hashed: dict[str, list[str]] | None = None,
        store_days: int = 0,
        jobs: int = 1,
    ) -> int:
        settings = {
            "databases": list(databases),
            "directory": str(self.path / "backups"),
            "state": str(self.path / "state"),
            "port": 5432,
            "retention_days": 30,
            "keep": 3,
            "reserve_percent": 0,
            "hashed_tables": hashed or {},
            "s3": self.target if to_s3 else {},
            "store_retention_days": store_days,
            "jobs": jobs,
        }
        (self.path / "settings.json").write_text(json.dumps(settings))
        code: int = _back_up.main(["slipway-backup", str(self.path / "settings.json")])
        return code

    def records(self, database: str) -> list[dict[str, t.Any]]:
        found = (self.path / "backups" / database).glob("*.json")
        return [json.loads(path.read_text()) for path in found]


@pytest.fixture
def night(
    tmp_path: pathlib.Path, dumps: Dumps, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> t.Iterator[Night]:
    monkeypatch.setenv("PGHOST", str(dumps.server.place))
    monkeypatch.setenv("PGUSER", "postgres")
    monkeypatch.setattr(_dump, "CLIENTS", dumps.server.installed)
    # The server from PyPI was built without zstd, Debian's was not.
    monkeypatch.setattr(_dump, "compression", lambda _client: "gzip:3")
    before = os.umask(0o022)
    yield Night(tmp_path, endpoint)
    os.umask(before)


def test_a_night_leaves_a_dump_that_can_be_restored_with_its_counts(
    night: Night, dumps: Dumps, capsys: pytest.CaptureFixture[str]
) -> None:
    assert night.run("shop", "void") == 0
    (record,) = night.records("shop")
    assert record["tables"] == SHOP_TABLES
    assert (record["verified"], record["compression"]) == (True, "gzip:3")
    assert record["extensions"] == {"plpgsql": "1.0"}
    dump = night.path / "backups" / "shop" / record["file"]
    listed = subprocess.run(
        [dumps.server.home / "bin" / "pg_restore", "--list", dump], check=True, capture_output=True
    )
    assert b"TABLE DATA public bids" in listed.stdout
    key = f"{night.path.name}/shop/{record['file']}"
    stored = night.client.get_object(Bucket="nightly", Key=key)["Body"].read()
    assert stored == dump.read_bytes()
    assert night.records("void")[0]["tables"] == {}
    said = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in said] == ["shop", "void"]
    assert json.loads((night.path / "state/state.json").read_text())["undeclared"] == ["blog"]


def test_databases_that_are_dumped_at_once_are_each_whole(night: Night) -> None:
    assert night.run("shop", "blog", "void", jobs=3) == 0
    records = {name: night.records(name)[0] for name in ("shop", "blog", "void")}
    assert records["shop"]["tables"] == SHOP_TABLES
    assert records["blog"]["tables"] == {"public.posts": 50_000}
    assert {each["verified"] for each in records.values()} == {True}


def test_a_restored_dump_answers_what_its_record_was_told(night: Night, dumps: Dumps) -> None:
    server = dumps.server
    server.sql("postgres", "CREATE ROLE reporter LOGIN PASSWORD 'canary'")
    server.sql("postgres", "CREATE DATABASE told")
    server.sql("postgres", "CREATE DATABASE again")
    try:
        server.sql("told", TOLD)
        assert night.run("told", hashed={"told": [HASHED]}) == 0
        (record,) = night.records("told")
        assert record["revisions"] == {"alembic": "1a2b,3c4d", "django:shop": "0002_bids"}
        assert record["sequences"] == {"public.bids_id_seq": 3}
        assert "CREATE ROLE reporter" in record["roles"]
        assert "PASSWORD" not in record["roles"]
        dump = night.path / "backups" / "told" / record["file"]
        with dump.open("rb") as file:
            restore = [str(server.home / "bin" / "pg_restore"), "--dbname=again", "--exit-on-error"]
            subprocess.run(restore, stdin=file, check=True)
        assert server.sql("again", LARGE) == "120000"
        assert server.sql("again", _schema.FINGERPRINT) == record["schema"]
        assert server.sql("again", _schema.SEQUENCES) == '{ "public.bids_id_seq" : 3 }'
        hashed = f"{_schema.HASH_SETTINGS}; {_schema.content_hash(HASHED)}"
        assert server.sql("again", hashed) == record["hashes"][HASHED]
        # The same rows in another order are the same; one value that differs is not.
        server.sql("again", MOVED)
        assert server.sql("again", hashed) == record["hashes"][HASHED]
        server.sql("again", CHANGED)
        assert server.sql("again", hashed) != record["hashes"][HASHED]
        server.sql("again", "ALTER TABLE bids ALTER id TYPE bigint")
        assert server.sql("again", _schema.FINGERPRINT) != record["schema"]
    finally:
        for statement in ("DATABASE told", "DATABASE again", "ROLE reporter"):
            server.sql("postgres", f"DROP {statement}")


def test_an_upload_that_is_cut_at_nine_tenths_is_sent_again(night: Night, endpoint: str) -> None:
    faults = Faults(uploads_cut=1, cuts=1)
    with injected(endpoint, faults) as night.target["endpoint_url"]:
        assert night.run("shop") == 0
    assert (faults.uploads_cut, faults.cuts) == (0, 0), "both directions were cut"
    assert [record["verified"] for record in night.records("shop")] == [True]


def test_an_upload_that_is_always_cut_fails_the_run_and_keeps_the_local_copy(
    night: Night, endpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with injected(endpoint, Faults(uploads_cut=99)) as night.target["endpoint_url"]:
        assert night.run("shop") == 1
    assert capsys.readouterr().out.startswith(
        "<3>Backup of shop failed: Cannot upload s3://nightly/"
    )
    (record,) = night.records("shop")
    assert not record["verified"]
    assert (night.path / "backups" / "shop" / record["file"]).exists()
    night.target["endpoint_url"] = endpoint
    assert night.run("shop") == 0


def test_keys_that_were_revoked_fail_the_run(
    night: Night, endpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with injected(endpoint, Faults(refusals=1, status=403)) as night.target["endpoint_url"]:
        assert night.run("shop") == 1
    assert "Cannot read s3://nightly/" in capsys.readouterr().out
    assert [record["verified"] for record in night.records("shop")] == [False]


def test_a_disk_that_fills_in_the_middle_fails_one_database_and_leaves_nothing(
    night: Night,
    dumps: Dumps,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No file may become larger than 50 kB, which pg_dump meets as it does a full disk."""
    programs = night.path / "installed" / MAJOR / "bin"
    programs.mkdir(parents=True)
    real = dumps.server.home / "bin"
    for name in ("pg_restore", "pg_dumpall"):
        (programs / name).symlink_to(real / name)
    full = programs / "pg_dump"
    full.write_text(f"#!/bin/sh\ntrap '' XFSZ\nulimit -f 100\nexec {real}/pg_dump \"$@\"\n")
    full.chmod(0o755)
    monkeypatch.setattr(_dump, "CLIENTS", night.path / "installed")
    assert night.run("shop", "void") == 1
    bad, good = capsys.readouterr().out.splitlines()
    assert bad.startswith("<3>Backup of shop failed: pg_dump ended with 1: ")
    assert "File too large" in bad
    assert good.startswith("void: ")
    assert list((night.path / "backups" / "shop").iterdir()) == []


@pytest.mark.long
def test_a_database_of_ten_thousand_tables(night: Night, dumps: Dumps) -> None:
    dumps.server.sql("postgres", "CREATE DATABASE many")
    try:
        # In steps, because each table takes a lock until its transaction ends.
        for begin in range(0, 10_000, 1000):
            dumps.server.sql("many", MANY.format(begin=begin + 1, end=begin + 1000))
        assert night.run("many") == 0
        (record,) = night.records("many")
        assert record["tables"] == {f"public.t{number}": 1 for number in range(1, 10_001)}
        moment = _rehearsal_moment.take(["many"], 5432, {}, "many")
        assert moment.databases["many"].tables == record["tables"]
        assert moment.databases["many"].schema == record["schema"]
    finally:
        dumps.server.sql("postgres", "DROP DATABASE many")


def test_a_server_that_is_restarted_in_the_middle_fails_one_run_alone(
    night: Night, dumps: Dumps, capsys: pytest.CaptureFixture[str]
) -> None:
    server = dumps.server
    psql = [str(server.home / "bin" / "psql"), "-X", "--dbname=blog"]
    held = "BEGIN; LOCK TABLE posts; SELECT pg_sleep(60)"
    with subprocess.Popen([*psql, f"--command={held}"], stderr=subprocess.DEVNULL) as holder:
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        try:
            with concurrent.futures.ThreadPoolExecutor() as threads:
                ended = threads.submit(night.run, "blog")
                deadline = time.monotonic() + 30
                while server.sql("postgres", waiting) == "0" and time.monotonic() < deadline:
                    time.sleep(0.1)
                server.stop()
                assert ended.result() == 1
        finally:
            holder.kill()
            server.start()
    assert capsys.readouterr().out.startswith("<3>Backup of blog failed: ")
    assert list((night.path / "backups" / "blog").iterdir()) == []
    assert night.run("blog") == 0


def test_a_database_that_is_not_there_fails_alone_in_one_sentence(
    night: Night, capsys: pytest.CaptureFixture[str]
) -> None:
    assert night.run("shop", "none", to_s3=False) == 1
    warning, good, bad = capsys.readouterr().out.splitlines()
    assert warning.startswith("<4>backup_s3 is empty")
    assert good.startswith("shop: ")
    assert bad.startswith("<3>Backup of none failed: cannot connect: ")
    assert bad.endswith('database "none" does not exist.')
    assert list((night.path / "backups" / "none").iterdir()) == []


LOCK = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 30}}


def test_a_bucket_with_object_lock_takes_dumps_and_pruning_only_hides_them(
    night: Night, capsys: pytest.CaptureFixture[str]
) -> None:
    s3, bucket = night.client, f"locked-{os.getpid()}"
    s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    s3.put_object_lock_configuration(
        Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": LOCK}
    )
    # Such a bucket takes nothing without a checksum.
    night.target |= {"bucket": bucket, "stored_checksum": True}
    for _night in range(3):
        assert night.run("shop") == 0
    old = f"{night.path.name}/shop/20240101T020000Z-0a1b2c3d.dump"
    for key in (old, old.replace(".dump", ".json")):
        s3.put_object(Bucket=bucket, Key=key, Body=b"old", ChecksumAlgorithm="SHA256")
    capsys.readouterr()
    assert night.run("shop", store_days=90) == 0
    said = capsys.readouterr().out
    assert f"shop: hid s3://{bucket}/{old}, older than 90 days" in said
    assert "<" not in said
    (version,) = s3.list_object_versions(Bucket=bucket, Prefix=old)["Versions"]
    which = {"Bucket": bucket, "Key": old, "VersionId": version["VersionId"]}
    assert s3.get_object(**which)["Body"].read() == b"old"
    with pytest.raises(botocore.exceptions.ClientError, match="AccessDenied"):
        s3.delete_object(**which)
    assert night.run("shop", store_days=90) == 0, "what is hidden is not found again"
    assert "hid" not in capsys.readouterr().out


def test_a_second_run_waits_for_nobody(night: Night, capsys: pytest.CaptureFixture[str]) -> None:
    with (night.path / "state" / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert night.run("shop") == 1
    assert capsys.readouterr().out.startswith("<3>Nothing was backed up: Another backup is run")


def test_a_server_that_refuses_is_a_sentence(night: Night) -> None:
    with (
        pytest.raises(_errors.BackupError, match=r"^the server refused: syntax error at .* 1: X"),
        _dump.connected("shop", 5432) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("X")


def test_nothing_is_written_to_the_database(night: Night) -> None:
    with (
        pytest.raises(_errors.BackupError, match="cannot execute DELETE in a read-only transact"),
        _dump.connected("shop", 5432) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("DELETE FROM bids")
