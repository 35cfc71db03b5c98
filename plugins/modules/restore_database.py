#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One database put back in its place, step by step; the old one is kept."""

from __future__ import annotations

DOCUMENTATION = r"""
module: restore_database
short_description: Put one database back as it was, and keep the one that it replaces
version_added: 0.1.0
description:
  - O(step=load) fills a fresh database beside the live one, from the scratch instance of
    M(slipway.stack.restore_scratch) or from a dump, and counts every table in both.
  - O(step=swap) gives it the name of the live one, which becomes C(<database>_before_<time>), in
    one transaction. Whoever is connected is disconnected, so stop the applications before.
  - O(step=report) counts the rows of the old database, and tells table by table what is not in the
    restored one. O(step=finish) ends the restore, once the next backup was taken, and proves
    that WAL is archived, if it is to be.
  - Each step may be repeated, also after it was killed; a step that is done is not done again, but
    C(latest) is loaded anew until it was swapped.
author:
  - The Slipway authors (@slipway)
attributes:
  check_mode:
    description: Predicts a change, does nothing.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
options:
  database:
    description: The database to restore.
    type: str
    required: true
  confirmed:
    description: The same name again, because what it holds now is taken out of its place.
    type: str
    required: true
  step:
    description: What to do, in this order.
    type: str
    choices: [load, swap, report, finish]
    required: true
  to:
    description: The moment, as M(slipway.stack.restore_scratch) was told.
    type: str
  dump:
    description:
      - A dump of the role P(slipway.stack.backup#role) with its record beside it.
      - One from the bucket, C(.dump.gpg), is decrypted with the passphrase of the machine, for as
        long as it is read.
    type: path
  directory:
    description: Where the scratch instance is.
    type: path
    default: /var/lib/slipway/scratch
  port:
    description: Port that names its socket.
    type: int
    default: 5499
  live_port:
    description: Port of the live cluster.
    type: int
    default: 5432
  state_directory:
    description: Where the state of the restore and its report are kept.
    type: path
    default: /var/lib/slipway/backup
"""

EXAMPLES = r"""
- name: Fill a fresh database
  slipway.stack.restore_database:
    database: shop
    confirmed: shop
    step: load
    to: "2026-11-28T21:14:05Z"
"""

RETURN = r"""
safety_copy:
  description: What the replaced database is called, or will be.
  returned: not in check mode
  type: str
report:
  description: The file with what is and is not in the restored database.
  returned: when O(step=report), not in check mode
  type: str
lines:
  description: The same for a person, or what was proven in the end.
  returned: when O(step=report) or O(step=finish), not in check mode
  type: list
  elements: str
"""

import typing as t
from datetime import UTC, datetime
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.stack.plugins.module_utils import (
    _errors,
    _psql,
    _restore,
    _scratch,
)

STEPS = ["load", "swap", "report", "finish"]
ARGUMENTS: dict[str, t.Any] = {
    "database": {"type": "str", "required": True},
    "confirmed": {"type": "str", "required": True},
    "step": {"type": "str", "choices": STEPS, "required": True},
    "to": {"type": "str"},
    "dump": {"type": "path"},
    "directory": {"type": "path", "default": "/var/lib/slipway/scratch"},
    "port": {"type": "int", "default": 5499},
    "live_port": {"type": "int", "default": 5432},
    "state_directory": {"type": "path", "default": "/var/lib/slipway/backup"},
}


def step(asked: dict[str, t.Any], means: _restore.Means) -> dict[str, t.Any]:
    source = asked["dump"] or asked["to"]
    restore = _restore.begin(asked["database"], source, means)
    told: dict[str, t.Any] = {}
    scratch = _scratch.Scratch(Path(asked["directory"]), asked["port"], run=means.live.run)
    if asked["step"] == "load":
        after = (
            _restore.load_dump(restore, Path(source), means)
            if asked["dump"]
            else _restore.load_copy(restore, scratch, means)
        )
    elif asked["step"] == "swap":
        after = _restore.swap(restore, means)
    elif asked["step"] == "report":
        removed = _restore.removed(restore, scratch, means)
        after, told = restore, _restore.report(restore, means, removed)
    else:
        after, told["lines"] = _restore.finish(restore, means)
    return {"safety_copy": after.safety, **told, "changed": after != restore}


def require_confirmed(asked: dict[str, t.Any]) -> None:
    if asked["confirmed"] != asked["database"]:
        raise _errors.BackupError(
            f"{asked['database']} is to be replaced, but {asked['confirmed']!r} was confirmed: add"
            f" -e restore_confirmed_database={asked['database']}."
        )


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        mutually_exclusive=[("to", "dump")],
        required_one_of=[("to", "dump")],
        supports_check_mode=True,
    )
    asked = module.params
    live = _psql.Psql(asked["live_port"])
    means = _restore.Means(live, Path(asked["state_directory"]), lambda: datetime.now(UTC))
    try:
        require_confirmed(asked)
        done = {"changed": True} if module.check_mode else step(asked, means)
    except (_errors.StackError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**done)


if __name__ == "__main__":
    main()
