# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a verification is asked, and what it answers."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field
from datetime import datetime

from . import _findings, _read_dump, _retention, _s3, _verification
from ._findings import Finding


@dataclass(frozen=True)
class Request:
    """What to judge, how far, and by what measure."""

    target: _s3.Target
    databases: t.Sequence[str] = ()
    engine: str = "dump"
    level: str = "kept"
    promise: _verification.Promise = field(default_factory=_verification.Promise)
    ladder: _retention.Ladder = field(default_factory=_retention.Ladder)
    required: t.Sequence[str] = ()
    encryption: str = "none"
    parallel: int = 4
    last_wal: str | None = None
    cipher_pass: str | None = field(default=None, repr=False)
    own_files_only: bool = False
    tools: _read_dump.Tools = field(default_factory=_read_dump.Tools)


@dataclass(frozen=True)
class Verdict:
    """How far one database's newest backup may be believed."""

    database: str
    reached: str | None
    findings: list[Finding]
    key: str | None = None
    taken: datetime | None = None
    size: int = 0
    bytes_read: int = 0
    seconds: float = 0.0
    bucket: str = ""

    def as_dict(self, now: datetime, level: str) -> dict[str, t.Any]:
        age = None if self.taken is None else int((now - self.taken).total_seconds())
        return {
            "database": self.database,
            "verified": self.reached == level,
            "level": self.reached or "none",
            "bucket": self.bucket,
            "key": self.key,
            "taken": None if self.taken is None else self.taken.isoformat(),
            "age": age,
            "size": self.size,
            "bytes_read": self.bytes_read,
            "seconds": round(self.seconds, 1),
            "findings": [finding.as_dict() for finding in _findings.ordered(self.findings)],
        }
