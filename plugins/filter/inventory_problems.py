# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import typing as t

from ansible.parsing.dataloader import DataLoader
from ansible.utils.vars import load_extra_vars

DOCUMENTATION = """
name: inventory_problems
short_description: What is wrong with an inventory, as sentences
version_added: 0.1.0
author: The Slipway authors (@slipway)
description:
  - Looks at the inventory alone, so that it can be refused before any machine is touched.
positional: topology, hostvars
options:
  _input:
    description: What the operator declares, under the names that the wiring gives it.
    type: dict
    required: true
  topology:
    description: The result of P(slipway.stack.topology#filter).
    type: dict
    required: true
  hostvars:
    description: The magic variable C(hostvars); the variables of every machine are looked at.
    type: dict
"""

EXAMPLES = """
problems: "{{ inputs | slipway.stack.inventory_problems(stack_topology, hostvars) }}"
"""

RETURN = """
_value:
  description: One sentence for each problem, naming the option, its value and the remedy.
  type: list
  elements: str
"""


def inventory_problems(
    inputs: dict[str, t.Any],
    topology: dict[str, t.Any],
    hostvars: t.Mapping[str, t.Mapping[str, t.Any]] | None = None,
) -> list[str]:
    """See DOCUMENTATION."""
    # Whoever uses any filter of a collection makes Ansible load them all, and in every task anew.
    # This one needs the rules of every role and every health check; nobody else shall wait for it.
    from ansible_collections.slipway.stack.plugins.plugin_utils import _inventory

    # An option that is misspelt is in no variable that anything asks for.
    inputs = {**inputs, "extra": load_extra_vars(DataLoader())}
    groups, addresses = topology["groups"], topology["addresses"]
    machines = {name: hostvars[name] for name in addresses} if hostvars else {}
    sentences: list[str] = _inventory.problems(inputs, groups, addresses, machines)
    return sentences


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"inventory_problems": inventory_problems}
