# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is well must not be refused: every format, layer and way of storing."""

from __future__ import annotations

import pathlib
import subprocess
import typing as t
from dataclasses import replace

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _verification

from .conftest import Dumps
from .database import SHOP_TABLES
from .store import DAY, HOUR, Store, said

MEGABYTE = 1024 * 1024


def piped(body: bytes, *command: str) -> bytes:
    return subprocess.run(command, input=body, stdout=subprocess.PIPE, check=True).stdout


@pytest.mark.parametrize("layer", ["", "gzip", "zstd", "lz4"])
@pytest.mark.parametrize("form", ["custom", "plain", "tar", "directory_tar"])
def test_every_format_under_every_compression_is_readable(
    store: Store, dumps: Dumps, form: str, layer: str
) -> None:
    body = getattr(dumps, form)
    suffix = {"custom": ".dump", "plain": ".sql", "tar": ".tar", "directory_tar": ".tar"}[form]
    if layer:
        body = piped(body, layer, "-1")
        suffix += {"gzip": ".gz", "zstd": ".zst", "lz4": ".lz4"}[layer]
    store.put(body, suffix=suffix, tables=SHOP_TABLES)
    verdict = store.verdict()
    assert (verdict.reached, verdict.findings) == ("readable", [])
    assert verdict.bytes_read == len(body)


@pytest.mark.parametrize("suffix", [".tgz", ".SQL.GZ", ".dmp", ".sql.zstd"])
def test_names_that_others_give_to_dumps(store: Store, dumps: Dumps, suffix: str) -> None:
    """What is inside is told by its bytes, not by its name."""
    store.put(piped(dumps.plain, "gzip", "-1"), suffix=suffix, tables=SHOP_TABLES)
    assert store.verdict().findings == []


def test_what_stands_before_the_header_of_a_plain_dump(store: Store, dumps: Dumps) -> None:
    before = b"SET application_name = 'x';\n" * 300
    store.put(before + dumps.plain, suffix=".sql", tables=SHOP_TABLES)
    assert store.verdict().findings == []


def test_comments_and_values_that_look_like_rows(store: Store, dumps: Dumps) -> None:
    server = dumps.server
    server.sql("postgres", "CREATE DATABASE quoting")
    quoted = "Load it so:\n\nCOPY public.a (x) FROM stdin;\n1\n"
    server.sql("quoting", f"CREATE TABLE a AS SELECT 1 AS x; COMMENT ON TABLE a IS '{quoted}'")
    server.sql("quoting", "CREATE TABLE b AS SELECT 2 AS x")
    for number, options in enumerate((["-Fc"], [], ["-v"], ["-C", "-c", "--no-comments"])):
        store.put(
            server.dump("quoting", *options),
            database="quoting",
            suffix=".sql" if number else ".dump",
            age=HOUR / (number + 1),
            tables={"public.a": 1, "public.b": 1},
        )
        assert said(store.verdict(promise=_verification.Promise(min_ratio=0))) == ""


PASSWORD = "pass:correct horse"
OPENSSL = ("openssl", "enc", "-aes-256-cbc", "-pbkdf2", "-pass", PASSWORD)


def test_a_dump_encrypted_by_openssl_is_readable(store: Store, dumps: Dumps) -> None:
    body = piped(dumps.custom, *OPENSSL)
    store.put(body, suffix=".dump.enc", tables=SHOP_TABLES)
    assert store.verdict(decrypt=[*OPENSSL, "-d"]).findings == []


def test_a_dump_whose_encryption_leaves_no_trace_is_readable(store: Store, dumps: Dumps) -> None:
    headless = ("openssl", "enc", "-aes-256-ctr", "-K", "ab" * 32, "-iv", "cd" * 16)
    store.put(piped(dumps.custom, *headless), suffix=".dump.enc", tables=SHOP_TABLES)
    assert store.verdict(decrypt=[*headless, "-d"]).findings == []


@pytest.fixture
def gpg(tmp_path: pathlib.Path) -> t.Iterator[list[str]]:
    # An agent's socket must have a short path; it ends with its home.
    yield ["gpg", "--batch", "--quiet", f"--homedir={tmp_path}", "--passphrase=horse"]
    subprocess.run(["gpgconf", f"--homedir={tmp_path}", "--kill", "all"], check=True)


@pytest.mark.parametrize("armor", [[], ["--armor"], ["--armor", "--comment=x"]])
def test_a_compressed_dump_encrypted_by_gnupg_is_readable(
    store: Store, dumps: Dumps, gpg: list[str], armor: list[str]
) -> None:
    loopback = [*gpg, "--pinentry-mode=loopback"]
    body = piped(piped(dumps.plain, "zstd"), *loopback, *armor, "--symmetric")
    store.put(body, suffix=".sql.zst.gpg", tables=SHOP_TABLES)
    verdict = store.verdict("kept", encryption="client", decrypt=[*loopback, "--decrypt"])
    assert (verdict.reached, said(verdict)) == ("kept", "")


def multipart(store: Store, key: str, body: bytes, *sizes: int) -> None:
    """Upload in parts of these sizes, the last of which repeats."""
    where = {"Bucket": store.target.bucket, "Key": key}
    upload = store.client.create_multipart_upload(**where)["UploadId"]
    parts: list[dict[str, t.Any]] = []
    begin = 0
    while begin < len(body):
        number = len(parts) + 1
        size = sizes[min(number, len(sizes)) - 1]
        sent = store.client.upload_part(
            **where, UploadId=upload, PartNumber=number, Body=body[begin : begin + size]
        )
        begin += size
        parts.append({"PartNumber": number, "ETag": sent["ETag"]})
    store.client.complete_multipart_upload(
        **where, UploadId=upload, MultipartUpload={"Parts": parts}
    )


@pytest.mark.parametrize("sizes", [(5,), (6, 5)])
@pytest.mark.parametrize("recorded", [True, False])
def test_a_dump_stored_in_parts_is_intact(
    store: Store, dumps: Dumps, recorded: bool, sizes: tuple[int, ...]
) -> None:
    body = dumps.plain + dumps.plain
    key = store.put(body, suffix=".sql", tables={name: 2 * n for name, n in SHOP_TABLES.items()})
    multipart(store, key, body, *(size * MEGABYTE for size in sizes))
    if not recorded:
        store.unrecord(key)
    verdict = store.verdict(promise=unrecorded())
    assert verdict.reached == "readable"
    assert [one.severity for one in verdict.findings] == ([] if recorded else ["warning"])


def unrecorded() -> _verification.Promise:
    return _verification.Promise(require_record=False)


@pytest.mark.parametrize("algorithm", ["SHA256", "CRC32"])
def test_a_dump_with_a_checksum_of_the_server_is_intact(
    store: Store, dumps: Dumps, algorithm: str
) -> None:
    key = store.put(dumps.custom, tables=SHOP_TABLES)
    store.write(key, dumps.custom, ChecksumAlgorithm=algorithm)
    assert store.verdict().findings == []
    store.unrecord(key)
    assert store.verdict(promise=unrecorded()).reached == "readable"


def test_the_newest_version_is_the_one_that_is_read(store: Store, dumps: Dumps) -> None:
    store.client.put_bucket_versioning(
        Bucket=store.target.bucket, VersioningConfiguration={"Status": "Enabled"}
    )
    key = store.put(dumps.custom, tables=SHOP_TABLES)
    store.write(key, b"older")
    store.write(key, dumps.custom)
    assert store.verdict().findings == []


@pytest.mark.parametrize("database", ["my shop", "größe", "100 %", "a+b&c=d?"])
def test_names_with_spaces_unicode_and_newlines(store: Store, dumps: Dumps, database: str) -> None:
    dumps.server.sql("postgres", f'CREATE DATABASE "{database}"')
    body = dumps.server.dump(f"dbname='{database}'", "-Fc")
    store.put(body, database=database)
    verdict = store.verdict()
    assert (verdict.database, verdict.reached) == (database, "readable")
    assert said(verdict) == ""


def test_a_bucket_without_prefix_and_other_things_in_it(store: Store, dumps: Dumps) -> None:
    whole = Store(store.client, replace(store.target, prefix=""), store.installed)
    whole.put(dumps.custom, tables=SHOP_TABLES)
    for key in ("notes.txt", "shop/README", "shop/deep/20261121.dump", "20261121T020000Z.dump"):
        whole.write(key, b"other")
    assert whole.verdict().reached == "readable"


def test_a_row_of_good_backups_is_fine(store: Store, dumps: Dumps) -> None:
    store.put(dumps.server.dump("shop", "-Fc"), age=DAY + HOUR, tables=SHOP_TABLES)
    store.put(dumps.custom, tables=SHOP_TABLES)
    assert store.verdict().findings == []


def test_several_databases_are_judged_side_by_side(store: Store, dumps: Dumps) -> None:
    store.put(dumps.custom, tables=SHOP_TABLES)
    store.put(dumps.blog, database="blog", tables={"public.posts": 50_000})
    store.put(dumps.void, database="void")
    found = store.verdicts(level="readable", parallel=3)
    assert {name: verdict.reached for name, verdict in found.items()} == {
        "shop": "readable",
        "blog": "readable",
        "void": "readable",
    }
    assert "name its tables" in said(found["void"], "warning")
