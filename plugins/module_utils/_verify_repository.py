# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Judges a repository of pgBackRest by its own files, as pgbackrest verify does not."""

from __future__ import annotations

import concurrent.futures
import hashlib
import threading
import typing as t
import zlib
from collections import deque
from datetime import datetime

from . import _decode, _errors, _pgbackrest, _retention, _s3, _verification, _wal
from ._findings import Finding

FULL = "take a new full backup"
READERS = 8
SUFFIXES = {".lz4": "lz4", ".zst": "zstd", ".bz2": "bzip2"}


class Repository:
    """One stanza: what lies in it, what its info says, and what was found."""

    def __init__(
        self, s3: _s3.Client, request: t.Any, stanza: str, sizes: t.Mapping[str, int]
    ) -> None:
        self.s3, self.request, self.stanza, self.sizes = s3, request, stanza, sizes
        self.root = request.target.key("backup", stanza)
        self.archive = f"{request.target.key('archive', stanza)}/"
        self.found: list[Finding] = []
        self.bytes_read = 0
        self.counting = threading.Lock()
        self.sets: list[_pgbackrest.Set] = []

    def judge(self, now: datetime) -> _pgbackrest.Set | None:
        """Fill in what is found; return the backup that a restore would take."""
        info = self._info(f"{self.root}/backup.info", "present")
        self.sets = _pgbackrest.sets(info) if info else []
        self._present(now)
        if not self.sets:
            return None
        newest = self.sets[-1]
        for one in self.sets:
            self._chain(one)
        manifest = self._info(f"{self.root}/{newest.label}/backup.manifest", "present")
        files = _pgbackrest.files(manifest, newest.label) if manifest else []
        segments = self._continuous(newest)
        if self.request.level != "present":
            self._read_files(files)
            self._read_segments(segments)
        moments = [one.started for one in self.sets]
        self.found += _retention.ladder(self.stanza, moments, self.request.ladder, now)
        return newest

    def _info(self, key: str, level: str) -> _pgbackrest.Sections | None:
        """An info file, or its copy: a restore takes either."""
        problems = []
        for name in (key, f"{key}.copy"):
            if name not in self.sizes:
                problems.append(("critical", f"{name} is missing"))
                continue
            try:
                text = self._text(name)
                found = _pgbackrest.parse(text, name)
            except _errors.BackupError as error:
                problems.append(("critical", str(error)))
            except _errors.StackError as error:
                problems.append(("unknown", str(error)))
            else:
                if problems:
                    self._add(level, "warning", key, "two good copies", problems[0][1], FULL)
                return found
        severity = "unknown" if ("unknown" in dict(problems)) else "critical"
        self._add(level, severity, key, "a good copy of it", problems[0][1], FULL)
        return None

    def _text(self, key: str) -> str:
        text = _s3.read_text(self.s3, self.request.target, key, limit=64 * _s3.READ_BYTES)
        if text.startswith("Salted__"):
            raise _decode.Unchecked("it is encrypted: verify it where the cipher's key is")
        return text

    def _present(self, now: datetime) -> None:
        promise = self.request.promise
        if not self.sets:
            self._add("present", "critical", self.stanza, "a backup", "none", FULL)
            return
        newest = self.sets[-1]
        age, hours = now - newest.started, _verification.hours
        if newest.started > now + promise.clock_skew:
            moment = f"begun at {newest.started:%F %T} UTC"
            self._add(
                "present", "critical", newest.label, "begun in the past", moment, "set clocks"
            )
        elif age > promise.max_age:
            expected = f"at most {hours(promise.max_age)} old"
            self._add("present", "critical", newest.label, expected, f"{hours(age)} old", FULL)
        if newest.failed_pages:
            remedy = "find the damaged pages with pg_checksums, restore what they held"
            self._add("present", "critical", newest.label, "sound pages", "page errors", remedy)

    def _chain(self, one: _pgbackrest.Set) -> None:
        """A label must have its manifest, its files, and the backup that it builds on."""
        labels = {other.label for other in self.sets}
        if one.prior and one.prior not in labels:
            found = "not in backup.info"
            self._add("present", "critical", one.label, f"its base {one.prior}", found, FULL)
        begin = f"{self.root}/{one.label}/"
        if not any(key.startswith(begin) for key in self.sizes):
            self._add("present", "critical", one.label, "its files", "none", FULL)

    def _continuous(self, newest: _pgbackrest.Set) -> list[_wal.Archived]:
        """Look for gaps from the first backup of the newest's chain to the last segment."""
        segments = [
            segment
            for key, size in self.sizes.items()
            if key.startswith(self.archive) and (segment := _wal.archived(key, size))
        ]
        full = newest.label.split("_")[0]
        base = next((one for one in self.sets if one.label == full), newest)
        start = _wal.position(base.wal_start or "")
        if start is None:
            return []
        stop = _wal.position(newest.wal_stop or "") or start
        last = _wal.position((self.request.last_wal or "")[:24]) or stop
        whole = {one.position: one for one in segments if not one.partial}
        end = max([*whole, stop, last])
        for first, until in _wal.missing(start, end, whole, self._history(end.timeline)):
            found = f"{first.name()} to {until.name()} missing"
            remedy = f"{FULL}: nothing after the gap can be restored"
            self._add("present", "critical", self.archive, "WAL without a gap", found, remedy)
        for one in segments:
            if not one.size:
                self._add("present", "critical", one.key, "a segment", "an empty object", FULL)
        return [one for place, one in sorted(whole.items()) if start <= place]

    def _history(self, timeline: int) -> dict[int, int]:
        wanted = f"{timeline:08X}.history"
        for key in self.sizes:
            if key.startswith(self.archive) and wanted in key.rpartition("/")[2]:
                try:
                    return _wal.switches(b"".join(self._plain(key, None)).decode())
                except (_errors.StackError, UnicodeDecodeError) as error:
                    self._add("present", "unknown", key, "a history", str(error), FULL)
        return {}

    def _read_files(self, files: t.Sequence[_pgbackrest.File]) -> None:
        # A cluster has thousands of small files, and each waits for an answer.
        with concurrent.futures.ThreadPoolExecutor(READERS) as readers:
            for _done in readers.map(self._read_file, files):
                pass

    def _read_file(self, file: _pgbackrest.File) -> None:
        key = _pgbackrest.place(file, self.root, self.sizes)
        if key is None:
            # Some versions do not store what is empty.
            if file.size:
                name = f"{self.root}/{file.label}/{file.name}"
                self._add("present", "critical", name, "a file of the backup", "none", FULL)
        elif file.bundle is not None or key.endswith(".pgbi"):
            remedy = "run pgbackrest verify, and read its text, not its exit code"
            self._add("intact", "unknown", key, "single files", "a bundle", remedy)
        else:
            self._read(key, file.repo_sha1, file.sha1, file.size)

    def _read_segments(self, segments: t.Sequence[_wal.Archived]) -> None:
        for one in segments:
            self._read(one.key, None, one.sha1, _wal.SEGMENT_BYTES)

    def _read(self, key: str, stored: str | None, inside: str | None, size: int) -> None:
        """One file: the sum of what is stored, and of what is inside it."""
        digest = hashlib.sha1(usedforsecurity=False) if stored else None
        content = hashlib.sha1(usedforsecurity=False)
        length = 0
        try:
            for chunk in self._plain(key, digest):
                content.update(chunk)
                length += len(chunk)
        except _decode.Unreadable as error:
            self._add("intact", "critical", key, "a file that can be unpacked", str(error), FULL)
            return
        except _errors.StackError as error:
            self._add("intact", "unknown", key, "every byte", str(error), "mend what it says")
            return
        if digest and digest.hexdigest() != stored:
            self._add("intact", "critical", key, f"sha1 {stored}", digest.hexdigest(), FULL)
        elif inside and content.hexdigest() != inside:
            found = f"{content.hexdigest()} in {length} bytes"
            self._add("intact", "critical", key, f"sha1 {inside} inside", found, FULL)
        elif length != size:
            self._add("intact", "critical", key, f"{size} bytes inside", f"{length}", FULL)

    def _plain(self, key: str, digest: t.Any) -> t.Iterator[bytes]:
        source = _counted(_s3.read(self.s3, self.request.target, key), self, digest)
        suffix = key[key.rfind(".") :]
        if suffix == ".gz":
            return _inflated(source)
        kind = SUFFIXES.get(suffix)
        return _decode.through(_decode.DECOMPRESSORS[kind], source) if kind else source

    def _add(
        self, level: str, severity: str, what: str, expected: str, found: str, remedy: str
    ) -> None:
        self.found.append(Finding(level, severity, what, expected, found, remedy, self.stanza))


def _counted(source: t.Iterator[bytes], repository: Repository, digest: t.Any) -> t.Iterator[bytes]:
    for chunk in source:
        with repository.counting:
            repository.bytes_read += len(chunk)
        if digest:
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
