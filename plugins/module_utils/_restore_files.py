# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Files out of a snapshot of restic: laid beside the live ones, or put into their place.

What is replaced is kept under another name. Whatever interrupts it: the same request goes on, since
a small file on the machine says what it was doing.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import typing as t
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from . import _backup_state, _backups, _errors, _file_backup, _recovery

# As `restore_to` says the moment; a snapshot has neither names nor transactions.
FORMS = "latest or a time with its zone as 2026-11-28T21:14:05Z"
CONFIGURATION_MINUTES = 15
FILES_MINUTES = 60


@dataclass(frozen=True)
class Means:
    """What a restore works with; tests hand in their own."""

    restic: t.Callable[..., _file_backup.Answer]
    beside: Path
    journal: Path
    clock: t.Callable[[], datetime]
    free: t.Callable[[Path], int] = field(default=lambda path: shutil.disk_usage(path).free)


@dataclass(frozen=True)
class Snapshot:
    name: str
    taken: datetime
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Content:
    """What of a snapshot is to be restored."""

    files: int
    size: int


@dataclass(frozen=True)
class Replacement:
    """The journal of a restore into place, and how far it came: laid, cleared, or finished."""

    path: str
    to: str
    started: str
    snapshot: str
    taken: str
    stage: str = ""

    @property
    def stamp(self) -> str:
        return self.started.replace("-", "").replace(":", "").replace("+0000", "z").lower()

    @property
    def staging(self) -> Path:
        """On the same file system, so that all that is left to do is to rename."""
        return Path(self.path).parent / f".{Path(self.path).name}_restored_{self.stamp}"

    @property
    def before(self) -> Path:
        return Path(f"{self.path}_before_{self.stamp}")


def lay_beside(to: str, path: str, means: Means) -> list[str]:
    """Into a directory of their own, of which the one before is removed; what a person is told."""
    begun = means.clock()
    snapshot = choose(to, means)
    content = contents(snapshot.name, path, means)
    remove(means)
    _lay(snapshot.name, path, content, means.beside, means)
    where, taken = f"{means.beside}{path}", _utc(snapshot.taken)
    named = shlex.quote(path or "<path>")
    return [
        f"{_told(content, path)} as of {taken}: {where}. {_took(begun, path, means)}",
        f"Compare: diff -r {shlex.quote(where)} {shlex.quote(path or '/')}",
        f"Into their place: the same playbook with -e restore_path={named}"
        f" -e restore_confirmed_path={named}. Remove the copy: with -e restore_remove=true.",
    ]


def remove(means: Means) -> bool:
    """Nothing is left beside; whether there was something."""
    if not means.beside.exists():
        return False
    shutil.rmtree(means.beside)
    return True


def put_in_place(to: str, path: str, means: Means) -> list[str]:
    """What was there before is kept beside; what a person is told."""
    _require_replaceable(path)
    restore = _unfinished(to, path, means)
    if restore is None:
        started = _utc(means.clock())
        snapshot = choose(to, means)
        _require_saved(snapshot, path)
        restore = Replacement(path, to, started, snapshot.name, _utc(snapshot.taken))
        _keep(restore, means)
    content = contents(restore.snapshot, path, means)
    if not restore.stage:
        shutil.rmtree(restore.staging, ignore_errors=True)
        _lay(restore.snapshot, path, content, restore.staging, means)
        restore = _keep(replace(restore, stage="laid"), means)
    if restore.stage == "laid":
        _clear(restore)
        restore = _keep(replace(restore, stage="cleared"), means)
    _fill(restore)
    # Before it is finished: nobody would come back for it.
    if restore.staging.exists():
        shutil.rmtree(restore.staging)
    _keep(replace(restore, stage="finished"), means)
    # Of one that was interrupted, since its beginning.
    took = _took(datetime.fromisoformat(restore.started), path, means)
    told = [f"{_told(content, path)} as of {restore.taken}: {path}. {took}"]
    if os.path.lexists(restore.before):
        told.append(
            f"What was there before is kept in {restore.before}; remove it when nobody needs it."
        )
    return told


def choose(to: str, means: Means) -> Snapshot:
    """The newest snapshot that is no younger than the moment."""
    wanted = _recovery.target(to)
    if wanted.kind not in ("latest", "time"):
        raise _errors.BackupError(f"restore_to is {to!r}; of files write {FORMS}.")
    listed = json.loads(_file_backup.done(means.restic("snapshots", "--json"), "snapshots"))
    found = [
        Snapshot(one["short_id"], datetime.fromisoformat(one["time"]), tuple(one["paths"]))
        for one in listed
    ]
    young = sorted(found, key=lambda one: one.taken)
    if wanted.kind == "time":
        moment = datetime.fromisoformat(wanted.value)
        young = [one for one in young if one.taken <= moment]
    if not young:
        oldest = min((one.taken for one in found), default=None)
        raise _errors.BackupError(
            f"no files of this machine were saved up to {to}; the oldest snapshot is of"
            f" {_utc(oldest)}: name a later moment."
            if oldest
            else "no files of this machine were ever saved: there is nothing to restore."
        )
    return young[-1]


def contents(snapshot: str, path: str, means: Means) -> Content:
    """How much there is of a path; without one, of all."""
    within = ["--recursive", snapshot, path] if path else [snapshot]
    listed = _file_backup.done(means.restic("ls", "--json", *within), "ls")
    nodes = [json.loads(line) for line in listed.splitlines()]
    named = [one for one in nodes if _is_in(one.get("path", ""), path)]
    if not named:
        raise _errors.BackupError(
            f"{path} is not among what was saved of this machine at that moment: look with"
            f" /opt/slipway/backup/files ls {snapshot}, and name the machine with --limit."
        )
    sizes = [int(one.get("size", 0)) for one in named if one.get("type") == "file"]
    return Content(len(sizes), sum(sizes))


def _is_in(name: str, path: str) -> bool:
    return bool(name) and (not path or name == path or name.startswith(f"{path}/"))


def _require_saved(snapshot: Snapshot, path: str) -> None:
    """What of it was not saved would be moved away, and nothing come in its place."""
    if not any(_is_in(path, saved.rstrip("/")) for saved in snapshot.paths):
        raise _errors.BackupError(
            f"{path} is not among what was saved of this machine as a whole, only"
            f" {', '.join(snapshot.paths)}: name one of these or what is in it, or leave"
            " restore_confirmed_path out and take what you miss from beside."
        )


def _require_replaceable(path: str) -> None:
    """Renaming replaces neither what is mounted nor what is elsewhere."""
    if os.path.realpath(path) != path:
        raise _errors.BackupError(
            f"{path} leads to {os.path.realpath(path)}: name that one, or restore beside."
        )
    if os.path.ismount(path):
        raise _errors.BackupError(
            f"{path} is a file system of its own, beside which nothing can be kept: leave"
            " restore_confirmed_path out, and copy what you miss from beside."
        )


def _lay(snapshot: str, path: str, content: Content, where: Path, means: Means) -> None:
    """Refuse before the first byte; each file is read again and compared afterwards."""
    where.parent.mkdir(parents=True, exist_ok=True)
    free = means.free(where.parent)
    if free < 1.1 * content.size:
        shown = _backups.human_size
        raise _errors.BackupError(
            f"{where.parent} has {shown(free)} free, but these files take"
            f" {shown(content.size)}: free or add space there; nothing was done."
        )
    where.mkdir(mode=0o700)
    # restic takes it for a pattern
    include = ["--include", re.sub(r"([*?\[\\])", r"\\\1", path)] if path else []
    words = ["restore", snapshot, "--target", str(where), *include, "--verify"]
    _file_backup.done(means.restic(*words), "restore")


def _clear(restore: Replacement) -> None:
    """The directory itself stays: services have it mounted, and site.yml has given it its owner."""
    path = Path(restore.path)
    if path.is_dir():
        restore.before.mkdir(mode=0o700, exist_ok=True)
        for each in path.iterdir():
            _aside(each, restore.before)
    elif os.path.lexists(path):
        path.rename(restore.before)


def _fill(restore: Replacement) -> None:
    path, source = Path(restore.path), Path(f"{restore.staging}{restore.path}")
    if not (path.is_dir() and source.is_dir()):
        if os.path.lexists(source):  # or it was renamed before whatever interrupted this
            path.parent.mkdir(parents=True, exist_ok=True)
            source.rename(path)
        return
    _adopt(source, path.stat())
    for each in source.iterdir():
        there = path / each.name
        if os.path.lexists(there):  # it came since everything was put aside
            _aside(there, restore.before)
        each.rename(there)


def _aside(item: Path, before: Path) -> None:
    number, place = 1, before / item.name
    while os.path.lexists(place):
        place = before / f"{item.name}_{number}"
        number += 1
    item.rename(place)


def _adopt(source: Path, live: os.stat_result) -> None:
    """On a new machine the same user may have another number; restic knows numbers alone."""
    saved = source.stat()
    if (saved.st_uid, saved.st_gid) == (live.st_uid, live.st_gid):
        return
    for folder, names, files in os.walk(source):
        for name in (*names, *files):
            there = os.lstat(f"{folder}/{name}")
            user = live.st_uid if there.st_uid == saved.st_uid else -1
            group = live.st_gid if there.st_gid == saved.st_gid else -1
            os.lchown(f"{folder}/{name}", user, group)
            if not os.path.islink(f"{folder}/{name}"):
                os.chmod(f"{folder}/{name}", there.st_mode & 0o7777)


def _unfinished(to: str, path: str, means: Means) -> Replacement | None:
    """What an interrupted run of the same request was doing."""
    try:
        found = Replacement(**json.loads(means.journal.read_text()))
    except (OSError, ValueError, TypeError):
        return None
    if found.stage == "finished" or (found.path, found.to) == (path, to):
        return found if found.stage != "finished" else None
    if found.stage:
        raise _errors.BackupError(
            f"the restore of {found.path} to {found.to} was interrupted: finish it with its own"
            " command first."
        )
    shutil.rmtree(found.staging, ignore_errors=True)
    return None


def _keep(restore: Replacement, means: Means) -> Replacement:
    _backup_state.write(means.journal, json.dumps(asdict(restore), indent=2) + "\n")
    return restore


def _told(content: Content, path: str) -> str:
    files = "1 file" if content.files == 1 else f"{content.files} files"
    return f"{path or 'Everything saved'}, {files}, {_backups.human_size(content.size)},"


def _took(begun: datetime, path: str, means: Means) -> str:
    """Against the target: configuration within a quarter of an hour, files within an hour."""
    target = CONFIGURATION_MINUTES if _is_in(path, "/etc") else FILES_MINUTES
    minutes = (means.clock() - begun).total_seconds() / 60
    missed = ", which is MISSED" if minutes > target else ""
    return f"It took {minutes:.1f} min; the target is {target} min{missed}."


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")
