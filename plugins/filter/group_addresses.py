# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import typing as t

from ansible_collections.slipway.stack.plugins.plugin_utils import _derive

DOCUMENTATION = """
name: group_addresses
short_description: Where services listen and who may reach them
version_added: 0.1.0
author: The Slipway authors (@slipway)
description:
  - On a single machine everything stays on loopback. On several, shared services also listen on the
    machine's own address, for exactly the machines that use them.
options:
  _input:
    description: The result of P(slipway.stack.topology#filter).
    type: dict
    required: true
"""

EXAMPLES = """
stack_addresses: "{{ stack_topology | slipway.stack.group_addresses }}"
"""

RETURN = """
_value:
  description:
    - C(listen), addresses that this machine's shared services listen on; C(clients), addresses of
      the machines that use them; C(first), the first machine's inventory name by group.
  type: dict
"""


def group_addresses(topology: dict[str, t.Any]) -> dict[str, t.Any]:
    """See DOCUMENTATION."""
    placed = _derive.Topology(**topology)
    users = [address for group in ("application", "worker") for address in placed.of(group)]
    return {
        "listen": placed.listen if placed.host in placed.addresses else [],
        "clients": list(dict.fromkeys([_derive.LOOPBACK, *users])),
        "first": {group: (machines or [""])[0] for group, machines in placed.groups.items()},
    }


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"group_addresses": group_addresses}
