#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: result
short_description: Tell workflows and programs what came of a playbook
version_added: 0.1.0
author: The Slipway authors (@slipway)
description:
  - Sets the statistic C(slipway_result), as M(ansible.builtin.set_stats) would, which AWX hands to
    the jobs that follow in a workflow; writes the same as JSON where that is asked for.
  - Used twice. Without O(begun) it tells that a playbook has begun, which stays when the playbook
    does not come to its end.
  - Runs on the controller.
options:
  begun:
    description: What it returned when the playbook began; nothing when it begins now.
    type: dict
    default: {}
  next:
    description: What to do after a playbook that came to a good end.
    type: str
    default: ""
  found:
    description:
      - What the playbook found besides; with a V(false) under C(healthy), or something under
        C(breaches), it failed.
    type: dict
    default: {}
  json:
    description: File on the controller for the result as JSON.
    type: path
attributes:
  check_mode:
    description: Does the same in check mode.
    support: full
  diff_mode:
    description: Has no differences to show.
    support: none
"""

EXAMPLES = r"""
- name: Begin
  slipway.stack.result:
  register: begun
  run_once: true

- name: Say what came of it
  slipway.stack.result:
    begun: "{{ begun }}"
    next: Watch the sales.
  run_once: true
"""

RETURN = r"""
began:
  description: When this was told, in seconds since 1970.
  returned: always
  type: float
result:
  description: What was told.
  returned: always
  type: dict
  contains:
    playbook: {description: The playbook that ran., type: str, returned: always}
    environment: {description: Name of the site., type: str, returned: always}
    application: {description: The one it was about; empty for all., type: str, returned: always}
    machines: {description: Those it was about., type: list, elements: str, returned: always}
    check: {description: Whether it was only tried., type: bool, returned: always}
    released:
      description: >-
        What a deploy has released, in its own result and in those of the jobs of a workflow that
        follow it: C(version), C(release), the one C(before), and whether it is C(new).
      type: dict
      returned: always
    state:
      description: >-
        V(done), V(failed) on a machine, or V(begun), when it did not come to its end.
      type: str
      returned: always
    seconds: {description: How long it took., type: float, returned: always}
    next: {description: What to do next., type: str, returned: always}
"""

# The action plugin of the same name does all of it.
