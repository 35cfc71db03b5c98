#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The whole cluster put into its place out of its backups, step by step."""

from __future__ import annotations

DOCUMENTATION = r"""
module: restore_cluster
short_description: Put the whole PostgreSQL cluster into its place on a machine that has none
version_added: 0.1.0
description:
  - O(step=begin) sees to it that no cluster is in the way. One that is there is moved aside, with
    its configuration, once its machine was confirmed.
  - O(step=recover) takes the place of the empty cluster that was set up since, restores the
    physical backups into it, and waits for the end of its recovery. The restored cluster goes on in
    a timeline of its own.
  - O(step=finish) proves that WAL is archived, and ends the restore.
  - Each step may be repeated, also after it was killed; a step that is done is not done again.
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
  step:
    description: What to do, in this order.
    type: str
    choices: [begin, recover, finish]
    required: true
  to:
    description:
      - The moment, C(latest), a time with its zone such as C(2026-11-28T21:14:05Z),
        C(point:<name>) of a restore point, or C(xid:<number>) for just before a transaction.
    type: str
    required: true
  machine:
    description: What the machine is called.
    type: str
    required: true
  confirmed:
    description: The same name again, if there is a cluster on it.
    type: str
    default: ""
  version:
    description: Major version of the cluster C(main).
    type: int
    required: true
  port:
    description: Its port.
    type: int
    default: 5432
  configuration:
    description:
      - Configuration of pgBackRest to read the backups with, if they are not where the restored
        cluster is to archive.
    type: path
"""

EXAMPLES = r"""
- name: Have everything back that was archived
  slipway.stack.restore_cluster:
    step: recover
    to: latest
    machine: database1
    version: 17
"""

RETURN = r"""
prepared:
  description: Whether the cluster was set up already that is replaced; it is to be left alone then.
  returned: always
  type: bool
reached:
  description: Where the recovery ended, as M(slipway.stack.restore_scratch) tells it.
  returned: always
  type: dict
lines:
  description: What was restored and proven, for a person.
  returned: when O(step=finish), not in check mode
  type: list
  elements: str
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.stack.plugins.module_utils import (
    _clusters,
    _errors,
    _psql,
    _restore_cluster,
)

ARGUMENTS: dict[str, t.Any] = {
    "step": {"type": "str", "choices": ["begin", "recover", "finish"], "required": True},
    "to": {"type": "str", "required": True},
    "machine": {"type": "str", "required": True},
    "confirmed": {"type": "str", "default": ""},
    "version": {"type": "int", "required": True},
    "port": {"type": "int", "default": 5432},
    "configuration": {"type": "path"},
}


def step(asked: dict[str, t.Any], means: _restore_cluster.Means) -> dict[str, t.Any]:
    before = _restore_cluster.read(means)
    restore = _restore_cluster.begin(asked["to"], asked["machine"], asked["confirmed"], means)
    told: dict[str, t.Any] = {}
    if asked["step"] == "recover":
        restore = _restore_cluster.recover(restore, means)
    elif asked["step"] == "finish":
        restore, told["lines"] = _restore_cluster.finish(restore, means)
    said = {"prepared": restore.prepared, "reached": restore.reached, **told}
    return {**said, "changed": restore != before}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    asked = module.params
    if module.check_mode:
        module.exit_json(changed=True, prepared=False, reached={})
    means = _restore_cluster.Means(
        _clusters.Cluster(asked["version"], "main"),
        _psql.Psql(asked["port"]),
        configuration=asked["configuration"] or "",
    )
    try:
        done = step(asked, means)
    except _errors.StackError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**done)


if __name__ == "__main__":
    main()
