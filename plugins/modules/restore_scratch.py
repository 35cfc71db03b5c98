#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A copy of the cluster as it was at a moment, beside the cluster."""

from __future__ import annotations

DOCUMENTATION = r"""
module: restore_scratch
short_description: Have a copy of the PostgreSQL cluster as it was at a moment, beside the cluster
version_added: 0.1.0
description:
  - Restores the physical backups into a scratch instance with its own directory and socket, waits
    for the end of its recovery, and tells where that ended. The live cluster is not touched.
  - Before that it has everything archived that is committed by now, where the live server runs.
  - A copy that is there for the same moment is kept; the latest is always made anew.
  - The scratch instance listens on no network and archives nothing.
author:
  - The Slipway authors (@slipway)
attributes:
  check_mode:
    description: Predicts a change, starts nothing.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
options:
  to:
    description:
      - The moment, C(latest), a time with its zone such as C(2026-11-28T21:14:05Z),
        C(point:<name>) of a restore point, or C(xid:<number>) for just before a transaction.
      - Required unless O(state=absent).
    type: str
  state:
    description: V(absent) stops the scratch instance and removes its files.
    type: str
    choices: [present, absent]
    default: present
  directory:
    description: Where the copy is, also its socket, in C(socket).
    type: path
    default: /var/lib/slipway/scratch
  port:
    description: Port that names its socket.
    type: int
    default: 5499
  live_port:
    description: Port of the cluster that the backups are of.
    type: int
    default: 5432
"""

EXAMPLES = r"""
- name: Look at what there was before the mistake
  slipway.stack.restore_scratch:
    to: "2026-11-28T21:14:05Z"
  register: copy

- name: Remove it
  slipway.stack.restore_scratch:
    state: absent
"""

RETURN = r"""
reached:
  description: Where the recovery ended.
  returned: when O(state=present), not in check mode
  type: dict
  contains:
    backup: {description: Label of the backup., type: str}
    last_commit: {description: Time of the last transaction; empty if it is not known., type: str}
    lsn: {description: Position in the WAL., type: str}
    timeline: {description: Timeline of the copy., type: int}
    checksums: {description: Whether pages carry checksums., type: bool}
psql:
  description: The command that opens it, as the user postgres.
  returned: when O(state=present), not in check mode
  type: str
"""

import time
import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.stack.plugins.module_utils import (
    _errors,
    _psql,
    _recovery,
    _scratch,
)

ARGUMENTS: dict[str, t.Any] = {
    "to": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "directory": {"type": "path", "default": "/var/lib/slipway/scratch"},
    "port": {"type": "int", "default": 5499},
    "live_port": {"type": "int", "default": 5432},
}


def bring_about(asked: dict[str, t.Any], run: _psql.Run, *, predicting: bool) -> dict[str, t.Any]:
    scratch = _scratch.Scratch(Path(asked["directory"]), asked["port"], run=run)
    if asked["state"] == "absent":
        there = scratch.data.exists()
        return {"changed": there if predicting else _scratch.remove(scratch)}
    wanted = _recovery.target(asked["to"])
    if predicting:
        return {"changed": True}
    # What cannot be restored needs not wait for the newest WAL.
    _scratch.candidates(scratch, wanted)
    live = _psql.Psql(asked["live_port"], run)
    _scratch.archive_now(live, time.sleep, lambda each: _scratch.in_a_repository(run, each))
    reached, changed = _scratch.bring_up(scratch, wanted)
    psql = f"sudo -u postgres psql -h {scratch.base}/socket -p {scratch.port}"
    return {"changed": changed, "reached": reached.as_dict(), "psql": psql}


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        required_if=[("state", "present", ["to"])],
        supports_check_mode=True,
    )
    try:
        done = bring_about(module.params, _psql.run, predicting=module.check_mode)
    except _errors.StackError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**done)


if __name__ == "__main__":
    main()
