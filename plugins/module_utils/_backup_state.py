# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the programs that back up share: their state on disk, their turns, words for the journal."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pathlib
import sys
import typing as t
from datetime import UTC, datetime

from . import _errors

# systemd takes these for the priority of the line
ERROR = "<3>"
WARNING = "<4>"
# Not even the state could be written, as on a full disk.
GIVEN_UP = f"{ERROR}The run was given up: {{}}."
# The second argument of the programs: only delete what is old, with keys that may.
PRUNE = "prune"
ONLY = "only"
VERIFY = "verify"
ON_PURPOSE = "Where the keys may not on purpose, playbooks/prune_backups.yml deletes with others."
DRAFT = ".new"
# Beside the state: the next physical backup is a full one, because nothing builds on those before.
FULL_WANTED = "full_wanted"


def read(path: pathlib.Path) -> dict[str, t.Any]:
    """The last run's state; none, or one that was cut short, is as if there had been no run."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def unprunable(path: pathlib.Path, name: str) -> str:
    """Why nothing may be deleted of what a state names; empty where its last backup succeeded."""
    known = read(path).get("databases", {}).get(name)
    if known and known.get("ok") is True:
        return ""
    why = "the last backup failed" if known else "no backup was taken yet"
    return f"{ERROR}{name}: {why}, so nothing is deleted."


def write(path: pathlib.Path, text: str) -> None:
    """Whole or not at all, also when the power fails."""
    draft = path.with_name(f".{path.name}{DRAFT}")
    try:
        draft.write_text(text)
        flush(draft)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)  # half of it, where the disk is full
    flush(path.parent)


def flush(path: pathlib.Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def alone(path: pathlib.Path) -> t.Iterator[None]:
    """One run of a kind at a time; the lock goes with the process, however it ends."""
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _errors.BackupError(
                "Another backup is running: wait for it, this one was not begun."
            ) from error
        yield


@contextlib.contextmanager
def turn(path: pathlib.Path) -> t.Iterator[None]:
    """Kinds of backups wait for each other, so that the machine carries one load at a time."""
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def now() -> datetime:
    return datetime.now(UTC)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
