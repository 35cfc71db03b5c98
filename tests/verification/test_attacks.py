# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Each way in which a backup can be worthless is noticed, at the level where it belongs."""

from __future__ import annotations

import gzip
import io
import json
import pathlib
import subprocess
import tarfile
import typing as t
from dataclasses import replace
from datetime import timedelta

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _backups, _verification

from . import database as postgres
from .conftest import Dumps
from .database import SHOP_TABLES
from .store import DAY, HOUR, Store, said
from .test_healthy import MEGABYTE, OPENSSL, gpg, piped, unrecorded

__all__ = ["gpg"]


def caught(store: Store, level: str, words: str, **options: t.Any) -> None:
    """The verdict stops below this level, and says why."""
    verdict = store.verdict("readable", **options)
    below = [None, "present", "intact", "readable"]
    assert below.index(verdict.reached) <= ("present", "intact", "readable").index(level)
    assert words in said(verdict), said(verdict)


def retarred(body: bytes, **replaced: bytes) -> bytes:
    """A packed directory dump with its table of contents last, and members with other bytes."""
    packed = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(body)) as old,
        tarfile.open(fileobj=packed, mode="w") as new,
    ):
        for member in sorted(old, key=lambda each: each.name.endswith("toc.dat")):
            file = old.extractfile(member)
            content = replaced.get(pathlib.Path(member.name).stem, file.read() if file else b"")
            member.size = len(content) if file else 0
            new.addfile(member, io.BytesIO(content) if file else None)
    return packed.getvalue()


def test_a_directory_dump_may_be_packed_in_any_order(store: Store, dumps: Dumps) -> None:
    store.put(retarred(dumps.directory_tar), tables=SHOP_TABLES)
    assert store.verdict().findings == []


def test_a_directory_dump_whose_table_of_contents_is_damaged(store: Store, dumps: Dumps) -> None:
    store.put(retarred(dumps.directory_tar, toc=b"PGDMP"))
    caught(store, "readable", "the header of the archive is damaged")


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (tarfile.FIFOTYPE, "directory/toc.dat"),
        (tarfile.FIFOTYPE, "directory/1.dat.gz"),
        (tarfile.SYMTYPE, "directory/toc.dat"),
        (tarfile.SYMTYPE, "other"),
    ],
)
def test_a_packed_dump_with_what_is_no_file(store: Store, kind: bytes, name: str) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "/dev/zero"
        archive.addfile(member)
    store.put(packed.getvalue(), suffix=".tar")
    caught(store, "readable", f"{name} in its tar is neither a file nor a directory")


def test_a_damaged_record_of_the_backup_before_is_not_todays_affair(
    store: Store, dumps: Dumps
) -> None:
    before = store.put(dumps.custom, tables=SHOP_TABLES, age=DAY)
    store.write(_backups.record_name(before), b"{")
    store.put(dumps.custom, tables=SHOP_TABLES)
    assert store.verdict(level="intact").findings == []


def test_an_empty_object(store: Store, dumps: Dumps) -> None:
    key = store.put(dumps.custom)
    store.write(key, b"")
    caught(store, "present", "at least 200 B / 0 B")


def test_the_empty_gzip_of_a_dump_that_failed(store: Store) -> None:
    body = gzip.compress(b"")
    assert len(body) == 20
    store.put(body, suffix=".sql.gz")
    caught(store, "present", "at least 200 B / 20 B")
    caught(
        *(store, "readable", "nothing is inside its layers gzip"),
        promise=_verification.Promise(min_size=0),
    )


SIZES = (1, MEGABYTE, -512, -1)
TRUNCATED = [
    *((form, size) for form in ("custom", "plain", "gzip", "directory_tar") for size in SIZES),
    ("tar", MEGABYTE),  # keeps pg_restore busy for ever
]


@pytest.mark.parametrize(("form", "size"), TRUNCATED)
def test_a_truncated_dump(store: Store, dumps: Dumps, form: str, size: int) -> None:
    whole = piped(dumps.plain, "gzip", "-1") if form == "gzip" else getattr(dumps, form)
    # The zeros that fill up a tar hold nothing; the block before does.
    size = size - 10_240 if size < 0 and "tar" in form else size
    key = store.put(whole, tables=SHOP_TABLES)
    store.write(key, whole[:size])
    store.unrecord(key)
    caught(store, "readable", "", promise=replace(unrecorded(), min_size=0))


@pytest.mark.parametrize("size", SIZES)
def test_a_truncated_dump_where_there_is_a_record(store: Store, dumps: Dumps, size: int) -> None:
    key = store.put(dumps.custom, tables=SHOP_TABLES)
    store.write(key, dumps.custom[:size])
    caught(store, "present", f"{len(dumps.custom)} bytes, as recorded")


def flipped(body: bytes, place: int) -> bytes:
    return body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]


def test_a_flipped_bit_where_there_is_a_record(store: Store, dumps: Dumps) -> None:
    for form in ("custom", "uncompressed", "plain"):
        body = getattr(dumps, form)
        key = store.put(body, tables=SHOP_TABLES)
        store.write(key, flipped(body, len(body) // 2))
        caught(store, "intact", "the sha256 in the record")


@pytest.mark.parametrize("algorithm", ["SHA256", "SHA1", "CRC32"])
def test_a_flipped_bit_where_the_server_keeps_a_checksum(
    store: Store, dumps: Dumps, algorithm: str
) -> None:
    body = dumps.uncompressed
    key = store.put(body, tables=SHOP_TABLES)
    store.unrecord(key)
    store.write(key, body, ChecksumAlgorithm=algorithm)
    rot(store, key, flipped(body, len(body) // 2))
    caught(store, "intact", f"the {algorithm} that the server keeps", promise=unrecorded())


def test_a_flipped_bit_where_there_is_only_the_etag(store: Store, dumps: Dumps) -> None:
    body = dumps.uncompressed
    key = store.put(body)
    store.unrecord(key)
    rot(store, key, flipped(body, len(body) // 2))
    caught(store, "intact", "the MD5 in the ETag", promise=unrecorded())


def test_a_flipped_bit_without_any_checksum_is_seen_by_reading(store: Store, dumps: Dumps) -> None:
    key = store.put(flipped(dumps.custom, len(dumps.custom) // 2))
    store.unrecord(key)
    caught(store, "readable", "pg_restore ended with 1", promise=unrecorded())


def rot(store: Store, key: str, body: bytes) -> None:
    """Change what the server keeps, behind its back: the file that the object lies in."""
    backend = moto_backend(store)
    stored = backend.buckets[store.target.bucket].keys[key]
    stored._value_buffer.seek(0)
    stored._value_buffer.write(body)


def moto_backend(store: Store) -> t.Any:
    from moto.s3.models import s3_backends

    return s3_backends["123456789012"]["aws"]


def test_zeros_of_the_right_size(store: Store, dumps: Dumps) -> None:
    body = dumps.custom
    key = store.put(body, tables=SHOP_TABLES)
    store.write(key, bytes(len(body)))
    caught(store, "intact", "no dump of PostgreSQL is inside")
    body = body[: len(body) // 2] + bytes(len(body) - len(body) // 2)
    store.write(key, body)
    store.unrecord(key)
    caught(store, "readable", "pg_restore ended with 1", promise=unrecorded())


def test_the_right_dump_under_the_wrong_name(store: Store, dumps: Dumps) -> None:
    right = store.put(dumps.custom, age=2 * HOUR, tables=SHOP_TABLES)
    wrong = right.replace("-0000000", "-1000000").replace("/2", "/3", 0)
    store.write(wrong, dumps.custom)
    store.write(_backups.record_name(wrong), store.read(_backups.record_name(right)))
    caught(store, "present", "the record of ")


@pytest.mark.parametrize("form", ["custom", "tar"])
def test_the_dump_of_another_database_with_a_record_to_match(
    store: Store, dumps: Dumps, form: str
) -> None:
    store.put(getattr(dumps, form), database="blog", tables=SHOP_TABLES)
    caught(store, "readable", "a dump of blog / a dump of shop")


def test_a_plain_dump_of_another_database(store: Store, dumps: Dumps) -> None:
    store.put(dumps.plain, database="blog", tables={"public.posts": 50_000}, suffix=".sql")
    caught(store, "readable", "table public.posts / missing")


def test_the_dump_of_an_empty_database(store: Store, dumps: Dumps) -> None:
    store.put(dumps.void, tables=SHOP_TABLES, database="void")
    caught(store, "readable", "missing")


def test_the_dump_of_a_database_that_lost_all(store: Store, dumps: Dumps) -> None:
    store.put(dumps.void, database="void", age=DAY, tables=SHOP_TABLES)
    store.put(dumps.server.dump("void", "-Fc"), database="void")
    caught(store, "readable", "tables, as ")


def test_a_dump_that_lacks_a_table(store: Store, dumps: Dumps) -> None:
    body = dumps.server.dump("shop", "-Fc", "--exclude-table=events")
    store.put(body, tables=SHOP_TABLES)
    caught(store, "readable", "table public.events / missing")


def test_a_dump_that_lacks_a_table_that_is_expected(store: Store, dumps: Dumps) -> None:
    store.put(dumps.custom, tables=SHOP_TABLES)
    promise = _verification.Promise(tables={"shop": ["public.bids", "public.orders"]})
    caught(store, "readable", "table public.orders / missing", promise=promise)


def test_a_schema_without_its_rows(store: Store, dumps: Dumps) -> None:
    store.put(dumps.server.dump("shop", "-Fc", "--schema-only"), tables=SHOP_TABLES)
    caught(store, "readable", "missing")


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".dump", ["-Fc", "--data-only"]),
        (".dump", ["-Fc", "--section=data"]),
        (".sql", ["--data-only"]),
        (".sql", ["--data-only", "--disable-triggers"]),
        (".sql", ["--data-only", "--inserts"]),
    ],
)
@pytest.mark.parametrize("recorded", [True, False])
def test_rows_without_the_tables_that_hold_them(
    store: Store, dumps: Dumps, suffix: str, options: list[str], recorded: bool
) -> None:
    key = store.put(dumps.server.dump("blog", *options), database="blog", suffix=suffix)
    if not recorded:
        store.unrecord(key)
    caught(store, "readable", "what creates each table that it fills", promise=unrecorded())


@pytest.mark.parametrize("form", ["custom", "plain"])
def test_fewer_rows_than_recorded(store: Store, dumps: Dumps, form: str) -> None:
    store.put(getattr(dumps, form), tables={**SHOP_TABLES, "public.bids": 100_006})
    caught(store, "readable", "public.bids (100000 of 100006 rows)")


def test_a_plain_dump_that_died_under_a_valid_gzip(store: Store, dumps: Dumps) -> None:
    body = gzip.compress(dumps.plain[: len(dumps.plain) // 2], 1)
    store.put(body, suffix=".sql.gz")
    caught(store, "readable", "the line that ends a dump / it breaks off")


def test_garbage_behind_a_dump(store: Store, dumps: Dumps) -> None:
    key = store.put(dumps.plain + b"garbage\n", suffix=".sql")
    caught(store, "readable", "it breaks off")
    store.delete(key)
    store.unrecord(key)
    store.put(piped(dumps.plain, "gzip", "-1") + b"garbage", suffix=".sql.gz")
    caught(store, "readable", "gzip ended with 2")
    store.put(piped(dumps.custom, "gzip", "-1") + b"garbage", age=timedelta(minutes=9))
    caught(store, "readable", "gzip ended with 2")


def test_yesterdays_dump_under_todays_name(store: Store, dumps: Dumps) -> None:
    """Though somebody took the trouble to write it a record of its own."""
    store.put(dumps.custom, age=DAY + HOUR, tables=SHOP_TABLES)
    key = store.put(dumps.custom, tables=SHOP_TABLES)
    caught(store, "present", "bytes of its own / the very bytes of ")
    assert key


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("days", [1, 6])
def test_an_older_plain_dump_under_todays_name(
    store: Store, dumps: Dumps, recorded: bool, days: int
) -> None:
    """A plain dump does not know when it was made; those before it do."""
    body = gzip.compress(dumps.plain, 1)
    keys = [store.put(body, age=days * DAY, suffix=".sql.gz", tables=SHOP_TABLES)]
    for day in range(1, days):
        other = gzip.compress(dumps.plain, day + 1)
        keys.append(store.put(other, age=day * DAY, suffix=".sql.gz", tables=SHOP_TABLES))
    keys.append(store.put(body, suffix=".sql.gz", tables=SHOP_TABLES))
    for key in [] if recorded else keys:
        store.unrecord(key)
    promise = _verification.Promise(require_record=recorded)
    caught(store, "present", "bytes of its own / the very bytes of ", promise=promise)


def test_yesterdays_dump_alone_under_todays_name(store: Store, dumps: Dumps) -> None:
    """No other is left to compare with; the archive itself knows when it was made."""
    store.now += 2 * DAY
    store.put(dumps.custom, tables=SHOP_TABLES)
    store.client = Ahead(store.client)
    caught(store, "readable", "as its name says / made at ")


class Ahead:
    """A client whose listing is as old as it pretends: so the store's clock went along."""

    def __init__(self, client: t.Any) -> None:
        self.client = client

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self.client, name)

    def get_paginator(self, name: str) -> t.Any:
        pages = self.client.get_paginator(name)
        real = pages.paginate

        def paginate(**request: t.Any) -> t.Iterator[t.Any]:
            for page in real(**request):
                for item in page.get("Contents", []):
                    item["LastModified"] += 2 * DAY
                yield page

        pages.paginate = paginate
        return pages


def test_a_size_that_collapsed_to_a_tenth(store: Store, dumps: Dumps) -> None:
    for days in range(1, 4):
        store.put(dumps.custom, age=days * DAY, tables=SHOP_TABLES)
    store.put(dumps.custom[: len(dumps.custom) // 10])
    caught(store, "present", "at least 50% of the median")


def test_a_size_that_exploded_is_worth_a_look(store: Store, dumps: Dumps) -> None:
    store.put(dumps.void, age=DAY, tables={})
    store.put(dumps.custom, tables=SHOP_TABLES)
    verdict = store.verdict()
    assert "at most 400% of the median" in said(verdict, "warning")
    assert verdict.reached == "readable"


def test_a_stale_backup(store: Store, dumps: Dumps) -> None:
    store.put(dumps.custom, age=26 * HOUR, tables=SHOP_TABLES)
    caught(store, "present", "at most 25.0 h old / 26.0 h old")


def test_an_uploader_whose_clock_is_ahead(store: Store, dumps: Dumps) -> None:
    store.put(dumps.custom, age=-HOUR, tables=SHOP_TABLES)
    caught(store, "present", "so its age is not known")


def test_no_backup_at_all(store: Store) -> None:
    verdict = store.verdicts(databases=["shop"])["shop"]
    assert (verdict.reached, "a backup / none" in said(verdict)) == (None, True)
    empty = store.verdict()
    assert empty.database == store.target.bucket
    assert empty.reached is None


def test_a_newest_version_that_is_a_delete_marker(store: Store, dumps: Dumps) -> None:
    store.client.put_bucket_versioning(
        Bucket=store.target.bucket, VersioningConfiguration={"Status": "Enabled"}
    )
    store.put(dumps.custom, age=10 * HOUR, tables=SHOP_TABLES)
    key = store.put(dumps.custom, tables=SHOP_TABLES)
    store.delete(key)
    store.unrecord(key)
    caught(store, "present", "the newest backup can be read / it was deleted at")


def test_a_part_of_an_upload_that_is_missing(store: Store, dumps: Dumps) -> None:
    body = dumps.plain * 3
    key = store.put(body, suffix=".sql")
    where = {"Bucket": store.target.bucket, "Key": key}
    upload = store.client.create_multipart_upload(**where)["UploadId"]
    half = 5 * MEGABYTE
    for number, part in ((1, body[:half]), (2, body[half : 2 * half]), (3, body[2 * half :])):
        store.client.upload_part(**where, UploadId=upload, PartNumber=number, Body=part)
    parts = store.client.list_parts(**where, UploadId=upload)["Parts"]
    kept = [
        {"PartNumber": p["PartNumber"], "ETag": p["ETag"]} for p in parts if p["PartNumber"] != 2
    ]
    store.client.complete_multipart_upload(
        **where, UploadId=upload, MultipartUpload={"Parts": kept}
    )
    caught(store, "present", f"{len(body)} bytes, as recorded / {len(body) - half} bytes")


def test_a_dump_encrypted_with_another_key(store: Store, dumps: Dumps) -> None:
    store.put(piped(dumps.custom, *OPENSSL), suffix=".dump.enc", tables=SHOP_TABLES)
    wrong = [*OPENSSL[:-1], "pass:wrong", "-d"]
    caught(store, "readable", "a whole dump / ", decrypt=wrong)
    unnoticed = ("openssl", "enc", "-aes-256-ctr", "-iv", "cd" * 16, "-K")
    store.put(piped(dumps.custom, *unnoticed, "ab" * 32), age=timedelta(minutes=5))
    caught(store, "readable", "no dump of PostgreSQL", decrypt=[*unnoticed, "ac" * 32, "-d"])


@pytest.mark.parametrize("armor", [[], ["--armor"]])
@pytest.mark.parametrize("action", ["--store", "--sign"])
def test_a_dump_that_openpgp_wraps_and_does_not_encrypt(
    store: Store, dumps: Dumps, gpg: list[str], armor: list[str], action: str
) -> None:
    loopback = [*gpg, "--pinentry-mode=loopback"]
    # Of all kinds of keys this one takes no time to make.
    key = ("--quick-gen-key", "ada@example.com", "ed25519", "sign")
    subprocess.run([*loopback, *key], check=True)
    body = piped(dumps.blog, *loopback, *armor, action)
    store.put(body, database="blog", suffix=".dump.gpg", tables={"public.posts": 50_000})
    verdict = store.verdict("kept", encryption="client", decrypt=[*loopback, "--decrypt"])
    assert verdict.reached == "readable"
    assert "encrypted before the upload" in said(verdict)
    assert "set decrypt_command" in said(store.verdict(), "unknown")


def test_an_encrypted_dump_without_its_key_is_unknown(store: Store, dumps: Dumps) -> None:
    store.put(piped(dumps.custom, *OPENSSL), suffix=".dump.enc", tables=SHOP_TABLES)
    verdict = store.verdict()
    assert verdict.reached == "intact"
    assert "set decrypt_command" in said(verdict, "unknown")


def test_a_dump_without_record(store: Store, dumps: Dumps) -> None:
    store.unrecord(store.put(dumps.custom))
    caught(store, "present", "a record beside it / none")


def test_a_newer_dump_without_record_does_not_hide_the_one_before(
    store: Store, dumps: Dumps
) -> None:
    before = store.put(dumps.custom, age=2 * HOUR, tables=SHOP_TABLES)
    store.unrecord(store.put(dumps.server.dump("shop", "-Fc")))
    verdict = store.verdict()
    assert (verdict.key, verdict.reached) == (before, "readable")
    assert "a record beside it" in said(verdict, "warning")


@pytest.mark.parametrize("text", [b"{", b"[]", b"\xff", b"{}"])
def test_a_record_that_is_none(store: Store, dumps: Dumps, text: bytes) -> None:
    key = store.put(dumps.custom)
    store.write(_backups.record_name(key), text)
    verdict = store.verdict()
    assert verdict.reached is None


@pytest.mark.parametrize(
    "changes",
    [
        {"started": 5},
        {"tables": None},
        {"tables": ["public.bids"]},
        {"tables": {"public.bids": "many"}},
        {"database": None},
        None,
    ],
)
def test_an_odd_record_is_an_affair_of_its_own_database(
    store: Store, dumps: Dumps, changes: dict[str, t.Any] | None
) -> None:
    store.put(dumps.blog, database="blog", tables={"public.posts": 50_000})
    key = _backups.record_name(store.put(dumps.custom, tables=SHOP_TABLES))
    odd = json.dumps({**json.loads(store.read(key)), **(changes or {})})
    store.write(key, b"[" * 100_000 if changes is None else odd.encode())
    found = store.verdicts(level="readable")
    assert {name: one.reached for name, one in found.items()} == {"blog": "readable", "shop": None}
    assert "is not the record of a backup" in said(found["shop"])


def test_a_record_of_a_dump_that_was_never_read_back(store: Store, dumps: Dumps) -> None:
    store.put(dumps.custom, tables=SHOP_TABLES, verified=False)
    caught(store, "present", "one that was never read back")


def test_a_record_with_another_beginning_than_the_name(store: Store, dumps: Dumps) -> None:
    for started in ("2026-01-01T00:00:00", "yesterday"):
        store.put(dumps.custom, tables=SHOP_TABLES, started=started)
        caught(store, "present", f"begun {started}")


def test_metadata_that_contradict_the_bytes(store: Store, dumps: Dumps) -> None:
    key = store.put(dumps.custom, tables=SHOP_TABLES)
    store.write(key, dumps.custom, Metadata={"sha256": "ab" * 32})
    caught(store, "intact", "the sha256 in the metadata")


def test_a_damaged_header(store: Store, dumps: Dumps) -> None:
    body = dumps.custom[:11] + b"\xff" * 80 + dumps.custom[91:]
    store.put(body)
    caught(store, "readable", "a whole dump / ")


def test_rows_that_cannot_be_counted_are_unknown(store: Store, dumps: Dumps) -> None:
    store.put(
        dumps.server.dump("blog", "--inserts"),
        database="blog",
        suffix=".sql",
        tables={"public.posts": 50_000},
    )
    verdict = store.verdict()
    assert verdict.reached == "intact"
    assert "INSERT statements" in said(verdict, "unknown")


def test_a_tar_without_a_dump(store: Store, tmp_path: pathlib.Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_bytes(b"x" * 2000)
    store.put(postgres.packed(tmp_path, "other"), suffix=".tar")
    caught(store, "readable", "no toc.dat")


def test_layers_without_end(store: Store, dumps: Dumps) -> None:
    body = dumps.void
    for _layer in range(4):
        body = gzip.compress(body)
    store.put(body)
    caught(store, "readable", "more than 3 layers: gzip, gzip, gzip")
