# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Headers of archives as pg_dump writes them, and as damage leaves them."""

from __future__ import annotations

import typing as t
from datetime import UTC, datetime

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _archive

MOMENT = (7, 30, 2, 21, 10, 126, 0)


def integer(value: int) -> bytes:
    return bytes([value < 0]) + abs(value).to_bytes(4, "little")


def text(value: str | None) -> bytes:
    return integer(-1) if value is None else integer(len(value.encode())) + value.encode()


def archive(
    *,
    minor: int = 16,
    moment: t.Sequence[int] = MOMENT,
    database: str | None = "shop",
    client: str | None = "18.6 (Debian)",
) -> bytes:
    compression = b"\x01" if minor >= 15 else integer(-1)
    fields = b"".join(map(integer, moment))
    start = b"PGDMP" + bytes([1, minor, 0, 4, 8, 1]) + compression
    return start + fields + text(database) + text("17.6") + text(client)


@pytest.mark.parametrize("minor", [14, 15, 16])
def test_a_header_tells_database_time_and_versions(minor: int) -> None:
    assert _archive.header(archive(minor=minor) + b"more") == _archive.Header(
        "shop", datetime(2026, 11, 21, 2, 30, 7, tzinfo=UTC), "17.6", "18.6 (Debian)"
    )


@pytest.mark.parametrize(
    ("changes", "name", "value"),
    [
        ({"database": None}, "database", None),
        ({"database": "ünï"}, "database", "ünï"),
        ({"client": None}, "dump_version", ""),
        ({"moment": (61, *MOMENT[1:])}, "created", datetime(2026, 11, 21, 2, 30, 59, tzinfo=UTC)),
        ({"moment": (7, 30, 2, 32, 10, 126, 0)}, "created", None),
        ({"moment": (7, 30, 2, 21, 10, 2**31 - 1, 0)}, "created", None),
        ({"moment": (7, 30, 2, 21, 10, -(2**31), 0)}, "created", None),
    ],
)
def test_what_a_header_may_leave_out(
    changes: dict[str, t.Any], name: str, value: datetime | str | None
) -> None:
    assert getattr(_archive.header(archive(**changes)), name) == value


@pytest.mark.parametrize(
    ("version", "major"),
    [("18.6 (Debian)", 18), ("9.6.24", 9), ("19devel", 0), ("17", 17), ("", 0), (" ", 0)],
)
def test_the_major_version_of_the_dumping_program(version: str, major: int) -> None:
    found = _archive.header(archive(client=version))
    assert found is not None
    assert found.major() == major


def test_half_a_header_is_none() -> None:
    whole = archive()
    for length in range(len(whole)):
        assert _archive.header(whole[:length]) is None
    assert _archive.header(b"PGDMX" + whole[5:]) is None
    assert _archive.header(archive(database="x" * 1025)) is None
