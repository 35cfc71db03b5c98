# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads a dump of any format from a stream to its last row, and tells what is inside."""

from __future__ import annotations

import collections
import contextlib
import pathlib
import shutil
import tempfile
import typing as t
from dataclasses import dataclass

from . import _archive, _decode, _dump, _errors, _plain_sql
from ._decode import Unchecked, Unreadable
from ._evidence import Contents

TAR_BLOCK = 512
# More than one file of it must fit: what is kept free of the scratch space.
RESERVE_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True)
class Tools:
    """What a reading works with besides the stream."""

    decrypt: t.Sequence[str] = ()
    scratch: pathlib.Path = pathlib.Path("/var/tmp")  # noqa: S108  # only tempfile writes there
    installed: pathlib.Path = _dump.CLIENTS


def contents(chunks: t.Iterator[bytes], tools: Tools) -> Contents:
    """What a restore would find. Unreadable if it would fail; Unchecked if that cannot be tried."""
    layers = _decode.unwrap(chunks, tools.decrypt)
    try:
        return _contents(layers, tools)
    finally:
        _decode.close(layers.chunks)


def _contents(layers: _decode.Unwrapped, tools: Tools) -> Contents:
    if layers.kind == "custom":
        header = _archive.header(layers.head)
        sql = _decode.through(_pg_restore(header, tools), layers.chunks)
        return _scanned(layers, sql, header)
    if layers.kind == "tar":
        return _tar(layers, tools)
    if layers.kind == "plain":
        return _scanned(layers, layers.chunks, None)
    inside = f"inside its layers {', '.join(layers.layers)}" if layers.layers else "inside"
    raise Unreadable(f"{'no dump of PostgreSQL' if layers.head else 'nothing'} is {inside}")


def _tar(layers: _decode.Unwrapped, tools: Tools) -> Contents:
    """A tar by pg_dump begins with its table of contents; any other is of a directory dump."""
    header = _archive.header(layers.head[TAR_BLOCK:])
    if layers.head.startswith(b"toc.dat\0") and header:
        sql = _decode.through(_pg_restore(header, tools), layers.chunks)
        return _scanned(layers, sql, header)
    with _scratch(tools.scratch) as directory:
        unpack = ("tar", "--extract", "--no-same-owner", f"--directory={directory}")
        # tar says nothing; it is read to its end all the same.
        collections.deque(_decode.through(unpack, _while_room(layers.chunks, directory)), maxlen=0)
        _require_files(directory)
        found = sorted(directory.rglob("toc.dat"))
        if not found:
            raise Unreadable("no toc.dat, so no directory dump, is inside its tar")
        with found[0].open("rb") as file:
            header = _archive.header(file.read(_decode.HEAD_BYTES))
        command = [*_pg_restore(header, tools), str(found[0].parent)]
        return _scanned(layers, _decode.through(command, iter(())), header)


def _require_files(directory: pathlib.Path) -> None:
    """What else a tar may bring, such as a pipe, holds whoever opens it."""
    for path in sorted(directory.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            name = path.relative_to(directory)
            raise Unreadable(f"{name} in its tar is neither a file nor a directory")


@contextlib.contextmanager
def _scratch(parent: pathlib.Path) -> t.Iterator[pathlib.Path]:
    try:
        directory = tempfile.TemporaryDirectory(prefix="slipway-", dir=parent)
    except OSError as error:
        raise Unchecked(f"{parent} cannot be used ({error.strerror}): set scratch") from error
    with directory as name:
        yield pathlib.Path(name)


def _while_room(chunks: t.Iterator[bytes], directory: pathlib.Path) -> t.Iterator[bytes]:
    """The stream as long as the disk has room: a full one would harm others."""
    for chunk in chunks:
        if shutil.disk_usage(directory).free < RESERVE_BYTES + len(chunk):
            raise Unchecked(f"{directory.parent} is too small for it: set scratch to a larger one")
        yield chunk


def _pg_restore(header: _archive.Header | None, tools: Tools) -> list[str]:
    """The client that understands the archive: an older one than pg_dump was may not."""
    if header is None:
        raise Unreadable("the header of the archive is damaged")
    try:
        client = _dump.client_for(header.major(), tools.installed)
    except _errors.BackupError as error:
        raise Unchecked(str(error).rstrip(".")) from error
    return [client.program("pg_restore"), "--file=-"]


def _scanned(
    layers: _decode.Unwrapped, sql: t.Iterator[bytes], header: _archive.Header | None
) -> Contents:
    scanner = _plain_sql.Scanner()
    for chunk in sql:
        scanner.feed(chunk)
    return Contents(
        kind=layers.kind,
        tables=scanner.tables,
        complete=scanner.complete(),
        inserts=scanner.inserts,
        homeless=scanner.homeless(),
        database=header.database if header else None,
        created=header.created if header else None,
        encrypted=layers.encrypted(),
    )
