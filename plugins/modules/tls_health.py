#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: tls_health
short_description: Examine what a TLS server presents
version_added: 0.1.0
author: The Slipway authors (@slipway)
description:
  - Verifies chain and name, judges what is left of the certificate's lifetime, compares it with
    the one on disk, and tries whether protocols older than allowed are refused.
  - What is left is judged as a share of the lifetime. Days mean little where certificates live for
    six days, 45 or a year.
extends_documentation_fragment:
  - slipway.stack._health
  - slipway.stack._health.check
options:
  host:
    description: Name that the server is asked for and that the certificate must be for.
    type: str
    required: true
  address:
    description: Connect here instead of to the address of O(host).
    type: str
    default: ''
  port:
    description: TCP port.
    type: int
    default: 443
  ca_file:
    description:
      - PEM file with authorities to trust besides the machine's own. Where it holds the served
        certificate itself, everything in it that did not sign itself must be served.
    type: path
  certificate_file:
    description:
      - PEM file whose first certificate must be the one served. A renewed certificate that was
        never loaded is found so. Not compared if not given.
    type: path
  remaining_warning_percent:
    description:
      - Share of the lifetime below which the certificate is V(warning). Renewal is due at a third,
        so at a quarter it has failed for a while.
    type: float
    default: 25.0
  remaining_critical_percent:
    description: As O(remaining_warning_percent), for V(critical).
    type: float
    default: 10.0
  minimum_protocol:
    description: Older protocols must be refused.
    type: str
    choices: [TLSv1.2, TLSv1.3]
    default: TLSv1.2
  advice:
    description: What to do, told with a finding that is not V(ok), in place of general advice.
    type: str
    default: ''
"""

EXAMPLES = r"""
- name: Examine the certificate that nginx serves
  slipway.stack.tls_health:
    name: shop.example.com
    host: shop.example.com
    address: 127.0.0.1
    certificate_file: /etc/slipway/tls/shop/fullchain.pem
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

from ansible_collections.slipway.stack.plugins.module_utils import _health_module, _health_tls


def main() -> None:
    _health_module.run(_health_tls)


if __name__ == "__main__":
    main()
