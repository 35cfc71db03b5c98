#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: websocket_health
short_description: Open a WebSocket as a browser does
version_added: 0.1.0
author: The Slipway authors (@slipway)
description:
  - Sends the upgrade with an C(Origin), verifies the server's proof, and on demand waits for a
    message or an echo.
extends_documentation_fragment:
  - slipway.stack._health
  - slipway.stack._health.check
  - slipway.stack._health.request
options:
  origin:
    description: The C(Origin) to send; that of O(url) if empty, as a browser does.
    type: str
    default: ''
  text:
    description: Message to send after the upgrade; for an echo, a random one if empty.
    type: str
    default: ''
  expect:
    description:
      - V(upgrade) is content with an upgrade that lasts half a second; V(first_message) waits for
        any message; V(echo) for one that contains O(text).
    type: str
    choices: [upgrade, first_message, echo]
    default: upgrade
  latency_warning_milliseconds:
    description:
      - Time from the request, for an echo from the message, above which the finding is
        V(warning). Guides ask for at most half a second.
    type: float
    default: 500.0
  latency_critical_milliseconds:
    description: As O(latency_warning_milliseconds), for V(critical).
    type: float
    default: 2000.0
  message_limit_bytes:
    description: A larger message is V(critical) and is not read.
    type: int
    default: 65536
"""

EXAMPLES = r"""
- name: See whether live bids arrive
  slipway.stack.websocket_health:
    name: live bids
    url: wss://shop.example.com/ws/auctions/1/
    address: 127.0.0.1
    expect: first_message
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

from ansible_collections.slipway.stack.plugins.module_utils import _health_module, _health_websocket


def main() -> None:
    _health_module.run(_health_websocket)


if __name__ == "__main__":
    main()
