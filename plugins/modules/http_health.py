#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: http_health
short_description: Ask a web application whether it is well, as a visitor does
version_added: 0.1.0
author: The Slipway authors (@slipway)
description:
  - Sends a few requests, each over a connection of its own, and judges status, headers, JSON and
    latency. Certificate and name are verified.
  - A server that hangs, sends a byte a second or too much, redirects in circles or endlessly is
    V(critical), and the finding says which of these it was.
extends_documentation_fragment:
  - slipway.stack._health
  - slipway.stack._health.check
  - slipway.stack._health.request
options:
  status:
    description: Statuses that are well.
    type: list
    elements: int
    default: [200]
  json:
    description:
      - What members of the JSON answer must be, by their path, for example C(parts.0.state).
      - Types count, so the number 1 is neither V(true) nor a text.
    type: dict
    default: {}
  components:
    description:
      - Members of the JSON answer, or of its C(checks), C(components), C(dependencies), C(details)
        or C(services), also as a list of C({name, status}), that must be well, by themselves or by
        their C(status). Well is V(ok), V(up), V(connected), V(healthy), V(pass) and V(true), in
        any capitals.
      - An answer whose own C(status) is ill is V(critical), and so is that of another host or of a
        login page; one that names none of them is V(warning), broken JSON V(unknown).
    type: list
    elements: str
    default: []
  expected_headers:
    description: Headers that the answer must have, and a part that each must contain.
    type: dict
    default: {}
  samples:
    description: Requests to send, one after the other, as far as there is time.
    type: int
    default: 5
  latency_warning_milliseconds:
    description:
      - The 95th percentile of the time for a whole request, connection included, above which the
        latency is V(warning). Guides ask for a p95 of at most one second.
    type: float
    default: 1000.0
  latency_critical_milliseconds:
    description: As O(latency_warning_milliseconds), for V(critical).
    type: float
    default: 5000.0
  redirect_limit:
    description: Redirects that are followed; with V(0) a redirect is a status like any other.
    type: int
    default: 5
  body_limit_bytes:
    description: A larger answer, unpacked, is V(critical) and is not read to its end.
    type: int
    default: 1048576
"""

EXAMPLES = r"""
- name: Ask this machine's shop whether it is well
  slipway.stack.http_health:
    name: shop
    url: https://shop.example.com/health/
    address: 127.0.0.1
    json: {status: healthy}
    components: [database, redis]

- name: Hear about a slow page without failing
  slipway.stack.http_health:
    name: front page
    url: https://shop.example.com/
    samples: 20
    timeout: 30
    latency_warning_milliseconds: 300
    fail_when_unhealthy: false
  register: front_page
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

from ansible_collections.slipway.stack.plugins.module_utils import _health_http, _health_module


def main() -> None:
    _health_module.run(_health_http)


if __name__ == "__main__":
    main()
