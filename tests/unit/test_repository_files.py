# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Single files of a repository, compared with what its manifest says."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import typing as t

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import (
    _pgbackrest,
    _repository,
    _s3,
    _verify_repository,
)

WORDS = b"as it was backed up"


def sha1(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


class Body:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def iter_chunks(self, _size: int) -> t.Iterator[bytes]:
        yield self.data


class Client:
    """Has one object."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def get_object(self, **_request: t.Any) -> dict[str, t.Any]:
        return {"ETag": "e", "Body": Body(self.data)}


def compared(key: str, data: bytes, *expected: t.Any) -> list[str]:
    where = _s3.Target(bucket="b")
    here = _repository.Repository(Client(data), where, "shop", {key: len(data)})
    here.compare(key, _repository.Sums(*expected), None)
    assert here.bytes_read == len(data)
    return [f"{one.expected} / {one.found}" for one in here.found]


def made(program: str) -> bytes:
    return subprocess.run([program, "-cq"], input=WORDS, stdout=subprocess.PIPE, check=True).stdout


@pytest.mark.parametrize(
    ("suffix", "data"),
    [
        ("", WORDS),
        (".gz", gzip.compress(WORDS, mtime=0)),
        (".zst", made("zstd")),
        (".lz4", made("lz4")),
    ],
)
def test_every_compression_is_taken_off(suffix: str, data: bytes) -> None:
    assert compared(f"k{suffix}", data, sha1(data), sha1(WORDS), len(WORDS)) == []


@pytest.mark.parametrize(
    ("stored", "inside", "size", "found"),
    [
        (None, None, len(WORDS), []),
        (None, None, 3, [f"3 bytes inside / {len(WORDS)}"]),
        ("ab", sha1(WORDS), len(WORDS), [f"sha1 ab / {sha1(WORDS)}"]),
        (None, "ab", len(WORDS), [f"sha1 ab inside / {sha1(WORDS)} in {len(WORDS)} bytes"]),
    ],
)
def test_each_sum_and_the_size_count(
    stored: str | None, inside: str | None, size: int, found: list[str]
) -> None:
    assert compared("k", WORDS, stored, inside, size) == found


def test_files_that_are_stored_in_blocks_are_not_judged() -> None:
    common = {"size": 9, "bni": 1, "bim": 5}
    (file,) = _pgbackrest.files({"target:file": {"pg_data/big": common}}, "F")
    here = _repository.Repository(
        None, _s3.Target(bucket="b"), "shop", {"backup/shop/F/bundle/1": 9}
    )
    assert _verify_repository._placed(here, [file]) == ({}, {})
    assert [(one.severity, one.found) for one in here.found] == [("unknown", "blocks")]


def test_the_archive_of_a_backup_is_that_of_its_server() -> None:
    value = {"backup-timestamp-start": 1, "db-id": 2}
    info: _pgbackrest.Sections = {
        "backup:current": {"B": value, "A": value},
        "db:history": {"1": {"db-version": "14"}, "2": {"db-version": "15"}},
    }
    first, second = _pgbackrest.sets(info)
    assert (first.label, second.label, first.archive) == ("A", "B", "15-2")
