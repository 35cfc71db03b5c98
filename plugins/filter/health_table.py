# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import typing as t

DOCUMENTATION = """
name: health_table
short_description: Findings of all machines as one readable table
version_added: 0.1.0
author: The Slipway authors (@slipway)
description: The worst come first within each machine; the last line counts them.
options:
  _input:
    description: Findings of M(slipway.stack.stack_health) by machine.
    type: dict
    required: true
"""

EXAMPLES = """
table: "{{ {'db1': result.findings} | slipway.stack.health_table }}"
"""

RETURN = """
_value:
  description: The table, several lines.
  type: str
"""

COLUMNS = ("machine", "check", "state", "value", "limit", "what to do")
WIDEST = 72
ORDER = ("critical", "unknown", "warning", "ok")


def health_table(findings: dict[str, list[dict[str, str]]]) -> str:
    """See DOCUMENTATION."""
    rows = [
        (machine, row["check"], row["state"], _brief(row["value"]), row["limit"], _advice(row))
        for machine, found in findings.items()
        for row in sorted(found, key=lambda row: ORDER.index(row["state"]))
    ]
    widths = [max(len(row[i]) for row in [COLUMNS, *rows]) for i in range(len(COLUMNS))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [COLUMNS, *rows]
    ]
    counts = {state: sum(row[2] == state for row in rows) for state in ORDER}
    lines.append(", ".join(f"{count} {state}" for state, count in counts.items()))
    return "\n".join(lines)


def _brief(value: str) -> str:
    return value if len(value) <= WIDEST else f"{value[: WIDEST - 1]}…"


def _advice(row: dict[str, str]) -> str:
    return "" if row["state"] == "ok" else row["advice"]


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"health_table": health_table}
