# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether backups are kept as promised: the ladder, and what the bucket does with them. Pure."""

from __future__ import annotations

import itertools
import math
import typing as t
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ._findings import Finding

# A rung is missing when this much more than its period lies between two backups.
SLACK = 1.5
PERIODS = {"daily": timedelta(days=1), "weekly": timedelta(days=7), "monthly": timedelta(days=31)}
DAYS_OF_A_YEAR = 365
COLD = ("GLACIER", "DEEP_ARCHIVE")
UNFINISHED = timedelta(days=1)
EVERYBODY = "everybody"


@dataclass(frozen=True)
class Ladder:
    """How many backups of each period are promised, and since when."""

    daily: int = 30
    weekly: int = 4
    monthly: int = 12
    since: datetime | None = None

    def longest(self) -> timedelta:
        """How long the oldest must stay: twelve months are a year, not twelve times 31 days."""
        months = math.ceil(self.monthly * DAYS_OF_A_YEAR / 12)
        return timedelta(days=max(self.daily, 7 * self.weekly, months))


@dataclass(frozen=True)
class Answer:
    """What the server says to a question: a value, or why there is none."""

    value: t.Any = None
    problem: str | None = None  # unsupported, or unknown
    said: str = ""


@dataclass(frozen=True)
class Bucket:
    """The facts of a bucket, each as the server answered."""

    name: str
    versioning: Answer = Answer()
    object_lock: Answer = Answer()
    encryption: Answer = Answer()
    public: Answer = Answer(())
    lifecycle: Answer = Answer(())
    uploads: Answer = Answer(())
    markers: Answer = Answer()
    blocked: Answer = Answer(False)  # nothing that lets strangers in has any effect


def ladder(
    database: str, moments: t.Sequence[datetime], promise: Ladder, now: datetime
) -> list[Finding]:
    """The gaps between backups that are longer than the rungs allow; each is named once."""
    times = sorted(moment for moment in moments if moment <= now)
    gaps: dict[tuple[datetime, datetime], str] = {}
    for name, period in PERIODS.items():
        count = getattr(promise, name)
        if not count:
            continue
        begin = now - period * count
        for gap in _gaps(times, max(begin, promise.since or begin), period, promise.since):
            gaps.setdefault(gap, name)
    found = [
        Finding(
            *("kept", "critical", database, f"{name} backups"),
            f"none between {first:%F %T} and {last:%F %T} UTC",
            "find out why none was taken or who deleted it: it cannot be made up for",
            database,
        )
        for (first, last), name in sorted(gaps.items())
    ]
    return [*found, *_short(database, times, promise, now)]


def _short(
    database: str, times: list[datetime], promise: Ladder, now: datetime
) -> t.Iterator[Finding]:
    """A history that begins within what is promised: young, or deleted. Nobody else can tell."""
    if promise.since or not times:
        return
    short = [
        f"{getattr(promise, name)} {name}"
        for name, period in PERIODS.items()
        if times[0] > now - period * (getattr(promise, name) - SLACK)
    ]
    if short:
        yield Finding(
            *("kept", "warning", database, f"{', '.join(short)} backups"),
            f"the first is of {times[0]:%F %T} UTC",
            "set since to the day when backups began; if that was earlier, some are gone",
            database,
        )


def _gaps(
    times: list[datetime], begin: datetime, period: timedelta, since: datetime | None
) -> t.Iterator[tuple[datetime, datetime]]:
    """Pairs of neighbours too far apart; before the oldest backup only where `since` asks."""
    before = [moment for moment in times if moment < begin][-1:]
    inside = [moment for moment in times if moment >= begin]
    first = before or ([begin] if since else [])
    walked = [*first, *inside]
    for earlier, later in itertools.pairwise(walked):
        if later > begin and later - earlier > period * SLACK:
            yield earlier, later


def bucket_findings(
    bucket: Bucket, promise: Ladder, required: t.Collection[str], prefix: str, now: datetime
) -> list[Finding]:
    """What the bucket may do to backups, or lets others do."""
    return [
        *_unanswered(bucket),
        *_feature(bucket, "versioning", required, "overwritten or deleted backups are lost"),
        *_feature(bucket, "object_lock", required, "whoever has the keys can delete backups"),
        *_feature(bucket, "encryption", required, "the disks of the server hold backups in clear"),
        *_locked(bucket, promise, required),
        *strangers(bucket.name, replace(bucket.public, problem=None)),
        *_lifecycle(bucket, promise, prefix),
        *_uploads(bucket, now),
        *_deleted(bucket, promise, now),
    ]


def _unanswered(bucket: Bucket) -> t.Iterator[Finding]:
    for name in Bucket.__dataclass_fields__:
        answer = getattr(bucket, name)
        if isinstance(answer, Answer) and answer.problem:
            yield _unknown(bucket.name, name.replace("_", " "), answer)


def _unknown(name: str, about: str, answer: Answer) -> Finding:
    remedy = (
        "keep a second copy on a server that has it, or be content with level readable"
        if answer.problem == "unsupported"
        else "allow the key to read this of the bucket"
    )
    expected = f"an answer about {about}"
    return Finding("kept", str(answer.problem), name, expected, answer.said, remedy)


def _feature(
    bucket: Bucket, name: str, required: t.Collection[str], danger: str
) -> t.Iterator[Finding]:
    answer: Answer = getattr(bucket, name)
    if answer.problem or answer.value:
        return
    severity = "critical" if name in required else "warning"
    title = name.replace("_", " ")
    yield Finding(
        "kept", severity, bucket.name, f"{title} is on", f"off: {danger}", f"turn on {title}"
    )


def _locked(bucket: Bucket, promise: Ladder, required: t.Collection[str]) -> t.Iterator[Finding]:
    """A default lock shorter than the promise; `value` is the days it lasts, 0 without one."""
    days = bucket.object_lock.value
    longest = promise.longest().days
    if days and days < longest:
        severity = "critical" if "object_lock" in required else "warning"
        yield Finding(
            *("kept", severity, bucket.name, f"backups locked for {longest} days"),
            *(f"for {days} days", "lengthen the default retention of the bucket"),
        )


def strangers(name: str, answer: Answer) -> t.Iterator[Finding]:
    """The ways by which anybody may read a bucket or an object."""
    if answer.problem:
        yield _unknown(name, "its ACL", answer)
    for way in answer.value or ():
        yield Finding(
            *("kept", "critical", name, "nobody but the keys of the backup reads it"),
            *(f"{EVERYBODY} may, by {way}", "block public access, and rotate what was readable"),
        )


def _lifecycle(bucket: Bucket, promise: Ladder, prefix: str) -> t.Iterator[Finding]:
    longest = promise.longest().days
    for rule in bucket.lifecycle.value or ():
        if rule.get("Status") != "Enabled" or not _overlaps(_prefix(rule), prefix):
            continue
        name = f"{bucket.name}, lifecycle rule {rule.get('ID') or _prefix(rule) or 'unnamed'}"
        days = rule.get("Expiration", {}).get("Days")
        old = rule.get("NoncurrentVersionExpiration", {}).get("NoncurrentDays")
        if (days is not None and days < longest) or "Date" in rule.get("Expiration", {}):
            when = f"after {days} days" if days is not None else "on a date"
            yield Finding(
                *("kept", "warning" if _narrowed(rule) else "critical", name),
                *(f"backups stay {longest} days", f"deletes them {when}"),
                "lengthen the rule, or promise less",
            )
        if old is not None and old < promise.daily:
            yield Finding(
                *("kept", "warning", name, f"versions stay {promise.daily} days"),
                *(f"deletes old ones after {old} days", "lengthen the rule"),
            )
        if any(move.get("StorageClass") in COLD for move in rule.get("Transitions", ())):
            yield Finding(
                *("kept", "warning", name, "backups can be read at once"),
                *("moves them where a restore waits for hours", "keep the newest out of the rule"),
            )


def _prefix(rule: t.Mapping[str, t.Any]) -> str:
    narrow = rule.get("Filter", {})
    return str(
        rule.get("Prefix") or narrow.get("Prefix") or narrow.get("And", {}).get("Prefix") or ""
    )


def _narrowed(rule: t.Mapping[str, t.Any]) -> bool:
    """Whether the rule may pass our objects over; dumps are never among the small ones."""
    narrow = rule.get("Filter", {})
    return bool({*narrow, *narrow.get("And", {})} - {"And", "Prefix", "ObjectSizeGreaterThan"})


def _overlaps(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)


def _uploads(bucket: Bucket, now: datetime) -> t.Iterator[Finding]:
    for key, begun in bucket.uploads.value or ():
        if now - begun > UNFINISHED:
            yield Finding(
                *("kept", "warning", key, "no upload that was never finished"),
                *(f"one begun at {begun:%F %T} UTC", "abort it; let a lifecycle rule do so"),
            )


def _deleted(bucket: Bucket, promise: Ladder, now: datetime) -> t.Iterator[Finding]:
    for key, deleted in sorted((bucket.markers.value or {}).items()):
        if now - deleted < promise.longest():
            yield Finding(
                *("kept", "warning", key, "backups stay as long as promised"),
                *(f"deleted at {deleted:%F %T} UTC", "find out who deleted it"),
            )
