#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Lists the backups that an object store holds."""

from __future__ import annotations

DOCUMENTATION = r"""
module: s3_backup_info
short_description: List the backups that an object store holds
version_added: 0.1.0
description:
  - Lists the dumps below a prefix with age and size. A dump whose record lies beside it was read
    back after its upload.
  - Of each database the newest record is read, and those before only until one fits its dump. No
    dump is read; M(slipway.stack.s3_backup_verify) does that.
author:
  - The Slipway authors (@slipway)
extends_documentation_fragment:
  - slipway.stack._s3
attributes:
  check_mode:
    description: Nothing is ever changed, so check mode is the same.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
options:
  databases:
    description: Only the backups of these databases; of all if empty.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: List the backups of the shop
  slipway.stack.s3_backup_info:
    bucket: backups
    prefix: production
    endpoint_url: https://s3.example.com
    addressing_style: path
    access_key: "{{ vault_backup_s3.access_key }}"
    secret_key: "{{ vault_backup_s3.secret_key }}"
    databases: [shop]
  register: listing

- name: Refuse to go on without a backup of today
  ansible.builtin.assert:
    that: listing.newest.shop.age < 86400
    quiet: true
"""

RETURN = r"""
backups:
  description: Every backup found, newest first.
  returned: success
  type: list
  elements: dict
  contains:
    database:
      description: The database it is of.
      type: str
    key:
      description: Key of the dump in the bucket.
      type: str
    size:
      description: Bytes of the dump.
      type: int
    taken:
      description: When the dump was begun, in UTC.
      type: str
    age:
      description: Seconds since then, by the clock of the machine that lists.
      type: int
    problem:
      description:
        - Why it does not count; null if nothing is known against it.
        - What a record older than RV(newest) says is not known, because it is not read.
      type: str
    verified:
      description: When its record was stored, which is after it was read back; null without one.
      type: str
newest:
  description: The newest backup of each database that counts, by its name, like one of
    RV(backups), and with the C(sha256) that was recorded when it was taken.
  returned: success
  type: dict
"""

from datetime import UTC, datetime

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.stack.plugins.module_utils import _catalog, _errors, _s3


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **_s3.argument_spec(),
            "databases": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    now = datetime.now(UTC)
    try:
        where = _s3.target(module.params)
        found = _catalog.catalog(_s3.client(where), where, module.params["databases"])
    except _errors.StackError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **found.as_dict(now))


if __name__ == "__main__":
    main()
