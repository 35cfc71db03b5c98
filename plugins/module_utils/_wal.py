# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether the WAL of a repository leads without a gap from a backup to its end. Pure."""

from __future__ import annotations

import itertools
import re
import typing as t
from dataclasses import dataclass

SEGMENT = re.compile(r"([0-9A-F]{24})(\.partial)?-([0-9a-f]{40})(\.(?:gz|lz4|zst|bz2))?\Z")
# As pg_stat_archiver names what was archived last.
LAST = re.compile(
    r"([0-9A-F]{24})(?:\.[0-9A-F]{8}\.backup)?\Z|[0-9A-F]{24}\.partial\Z|[0-9A-F]{8}\.history\Z"
)
SWITCH = re.compile(r"^\s*(\d+)\s+([0-9A-F]+)/([0-9A-F]+)", re.MULTILINE)
# initdb's default; pgBackRest's repository does not say another one.
SEGMENT_BYTES = 16 * 1024 * 1024
# Where the first page of a segment says how large it is, and what it may be.
SIZE_FIELD = slice(32, 36)
SIZES = tuple(1 << bits for bits in range(20, 31))
PER_FILE = 0x1_0000_0000 // SEGMENT_BYTES


@dataclass(frozen=True, order=True)
class Position:
    """A segment: its timeline, and its number from the beginning of the cluster."""

    timeline: int
    number: int

    def name(self) -> str:
        high, low = divmod(self.number, PER_FILE)
        return f"{self.timeline:08X}{high:08X}{low:08X}"


@dataclass(frozen=True)
class Archived:
    """A segment as the repository names it."""

    key: str
    size: int
    position: Position
    sha1: str
    partial: bool


def position(name: str) -> Position | None:
    """Where a segment of this name belongs; None if it is not the name of one."""
    return _placed(name) if re.fullmatch("[0-9A-F]{24}", name) else None


def _placed(name: str) -> Position:
    timeline, high, low = (int(name[begin : begin + 8], 16) for begin in (0, 8, 16))
    return Position(timeline, high * PER_FILE + low)


def last(name: str) -> Position | None:
    """The segment that must be there if this was archived last; None if it tells of none."""
    match = LAST.match(name)
    return position(match.group(1) or "") if match else None


def segment_bytes(head: bytes) -> int | None:
    """The size that the beginning of a segment tells; None if it is no such beginning."""
    size = int.from_bytes(head[SIZE_FIELD], "little")
    return size if size in SIZES else None


def contradictory(segments: t.Iterable[Archived]) -> list[str]:
    """The keys of segments that are there with several contents."""
    keys: dict[tuple[Position, bool], list[str]] = {}
    for one in segments:
        keys.setdefault((one.position, one.partial), []).append(one.key)
    return sorted(min(several) for several in keys.values() if len(several) > 1)


def archived(key: str, size: int) -> Archived | None:
    """The segment that this object is; None if it is something else."""
    match = SEGMENT.match(key.rpartition("/")[2])
    if match is None:
        return None
    return Archived(key, size, _placed(match.group(1)), match.group(3), bool(match.group(2)))


def switches(history: str) -> dict[int, int]:
    """The segment in which each earlier timeline was left, from the text of a history file."""
    return {
        int(line.group(1)): (int(line.group(2), 16) * 0x1_0000_0000 + int(line.group(3), 16))
        // SEGMENT_BYTES
        for line in SWITCH.finditer(history)
    }


def needed(start: Position, end: Position, history: t.Mapping[int, int]) -> list[tuple[int, range]]:
    """The numbers of the segments from the one to the other, on each timeline that leads there."""
    path: list[tuple[int, range]] = []
    number = start.number
    left = {line: at for line, at in history.items() if start.timeline <= line < end.timeline}
    for line, at in sorted(left.items()):
        path.append((line, range(number, at)))
        number = at
    return [*path, (end.timeline, range(number, end.number + 1))]


def missing(
    start: Position, end: Position, there: t.Collection[Position], history: t.Mapping[int, int]
) -> list[tuple[Position, Position]]:
    """The gaps, each by its first and last segment."""
    gaps: list[tuple[Position, Position]] = []
    for line, wanted in needed(start, end, history):
        have = sorted(one.number for one in there if one.timeline == line and one.number in wanted)
        for before, after in itertools.pairwise([wanted.start - 1, *have, wanted.stop]):
            if after - before > 1:
                gaps.append((Position(line, before + 1), Position(line, after - 1)))
    return gaps
