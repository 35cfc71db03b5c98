#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One pool at rest, so that its clients wait instead of failing."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pgbouncer_pool
short_description: Pause or resume the pool of one database in PgBouncer
version_added: 0.1.0
description:
  - A paused pool has no connection to its database. Its clients wait, and go on once it is resumed.
author:
  - The Slipway authors (@slipway)
attributes:
  check_mode:
    description: Predicts a change.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
options:
  database:
    description: The database.
    type: str
    required: true
  state:
    description: What the pool is to be.
    type: str
    choices: [paused, resumed]
    required: true
  port:
    description: Port of PgBouncer, which names its socket.
    type: int
    default: 6432
  timeout:
    description: Seconds that running transactions have to end; after that the pool is resumed.
    type: int
    default: 30
"""

EXAMPLES = r"""
- name: Let the clients of the shop wait
  slipway.stack.pgbouncer_pool:
    database: shop
    state: paused
"""

RETURN = r"""
known:
  description: Whether PgBouncer has such a pool.
  returned: not in check mode
  type: bool
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.stack.plugins.module_utils import _errors, _pools, _psql


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "database": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["paused", "resumed"], "required": True},
            "port": {"type": "int", "default": 6432},
            "timeout": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=True)
    asked = module.params
    console = _pools.Console(asked["port"], _psql.run)
    try:
        if asked["state"] == "paused":
            done = _pools.pause(console, asked["database"], asked["timeout"])
        else:
            done = _pools.resume(console, asked["database"])
    except _errors.StackError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=done.changed, known=done.known)


if __name__ == "__main__":
    main()
