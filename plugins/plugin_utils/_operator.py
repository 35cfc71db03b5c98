# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who runs Ansible, on which controller and in which process."""

from __future__ import annotations

import getpass
import os
import socket
import typing as t
from pathlib import Path

# What AWX and Tower call the person who launched a job.
_NAMES = ("awx_user_name", "tower_user_name")
PROC = Path("/proc")
# No process is ever this one.
GONE = "0:gone:"


def holder(variables: t.Mapping[str, t.Any], proc: Path = PROC) -> dict[str, str]:
    """The run that this action belongs to; its main process is our parent, which has forked us.

    We outlive it when it is killed, and then belong to whoever takes orphans in.
    """
    parent = os.getppid()
    orphaned = _words(parent, proc) != _words(os.getpid(), proc)
    who = next((str(variables[name]) for name in _NAMES if variables.get(name)), "")
    return {
        "who": who or _user(),
        "controller": socket.gethostname(),
        "process": GONE if orphaned else process(parent, proc),
    }


def process(number: int, proc: Path = PROC) -> str:
    """A process for all times: its number, when it began, and since which boot that counts."""
    return f"{number}:{_began(number, proc)}:{_boot(proc)}"


def is_gone(held: t.Mapping[str, str], mine: t.Mapping[str, str], proc: Path = PROC) -> bool:
    """Whether the other run was on this very controller and is there no more."""
    if held["controller"] != mine["controller"]:
        return False
    number = held["process"].partition(":")[0]
    return number.isdecimal() and process(int(number), proc) != held["process"]


def _words(number: int, proc: Path) -> bytes:
    try:
        return (proc / str(number) / "cmdline").read_bytes()
    except OSError:
        return b""


def _began(number: int, proc: Path) -> str:
    try:
        # The second field is a name in brackets that may itself contain blanks.
        text = (proc / str(number) / "stat").read_text()
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]


def _boot(proc: Path) -> str:
    try:
        return (proc / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _user() -> str:
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
