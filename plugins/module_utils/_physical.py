# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Also runs outside Ansible, where no run_command is. pylint: disable=ansible-bad-function
"""Physical backups: which kind is due, taken by pgBackRest, read back, and only then expired.

Installed on the database machine as a program.
"""

from __future__ import annotations

import configparser
import functools
import hashlib
import json
import os
import pathlib
import re
import subprocess
import time
import typing as t
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from . import _backup_ages, _backups, _errors, _recovery, _s3, _verify, _verify_options
from ._backup_state import (
    ERROR,
    FULL_WANTED,
    GIVEN_UP,
    ON_PURPOSE,
    PRUNE,
    WARNING,
    alone,
    now,
    read,
    say,
    turn,
    unprunable,
    utc,
    write,
)
from ._verify_request import Request, Verdict

STANZA = "main"
CONFIGURATION = pathlib.Path("/etc/pgbackrest/pgbackrest.conf")
# What the state calls the backups in each repository, among the databases of the other program.
CLUSTERS = ("cluster", "cluster-second")
KINDS = {"full": "full", "diff": "differential", "incr": "incremental"}
# Timers are not punctual, and a backup that is due in a moment would wait for the next.
SLACK = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
NOTHING_THERE = 2
# Beside pgBackRest's own folders, which it alone may fill.
VERIFICATIONS = "verifications"
LAST_WAL = "SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver"


@dataclass(frozen=True)
class Repository:
    """One of those that pgBackRest archives to: its number there, our name, the place."""

    number: int
    name: str
    target: _s3.Target


@dataclass(frozen=True)
class Settings:
    state: pathlib.Path
    port: int
    full_days: int
    differential_hours: int
    retention_days: int
    repositories: t.Sequence[Repository]
    ping_url: str = ""


@dataclass(frozen=True)
class Taken:
    """One backup, as pgBackRest tells of it."""

    label: str
    kind: str
    started: datetime
    size: int
    wal_start: str
    wal_stop: str


@dataclass(frozen=True)
class Means:
    """What a run works with besides its settings; tests hand in their own."""

    pgbackrest: t.Callable[..., str]
    verify: t.Callable[[Repository, datetime], Verdict]
    publish: t.Callable[[Repository, str, str], None]
    forget: t.Callable[[Repository, str], None]
    clock: t.Callable[[], datetime]
    say: t.Callable[[str], None]


def settings(path: pathlib.Path) -> Settings:
    """The configuration file. Neither the keys nor the passphrase are in it."""
    try:
        value = json.loads(path.read_text())
        return Settings(
            state=pathlib.Path(value["state"]),
            port=value["port"],
            full_days=value["full_days"],
            differential_hours=value["differential_hours"],
            retention_days=value["retention_days"],
            repositories=[
                Repository(number, name, target)
                for number, (name, target) in enumerate(
                    zip(CLUSTERS, _s3.targets(value), strict=False), start=1
                )
            ],
            ping_url=value.get("ping_url", ""),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _errors.BackupError(
            f"{path} cannot be used: {error!r}. Run site.yml to write it anew."
        ) from error


def taken(text: str) -> list[Taken]:
    """The backups in what `pgbackrest info --output=json` tells, oldest first."""
    stanza: dict[str, t.Any] = next(iter(json.loads(text, strict=False)), {"status": {}})
    if stanza["status"].get("code", 1) not in (0, NOTHING_THERE):
        why = _recovery.trouble(stanza)
        raise _errors.BackupError(
            f"The repository of the physical backups cannot be used: {why}. Try"
            " systemctl start slipway-archive, which proves that it can."
        )
    return [
        Taken(
            label=one["label"],
            kind=one["type"],
            started=datetime.fromtimestamp(one["timestamp"]["start"], UTC),
            size=one["info"]["repository"]["delta"],
            wal_start=one["archive"]["start"],
            wal_stop=one["archive"]["stop"],
        )
        for one in stanza.get("backup", [])
    ]


def due(backups: t.Sequence[Taken], options: Settings, moment: datetime, sound: bool) -> str:
    """The kind to take now; what builds on a damaged backup would be worth nothing."""

    def overdue(kinds: t.Collection[str], age: timedelta) -> bool:
        moments = [one.started for one in backups if one.kind in kinds]
        return not moments or moment - max(moments) > age - SLACK

    if not sound or overdue({"full"}, timedelta(days=options.full_days)):
        return "full"
    if overdue({"full", "diff"}, timedelta(hours=options.differential_hours)):
        return "diff"
    return "incr"


def run(options: Settings, means: Means) -> bool:
    """Take the backup that is due in each repository; whatever becomes of it goes into the state.

    One that fails does not keep the other from being backed up.
    """
    path = options.state / "physical.json"
    earlier = read(path).get("databases", {})
    results = {one.name: pending(earlier.get(one.name, {})) for one in options.repositories}
    state = {"started": utc(means.clock()), "finished": None, "databases": results}
    write(path, json.dumps(state, indent=2) + "\n")
    wish = options.state / FULL_WANTED
    full = asked_at(wish)
    for one in options.repositories:
        result = results[one.name]
        try:
            result.update(back_up(one, options, means, result["sound"] and not full))
        except (_errors.StackError, OSError) as error:
            result.update(ok=False, verified=False, detail=str(error))
        if not result["ok"]:
            means.say(f"{ERROR}Physical backup of {one.name} failed: {result['detail']}")
        result["finished"] = utc(means.clock())
        write(path, json.dumps(state, indent=2) + "\n")
    succeeded = all(result["ok"] for result in results.values())
    if succeeded and full and asked_at(wish) == full:
        wish.unlink()
    state["finished"] = utc(means.clock())
    write(path, json.dumps(state, indent=2) + "\n")
    _backup_ages.tell(options.state, options.ping_url if succeeded else "", means.say)
    return succeeded


def asked_at(wish: pathlib.Path) -> int:
    """When a full backup was asked for last, 0 if it was not.

    What is asked while a run is under way is for the next: this one had begun before.
    """
    try:
        return wish.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def pending(earlier: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The result of a run that never comes to its end."""
    return {
        "ok": None,
        "detail": "this run did not come to its end",
        "sound": earlier.get("sound", True),
        "last_success": earlier.get("last_success"),
    }


def back_up(
    repository: Repository, options: Settings, means: Means, sound: bool
) -> dict[str, t.Any]:
    """Take, read back, expire: in this order or not at all. The result for the state file."""
    begun = time.monotonic()
    before = listed(repository, means)
    require_past(before, repository.number, means.clock())
    kind = due(before, options, means.clock(), sound)
    means.pgbackrest("backup", f"--repo={repository.number}", f"--type={kind}")
    after = listed(repository, means)
    newest = after[-1]
    verdict = means.verify(repository, means.clock())
    result = {
        "ok": verdict.reached == "intact",
        "verified": verdict.reached == "intact",
        "sound": not any(one.severity == "critical" for one in verdict.findings),
        "kind": newest.kind,
        "label": newest.label,
        "size": newest.size,
        "wal_start": newest.wal_start,
        "wal_stop": newest.wal_stop,
        "seconds": round(time.monotonic() - begun, 1),
    }
    found = verdict.as_dict(means.clock(), "intact")
    record = {**result, "verified_at": utc(means.clock()), "verdict": found}
    means.publish(repository, newest.label, json.dumps(record, indent=2, sort_keys=True) + "\n")
    if not result["ok"]:
        return {**result, "detail": _verify_options.sentence([verdict], "intact")}
    target = repository.target
    detail = (
        f"{KINDS[newest.kind]}, read back whole from"
        f" {target.url(target.key('backup', STANZA, newest.label))}"
    )
    size = _backups.human_size(newest.size)
    means.say(f"{repository.name}: {size} in {result['seconds']} s, {detail}.")
    expire(repository, options, means, after)
    return {**result, "detail": detail, "last_success": utc(means.clock())}


def require_past(backups: t.Sequence[Taken], number: int, moment: datetime) -> None:
    """pgBackRest takes none that is older than any there ever was, and does not say what to do.

    It remembers for ever what it has expired, unless it is told to forget that too.
    """
    ahead = [one.label for one in backups if one.started > moment + MINUTE]
    if ahead:
        raise _errors.BackupError(
            f"{ahead[0]} was begun in the future, so nothing can follow it: if the clock is behind,"
            " set it; if it was ahead then, remove that backup by runuser -u postgres --"
            f" pgbackrest --stanza={STANZA} --repo={number} --repo{number}-retention-history=0"
            f" --set={ahead[0]} expire"
        )


def listed(repository: Repository, means: Means) -> list[Taken]:
    """What pgBackRest tells of one repository; the other may be out of reach."""
    return taken(means.pgbackrest("info", f"--repo={repository.number}", "--output=json"))


def expire(
    repository: Repository, options: Settings, means: Means, before: t.Sequence[Taken]
) -> bool:
    """Delete what no rule keeps. That this fails makes the new backup no worse."""
    moment = _backups.believed(means.clock(), [one.started for one in before])
    verdicts = {one.label: read_back(options.state, one.label) for one in before}
    gone, whole = ladder(before, options.retention_days, moment, verdicts)
    number = repository.number
    wal = f"--repo{number}-retention-archive"
    how = [f"--repo={number}", f"{wal}-type=full", f"{wal}={whole}"]
    try:
        for one in gone:
            means.pgbackrest("expire", *how, f"--set={one.label}")
        means.pgbackrest("expire", *how)
        after = {one.label for one in listed(repository, means)}
        for one in before:
            if one.label not in after:
                (options.state / VERIFICATIONS / f"{one.label}.json").unlink(missing_ok=True)
                means.forget(repository, one.label)
                means.say(
                    f"{repository.name}: deleted {one.label}, older than {options.retention_days}"
                    f" days and none of the {_backups.MONTHLY} monthly ones."
                )
    except _errors.StackError as error:
        means.say(f"{WARNING}Old physical backups stay, for room: {error} {ON_PURPOSE}")
        return False
    return True


def read_back(state: pathlib.Path, label: str) -> bool | None:
    """Whether a backup came back whole, as its record here says; None where nobody knows.

    That is of those which were taken by another machine, or while the store did not answer.
    """
    record = read(state / VERIFICATIONS / f"{label}.json")
    return True if record.get("verified") else None if record.get("sound", True) else False


def ladder(
    backups: t.Sequence[Taken],
    days: int,
    moment: datetime,
    verdicts: t.Mapping[str, bool | None] | None = None,
) -> tuple[list[Taken], int]:
    """What no rule keeps, the newest first, and how many full backups keep all WAL after them.

    The first full backup that is older than the days is where going back as far as that begins; of
    those before it the first of each month stays, alone and with the WAL that makes it whole. A
    damaged one is neither where there is another. One that nobody knows of is a rung like one that
    was read back, or a machine that was set up anew would delete all that it has not taken itself;
    but the first that is known to be whole stays beside it.
    """
    known = verdicts or {}
    fulls = [one for one in backups if one.kind == "full"]
    oldest_day = moment - timedelta(days=days)
    older = [one for one in fulls if one.started < oldest_day]
    trust = {True: 2, None: 1, False: 0}
    base = max(older, key=lambda one: (trust[known.get(one.label)], one.started), default=None)
    whole = fulls[fulls.index(base) :] if base else fulls
    kept = {one.label for one in whole}
    rungs = _rungs(fulls, moment, days, {one.label for one in fulls if known.get(one.label)})
    rungs |= _rungs(
        fulls, moment, days, {one.label for one in fulls if known.get(one.label) is not False}
    )
    # What builds on another is named after its full backup.
    gone = [
        one for one in backups if one.label.partition("_")[0] not in kept and one.label not in rungs
    ]
    return gone[::-1], len(whole)


def _rungs(fulls: t.Sequence[Taken], moment: datetime, days: int, sound: set[str]) -> set[str]:
    """The full backups that stay if those are the sound ones; none where there is no such one."""
    copies = [_backups.Copy(STANZA, one.label, one.started, one.label in sound) for one in fulls]
    old = _backups.prunable(copies, moment, days, 1, _backups.WEEKLY, _backups.MONTHLY)
    return {one.file for one in copies if one not in old} if sound else set()


def prune(options: Settings, means: Means) -> bool:
    """Delete what is older than promised, but nothing where the last backup failed."""
    fine = True
    for one in options.repositories:
        if why := unprunable(options.state / "physical.json", one.name):
            means.say(why)
            fine = False
            continue
        fine = expire(one, options, means, listed(one, means)) and fine
    return fine


def pgbackrest(*arguments: str) -> str:
    """Run pgBackRest; what it complained of first is the reason."""
    command = ["pgbackrest", f"--stanza={STANZA}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode == 0:
        return done.stdout
    raise _errors.BackupError(f"pgbackrest {arguments[0]} ended with {complaint(done.stderr)}.")


def complaint(said: str) -> str:
    """The first error; of a request that was refused also which it was."""
    _before, error, after = said.partition("ERROR: ")
    told = (after if error else said).strip()
    first = (told.splitlines() or ["no word"])[0].rstrip(":. ")
    request = re.search(r"Path/Query \*\*\*:\s+(\S+ \S+)", told)
    return f"{first}: {request[1]}" if request else first


def last_archived(port: int) -> str | None:
    """The segment that PostgreSQL says it archived last."""
    command = ["psql", "-XAtq", f"--port={port}", "--dbname=postgres", f"--command={LAST_WAL}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise _errors.BackupError(f"psql ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout.strip() or None


def passphrase(path: pathlib.Path) -> str:
    """That of the repository, from the file that pgBackRest itself reads."""
    found = configparser.ConfigParser(interpolation=None)
    try:
        found.read_string(path.read_text())
        return found["global"]["repo1-cipher-pass"]
    except (OSError, KeyError, configparser.Error) as error:
        raise _errors.BackupError(
            f"{path} names no passphrase: {error!r}. Run site.yml to write it anew."
        ) from error


def verification(
    options: Settings, client: _s3.Client, repository: Repository, moment: datetime
) -> Verdict:
    """What this backup has added to those before, read as a restore would read it."""
    request = Request(
        target=repository.target,
        databases=[STANZA],
        engine="pgbackrest",
        level="intact",
        last_wal=last_archived(options.port),
        cipher_pass=passphrase(CONFIGURATION),
        own_files_only=True,
    )
    (verdict,) = _verify.verify(client, request, moment)
    return verdict


def publish(
    options: Settings, client: _s3.Client, repository: Repository, label: str, record: str
) -> None:
    """What reading it back has found, on the machine and beside the backup."""
    local = options.state / VERIFICATIONS / f"{label}.json"
    local.parent.mkdir(exist_ok=True)
    write(local, record)
    key = repository.target.key(VERIFICATIONS, local.name)
    digest = hashlib.sha256(record.encode()).hexdigest()
    _s3.upload(client, repository.target, local, key, digest)


def forget(clients: t.Mapping[str, _s3.Client], repository: Repository, label: str) -> None:
    """What reading back found of a backup that is gone."""
    key = repository.target.key(VERIFICATIONS, f"{label}.json")
    _s3.delete(clients[repository.name], repository.target, [key])


def main(arguments: list[str]) -> int:
    """The configuration file, and perhaps that old backups are only to be deleted."""
    os.umask(0o027)
    try:
        options = settings(pathlib.Path(arguments[1]))
        action = prune if arguments[2:] == [PRUNE] else run
        with alone(options.state / "physical.lock"), turn(options.state / "turn"):
            clients = {one.name: _s3.client(one.target) for one in options.repositories}

            def verify(repository: Repository, moment: datetime) -> Verdict:
                return verification(options, clients[repository.name], repository, moment)

            def keep(repository: Repository, label: str, record: str) -> None:
                publish(options, clients[repository.name], repository, label, record)

            drop = functools.partial(forget, clients)
            means = Means(pgbackrest, verify, keep, drop, now, say)
            return 0 if action(options, means) else 1
    except _errors.StackError as error:
        say(f"{ERROR}Nothing was backed up: {error}")
        return 1
    except OSError as error:
        say(GIVEN_UP.format(error))
        return 1
