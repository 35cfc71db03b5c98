# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import typing as t

DOCUMENTATION = """
name: backup_table
short_description: Verdicts on the backups of all machines as one readable table
version_added: 0.1.0
author: The Slipway authors (@slipway)
description: One line for each database, below it what was found, and a last line that counts.
options:
  _input:
    description: What M(slipway.stack.s3_backup_verify) returns as C(databases), by machine.
    type: dict
    required: true
"""

EXAMPLES = """
table: "{{ {'db1': result.databases} | slipway.stack.backup_table }}"
"""

RETURN = """
_value:
  description: The table, several lines.
  type: str
"""

COLUMNS = ("machine", "database", "bucket", "newest", "age", "level", "findings")
COUNTED = ("critical", "unknown", "unsupported", "warning")


def backup_table(verdicts: dict[str, list[dict[str, t.Any]]]) -> str:
    """See DOCUMENTATION."""
    rows = [(machine, one) for machine, found in verdicts.items() for one in found]
    cells = [COLUMNS, *(_cells(machine, one) for machine, one in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(COLUMNS))]
    lines = [_line(COLUMNS, widths)]
    # What concerns a bucket concerns all of its databases; it is told once.
    told: set[str] = set()
    for (_machine, one), row in zip(rows, cells[1:], strict=True):
        lines.append(_line(row, widths))
        for finding in one["findings"]:
            text = _sentence(finding)
            if text not in told:
                told.add(text)
                lines.append(f"  {text}")
    counts = {name: sum(text.startswith(name) for text in told) for name in COUNTED}
    return "\n".join([*lines, ", ".join(f"{count} {name}" for name, count in counts.items())])


def _cells(machine: str, one: dict[str, t.Any]) -> tuple[str, ...]:
    newest = str(one["key"] or "-").rpartition("/")[2]
    age = "-" if one["age"] is None else f"{one['age'] / 3600:.1f} h"
    return (
        machine,
        _plain(one["database"]),
        one.get("bucket") or "-",
        _plain(newest),
        age,
        one["level"],
        str(len(one["findings"])),
    )


def _sentence(finding: dict[str, str]) -> str:
    return _plain(
        "{severity}: {object}: expected {expected}, found {found}; {remedy}".format(**finding)
    )


def _plain(text: str) -> str:
    """One line, whatever a key is called."""
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")


def _line(cells: t.Sequence[str], widths: list[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"backup_table": backup_table}
