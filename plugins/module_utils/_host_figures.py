# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a machine says of itself: its files below /proc, its mounts, its packages."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import re
import threading
import time
import typing as t
from pathlib import Path

# File systems that hold nothing of anybody's, or that cannot be written anyway.
PSEUDO = re.compile(
    r"autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|efivarfs|fuse\.\w*|fusectl"
    r"|hugetlbfs|mqueue|nsfs|proc|pstore|ramfs|rpc_pipefs|securityfs|squashfs|sysfs|tracefs|iso9660"
)
# What containers see, which lies on a disk that is listed by itself.
LAYERS = "overlay"
MEMORY = "tmpfs"
# What the kernel makes read-only when its disk fails.
DISK = re.compile(r"bcachefs|btrfs|exfat|ext[234]|f2fs|jfs|vfat|xfs|zfs")
MOUNT_SECONDS = 2.0
_OCTAL = re.compile(r"\\([0-7]{3})")
Answer = t.TypeVar("Answer")


@dataclasses.dataclass(frozen=True)
class Mount:
    """A mounted file system."""

    path: str
    kind: str
    device: str
    read_only: bool = False


def mounts(mountinfo: str, fstab: str = "") -> list[Mount]:
    """The file systems that can fill up, or should, each once however often it is mounted."""
    found: dict[str, Mount] = {}
    meant = {line[1] for line in map(str.split, fstab.splitlines()) if "ro" in _options(line)}
    for line in mountinfo.splitlines():
        left, _dash, right = line.partition(" - ")
        fields, kind = left.split(), right.split()[:1]
        if len(fields) < 6 or not kind or PSEUDO.fullmatch(kind[0]):
            continue
        path = _OCTAL.sub(lambda sign: chr(int(sign[1], 8)), fields[4])
        # The whole file system, and not one view of it that somebody wanted to be so.
        failed = "ro" in right.split()[-1].split(",") and DISK.fullmatch(kind[0]) is not None
        read_only = "ro" in fields[5].split(",") and not failed
        if kind[0] == LAYERS and path != "/":
            continue
        if read_only or fields[2] in found or (failed and fields[4] in meant):
            continue
        # A bind mount of a single file, as containers have them, shows the same device again.
        if guarded(functools.partial(os.path.isdir, path), MOUNT_SECONDS) is not False:
            found[fields[2]] = Mount(path, kind[0], fields[2], failed)
    return list(found.values())


def _options(line: list[str]) -> list[str]:
    return line[3].split(",") if len(line) > 3 and not line[0].startswith("#") else []


def space(path: str, seconds: float = MOUNT_SECONDS) -> os.statvfs_result | None:
    """Numbers of the file system, or None: a network's that is gone answers nobody ever again."""
    return guarded(lambda: os.statvfs(path), seconds)


def guarded(ask: t.Callable[[], Answer], seconds: float) -> Answer | None:
    """What is answered, or None where nothing is in time.

    Who waits for a network's file system that is gone cannot be interrupted, only left behind.
    """
    answer: list[Answer | OSError] = []

    def run() -> None:
        try:
            answer.append(ask())
        except OSError as error:
            answer.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if answer and isinstance(answer[0], OSError):
        raise answer[0]
    return t.cast("Answer | None", answer[0] if answer else None)


def size(path: str, seconds: float) -> int | None:
    """Bytes that a tree takes on its own file system, or None when the time was not enough."""
    end = time.monotonic() + seconds
    return guarded(lambda: _size(path, lambda: time.monotonic() > end), seconds)


def _size(path: str, late: t.Callable[[], bool]) -> int | None:
    total, seen, pending = 0, set(), [path]
    device = os.lstat(path).st_dev
    while pending:
        if late():
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


def newest_kernel(boot: Path) -> str:
    """The version of the newest kernel that is installed; nothing in a container."""
    names = [path.name.removeprefix("vmlinuz-") for path in boot.glob("vmlinuz-*")]
    return max(names, key=lambda name: [int(part) for part in re.findall(r"\d+", name)], default="")
