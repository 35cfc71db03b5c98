# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Streams through real commands: those that end early, that hang, and that are not there."""

from __future__ import annotations

import time
import typing as t

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _decode, _errors
from ansible_collections.slipway.stack.plugins.module_utils._decode import Unchecked, Unreadable


def through(script: str, *chunks: bytes) -> bytes:
    return b"".join(_decode.through(("sh", "-c", script), iter(chunks)))


def test_a_command_gets_all_and_all_it_makes_comes_back() -> None:
    chunks = [b"x" * 100_000] * 50
    assert through("cat", *chunks) == b"".join(chunks)
    assert through("cat") == b""


def test_a_command_that_has_enough_is_no_error_and_the_rest_is_read() -> None:
    rest = iter([b"x" * 1_000_000] * 5)
    assert b"".join(_decode.through(("head", "-c1"), rest)) == b"x"
    assert next(rest, None) is None


@pytest.mark.parametrize(
    ("script", "kind", "words"),
    [
        (
            "cat >&2; echo 'sh: error: no.' >&2; exit 3",
            Unreadable,
            "sh ended with 3: sh: error: no",
        ),
        ("cat >&2; echo hint >&2; echo x >&2; exit 1", Unreadable, "sh ended with 1: hint"),
        ("exit 1", Unreadable, "sh ended with 1: "),
        ("kill -9 $$", Unchecked, "sh was killed by signal 9"),
        ("echo 'error: unsupported version (1.99)' >&2; exit 1", Unchecked, "cannot read it here"),
    ],
)
def test_a_command_that_fails_says_so(
    script: str, kind: type[_errors.StackError], words: str
) -> None:
    with pytest.raises(kind, match=r"^sh ") as caught:
        through(script)
    assert words in str(caught.value)


def test_a_command_that_is_not_there_is_unchecked() -> None:
    with pytest.raises(Unchecked, match=r"^absent cannot be run \(No such file or directory\)"):
        list(_decode.through(("absent",), iter(())))


def test_what_the_stream_raises_comes_through() -> None:
    def broken() -> t.Iterator[bytes]:
        yield b"abc"
        raise _errors.StackError("the store is gone.")

    with pytest.raises(_errors.StackError, match="the store is gone"):
        list(_decode.through(("cat",), broken()))


def test_whoever_stops_reading_ends_the_command_and_the_stream() -> None:
    ended = []

    def endless() -> t.Iterator[bytes]:
        try:
            while True:
                yield b"x" * 100_000
        finally:
            ended.append(True)

    stream = _decode.through(("cat",), endless())
    assert next(stream)
    _decode.close(stream)
    assert ended == [True]
    _decode.close(iter([b"no generator"]))


def test_a_command_that_makes_nothing_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_decode, "PATIENCE_AT_END", 0.2)
    with pytest.raises(Unreadable, match=r"^sh made nothing of it for 0\.2 s$"):
        through("cat >/dev/null; exec sleep 20", b"abc")


def test_a_command_that_reads_on_is_not_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """It writes nothing for longer than patience lasts, but takes something all the while."""
    monkeypatch.setattr(_decode, "PATIENCE", 2)

    def slow() -> t.Iterator[bytes]:
        for _step in range(30):
            time.sleep(0.1)
            yield b"x"

    assert b"".join(_decode.through(("wc", "-c"), slow())).strip() == b"30"


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"PGDMP\x01", "custom"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"age-encryption.org/v1", "age"),
        (b"\x85\x01", "gpg"),
        (b"\xcb\x20b", "openpgp"),
        (b"\0" * 257 + b"ustar", "tar"),
        (b"--\n-- PostgreSQL database dump\n", "plain"),
        (b"", "unknown"),
    ],
)
def test_kinds_are_told_by_their_beginning(head: bytes, kind: str) -> None:
    assert _decode.kind_of(head) == kind


def test_a_look_takes_nothing_away() -> None:
    head, again = _decode.peek(iter([b"ab", b"cd", b"ef"]), 3)
    assert (head, b"".join(again)) == (b"abc", b"abcdef")
    head, again = _decode.peek(iter([b"ab"]), 3)
    assert (head, list(again)) == (b"ab", [b"ab"])
