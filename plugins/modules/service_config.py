#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: service_config
short_description: Keep everything that a service consists of in its declared state
version_added: 0.1.0
author:
  - The Slipway authors (@slipway)
description:
  - Keeps system users, directories, files and systemd units in one remote execution.
  - Remembers for each unit a digest of everything that it was last started or reloaded with, so
    that a run which was killed between writing a file and restarting its service is finished by
    the next run. There is no handler that could be lost.
  - New files are judged by the service's own validator in a copy of the live tree, and
    renamed into place only then. If a unit nevertheless does not come up, the old files go back.
  - Templates are rendered on the controller, with C(trim_blocks) and C(lstrip_blocks).
attributes:
  check_mode:
    support: full
    description: Predicts all changes, also where user, package, unit and validator are missing.
  diff_mode:
    support: full
    description: Shows what changes in files and units; of a secret file only that it changes.
  platform:
    support: full
    platforms: debian
    description: Works where systemd and the shadow tools are.
options:
  users:
    description:
      - System users to create, each with a group of the same name and without a login.
      - An existing user keeps its shell and joins the groups it lacks; another home is refused.
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: Name of the user and of its own group., type: str, required: true}
      home:
        description: Home directory, which is not created; without it C(/nonexistent).
        type: str
      groups:
        description: Supplementary groups to join; other memberships are left alone.
        type: list
        elements: str
        default: []
  directories:
    description:
      - Directories to create, in this order. Missing parents belong to root and are C(0755).
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: Where the directory is., type: path, required: true}
      owner: &owner {description: User that owns it., type: str, default: root}
      group: &group {description: Group that owns it., type: str, default: root}
      mode: {description: Octal mode in quotes; without it C(0755)., type: str}
  files:
    description:
      - Files to write atomically or to remove. Missing parents belong to root and are C(0755).
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where the file is. A symbolic link there is replaced, not followed.
        type: path
        required: true
      template:
        description: Name of a template in the role's C(templates/), rendered on the controller.
        type: str
      vars: {description: 'Variables for this template, over those of the task.', type: dict}
      content: {description: 'Text of the file, instead of a template.', type: str}
      secret:
        description: Never show the file's contents in output, logs or differences.
        type: bool
        default: false
      encoded_content:
        description:
          - The contents in Base64, which keeps them out of the machine's journal. Filled in on the
            controller; write O(files[].content) or O(files[].template) instead.
        type: str
      owner: *owner
      group: *group
      mode:
        description: Octal mode in quotes; without it C(0644), and C(0600) for a secret file.
        type: str
      independent:
        description:
          - If a validator refuses the files, this one may be left out so that the rest is applied.
            It keeps its old version, and the module fails at the end and names it.
        type: bool
        default: false
      state:
        description: Whether the file must be there.
        type: str
        choices: [present, absent]
        default: present
  validate:
    description:
      - Commands that judge changed files in a copy of their tree before any of them goes live.
      - A command that fails refuses all files of the call, unless leaving out some that are
        O(files[].independent) satisfies it.
      - In check mode a refusal is only a warning, because what the files need may be predicted too.
    type: list
    elements: dict
    default: []
    suboptions:
      tree:
        description:
          - Directory to copy. The command runs only if a file of this call changes below it.
          - Within the copy, references to the tree are rewritten to the copy.
        type: path
        required: true
      command:
        description: Command without a shell; V({staged}) stands for the copy.
        type: str
        required: true
      timeout:
        {description: Seconds after which the command counts as failed., type: int, default: 30}
  units:
    description: systemd units to keep, in this order.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the unit; C(.service) may be left out.
        type: str
        required: true
      enabled:
        description: Whether it starts with the machine. A unit without C([Install]) is left alone.
        type: bool
        default: true
      state:
        description: Whether the unit runs now.
        type: str
        choices: [started, stopped]
        default: started
      restart_on:
        description:
          - Files, symbolic links and directories whose change restarts the unit, also when
            something else than this task changes them. A restarted socket takes its services along.
          - Without it, all O(files) of the call that are not in O(units[].reload_on).
        type: list
        elements: path
      reload_on:
        description: The same, but the unit is only reloaded, or restarted if it cannot reload.
        type: list
        elements: path
        default: []
      requires_path:
        description: Until this path exists the unit is enabled but neither started nor restarted.
        type: path
      settle_seconds:
        description: How long a unit must stay up that cannot announce its readiness (C(Type=exec)).
        type: int
        default: 1
  owned_units:
    description:
      - Patterns of unit names, V(shop-worker-*.service) say, that this call alone decides about.
      - A unit in C(/etc/systemd/system) that matches and is not among O(units) is stopped first,
        in the time that it takes, and disabled. Its file stays.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: configure | Keep redis configured and running
  slipway.stack.service_config:
    files:
      - path: /etc/redis/redis-broker.conf
        template: redis.conf.j2
        vars:
          instance: {name: broker, port: 6379}
      - path: /etc/redis/users.acl
        template: users.acl.j2
        secret: true
        owner: redis
    units:
      - name: redis-server@broker.service

- name: configure | Keep the sites served
  slipway.stack.service_config:
    files: [{path: /etc/nginx/sites-enabled/shop.conf, template: site.conf.j2, independent: true}]
    validate:
      - tree: /etc/nginx
        command: nginx -t -q -c {staged}/nginx.conf
    units:
      - name: nginx
        reload_on: [/etc/nginx, /etc/slipway/tls]
"""

RETURN = r"""
changes:
  description: What was done, or in check mode would be, one sentence each.
  returned: always
  type: list
  elements: str
  sample: ["wrote /etc/redis/redis-broker.conf"]
units:
  description: What happened to each unit; V(started), V(restarted), V(reloaded), V(stopped),
    V(unchanged) or V(failed).
  returned: always
  type: dict
  sample: {redis-server@broker.service: restarted}
refused:
  description: The independent files that a validator refused, with what it said.
  returned: always
  type: dict
  sample: {}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.stack.plugins.module_utils import _service_config
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError


def main() -> None:
    # Neither the machine's log nor the result repeats the contents of all files.
    spec = _service_config.argument_spec()
    module = AnsibleModule(spec, supports_check_mode=True, no_log=True)
    params = dict(module.params)
    module.params.pop("files")
    try:
        request = _service_config.request_from(params)
    except StackError as error:
        module.fail_json(msg=str(error))
    world = _service_config.World(check_mode=module.check_mode)
    outcome = _service_config.converge(request, world)
    for warning in outcome.warnings:
        module.warn(warning)
    result = {
        "changed": bool(outcome.changes),
        "changes": outcome.changes,
        "units": outcome.units,
        "refused": outcome.refused,
        "diff": outcome.diff,
    }
    if outcome.failure:
        module.fail_json(msg=outcome.failure, **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
