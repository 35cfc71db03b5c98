# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter slipway.stack.app_layout."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError
from ansible_collections.slipway.stack.plugins.plugin_utils import _app_layout, _role_spec

DOCUMENTATION = r"""
name: app_layout
short_description: Users, directories, files and units that follow from app_applications
version_added: 0.1.0
description:
  - Completes the applications with the defaults of the role's argument specification and derives
    everything that the role keeps on a machine.
options:
  _input:
    description: The applications, as the role C(slipway.stack.app) takes them.
    type: list
    elements: dict
    required: true
author: The Slipway authors (@slipway)
"""

EXAMPLES = r"""
- name: What the role would keep
  ansible.builtin.debug:
    msg: "{{ (app_applications | slipway.stack.app_layout).directories }}"
"""

RETURN = r"""
_value:
  description:
    - The keys users, directories, files, units, packages, questions and releases. What differs
      from machine to machine is in own, by the application's name.
  type: dict
"""


def app_layout(applications: list[dict[str, t.Any]]) -> dict[str, t.Any]:
    try:
        completed = _role_spec.complete(applications, "app", "app_applications")
        return _app_layout.layout(completed)
    except StackError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """Offers the filter to Ansible."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"app_layout": app_layout}
