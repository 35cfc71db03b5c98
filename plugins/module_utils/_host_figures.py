# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a machine says of itself: its files below /proc, its mounts, its clock, its packages."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import socket
import struct
import threading
import time
import typing as t
from pathlib import Path

from . import _health, _health_process

# File systems that hold nothing of anybody's, or that cannot be written anyway.
PSEUDO = re.compile(
    r"autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|efivarfs|fuse\.\w*|fusectl"
    r"|hugetlbfs|mqueue|nsfs|proc|pstore|ramfs|rpc_pipefs|securityfs|squashfs|sysfs|tracefs|iso9660"
)
MEMORY = "tmpfs"
MOUNT_SECONDS = 2.0
_OCTAL = re.compile(r"\\([0-7]{3})")
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_NTP_EPOCH = 2_208_988_800  # seconds from 1900, where NTP begins, to 1970


@dataclasses.dataclass(frozen=True)
class Mount:
    """A mounted file system."""

    path: str
    kind: str
    device: str


def mounts(mountinfo: str) -> list[Mount]:
    """The file systems that can fill up, each once however often it is mounted."""
    found: dict[str, Mount] = {}
    for line in mountinfo.splitlines():
        left, _dash, right = line.partition(" - ")
        fields, kind = left.split(), right.split()[:1]
        if len(fields) < 6 or not kind or PSEUDO.fullmatch(kind[0]):
            continue
        path = _OCTAL.sub(lambda found: chr(int(found[1], 8)), fields[4])
        read_only = "ro" in fields[5].split(",")
        # A bind mount of a single file, as containers have them, shows the same device again.
        if not read_only and fields[2] not in found and os.path.isdir(path):
            found[fields[2]] = Mount(path, kind[0], fields[2])
    return list(found.values())


def space(path: str, seconds: float = MOUNT_SECONDS) -> os.statvfs_result | None:
    """Numbers of the file system, or None: a network's that is gone answers nobody ever again."""
    answer: list[os.statvfs_result | OSError] = []

    def ask() -> None:
        try:
            answer.append(os.statvfs(path))
        except OSError as error:
            answer.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    if answer and isinstance(answer[0], OSError):
        raise answer[0]
    return t.cast("os.statvfs_result | None", answer[0] if answer else None)


def size(path: str, until: t.Callable[[], bool]) -> int | None:
    """Bytes that a tree takes on its own file system, or None when the time was not enough."""
    total, seen, pending = 0, set(), [path]
    device = os.lstat(path).st_dev
    while pending:
        if until():
            return None
        with contextlib.suppress(FileNotFoundError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                found = entry.stat(follow_symlinks=False)
                if found.st_dev != device or (found.st_nlink > 1 and found.st_ino in seen):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                elif found.st_nlink > 1:
                    seen.add(found.st_ino)
                total += found.st_blocks * 512
    return total


def memory(meminfo: str) -> tuple[int, int]:
    """Bytes that are used, and bytes there are; what the kernel would give back is not used."""
    values = {key: int(rest.split()[0]) for key, _c, rest in _pairs(meminfo)}
    total = values["MemTotal"] * 1024
    return total - values["MemAvailable"] * 1024, total


def _pairs(text: str) -> t.Iterator[tuple[str, str, str]]:
    return (line.partition(":") for line in text.splitlines() if ":" in line)


def sntp(
    server: str, deadline: _health.Deadline, clock: t.Callable[[], float] = time.time
) -> float:
    """Seconds by which this clock is ahead of a time server's (RFC 4330)."""
    host, _colon, port = server.partition(":")
    deadline.stage(f"asking {server} for the time", "does a firewall drop UDP port 123?")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.settimeout(deadline.remaining())
        connection.connect((host, int(port or 123)))
        sent = clock()
        connection.send(b"\x23" + 47 * b"\0")
        answer = connection.recv(512)
        received = clock()
    if len(answer) < 48 or answer[1] == 0:
        raise _health.Unhealthy(f"{server} does not know the time itself")
    theirs = [value / 2**32 - _NTP_EPOCH for value in struct.unpack("!2Q", answer[32:48])]
    return ((sent - theirs[0]) + (received - theirs[1])) / 2


def chrony(tracking: str) -> float | None:
    """The offset in `chronyc -c tracking`, or None while chrony has no source."""
    fields = tracking.strip().split(",")
    if len(fields) < 14 or fields[2] == "0" or fields[13] == "Not synchronised":
        return None
    return float(fields[4])


def timesyncd(status: str) -> float | None:
    """The offset in `timedatectl timesync-status`, or None before there is one."""
    found = re.search(r"^\s*Offset: ([+-])(.+)$", status, re.MULTILINE)
    if not found:
        return None
    parts = re.findall(r"([\d.]+)(us|ms|min|s|h|d)\b", found[2])
    return float(f"{found[1]}1") * sum(float(number) * _UNITS[unit] for number, unit in parts)


def offset(
    deadline: _health.Deadline, output: t.Callable[..., str] = _health_process.output
) -> tuple[str, float] | None:
    """Who keeps this machine's clock, and what it says of it; None where nobody does."""
    for name, command, read in (
        ("chrony", ["chronyc", "-c", "tracking"], chrony),
        ("timesyncd", ["timedatectl", "--no-pager", "timesync-status"], timesyncd),
    ):
        with contextlib.suppress(_health.CannotCheck, _health.Unhealthy):
            found = read(output(command, deadline))
            if found is not None:
                return name, found
    return None


def newest_kernel(boot: Path) -> str:
    """The version of the newest kernel that is installed; nothing in a container."""
    names = [path.name.removeprefix("vmlinuz-") for path in boot.glob("vmlinuz-*")]
    return max(names, key=lambda name: [int(part) for part in re.findall(r"\d+", name)], default="")
