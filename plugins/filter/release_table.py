# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter slipway.stack.release_table."""

from __future__ import annotations

import dataclasses
import datetime
import textwrap
import typing as t

DOCUMENTATION = r"""
name: release_table
short_description: The history of deployments as a table
version_added: 0.1.0
description:
  - One line for each deployment, the newest first, and one for whoever deploys at this moment. It
    tells of all machines on which the deployment came to the same; where it did not, each end has
    its line.
positional: _input, hostvars
options:
  _input:
    description: Names of the machines that are told of.
    type: list
    elements: str
    required: true
  hostvars:
    description: The magic variable C(hostvars), in which the entry C(history) of the role has left
      what it found.
    type: dict
    required: true
author: The Slipway authors (@slipway)
"""

EXAMPLES = r"""
- name: Show the history
  ansible.builtin.debug:
    msg: "{{ ansible_play_hosts_all | slipway.stack.release_table(hostvars) }}"
  run_once: true
"""

RETURN = r"""
_value:
  description: The table, one text, for lines of a list would be wrapped where it is shown.
  type: str
"""

_HEAD = ("application", "when", "who", "what", "machines", "release", "result", "why")
_LONGEST_REASON = 100
# Machines of one run begin as fast as Ansible gets to them, and by clocks of their own.
_TOGETHER_SECONDS = 60
Info = dict[str, dict[str, t.Any]]


@dataclasses.dataclass
class Line:
    """A deployment, and on which machines it came to what it says."""

    application: str
    started: str
    said: tuple[str, ...]
    machines: list[str]

    def is_of(self, other: Line) -> bool:
        same = (self.application, self.said) == (other.application, other.said)
        near = abs(_moment(self.started) - _moment(other.started)) <= _TOGETHER_SECONDS
        return same and near and not set(self.machines) & set(other.machines)


def release_table(machines: list[str], hostvars: t.Mapping[str, t.Any]) -> str:
    found = {machine: _applications(hostvars, machine) for machine in machines}
    lines: list[Line] = []
    for one in sorted(_told(found), key=lambda line: line.started, reverse=True):
        known = next((line for line in reversed(lines) if line.is_of(one)), None)
        if known:
            known.machines += one.machines
            known.started = one.started
        else:
            lines.append(one)
    lines.sort(key=lambda line: line.application)
    rows = [_HEAD, *(_row(line, found) for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    return "\n".join(_joined(row, widths) for row in rows)


def _applications(hostvars: t.Mapping[str, t.Any], machine: str) -> Info:
    told = hostvars.get(machine, {}).get("__app_info") or {}
    return t.cast(Info, told.get("applications") or {})


def _told(found: dict[str, Info]) -> list[Line]:
    return [
        Line(name, one["started"], _said(application, one), [machine])
        for machine, applications in found.items()
        for name, application in applications.items()
        for one in application["history"]
    ]


def _said(application: dict[str, t.Any], one: dict[str, str]) -> tuple[str, ...]:
    serves = one["release"] == application["current"] and one["release"]
    return (
        one["who"],
        f"{one['what']} {one['version']}".strip(),
        (one["release"] or "-") + (" (serves)" if serves else ""),
        one["result"],
        textwrap.shorten(one["reason"].split("\n")[0], _LONGEST_REASON, placeholder=" ..."),
    )


def _row(line: Line, found: dict[str, Info]) -> tuple[str, ...]:
    everywhere = [name for name, applications in found.items() if line.application in applications]
    whole = len(everywhere) > 1 and set(line.machines) == set(everywhere)
    machines = "all" if whole else ", ".join(sorted(line.machines))
    who, what, *rest = line.said
    return (line.application, line.started, who, what, machines, *rest)


def _joined(row: tuple[str, ...], widths: list[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _moment(started: str) -> float:
    return datetime.datetime.fromisoformat(started).timestamp()


class FilterModule:
    """Offers the filter to Ansible."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"release_table": release_table}
