# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads a repository of pgBackRest in an object store, and keeps what was found in it."""

from __future__ import annotations

import hashlib
import threading
import typing as t
import zlib
from collections import deque
from dataclasses import dataclass

from . import _cipher, _decode, _errors, _pgbackrest, _s3
from ._findings import Finding

FULL = "take a new full backup"
LONGEST_INFO = 64 * _s3.READ_BYTES
SUFFIXES = {".lz4": "lz4", ".zst": "zstd", ".bz2": "bzip2"}


@dataclass(frozen=True)
class Sums:
    """What a file must be: sha1 of what is stored and of what is inside, bytes inside."""

    stored: str | None
    inside: str | None
    size: int


def sums_of(file: _pgbackrest.File) -> Sums:
    return Sums(file.repo_sha1, file.sha1, file.size)


class Repository:
    """One stanza: what lies in it, what opens it, and what was found."""

    def __init__(
        self,
        s3: _s3.Client,
        where: _s3.Target,
        stanza: str,
        sizes: t.Mapping[str, int],
        passphrase: str | None = None,
    ) -> None:
        self.s3, self.where, self.stanza, self.sizes = s3, where, stanza, sizes
        self.root = where.key("backup", stanza)
        self.archive = where.key("archive", stanza)
        # The first opens the info files, which hold the passphrases of what they are about.
        self.passphrase = passphrase
        self.archive_passphrase: str | None = None
        self.found: list[Finding] = []
        self.bytes_read = 0
        self._counting = threading.Lock()

    def add(
        self, level: str, severity: str, what: str, expected: str, found: str, remedy: str
    ) -> None:
        self.found.append(Finding(level, severity, what, expected, found, remedy, self.stanza))

    def info(self, key: str, passphrase: str | None) -> _pgbackrest.Sections | None:
        """An info file, or its copy: a restore takes either."""
        problems: list[tuple[str, str]] = []
        for name in (key, f"{key}.copy"):
            if name not in self.sizes:
                problems.append(("critical", f"{name} is missing"))
                continue
            try:
                found = _pgbackrest.parse(self._text(name, passphrase), name)
            except (_errors.BackupError, _decode.Unreadable) as error:
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

    def _text(self, key: str, passphrase: str | None) -> str:
        whole = _s3.read_whole(self.s3, self.where, key, LONGEST_INFO)
        if passphrase:
            try:
                whole = b"".join(_cipher.decrypted(iter([whole]), passphrase))
            except _decode.Unreadable as error:
                raise _decode.Unreadable(f"{key}: {error}") from error
        elif whole.startswith(_cipher.MAGIC):
            raise _decode.Unchecked(
                f"{key} is encrypted: give cipher_pass, the passphrase of the repository"
            )
        return whole.decode(errors="replace")

    def compare(self, key: str, sums: Sums, passphrase: str | None) -> None:
        """Read one file that is an object of its own."""
        self._compare(key, key[key.rfind(".") :], self._read(key), sums, passphrase)

    def compare_bundle(
        self, key: str, files: t.Sequence[_pgbackrest.File], suffix: str, passphrase: str | None
    ) -> None:
        """Read the files that lie one behind the other in an object, up to the first bad one."""
        bundle = _Bundle(self._read(key))
        try:
            for file in sorted(files, key=lambda file: file.offset):
                piece = bundle.piece(file.offset, file.repo_size)
                if not self._compare(
                    f"{key}: {file.name}", suffix, piece, sums_of(file), passphrase
                ):
                    return
        finally:
            _decode.close(bundle.chunks)

    def _compare(
        self,
        name: str,
        suffix: str,
        chunks: t.Iterator[bytes],
        sums: Sums,
        passphrase: str | None,
    ) -> bool:
        """The sum of what is stored, and of what is inside it."""
        digest = hashlib.sha1(usedforsecurity=False)
        content = hashlib.sha1(usedforsecurity=False)
        length = 0
        try:
            for chunk in _opened(_summed(chunks, digest), suffix, passphrase):
                content.update(chunk)
                length += len(chunk)
        except _decode.Unreadable as error:
            self.add("intact", "critical", name, "a file that can be unpacked", str(error), FULL)
            return False
        except _errors.StackError as error:
            self.add("intact", "unknown", name, "every byte", str(error), "mend what it says")
            return False
        if sums.stored and digest.hexdigest() != sums.stored:
            self.add("intact", "critical", name, f"sha1 {sums.stored}", digest.hexdigest(), FULL)
        elif sums.inside and content.hexdigest() != sums.inside:
            found = f"{content.hexdigest()} in {length} bytes"
            self.add("intact", "critical", name, f"sha1 {sums.inside} inside", found, FULL)
        elif length != sums.size:
            self.add("intact", "critical", name, f"{sums.size} bytes inside", f"{length}", FULL)
        else:
            return True
        return False

    def archived(self, key: str) -> t.Iterator[bytes]:
        """What is inside a file of the archive."""
        return _opened(self._read(key), key[key.rfind(".") :], self.archive_passphrase)

    def _read(self, key: str) -> t.Iterator[bytes]:
        for chunk in _s3.read(self.s3, self.where, key):
            with self._counting:
                self.bytes_read += len(chunk)
            yield chunk


class _Bundle:
    """A stream from which pieces are taken in order; what lies between them is skipped."""

    def __init__(self, chunks: t.Iterator[bytes]) -> None:
        self.chunks = chunks
        self.rest = b""
        self.position = 0

    def piece(self, offset: int, size: int) -> t.Iterator[bytes]:
        deque(self._taken(offset - self.position), maxlen=0)
        yield from self._taken(size)

    def _taken(self, size: int) -> t.Iterator[bytes]:
        while size > 0:
            self.rest = self.rest or next(self.chunks, b"")
            if not self.rest:
                return
            chunk, self.rest = self.rest[:size], self.rest[size:]
            self.position += len(chunk)
            size -= len(chunk)
            yield chunk


def _opened(chunks: t.Iterator[bytes], suffix: str, passphrase: str | None) -> t.Iterator[bytes]:
    """What is inside a stream: decrypted first, as it was compressed first."""
    plain = _cipher.decrypted(chunks, passphrase) if passphrase else chunks
    if suffix == ".gz":
        return _inflated(plain)
    kind = SUFFIXES.get(suffix)
    return _decode.through(_decode.DECOMPRESSORS[kind], plain) if kind else plain


def _summed(chunks: t.Iterator[bytes], digest: t.Any) -> t.Iterator[bytes]:
    for chunk in chunks:
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
