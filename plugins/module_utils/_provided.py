# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A PostgreSQL server of a provider, kept as declared over the network by somebody who is no
superuser: he sees no verifiers, owns no database of his own accord, and decides no settings."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass, replace

from . import _errors, _postgres, _psql, _scram

# What a session may always say of itself; the rest of our own server's silence is a superuser's.
OPTIONS = {"client_min_messages": "warning", "statement_timeout": "0"}
# From it on public is closed to everybody but the owner of its database.
OLDEST = 150000
REFUSED = "password authentication failed"
# Words of a server that has believed the password.
BELIEVED = ("permission denied for database", "too many connections", "remaining connection slots")

# As _postgres.CLUSTER, from what everybody may read, and with what the asker may act as.
CLUSTER = """
SELECT pg_catalog.json_build_object(
  'version', pg_catalog.current_setting('server_version_num')::int,
  'roles', (SELECT coalesce(json_object_agg(rolname, json_build_object(
      'plain', rolcanlogin AND NOT (rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication
                                    OR rolbypassrls),
      'connections', rolconnlimit,
      'held', pg_has_role(oid, 'USAGE') AND
        CASE WHEN current_setting('server_version_num')::int >= 160000
             THEN pg_has_role(oid, 'SET') ELSE pg_has_role(oid, 'MEMBER') END)), '{{}}')
    FROM pg_roles WHERE rolname IN ({names})),
  'databases', (SELECT json_object_agg(datname, json_build_object(
      'owner', pg_get_userbyid(datdba),
      'grants', (SELECT json_agg(DISTINCT coalesce(r.rolname, '{public}'))
        FROM aclexplode(coalesce(datacl, acldefault('d', datdba))) a
        LEFT JOIN pg_roles r ON r.oid = a.grantee),
      'settings', (SELECT coalesce(json_object_agg(r.rolname, s.setconfig), '{{}}')
        FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole
        WHERE s.setdatabase = d.oid)))
    FROM pg_database d))
"""


@dataclass(frozen=True)
class Server:
    host: str
    port: int
    user: str
    password: str
    database: str
    ca_file: str

    def environment(self, user: str, password: str) -> dict[str, str]:
        """What libpq is told; a password in a command would be in the process list."""
        options = " ".join(f"-c {name}={value}" for name, value in OPTIONS.items())
        return {
            "PGUSER": user,
            "PGPASSWORD": password,
            "PGSSLMODE": "verify-full",
            "PGSSLROOTCERT": self.ca_file,
            "PGOPTIONS": options,
            "PGPASSFILE": "/nonexistent",
        }

    def psql(self, user: str = "", password: str = "", database: str = "") -> _psql.Psql:
        environment = self.environment(user or self.user, password or self.password)

        def run(command: t.Sequence[str], sql: str) -> tuple[int, str, str]:
            return _psql.run(command, sql, environment)

        # Who runs psql here is of no interest to a server that asks for passwords.
        where = database or self.database
        return _psql.Psql(self.port, run, user="root", socket=self.host, database=where)


def server(given: dict[str, t.Any]) -> Server:
    return Server(**{name: given[name] for name in Server.__dataclass_fields__})


def read(there: Server, declared: _postgres.Declared) -> _postgres.Found:
    """Two executions of psql, and a login of each owner: nobody is shown a verifier."""
    names = ", ".join(_postgres.literal(name) for name in declared.roles()) or "NULL"
    query = CLUSTER.format(names=names, public=_postgres.PUBLIC)
    cluster = json.loads(there.psql().ask(f"{query};\n", attempts=3))
    _require_recent(cluster["version"])
    present = [each.name for each in declared.databases if each.name in cluster["databases"]]
    script = "".join(_content(name, cluster) for name in present)
    answers = there.psql().ask(script, attempts=3).splitlines() if script else []
    contents = {content["name"]: content for content in map(json.loads, filter(None, answers))}
    for database in declared.databases:
        role = cluster["roles"].get(database.owner)
        if role:
            known = fits(there, database, exists=database.name in cluster["databases"])
            role["verifier"] = _scram.verifier(database.password) if known else None
    return _postgres.Found(cluster["version"], cluster["roles"], cluster["databases"], contents)


def _require_recent(version: int) -> None:
    if version < OLDEST:
        raise _errors.StackError(
            f"the provider's server is PostgreSQL {version // 10000}, in which everybody may create"
            " tables in every database: let the provider upgrade it to 15 or newer."
        )


def _content(name: str, cluster: dict[str, t.Any]) -> str:
    """A database whose owner the asker cannot act as is looked into once he can."""
    owner = cluster["databases"][name]["owner"]
    held = cluster["roles"].get(owner, {"held": True})["held"]
    return _postgres.content_query([name]) if held else ""


def fits(
    there: Server,
    database: _postgres.Database,
    *,
    exists: bool,
    connect: t.Callable[[Server, str, str, str], _psql.Psql] = Server.psql,
) -> bool:
    """Whether the owner gets in with the declared password."""
    name = database.name if exists else there.database
    try:
        connect(there, database.owner, database.password, name).ask("SELECT 1;\n", attempts=1)
    except _psql.PsqlError as refusal:
        said = str(refusal)
        if REFUSED in said or "is not permitted to log in" in said:
            return False
        if not any(words in said for words in BELIEVED):
            raise
    return True


def plan(declared: _postgres.Declared, found: _postgres.Found) -> list[_postgres.Step]:
    """The steps after which the provider's server is as declared; none when it already is."""
    steps = []
    for owner in declared.roles():
        role = found.roles.get(owner)
        if role and not role["plain"]:
            raise _errors.StackError(
                f"role {owner} of the provider's server may do more than own a database, or may not"
                " log in, and only the provider can change that: give the database another name."
            )
        steps += _held_steps(owner, role, found.version)
    made = _postgres.role_steps(declared, found)
    return [*made, *steps, *_database_steps(declared, found)]


def _held_steps(owner: str, role: dict[str, t.Any] | None, version: int) -> list[_postgres.Step]:
    """Who makes a role may still not act as it, nor give it a database, until he says so."""
    if role and role["held"]:
        return []
    how = " WITH INHERIT TRUE, SET TRUE" if version >= 160000 else ""
    sql = f"GRANT {_postgres.identifier(owner)} TO CURRENT_USER{how}"
    return [_postgres.Step(f"role {owner}: let the administrator act as it", sql)]


def _database_steps(declared: _postgres.Declared, found: _postgres.Found) -> list[_postgres.Step]:
    """As on our own server."""
    return [
        step
        for database in declared.databases
        for step in _postgres.database_steps(database, declared, found)
    ]


def apply(there: Server, steps: list[_postgres.Step]) -> None:
    placed = [
        replace(step, database=there.database) if step.database == _postgres.MAINTENANCE else step
        for step in steps
    ]
    _psql.apply(there.psql(), placed, there.database)
