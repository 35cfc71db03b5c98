# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Also runs outside Ansible, where no run_command is. pylint: disable=ansible-bad-function
"""Media, configuration and other files: saved by restic, read back, and only then thinned out.

Installed as a program on each machine that has such files. A repository of restic names each
object by the sha256 of its bytes, so whatever a run has added can be read back without it.
"""

from __future__ import annotations

import functools
import json
import os
import pathlib
import subprocess
import time
import typing as t
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from . import _backup_ages, _backups, _errors, _s3
from ._backup_state import (
    ERROR,
    GIVEN_UP,
    ON_PURPOSE,
    PRUNE,
    VERIFY,
    WARNING,
    alone,
    now,
    read,
    say,
    unprunable,
    utc,
    write,
)

STATE = "files.json"
# What the state calls them in each place, among the databases of the other programs.
FILES = ("files", "files-second")
NAMED_BY_CONTENT = ("data", "index", "keys", "snapshots")
SOME_UNREAD = 3  # restic's exit code
READ_ONLY = ("--no-lock", "--no-cache")  # neither the repository nor this machine is written to
MINUTE = timedelta(minutes=1)
# A mount that is gone, or an emptied directory, is a backup of nothing.
COLLAPSED = 0.5


@dataclass(frozen=True)
class Settings:
    """What is saved, and one of the places where it goes: restic told of it, and the bucket."""

    paths: list[str]
    exclude: list[str]
    state: pathlib.Path
    restic: str
    keep: list[str]
    target: _s3.Target
    ping_url: str = ""
    required: t.Sequence[str] = ()  # of the paths: what somebody has named
    name: str = FILES[0]


# Exit code, output, complaints
Answer = tuple[int, str, str]


@dataclass(frozen=True)
class Means:
    """What a run works with besides its settings; tests hand in their own."""

    restic: t.Callable[..., Answer]
    client: _s3.Client
    clock: t.Callable[[], datetime]
    say: t.Callable[[str], None]


Place = tuple[Settings, Means]


def settings(path: pathlib.Path) -> list[Settings]:
    """The configuration file, for each place. Neither the keys nor the passphrase are in it."""
    try:
        value = json.loads(path.read_text())
        second = value.pop("second", None) or {}
        first = Settings(
            **{
                **value,
                "state": pathlib.Path(value["state"]),
                "target": _s3.target(value["target"]),
            }
        )
        more = _s3.targets({"s3": None, "second": second.get("target")})
        return [
            first,
            *(replace(first, name=FILES[1], restic=second["restic"], target=each) for each in more),
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _errors.BackupError(
            f"{path} cannot be used: {error!r}. Run site.yml to write it anew."
        ) from error


def run(places: t.Sequence[Place]) -> bool:
    """Save to each place, whatever becomes of the other; it goes into the state."""
    options, means = places[0]
    path = options.state / STATE
    earlier = read(path).get("databases", {})
    results = {each.name: pending(earlier.get(each.name, {})) for each, _means in places}
    state = {"started": utc(means.clock()), "finished": None, "databases": results}
    write(path, json.dumps(state, indent=2) + "\n")
    for each, its in places:
        result = results[each.name]
        begun = time.monotonic()
        try:
            result.update(back_up(each, its, result))
        except (_errors.StackError, OSError) as error:
            result.update(ok=False, verified=False, detail=str(error))
            means.say(f"{ERROR}Backup of the {each.name} failed: {error}")
        result["seconds"] = round(time.monotonic() - begun, 1)
        result["finished"] = utc(means.clock())
        write(path, json.dumps(state, indent=2) + "\n")
    state["finished"] = utc(means.clock())
    write(path, json.dumps(state, indent=2) + "\n")
    succeeded = all(result["ok"] for result in results.values())
    _backup_ages.tell(options.state, options.ping_url if succeeded else "", means.say)
    return succeeded


def pending(earlier: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The result of a run that never comes to its end."""
    kept = {name: earlier.get(name) for name in ("last_success", "read_until", "last_size")}
    return {"ok": None, "detail": "this run did not come to its end", **kept}


def back_up(options: Settings, means: Means, earlier: dict[str, t.Any]) -> dict[str, t.Any]:
    """Save, read back, thin out: in this order or not at all. The result for the state file."""
    paths = [path for path in options.paths if os.path.lexists(path)]
    if not paths:
        raise _errors.BackupError(
            f"none of {', '.join(options.paths)} is there: correct the paths of backup_files."
        )
    prepare(options, means)
    saved = save(options, means, paths)
    count, read_until = read_back(options, means, earlier["read_until"])
    done(means.restic("check"), "check")
    size, last = int(saved["total_bytes_processed"]), earlier["last_size"] or 0
    there, new = _backups.human_size(size), _backups.human_size(int(saved["data_added"]))
    where = options.target.url(options.target.key())
    detail = f"snapshot {saved['snapshot_id'][:8]}, {count} objects read back from {where}"
    means.say(f"{options.name}: {there}, {new} of them new, {detail}.")
    if size < COLLAPSED * last:
        means.say(
            f"{WARNING}{options.name}: {there} were there, {_backups.human_size(last)} the last"
            " time: see whether something is gone or not mounted."
        )
    missing = [path for path in options.required if not os.path.lexists(path)]
    if missing:
        raise _errors.BackupError(
            f"{', '.join(missing)} is not there, but named in stack_backup_paths: correct it, mount"
            " what is missing, or name it in group_vars of the machines that have it. The rest is"
            f" in {detail}."
        )
    thin_out(options, means)
    return {
        "ok": True,
        "verified": True,
        "detail": detail,
        "snapshot": saved["snapshot_id"],
        "paths": paths,
        "size": size,
        "last_size": size,
        "read_until": read_until,
        "last_success": utc(means.clock()),
    }


def prepare(options: Settings, means: Means) -> None:
    """Make the repository where nothing is; take away the lock of a run that was killed."""
    names = {item.key for item in _s3.list_objects(means.client, options.target)}
    if not names:
        done(means.restic("init"), "init")
    elif options.target.key("config") not in names:
        raise _errors.BackupError(
            f"{options.target.url(options.target.key('config'))} is missing, but not the rest of"
            " the repository: bring it back from its versions, or name an empty prefix."
        )
    done(means.restic("unlock"), "unlock")


def save(options: Settings, means: Means, paths: list[str]) -> dict[str, t.Any]:
    """Whatever vanished while it was read is no failure; what could not be read is one."""
    exclude = [f"--exclude={pattern}" for pattern in options.exclude]
    code, output, said = means.restic("backup", "--json", *exclude, "--", *paths)
    if code == SOME_UNREAD:
        unread = [item for item in map(_item, said.splitlines()) if os.path.lexists(item)]
        if unread:
            raise _errors.BackupError(f"restic could not read {', '.join(unread[:5])}.")
    else:
        done((code, output, said), "backup")
    summary = [line for line in output.splitlines() if '"summary"' in line]
    if not summary:
        raise _errors.BackupError("restic backup told no summary: see what it says by itself.")
    found: dict[str, t.Any] = json.loads(summary[-1])
    return found


def _item(line: str) -> str:
    """The path that a line of restic complains of; what names none is no complaint of a file."""
    try:
        return str(json.loads(line).get("item", ""))
    except (ValueError, AttributeError):
        return ""


def read_back(options: Settings, means: Means, since: str | None) -> tuple[int, str]:
    """Every object that the last success has not read yet, by the clock of the server alone."""
    objects = list(_s3.list_objects(means.client, options.target))
    fresh = [item for item in objects if since is None or utc(item.modified) >= since]
    count = 0
    for item in fresh:
        folder, _slash, rest = item.key[len(options.target.folder()) :].partition("/")
        if folder not in NAMED_BY_CONTENT:
            continue
        digest, size = _s3.read_sha256(means.client, options.target, item.key)
        if digest != rest.rpartition("/")[2]:
            raise _errors.BackupError(
                f"{options.target.url(item.key)} came back as {size} bytes with sha256 {digest},"
                " which its name is not: do not trust this object store."
            )
        count += 1
    return count, utc(max(item.modified for item in objects))


def prune(places: t.Sequence[Place]) -> bool:
    """Forget old snapshots in each place, but none where the last run failed."""
    fine = True
    for options, means in places:
        if why := unprunable(options.state / STATE, options.name):
            means.say(why)
            fine = False
            continue
        fine = thin_out(options, means) and fine
    return fine


def thin_out(options: Settings, means: Means) -> bool:
    """Forget the snapshots that no rule keeps. That this fails makes the new one no worse."""
    code, output, said = means.restic("snapshots", "--json")
    if not code and (
        why := _in_doubt(json.loads(output or "[]") or [], means.clock(), options.restic)
    ):
        means.say(f"{WARNING}Old snapshots of files stay: {why}")
        return False
    rules = ["--json", "--group-by=host", "--prune", *options.keep]
    code, output, said = means.restic("forget", *rules)
    if code:
        reason = _reason(said)
        means.say(f"{WARNING}Old snapshots of files stay, for room: {reason}. {ON_PURPOSE}")
        return False
    for group in json.loads(output.splitlines()[0]):
        for one in group["remove"] or []:
            taken = utc(datetime.fromisoformat(one["time"]))
            means.say(
                f"{options.name}: deleted the snapshot of {taken}, past {' '.join(options.keep)}."
            )
    return True


def _in_doubt(snapshots: t.Sequence[dict[str, t.Any]], clock: datetime, program: str) -> str:
    """Why nothing may be old: restic reckons from the newest snapshot, however far it is ahead."""
    taken = {datetime.fromisoformat(one["time"]): one["short_id"] for one in snapshots}
    newest = max(taken, default=clock)
    if newest - MINUTE <= clock == _backups.believed(clock, taken):
        return ""
    return (
        f"the newest, {taken[newest]}, is of {utc(newest)}, and it is {utc(clock)}, far from each"
        " other or from those before. A clock that jumped ahead is believed once three were taken"
        " by it; if it was wrong, set it, and remove each of that time:"
        f" {program} forget {taken[newest]}."
    )


def verify(options: Settings, means: Means, max_age: int) -> dict[str, t.Any]:
    """A verdict like those on databases; restic reads and decrypts every byte there is."""
    verdict: dict[str, t.Any] = {
        **{"database": options.name, "bucket": options.target.bucket, "verified": False},
        **{"level": "none", "key": None, "age": None, "findings": []},
    }

    def found(severity: str, expected: str, what: str, remedy: str) -> dict[str, t.Any]:
        where = options.target.url(options.target.key())
        said = {"severity": severity, "object": where, "expected": expected}
        return {**verdict, "findings": [{**said, "found": what, "remedy": remedy}]}

    code, output, said = means.restic(*READ_ONLY, "snapshots", "--json")
    if code:
        return found("unknown", "a list of snapshots", _reason(said), "mend what it says")
    snapshots = json.loads(output or "[]") or []
    if not snapshots:
        return found("critical", "a snapshot", "none", "run playbooks/back_up.yml")
    newest = max(snapshots, key=lambda one: datetime.fromisoformat(one["time"]))
    age = int((means.clock() - datetime.fromisoformat(newest["time"])).total_seconds())
    verdict.update(key=newest["short_id"], age=age)
    if age > max_age:
        old = f"one of {age / 3600:.1f} h"
        wish = f"a snapshot of at most {max_age / 3600:.1f} h"
        return found("critical", wish, old, "see journalctl -u slipway-backup-files")
    verdict["level"] = "present"
    code, output, said = means.restic(*READ_ONLY, "check", "--read-data")
    if code:
        reason = _reason(said or output)
        return found("critical", "every byte as it was sent", reason, "see restic check --help")
    return {**verdict, "level": "readable", "verified": True}


def restic(program: str, *words: str) -> Answer:
    try:
        ended = subprocess.run(
            [program, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise _errors.BackupError(
            f"{program} cannot be run ({error.strerror}): no files of this machine are saved, or"
            " site.yml has not set that up yet; run it first."
        ) from error
    return ended.returncode, ended.stdout, ended.stderr


def done(answer: Answer, action: str) -> str:
    code, output, said = answer
    if code:
        raise _errors.BackupError(f"restic {action} ended with {code}: {_reason(said)}.")
    return output


def _reason(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    told = next((line for line in lines if "Fatal" in line), lines[0] if lines else "no word")
    return told.removeprefix("Fatal: ").rstrip(".")


def main(arguments: list[str]) -> int:
    """The configuration file, and perhaps that the repository is only pruned, or verified."""
    os.umask(0o027)
    try:
        places = [
            (each, Means(functools.partial(restic, each.restic), _s3.client(each.target), now, say))
            for each in settings(pathlib.Path(arguments[1]))
        ]
        if arguments[2:3] == [VERIFY]:
            for options, means in places:
                say(json.dumps(verify(options, means, int(arguments[3]))))
            return 0
        action = prune if arguments[2:3] == [PRUNE] else run
        with alone(places[0][0].state / "files.lock"):
            return 0 if action(places) else 1
    except _errors.StackError as error:
        say(f"{ERROR}No file was backed up: {error}")
        return 1
    except OSError as error:
        say(GIVEN_UP.format(error))
        return 1
