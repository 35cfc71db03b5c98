# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The rules by which a dump in an object store is judged. Pure: no clock, disk or network."""

from __future__ import annotations

import re
import statistics
import typing as t
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from . import _backups
from ._findings import Finding

# What a file must be called to be taken for a dump: anything else below a database is passed over.
DUMP = re.compile(
    r"\.(?:dump|dmp|backup|pgdump|custom|sql|tar|tgz|tzst)"
    r"(?:\.(?:gz|tgz|zst|zstd|lz4|xz|bz2))?(?:\.(?:gpg|pgp|asc|age|enc))?$",
    re.IGNORECASE,
)
STAMP = re.compile(
    r"(?<!\d)(\d{4})-?(\d\d)-?(\d\d)(?:[T_ -]?(\d\d)[:-]?(\d\d)(?:[:-]?(\d\d))?)?(?!\d)"
)
COMPARED = 7
# pg_dump writes the local time of its machine and no zone; the world's zones are this far apart.
EARLIEST_ZONE = timedelta(hours=12)
LATEST_ZONE = timedelta(hours=14)
NO_RECORD = "so no upload of it was ever read back: back up again, and keep the record beside it"
GROWN = "see what has grown; if it is meant to, raise max_ratio"
AGAIN = "take a new backup, and restore from the one before until then"


@dataclass(frozen=True)
class Stored:
    """An object as a listing shows it."""

    key: str
    size: int
    modified: datetime
    etag: str = ""


@dataclass(frozen=True)
class Candidate:
    """An object that is a dump by its place and name."""

    database: str
    key: str
    file: str
    size: int
    modified: datetime
    taken: datetime
    stamped: bool
    recorded: bool
    etag: str = ""


@dataclass(frozen=True)
class Promise:
    """What the operator expects of a backup."""

    max_age: timedelta = timedelta(hours=25)
    clock_skew: timedelta = timedelta(minutes=5)
    min_size: int = 200
    min_ratio: float = 0.5
    max_ratio: float = 4.0
    require_record: bool = True
    tables: t.Mapping[str, t.Sequence[str]] = field(default_factory=dict)


def group(objects: t.Iterable[Stored], prefix: str) -> dict[str, list[Candidate]]:
    """The dumps of each database below the prefix, oldest first: <prefix>/<database>/<file>."""
    root = f"{prefix}/" if prefix else ""
    below = {item.key: item for item in objects if item.key.startswith(root)}
    found: dict[str, list[Candidate]] = {}
    for key, item in below.items():
        database, slash, file = key[len(root) :].partition("/")
        if not slash or not database or "/" in file or not DUMP.search(file):
            continue
        candidate = Candidate(
            database,
            key,
            file,
            item.size,
            item.modified,
            *taken(file, item.modified),
            _backups.record_name(key) in below,
            item.etag,
        )
        found.setdefault(database, []).append(candidate)
    for candidates in found.values():
        candidates.sort(key=lambda candidate: (candidate.taken, candidate.key))
    return found


def taken(file: str, modified: datetime) -> tuple[datetime, bool]:
    """When the dump was begun, and whether its name says so; else when it was stored."""
    match = STAMP.search(file)
    if not match:
        return modified, False
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups())
    try:
        named = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return modified, False
    # A mere date covers a whole day; the store knows better when in it.
    if match.group(4) is None and named <= modified < named + timedelta(days=2):
        return modified, False
    return named, True


def newest(found: t.Sequence[Candidate], promise: Promise) -> Candidate | None:
    """The one that a restore would take: without its record, a dump does not count."""
    counting = [one for one in found if one.recorded or not promise.require_record]
    return next(reversed(counting or found), None)


def present(
    database: str, found: t.Sequence[Candidate], promise: Promise, now: datetime
) -> list[Finding]:
    """Whether there is a backup, young and large enough; `found` is sorted, oldest first."""
    chosen = newest(found, promise)
    if chosen is None:
        return [
            Finding(
                "present",
                "critical",
                database,
                "a backup",
                "none",
                "look at the last run of the backup, and at bucket and prefix",
                database,
            )
        ]
    last = found[-1]
    return [
        *_age(chosen, promise, now),
        *_size(last, found[:-1], promise),
        # A newer one that does not count must not hide what happened to this one.
        *(() if chosen is last else _size(chosen, found[: found.index(chosen)], promise)),
        *_recorded(chosen, last, promise),
        *_copied(chosen, found[: found.index(chosen)]),
    ]


def _age(chosen: Candidate, promise: Promise, now: datetime) -> list[Finding]:
    if chosen.taken > min(now, chosen.modified) + promise.clock_skew:
        return [
            _critical(
                "present",
                chosen,
                f"begun before it was stored at {chosen.modified:%F %T} UTC",
                f"its name says {chosen.taken:%F %T} UTC, so its age is not known",
                "set the clock of the machine that takes the backups, then back up again",
            )
        ]
    if now - chosen.taken > promise.max_age:
        return [
            _critical(
                "present",
                chosen,
                f"at most {hours(promise.max_age)} old",
                f"{hours(now - chosen.taken)} old",
                "look at the last run of the backup, then back up now",
            )
        ]
    return []


def _size(last: Candidate, before: t.Sequence[Candidate], promise: Promise) -> list[Finding]:
    size = _backups.human_size
    if last.size < promise.min_size:
        expected = f"at least {size(promise.min_size)}"
        return [_critical("present", last, expected, size(last.size), AGAIN)]
    earlier = [one.size for one in before[-COMPARED:] if one.size]
    if not earlier:
        return []
    median = statistics.median(earlier)
    said = f"{size(last.size)}, the {len(earlier)} before have a median of {size(median)}"
    if last.size < median * promise.min_ratio:
        expected = f"at least {promise.min_ratio:.0%} of the median"
        remedy = "see what is missing; if it was deleted on purpose, lower min_ratio"
        return [_critical("present", last, expected, said, remedy)]
    if last.size > median * promise.max_ratio:
        expected = f"at most {promise.max_ratio:.0%} of the median"
        return [_finding("present", "warning", last, expected, said, GROWN)]
    return []


def _recorded(chosen: Candidate, last: Candidate, promise: Promise) -> list[Finding]:
    if not chosen.recorded:
        severity = "critical" if promise.require_record else "warning"
        return [_finding("present", severity, chosen, "a record beside it", "none", NO_RECORD)]
    if last is not chosen:
        return [_finding("present", "warning", last, "a record beside it", "none", NO_RECORD)]
    return []


def _copied(chosen: Candidate, before: t.Sequence[Candidate]) -> list[Finding]:
    """An older dump under a new name, by its ETag; where there are records, their sha256 tells."""
    for one in before[-COMPARED:]:
        same = (one.etag, one.size) == (chosen.etag, chosen.size)
        if same and chosen.etag and not chosen.recorded:
            found = f"the very bytes of {one.file}"
            return [_critical("present", chosen, "bytes of its own", found, AGAIN)]
    return []


def hidden(
    database: str, markers: t.Mapping[str, datetime], found: t.Sequence[Candidate]
) -> list[Finding]:
    """Delete markers on dumps newer than the newest that is left: `markers` by key."""
    last = found[-1].taken if found else datetime.min.replace(tzinfo=UTC)
    return [
        Finding(
            "present",
            "critical",
            key,
            "the newest backup can be read",
            f"it was deleted at {deleted:%F %T} UTC; its versions are still there",
            "find out who deleted it, then remove the delete marker",
            database,
        )
        for key, deleted in sorted(markers.items())
        if DUMP.search(key) and taken(key.rpartition("/")[2], deleted)[0] > last
    ]


def hours(age: timedelta) -> str:
    return f"{age.total_seconds() / 3600:.1f} h"


def _critical(level: str, one: Candidate, expected: str, found: str, remedy: str) -> Finding:
    return _finding(level, "critical", one, expected, found, remedy)


def _finding(
    level: str, severity: str, one: Candidate, expected: str, found: str, remedy: str
) -> Finding:
    return Finding(level, severity, one.key, expected, found, remedy, one.database)
