# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads a repository of pgBackRest in an object store, and keeps what was found in it."""

from __future__ import annotations

import hashlib
import threading
import typing as t
import zlib
from collections import deque

from . import _decode, _errors, _pgbackrest, _s3
from ._findings import Finding

FULL = "take a new full backup"
LONGEST_INFO = 64 * _s3.READ_BYTES
ENCRYPTED = b"Salted__"
SUFFIXES = {".lz4": "lz4", ".zst": "zstd", ".bz2": "bzip2"}


class Repository:
    """One stanza: what lies in it, and what was found."""

    def __init__(
        self, s3: _s3.Client, where: _s3.Target, stanza: str, sizes: t.Mapping[str, int]
    ) -> None:
        self.s3, self.where, self.stanza, self.sizes = s3, where, stanza, sizes
        self.root = where.key("backup", stanza)
        self.archive = where.key("archive", stanza)
        self.found: list[Finding] = []
        self.bytes_read = 0
        self._counting = threading.Lock()

    def add(
        self, level: str, severity: str, what: str, expected: str, found: str, remedy: str
    ) -> None:
        self.found.append(Finding(level, severity, what, expected, found, remedy, self.stanza))

    def info(self, key: str) -> _pgbackrest.Sections | None:
        """An info file, or its copy: a restore takes either."""
        problems: list[tuple[str, str]] = []
        for name in (key, f"{key}.copy"):
            if name not in self.sizes:
                problems.append(("critical", f"{name} is missing"))
                continue
            try:
                found = _pgbackrest.parse(self._text(name), name)
            except _errors.BackupError as error:
                problems.append(("critical", str(error)))
            except _errors.StackError as error:
                problems.append(("unknown", str(error)))
            else:
                for _severity, said in problems:
                    self.add("present", "warning", key, "two good copies", said, FULL)
                return found
        # A copy that could not be looked at may be the good one.
        worst = max(problems, key=lambda problem: problem[0] == "unknown")
        self.add("present", worst[0], key, "a good copy of it", worst[1], FULL)
        return None

    def _text(self, key: str) -> str:
        whole = _s3.read_whole(self.s3, self.where, key, LONGEST_INFO)
        if whole.startswith(ENCRYPTED):
            raise _decode.Unchecked(
                f"{key} is encrypted, and nothing here has its cipher: restore it as a trial"
            )
        return whole.decode(errors="replace")

    def compare(self, key: str, stored: str | None, inside: str | None, size: int) -> None:
        """Read one file: the sum of what is stored, and of what is inside it."""
        digest = hashlib.sha1(usedforsecurity=False)
        content = hashlib.sha1(usedforsecurity=False)
        length = 0
        try:
            for chunk in self.plain(key, digest):
                content.update(chunk)
                length += len(chunk)
        except _decode.Unreadable as error:
            self.add("intact", "critical", key, "a file that can be unpacked", str(error), FULL)
            return
        except _errors.StackError as error:
            self.add("intact", "unknown", key, "every byte", str(error), "mend what it says")
            return
        if stored and digest.hexdigest() != stored:
            self.add("intact", "critical", key, f"sha1 {stored}", digest.hexdigest(), FULL)
        elif inside and content.hexdigest() != inside:
            found = f"{content.hexdigest()} in {length} bytes"
            self.add("intact", "critical", key, f"sha1 {inside} inside", found, FULL)
        elif length != size:
            self.add("intact", "critical", key, f"{size} bytes inside", f"{length}", FULL)

    def plain(self, key: str, digest: t.Any) -> t.Iterator[bytes]:
        """What is inside a file; `digest` learns of the bytes that are stored."""
        source = self._counted(_s3.read(self.s3, self.where, key), digest)
        suffix = key[key.rfind(".") :]
        if suffix == ".gz":
            return _inflated(source)
        kind = SUFFIXES.get(suffix)
        return _decode.through(_decode.DECOMPRESSORS[kind], source) if kind else source

    def _counted(self, source: t.Iterator[bytes], digest: t.Any) -> t.Iterator[bytes]:
        for chunk in source:
            with self._counting:
                self.bytes_read += len(chunk)
            digest.update(chunk)
            yield chunk


def _inflated(source: t.Iterator[bytes]) -> t.Iterator[bytes]:
    """Without a process: a backup has thousands of small files."""
    unpack = zlib.decompressobj(wbits=31)
    try:
        for chunk in source:
            yield unpack.decompress(chunk)
        yield unpack.flush()
    except zlib.error as error:
        deque(source, maxlen=0)
        raise _decode.Unreadable(str(error)) from error
    if not unpack.eof:
        raise _decode.Unreadable("it breaks off")
    if unpack.unused_data:
        raise _decode.Unreadable("something follows its end")
