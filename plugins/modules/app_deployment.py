#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: app_deployment
short_description: Begin or end a deployment of an application
version_added: 0.1.0
author:
  - The Slipway authors (@slipway)
description:
  - Asking only tells whether the lock is free. All machines are asked before any of them begins,
    because one that waits for its turn gives no sign of life, and one that works does.
  - Beginning takes the application's lock, opens a line in its history and puts right what an
    interrupted deployment has left. Whoever finds the lock taken is told by whom.
  - Ending removes releases that are not kept, lets what serves collect its files again when no
    other was published, closes the line with what the phases have noted in it, and gives the lock
    back. Whoever has lost the lock removes nothing and fails.
extends_documentation_fragment: [slipway.stack._serving]
attributes:
  check_mode:
    support: full
    description: Nothing is locked, noted or removed.
  diff_mode:
    support: none
    description: Its changes are bookkeeping.
options:
  state:
    description: Whether to ask, to begin or to end.
    type: str
    choices: [asked, begun, ended]
    required: true
  deployment:
    description: Number of the deployment to end.
    type: str
    default: ""
  what:
    description: What is done, in one word, for the history.
    type: str
    default: deploy
  version:
    description: What the operator calls the revision.
    type: str
    default: ""
  holder:
    description: Who begins, on which controller, in which process; filled in on the controller.
    type: dict
    default: {}
  dead:
    description: A deployment whose process is known to be gone; filled in on the controller.
    type: str
    default: ""
  peers:
    description: Machines none of which may have failed in this run.
    type: list
    elements: str
    default: []
  trouble:
    description: What the controller said of this machine, for the history, when it knows no more.
    type: str
    default: ""
  lock_seconds:
    description: Seconds without a sign of life after which the lock is anyone's.
    type: int
    default: 900
  keep:
    description: Good releases to keep; current and previous are never removed.
    type: int
    default: 5
"""

EXAMPLES = r"""
- name: Begin
  slipway.stack.app_deployment:
    name: shop
    home: /srv/shop
    state: begun
    version: v2.4.1
  register: begun

- name: End
  slipway.stack.app_deployment:
    name: shop
    home: /srv/shop
    state: ended
    deployment: "{{ begun.deployment }}"
"""

RETURN = r"""
deployment:
  description: Number of the deployment; empty in check mode.
  returned: success
  type: str
  sample: 3f2c5d0e8a1b
started:
  description: When it began, by the machine's clock, in UTC.
  returned: when begun
  type: str
  sample: "2026-11-21T08:00:00Z"
interrupted:
  description: Deployments that nobody had ended.
  returned: when begun
  type: list
  elements: str
  sample: []
recovered:
  description: The release that a killed deployment had switched to and that was taken back.
  returned: when begun
  type: str
  sample: ""
behind:
  description: Workers that are not where the servers are, and follow when all machines' are there.
  returned: when begun
  type: list
  elements: str
  sample: []
pruned:
  description: Releases that were removed.
  returned: when ended
  type: list
  elements: str
  sample: []
held:
  description: The lock, when somebody else holds it.
  returned: failure
  type: dict
"""

import dataclasses
import datetime
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.stack.plugins.module_utils import (
    _deployments,
    _lock,
    _publication,
    _releases,
    _serving,
)
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError


def begin(params: dict[str, t.Any]) -> dict[str, t.Any]:
    application = _serving.from_params(params)
    serving = application.releases.linked("current")
    order = _deployments.Order(
        params["what"],
        params["version"],
        _lock.Holder(**params["holder"]),
        params["lock_seconds"],
        params["dead"],
    )
    # What nobody has proved is not what served; who was interrupted before this knows what did.
    proved = serving and serving.result == _releases.GOOD
    before, now = serving.name if serving and proved else "", _now()
    number, interrupted = _deployments.start(application.name, order, before, now)
    try:
        with _deployments.phase(application.name, number):
            left = interrupted[-1].before if interrupted else ""
            together = params["together"]
            recovered, missed = _publication.recover(application, left, together=together)
            if interrupted and not recovered:
                missed = missed or _publication.collect(application)
            behind = [worker.unit for worker in _publication.behind(application)]
    except StackError:
        _deployments.finish(application.name, number, _now())
        raise
    return {
        "deployment": number,
        "started": _deployments.shown(now),
        "interrupted": [f"{one.what} of {one.started} by {one.who}" for one in interrupted],
        "recovered": recovered,
        "behind": behind,
        "warnings": _warnings(application, missed),
    }


def ask(params: dict[str, t.Any]) -> dict[str, t.Any]:
    lock = _lock.Lock(params["name"], _deployments.directory(params["name"]))
    lock.ask(_lock.Holder(**params["holder"]), _now(), params["dead"])
    return {"deployment": ""}


def end(params: dict[str, t.Any]) -> dict[str, t.Any]:
    application, number = _serving.from_params(params), params["deployment"]
    try:
        # What is being built now may be another's, if he has the lock.
        with _deployments.phase(application.name, number):
            application.releases.point(_publication.NEXT, None)
            pruned = application.releases.prune(params["keep"])
            line = _deployments.History(_deployments.directory(application.name)).find(number)
            published = line is not None and line.result == _deployments.PUBLISHED
            missed = "" if published else _publication.collect(application)
    finally:
        _deployments.finish(application.name, number, _now(), trouble=params["trouble"])
    warnings = _warnings(application, missed)
    return {"deployment": number, "pruned": pruned, "warnings": warnings}


def _warnings(application: _serving.Application, missed: str) -> list[str]:
    """What serves goes on, but may not find its files."""
    return [f"The release of {application.name} that serves: {missed}"] if missed else []


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _option(default: str = "") -> dict[str, t.Any]:
    return {"type": "str", "default": default}


_WORK = {"asked": ask, "begun": begin, "ended": end}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **_serving.argument_spec(),
            "state": {"type": "str", "choices": list(_WORK), "required": True},
            "deployment": _option(),
            "what": _option("deploy"),
            "version": _option(),
            "holder": {"type": "dict", "default": {}},
            "dead": _option(),
            "lock_seconds": {"type": "int", "default": 900, "no_log": False},
            "peers": {"type": "list", "elements": "str", "default": []},
            "trouble": _option(),
            "keep": {"type": "int", "default": 5},
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=False, deployment="")
    try:
        module.exit_json(changed=False, **_WORK[module.params["state"]](module.params))
    except _lock.Locked as error:
        module.fail_json(msg=str(error), held=dataclasses.asdict(error.held))
    except StackError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
