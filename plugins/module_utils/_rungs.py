# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which of the older objects are backups, by their size and record, so that they count as kept."""

from __future__ import annotations

import concurrent.futures
import typing as t
from datetime import datetime

from . import _backups, _errors, _evidence, _s3
from ._findings import Finding
from ._verification import Candidate
from ._verify_request import Request

READERS = 8


def kept(
    s3: _s3.Client, request: Request, found: t.Sequence[Candidate], now: datetime
) -> tuple[list[datetime], list[Finding]]:
    """When those were taken that count, and what was found of the others.

    Records are read as far back as backups are promised; before that, sizes decide.
    """
    promise = request.promise
    counting = [one for one in found if one.recorded or not promise.require_record]
    begin = now - request.ladder.longest()

    def problem(one: Candidate) -> str | None:
        if one.size < promise.min_size:
            return f"{one.size} bytes"
        if one.taken < begin or not one.recorded:
            return None
        try:
            recorded = read_record(s3, request.target, one).size
        except _errors.BackupError as error:
            return str(error)
        return None if recorded == one.size else f"{one.size} bytes, {recorded} in its record"

    with concurrent.futures.ThreadPoolExecutor(READERS) as readers:
        try:
            problems = list(readers.map(problem, counting))
        except _errors.StackError as error:
            return [one.taken for one in counting], [_unread(counting[0].database, error)]
    wrong = [(one, said) for one, said in zip(counting, problems, strict=True) if said]
    times = [one.taken for one, said in zip(counting, problems, strict=True) if not said]
    return times, _uncounted(wrong)


def read_record(s3: _s3.Client, where: _s3.Target, one: Candidate) -> _backups.Record:
    key = _backups.record_name(one.key)
    return _backups.record(_s3.read_text(s3, where, key), where.url(key))


def _uncounted(wrong: t.Sequence[tuple[Candidate, str]]) -> list[Finding]:
    if not wrong:
        return []
    said = _evidence.some([f"{one.file} ({why})" for one, why in wrong])
    return [
        Finding(
            *("kept", "warning", wrong[0][0].database, "a backup of its day behind each name"),
            f"none in {said}",
            "find out what emptied or replaced it; it does not count as kept",
            wrong[0][0].database,
        )
    ]


def _unread(database: str, error: Exception) -> Finding:
    return Finding(
        *("kept", "unknown", database, "the record of each older backup", str(error)),
        "mend what it says, then verify again",
        database,
    )
