#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Judges the backups in an object store by reading them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: s3_backup_verify
short_description: Prove that the backups in an object store could be restored
version_added: 0.1.0
description:
  - Reads the newest backup of each database as a restore would; writes only into O(scratch).
  - What could not be checked is C(unknown) and what the server does not have is C(unsupported);
    neither ever passes.
author:
  - The Slipway authors (@slipway)
extends_documentation_fragment: [slipway.stack._s3]
attributes:
  check_mode:
    description: Nothing is ever changed, so check mode is the same.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
options:
  databases:
    description:
      - The databases (of O(engine=pgbackrest), the stanzas) that must have a backup.
      - Every one that has a backup if empty; one that is missing altogether is then not missed.
    type: list
    elements: str
    default: []
  engine:
    description:
      - V(dump) for dumps of pg_dump in C(<prefix>/<database>/<file>), plain, custom, tar or a
        packed directory, compressed or not, each with its record beside it.
      - V(pgbackrest) for a repository of pgBackRest at O(prefix).
    type: str
    choices: [dump, pgbackrest]
    default: dump
  level:
    description:
      - How far to go; each level includes those before.
      - V(present), there is one, young and large enough, and its record is its own.
      - V(intact), every byte comes back as it was recorded.
      - V(readable), C(pg_restore) reads it to its end and every table has its rows.
      - V(kept), older ones are there as promised and the bucket protects them.
    type: str
    choices: [present, intact, readable, kept]
    default: kept
  max_age:
    description: Seconds that the newest backup may be old; the recovery point objective.
    type: int
    default: 90000
  clock_skew:
    description: Seconds that clocks may differ.
    type: int
    default: 300
  min_size:
    description: Bytes below which nothing is a backup.
    type: int
    default: 200
  min_ratio:
    description: Share (0 to 1) of the median of the seven sizes before, below which it lacks some.
    type: float
    default: 0.5
  max_ratio:
    description: How many times the median of the seven sizes before it may have without a warning.
    type: float
    default: 4.0
  require_record:
    description: Whether a dump counts only with its record; without, the server's checksums do.
    type: bool
    default: true
  expected_tables:
    description: For each name of O(databases) the C(schema.table) that it must have, as a list.
    type: dict
    default: {}
  decrypt_command:
    description:
      - A command and its arguments that decrypts its input to its output, where backups are
        encrypted, such as C(gpg --batch --decrypt). It must find its key by itself.
    type: list
    elements: str
    default: []
  encryption:
    description: Who must have encrypted the newest backup.
    type: str
    choices: [none, server, client]
    default: none
  required:
    description: What of the bucket must be on; the lack of the others is a warning.
    type: list
    elements: str
    choices: [versioning, object_lock, encryption]
    default: []
  daily:
    description: Daily backups that are promised.
    type: int
    default: 30
  weekly:
    description: Weekly backups that are promised.
    type: int
    default: 4
  monthly:
    description: Monthly backups that are promised.
    type: int
    default: 12
  since:
    description: Day of the first backup, C(2026-01-31); without it, a short history is a warning.
    type: str
  last_wal:
    description: What C(pg_stat_archiver) says was archived last, of O(engine=pgbackrest).
    type: str
  cipher_pass:
    description: The passphrase of an encrypted repository, of O(engine=pgbackrest).
    type: str
  parallel:
    description: How many databases are read at once.
    type: int
    default: 2
  scratch:
    description: Where a dump of the format directory is unpacked; nothing else needs room.
    type: path
    default: /var/tmp
  fail_when_unverified:
    description: Whether to fail when a database does not reach O(level).
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Prove that the shop could be restored
  slipway.stack.s3_backup_verify:
    bucket: backups
    prefix: production
    access_key: "{{ vault_backup_s3.access_key }}"
    secret_key: "{{ vault_backup_s3.secret_key }}"
    databases: [shop]
    level: readable

- name: Look at encrypted dumps and at what the bucket does with them
  slipway.stack.s3_backup_verify:
    bucket: backups
    endpoint_url: https://s3.example.com
    addressing_style: path
    decrypt_command: [gpg, --batch, --decrypt]
    encryption: client
    required: [versioning, object_lock]
    fail_when_unverified: false
  register: verification
"""

RETURN = r"""
verified:
  description: Whether every database reached the level asked for.
  returned: always
  type: bool
databases:
  description: The verdict on each database.
  returned: always
  type: list
  elements: dict
  contains:
    database:
      description: Its name.
      type: str
    verified:
      description: Whether it reached the level asked for.
      type: bool
    level:
      description: The level that it reached, C(none) if not even the first.
      type: str
    key:
      description: Key of the backup that was judged, in C(bucket).
      type: str
    taken:
      description: When it was begun, in UTC.
      type: str
    age:
      description: Seconds since then.
      type: int
    size:
      description: Its bytes.
      type: int
    bytes_read:
      description: Bytes that were read of it.
      type: int
    seconds:
      description: How long that took.
      type: float
    findings:
      description: What is not as it should be, the worst first.
      type: list
      elements: dict
      contains:
        level:
          description: The level that it concerns.
          type: str
        severity:
          description: C(critical), C(unknown), C(unsupported), or C(warning), which alone passes.
          type: str
        object:
          description: Key, bucket or database.
          type: str
        expected:
          description: What should be.
          type: str
        found:
          description: What is.
          type: str
        remedy:
          description: What to do.
          type: str
        database:
          description: The database it is of; empty if it is the bucket's.
          type: str
"""

from datetime import UTC, datetime

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.stack.plugins.module_utils import (
    _errors,
    _s3,
    _verify,
    _verify_options,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={**_s3.argument_spec(), **_verify_options.argument_spec()},
        supports_check_mode=True,
    )
    now = datetime.now(UTC)
    try:
        request = _verify_options.request(module.params, now)
        verdicts = _verify.verify(_s3.client(request.target), request, now)
    except _errors.StackError as error:
        module.fail_json(msg=str(error), verified=False, databases=[])
    found = [verdict.as_dict(now, request.level) for verdict in verdicts]
    result = {"verified": all(one["verified"] for one in found), "databases": found}
    if not result["verified"] and module.params["fail_when_unverified"]:
        module.fail_json(msg=_verify_options.sentence(verdicts, request.level), **result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
