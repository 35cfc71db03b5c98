# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What of an application's Celery runs on this machine, from /proc and the journal."""

from __future__ import annotations

import dataclasses
import os
import pwd
import re
import typing as t
from pathlib import Path

from . import _environment, _health, _health_process

# Beat says the first when it starts and the second for each task that it sends, if at all.
SAID = "beat: Starting|Sending due task"
_VALUED = "AbcdIlnOPQSsX"
_REVISION = re.compile(rb"(?:^|\0)RELEASE_REVISION=([^\0]*)")


@dataclasses.dataclass(frozen=True)
class Process:
    """A process that is a beat: of its own, or inside a worker."""

    pid: int
    parent: int
    stopped: bool


def is_beat(words: t.Sequence[str]) -> bool:
    """Whether a command line is `celery beat` or `celery worker --beat`.

    The application is known by where it runs, for its name is written in many ways, or nowhere.
    """
    names = [os.path.basename(word) for word in words]
    if "celery" not in names:
        return False
    options = words[names.index("celery") + 1 :]
    command = next((word for word in options if word in ("beat", "worker")), "")
    return command == "beat" or (command == "worker" and any(map(_asks_for_beat, options)))


def _asks_for_beat(word: str) -> bool:
    """`--beat`, or a B among short options, of which one with a value ends the word."""
    return word == "--beat" or re.match(rf"-[^-{_VALUED}]*B", word) is not None


def user_id(name: str) -> int | None:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


@dataclasses.dataclass(frozen=True)
class Machine:
    """This machine; the roots and the programs are given by tests."""

    proc: Path = Path("/proc")
    output: t.Callable[..., str] = _health_process.output
    host: str = dataclasses.field(default_factory=lambda: os.uname().nodename)

    def beats(self, home: Path, user: int | None) -> list[Process]:
        """The beats of the application, by its home or user; children count with their parent."""
        found = [
            process
            for process in map(self._process, self.proc.glob("[0-9]*"))
            if process and is_beat(self._words(process.pid)) and self._of(process.pid, home, user)
        ]
        pids = {process.pid for process in found}
        return [process for process in found if process.parent not in pids]

    def _process(self, folder: Path) -> Process | None:
        try:
            # The name in parentheses may hold anything.
            fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            return None
        return Process(int(folder.name), int(fields[1]), fields[0] in ("T", "t", "Z"))

    def _words(self, pid: int) -> list[str]:
        try:
            said = (self.proc / str(pid) / "cmdline").read_bytes()
        except OSError:
            return []
        return said.decode(errors="replace").split("\0")

    def _of(self, pid: int, home: Path, user: int | None) -> bool:
        folder, root = self.proc / str(pid), os.path.realpath(home)
        # Where it was started, all links resolved as they were then.
        if f"{os.path.realpath(folder / 'cwd')}/".startswith(f"{root}/"):
            return True
        return user is not None and folder.exists() and folder.stat().st_uid == user

    def revision_of(self, pid: int) -> str:
        """The release that a process runs, in its own words; nothing where it has none."""
        try:
            found = _REVISION.search((self.proc / str(pid) / "environ").read_bytes())
        except OSError:
            return ""
        return found[1].decode(errors="replace") if found else ""

    def main_process(self, unit: str, deadline: _health.Deadline) -> int:
        said = self.output(["systemctl", "show", "-P", "MainPID", "--", unit], deadline)
        return int(said.strip() or 0)

    def last_tick(self, unit: str, deadline: _health.Deadline) -> float | None:
        """When beat last sent a task, or began; nothing where the journal does not tell."""
        command = ["journalctl", "-u", unit, "-o", "short-unix", "-q", "-r", "-n", "1", "-g", SAID]
        try:
            said = self.output(command, deadline)
        except _health.Unhealthy:  # it ends with 1 when nothing is found
            return None
        return float(said.split()[0]) if said.strip() else None


def published_revision(home: Path) -> str:
    """The revision of the release that is published."""
    try:
        values = _environment.parse((home / "current/release.env").read_text(encoding="utf-8"))
    except OSError:
        return ""
    return values.get("RELEASE_REVISION", "")
