#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: app_migrate
short_description: Migrate an application's database without the serving release noticing
version_added: 0.1.0
author:
  - The Slipway authors (@slipway)
description:
  - Takes an advisory lock in the database, so that only one migrates it; sets time limits on
    locks and statements through C(PGOPTIONS), and tries again what waited in vain for a lock.
  - Refuses pending migrations whose SQL would break the release that serves or keep its visitors
    waiting, unless they are named in O(allowed). On a database without any migration all may run.
  - Refuses code that is older than a migration which has run and was not harmless, unless that is
    named in O(allowed).
  - Notes in the history where the schema stood before and afterwards. If it fails, the release is
    removed unless it serves or has served well before.
attributes:
  check_mode:
    support: full
    description: Says that migrations would run.
  diff_mode:
    support: none
    description: What a migration changes is its own affair.
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
    description: Release whose migrations run.
    type: str
    required: true
  framework:
    description: Who knows the migrations. With V(none) the command runs without a guard.
    type: str
    choices: [django, fastapi, none]
    default: django
  command:
    description: What migrates; a command without a shell.
    type: str
    required: true
  environment:
    description:
      - Variables that take the place of the application's own ones, such as a C(DATABASE_URL) that
        does not lead through a pooler.
    type: dict
    default: {}
  allowed:
    description:
      - Migrations that may break or block, as messages call them, C(shop.0003_drop_title) or an
        Alembic revision.
    type: list
    elements: str
    default: []
  lock_timeout_seconds:
    description: Seconds that a statement, and all who queue behind it, wait for a lock.
    type: int
    default: 2
  statement_timeout_seconds:
    description: Seconds that one statement may take; 0 is no limit.
    type: int
    default: 900
  attempts:
    description: How often to try, with growing pauses, when a lock does not come in time.
    type: int
    default: 8
  deployment:
    description: Number of the deployment under whose lock this happens.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Migrate the shop's database
  slipway.stack.app_migrate:
    name: shop
    home: /srv/shop
    release: 20261121T080000Z-3f2c5d0e8a1b
    command: python manage.py migrate --noinput
    environment:
      DATABASE_URL: "{{ vault_direct_database_url }}"
"""

RETURN = r"""
before:
  description: Where the schema stood; the last migration of each Django application, or revisions.
  returned: success
  type: str
  sample: auctions.0001_initial auth.0012_alter_user_first_name_max_length
after:
  description: Where it stands.
  returned: success
  type: str
applied:
  description: Migrations that were pending.
  returned: success
  type: list
  elements: str
  sample: [auctions.0002_schedule]
broken:
  description: Migrations that ran since the release that serves was proved, and may break it.
  returned: success
  type: list
  elements: str
  sample: []
point:
  description: Where in the write-ahead log the restore point lies, where there could be one.
  returned: success
  type: str
  sample: ""
output:
  description: What the command said, without the values of secrets.
  returned: success
  type: str
"""

import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.stack.plugins.module_utils import (
    _application_commands,
    _deployments,
    _migration_talk,
    _migrations,
    _releases,
)
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError


def run(params: dict[str, t.Any]) -> _migrations.Done:
    """Migrate, and note where the schema stands."""
    home = Path(params["home"])
    path = _releases.Releases(home).path(params["release"])
    limits = ("lock_timeout_seconds", "statement_timeout_seconds", "attempts")
    lines = _deployments.History(_deployments.directory(params["name"])).all()
    order = _migrations.Order(
        params["name"],
        params["framework"],
        params["command"],
        frozenset(params["allowed"]),
        **{limit: params[limit] for limit in limits},
        broken=frozenset(_deployments.broken_since(lines, "")),
    )
    environment = {key: str(value) for key, value in params["environment"].items()}
    if order.framework == "none":
        outcome = _application_commands.at_home(order.name, order.command, home, path, environment)
        return _migrations.Done("failed." if outcome.code else "", output=outcome.output)
    with _migration_talk.guard(order, home, path, environment) as ask:
        return _migrations.migrate(order, ask, lambda done: _note(params, done))


def _note(params: dict[str, t.Any], done: _migrations.Done) -> None:
    history = _deployments.History(_deployments.directory(params["name"]))
    if params["deployment"]:
        history.note(
            params["deployment"],
            schema_before=done.before,
            schema_after=done.after,
            breaking=",".join(done.breaking),
        )


def migrated(params: dict[str, t.Any]) -> dict[str, t.Any]:
    """What the module returns, or one sentence and what the migration said."""
    name, release = params["name"], params["release"]
    releases = _releases.Releases(Path(params["home"]))
    try:
        done = run(params)
        if done.trouble:
            raise StackError(f"migrate of {name} {done.trouble}\n{done.tail(30)}")
    except StackError as error:
        serving = releases.refuse(release)
        raise StackError(f"Release {release} does not go live, {serving}: {error}") from None
    changed = bool(done.applied) or params["framework"] == "none"
    told = {key: getattr(done, key) for key in ("before", "after", "applied", "point")}
    broken = _broken(name, releases.linked("current"))
    return {"changed": changed, **told, "broken": broken, "output": done.tail(15)}


def _broken(name: str, serving: _releases.Release | None) -> list[str]:
    lines = _deployments.History(_deployments.directory(name)).all()
    return list(dict.fromkeys(_deployments.broken_since(lines, serving.proved if serving else "")))


def _option(kind: str, default: t.Any = "", **more: t.Any) -> dict[str, t.Any]:
    return {"type": kind, "default": default, **more}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **{key: {"type": "str", "required": True} for key in ("name", "release", "command")},
            "home": {"type": "path", "required": True},
            "framework": _option("str", "django", choices=["django", "fastapi", "none"]),
            "environment": _option("dict", {}, no_log=True),
            "allowed": _option("list", [], elements="str"),
            "lock_timeout_seconds": _option("int", 2),
            "statement_timeout_seconds": _option("int", 900),
            "attempts": _option("int", 8),
            "deployment": _option("str"),
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=True)
    try:
        with _deployments.phase(module.params["name"], module.params["deployment"]):
            result = migrated(module.params)
    except StackError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
