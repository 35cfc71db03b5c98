#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: app_publish
short_description: Let a release serve, and prove that it does
version_added: 0.1.0
author:
  - The Slipway authors (@slipway)
description:
  - Starts the release on a socket of its own first and asks its health endpoint. Only then
    C(current) is switched and the services are restarted behind their sockets, which go on
    listening, so that no request is lost.
  - If the release is not healthy afterwards, the one before serves again and the module fails.
  - Everything happens on the machine, so a lost connection does not leave it half-way.
attributes:
  check_mode:
    support: full
    description: Says that a release would be published.
  diff_mode:
    support: full
    description: Shows which release serves before and after.
options:
  name:
    description: Name of the application and of its user.
    type: str
    required: true
  home:
    description: Directory of the application.
    type: path
    required: true
  release:
    description: Release to publish; empty restarts the one that serves.
    type: str
    default: ""
  units:
    description: Units to restart in this order, as M(slipway.stack.service_config) takes them.
    type: list
    elements: dict
    default: []
  endpoints:
    description: Servers of the application, as the filter P(slipway.stack.app_layout#filter) says.
    type: list
    elements: dict
    default: []
  prove_only:
    description: Neither switch nor restart, only ask the health endpoint.
    type: bool
    default: false
  keep:
    description: Good releases to keep; current and previous are never removed.
    type: int
    default: 5
  health_timeout:
    description: Seconds within which the health endpoint must say that all is well.
    type: int
    default: 60
"""

EXAMPLES = r"""
- name: Publish the shop's release
  slipway.stack.app_publish:
    name: shop
    home: /srv/shop
    release: 20261121T080000Z-3f2c5d0e8a1b
    units:
      - {name: shop-web.socket}
      - {name: shop-web.service, restart_on: [/srv/shop/current]}
    endpoints:
      - service: shop-web.service
        kind: web
        module: shop.wsgi:application
        configuration: /etc/slipway/shop/gunicorn.conf.py
        address: /run/slipway/shop/web.sock
        path: /health/
        host: shop.example.com
        strict: true
"""

RETURN = r"""
release:
  description: The release that serves now.
  returned: success
  type: str
  sample: 20261121T080000Z-3f2c5d0e8a1b
pruned:
  description: Releases that were removed.
  returned: success
  type: list
  elements: str
  sample: []
"""

import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.stack.plugins.module_utils import (
    _probe,
    _publication,
    _releases,
    _units,
)
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError


def application_from(params: dict[str, t.Any]) -> _publication.Application:
    return _publication.Application(
        name=params["name"],
        releases=_releases.Releases(Path(params["home"])),
        environment_file=Path(f"/etc/slipway/{params['name']}/environment"),
        servers=tuple(_server(endpoint) for endpoint in params["endpoints"]),
        units=tuple(_unit(unit) for unit in params["units"]),
        health_timeout=params["health_timeout"],
    )


def _server(given: dict[str, t.Any]) -> _publication.Server:
    endpoint = _probe.Endpoint(given["address"], given["path"], given["host"], given["strict"])
    names = ("service", "kind", "module", "configuration")
    return _publication.Server(**{name: given[name] for name in names}, endpoint=endpoint)


def _unit(given: dict[str, t.Any]) -> _units.Unit:
    return _units.Unit(
        name=given["name"],
        enabled=True,
        state="started",
        restart_on=tuple(given.get("restart_on", ())),
        reload_on=(),
    )


def publish(application: _publication.Application, params: dict[str, t.Any]) -> dict[str, t.Any]:
    serving = application.releases.linked("current")
    name = params["release"] or (serving.name if serving else "")
    if not name:
        raise StackError(f"{application.name} has no release to restart: deploy one first.")
    if params["prove_only"]:
        trouble = _publication.prove(application)
        if trouble:
            raise StackError(f"{trouble}. See journalctl -u '{application.name}-*'.")
        return {"changed": False, "release": name, "pruned": []}
    pruned = _publication.publish(application, name, params["keep"])
    before = f"{serving.name}\n" if serving else ""
    diff = {"before": before, "after": f"{name}\n", "before_header": "current"}
    return {"changed": True, "release": name, "pruned": pruned, "diff": diff}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "home": {"type": "path", "required": True},
            "release": {"type": "str", "default": ""},
            "units": {"type": "list", "elements": "dict", "default": []},
            "endpoints": {"type": "list", "elements": "dict", "default": []},
            "prove_only": {"type": "bool", "default": False},
            "keep": {"type": "int", "default": 5},
            "health_timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        changed = not module.params["prove_only"]
        module.exit_json(changed=changed, release=module.params["release"], pruned=[])
    try:
        module.exit_json(**publish(application_from(module.params), module.params))
    except StackError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
