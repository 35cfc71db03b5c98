#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: app_command
short_description: Run an application's own commands in a release that does not serve yet
version_added: 0.1.0
author:
  - The Slipway authors (@slipway)
description:
  - Runs commands such as migrations as the application's user, with its environment and in a
    sandbox, in a transient systemd unit. Secrets travel in files that only root can read.
  - If a command fails, the release is removed unless it serves or has served well before.
attributes:
  check_mode:
    support: full
    description: Says that the commands would run.
  diff_mode:
    support: none
    description: What a command changes is its own affair.
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
    description: Release to run the commands in.
    type: str
    required: true
  commands:
    description: What to run, in this order; the first failure ends it.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: What messages call the command.
        type: str
        required: true
      command:
        description: Command without a shell; programs of the virtual environment come first.
        type: str
        required: true
  environment:
    description: Variables that take the place of the application's own ones.
    type: dict
    default: {}
  deployment:
    description: Number of the deployment under whose lock this happens.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Migrate the shop's database
  slipway.stack.app_command:
    name: shop
    home: /srv/shop
    release: 20261121T080000Z-3f2c5d0e8a1b
    commands:
      - name: migrate
        command: python manage.py migrate --noinput
    environment:
      DATABASE_URL: "{{ vault_direct_database_url }}"
"""

RETURN = r"""
output:
  description: What each command said, by its name, without the values of secrets.
  returned: success
  type: dict
  sample: {migrate: "No migrations to apply."}
"""

import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.stack.plugins.module_utils import (
    _application_commands,
    _deployments,
    _releases,
)
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError


def run(params: dict[str, t.Any]) -> dict[str, str]:
    """Run the commands one after the other."""
    name, home = params["name"], Path(params["home"])
    releases = _releases.Releases(home)
    path = releases.path(params["release"])
    said = {}
    for command in params["commands"]:
        outcome = _application_commands.at_home(
            name, command["command"], home, path, params["environment"], low_priority=True
        )
        if outcome.code:
            raise StackError(_failure(releases, params, command["name"], outcome))
        said[command["name"]] = outcome.tail()
    return said


def _failure(
    releases: _releases.Releases,
    params: dict[str, t.Any],
    command: str,
    outcome: _application_commands.Outcome,
) -> str:
    release = params["release"]
    serving = releases.refuse(release)
    return (
        f"{command} of {params['name']} failed in release {release}, which does not go live;"
        f" {serving}.\n{outcome.tail(30)}"
    )


def main() -> None:
    command = {
        "name": {"type": "str", "required": True},
        "command": {"type": "str", "required": True},
    }
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "home": {"type": "path", "required": True},
            "release": {"type": "str", "required": True},
            "commands": {"type": "list", "elements": "dict", "required": True, "options": command},
            "environment": {"type": "dict", "default": {}, "no_log": True},
            "deployment": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=True, output={})
    try:
        with _deployments.phase(module.params["name"], module.params["deployment"]):
            said = run(module.params)
    except StackError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=True, output=said)


if __name__ == "__main__":
    main()
