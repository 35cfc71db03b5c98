#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: backup_health
short_description: Examine whether backups are taken and read back in time
version_added: 0.1.0
author: The Slipway authors (@slipway)
description:
  - Reads what the programs of P(slipway.stack.backup#role) wrote of their runs. A backup that was
    not read back never counts, so this tells of verification that is overdue as well.
  - Before the first success, time counts from when the timer was installed. A last run that failed
    is V(warning) at once.
extends_documentation_fragment:
  - slipway.stack._health
  - slipway.stack._health.check
options:
  directory:
    description: Where the programs keep their state.
    type: path
    default: /var/lib/slipway/backup
  units:
    description: Where the timers are.
    type: path
    default: /etc/systemd/system
  databases:
    description: Databases that must have a dump.
    type: list
    elements: str
    default: []
  ignored_databases:
    description:
      - Databases of the server that are in no dump on purpose. Of any other one that has none the
        check warns by name; templates and C(postgres) are none of them.
    type: list
    elements: str
    default: []
  physical:
    description: Whether the cluster must have a physical backup.
    type: bool
    default: false
  second:
    description: Whether a second place must have the physical backups and files as well.
    type: bool
    default: false
  rehearsal:
    description: Whether a restore must have been rehearsed.
    type: bool
    default: false
  files:
    description: Whether files, media and configuration, must have been saved.
    type: bool
    default: false
  files_directory:
    description: Where the program that saves files keeps its state.
    type: path
    default: /var/lib/slipway/files
  files_warning_hours:
    description:
      - Age of the last snapshot of files that was read back (in hours); more is V(warning). A night
        and two hours.
    type: float
    default: 26
  files_critical_hours:
    description:
      - Age of the last snapshot of files that was read back (in hours); more is V(critical). Half a
        day later.
    type: float
    default: 36
  dump_warning_hours:
    description:
      - Age of the last dump that was read back (in hours); more is V(warning). A night and two
        hours.
    type: float
    default: 26
  dump_critical_hours:
    description:
      - Age of the last dump that was read back (in hours); more is V(critical). Half a day later.
    type: float
    default: 36
  physical_warning_hours:
    description:
      - Age of the last physical backup that was read back (in hours); more is V(warning). Two runs
        were missed.
    type: float
    default: 13
  physical_critical_hours:
    description:
      - Age of the last physical backup that was read back (in hours); more is V(critical). A day.
    type: float
    default: 26
  rehearsal_warning_hours:
    description:
      - Age of the last restore that was rehearsed (in hours); more is V(warning). A week and a day.
    type: float
    default: 192
  rehearsal_critical_hours:
    description:
      - Age of the last restore that was rehearsed (in hours); more is V(critical). Two weeks.
    type: float
    default: 336
"""

EXAMPLES = r"""
- name: Is the shop backed up?
  slipway.stack.backup_health:
    name: db1
    databases: [shop]
    physical: true
"""

RETURN = r"""
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
  sample:
    - check: backup db1 dump shop
      state: ok
      value: 7.4 h old
      limit: at most 26 h old
      advice: ""
state:
  description: The worst state of all findings.
  returned: always
  type: str
healthy:
  description: Whether no finding is critical or unknown.
  returned: always
  type: bool
"""

from ansible_collections.slipway.stack.plugins.module_utils import _health_backup, _health_module


def main() -> None:
    _health_module.run(_health_backup)


if __name__ == "__main__":
    main()
