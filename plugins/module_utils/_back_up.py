# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The nightly run: every declared database dumped, uploaded, read back, and only then pruned.

Installed on the database machine as a program; one sentence per database goes to the journal.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import secrets
import shutil
import sys
import threading
import time
import typing as t
from dataclasses import dataclass, field, replace
from datetime import datetime

from . import _backup_ages, _backups, _dump, _errors, _gpg, _s3
from ._backup_state import (
    DRAFT,
    ERROR,
    GIVEN_UP,
    ON_PURPOSE,
    ONLY,
    PRUNE,
    WARNING,
    alone,
    flush,
    now,
    read,
    say,
    turn,
    unprunable,
    utc,
    write,
)
from ._backups import MONTHLY, WEEKLY

Clock = t.Callable[[], datetime]
# As _restore names what it moves aside and what it loads, also where the name was too long.
ASIDE = re.compile(r"_(?:before|restored)_[0-9]{8}t[0-9]{6}z$")


@dataclass(frozen=True)
class Settings:
    databases: list[str]
    directory: pathlib.Path
    state: pathlib.Path
    port: int
    retention_days: int
    keep: int
    reserve_percent: int
    targets: t.Sequence[_s3.Target]
    ping_url: str = ""
    hashed_tables: dict[str, list[str]] = field(default_factory=dict)
    store_retention_days: int = 0  # 0: nothing is ever deleted there
    gpg: t.Sequence[str] = ()  # knows the passphrase; empty: nothing is encrypted
    jobs: int = 1  # databases at once: a dump of the custom format is written by one process


@dataclass(frozen=True)
class Store:
    """The object store and the client that talks to it."""

    client: _s3.Client
    target: _s3.Target


@dataclass(frozen=True)
class Room:
    """What the backups that run at once may write: the disk shows it only when they have."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    promises: dict[pathlib.Path, int] = field(default_factory=dict)

    def promise(self, directory: pathlib.Path, database_bytes: int, options: Settings) -> None:
        """Wait for the others until there is room; refused is what does not even fit alone."""
        with self.changed:
            while True:
                promised = sum(self.promises.values())
                try:
                    needed = require_room(directory, database_bytes, options, promised)
                except _errors.BackupError:
                    if not self.promises:
                        raise
                    self.changed.wait()
                else:
                    self.promises[directory] = needed
                    return

    def give_back(self, directory: pathlib.Path) -> None:
        with self.changed:
            self.promises.pop(directory, None)
            self.changed.notify_all()


@dataclass(frozen=True)
class Means:
    """What a run works with besides its settings; tests hand in their own."""

    stores: t.Sequence[Store]
    clock: Clock
    say: t.Callable[[str], None]
    take: t.Callable[[Room, str, pathlib.Path, Settings, Clock], _backups.Record]
    there: t.Callable[[Settings], list[str]]
    room: Room = field(default_factory=Room)


def settings(path: pathlib.Path) -> Settings:
    """The configuration file. The keys are not in it: boto3 finds them in the environment."""
    try:
        value = json.loads(path.read_text())
        return Settings(
            databases=value["databases"],
            directory=pathlib.Path(value["directory"]),
            state=pathlib.Path(value["state"]),
            port=value["port"],
            retention_days=value["retention_days"],
            keep=value["keep"],
            reserve_percent=value["reserve_percent"],
            targets=_s3.targets(value),
            ping_url=value.get("ping_url", ""),
            hashed_tables=value.get("hashed_tables", {}),
            gpg=value.get("gpg", ()),
            store_retention_days=value.get("store_retention_days", 0),
            jobs=value.get("jobs") or max(1, (os.cpu_count() or 1) // 2),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _errors.BackupError(
            f"{path} cannot be used: {error!r}. Run site.yml to write it anew."
        ) from error


def run(options: Settings, means: Means) -> bool:
    """Back up each database; one that fails does not stop the others. True if all succeeded."""
    succeeded = attempt_all(options.databases, options, means, options.state / "state.json")
    _backup_ages.tell(options.state, options.ping_url if succeeded else "", means.say)
    return succeeded


def run_only(options: Settings, means: Means, names: list[str]) -> bool:
    """Back up some of the databases, besides the nightly run of all, whose switch is not told."""
    if unknown := sorted(set(names) - set(options.databases)):
        raise _errors.BackupError(
            f"{', '.join(unknown)} is none of the databases, {', '.join(options.databases)}."
        )
    # Of these alone: whoever has asked for others at once reads another.
    own, path = options.state / f"{ONLY}-{':'.join(names)}.json", options.state / "state.json"
    succeeded = attempt_all(names, options, means, own)
    known = read(path)
    known["databases"] = {**known.get("databases", {}), **read(own)["databases"]}
    write(path, json.dumps(known, indent=2) + "\n")
    _backup_ages.tell(options.state, "", means.say)
    return succeeded


def attempt_all(
    names: t.Sequence[str], options: Settings, means: Means, path: pathlib.Path
) -> bool:
    """Whatever becomes of each stands in the state file as soon as it is known."""
    earlier = read(options.state / "state.json").get("databases", {})
    results = {
        database: {
            "ok": None,
            "detail": "this run did not reach it",
            "last_success": earlier.get(database, {}).get("last_success"),
        }
        for database in names
    }
    state: dict[str, t.Any] = {
        "started": utc(means.clock()),
        "finished": None,
        "databases": results,
        "undeclared": undeclared(options, means),
    }
    write(path, json.dumps(state, indent=2) + "\n")
    if not means.stores:
        means.say(f"{WARNING}backup_s3 is empty: whoever loses this machine loses its backups too.")
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        runs = {pool.submit(attempt, database, options, means): database for database in results}
        for done in concurrent.futures.as_completed(runs):
            results[runs[done]].update(done.result())
            # The others go on whatever becomes of it, so that theirs must not be lost; the write
            # after the last one decides.
            with contextlib.suppress(OSError):
                write(path, json.dumps(state, indent=2) + "\n")
    state["finished"] = utc(means.clock())
    write(path, json.dumps(state, indent=2) + "\n")
    return all(result["ok"] for result in results.values())


def undeclared(options: Settings, means: Means) -> list[str]:
    """Databases that nobody dumps, for health to tell of.

    What a restore has moved aside, or is loading, is not one.
    """
    return [
        name
        for name in means.there(options)
        if name not in options.databases and not ASIDE.search(name)
    ]


def there(options: Settings) -> list[str]:
    """The databases of the server; none where none can be asked, which fails its dump anyway."""
    for database in options.databases:
        with (
            contextlib.suppress(_errors.BackupError),
            _dump.connected(database, options.port) as connection,
        ):
            return _dump.databases(connection)
    return []


def attempt(database: str, options: Settings, means: Means) -> dict[str, t.Any]:
    """One database, whatever happens to it: the result for the state file."""
    begun = time.monotonic()
    try:
        record, pruned = back_up(database, options, means)
    except (_errors.StackError, OSError) as error:
        means.say(f"{ERROR}Backup of {database} failed: {error}")
        return {
            "ok": False,
            "detail": str(error),
            "verified": False,
            "finished": utc(means.clock()),
        }
    seconds = round(time.monotonic() - begun, 1)
    where = record.remote or str(options.directory / database / record.file)
    size = _backups.human_size(record.size)
    means.say(f"{database}: {size} in {seconds} s, read back whole from {where}.")
    for table in sorted(set(options.hashed_tables.get(database, ())) - set(record.hashes)):
        means.say(f"{WARNING}{database}: hashed_tables names {table}, which is not there.")
    for copy in pruned:
        means.say(f"{database}: deleted {copy.file}, older than {options.retention_days} days.")
    for store in means.stores if options.store_retention_days else ():
        prune_store(database, options, means, store)
    return {
        "ok": True,
        "detail": f"read back whole from {where}",
        "file": record.file,
        "size": record.size,
        "sha256": record.sha256,
        "seconds": seconds,
        "remote": record.remote,
        "verified": record.verified,
        "finished": record.finished,
        "last_success": record.finished,
    }


def back_up(
    database: str, options: Settings, means: Means
) -> tuple[_backups.Record, list[_backups.Copy]]:
    """Dump, read back, upload, read back from there, record, prune: in this order or not at all."""
    _backups.require_directory_name(database)
    directory = options.directory / database
    directory.mkdir(mode=0o750, exist_ok=True)
    remove_remains(directory)
    try:
        record = means.take(means.room, database, directory, options, means.clock)
        if means.stores:
            record = send_everywhere(record, directory, options, means)
        else:
            record = replace(record, verified=True, verified_at=utc(means.clock()))
            write(directory / _backups.record_name(record.file), record.as_json())
    finally:
        means.room.give_back(directory)
    return record, prune(directory, options, means.clock())


def remove_remains(directory: pathlib.Path) -> None:
    """Of a run that was killed: what is not whole, and a record whose dump was not there yet."""
    for ending in (_backups.PARTIAL, DRAFT):
        for left in directory.glob(f"*{ending}"):
            left.unlink()
    for record in directory.glob(f"*{_backups.RECORD}"):
        dump = record.with_suffix(_backups.DUMP)
        # Whoever restores one of the bucket lays X.dump.gpg.json here; ours is X.json.
        ours = "." not in record.stem and _backups.taken(dump.name)
        if ours and not dump.exists():
            record.unlink()


def send_everywhere(
    record: _backups.Record, directory: pathlib.Path, options: Settings, means: Means
) -> _backups.Record:
    """Each place gets the dump whatever becomes of the other; the local record, verified by one."""
    failed: list[str] = []
    with outgoing(record, directory, options.gpg) as (path, draft):
        for store in means.stores:
            try:
                sent = send(path, draft, directory, store, means.clock)
                if not record.verified:
                    known = replace(
                        record, remote=sent.remote, verified=True, verified_at=sent.verified_at
                    )
                    write(directory / _backups.record_name(record.file), known.as_json())
                    record = known
            except (_errors.StackError, OSError) as error:  # of the store, or of a full disk here
                failed.append(str(error))
    if failed and record.verified:
        failed.append(f"It was read back whole from {record.remote} alone.")
    if failed:
        raise _errors.BackupError(" ".join(failed))
    return record


def send(
    path: pathlib.Path,
    stored: _backups.Record,
    directory: pathlib.Path,
    store: Store,
    clock: Clock,
) -> _backups.Record:
    """Store the dump, read it back, and only then its record, which says so."""
    key = store.target.key(stored.database, stored.file)
    _s3.upload(store.client, store.target, path, key, stored.sha256)
    require_same(stored, store, key)
    stored = replace(stored, remote=store.target.url(key), verified=True, verified_at=utc(clock()))
    publish(stored, directory / _backups.record_name(stored.file), store)
    return stored


@contextlib.contextmanager
def outgoing(
    record: _backups.Record, directory: pathlib.Path, gpg: t.Sequence[str]
) -> t.Iterator[tuple[pathlib.Path, _backups.Record]]:
    """What leaves the machine and the record of it: encrypted, where there is a passphrase.

    The copy that stays is not: whoever reads this disk reads the database itself.
    """
    dump = directory / record.file
    if not gpg:
        yield dump, record
        return
    file = f"{record.file}{_backups.ENCRYPTED}"
    draft = directory / f"{file}{_backups.PARTIAL}"
    try:
        _gpg.encrypt(gpg, dump, draft)
        if _gpg.decrypted_sha256(gpg, draft) != record.sha256:
            raise _errors.BackupError(f"{draft} does not decrypt to {dump}: try again.")
        sent = {"file": file, "size": draft.stat().st_size, "sha256": _dump.sha256(draft)}
        yield draft, replace(record, **sent, plain_sha256=record.sha256)  # type: ignore[arg-type]
    finally:
        draft.unlink(missing_ok=True)


def take(
    room: Room, database: str, directory: pathlib.Path, options: Settings, clock: Clock
) -> _backups.Record:
    """A dump under its final name only once it was read to its end; its record beside it."""
    started = clock()
    nonce = secrets.token_hex(4)
    file = _backups.file_name(started, nonce)
    partial = directory / f"{file}{_backups.PARTIAL}"
    try:
        with _dump.connected(database, options.port) as connection:
            room.promise(directory, _dump.size(connection), options)
            facts = _dump.facts(connection)
            client = _dump.client_for(facts.major)
            hashed = options.hashed_tables.get(database, ())
            counted = _dump.dump(connection, client, database, partial, hashed)
        _dump.require_readable(client, partial)
        flush(partial)
        record = _backups.Record(
            database=database,
            file=file,
            size=partial.stat().st_size,
            sha256=_dump.sha256(partial),
            nonce=nonce,
            started=utc(started),
            finished=utc(clock()),
            server_version=facts.server_version,
            client_version=_dump.client_version(client),
            compression=_dump.compression(client),
            extensions=facts.extensions,
            schema=facts.schema,
            sequences=facts.sequences,
            roles=_dump.roles(client, options.port),
            **vars(counted),
        )
        write(directory / _backups.record_name(file), record.as_json())
        partial.rename(directory / file)
        flush(directory)
    finally:
        partial.unlink(missing_ok=True)
    return record


def require_room(
    directory: pathlib.Path, database_bytes: int, options: Settings, promised: int = 0
) -> int:
    """Refuse before the first byte what would fill the disk that the database may live on.

    The bytes that the dump may take, besides those that are promised to others.
    """
    usage = shutil.disk_usage(directory)
    last = _backups.newest(copies(directory))
    last_bytes = (directory / last.file).stat().st_size if last else None
    needed = _backups.bytes_needed(database_bytes, last_bytes)
    if options.gpg and options.targets:  # until it was sent, the encrypted one lies beside it
        needed *= 2
    reserve = usage.total * options.reserve_percent // 100
    if usage.free < needed + promised + reserve:
        size = _backups.human_size
        raise _errors.BackupError(
            f"{directory} has {size(usage.free)} free, but the dump may take {size(needed)}"
            f" and {size(reserve)} ({options.reserve_percent} %) stay reserved: free or add space."
        )
    return needed


def require_same(record: _backups.Record, store: Store, key: str) -> None:
    """What the object store returns is what was dumped, byte for byte."""
    found, size = _s3.read_sha256(store.client, store.target, key)
    if (found, size) != (record.sha256, record.size):
        raise _errors.BackupError(
            f"{store.target.url(key)} came back as {size} bytes with sha256 {found}, but "
            f"{record.size} bytes with {record.sha256} were sent: do not trust this object store."
        )


def publish(record: _backups.Record, beside: pathlib.Path, store: Store) -> None:
    """The record of a verified backup goes to the object store last, so its presence means it."""
    key = store.target.key(record.database, beside.name)
    draft = beside.with_name(f"{beside.name}{_backups.PARTIAL}")
    try:
        write(draft, record.as_json())
        _s3.upload(store.client, store.target, draft, key, _dump.sha256(draft))
    finally:
        draft.unlink(missing_ok=True)
    if _s3.read_text(store.client, store.target, key) != record.as_json():
        raise _errors.BackupError(f"{store.target.url(key)} did not come back as it was sent.")


def copies(directory: pathlib.Path) -> list[_backups.Copy]:
    """The dumps that lie in a directory; one without a readable record counts as unverified."""
    found = []
    for path in directory.glob(f"*{_backups.DUMP}"):
        taken = _backups.taken(path.name)
        if taken is None:
            continue
        beside = path.with_name(_backups.record_name(path.name))
        verified = False
        with contextlib.suppress(OSError, _errors.BackupError):
            record = _backups.record(beside.read_text(), str(beside))
            verified = record.verified and record.size == path.stat().st_size
        found.append(_backups.Copy(directory.name, path.name, taken, verified))
    return found


def prune(directory: pathlib.Path, options: Settings, now: datetime) -> list[_backups.Copy]:
    there = copies(directory)
    moment = believed(there, now)
    gone = _backups.prunable(there, moment, options.retention_days, options.keep)
    for copy in gone:
        path = directory / copy.file
        path.unlink()
        path.with_name(_backups.record_name(copy.file)).unlink(missing_ok=True)
    return gone


def believed(there: t.Iterable[_backups.Copy], now: datetime) -> datetime:
    return _backups.believed(now, [copy.taken for copy in there if copy.verified])


def prune_stores(options: Settings, means: Means) -> bool:
    """Delete what no rule keeps in any bucket, but nothing of a database whose last run failed."""
    fine = True
    for database in options.databases:
        if why := unprunable(options.state / "state.json", database):
            means.say(why)
            fine = False
            continue
        for store in means.stores:
            fine = prune_store(database, options, means, store) and fine
    return fine


def prune_store(database: str, options: Settings, means: Means, store: Store) -> bool:
    """Delete what no rule keeps in the bucket. That this fails makes the new backup no worse."""
    days = options.store_retention_days
    try:
        there = stored(database, store)
        moment = believed(there, means.clock())
        for copy in _backups.prunable(there, moment, days, options.keep, WEEKLY, MONTHLY):
            key = store.target.key(database, copy.file)
            # Without its record it is no backup any more, should the rest not succeed.
            hidden = _s3.delete(store.client, store.target, [_backups.record_name(key), key])
            means.say(
                f"{database}: {'hid' if hidden else 'deleted'} {store.target.url(key)}, older than"
                f" {days} days and none of the {WEEKLY} weekly and {MONTHLY} monthly ones."
            )
    except _errors.StackError as error:
        means.say(f"{WARNING}Old dumps of {database} stay, for room: {error} {ON_PURPOSE}")
        return False
    return True


def stored(database: str, store: Store) -> list[_backups.Copy]:
    """The dumps in the bucket; one without a record was never read back."""
    names = {item.key for item in _s3.list_objects(store.client, store.target, database)}
    return [
        _backups.Copy(database, file, taken, _backups.record_name(key) in names)
        for key in names
        if (taken := _backups.taken(file := key.rpartition("/")[2]))
        and key == store.target.key(database, file)
    ]


def main(arguments: list[str]) -> int:
    """The configuration file; perhaps that old dumps are only to be deleted, or which to take."""
    os.umask(0o027)
    try:
        options = settings(pathlib.Path(arguments[1]))
        only = arguments[2:3] == [ONLY]
        # The nightly run waits for these, and must not be refused because of them.
        lock = contextlib.nullcontext() if only else alone(options.state / "lock")
        with lock, turn(options.state / "turn"):
            stores = [Store(_s3.client(each), each) for each in options.targets]
            means = Means(stores, now, say, take, there)
            if only:
                return 0 if run_only(options, means, arguments[3].split(":")) else 1
            action = prune_stores if arguments[2:] == [PRUNE] else run
            return 0 if action(options, means) else 1
    except _errors.StackError as error:
        say(f"{ERROR}Nothing was backed up: {error}")
        return 1
    except OSError as error:
        say(GIVEN_UP.format(error))
        return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv))
