#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: health_report
short_description: Print the health of all machines as one table
version_added: 0.1.0
author: The Slipway authors (@slipway)
description:
  - Prints one table, the worst first, each finding that is not V(ok) with what to do; writes the
    same as JSON and as a self-contained HTML page where that is asked for.
  - Fails when a finding is V(critical) or V(unknown). A machine that gave no answer is never
    healthy.
  - Runs on the controller. Files are written in check mode too, for they are what was asked for.
options:
  results:
    description: What M(slipway.stack.stack_health) returned, by machine.
    type: dict
    required: true
  environment:
    description: Name of the site, for the headline.
    type: str
    default: this site
  json:
    description: File on the controller for the report as JSON.
    type: path
  html:
    description: File on the controller for the report as an HTML page.
    type: path
  fail_when_unhealthy:
    description: Whether a finding that is V(critical) or V(unknown) fails it.
    type: bool
    default: true
attributes:
  check_mode:
    description: Does the same in check mode.
    support: full
  diff_mode:
    description: Has no differences to show.
    support: none
"""

EXAMPLES = r"""
- name: Examine every machine
  slipway.stack.stack_health:
    checks: "{{ checks }}"
    fail_when_unhealthy: false
  register: examined
  ignore_errors: true
  ignore_unreachable: true

- name: Print the table
  slipway.stack.health_report:
    results: >-
      {{ dict(ansible_play_hosts_all
              | zip(ansible_play_hosts_all | map('extract', hostvars)
                    | map(attribute='examined', default={}))) }}
    html: /tmp/health.html
  run_once: true
"""

RETURN = r"""
healthy:
  description: Whether no finding is V(critical) or V(unknown).
  returned: always
  type: bool
state:
  description: The worst state of all findings.
  returned: always
  type: str
"""

# The action plugin of the same name does all of it.
