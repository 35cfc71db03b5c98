# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter slipway.stack.nginx_layout."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError
from ansible_collections.slipway.stack.plugins.plugin_utils import _nginx_layout

DOCUMENTATION = r"""
name: nginx_layout
short_description: Sites, files and certificates that follow from nginx_certbot_sites
version_added: 0.1.0
description:
  - Completes the sites with the defaults of the role's argument specification, refuses what nginx
    would refuse, and derives everything that the role keeps on a machine.
positional: addresses
options:
  _input:
    description: The sites, as the role C(slipway.stack.nginx_certbot) takes them.
    type: list
    elements: dict
    required: true
  addresses:
    description: The addresses on which nginx answers, IPv6 with or without brackets.
    type: list
    elements: str
    required: true
author: The Slipway authors (@slipway)
"""

EXAMPLES = r"""
- name: What the role would keep
  ansible.builtin.debug:
    msg: "{{ (nginx_certbot_sites | slipway.stack.nginx_layout(['0.0.0.0'])).files }}"
"""

RETURN = r"""
_value:
  description:
    - The keys sites (without secrets), listen, files, certificates (with private keys), and renewed
      (those that the machine renews by itself).
  type: dict
"""


def nginx_layout(
    sites: t.Sequence[t.Mapping[str, t.Any]], addresses: t.Sequence[str]
) -> dict[str, t.Any]:
    """See DOCUMENTATION; raises AnsibleFilterError with one sentence."""
    try:
        return _nginx_layout.layout(sites, addresses)
    except StackError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """Offers the filter to Ansible."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"nginx_layout": nginx_layout}
