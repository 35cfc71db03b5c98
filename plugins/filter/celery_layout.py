# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter slipway.stack.celery_layout."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError
from ansible_collections.slipway.stack.plugins.plugin_utils import _celery_layout, _role_spec

DOCUMENTATION = r"""
name: celery_layout
short_description: Directories, files and units that follow from celery_applications
version_added: 0.1.0
description:
  - Completes the applications with the defaults of the role's argument specification and derives
    everything that the role keeps on a machine.
positional: beat_enabled
options:
  _input:
    description: The applications, as the role C(slipway.stack.celery) takes them.
    type: list
    elements: dict
    required: true
  beat_enabled:
    description: Whether beat runs on this machine.
    type: bool
    default: true
author: The Slipway authors (@slipway)
"""

EXAMPLES = r"""
- name: What the role would keep
  ansible.builtin.debug:
    msg: "{{ (celery_applications | slipway.stack.celery_layout(true)).units }}"
"""

RETURN = r"""
_value:
  description: The keys directories, files, units, owned and workers.
  type: dict
"""


def celery_layout(
    applications: list[dict[str, t.Any]], beat_enabled: bool = True
) -> dict[str, t.Any]:
    try:
        completed = _role_spec.complete(applications, "celery", "celery_applications")
        return _celery_layout.layout(completed, beat_enabled)
    except StackError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """Offers the filter to Ansible."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"celery_layout": celery_layout}
