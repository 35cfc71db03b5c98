#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rehearses a restore now."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rehearse_restore
short_description: Rehearse a restore of the physical backups now
version_added: 0.1.0
description:
  - Starts the unit that the role P(slipway.stack.backup#role) installed, waits for its end, and
    tells what it found.
  - Fails if the restored cluster is not what it must be, or if a target was missed.
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
    default: slipway-rehearsal.service
  state_file:
    description: Where the unit keeps the result of its last run.
    type: path
    default: /var/lib/slipway/backup/rehearsal.json
"""

EXAMPLES = r"""
- name: Prove that a restore works
  slipway.stack.rehearse_restore:
  register: rehearsal
"""

RETURN = r"""
lines:
  description: The result, whatever is wrong, and what was remarked, each in one line.
  returned: not in check mode, if there was a new run
  type: list
  elements: str
rto_seconds:
  description: How long the restore took.
  returned: not in check mode, if there was a new run
  type: float
rpo_seconds:
  description: How long a commit was on this machine alone.
  returned: not in check mode, if there was a new run
  type: float
"""

import pathlib
import typing as t
from datetime import UTC, datetime

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.stack.plugins.module_utils import (
    _backup_run,
    _backup_state,
    _errors,
)


def result(
    start: t.Callable[[], str], state: t.Callable[[], dict[str, t.Any]], before: str
) -> dict[str, t.Any]:
    """What the unit found, if it did find something after `before`."""
    complaint = start()
    found = state()
    if str(found.get("started", "")) < before:
        said = complaint.rstrip(".") or "its state file tells of no new run"
        raise _errors.BackupError(f"The rehearsal did not run: {said}.")
    return found


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "unit": {"type": "str", "default": "slipway-rehearsal.service"},
            "state_file": {"type": "path", "default": "/var/lib/slipway/backup/rehearsal.json"},
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=True)
    path = pathlib.Path(module.params["state_file"])
    begun = datetime.now(UTC).isoformat(timespec="seconds")

    def start() -> str:
        return _backup_run.start(module.run_command, module.params["unit"])

    try:
        found = result(start, lambda: _backup_state.read(path), begun)
    except _errors.StackError as error:
        module.fail_json(msg=str(error))
    told = {name: found[name] for name in ("lines", "rto_seconds", "rpo_seconds")}
    if not found["ok"]:
        module.fail_json(msg=found["detail"], **told)
    module.exit_json(changed=True, **told)


if __name__ == "__main__":
    main()
