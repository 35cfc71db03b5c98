# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import typing as t

from ansible_collections.slipway.stack.plugins.plugin_utils import _applications
from jinja2.exceptions import UndefinedError

DOCUMENTATION = """
name: topology
short_description: Which machine is in which group, and at which address
version_added: 0.1.0
author: The Slipway authors (@slipway)
description:
  - Built from the inventory alone, not from facts, so it is complete under C(--limit) and in AWX.
  - A machine's address is its C(stack_address), else its C(ansible_host), else its inventory name.
positional: hostvars, host, provided
options:
  _input:
    description: The magic variable C(groups).
    type: dict
    required: true
  hostvars:
    description: The magic variable C(hostvars).
    type: dict
    required: true
  host:
    description: The magic variable C(inventory_hostname).
    type: str
    required: true
  provided:
    description: The servers of a provider, C(stack_postgres) and C(stack_redis) by their last word.
    type: dict
    default: {}
"""

EXAMPLES = """
stack_topology: "{{ groups | slipway.stack.topology(hostvars, inventory_hostname) }}"
provided: >-
  {{ groups | slipway.stack.topology(hostvars, inventory_hostname, {'redis': stack_redis}) }}
"""

RETURN = """
_value:
  description: C(groups) (machines by group), C(addresses) (by machine) and C(host).
  type: dict
"""

GROUPS = ("database", "cache", "application", "worker", "web")


def topology(
    groups: t.Mapping[str, t.Sequence[str]],
    hostvars: t.Mapping[str, t.Any],
    host: str,
    provided: t.Mapping[str, t.Any] | None = None,
) -> dict[str, t.Any]:
    """See DOCUMENTATION."""
    ours = {group: [str(machine) for machine in groups.get(group, [])] for group in GROUPS}
    addresses = {}
    for machine in dict.fromkeys(machine for machines in ours.values() for machine in machines):
        addresses[machine] = _address(machine, hostvars[machine])
    servers = {name: _provided(name, given) for name, given in (provided or {}).items()}
    return {"groups": ours, "addresses": addresses, "host": str(host), **servers}


def _provided(name: str, given: t.Any) -> dict[str, t.Any]:
    if not given:
        return {}
    try:
        found: dict[str, t.Any] = _applications.typed(f"stack_{name}", given)
    except _applications.InventoryError:
        # The validation of the inventory words it.
        return {}
    return found


def _address(machine: str, variables: t.Mapping[str, t.Any]) -> str:
    try:
        return str(variables.get("stack_address") or variables.get("ansible_host") or machine)
    except UndefinedError as error:
        # The validation of the inventory words it.
        return f"not defined ({error})"


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"topology": topology}
