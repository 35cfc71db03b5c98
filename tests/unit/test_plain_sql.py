# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A dump's SQL, cut into chunks anywhere."""

from __future__ import annotations

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _plain_sql


def scanned(*chunks: bytes) -> _plain_sql.Scanner:
    scanner = _plain_sql.Scanner()
    for chunk in chunks:
        scanner.feed(chunk)
    return scanner


COPY = b"\n--\n\nCOPY public.a (x) FROM stdin;\n1\n2\n\\.\n\n"
END = b"\n--\n-- PostgreSQL database dump complete\n--\n\n"


def test_rows_are_counted_however_the_stream_is_cut() -> None:
    text = COPY + COPY.replace(b"public.a", b'"b""c".d') + b"\nINSERT INTO e VALUES (1);\n" + END
    for size in (1, 2, 7, len(text)):
        found = scanned(*(text[begin : begin + size] for begin in range(0, len(text), size)))
        assert found.tables == {"public.a": 2, 'b"c.d': 2}
        assert (found.inserts, found.complete()) == (True, True)


def test_one_block_follows_the_other_at_once() -> None:
    text = b"\n--\n\nCOPY public.a (x) FROM stdin;\n1\n2\n\\.\n--"
    text += b"\n\nCOPY public.b (x) FROM stdin;\n\\.\n--\n\nCOPY public.a (x) FROM stdin;\n3\n\\.\n"
    for size in (1, 2, 5, len(text)):
        found = scanned(*(text[begin : begin + size] for begin in range(0, len(text), size)))
        assert found.tables == {"public.a": 3, "public.b": 0}


def test_all_may_come_at_once() -> None:
    noise = b"\n\nCOPY that;" * 3 + b"\n--\n\nCOPY " + b"x" * (_plain_sql.PATIENCE + 1)
    assert scanned(noise + b"\n\nCOPY" + COPY + noise + COPY + END).tables == {"public.a": 4}


def test_rows_may_hold_what_looks_like_their_end() -> None:
    rows = [rb"\N", rb"a\\.", rb"\\.", rb"\.b", b"", rb"\x5c2e", b"."]
    text = COPY.replace(b"\n1\n2\n", b"\n" + b"\n".join(rows) + b"\n") + END
    for size in (1, 2, 5, len(text)):
        found = scanned(*(text[begin : begin + size] for begin in range(0, len(text), size)))
        assert found.tables == {"public.a": len(rows)}


def test_rows_may_hold_what_looks_like_another_block() -> None:
    rows = [b"--", b"", b"COPY public.b (x) FROM stdin;", b"x"]
    text = COPY.replace(b"\n1\n2\n", b"\n" + b"\n".join(rows) + b"\n") + END
    for size in (1, 2, 5, len(text)):
        found = scanned(*(text[begin : begin + size] for begin in range(0, len(text), size)))
        assert found.tables == {"public.a": len(rows)}


@pytest.mark.parametrize("more", [-1, 0, 1, 16])
def test_the_end_is_seen_in_a_chunk_of_any_size(more: int) -> None:
    size = _plain_sql.TAIL + more
    text = END.rjust(size, b"x")
    assert scanned(text).complete()
    assert scanned(b"x" * size, END).complete()


@pytest.mark.parametrize("text", [b"", COPY, COPY[:-4] + END, END + b"x"])
def test_what_does_not_end_like_a_dump_is_not_complete(text: bytes) -> None:
    assert not scanned(text).complete()


def test_what_only_begins_like_a_block_is_passed_over() -> None:
    noise = b"\n--\n\nCOPY " + b"x" * (_plain_sql.PATIENCE + 1)
    assert scanned(noise, COPY).tables == {"public.a": 2}


@pytest.mark.parametrize(
    ("before", "counts"),
    [
        (b"\n--", True),
        (b"ALTER TABLE public.a DISABLE TRIGGER ALL;", True),
        (b"\nLoad it so:", False),
        (b"", False),
    ],
)
def test_only_what_pg_dump_begins_is_a_block(before: bytes, counts: bool) -> None:
    text = b"x" * 50 + before + COPY.removeprefix(b"\n--") + END
    for size in (1, 3, len(text)):
        found = scanned(*(text[begin : begin + size] for begin in range(0, len(text), size)))
        assert found.tables == ({"public.a": 2} if counts else {})


def test_a_name_in_another_encoding_is_kept() -> None:
    assert scanned(COPY.replace(b".a ", b'."\xe9" ')).tables == {"public.é": 2}


@pytest.mark.parametrize(
    ("before", "homeless"),
    [
        (b"", ["public.a"]),
        (b"\nCREATE TABLE public.a (\n    x int\n);\n", []),
        (b"\nCREATE UNLOGGED TABLE public.a (\n    x int\n);\n", []),
        (b"\nCREATE TABLE public.ab (\n    x int\n);\n", ["public.a"]),
        (b"\n-- CREATE TABLE public.a (\n", ["public.a"]),
        (b"\nCREATE EXTENSION IF NOT EXISTS postgis WITH SCHEMA public;\n", []),
    ],
)
def test_tables_that_are_filled_and_not_created(before: bytes, homeless: list[str]) -> None:
    text = before + b"x" * 2000 + COPY + END
    for size in (1, 7, len(text)):
        found = scanned(*(text[begin : begin + size] for begin in range(0, len(text), size)))
        assert found.homeless() == homeless


def test_insert_statements_without_any_table() -> None:
    insert = b"\nINSERT INTO public.a VALUES (1);\n"
    assert scanned(insert, END).homeless() == ["every table of its INSERT statements"]
    assert scanned(b"\nCREATE TABLE public.a (\n", insert, END).homeless() == []
