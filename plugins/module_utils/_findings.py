# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a verification found, and how far a backup may be believed because of it. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import asdict, dataclass

LEVELS = ("present", "intact", "readable", "kept")
# The worst first. Only a warning lets a level pass: what could not be checked, or what the server
# does not have, is no reason to believe.
SEVERITIES = ("critical", "unknown", "unsupported", "warning")
HARMLESS = "warning"


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be; `database` is empty where it is the bucket's."""

    level: str
    severity: str
    object: str
    expected: str
    found: str
    remedy: str
    database: str = ""

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


def wanted(level: str) -> tuple[str, ...]:
    """The levels up to this one, each of which includes those before."""
    return LEVELS[: LEVELS.index(level) + 1]


def reached(findings: t.Iterable[Finding], level: str) -> str | None:
    """The highest of the levels up to `level` that nothing speaks against; None if none."""
    broken = {finding.level for finding in findings if finding.severity != HARMLESS}
    best = None
    for name in wanted(level):
        if name in broken:
            break
        best = name
    return best


def ordered(findings: t.Iterable[Finding]) -> list[Finding]:
    """The worst first, and what concerns the most basic level first among equals."""
    return sorted(
        findings,
        key=lambda one: (SEVERITIES.index(one.severity), LEVELS.index(one.level), one.object),
    )
