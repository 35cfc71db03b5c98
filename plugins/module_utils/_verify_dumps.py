# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Judges the dumps of one database by reading the newest of them."""

from __future__ import annotations

import contextlib
import time
from datetime import datetime

from . import (
    _backups,
    _bucket,
    _errors,
    _evidence,
    _findings,
    _read_dump,
    _retention,
    _rungs,
    _s3,
    _s3_sums,
    _verification,
)
from ._decode import Unchecked, Unreadable
from ._findings import Finding
from ._verification import Candidate
from ._verify_request import Request, Verdict


def judge(
    s3: _s3.Client,
    request: Request,
    name: str,
    found: list[Candidate],
    bucket: _retention.Bucket,
    now: datetime,
) -> Verdict:
    begun = time.monotonic()
    promise, where = request.promise, request.target
    root = f"{where.key(name)}/"
    markers = {key: at for key, at in (bucket.markers.value or {}).items() if key.startswith(root)}
    findings = [
        *_verification.present(name, found, promise, now),
        *_verification.hidden(name, markers, found),
    ]
    chosen = _verification.newest(found, promise)
    if chosen is None:
        return Verdict(name, None, findings)
    read = _Reading(s3, request, chosen, found)
    findings += read.findings()
    if request.level == "kept":
        times, odd = _rungs.kept(s3, request, found, now)
        findings += [*odd, *_retention.ladder(name, times, request.ladder, now)]
        # A server that does not tell of its bucket's ACL was told of already.
        if not (bucket.blocked.value or bucket.public.problem):
            findings += _bucket.object_acl(s3, where, chosen.key, name)
    seconds = time.monotonic() - begun
    return Verdict(
        *(name, None, findings, chosen.key, chosen.taken, chosen.size, read.size, seconds)
    )


class _Reading:
    """One dump, read once for all levels that need its bytes."""

    def __init__(
        self, s3: _s3.Client, request: Request, one: Candidate, found: list[Candidate]
    ) -> None:
        self.s3, self.request, self.one = s3, request, one
        self.size = 0
        earlier = [other for other in found[: found.index(one)] if other.recorded]
        self.before = earlier[-_verification.COMPARED :]

    def findings(self) -> list[Finding]:
        """Of the levels present (the record), intact, readable, and kept (encryption)."""
        request, one = self.request, self.one
        record, found = self._record()
        earlier = [known for other in self.before if (known := self._earlier(other))]
        before = earlier[-1] if earlier else None
        if record:
            skew = request.promise.clock_skew
            found += _evidence.record_findings(one, record, earlier, skew)
        if request.level == "present":
            return found
        try:
            sums = _s3_sums.sums(self.s3, request.target, one.key)
        except _errors.StackError as error:
            return [*found, self._unknown("intact", error)]
        contents, more = self._contents(sums, record)
        found += more
        if contents:
            expected = request.promise.tables.get(one.database, ())
            found += _evidence.contents_findings(one, record, contents, expected, before)
        return [
            *found,
            *_evidence.encryption_findings(one, request.encryption, contents, sums),
        ]

    def _record(self) -> tuple[_backups.Record | None, list[Finding]]:
        if not self.one.recorded:
            return None, []
        try:
            return self._read_record(self.one), []
        except _errors.BackupError as error:
            remedy = "back up again: without its record a dump proves nothing"
            return None, [self._finding("present", "critical", str(error), remedy)]
        except _errors.StackError as error:
            return None, [self._unknown("present", error)]

    def _earlier(self, other: Candidate) -> _backups.Record | None:
        """The record of a backup before; it only serves to compare with."""
        with contextlib.suppress(_errors.StackError):
            return self._read_record(other)
        return None

    def _read_record(self, one: Candidate) -> _backups.Record:
        return _rungs.read_record(self.s3, self.request.target, one)

    def _contents(
        self, sums: _evidence.Sums, record: _backups.Record | None
    ) -> tuple[_evidence.Contents | None, list[Finding]]:
        """Read every byte once: for its digest, and through to the SQL where that is wanted."""
        request, one = self.request, self.one
        source = _s3.read(self.s3, request.target, one.key)
        digests = _s3_sums.Digests(source, sums, record is not None)
        contents = None
        found: list[Finding] = []
        try:
            if "readable" in _findings.wanted(request.level):
                try:
                    contents = _read_dump.contents(digests, request.tools)
                except (Unreadable, Unchecked) as error:
                    found.append(self._unread(error))
            for _rest in digests:  # a restore need not take the last bytes, a digest must
                pass
        except _errors.StackError as error:
            return None, [*found, self._unknown("intact", error)]
        finally:
            self.size = digests.size
        found += _evidence.digest_findings(one, record, sums, digests.found(), digests.size)
        return contents, found

    def _unread(self, error: _errors.StackError) -> Finding:
        if isinstance(error, Unchecked):
            return self._unknown("readable", error)
        return self._finding("readable", "critical", str(error), _verification.AGAIN)

    def _unknown(self, level: str, error: Exception) -> Finding:
        return self._finding(level, "unknown", str(error), "mend what it says, then verify again")

    def _finding(self, level: str, severity: str, found: str, remedy: str) -> Finding:
        expected = {"present": "its record", "intact": "every byte"}.get(level, "a whole dump")
        one = self.one
        return Finding(level, severity, one.key, expected, found, remedy, one.database)
