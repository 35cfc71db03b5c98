#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Backs up the databases of a machine now."""

from __future__ import annotations

DOCUMENTATION = r"""
module: back_up
short_description: Back up the databases of a machine now
version_added: 0.1.0
description:
  - Starts the unit that the role P(slipway.stack.backup#role) installed, waits for its end, and
    tells what became of each database.
  - Fails if one database was not backed up and read back, and names it.
  - A run that is under way already is waited for, then a new one is started, so what was
    committed before this task is in the backup.
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
  unit:
    description: The unit to start.
    type: str
    default: slipway-backup.service
  state_file:
    description: Where the unit keeps the state of its last run.
    type: path
    default: /var/lib/slipway/backup/state.json
  full:
    description: Whether a physical backup is to be a full one, whatever kind is due.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Back up before the migration
  slipway.stack.back_up:
  register: backup

- name: Show the result
  ansible.builtin.debug:
    msg: "{{ backup.databases | map(attribute='line') }}"
"""

RETURN = r"""
databases:
  description: What became of each declared database; empty in check mode.
  returned: always
  type: list
  elements: dict
  contains:
    database:
      description: Its name.
      type: str
    ok:
      description: Whether this run backed it up.
      type: bool
    verified:
      description: Whether the copy was read back whole.
      type: bool
    size:
      description: Bytes of the dump.
      type: int
    seconds:
      description: How long it took, reading back included.
      type: float
    detail:
      description: Where the backup is, or why there is none.
      type: str
    line:
      description: All of that in one line for a person.
      type: str
"""

import pathlib
from datetime import UTC, datetime

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.stack.plugins.module_utils import (
    _backup_run,
    _backup_state,
    _errors,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "unit": {"type": "str", "default": "slipway-backup.service"},
            "state_file": {"type": "path", "default": "/var/lib/slipway/backup/state.json"},
            "full": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=True, databases=[])
    state_file = pathlib.Path(module.params["state_file"])

    def start() -> str:
        return str(_backup_run.start(module.run_command, module.params["unit"]))

    found: list[_backup_run.Result] = []
    try:
        if module.params["full"]:
            _backup_run.want_full(state_file.parent)
        found = _backup_run.run(start, lambda: _backup_state.read(state_file), datetime.now(UTC))
        _backup_run.require_success(found)
    except _errors.StackError as error:
        module.fail_json(msg=str(error), databases=[result.as_dict() for result in found])
    module.exit_json(changed=True, databases=[result.as_dict() for result in found])


if __name__ == "__main__":
    main()
