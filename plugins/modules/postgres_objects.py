#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: postgres_objects
short_description: Keep the databases of a PostgreSQL server as declared
version_added: 0.1.0
description:
  - Roles, databases, extensions, timeouts and the pooler's look-up function, compared in two
    executions of C(psql) and changed in one more, over the local socket of the machine.
  - Each owner can reach its own databases and no other; everybody else is shut out of them.
  - Passwords leave this module only as SCRAM verifiers, and only when the stored verifier does
    not fit them. They are in no process list and in no log of the server.
  - Nothing is ever dropped. What is not declared is left alone.
options:
  port:
    description: Port that names the server's socket in C(/var/run/postgresql).
    type: int
    default: 5432
  databases:
    description: Databases that exist afterwards.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the database.
        type: str
        required: true
      owner:
        description: Role that owns it; named like the database unless said otherwise.
        type: str
      password:
        description: Password of the owner. An owner of several databases has one password.
        type: str
        required: true
      extensions:
        description:
          - Extensions to create, with those that they need. Their packages must be installed.
        type: list
        elements: str
        default: []
      statement_timeout_seconds:
        description: Statements of the owner in this database are cancelled after it; 0 is never.
        type: int
        default: 30
      connections:
        description:
          - Connections that the owner may have at the same time, summed over its databases.
            V(-1) is no limit.
        type: int
        default: -1
  pooler:
    description:
      - Role with which a connection pooler looks up the verifiers of users. It may connect to each
        database of O(databases) and call C(slipway.user_lookup(text)) there, nothing else.
    type: dict
    suboptions:
      user:
        description: Name of the role.
        type: str
        required: true
      password:
        description: Its password.
        type: str
        required: true
  extensions:
    description: Extensions to create in the database C(postgres).
    type: list
    elements: str
    default: []
  server:
    description:
      - A server of a provider that is reached over the network, always over TLS that verifies it.
      - Its administrator needs C(CREATEROLE) and C(CREATEDB) and need not be a superuser. He
        becomes a member of each owner, so that he can give it its database. Whether a password
        fits is found out by logging in with it. Nothing but what is declared is looked after.
    type: dict
    suboptions:
      host:
        description: Name of the server, as its certificate says it.
        type: str
        required: true
      port:
        description: Its port.
        type: int
        default: 5432
      user:
        description: The administrator.
        type: str
        required: true
      password:
        description: His password.
        type: str
        required: true
      database:
        description: A database that is always there.
        type: str
        default: postgres
      ca_file:
        description: File on the machine with the authorities that are trusted.
        type: path
        default: /etc/ssl/certs/ca-certificates.crt
attributes:
  check_mode:
    support: full
    description: Where no server answers, everything is predicted as new.
  diff_mode:
    support: full
    description: Shows one line for each step, without secrets.
author:
  - The Slipway authors (@slipway)
"""

EXAMPLES = r"""
- name: Keep the shop's database
  slipway.stack.postgres_objects:
    databases:
      - name: shop
        password: "{{ vault_shop_password }}"
        extensions: [pg_trgm]
        connections: 35
    pooler:
      user: pgbouncer
      password: "{{ vault_pooler_password }}"
"""

RETURN = r"""
actions:
  description: What was done, or would be, in order.
  returned: always
  type: list
  elements: str
  sample: ["role shop: create it, set its password"]
pending_restart:
  description: Settings that the server has read and will only follow after a restart.
  returned: always
  type: list
  elements: str
  sample: []
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.stack.plugins.module_utils import (
    _errors,
    _postgres,
    _provided,
    _psql,
)

DATABASE: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "owner": {"type": "str"},
    "password": {"type": "str", "required": True, "no_log": True},
    "extensions": {"type": "list", "elements": "str", "default": []},
    "statement_timeout_seconds": {"type": "int", "default": 30},
    "connections": {"type": "int", "default": -1},
}
POOLER: dict[str, t.Any] = {
    "user": {"type": "str", "required": True},
    "password": {"type": "str", "required": True, "no_log": True},
}
SERVER: dict[str, t.Any] = {
    "host": {"type": "str", "required": True},
    "port": {"type": "int", "default": 5432},
    "user": {"type": "str", "required": True},
    "password": {"type": "str", "required": True, "no_log": True},
    "database": {"type": "str", "default": "postgres"},
    "ca_file": {"type": "path", "default": "/etc/ssl/certs/ca-certificates.crt"},
}
ARGUMENTS: dict[str, t.Any] = {
    "server": {"type": "dict", "options": SERVER},
    "port": {"type": "int", "default": 5432},
    "databases": {"type": "list", "elements": "dict", "default": [], "options": DATABASE},
    "pooler": {"type": "dict", "options": POOLER},
    "extensions": {"type": "list", "elements": "str", "default": []},
}


def found(psql: _psql.Psql, declared: _postgres.Declared, *, predicting: bool) -> _postgres.Found:
    """In check mode there may be no server yet, nor the packages of a new extension."""
    if predicting and not psql.reachable():
        return _postgres.Found()
    there = _psql.read(psql, declared)
    if there.hba_errors:
        raise _errors.StackError(
            f"pg_hba.conf has an error in {'; '.join(there.hba_errors)}: the server goes on with "
            "its older rules but will not start again, correct the file first."
        )
    if predicting:
        for content in there.contents.values():
            content["available"] = None
    return there


def keep_ours(
    psql: _psql.Psql, declared: _postgres.Declared, *, predicting: bool
) -> tuple[list[_postgres.Step], _postgres.Found]:
    there = found(psql, declared, predicting=predicting)
    steps = _postgres.plan(declared, there)
    if steps and not predicting:
        _psql.apply(psql, steps)
    return steps, there


def keep_provided(
    server: _provided.Server, declared: _postgres.Declared, *, predicting: bool
) -> tuple[list[_postgres.Step], _postgres.Found]:
    """In check mode psql itself may be missing yet."""
    unknown = predicting and not server.psql().reachable()
    there = _postgres.Found(160000) if unknown else _provided.read(server, declared)
    steps = _provided.plan(declared, there)
    if steps and not predicting:
        _provided.apply(server, steps)
    return steps, there


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    given = module.params
    try:
        declared = _postgres.declare(given["databases"], given["pooler"], given["extensions"])
        if given["server"]:
            server = _provided.server(given["server"])
            steps, there = keep_provided(server, declared, predicting=module.check_mode)
        else:
            ours = _psql.Psql(port=given["port"])
            steps, there = keep_ours(ours, declared, predicting=module.check_mode)
    except _errors.StackError as error:
        module.fail_json(msg=str(error))
    if there.pending_restart:
        module.warn(f"PostgreSQL follows {', '.join(there.pending_restart)} only after a restart.")
    actions = [step.what for step in steps]
    module.exit_json(
        changed=bool(steps),
        actions=actions,
        pending_restart=list(there.pending_restart),
        diff={"before": "", "after": "".join(f"{line}\n" for line in actions)},
    )


if __name__ == "__main__":
    main()
