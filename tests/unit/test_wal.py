# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The continuity of WAL, and what pgBackRest's own files say."""

from __future__ import annotations

import hashlib
import re
import typing as t

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _errors, _pgbackrest, _wal
from ansible_collections.slipway.stack.plugins.module_utils._wal import Position

FIRST = "000000010000000000000001"


def test_names_and_positions_are_the_same_thing() -> None:
    for name in (FIRST, "0000000100000000000000FF", "000000020000000100000000"):
        place = _wal.position(name)
        assert place is not None
        assert place.name() == name
    assert _wal.position("000000020000000100000000") == Position(2, 256)
    assert _wal.position("00000001.history") is None


@pytest.mark.parametrize(
    ("there", "gaps"),
    [
        (range(1, 6), []),
        ([1, 2, 4, 5], [(3, 3)]),
        ([1, 4], [(2, 3), (5, 5)]),
        ([], [(1, 5)]),
        ([2, 3, 4, 5], [(1, 1)]),
    ],
)
def test_gaps_are_named_by_their_ends(there: t.Iterable[int], gaps: list[tuple[int, int]]) -> None:
    found = _wal.missing(Position(1, 1), Position(1, 5), {Position(1, n) for n in there}, {})
    assert [(first.number, last.number) for first, last in found] == gaps


def test_a_gap_as_wide_as_all_segments_there_can_be_is_one() -> None:
    far = _wal.position("00000001FFFFFFFF000000FF")
    assert far is not None
    assert _wal.missing(Position(1, 1), far, {Position(1, 1)}, {}) == [(Position(1, 2), far)]


def test_a_timeline_is_left_where_its_history_says() -> None:
    history = "1\t0/3FFFFFF\tno recovery target specified\n\n2\t12/5000000\tbefore\n"
    assert _wal.switches(history) == {1: 3, 2: 0x12 * 256 + 5}
    assert _wal.switches("1\t1/FFFFFF\tbefore\n") == {1: 256}  # the last byte of a segment


@pytest.mark.parametrize(
    ("start", "end", "path"),
    [
        ((1, 2), (3, 6), [(1, range(2, 3)), (2, range(3, 5)), (3, range(5, 7))]),
        ((2, 4), (3, 6), [(2, range(4, 5)), (3, range(5, 7))]),
        ((1, 2), (2, 4), [(1, range(2, 3)), (2, range(3, 5))]),
        ((3, 6), (3, 6), [(3, range(6, 7))]),
    ],
)
def test_the_way_from_a_backup_to_the_last_segment(
    start: tuple[int, int], end: tuple[int, int], path: list[tuple[int, range]]
) -> None:
    history = {2: 5, 1: 3, 3: 6}
    assert _wal.needed(Position(*start), Position(*end), history) == path


def test_a_later_timeline_is_later_whatever_its_number() -> None:
    assert max(Position(1, 9), Position(2, 1), Position(1, 10)) == Position(2, 1)


def test_a_gap_does_not_reach_over_a_switch() -> None:
    there = {Position(1, 1), Position(2, 4), Position(1, 9), Position(3, 2)}
    found = _wal.missing(Position(1, 1), Position(2, 4), there, {1: 3})
    one, two = Position(1, 2), Position(2, 3)
    assert found == [(one, one), (two, two)]


@pytest.mark.parametrize(
    ("name", "place"),
    [
        (FIRST, Position(1, 1)),
        (f"{FIRST}.00000028.backup", Position(1, 1)),
        (f"{FIRST}.partial", None),
        ("00000002.history", None),
        ("", None),
        ("nonsense", None),
        (f"{FIRST}x", None),
    ],
)
def test_what_was_archived_last(name: str, place: Position | None) -> None:
    assert _wal.last(name) == place


def test_two_contents_of_one_segment_contradict_each_other() -> None:
    names = [f"{FIRST}-{'cd' * 20}.gz", f"{FIRST}-{'ab' * 20}.gz", f"{FIRST}.partial-{'cd' * 20}"]
    other = f"0000000100000000000000FF-{'ab' * 20}"
    found = [_wal.archived(name, 1) for name in [*names, other]]
    segments = [one for one in found if one]
    assert _wal.contradictory(segments) == [names[1]]
    assert _wal.contradictory(segments[1:]) == []


@pytest.mark.parametrize(
    ("name", "partial"),
    [
        (f"{FIRST}-{'ab' * 20}.gz", False),
        (f"{FIRST}.partial-{'ab' * 20}", True),
        (f"{FIRST}-{'ab' * 20}.exe", None),
        (f"{FIRST}.00000028.backup", None),
    ],
)
def test_segments_are_told_from_other_files(name: str, partial: bool | None) -> None:
    key = f"archive/shop/15-1/0000000100000000/{name}"
    expected = None
    if partial is not None:
        expected = _wal.Archived(key, 5, Position(1, 1), "ab" * 20, partial)
    assert _wal.archived(key, 5) == expected


def info(body: str, canonical: str) -> str:
    digest = hashlib.sha1(canonical.encode(), usedforsecurity=False).hexdigest()
    return f'{body}\n[backrest]\nbackrest-checksum="{digest}"\n'


BODY = '[backrest]\nbackrest-format=5\n\n[target:file]\npg_data/ä=={"size":1}\n'
CANONICAL = '{"backrest":{"backrest-format":5},"target:file":{"pg_data/ä=":{"size":1}}}'


def test_an_info_file_vouches_for_itself() -> None:
    found = _pgbackrest.parse(info(BODY, CANONICAL), "k")
    assert found["target:file"] == {"pg_data/ä=": {"size": 1}}
    (file,) = _pgbackrest.files(found, "F")
    assert (file.name, file.label, file.size) == ("pg_data/ä=", "F", 1)


@pytest.mark.parametrize("text", ["", "nonsense", "[a]\nb=c\n", info(BODY, CANONICAL + " ")])
def test_an_info_file_that_is_damaged_is_refused(text: str) -> None:
    with pytest.raises(_errors.BackupError, match=r"^k "):
        _pgbackrest.parse(text, "k")


@pytest.mark.parametrize("stated", ["0" * 40, "f" * 40])
def test_a_checksum_that_is_smaller_or_larger_is_another_one(stated: str) -> None:
    text = info(BODY, CANONICAL)
    with pytest.raises(_errors.BackupError, match=f"but says {stated}"):
        _pgbackrest.parse(re.sub('(?<=checksum=")[0-9a-f]+', stated, text), "k")


def test_a_file_lies_at_its_label_or_in_a_bundle() -> None:
    there = {"r/F/pg_data/a.gz", "r/F/bundle/3"}
    plain = _pgbackrest.File("pg_data/a", "F", 1, None, None, 1, None, 0, False)
    bundled = _pgbackrest.File("pg_data/b", "F", 1, None, None, 1, 3, 0, False)
    assert _pgbackrest.place(plain, "r", there) == "r/F/pg_data/a.gz"
    assert _pgbackrest.place(bundled, "r", there) == "r/F/bundle/3"
    assert _pgbackrest.place(plain, "r", set()) is None


@pytest.mark.parametrize(
    ("field", "size"),
    [(1 << 20, 1 << 20), (1 << 24, 1 << 24), (1 << 30, 1 << 30), (1 << 31, None), (3 << 20, None)],
)
def test_a_segment_says_how_large_it_is(field: int, size: int | None) -> None:
    head = b"x" * 32 + field.to_bytes(4, "little")
    assert _wal.segment_bytes(head + b"x") == size
    assert _wal.segment_bytes(head[:33]) is None
