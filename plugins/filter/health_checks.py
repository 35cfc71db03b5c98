# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import time
import typing as t

from ansible_collections.slipway.stack.plugins.plugin_utils import _derive

DOCUMENTATION = """
name: health_checks
short_description: What is to be examined on one machine
version_added: 0.1.0
author: The Slipway authors (@slipway)
description: Follows from the applications and the machine's groups; nothing is declared twice.
positional: topology, acme_directory, options, application
options:
  _input:
    description: The result of P(slipway.stack.resolve_applications#filter).
    type: list
    elements: dict
    required: true
  topology:
    description: The result of P(slipway.stack.topology#filter).
    type: dict
    required: true
  acme_directory:
    description: Certificates of Let's Encrypt must be trusted publicly, those of others need not.
    type: str
    required: true
  options:
    description:
      - Options by kind, such as C(http) or C(redis), that every check of the kind gets in place of
        its defaults.
    type: dict
    default: {}
  application:
    description:
      - Name of an application; only what a release of it answers for is then examined, which is its
        servers, workers and pages.
    type: str
    default: ""
"""

EXAMPLES = """
checks: "{{ stack_resolved | slipway.stack.health_checks(stack_topology, stack_acme.directory) }}"
"""

RETURN = """
_value:
  description: Checks for M(slipway.stack.stack_health).
  type: list
  elements: dict
"""


def health_checks(
    resolved: list[dict[str, t.Any]],
    topology: dict[str, t.Any],
    acme_directory: str,
    options: dict[str, dict[str, t.Any]] | None = None,
    application: str = "",
) -> list[dict[str, t.Any]]:
    """See DOCUMENTATION."""
    given = options or {}
    applications = [{**each, "acme_directory": acme_directory} for each in resolved]
    # The machines' clocks are compared with this one.
    placed = _derive.Topology(**topology)
    if application:
        checks = _derive.release_checks(applications, placed, application)
    else:
        checks = _derive.health_checks(applications, placed, now=time.time())
    told = [{**check, **given.get(check["kind"], {})} for check in checks]
    return [each for each in told if each["kind"] != "backup" or _is_backed_up(each)]


def _is_backed_up(check: dict[str, t.Any]) -> bool:
    return any(check.get(name) for name in ("databases", "physical", "files"))


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"health_checks": health_checks}
