#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: stack_health
short_description: Examine everything that runs on one machine
version_added: 0.1.0
author: The Slipway authors (@slipway)
description:
  - Runs all of a machine's checks at once, in one remote execution.
extends_documentation_fragment:
  - slipway.stack._health
options:
  checks:
    description:
      - The checks; P(slipway.stack.health_checks#filter) makes them from the resolved applications.
      - Each has C(kind), C(name), optionally C(timeout), and the options of the module
        C(<kind>_health).
    type: list
    elements: dict
    required: true
  passwords:
    description: Passwords by user, kept apart from O(checks) so that they are never shown.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Examine the machine and the web server
  slipway.stack.stack_health:
    checks:
      - {kind: unit, name: nginx, unit: nginx.service}
      - {kind: http, name: shop, url: https://shop.example.com/health/, address: 127.0.0.1}
      - {kind: tls, name: shop, host: shop.example.com, address: 127.0.0.1, timeout: 5}
"""

RETURN = r"""
findings:
  description: One row for each thing examined.
  returned: always
  type: list
  elements: dict
  contains:
    check: {description: What was examined., type: str, returned: always}
    state:
      description: V(ok), V(warning), V(critical) or V(unknown).
      type: str
      returned: always
    value: {description: What was found., type: str, returned: always}
    limit: {description: What is expected., type: str, returned: always}
    advice: {description: Where to look or what to do., type: str, returned: always}
state:
  description: The worst state of all findings.
  returned: always
  type: str
healthy:
  description: Whether no finding is critical or unknown.
  returned: always
  type: bool
"""

from ansible_collections.slipway.stack.plugins.module_utils import _health_kinds, _health_module


def main() -> None:
    _health_module.run_all(_health_kinds.KINDS)


if __name__ == "__main__":
    main()
