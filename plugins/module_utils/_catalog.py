# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an object store holds: each dump with what its record says of it."""

from __future__ import annotations

import concurrent.futures
import typing as t
from dataclasses import dataclass
from datetime import datetime

from . import _backups, _errors, _s3

READERS = 8


@dataclass(frozen=True)
class Listed:
    """One backup in the object store, and why it does not count if it does not."""

    database: str
    key: str
    size: int
    taken: datetime
    record: _backups.Record | None
    problem: str | None

    def as_dict(self, now: datetime) -> dict[str, t.Any]:
        return {
            "database": self.database,
            "key": self.key,
            "size": self.size,
            "taken": self.taken.isoformat(),
            "age": int((now - self.taken).total_seconds()),
            "verified": self.problem is None,
            "problem": self.problem,
            "sha256": self.record.sha256 if self.record else None,
        }


def listing(s3: _s3.Client, where: _s3.Target, databases: t.Collection[str]) -> list[Listed]:
    """Every backup below the prefix, newest first; only those of `databases` if any are named."""
    objects = {item.key: item for item in _s3.list_objects(s3, where)}
    dumps = [
        (item, *place)
        for item in objects.values()
        for place in [_place(where, item.key)]
        if place is not None and (not databases or place[0] in databases)
    ]
    with concurrent.futures.ThreadPoolExecutor(READERS) as readers:
        found = readers.map(lambda dump: _listed(s3, where, objects, *dump), dumps)
    return sorted(found, key=lambda listed: (listed.taken, listed.key), reverse=True)


def newest(backups: t.Iterable[Listed]) -> dict[str, Listed]:
    """The newest backup of each database that counts."""
    found: dict[str, Listed] = {}
    for listed in backups:
        known = found.get(listed.database)
        if listed.problem is None and (known is None or known.taken < listed.taken):
            found[listed.database] = listed
    return found


def _place(where: _s3.Target, key: str) -> tuple[str, datetime] | None:
    """Whose backup this key is, and of when: <prefix>/<database>/<time>-<nonce>.dump."""
    below = key[len(where.key()) :].strip("/").split("/")
    taken = _backups.taken(below[1]) if len(below) == 2 else None
    return (below[0], taken) if taken else None


def _listed(
    s3: _s3.Client,
    where: _s3.Target,
    objects: t.Mapping[str, _s3.StoredObject],
    item: _s3.StoredObject,
    database: str,
    taken: datetime,
) -> Listed:
    file = item.key.rpartition("/")[2]
    key = _backups.record_name(item.key)
    record: _backups.Record | None = None
    problem: str | None = "has no record: no upload of it was ever read back"
    if key in objects:
        try:
            record = _backups.record(_s3.read_text(s3, where, key), where.url(key))
            problem = _problem(record, item.size, file, database)
        except _errors.StackError as error:
            problem = str(error)
    return Listed(database, item.key, item.size, taken, record, problem)


def _problem(record: _backups.Record, size: int, file: str, database: str) -> str | None:
    if record.database != database or record.file != file:
        return f"its record is that of {record.file} of {record.database}"
    if record.size != size:
        return f"holds {size} bytes, but {record.size} were recorded"
    return None if record.verified else "its record says that it was never read back"
