# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Judges a repository of pgBackRest by its own files, as pgbackrest verify does not."""

from __future__ import annotations

import concurrent.futures
import time
import typing as t
from dataclasses import replace
from datetime import datetime

from . import _decode, _errors, _pgbackrest, _retention, _s3, _verification, _wal
from ._repository import FULL, Repository, Sums, sums_of
from ._verify_request import Request, Verdict

READERS = 8


def judge(
    s3: _s3.Client,
    request: Request,
    name: str,
    found: t.Sequence[_verification.Stored],
    _bucket: _retention.Bucket,
    now: datetime,
) -> Verdict:
    """A verdict on one stanza: on its newest backup, and on the WAL from there on."""
    begun = time.monotonic()
    sizes = {item.key: item.size for item in found}
    here = Repository(s3, request.target, name, sizes, request.cipher_pass)
    newest = _judged(here, request, now)
    seconds = time.monotonic() - begun
    verdict = Verdict(name, None, here.found, bytes_read=here.bytes_read, seconds=seconds)
    if newest is None:
        return verdict
    key, size = f"{here.root}/{newest.label}", newest.repo_size
    return replace(verdict, key=key, taken=newest.started, size=size)


def _judged(here: Repository, request: Request, now: datetime) -> _pgbackrest.Set | None:
    """Fill in what is found; return the backup that a restore would take."""
    info = here.info(f"{here.root}/backup.info", here.passphrase)
    if info is None:
        return None
    sets = _pgbackrest.sets(info)
    if not sets:
        here.add("present", "critical", here.stanza, "a backup", "none", FULL)
        return None
    newest = sets[-1]
    _present(here, newest, request.promise, now)
    for one in sets:
        _chain(here, one, {other.label for other in sets})
    archive = here.info(f"{here.archive}/archive.info", here.passphrase)
    here.archive_passphrase = _pgbackrest.passphrase(archive)
    manifest_at = f"{here.root}/{newest.label}/backup.manifest"
    manifest = here.info(manifest_at, _pgbackrest.passphrase(info))
    segments = _continuous(here, sets, request.last_wal)
    if request.level != "present":
        files = _pgbackrest.files(manifest, newest.label) if manifest else []
        if request.own_files_only:
            files = [file for file in files if file.label == newest.label]
            segments = _since(sets[-2:-1], segments)
        _read(here, manifest or {}, files, segments)
    moments = [one.started for one in sets]
    here.found += _retention.ladder(here.stanza, moments, request.ladder, now)
    return newest


def _present(
    here: Repository, newest: _pgbackrest.Set, promise: _verification.Promise, now: datetime
) -> None:
    age, hours = now - newest.started, _verification.hours
    if newest.started > now + promise.clock_skew:
        moment = f"begun at {newest.started:%F %T} UTC"
        here.add("present", "critical", newest.label, "begun in the past", moment, "set clocks")
    elif age > promise.max_age:
        expected = f"at most {hours(promise.max_age)} old"
        here.add("present", "critical", newest.label, expected, f"{hours(age)} old", FULL)
    if newest.failed_pages:
        remedy = "find the damaged pages with pg_checksums, restore what they held"
        here.add("present", "critical", newest.label, "sound pages", "page errors", remedy)


def _chain(here: Repository, one: _pgbackrest.Set, labels: t.Collection[str]) -> None:
    """A label must have its files, and the backup that it builds on."""
    if one.prior and one.prior not in labels:
        found = "not in backup.info"
        here.add("present", "critical", one.label, f"its base {one.prior}", found, FULL)
    begin = f"{here.root}/{one.label}/"
    if not any(key.startswith(begin) for key in here.sizes):
        here.add("present", "critical", one.label, "its files", "none", FULL)


def _continuous(
    here: Repository, sets: t.Sequence[_pgbackrest.Set], last_wal: str | None
) -> list[_wal.Archived]:
    """Look for gaps from the first backup of the newest's chain to the last segment."""
    newest = sets[-1]
    folder = f"{here.archive}/{newest.archive}/"
    segments = [
        segment
        for key, size in here.sizes.items()
        if key.startswith(folder) and (segment := _wal.archived(key, size))
    ]
    base = next((one for one in sets if one.label == newest.full()), newest)
    start, stop = _wal.position(base.wal_start or ""), _wal.position(newest.wal_stop or "")
    if start is None or stop is None:
        remedy = "back up online: without WAL nothing after the backup can be restored"
        here.add("present", "unknown", newest.label, "the WAL that it needs", "no name", remedy)
        return []
    whole = {one.position: one for one in segments if not one.partial}
    if start in whole and not _followed(here, whole[start]):
        return []
    end = max([*whole, stop, _wal.last(last_wal or "") or stop])
    history = _history(here, folder, end.timeline) if start.timeline < end.timeline else {}
    if history is not None:
        for first, until in _wal.missing(start, end, whole, history):
            found = f"{first.name()} to {until.name()} missing"
            remedy = f"{FULL}: nothing after the gap can be restored"
            here.add("present", "critical", folder, "WAL without a gap", found, remedy)
    for one in segments:
        if not one.size:
            here.add("present", "critical", one.key, "a segment", "an empty object", FULL)
    for key in _wal.contradictory(segments):
        remedy = "find out which other server archives here: pgBackRest refuses to restore either"
        here.add("present", "critical", key, "one segment of its name", "several", remedy)
    return [one for place, one in sorted(whole.items()) if start <= place]


def _followed(here: Repository, first: _wal.Archived) -> bool:
    """Whether segments have the size by which they are counted; damaged ones are told later."""
    chunks: t.Iterator[bytes] = iter(())
    try:
        chunks = here.archived(first.key)
        size = _wal.segment_bytes(next(chunks, b"")) or _wal.SEGMENT_BYTES
    except _errors.StackError:
        return True
    finally:
        _decode.close(chunks)
    if size == _wal.SEGMENT_BYTES:
        return True
    expected = f"segments of {_wal.SEGMENT_BYTES >> 20} MiB"
    remedy = "restore it as a trial: whether one is missing cannot be told here"
    here.add("present", "unknown", first.key, expected, f"of {size >> 20} MiB", remedy)
    return False


def _history(here: Repository, folder: str, timeline: int) -> dict[int, int] | None:
    """Where the timelines before were left; None if nobody knows."""
    key = f"{folder}{timeline:08X}.history"
    if key not in here.sizes:
        remedy = f"{FULL}: without it no timeline after the first can be followed"
        here.add("present", "critical", key, "the history of its timeline", "none", remedy)
        return None
    try:
        text = b"".join(here.archived(key))
    except _errors.StackError as error:
        here.add("present", "unknown", key, "a history", str(error), "mend what it says")
        return None
    return _wal.switches(text.decode(errors="replace"))


def _since(
    before: t.Sequence[_pgbackrest.Set], segments: t.Sequence[_wal.Archived]
) -> list[_wal.Archived]:
    """The segments that were not read yet when the backup before was."""
    first = next((_wal.position(one.wal_stop or "") for one in before), None)
    return [one for one in segments if first is None or first <= one.position]


def _read(
    here: Repository,
    manifest: _pgbackrest.Sections,
    files: t.Sequence[_pgbackrest.File],
    segments: t.Sequence[_wal.Archived],
) -> None:
    passphrase = _pgbackrest.passphrase(manifest)
    alone, bundles = _placed(here, files)
    suffix = _pgbackrest.compression(manifest)
    # A cluster has thousands of small files, and each waits for an answer.
    with concurrent.futures.ThreadPoolExecutor(READERS) as readers:
        reading = [
            *(
                readers.submit(here.compare, key, sums_of(file), passphrase)
                for key, file in alone.items()
            ),
            *(
                readers.submit(here.compare_bundle, key, inside, suffix, passphrase)
                for key, inside in bundles.items()
            ),
            *(readers.submit(_compare_segment, here, one) for one in segments),
        ]
        for done in reading:
            done.result()


def _placed(
    here: Repository, files: t.Sequence[_pgbackrest.File]
) -> tuple[dict[str, _pgbackrest.File], dict[str, list[_pgbackrest.File]]]:
    """The files that are objects of their own, and those that share one, by their keys."""
    alone: dict[str, _pgbackrest.File] = {}
    bundles: dict[str, list[_pgbackrest.File]] = {}
    for file in files:
        key = _pgbackrest.place(file, here.root, here.sizes)
        if key is None:
            # What is empty is not stored beside bundles.
            if file.size:
                name = f"{here.root}/{file.label}/{file.name}"
                here.add("present", "critical", name, "a file of the backup", "none", FULL)
        elif file.in_blocks:
            remedy = "run pgbackrest verify, and read its text, not its exit code"
            here.add("intact", "unknown", key, "whole files", "blocks", remedy)
        elif file.bundle is not None:
            bundles.setdefault(key, []).append(file)
        else:
            alone[key] = file
    return alone, bundles


def _compare_segment(here: Repository, one: _wal.Archived) -> None:
    here.compare(one.key, Sums(None, one.sha1, _wal.SEGMENT_BYTES), here.archive_passphrase)
