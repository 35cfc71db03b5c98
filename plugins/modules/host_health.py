#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: host_health
short_description: Examine a machine itself
version_added: 0.1.0
author: The Slipway authors (@slipway)
description:
  - Asks for disks, memory, load, clock, failed units, a pending reboot, and what releases and
    backups take of their disk. Each part is asked for itself; one that fails takes no other with
    it.
  - The clock is compared with O(clock_server) if given, else with what chrony or systemd-timesyncd
    say, else with O(reference_time), else it is V(unknown). What they say is V(warning) once the
    last answer of their server is older than several polls. Where O(reference_time) is over
    O(clock_critical_seconds) away it is V(critical) in any case.
  - A disk that the kernel has made read-only is V(critical), unless C(/etc/fstab) has it so.
  - File systems in memory are shown only when they are not V(ok).
extends_documentation_fragment:
  - slipway.stack._health
  - slipway.stack._health.check
options:
  mounts:
    description: Paths whose file systems are examined; without any, all that can be written.
    type: list
    elements: path
    default: []
  directories:
    description: Directories, also as patterns, that must not eat their disk.
    type: list
    elements: path
    default: ["/srv/*/releases", "/srv/*/dependencies", /var/backups/slipway]
  clock_server:
    description: NTP server, C(host) or C(host:port), that is asked directly.
    type: str
    default: ""
  reference_time:
    description:
      - Time of the controller when it began, in seconds since 1970. Up to 15 seconds later are no
        offset, for so long may the way take.
    type: float
  failed_units_ignored:
    description: Units that may have failed.
    type: list
    elements: str
    default: []
  disk_warning_free_percent:
    description:
      - Share of a disk that is free (in percent); less is V(warning). The guides alert over 85
        percent used.
    type: float
    default: 15
  disk_critical_free_percent:
    description:
      - Share of a disk that is free (in percent); less is V(critical). The guides page under 10
        percent free.
    type: float
    default: 10
  inodes_warning_free_percent:
    description:
      - Share of inodes that are free (in percent); less is V(warning). As for the disk.
    type: float
    default: 15
  inodes_critical_free_percent:
    description:
      - Share of inodes that are free (in percent); less is V(critical). As for the disk.
    type: float
    default: 10
  memory_warning_percent:
    description:
      - Share of memory that no process can get any more (in percent); more is V(warning). The
        guides warn over 85 percent.
    type: float
    default: 85
  memory_critical_percent:
    description:
      - Share of memory that no process can get any more (in percent); more is V(critical). Ours;
        the guides name one level.
    type: float
    default: 95
  load_warning_per_processor:
    description:
      - Load over five minutes for each processor; more is V(warning). The guides warn over 80
        percent of the processors.
    type: float
    default: 0.8
  load_critical_per_processor:
    description:
      - Load over five minutes for each processor; more is V(critical). Ours; the guides name one
        level.
    type: float
    default: 10
  clock_warning_seconds:
    description: Offset of the clock (in seconds); more is V(warning). Ours.
    type: float
    default: 1
  clock_critical_seconds:
    description:
      - Offset of the clock (in seconds); more is V(critical). Ours; one-time passwords last 30
        seconds.
    type: float
    default: 30
  reboot_warning_days:
    description:
      - Days that a reboot has been pending; more is V(warning). Ours; any pending reboot is one.
    type: float
    default: 0
  reboot_critical_days:
    description:
      - Days that a reboot has been pending; more is V(critical). The guides patch monthly.
    type: float
    default: 30
  directory_warning_percent:
    description:
      - Share of its disk that one of O(directories) takes (in percent); more is V(warning). Ours;
        no guide has a figure.
    type: float
    default: 30
  directory_critical_percent:
    description:
      - Share of its disk that one of O(directories) takes (in percent); more is V(critical). Ours;
        the guides name one level.
    type: float
    default: 50
  failed_warning_units:
    description: Units that have failed; more is V(warning). Ours; no guide has a figure.
    type: int
    default: 0
  failed_critical_units:
    description: Units that have failed; more is V(critical). Ours; the guides name one level.
    type: int
    default: 4
"""

EXAMPLES = r"""
- name: Examine the machine
  slipway.stack.host_health:
    name: db1
    directories: [/var/backups]
    disk_warning_free_percent: 20
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
    - check: host db1 / space
      state: ok
      value: 71 % free
      limit: at least 15 % free
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

from ansible_collections.slipway.stack.plugins.module_utils import _health_host, _health_module


def main() -> None:
    _health_module.run(_health_host)


if __name__ == "__main__":
    main()
