#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_health
short_description: Examine a Redis or Valkey server
version_added: 0.1.0
author: The Slipway authors (@slipway)
description:
  - Logs in, sends PING and reads INFO, in the server's own protocol, so that no client is needed.
  - Evicted keys and rejected connections are counted by the server since its start; C(CONFIG
    RESETSTAT) ends a finding that was seen to.
  - The user needs C(+ping +info), C(+config|get) for the age of the last snapshot and for
    C(min-replicas-to-write), and in a cluster C(+cluster|info).
extends_documentation_fragment:
  - slipway.stack._health
  - slipway.stack._health.check
options:
  host:
    description: Where it listens.
    type: str
    default: 127.0.0.1
  port:
    description: Its port.
    type: int
    default: 6379
  user:
    description: ACL user; without one, the default user.
    type: str
    default: ""
  password:
    description:
      - Password of the user. Without one nobody logs in, and so every other O(user) than the
        default one is then V(unknown).
    type: str
    default: ""
  tls:
    description: Whether it speaks TLS.
    type: bool
    default: false
  ca_file:
    description: File of the authority that is trusted besides the machine's own.
    type: path
  evictions_allowed:
    description: Whether it may throw keys away, as a cache may and a broker must not.
    type: bool
    default: true
  persistent:
    description: Whether a server that writes neither a log nor snapshots is V(critical).
    type: bool
    default: false
  replicas:
    description: Replicas that must be linked to this server.
    type: int
    default: 0
  role:
    description:
      - What the server must be. V(primary), since a primary that was made a replica refuses every
        write; V(replica); or V(any), which examines nothing.
    type: str
    default: any
    choices: [any, primary, replica]
  memory_warning_percent:
    description:
      - Share of C(maxmemory), unless any key may be evicted (in percent); more is V(warning). The
        guides' limit for memory.
    type: float
    default: 85
  memory_critical_percent:
    description:
      - Share of C(maxmemory), unless any key may be evicted (in percent); more is V(critical).
        Ours; the guides name one level.
    type: float
    default: 95
  clients_warning_percent:
    description:
      - Share of C(maxclients) (in percent); more is V(warning). As the guides' limit for
        connections.
    type: float
    default: 80
  clients_critical_percent:
    description:
      - Share of C(maxclients) (in percent); more is V(critical). Ours; the guides name one level.
    type: float
    default: 95
  save_warning_seconds:
    description:
      - Age of the last snapshot while there are changes that are not in it (in seconds); more is
        V(warning). Ours; twice the longest of the guides' intervals.
    type: float
    default: 1800
  save_critical_seconds:
    description:
      - Age of the last snapshot while there are changes that are not in it (in seconds); more is
        V(critical). Ours; the guides name one level.
    type: float
    default: 7200
  link_warning_seconds:
    description:
      - Time that a replication link is silent or down (in seconds); more is V(warning). Ours;
        primaries and replicas speak every second to ten.
    type: float
    default: 15
  link_critical_seconds:
    description:
      - Time that a replication link is silent or down (in seconds); more is V(critical). The
        server's own C(repl-timeout).
    type: float
    default: 60
  evictions_warning_count:
    description:
      - Keys evicted where O(evictions_allowed=false); more is V(warning). Ours; no guide has a
        figure.
    type: int
    default: 0
  evictions_critical_count:
    description:
      - Keys evicted where O(evictions_allowed=false); more is V(critical). Ours; the guides name
        one level.
    type: int
    default: 100
  rejected_warning_connections:
    description:
      - Connections that found no place; more is V(warning). Ours; no guide has a figure.
    type: int
    default: 0
  rejected_critical_connections:
    description:
      - Connections that found no place; more is V(critical). Ours; the guides name one level.
    type: int
    default: 100
"""

EXAMPLES = r"""
- name: Examine the broker
  slipway.stack.redis_health:
    name: broker
    user: slipway
    password: "{{ vault_stack_redis_admin_password }}"
    evictions_allowed: false
    persistent: true
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
    - check: redis broker memory
      state: ok
      value: "12 of 512 MB, noeviction"
      limit: at most 85 %
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

from ansible_collections.slipway.stack.plugins.module_utils import _health_module, _health_redis


def main() -> None:
    _health_module.run(_health_redis)


if __name__ == "__main__":
    main()
