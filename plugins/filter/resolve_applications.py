# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.slipway.stack.plugins.plugin_utils import (
    _applications,
    _derive,
    _placement,
)

DOCUMENTATION = """
name: resolve_applications
short_description: Complete the operator's applications for every role
version_added: 0.1.0
author: The Slipway authors (@slipway)
description:
  - Types and defaults C(stack_applications) by their specification, merges their secrets, refuses
    contradictions and adds to each what each role needs in its own vocabulary.
positional: secrets, topology, prepared_statements
options:
  _input:
    description: C(stack_applications) as written in the inventory.
    type: list
    elements: dict
    required: true
  secrets:
    description: C(vault_stack_applications), secrets by application name.
    type: dict
    required: true
  topology:
    description: The result of P(slipway.stack.topology#filter).
    type: dict
    required: true
  prepared_statements:
    description: Whether statements may be prepared through the pooler; the applications are told.
    type: bool
    default: false
"""

EXAMPLES = """
stack_resolved: >-
  {{ stack_applications
     | slipway.stack.resolve_applications(vault_stack_applications, stack_topology) }}
"""

RETURN = """
_value:
  description:
    - The applications with the sub-dicts C(database), C(pool), C(redis_user), C(site), C(release),
      C(celery) and C(backup), each for the role of that concern.
  type: list
  elements: dict
"""


def resolve_applications(
    applications: t.Any,
    secrets: t.Any,
    topology: dict[str, t.Any],
    prepared_statements: bool = False,
) -> list[dict[str, t.Any]]:
    """See DOCUMENTATION; raises AnsibleFilterError with one sentence."""
    try:
        resolved = _applications.resolve(applications, secrets)
        _placement.check_topology(
            resolved,
            topology["groups"],
            topology["addresses"],
            redis_provided=bool(topology.get("redis")),
        )
    except _applications.InventoryError as error:
        raise AnsibleFilterError(str(error)) from error
    placed = _derive.Topology(**topology, prepared_statements=prepared_statements)
    return [_derive.derive(application, placed) for application in resolved]


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"resolve_applications": resolve_applications}
