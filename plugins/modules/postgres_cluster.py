#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: postgres_cluster
short_description: Have one PostgreSQL cluster with data checksums, never a second one
version_added: 0.1.0
description:
  - Before the package is installed it tells the package not to create a cluster, because that one
    would have no data checksums. After that it creates the cluster itself.
  - Refuses a machine that holds a cluster of another major version, before anything is changed.
  - Refuses a cluster without data checksums, with the command that enables them.
  - Does not start anything.
options:
  version:
    description: Major version of the cluster.
    type: int
    required: true
  name:
    description: Name of the cluster.
    type: str
    default: main
  port:
    description: Port that a new cluster is created with. An existing one is left as it is.
    type: int
    default: 5432
attributes:
  check_mode:
    support: full
    description: Predicts the cluster where even the package is missing.
  diff_mode:
    support: full
    description: Names what is missing.
author:
  - The Slipway authors (@slipway)
"""

EXAMPLES = r"""
- name: Keep the package from creating a cluster
  slipway.stack.postgres_cluster:
    version: 17
  register: cluster

- name: Install PostgreSQL
  ansible.builtin.apt:
    name: postgresql-17

- name: Create the cluster
  slipway.stack.postgres_cluster:
    version: 17
  when: not cluster.exists
"""

RETURN = r"""
exists:
  description: Whether the cluster is there now; not before its package is installed.
  returned: always
  type: bool
  sample: true
"""

import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.stack.plugins.module_utils import _clusters, _errors

ROOT = Path("/")
ARGUMENTS: dict[str, t.Any] = {
    "version": {"type": "int", "required": True},
    "name": {"type": "str", "default": "main"},
    "port": {"type": "int", "default": 5432},
}


def bring_about(
    cluster: _clusters.Cluster, port: int, run: _clusters.Run, *, predicting: bool
) -> list[str]:
    """What was missing, and is there now as far as the installed packages allow."""
    _clusters.require_same_major(cluster)
    if cluster.exists():
        _clusters.require_checksums(cluster, run)
        return []
    missing = []
    if not _clusters.is_held_back(cluster.root):
        missing.append(f"/{_clusters.SWITCH}")
        if not predicting:
            _clusters.hold_package_back(cluster.root)
    if predicting or (cluster.programs / "initdb").exists():
        missing.append(f"cluster {cluster.major}/{cluster.name} with data checksums")
        if not predicting:
            _clusters.create(cluster, port, run)
    return missing


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    cluster = _clusters.Cluster(module.params["version"], module.params["name"], ROOT)
    port, predicting = module.params["port"], module.check_mode
    try:
        missing = bring_about(cluster, port, module.run_command, predicting=predicting)
    except _errors.StackError as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=bool(missing),
        exists=predicting or cluster.exists(),
        diff={"before": "", "after": "".join(f"{line}\n" for line in missing)},
    )


if __name__ == "__main__":
    main()
