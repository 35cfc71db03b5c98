#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = """
module: host_health
short_description: Examine everything that runs on one machine
version_added: 0.1.0
author: The Slipway authors (@slipway)
description:
  - Runs all of a machine's checks at once, in one remote execution, and changes nothing.
  - A check that cannot be made is V(unknown) with the remedy, never healthy.
options:
  checks:
    description:
      - The checks; P(slipway.stack.health_checks#filter) makes them from the resolved applications.
      - Each has C(name), C(kind) (V(unit), V(web), V(redis), V(postgres), V(pgbouncer), V(celery)
        or V(disk)) and what that kind needs.
    type: list
    elements: dict
    required: true
  passwords:
    description: Passwords by Redis user, kept apart from O(checks) so that they are never shown.
    type: dict
    default: {}
  timeout:
    description: Seconds that each check has.
    type: int
    default: 10
  fail_when_unhealthy:
    description: Whether a critical finding fails the task.
    type: bool
    default: true
attributes:
  check_mode:
    description: Runs the same in check mode.
    support: full
  diff_mode:
    description: Has no differences to show.
    support: none
"""

EXAMPLES = """
- name: Examine the disk and the web server
  slipway.stack.host_health:
    checks:
      - {kind: disk, name: root, path: /}
      - {kind: unit, name: nginx, unit: nginx.service}
"""

RETURN = """
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
healthy:
  description: Whether no finding is critical or unknown.
  returned: always
  type: bool
"""

import dataclasses

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.stack.plugins.module_utils import _health


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "checks": {"type": "list", "elements": "dict", "required": True},
            "passwords": {"type": "dict", "default": {}, "no_log": True},
            "timeout": {"type": "int", "default": 10},
            "fail_when_unhealthy": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    checks = [
        {**check, "password": module.params["passwords"].get(check.get("user"), "")}
        for check in module.params["checks"]
    ]
    findings = _health.examine(checks, module.params["timeout"])
    wrong = [row for row in findings if row.state in (_health.CRITICAL, _health.UNKNOWN)]
    result = {
        "changed": False,
        "findings": [dataclasses.asdict(row) for row in findings],
        "healthy": not wrong,
    }
    if wrong and module.params["fail_when_unhealthy"]:
        module.fail_json(msg="; ".join(f"{r.check}: {r.value}" for r in wrong) + ".", **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
