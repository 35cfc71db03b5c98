# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter slipway.stack.release_table."""

from __future__ import annotations

import typing as t

DOCUMENTATION = r"""
name: release_table
short_description: The history of deployments as a table
version_added: 0.1.0
description:
  - One line for each deployment, the newest first, and one for whoever deploys at this moment.
options:
  _input:
    description: What M(slipway.stack.app_release_info) returns with its histories.
    type: dict
    required: true
author: The Slipway authors (@slipway)
"""

EXAMPLES = r"""
- name: Show the history
  ansible.builtin.debug:
    msg: "{{ info.applications | slipway.stack.release_table }}"
"""

RETURN = r"""
_value:
  description: The table, one text, for lines of a list would be wrapped where it is shown.
  type: str
"""

_HEAD = ("application", "when", "who", "what", "release", "result", "why")
_LONGEST_REASON = 100


def release_table(applications: dict[str, dict[str, t.Any]]) -> str:
    rows: list[tuple[str, ...]] = [_HEAD]
    for name, application in sorted(applications.items()):
        rows += [_row(name, application, one) for one in reversed(application["history"])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    return "\n".join(_line(row, widths) for row in rows)


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _row(name: str, application: dict[str, t.Any], one: dict[str, str]) -> tuple[str, ...]:
    serves = one["release"] == application["current"] and one["release"]
    return (
        name,
        one["started"],
        one["who"],
        f"{one['what']} {one['version']}".strip(),
        (one["release"] or "-") + (" (serves)" if serves else ""),
        one["result"],
        one["reason"].split("\n")[0][:_LONGEST_REASON],
    )


class FilterModule:
    """Offers the filter to Ansible."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"release_table": release_table}
