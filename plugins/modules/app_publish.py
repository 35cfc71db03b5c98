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
    C(current) is switched. A stand-in of the new release accepts on the same systemd socket while
    the server itself restarts behind it, so that no request is lost and none waits for another.
  - If the release is not healthy afterwards, the one before serves again and the module fails.
  - Everything happens on the machine, so a lost connection does not leave it half-way.
extends_documentation_fragment: [slipway.stack._serving]
attributes:
  check_mode:
    support: full
    description: Says that a release would be published.
  diff_mode:
    support: full
    description: Shows which release serves before and after.
options:
  release:
    description: Release to publish; empty restarts the one that serves.
    type: str
    default: ""
  prove_only:
    description: Neither switch nor restart, only ask the health endpoint.
    type: bool
    default: false
  withdraw:
    description:
      - The release that serves so far is not to be released again by itself. The one that takes its
        place runs O(commands) before it is tried; with a warning it serves also when these fail.
    type: bool
    default: false
  reason:
    description: Why it is withdrawn.
    type: str
    default: ""
  part:
    description:
      - Where several machines share an application, each does a part of it when all have done the
        one before. C(try) tries the release and switches nothing, C(quiet) lets workers take no
        more tasks, C(workers) starts them, C(servers) replaces servers and beat. Going forward they
        come in this order, going back servers come before C(quiet). C(undo) goes back.
      - Without O(release), C(quiet) and C(workers) are for workers that do not run what serves.
    type: str
    choices: [all, try, quiet, workers, servers, undo]
    default: all
  found:
    description: What the part before has returned.
    type: dict
    default: {}
  tolerant:
    description: Only warn of workers that do not come back on what serves.
    type: bool
    default: false
  trouble:
    description:
      - What was found while visitors were watched. With C(part=undo) the release goes back for it.
    type: str
    default: ""
  unless_broken:
    description:
      - With C(part=undo), stay and fail where the result registered as C(__app_migrated) on this
        machine or a peer names migrations that the release before may not work with.
    type: bool
    default: false
  peers:
    description:
      - Machines that serve the application too. When one of them has failed in this run, or cannot
        be reached, this one does not go on.
    type: list
    elements: str
    default: []
  deployment:
    description: Number of the deployment under whose lock this happens.
    type: str
    default: ""
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
        standin: shop-web-standin.service
"""

RETURN = r"""
release:
  description: The release that serves now.
  returned: success
  type: str
  sample: 20261121T080000Z-3f2c5d0e8a1b
found:
  description: What the next part needs to know of this one.
  returned: success
  type: dict
  sample:
    before: 20261120T080000Z-9d3b1a7c5e2f
    previous: ""
    boot_seconds: 1.2
    switched: true
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.stack.plugins.module_utils import (
    _deployments,
    _publication,
    _serving,
)
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError


def publish(application: _serving.Application, params: dict[str, t.Any]) -> dict[str, t.Any]:
    serving = application.releases.linked("current")
    name = params["release"] or (serving.name if serving else "")
    if not name:
        raise StackError(f"{application.name} has no release to restart: deploy one first.")
    if params["prove_only"]:
        if trouble := _serving.prove(application):
            raise StackError(f"{trouble}. See journalctl -u '{application.name}-*'.")
        return {"changed": False, "release": name}
    if not params["release"] and params["part"] in (_publication.QUIET, _publication.WORKERS):
        with _deployments.phase(application.name, params["deployment"]):
            trouble = _publication.follow(application, params["part"])
            said = f"Workers of {application.name} do not run {name}: {trouble}."
            if trouble and not params["tolerant"]:
                raise StackError(said)
        return {"changed": True, "release": name, "warnings": [said] if trouble else []}
    wanted = {key: params[key] for key in ("withdraw", "reason", "part", "together")}
    switch = _publication.Switch(name, **wanted, **params["found"])
    with _deployments.phase(application.name, params["deployment"]):
        if params["part"] == "undo":
            missed = _publication.undo(application, switch, own=bool(params["trouble"]))
            undone = _undone(application.name, switch, params["trouble"])
            raise StackError(undone + _publication.but(missed))
        switch = _publication.publish(application, switch)
    if _publication.is_last(application, switch):
        _note(application.name, params["deployment"], name)
    before = f"{serving.name}\n" if serving else ""
    diff = {"before": before, "after": f"{name}\n", "before_header": "current"}
    names = ("before", "previous", "boot_seconds", "switched")
    found = {key: getattr(switch, key) for key in names}
    said = f"Release {name} of {application.name} may miss its files: {switch.missed}"
    warnings = [said] if switch.missed else []
    return {"changed": True, "release": name, "diff": diff, "found": found, "warnings": warnings}


def _undone(application: str, switch: _publication.Switch, trouble: str) -> str:
    if not trouble:
        return switch.reason
    return (
        f"Release {switch.release} of {application} was taken back, {switch.before} serves again:"
        f" {trouble}."
    )


def _note(application: str, number: str, name: str) -> None:
    if number:
        history = _deployments.History(_deployments.directory(application))
        history.note(number, release=name, result=_deployments.PUBLISHED, reason="")


def argument_spec() -> dict[str, t.Any]:
    parts = [*_publication.PARTS, "undo"]
    return {
        **_serving.argument_spec(),
        "release": {"type": "str", "default": ""},
        "prove_only": {"type": "bool", "default": False},
        "withdraw": {"type": "bool", "default": False},
        "reason": {"type": "str", "default": ""},
        "trouble": {"type": "str", "default": ""},
        "unless_broken": {"type": "bool", "default": False},
        "tolerant": {"type": "bool", "default": False},
        "part": {"type": "str", "choices": parts, "default": _publication.ALL},
        "found": {"type": "dict", "default": {}},
        "peers": {"type": "list", "elements": "str", "default": []},
        "deployment": {"type": "str", "default": ""},
    }


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    if module.check_mode:
        changed = not module.params["prove_only"]
        module.exit_json(changed=changed, release=module.params["release"])
    try:
        module.exit_json(**publish(_serving.from_params(module.params), module.params))
    except StackError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
