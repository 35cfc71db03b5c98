#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: celery_ping
short_description: Prove that Celery workers answer
version_added: 0.1.0
author:
  - The Slipway authors (@slipway)
description:
  - Asks workers over their broker, with the application's own release and environment, until each
    has answered. A worker whose unit runs but that cannot reach its broker does not answer.
attributes:
  check_mode:
    support: full
    description: Asks without restarting.
  diff_mode:
    support: none
    description: Writes nothing.
options:
  workers:
    description: The workers to ask.
    type: list
    elements: dict
    required: true
    suboptions:
      unit:
        description: Unit of the worker.
        type: str
        required: true
      node:
        description: Name of its node, without the machine's; beat has none and is not asked.
        type: str
        required: true
      application:
        description: Application that it belongs to.
        type: str
        required: true
      module:
        description: Python module that holds the Celery application.
        type: str
        required: true
      home:
        description: Directory of the application.
        type: path
        required: true
      restart_on:
        description: What the unit runs on, noted when it is restarted.
        type: list
        elements: path
        default: []
  timeout:
    description: Seconds that the workers have altogether.
    type: int
    default: 60
  restart:
    description: Restart the units first, one after the other; each finishes its tasks.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: See whether the shop's worker is there
  slipway.stack.celery_ping:
    workers:
      - unit: shop-worker-default.service
        node: shop-default
        application: shop
        module: shop.celery
        home: /srv/shop
"""

RETURN = r"""
nodes:
  description: The nodes that answered.
  returned: success
  type: list
  elements: str
  sample: [shop-default]
"""

import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.stack.plugins.module_utils import _celery, _commands, _units
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError


def restart(workers: list[dict[str, t.Any]], run: _commands.Run = _commands.run) -> None:
    for worker in workers:
        watched = tuple(worker["restart_on"])
        unit = _units.Unit(worker["unit"], True, "started", watched, ())
        digests = _units.digests_of(unit, {})
        shown = _units.show([unit.name], run)[unit.name]
        trouble = _units.act(unit, "restart", shown, run)
        if trouble:
            raise StackError(f"{unit.name} does not start again: {trouble}")
        _units.remember(unit.name, digests)


def worker_from(given: dict[str, t.Any]) -> _celery.Worker:
    names = ("unit", "node", "application", "module")
    return _celery.Worker(**{name: given[name] for name in names}, home=Path(given["home"]))


def main() -> None:
    name = {"type": "str", "required": True}
    worker = {
        **dict.fromkeys(("unit", "node", "application", "module"), name),
        "home": {"type": "path", "required": True},
        "restart_on": {"type": "list", "elements": "path", "default": []},
    }
    module = AnsibleModule(
        argument_spec={
            "workers": {"type": "list", "elements": "dict", "required": True, "options": worker},
            "timeout": {"type": "int", "default": 60},
            "restart": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    workers = [worker_from(given) for given in module.params["workers"] if given["node"]]
    restarts = module.params["restart"] and not module.check_mode
    try:
        if restarts:
            restart(module.params["workers"])
        _celery.require_answers(workers, module.params["timeout"])
    except StackError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=module.params["restart"], nodes=[worker.node for worker in workers])


if __name__ == "__main__":
    main()
