# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is installed for the releases of one application, by what it was made from.

/srv/<name>/dependencies/<digest>/venv is the environment of every release whose lock, interpreter
and machine are the same: their `venv` is a link to it. It stays where it was made, so that every
path in it is right, and goes with the last release that links to it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ansible_collections.slipway.stack.plugins.module_utils import _application_commands

VENV = "venv"
_COMPLETE = "complete"


def size(folder: Path) -> int:
    """Bytes that the files below a folder take on the disk."""
    return sum(
        os.lstat(os.path.join(path, name)).st_blocks * 512
        for path, _folders, names in os.walk(folder)
        for name in names
    )


class Installed:
    """The environments below one application's directory."""

    def __init__(self, home: Path) -> None:
        self.releases = home / "releases"
        self.directory = home / "dependencies"

    def venv(self, digest: str) -> Path:
        return self.directory / digest / VENV

    def complete(self) -> list[str]:
        """Those that a release may link to without further ado."""
        return sorted(path.parent.name for path in self.directory.glob(f"*/{_COMPLETE}"))

    def of(self, release: Path) -> str:
        """What a release links to; nothing where its environment is its own."""
        try:
            target = Path(os.readlink(release / VENV))
        except OSError:
            return ""
        return target.parent.name

    def provide(self, release: Path, digest: str, user: str) -> Path | None:
        """Give a release its environment; where that is not there yet, where to make it.

        Without a digest it is the release's own.
        """
        if not digest:
            _application_commands.own(release / VENV, user, user)
            return release / VENV
        (release / VENV).symlink_to(Path("../..") / self.directory.name / digest / VENV)
        if digest in self.complete():
            return None
        if not self.directory.exists():
            _application_commands.own(self.directory, "root", user)
        venv = self.venv(digest)
        shutil.rmtree(venv.parent, ignore_errors=True)
        _application_commands.own(venv.parent, "root", user)
        _application_commands.own(venv, user, user)
        return venv

    def finish(self, digest: str) -> None:
        """Declare an environment complete."""
        complete = self.directory / digest / _COMPLETE
        noted = complete.with_suffix(".new")
        noted.write_text(f"{size(self.venv(digest))}\n", encoding="utf-8")
        # Half of it on the disk after a power cut would be used for ever.
        os.sync()
        noted.rename(complete)

    def taken(self, release: Path) -> int:
        """Bytes of a release's environment, as noted where it is shared: it has many files."""
        complete = self.directory / self.of(release) / _COMPLETE
        noted = complete.read_text(errors="replace").strip() if complete.is_file() else ""
        return int(noted) if noted.isdecimal() else size(release / VENV)

    def sweep(self) -> None:
        """Remove what no release links to."""
        if not self.directory.is_dir():
            return
        used = {self.of(release) for release in self.releases.iterdir()}
        for each in self.directory.iterdir():
            if each.name not in used:
                shutil.rmtree(each, ignore_errors=True)
