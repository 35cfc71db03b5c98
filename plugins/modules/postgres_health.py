#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: postgres_health
short_description: Examine a PostgreSQL server
version_added: 0.1.0
author: The Slipway authors (@slipway)
description:
  - Logs in and reads the server's own figures, in one execution of psql that writes nothing.
  - What only members of C(pg_monitor) may see is V(unknown) for others.
  - A replica that is missing is in no table; say with O(replicas) how many there should be.
extends_documentation_fragment:
  - slipway.stack._health
  - slipway.stack._health.check
options:
  host:
    description:
      - Directory of its Unix socket, where login is by peer, or a host name or address.
    type: str
    default: /var/run/postgresql
  port:
    description: Its port.
    type: int
    default: 5432
  user:
    description: Role that logs in.
    type: str
    default: postgres
  password:
    description: Its password; travels in the environment of psql, never in an argument.
    type: str
    default: ""
  sslmode:
    description: How libpq encrypts and verifies; of no effect on a Unix socket.
    type: str
    choices: [disable, prefer, require, verify-ca, verify-full]
    default: require
  ca_file:
    description: File with the authorities that O(sslmode) verifies by.
    type: path
  system_user:
    description:
      - System user that the server trusts on its Unix socket; only root can be another.
    type: str
    default: postgres
  database:
    description: Database that is logged in to.
    type: str
    default: postgres
  connections_warning_percent:
    description:
      - Share of the connections that ordinary roles may open (in percent); more is V(warning). The
        guides alert over 80 percent of capacity.
    type: float
    default: 80
  connections_critical_percent:
    description:
      - Share of the connections that ordinary roles may open (in percent); more is V(critical).
        Ours; the guides name one level.
    type: float
    default: 95
  transaction_warning_seconds:
    description:
      - Age of the oldest transaction, prepared ones included (in seconds); more is V(warning). A
        guide ends queries after five minutes.
    type: float
    default: 300
  transaction_critical_seconds:
    description:
      - Age of the oldest transaction, prepared ones included (in seconds); more is V(critical).
        Ours; the guides name one level.
    type: float
    default: 3600
  archive_warning_seconds:
    description:
      - Age of the oldest WAL segment that waits to be archived (in seconds); more is V(warning).
        Half of the strictest RPO.
    type: float
    default: 150
  archive_critical_seconds:
    description:
      - Age of the oldest WAL segment that waits to be archived (in seconds); more is V(critical).
        The strictest RPO of the guides is five minutes.
    type: float
    default: 300
  lag_warning_seconds:
    description:
      - Time by which a replica is behind (in seconds); more is V(warning). Ours; no guide has a
        figure.
    type: float
    default: 30
  lag_critical_seconds:
    description:
      - Time by which a replica is behind (in seconds); more is V(critical). Ours; the guides name
        one level.
    type: float
    default: 300
  lag_warning_megabytes:
    description:
      - WAL by which a replica is behind (in megabytes); more is V(warning). Ours; no guide has a
        figure.
    type: float
    default: 64
  lag_critical_megabytes:
    description:
      - WAL by which a replica is behind (in megabytes); more is V(critical). Ours; the guides name
        one level.
    type: float
    default: 1024
  slot_warning_megabytes:
    description:
      - WAL that a replication slot holds (in megabytes); one that nobody reads is at least
        V(warning); more is V(warning). Ours; no guide has a figure.
    type: float
    default: 1024
  slot_critical_megabytes:
    description:
      - WAL that a replication slot holds (in megabytes); one that nobody reads is at least
        V(warning); more is V(critical). Ours; the guides name one level.
    type: float
    default: 5120
  wraparound_warning_age:
    description:
      - Age of the oldest transaction or multixact identifier; more is V(warning). Ours; a quarter
        of what stops the server.
    type: int
    default: 500000000
  wraparound_critical_age:
    description:
      - Age of the oldest transaction or multixact identifier; more is V(critical). Ours; the
        server stops at two thousand million.
    type: int
    default: 1500000000
  archive_required:
    description:
      - Whether a server that archives no WAL is V(critical), also one whose C(archive_command) is
        C(true) or the like. One that archives only when it is busy (C(archive_timeout)) is
        V(warning).
    type: bool
    default: false
  replicas:
    description: Replicas that must stream from this server.
    type: int
    default: 0
  role:
    description: What the server must be; V(any) examines nothing.
    type: str
    default: any
    choices: [any, primary, replica]
  databases:
    description:
      - Databases that must be there, take connections and not begin every transaction read-only.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Examine the local server
  slipway.stack.postgres_health:
    name: main
    replicas: 1
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
    - check: postgres main connections
      state: ok
      value: 12 of 97 used
      limit: at most 80 %
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

from ansible_collections.slipway.stack.plugins.module_utils import _health_module, _health_postgres


def main() -> None:
    _health_module.run(_health_postgres)


if __name__ == "__main__":
    main()
