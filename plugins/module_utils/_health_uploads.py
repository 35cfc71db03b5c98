# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether visitors' uploads lie on one machine of several, where the others do not have them."""

from __future__ import annotations

import os
import typing as t

from . import _health
from ._health import OK, WARNING, Finding

KIND = "uploads"
OPTIONS: dict[str, t.Any] = {"path": {"type": "path", "required": True}}
LIMIT = "nothing, or what all machines share"
ADVICE = "keep them in a bucket (s3, holds: [media]), or mount one directory there on every machine"


def probe(check: _health.Check, deadline: _health.Deadline) -> list[Finding]:
    """An application without uploads has nothing there, and is left alone."""
    path, label = check["path"], check["label"]
    deadline.stage(f"looking into {path}")
    if os.path.ismount(path):
        return [Finding(label, OK, f"something is mounted at {path}", LIMIT)]
    if not _holds_a_file(path):
        return [Finding(label, OK, "none", LIMIT)]
    return [Finding(label, WARNING, f"{path} holds files of this machine alone", LIMIT, ADVICE)]


def _holds_a_file(path: str) -> bool:
    return any(files for _folder, _folders, files in os.walk(path))
