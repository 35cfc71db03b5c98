# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The header of pg_dump's archives: of which database, by which version, and when. Pure."""

from __future__ import annotations

import struct
import typing as t
from dataclasses import dataclass
from datetime import UTC, datetime

MAGIC = b"PGDMP"
COMPRESSION_BYTE = (1, 15)  # from this version on, one byte names the method
LONGEST = 1024


@dataclass(frozen=True)
class Header:
    """What an archive says of itself. The time is that of the machine that dumped."""

    database: str | None
    created: datetime | None
    server_version: str
    dump_version: str

    def major(self) -> int:
        """The major version of the pg_dump that wrote it."""
        digits = self.dump_version.split(".")[0].split()[:1]
        return int(digits[0]) if digits and digits[0].isdigit() else 0


class _Reader:
    def __init__(self, data: bytes, position: int, width: int) -> None:
        self.data, self.position, self.width = data, position, width

    def bytes(self, count: int) -> bytes:
        if not 0 <= count <= LONGEST or self.position + count > len(self.data):
            raise ValueError("the header is longer than what was read")
        self.position += count
        return self.data[self.position - count : self.position]

    def integer(self) -> int:
        sign, *digits = self.bytes(1 + self.width)
        value = int.from_bytes(bytes(digits), "little")
        return -value if sign else value

    def text(self) -> str | None:
        length = self.integer()
        return None if length < 0 else self.bytes(length).decode(errors="surrogateescape")


def header(data: bytes) -> Header | None:
    """The header that these first bytes of an archive hold; None where they hold none."""
    if not data.startswith(MAGIC) or len(data) < len(MAGIC) + 6:
        return None
    major, minor, _revision, width, _offset, _format = struct.unpack_from("6B", data, len(MAGIC))
    reader = _Reader(data, len(MAGIC) + 6, width)
    try:
        if (major, minor) >= COMPRESSION_BYTE:
            reader.bytes(1)
        else:
            reader.integer()
        time = [reader.integer() for _field in range(7)]
        database, server, client = reader.text(), reader.text(), reader.text()
    except ValueError:
        return None
    return Header(database, _created(time), server or "", client or "")


def _created(time: t.Sequence[int]) -> datetime | None:
    """From C's struct tm: months count from 0, years from 1900."""
    second, minute, hour, day, month, year, _summer = time
    try:
        # No zone is written; as if it were UTC, it can be compared within the width of all zones.
        return datetime(year + 1900, month + 1, day, hour, minute, min(second, 59), tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
