# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The releases of one application on disk.

A release is complete when its record exists; everything else below releases/ is what a killed or
failed build left behind. `current` and `previous` are symlinks beside releases/.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import shutil
import typing as t
from pathlib import Path

from ansible_collections.slipway.stack.plugins.module_utils import _installed

RECORD = "release.json"
BUILT = "built"
GOOD = "good"
FAILED = "failed"
WITHDRAWN = "withdrawn"
# Revisions that were withdrawn, the last one last, for longer than their releases are kept.
WITHDRAWN_LIST = "withdrawn.json"
WITHDRAWN_KEPT = 50


@dataclasses.dataclass(frozen=True)
class Release:
    """One complete release."""

    name: str
    revision: str
    python: str
    result: str
    version: str = ""
    proved: str = ""
    reason: str = ""


class Releases:
    """The releases below one application's directory."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.directory = home / "releases"

    def path(self, name: str) -> Path:
        return self.directory / name

    def read(self, name: str) -> Release | None:
        try:
            record = json.loads((self.path(name) / RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        optional = {key: record.get(key, "") for key in ("python", "version", "proved", "reason")}
        return Release(name=name, revision=record["revision"], result=record["result"], **optional)

    def all(self) -> list[Release]:
        """Complete releases, newest first."""
        names = sorted(self._names(), reverse=True)
        return [release for release in map(self.read, names) if release]

    def linked(self, link: str) -> Release | None:
        """The release that `current` or `previous` points to."""
        name = self._named(link)
        return self.read(name) if name else None

    def _named(self, link: str) -> str:
        try:
            return Path(os.readlink(self.home / link)).name
        except OSError:
            return ""

    def finish(self, name: str, revision: str, python: str, version: str = "") -> None:
        """Declare a release complete: from now on it can be published."""
        record = {"revision": revision, "python": python, "version": version, "result": BUILT}
        self._write(name, record)

    def judge(self, name: str, result: str, reason: str = "", now: str = "") -> None:
        """Remember whether a release proved good, failed or was withdrawn, and when or why."""
        path = self.path(name) / RECORD
        record = json.loads(path.read_text(encoding="utf-8"))
        proved = now or record.get("proved", "")
        wanted = dict(record, result=result, reason=reason, proved=proved)
        if record != wanted:
            self._write(name, wanted)

    def mark(self, name: str, result: str, reason: str = "") -> None:
        """Judge a release for as long as a switch may still be taken back."""
        record = json.loads((self.path(name) / RECORD).read_text(encoding="utf-8"))
        was = {key: record.get(key, "") for key in ("result", "reason", "proved")}
        self._write(name, {**record, "was": was, "result": result, "reason": reason})

    def fail(self, name: str, reason: str) -> None:
        """Judge a release that is taken back for its own trouble.

        One that has served well before is not known to be at fault: the machine, or what it works
        with, may be. It is unproved until `restore` gives it its record back.
        """
        record = json.loads((self.path(name) / RECORD).read_text(encoding="utf-8"))
        served = record.get("was", {}).get("result") in (GOOD, WITHDRAWN)
        self.judge(name, BUILT if served else FAILED, reason)

    def restore(self) -> None:
        """Give back the records that a switch which was taken back or killed has changed.

        Who serves again was not withdrawn, and who does not serve after all was not on trial: only
        what failed by itself has failed.
        """
        current = self.linked("current")
        for release in self.all():
            serves = current is not None and release.name == current.name
            if release.result == (WITHDRAWN if serves else BUILT):
                record = json.loads((self.path(release.name) / RECORD).read_text(encoding="utf-8"))
                self._write(release.name, {**record, **record.get("was", {})})

    def last_good(self) -> Release | None:
        """What to go back to: of the good releases that do not serve, the one proved last."""
        current = self.linked("current")
        good = [
            release
            for release in self.all()
            if release.result == GOOD and (current is None or release.name != current.name)
        ]
        return max(good, key=lambda release: (release.proved, release.name), default=None)

    def is_withdrawn(self, revision: str) -> bool:
        """Whether a revision was rolled back and has not been good since."""
        good = {release.revision for release in self.all() if release.result == GOOD}
        return revision in self._withdrawn() and revision not in good

    def point(self, link: str, name: str | None) -> None:
        """Let a symlink point to a release, atomically; without a name it goes away."""
        path = self.home / link
        if name is None:
            if path.is_symlink():
                path.unlink()
            return
        beside = self.home / f".{link}.new"
        if beside.is_symlink():
            beside.unlink()
        beside.symlink_to(Path("releases") / name)
        beside.replace(path)

    def remove(self, name: str) -> None:
        shutil.rmtree(self.path(name), ignore_errors=True)
        _installed.Installed(self.home).sweep()

    def discard(self, name: str) -> None:
        """Remove a release that was refused, unless it has been good before."""
        release = self.read(name)
        if release is None or release.result != GOOD:
            self.remove(name)

    def refuse(self, name: str) -> str:
        """Discard a release unless it serves; says who goes on serving."""
        current = self.linked("current")
        if current is None or current.name != name:
            self.discard(name)
        return f"{current.name} goes on serving" if current else "there is none to go on with"

    def leftovers(self) -> list[str]:
        """What killed builds and failed releases left behind."""
        found = {name: self.read(name) for name in self._names() if name not in self._protected()}
        return sorted(
            name for name, release in found.items() if release is None or release.result == FAILED
        )

    def prune(self, keep: int) -> list[str]:
        """Remove what is neither serving, previous nor among the newest good ones."""
        good = [release.name for release in self.all() if release.result == GOOD]
        wanted = self._protected() | set(good[:keep])
        gone = [name for name in self._names() if name not in wanted]
        for name in gone:
            self.remove(name)
        return sorted(gone)

    def _protected(self) -> set[str]:
        """What serves stays, also when its record cannot be read."""
        return {self._named(link) for link in ("current", "previous")}

    def _names(self) -> list[str]:
        if not self.directory.is_dir():
            return []
        return [entry.name for entry in self.directory.iterdir() if entry.is_dir()]

    def _write(self, name: str, record: dict[str, t.Any]) -> None:
        if record["result"] in (GOOD, WITHDRAWN):
            self._note(record["revision"], withdrawn=record["result"] == WITHDRAWN)
        _replace(self.path(name) / RECORD, record)

    def _note(self, revision: str, withdrawn: bool) -> None:
        known = self._withdrawn()
        wanted = [one for one in known if one != revision] + [revision] * withdrawn
        if wanted != known:
            _replace(self.home / WITHDRAWN_LIST, wanted[-WITHDRAWN_KEPT:])

    def _withdrawn(self) -> list[str]:
        try:
            found = json.loads((self.home / WITHDRAWN_LIST).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []
        return found if isinstance(found, list) else []


def _replace(path: Path, content: t.Any) -> None:
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(content, sort_keys=True) + "\n", encoding="utf-8")
    with beside.open("rb") as file:
        os.fsync(file.fileno())
    beside.replace(path)


def new_name(revision: str, now: datetime.datetime) -> str:
    """<UTC time>-<revision>, so that names sort by age."""
    return f"{now.strftime('%Y%m%dT%H%M%SZ')}-{revision[:12]}"
