# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a backup is: its names, its record, which copies may go. Pure: no clock, disk or network."""

from __future__ import annotations

import json
import typing as t
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime, timedelta

from . import _errors

DUMP = ".dump"
ENCRYPTED = ".gpg"
RECORD = ".json"
PARTIAL = ".partial"
# What others reckon with; the rest is only shown.
TYPES = (
    *(("database", str), ("file", str), ("sha256", str), ("started", str)),
    *(("size", int), ("verified", bool), ("tables", dict)),
)
STAMP = "%Y%m%dT%H%M%SZ"
# Besides all of the last days: what docs/verification.md calls the ladder.
WEEKLY, MONTHLY = 4, 12
# What would be old only by a clock that jumped ahead is not: it is believed so far beyond the
# copies, until so many were taken by it.
DOUBT, AGREEING = timedelta(days=7), 3


@dataclass(frozen=True)
class Record:
    """What is known of one backup. It lies beside the dump, and is in S3 only once verified."""

    database: str
    file: str
    size: int
    sha256: str
    nonce: str
    started: str
    finished: str
    server_version: str
    client_version: str
    compression: str
    extensions: dict[str, str] = field(default_factory=dict)
    tables: dict[str, int] = field(default_factory=dict)
    # Those of _schema, asked in the snapshot of the dump; sequences may be past it.
    schema: str = ""
    revisions: dict[str, str] = field(default_factory=dict)
    sequences: dict[str, int] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    roles: str = ""
    # Of what is inside, where what was stored is encrypted; `sha256` and `size` are of the file.
    plain_sha256: str = ""
    remote: str | None = None
    verified: bool = False
    verified_at: str | None = None

    def as_json(self) -> str:
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"


@dataclass(frozen=True)
class Copy:
    """One dump as a directory or a bucket shows it, before anybody has read it."""

    database: str
    file: str
    taken: datetime
    verified: bool


def record(text: str, origin: str) -> Record:
    """The record in a text; one that is not a whole record is refused."""
    try:
        value = json.loads(text)
        known = {option.name for option in fields(Record)}
        found = Record(**{name: item for name, item in value.items() if name in known})
        _require_types(found)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _errors.BackupError(f"{origin} is not the record of a backup: {error}.") from error
    return found


def _require_types(found: Record) -> None:
    for name, kind in TYPES:
        if not isinstance(getattr(found, name), kind):
            raise TypeError(f"{name} is {getattr(found, name)!r}")
    for name, rows in found.tables.items():
        if not isinstance(rows, int):
            raise TypeError(f"tables.{name} is {rows!r}")


def file_name(started: datetime, nonce: str) -> str:
    """Sorts by time; the nonce keeps two runs of one second, or of two machines, apart."""
    return f"{started.astimezone(UTC).strftime(STAMP)}-{nonce}{DUMP}"


def taken(file: str) -> datetime | None:
    """When the dump of this name was begun; None if the name is not one of ours."""
    stamp, dash, rest = file.removesuffix(ENCRYPTED).partition("-")
    if not dash or not rest.endswith(DUMP):
        return None
    try:
        return datetime.strptime(stamp, STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None


def record_name(file: str) -> str:
    return file[: -len(DUMP)] + RECORD if file.endswith(DUMP) else file + RECORD


def require_directory_name(database: str) -> None:
    """A database is a directory here and in the bucket, so its name must be usable as one."""
    if not database or database.startswith(".") or any(sign in database for sign in "/\0\n"):
        raise _errors.BackupError(
            f"Database {database!r} cannot be backed up under its name: rename it so that it "
            "neither starts with a dot nor contains a slash or a line break."
        )


def newest(copies: t.Iterable[Copy]) -> Copy | None:
    return max(copies, key=lambda copy: (copy.taken, copy.file), default=None)


def believed(now: datetime, taken: t.Iterable[datetime]) -> datetime:
    """What the clock says, but not far beyond what the last few copies have been told by it."""
    last = sorted(taken)[-AGREEING:]
    return min(now, last[0] + DOUBT) if last else now


def prunable(
    copies: t.Iterable[Copy],
    now: datetime,
    retention_days: int,
    keep: int,
    weekly: int = 0,
    monthly: int = 0,
) -> list[Copy]:
    """Copies older than the retention, oldest first; the last `keep` verified ones never go.

    Of the last weeks and months, the first verified copy of each stays. An unverified copy goes
    only when something newer is verified: until then it may be all there is.
    """
    ordered = sorted(copies, key=lambda copy: (copy.taken, copy.file))
    verified = [copy for copy in ordered if copy.verified]
    kept = verified[-max(keep, 1) :]
    rungs = _rungs(verified, now, weekly, monthly)
    oldest_day = now - timedelta(days=retention_days)
    return [
        copy
        for copy in ordered
        if copy.taken < oldest_day
        and copy not in kept
        and copy not in rungs
        and len(kept) >= keep
        and copy.taken < kept[-1].taken
    ]


def _rungs(verified: list[Copy], now: datetime, weekly: int, monthly: int) -> list[Copy]:
    """The first copy of each of the last weeks and months, besides the current ones."""
    first: dict[tuple[str, int], Copy] = {}
    for copy in verified:  # oldest first
        weeks, months = _week(now) - _week(copy.taken), _month(now) - _month(copy.taken)
        for period, ago, count in (("week", weeks, weekly), ("month", months, monthly)):
            if count and ago <= count:
                first.setdefault((period, ago), copy)
    return list(first.values())


def _week(moment: datetime) -> int:
    return (moment.toordinal() - 1) // 7  # the first day of year 1 was a Monday


def _month(moment: datetime) -> int:
    return moment.year * 12 + moment.month


def bytes_needed(database_bytes: int, last_dump_bytes: int | None) -> int:
    """Room a dump may take: twice the last one, at most what the database itself takes.

    A compressed dump larger than its database does not occur: indexes are not dumped.
    """
    if last_dump_bytes is None:
        return database_bytes
    return min(database_bytes, 2 * last_dump_bytes)


def human_size(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
