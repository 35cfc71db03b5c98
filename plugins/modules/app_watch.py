#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: app_watch
short_description: Watch what visitors get from a release that has just been published
version_added: 0.1.0
author:
  - The Slipway authors (@slipway)
description:
  - Reads nginx's access log as it is written and asks the health endpoint every two seconds, for
    as long as the window lasts. It changes nothing; what it returns says whether the release must
    go back, and why.
  - Errors (5xx) are judged over the requests of the last ten seconds, on a quiet site over the last
    200; from 20 requests and five errors on. Latency and health must be bad for 30 seconds.
  - What was as bad before the release does not count against it. Of each limit, twice the value
    before the release is allowed as well, where at least 20 requests before it are known, from the
    log or from the one that was rotated last.
attributes:
  check_mode:
    support: full
    description: Does not wait, and finds nothing.
  diff_mode:
    support: none
    description: Nothing is changed.
options:
  seconds:
    description: How long to watch.
    type: int
    required: true
  servers:
    description: Servers of the application as nginx names them, C(unix:PATH) or C(HOST:PORT).
    type: list
    elements: str
    default: []
  endpoints:
    description: Where health is asked, with the keys C(address), C(path) and C(host).
    type: list
    elements: dict
    default: []
  log:
    description:
      - Access log of nginx on this machine, with one JSON object a line; empty is none. What was
        rotated last is looked for beside it, with C(.1) after its name.
    type: str
    default: ""
  since:
    description:
      - When the deployment began, in UTC (C(2026-11-21T08:00:00Z)). Older visits are those to
        compare with.
    type: str
    required: true
  error_percent:
    description: Share of requests that may be answered with 5xx.
    type: float
    default: 1
  p95_milliseconds:
    description: What 95 of 100 requests may take.
    type: float
    default: 1000
  state:
    description: What the look before returned, if this one goes on with it.
    type: dict
    default: {}
  last:
    description: Whether this is the last look, which waits up to a minute for what is in doubt.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Watch for ten minutes
  slipway.stack.app_watch:
    seconds: 600
    servers: ["unix:/run/slipway/shop/web.sock"]
    endpoints:
      - {address: /run/slipway/shop/web.sock, path: /health/, host: shop.example.com}
    log: /var/log/nginx/access.log
    since: "2026-11-21T08:00:00Z"
  register: watched
"""

RETURN = r"""
trouble:
  description: Why the release must go back; empty when all was well.
  returned: success
  type: str
  sample: "9 of the last 120 requests failed, at most 1 % may (before: 0 %)"
said:
  description: How it is going, or what could not be watched and why, for who waits.
  returned: success
  type: str
  sample: "of the last 200 requests 0 failed, p95 is 83 ms"
state:
  description: For the next look, if there is one.
  returned: success
  type: dict
"""

import datetime
import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.stack.plugins.module_utils import _probe, _watch


def run(params: dict[str, t.Any]) -> dict[str, t.Any]:
    log = params["log"]
    blind = ""
    if log and not os.access(log, os.R_OK):
        log, blind = "", f"errors and latency are not watched: {log} cannot be read here"
    subject = _watch.Subject(
        tuple(params["servers"]),
        tuple(
            _probe.Endpoint(one["address"], one["path"], one["host"]) for one in params["endpoints"]
        ),
        log,
        datetime.datetime.fromisoformat(params["since"].replace("Z", "+00:00")).timestamp(),
    )
    limits = _watch.Limits(params["error_percent"], params["p95_milliseconds"])
    state = _watch.State.read(params["state"])
    look = _watch.watch(subject, limits, params["seconds"], state, params["last"])
    return {
        "trouble": look.trouble,
        "said": look.trouble or blind or (str(look.seen) if log else "the health endpoint is well"),
        "state": look.state.as_dict(),
    }


def argument_spec() -> dict[str, t.Any]:
    return {
        "seconds": {"type": "int", "required": True},
        "servers": {"type": "list", "elements": "str", "default": []},
        "endpoints": {"type": "list", "elements": "dict", "default": []},
        "log": {"type": "str", "default": ""},
        "since": {"type": "str", "required": True},
        "error_percent": {"type": "float", "default": 1},
        "p95_milliseconds": {"type": "float", "default": 1000},
        "state": {"type": "dict", "default": {}},
        "last": {"type": "bool", "default": True},
    }


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    if module.check_mode:
        module.exit_json(changed=False, trouble="", said="", state={})
    module.exit_json(changed=False, **run(module.params))


if __name__ == "__main__":
    main()
