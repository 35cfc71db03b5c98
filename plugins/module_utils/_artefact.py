# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What one machine has built on its way to those like it: all that belongs to the application.

A virtual environment works at the path that it was made at, which is the same everywhere.
"""

from __future__ import annotations

import os
import platform
import typing as t
from pathlib import Path

from ansible_collections.slipway.stack.plugins.module_utils import (
    _application_commands as _commands,
)
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError


def kind_of_machine(system: Path = Path("/etc/os-release")) -> str:
    """What two machines must share to run the same build."""
    told = dict(line.split("=", 1) for line in system.read_text().splitlines() if "=" in line)
    return " ".join([*(told[key].strip('"') for key in ("ID", "VERSION_ID")), platform.machine()])


def pack(application: str, home: Path, folders: t.Sequence[Path], target: Path) -> None:
    """Write folders into a file where whoever fetches it can read it."""
    # What is fast to make is fast to send as well.
    command = ["tar", "--create", "--use-compress-program=gzip -1", "--file=-"]
    with target.open("xb") as file:
        os.fchmod(file.fileno(), 0o600)
        outcome = _commands.as_user(
            application, [*command, *_below(home, folders)], home=home, writes=file
        )
        fetcher = target.parent.stat()
        os.fchown(file.fileno(), fetcher.st_uid, fetcher.st_gid)
    if outcome.code:
        raise StackError(
            f"What was built of {application} cannot be packed for other machines:"
            f" {outcome.tail(3)}"
        )


def unpack(application: str, home: Path, folders: t.Sequence[Path], archive: Path) -> None:
    """Put them where they were, as the user, who can write nowhere else."""
    command = ["tar", "--extract", "--gzip", "--preserve-permissions", "--no-same-owner"]
    with archive.open("rb") as file:
        outcome = _commands.as_user(
            application, [*command, "--file=-", *_below(home, folders)], home=home, reads=file
        )
    if outcome.code:
        raise StackError(
            f"What another machine has built of {application} cannot be unpacked: {outcome.tail(3)}"
        )


def _below(home: Path, folders: t.Sequence[Path]) -> list[str]:
    return [str(folder.relative_to(home)) for folder in folders]
