# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads a dump's SQL as a stream: the tables that it fills, their rows, its end. Pure."""

from __future__ import annotations

import re

_NAME = rb'(?:"(?:[^"]|"")*"|[^\s."(]+)'
COPY = re.compile(
    rb"COPY (" + _NAME + rb")\.(" + _NAME + rb') ?(?: \((?:"(?:[^"]|"")*"|[^")])*\))? FROM stdin;\n'
)
# What pg_dump writes before it; a comment or a default may quote the rest.
START = b"\n\nCOPY "
LEADS = (b"\n--", b" TRIGGER ALL;")
LEAD_BYTES = max(map(len, LEADS))
INSERT = b"\nINSERT INTO "
EXTENSION = b"\nCREATE EXTENSION "
CREATED = re.compile(
    rb"\nCREATE (?:UNLOGGED |FOREIGN )?TABLE (" + _NAME + rb")\.(" + _NAME + rb")[\s(]"
)
# Longer than any of these with its names.
SEEN_AGAIN = 1024
STOP = b"\n\\.\n"
END = re.compile(
    rb"\n-- PostgreSQL database (?:cluster )?dump complete\n--\n\n(?:\\unrestrict \w+\n\n)?\Z"
)
# Longer than what names the columns of the widest table, and the end of any dump.
PATIENCE = 1024 * 1024
TAIL = 1024


class Scanner:
    """Counts the rows of each COPY block; memory does not grow with the dump."""

    def __init__(self) -> None:
        self.tables: dict[str, int] = {}
        self.created: set[str] = set()
        self.inserts = self.extensions = False
        self._before = b""
        self._data = b"\n"
        self._tail = b"\n"
        self._table: str | None = None
        self._rows = 0

    def feed(self, chunk: bytes) -> None:
        self._tail = chunk[-TAIL:] if len(chunk) >= TAIL else (self._tail + chunk)[-TAIL:]
        self._data += chunk
        while self._rows_end() if self._table is not None else self._block_begins():
            pass

    def homeless(self) -> list[str]:
        """Tables that are filled and that nothing in the dump creates, as --data-only leaves them.

        An extension brings tables of its own, whose rows may be dumped.
        """
        if self.extensions:
            return []
        if self.inserts and not self.created:
            return ["every table of its INSERT statements"]
        return sorted(set(self.tables) - self.created)

    def complete(self) -> bool:
        """Whether the last line was that of a whole dump."""
        return self._table is None and END.search(self._tail) is not None

    def _block_begins(self) -> bool:
        """Whether a block was entered; what is certainly none is let go."""
        place = self._data.find(START)
        if place < 0:
            self._let_go(len(self._data) - LEAD_BYTES - len(START) + 1)
            return False
        if not self._data.endswith(LEADS, 0, place):
            self._let_go(place + 1)
            return True
        match = COPY.match(self._data, place + 2)
        if match:
            self._let_go(match.end() - 1)
            self._table = _named(match)
            self._rows = -1  # the line break that ends the header is not one of a row
            return True
        if len(self._data) - place > PATIENCE:
            self._let_go(place + len(START))
            return True
        self._let_go(place - LEAD_BYTES)
        return False

    def _let_go(self, count: int) -> None:
        """Pass over what belongs to no block; what may have begun before is looked at again."""
        if count > 0:
            seen = self._before + self._data[:count]
            self.inserts = self.inserts or INSERT in seen
            self.extensions = self.extensions or EXTENSION in seen
            self.created.update(_named(match) for match in CREATED.finditer(seen))
            self._before, self._data = seen[-SEEN_AGAIN:], self._data[count:]

    def _rows_end(self) -> bool:
        """Whether the block was left; its rows so far are counted either way."""
        place = self._stop()
        if place < 0:
            certain = max(0, len(self._data) - len(STOP) + 1)
            self._rows += self._data.count(b"\n", 0, certain)
            self._data = self._data[certain:]
            return False
        self._rows += self._data.count(b"\n", 0, place + 1)
        self._data = self._data[place + len(STOP) - 1 :]
        name = str(self._table)
        self.tables[name] = self.tables.get(name, 0) + self._rows
        self._table = None
        return True

    def _stop(self) -> int:
        """Where the rows stop. One byte is found some thirty times as fast as four."""
        backslash = self._data.find(b"\\")
        return self._data.find(STOP, max(0, backslash - 1)) if backslash >= 0 else -1


def _named(match: re.Match[bytes]) -> str:
    return f"{_plain(match.group(1))}.{_plain(match.group(2))}"


def _plain(name: bytes) -> str:
    if name.startswith(b'"'):
        name = name[1:-1].replace(b'""', b'"')
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name.decode("latin-1")
