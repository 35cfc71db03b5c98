# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the record, the server and the bytes of one dump say of each other. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from . import _backups
from ._findings import Finding
from ._verification import AGAIN, EARLIEST_ZONE, LATEST_ZONE, Candidate

COMPARABLE = ("custom", "tar")
MORE = 5


@dataclass(frozen=True)
class Sums:
    """What the server keeps beside an object, in hex; None where it keeps nothing usable.

    `unused` has the names of checksums that are kept and cannot be compared with.
    """

    metadata_sha256: str | None = None
    sha256: str | None = None
    sha1: str | None = None
    crc32: str | None = None
    unused: tuple[str, ...] = ()
    md5: str | None = None
    part_sizes: tuple[int, ...] = ()
    multipart_md5: str | None = None
    server_encryption: str | None = None


@dataclass(frozen=True)
class Contents:
    """What was found inside a dump that was read to its end."""

    kind: str
    tables: t.Mapping[str, int] = field(default_factory=dict)
    complete: bool = True
    inserts: bool = False
    homeless: t.Sequence[str] = ()
    database: str | None = None
    created: datetime | None = None
    encrypted: bool = False


def record_findings(
    one: Candidate,
    record: _backups.Record,
    earlier: t.Sequence[_backups.Record],
    skew: timedelta,
) -> list[Finding]:
    """Whether the record is that of this very dump; `earlier` are those of the ones before."""
    found = []
    if (record.database, record.file) != (one.database, one.file):
        found.append((f"the record of {one.file}", f"that of {record.file} of {record.database}"))
    if record.size != one.size:
        found.append((f"{record.size} bytes, as recorded", f"{one.size} bytes"))
    if not record.verified:
        found.append(("a record written after reading back", "one that was never read back"))
    begun = _moment(record.started)
    if begun is None or (one.stamped and abs(begun - one.taken) > skew):
        found.append((f"begun {one.taken:%F %T} UTC, as its name says", f"begun {record.started}"))
    same = [one for one in earlier if one.file != record.file and one.sha256 == record.sha256]
    if same:
        found.append(("bytes of its own", f"the very bytes of {same[-1].file}"))
    return [_critical("present", one, expected, said) for expected, said in found]


def digest_findings(
    one: Candidate,
    record: _backups.Record | None,
    sums: Sums,
    read: t.Mapping[str, str],
    size: int,
) -> list[Finding]:
    """Compare what was read with everything that was said about it before.

    `read` has the digests of the bytes that came back, by name.
    """
    stated = [
        ("sha256 in the record", record.sha256 if record else None, "sha256"),
        ("sha256 in the metadata", sums.metadata_sha256, "sha256"),
        ("SHA256 that the server keeps", sums.sha256, "sha256"),
        ("SHA1 that the server keeps", sums.sha1, "sha1"),
        ("CRC32 that the server keeps", sums.crc32, "crc32"),
        ("MD5 in the ETag", sums.md5, "md5"),
        ("MD5 of the parts in the ETag", sums.multipart_md5, "multipart_md5"),
    ]
    compared = [(name, value, read[kind]) for name, value, kind in stated if value and kind in read]
    found = [
        _critical("intact", one, f"{value}, the {name}", f"{digest} in {size} bytes")
        for name, value, digest in compared
        if value.lower() != digest
    ]
    if one.size != size:
        found.append(_critical("intact", one, f"{one.size} bytes, as listed", f"{size} bytes"))
    if not compared:
        names = " and ".join(sums.unused)
        kept = f"only {names}, not computed here" if names else "none"
        found.append(
            _finding(
                *("intact", "unknown", one, "a checksum to compare with", kept),
                "a changed byte would not be noticed: store a record or a checksum with each dump",
            )
        )
    return found


def contents_findings(
    one: Candidate,
    record: _backups.Record | None,
    contents: Contents,
    expected: t.Sequence[str],
    before: _backups.Record | None,
) -> list[Finding]:
    """Whether what is inside is a whole dump of this database, with every table and row."""
    found = [*_origin(one, contents)]
    if not contents.complete:
        found.append(_critical("readable", one, "the line that ends a dump", "it breaks off"))
    if contents.homeless:
        lacking = f"nothing creates {some(contents.homeless)}"
        remedy = "dump without --data-only, and with --section=pre-data where sections are named"
        wanted_too = "what creates each table that it fills"
        found.append(_finding("readable", "critical", one, wanted_too, lacking, remedy))
    recorded = record.tables if record else {}
    wanted = {*recorded, *expected}
    missing = sorted(wanted - set(contents.tables))
    if missing and contents.inserts:
        found.append(
            _finding(
                *("readable", "unknown", one, "rows in COPY blocks", "INSERT statements"),
                "its rows cannot be counted: dump without --inserts",
            )
        )
    elif missing:
        found.append(_critical("readable", one, f"table {some(missing)}", "missing"))
    fewer = [
        f"{name} ({contents.tables[name]} of {count} rows)"
        for name, count in sorted(recorded.items())
        if name in contents.tables and contents.tables[name] != count
    ]
    if fewer:
        found.append(_critical("readable", one, "as many rows as recorded", some(fewer)))
    return found or _emptiness(one, contents, before)


def encryption_findings(
    one: Candidate, wanted: str, contents: Contents | None, sums: Sums
) -> list[Finding]:
    """Whether the dump is encrypted as required: by the client, the server, or not at all."""
    if wanted == "client" and contents and not contents.encrypted:
        found = "anybody who gets the object can read it"
        remedy = "encrypt dumps before they are uploaded, and delete this one"
        return [_finding("kept", "critical", one, "encrypted before the upload", found, remedy)]
    if wanted == "server" and not sums.server_encryption:
        found = "the server says nothing of encryption"
        remedy = "turn on the default encryption of the bucket, then upload again"
        return [_finding("kept", "critical", one, "encrypted by the server", found, remedy)]
    return []


def _origin(one: Candidate, contents: Contents) -> list[Finding]:
    found = []
    if contents.database is not None and contents.database != one.database:
        expected = f"a dump of {one.database}"
        found.append(_critical("readable", one, expected, f"a dump of {contents.database}"))
    created = contents.created if one.stamped else None
    if created is not None and not (
        one.taken - EARLIEST_ZONE <= created <= one.taken + LATEST_ZONE
    ):
        expected = f"made at {one.taken:%F %T} UTC, as its name says"
        found.append(
            _critical("readable", one, expected, f"made at {created:%F %T} of its machine's time")
        )
    return found


def _emptiness(one: Candidate, contents: Contents, before: _backups.Record | None) -> list[Finding]:
    if contents.tables or contents.inserts:
        return []
    if before and before.tables:
        expected = f"tables, as {before.file} has {len(before.tables)}"
        return [_critical("readable", one, expected, "none")]
    remedy = "if the database is to hold something, name its tables in expected_tables"
    return [_finding("readable", "warning", one, "tables", "none", remedy)]


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def some(names: t.Sequence[str]) -> str:
    rest = len(names) - MORE
    return ", ".join(names[:MORE]) + (f" and {rest} more" if rest > 0 else "")


def _critical(level: str, one: Candidate, expected: str, found: str) -> Finding:
    return _finding(level, "critical", one, expected, found, AGAIN)


def _finding(
    level: str, severity: str, one: Candidate, expected: str, found: str, remedy: str
) -> Finding:
    return Finding(level, severity, one.key, expected, found, remedy, one.database)
