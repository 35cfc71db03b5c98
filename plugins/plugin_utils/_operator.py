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
        # No process is ever this one.
        "process": f"0:gone:{_place(proc)}" if orphaned else process(parent, proc),
    }


def process(number: int, proc: Path = PROC) -> str:
    """A process for all times: its number, when it began, and where that counts."""
    return f"{number}:{_began(number, proc)}:{_place(proc)}"


def is_gone(held: t.Mapping[str, str], mine: t.Mapping[str, str], proc: Path = PROC) -> bool:
    """Whether the other run was where we could see it, and is there no more.

    Two laptops may have one name, and images one machine-id: only who shares our boot and our PID
    namespace is surely seen. Whoever was here before a reboot is therefore left to the expiry.
    """
    number, _began_at, place = [*held["process"].split(":", 2), "", ""][:3]
    seen = place == _place(proc) != "" and held["controller"] == mine["controller"]
    return seen and number.isdecimal() and process(int(number), proc) != held["process"]


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


def _place(proc: Path) -> str:
    """Within what a number means one process: a boot of a kernel, and there a PID namespace."""
    try:
        boot = (proc / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {(proc / 'self/ns/pid').readlink()}"
    except OSError:
        return ""


def _user() -> str:
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
