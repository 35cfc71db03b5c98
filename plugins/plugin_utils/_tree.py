# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A directory on the controller as a source: its digest, and one archive of it."""

from __future__ import annotations

import hashlib
import os
import tarfile
import typing as t
from pathlib import Path

IGNORED = {".git", ".hg", ".venv", "venv", "__pycache__", "node_modules", ".pytest_cache"}
IGNORED |= {".mypy_cache", ".ruff_cache", ".DS_Store", ".tox"}


def entries(directory: Path) -> t.Iterator[Path]:
    """Files and symlinks below a directory, sorted, without what belongs to a workplace."""
    for root, folders, files in os.walk(directory):
        links = [name for name in folders if (Path(root) / name).is_symlink()]
        folders[:] = sorted(name for name in folders if name not in IGNORED and name not in links)
        for name in sorted([*files, *links]):
            if name not in IGNORED and not name.endswith(".pyc"):
                yield Path(root) / name


def digest(directory: Path) -> str:
    """One SHA-256 over names, executable bits and contents."""
    summed = hashlib.sha256()
    for path in entries(directory):
        name = str(path.relative_to(directory))
        content = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
        kind = "link" if path.is_symlink() else "run" if os.access(path, os.X_OK) else "file"
        summed.update(f"{kind} {name} {len(content)}\n".encode())
        summed.update(content)
    return summed.hexdigest()


def pack(directory: Path, target: Path) -> None:
    """Write the same files into one archive."""
    with tarfile.open(target, "w:gz", compresslevel=1) as bundle:
        for path in entries(directory):
            bundle.add(path, arcname=str(path.relative_to(directory)), recursive=False)


def digest_file(path: Path) -> str:
    """The SHA-256 of an archive."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
