#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: pgbouncer_health
short_description: Examine a PgBouncer and the databases behind it
version_added: 0.1.0
author: The Slipway authors (@slipway)
description:
  - Reads the console, then logs in through the pooler to each database, as the pooler's own user,
    whose password is taken from the pooler's user list. That proves the way; whether an
    application's own password is right only the application shows.
  - Needs psql on the machine, and root for the console over the local socket and for the user
    list.
extends_documentation_fragment:
  - slipway.stack._health
  - slipway.stack._health.check
options:
  host:
    description: Where the console is, the directory of a Unix socket or a host.
    type: str
    default: /run/pgbouncer
  port:
    description: Its port.
    type: int
    default: 6432
  user:
    description: User of the console.
    type: str
    default: pgbouncer
  password:
    description: Its password, where it needs one.
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
  databases:
    description: Databases that it must know; without any, those that it knows.
    type: list
    elements: str
    default: []
  login_host:
    description: Where it takes clients.
    type: str
    default: 127.0.0.1
  login_user:
    description: User that logs in to each database through it.
    type: str
    default: pgbouncer
  login_password:
    description: Its password; without one, that of O(userlist).
    type: str
    default: ""
  userlist:
    description: File of the pooler with passwords in plain words; hashed ones let nobody in.
    type: path
    default: /etc/pgbouncer/userlist.txt
  waiting_warning_clients:
    description:
      - Clients of a database that wait for a server connection; more is V(warning). Ours; no guide
        has a figure.
    type: int
    default: 0
  waiting_critical_clients:
    description:
      - Clients of a database that wait for a server connection; more is V(critical). Ours; the
        guides name one level.
    type: int
    default: 50
  maxwait_warning_seconds:
    description:
      - Time that the first of them has waited (in seconds); more is V(warning). The guides allow a
        whole request one second.
    type: float
    default: 1
  maxwait_critical_seconds:
    description:
      - Time that the first of them has waited (in seconds); more is V(critical). Ours; the guides
        name one level.
    type: float
    default: 10
  pool_warning_percent:
    description:
      - Busy server connections of a database's fullest pool, of its size and reserve together (in
        percent); more is V(warning). As the guides' limit for connections.
    type: float
    default: 80
  pool_critical_percent:
    description:
      - Busy server connections of a database's fullest pool, of its size and reserve together (in
        percent); more is V(critical). Ours; the guides name one level.
    type: float
    default: 95
  clients_warning_percent:
    description:
      - Share of C(max_client_conn) (in percent); more is V(warning). As the guides' limit for
        connections.
    type: float
    default: 80
  clients_critical_percent:
    description:
      - Share of C(max_client_conn) (in percent); more is V(critical). Ours; the guides name one
        level.
    type: float
    default: 95
"""

EXAMPLES = r"""
- name: Examine the local pooler
  slipway.stack.pgbouncer_health:
    name: main
    databases: [shop]
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
    - check: pgbouncer main shop waiting
      state: ok
      value: "0 clients wait, the first 0.0 s"
      limit: at most 0 clients and 1 s
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

from ansible_collections.slipway.stack.plugins.module_utils import _health_module, _health_pgbouncer


def main() -> None:
    _health_module.run(_health_pgbouncer)


if __name__ == "__main__":
    main()
