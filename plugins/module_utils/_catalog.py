# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an object store holds, by its listing; records are read where they decide."""

from __future__ import annotations

import concurrent.futures
import typing as t
from dataclasses import dataclass, replace
from datetime import datetime

from . import _backups, _errors, _s3

READERS = 8
NO_RECORD = "has no record: no upload of it was ever read back"


@dataclass(frozen=True)
class Listed:
    """One backup in the object store, and why it does not count if it does not."""

    database: str
    key: str
    size: int
    taken: datetime
    problem: str | None
    verified: datetime | None = None  # when its record was stored, which is after it was read back

    def as_dict(self, now: datetime) -> dict[str, t.Any]:
        return {
            "database": self.database,
            "key": self.key,
            "size": self.size,
            "taken": self.taken.isoformat(),
            "age": int((now - self.taken).total_seconds()),
            "problem": self.problem,
            "verified": None if self.verified is None else self.verified.isoformat(),
        }


@dataclass(frozen=True)
class Catalog:
    """Every backup, newest first, and the newest of each database that counts, with its digest."""

    backups: list[Listed]
    newest: dict[str, tuple[Listed, str]]

    def as_dict(self, now: datetime) -> dict[str, t.Any]:
        return {
            "backups": [listed.as_dict(now) for listed in self.backups],
            "newest": {
                database: {**listed.as_dict(now), "sha256": sha256}
                for database, (listed, sha256) in self.newest.items()
            },
        }


def catalog(s3: _s3.Client, where: _s3.Target, databases: t.Collection[str]) -> Catalog:
    """What is below the prefix; only of `databases` if any are named.

    Years of backups have thousands of records: each database's are read until one counts.
    """
    listed: dict[str, list[Listed]] = {}
    for one in _listing(s3, where):
        if not databases or one.database in databases:
            listed.setdefault(one.database, []).append(one)
    with concurrent.futures.ThreadPoolExecutor(READERS) as readers:
        judged = list(readers.map(lambda backups: _judged(s3, where, backups), listed.values()))
    return Catalog(
        sorted((one for backups, _newest in judged for one in backups), key=_moment, reverse=True),
        {newest[0].database: newest for _backups, newest in judged if newest},
    )


def _listing(s3: _s3.Client, where: _s3.Target) -> t.Iterator[Listed]:
    """What the names alone tell."""
    objects = {item.key: item for item in _s3.list_objects(s3, where)}
    for item in objects.values():
        database, slash, file = item.key[len(where.folder()) :].partition("/")
        taken = _backups.taken(file)
        if slash and taken and "/" not in file:
            record = objects.get(_backups.record_name(item.key))
            problem, verified = (None, record.modified) if record else (NO_RECORD, None)
            yield Listed(database, item.key, item.size, taken, problem, verified)


def _moment(listed: Listed) -> tuple[datetime, str]:
    return listed.taken, listed.key


def _judged(
    s3: _s3.Client, where: _s3.Target, backups: list[Listed]
) -> tuple[list[Listed], tuple[Listed, str] | None]:
    """One database's backups, what is wrong with the newest, and the newest that counts."""
    judged = sorted(backups, key=_moment, reverse=True)
    for number, one in enumerate(judged):
        if one.problem:
            continue
        key = _backups.record_name(one.key)
        try:
            record = _backups.record(_s3.read_text(s3, where, key), where.url(key))
            problem = _problem(record, one)
        except _errors.StackError as error:
            problem = str(error)
        else:
            if problem is None:
                return judged, (one, record.sha256)
        judged[number] = replace(one, problem=problem)
    return judged, None


def _problem(record: _backups.Record, one: Listed) -> str | None:
    if (record.database, record.file) != (one.database, one.key.rpartition("/")[2]):
        return f"its record is that of {record.file} of {record.database}"
    if record.size != one.size:
        return f"holds {one.size} bytes, but {record.size} were recorded"
    return None if record.verified else "its record says that it was never read back"
