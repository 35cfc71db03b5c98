# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What one machine has built on its way to those like it: all that belongs to the application.

A virtual environment works at the path that it was made at, which is the same everywhere.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

from ansible_collections.slipway.stack.plugins.module_utils import (
    _application_commands as _commands,
)
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError

OWNED = ("source", "venv")


def kind_of_machine(system: Path = Path("/etc/os-release")) -> str:
    """What two machines must share to run the same build."""
    told = dict(line.split("=", 1) for line in system.read_text().splitlines() if "=" in line)
    return " ".join([*(told[key].strip('"') for key in ("ID", "VERSION_ID")), platform.machine()])


def pack(application: str, release: Path, target: Path) -> None:
    """Write it into a folder of whoever fetches it, who can then read it."""
    # What is fast to make is fast to send as well.
    command = ["tar", "--create", "--use-compress-program=gzip -1", "--file=-", *OWNED]
    with target.open("xb") as file:
        os.fchmod(file.fileno(), 0o600)
        outcome = _commands.as_user(
            application, command, home=release, directory=release, writes=file
        )
        fetcher = target.parent.stat()
        os.fchown(file.fileno(), fetcher.st_uid, fetcher.st_gid)
    if outcome.code:
        raise StackError(
            f"{release.name} of {application} cannot be packed for other machines:"
            f" {outcome.tail(3)}"
        )


def unpack(application: str, archive: Path, release: Path) -> None:
    """Put it into the folders of a new release, as the user, who can write nowhere else."""
    command = ["tar", "--extract", "--gzip", "--preserve-permissions", "--no-same-owner"]
    with archive.open("rb") as file:
        outcome = _commands.as_user(
            application, [*command, "--file=-"], home=release, directory=release, reads=file
        )
    if outcome.code:
        raise StackError(
            f"What another machine has built of {application} cannot be unpacked: {outcome.tail(3)}"
        )
