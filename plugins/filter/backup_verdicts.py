# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import json
import typing as t

DOCUMENTATION = """
name: backup_verdicts
short_description: What was said of the backups of all machines
version_added: 0.1.0
author: The Slipway authors (@slipway)
description:
  - Gathers what the entry points C(verify) and C(verify_files) of the role C(backup) have left on
    each machine, for P(slipway.stack.backup_table#filter). A machine with databases of which
    nothing was said does not look well by absence.
positional: _input, hostvars, databases
options:
  _input:
    description: Names of the machines that are told of.
    type: list
    elements: str
    required: true
  hostvars:
    description: The magic variable C(hostvars).
    type: dict
    required: true
  databases:
    description: Machines that have databases, as the group C(database) names them.
    type: list
    elements: str
    default: []
"""

EXAMPLES = """
table: >-
  {{ ansible_play_hosts_all | slipway.stack.backup_verdicts(hostvars, groups.database)
     | slipway.stack.backup_table }}
"""

RETURN = """
_value:
  description: Verdicts by machine, first those on its dumps, then its cluster, then its files.
  type: dict
"""

Verdict = dict[str, t.Any]
# Of a machine that could not be reached, or that has no copy elsewhere.
MISSING: Verdict = {
    "database": "-",
    "verified": False,
    "level": "none",
    "key": None,
    "age": None,
    "findings": [
        {
            "severity": "unknown",
            "object": "database machine",
            "expected": "a verdict",
            "found": "no backup of it was looked at",
            "remedy": "check the connection, and set stack_backup_s3",
        }
    ],
}


def backup_verdicts(
    machines: t.Sequence[str],
    hostvars: t.Mapping[str, t.Mapping[str, t.Any]],
    databases: t.Sequence[str] = (),
) -> dict[str, list[Verdict]]:
    """See DOCUMENTATION."""
    return {name: _of_a_machine(hostvars[name], name in databases) for name in machines}


def _of_a_machine(told: t.Mapping[str, t.Any], expected: bool) -> list[Verdict]:
    # Each place, the first one and perhaps a second, was asked by itself.
    dumps = _places(told, "backup_verified") or ([{}] if expected else [])
    clusters = _places(told, "backup_verified_physical")
    files = (told.get("backup_verified_files") or {}).get("stdout") or ""
    return [
        *(verdict for place in dumps for verdict in place.get("databases", [MISSING])),
        *(verdict for place in clusters for verdict in place.get("databases", [])),
        *(json.loads(place) for place in files.splitlines()),
    ]


def _places(told: t.Mapping[str, t.Any], name: str) -> list[dict[str, t.Any]]:
    found: list[dict[str, t.Any]] = (told.get(name) or {}).get("results", [])
    return found


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"backup_verdicts": backup_verdicts}
