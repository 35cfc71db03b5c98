# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.slipway.stack.plugins.plugin_utils import _applications

DOCUMENTATION = """
name: typed
short_description: A dictionary of the operator, typed and defaulted by its specification
version_added: 0.1.0
author: The Slipway authors (@slipway)
description:
  - The specification is the entry point C(validate_inventory) of the role C(common).
positional: option
options:
  _input:
    description: The dictionary as written in the inventory.
    type: dict
    required: true
  option:
    description: Name of the option that specifies it.
    type: str
    required: true
"""

EXAMPLES = """
directory: "{{ (stack_acme | slipway.stack.typed('stack_acme')).directory }}"
"""

RETURN = """
_value:
  description: The dictionary with every option that its specification knows.
  type: dict
"""


def typed(value: t.Any, option: str) -> dict[str, t.Any]:
    """See DOCUMENTATION; raises AnsibleFilterError with one sentence."""
    try:
        result: dict[str, t.Any] = _applications.typed(option, value)
    except _applications.InventoryError as error:
        raise AnsibleFilterError(str(error)) from error
    return result


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"typed": typed}
