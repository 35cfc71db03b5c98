# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What must change in a PostgreSQL server so that it holds the declared databases: pure planning.

`declare()` checks what is asked for, `CLUSTER` and `database_query()` read what is there, `plan()`
compares the two and returns steps of SQL, `script()` turns them into one input of psql."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from . import _errors, _scram

MAINTENANCE = "postgres"
PUBLIC = "public"
OWNER_ROLE = "pg_database_owner"  # PostgreSQL 14 and later
ATTRIBUTES = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,62}")

# Written to and read from the server word by word; pg_temp comes first in any search path for
# relations and types, so even those of pg_catalog are qualified.
LOOKUP_BODY = """
  SELECT a.rolname::pg_catalog.text, a.rolpassword::pg_catalog.text
  FROM pg_catalog.pg_authid AS a
  WHERE a.rolname = p_user
    AND a.rolcanlogin AND NOT a.rolsuper AND NOT a.rolreplication
    AND (a.rolvaliduntil IS NULL OR a.rolvaliduntil > pg_catalog.now())
    AND pg_catalog.has_database_privilege(a.oid, pg_catalog.current_database(), 'CONNECT')
"""

CLUSTER = """
SELECT pg_catalog.json_build_object(
  'version', pg_catalog.current_setting('server_version_num')::int,
  'roles', (SELECT coalesce(json_object_agg(rolname, json_build_object(
      'plain', rolcanlogin AND NOT (rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication
                                    OR rolbypassrls),
      'connections', rolconnlimit, 'verifier', rolpassword)), '{{}}')
    FROM pg_authid WHERE rolname IN ({names})),
  'databases', (SELECT json_object_agg(datname, json_build_object(
      'owner', pg_get_userbyid(datdba),
      'grants', (SELECT json_agg(DISTINCT coalesce(r.rolname, '{public}'))
        FROM aclexplode(coalesce(datacl, acldefault('d', datdba))) a
        LEFT JOIN pg_roles r ON r.oid = a.grantee),
      'settings', (SELECT coalesce(json_object_agg(r.rolname, s.setconfig), '{{}}')
        FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole
        WHERE s.setdatabase = d.oid)))
    FROM pg_database d),
  'pending_restart', (SELECT coalesce(json_agg(name ORDER BY name), '[]')
    FROM pg_settings WHERE pending_restart),
  'hba_errors', (SELECT coalesce(json_agg('line ' || line_number || ': ' || error), '[]')
    FROM pg_hba_file_rules WHERE error IS NOT NULL))
"""

CONTENT = """
SELECT pg_catalog.json_build_object(
  'name', pg_catalog.current_database(),
  'extensions', (SELECT json_agg(extname) FROM pg_extension),
  'available', (SELECT json_agg(name) FROM pg_available_extensions),
  'schemas', (SELECT coalesce(json_object_agg(nspname, json_build_object(
      'owner', pg_get_userbyid(nspowner),
      'grants', (SELECT coalesce(json_agg(coalesce(r.rolname, '{public}') || '='
                                          || a.privilege_type), '[]')
        FROM aclexplode(coalesce(nspacl, acldefault('n', nspowner))) a
        LEFT JOIN pg_roles r ON r.oid = a.grantee WHERE a.grantee <> nspowner))), '{{}}')
    FROM pg_namespace WHERE nspname IN ('public', 'slipway')),
  'lookup', (SELECT json_build_object(
      'source', prosrc, 'definer', prosecdef, 'settings', proconfig,
      'result', pg_get_function_result(p.oid),
      'privileged', (SELECT rolsuper FROM pg_roles WHERE oid = proowner),
      'grants', (SELECT coalesce(json_agg(coalesce(r.rolname, '{public}')), '[]')
        FROM aclexplode(coalesce(proacl, acldefault('f', proowner))) a
        LEFT JOIN pg_roles r ON r.oid = a.grantee WHERE a.grantee <> proowner))
    FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace
    WHERE nspname = 'slipway' AND proname = 'user_lookup'
      AND oidvectortypes(proargtypes) = 'text'),
  'point_setters', (SELECT json_agg(pg_get_userbyid(a.grantee))
    FROM pg_proc, aclexplode(coalesce(proacl, acldefault('f', proowner))) a
    WHERE pg_proc.oid = 'pg_catalog.pg_create_restore_point(text)'::regprocedure))
"""


@dataclass(frozen=True)
class Database:
    name: str
    owner: str
    password: str
    extensions: tuple[str, ...] = ()
    statement_timeout_seconds: int = 30
    connections: int = -1


@dataclass(frozen=True)
class Pooler:
    user: str
    password: str


@dataclass(frozen=True)
class Declared:
    databases: tuple[Database, ...]
    pooler: Pooler | None = None
    extensions: tuple[str, ...] = ()

    def roles(self) -> tuple[str, ...]:
        pooler = (self.pooler.user,) if self.pooler else ()
        return tuple(dict.fromkeys([database.owner for database in self.databases])) + pooler


@dataclass(frozen=True)
class Found:
    """What the server holds; empty where there is no server yet."""

    version: int = 150000
    roles: dict[str, t.Any] = field(default_factory=dict)
    databases: dict[str, t.Any] = field(default_factory=dict)
    contents: dict[str, t.Any] = field(default_factory=dict)
    pending_restart: tuple[str, ...] = ()
    hba_errors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Step:
    what: str
    sql: str
    database: str = MAINTENANCE


def declare(
    databases: list[dict[str, t.Any]], pooler: dict[str, str] | None, extensions: list[str]
) -> Declared:
    """The options of the module as values, or a sentence about the first that cannot be."""
    wanted = tuple(_database(item) for item in databases)
    user = Pooler(pooler["user"], pooler["password"]) if pooler else None
    for name in [item.name for item in wanted] + [item.owner for item in wanted]:
        _require_name(name)
    if user:
        _require_name(user.user)
    _require_single(wanted, user)
    return Declared(wanted, user, tuple(extensions))


def _database(item: dict[str, t.Any]) -> Database:
    return Database(
        name=item["name"],
        owner=item["owner"] or item["name"],
        password=item["password"],
        extensions=tuple(item["extensions"]),
        statement_timeout_seconds=item["statement_timeout_seconds"],
        connections=item["connections"],
    )


def _require_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise _errors.StackError(
            f"{name!r} cannot name a database or role: write 1 to 63 lower case letters, digits, "
            "'_' or '-', the first no digit."
        )
    if name in (MAINTENANCE, "template0", "template1", PUBLIC) or name.startswith("pg_"):
        raise _errors.StackError(f"{name!r} belongs to PostgreSQL itself: choose another name.")


def _require_single(databases: tuple[Database, ...], pooler: Pooler | None) -> None:
    names = [database.name for database in databases]
    for name in names:
        if names.count(name) > 1:
            raise _errors.StackError(f"database {name} is declared twice: remove one of the two.")
    passwords: dict[str, str] = {}
    for database in databases:
        if pooler and database.owner == pooler.user:
            raise _errors.StackError(
                f"{pooler.user} is both the pooler and the owner of {database.name}: "
                "give one of them another name."
            )
        if passwords.setdefault(database.owner, database.password) != database.password:
            raise _errors.StackError(
                f"{database.owner} owns several databases and has a different password in "
                f"{database.name}: a role has one password, write the same."
            )


def plan(declared: Declared, found: Found) -> list[Step]:
    """The steps, in order, after which the server is as declared; none when it already is."""
    steps = role_steps(declared, found)
    for name in (MAINTENANCE, "template1"):
        steps += _closed_steps(name, found.databases.get(name, {"grants": [PUBLIC]}))
    steps += _extension_steps(MAINTENANCE, declared.extensions, found)
    for database in declared.databases:
        steps += database_steps(database, declared, found)
        steps += _point_steps(database, found)
    return steps


def role_steps(declared: Declared, found: Found) -> list[Step]:
    passwords = {database.owner: database.password for database in declared.databases}
    steps = []
    for owner, password in passwords.items():
        own = [item.connections for item in declared.databases if item.owner == owner]
        steps += _role(owner, password, -1 if -1 in own else sum(own), found.roles.get(owner))
    if declared.pooler:
        user = declared.pooler.user
        steps += _role(user, declared.pooler.password, -1, found.roles.get(user))
    return steps


def _role(name: str, password: str, connections: int, role: dict[str, t.Any] | None) -> list[Step]:
    """Only what differs: a verifier that already fits the password is not issued again."""
    clauses, words = [], []
    if role is None or not role["plain"]:
        clauses.append(ATTRIBUTES)
        words.append("take its extra attributes away" if role else "create it")
    if (role["connections"] if role else -1) != connections:
        clauses.append(f"CONNECTION LIMIT {connections}")
        words.append(f"limit it to {connections} connections" if connections >= 0 else "unlimit it")
    if not _scram.matches(password, role["verifier"] if role else None):
        clauses.append(f"PASSWORD {literal(_scram.verifier(password))}")
        words.append("set its password")
    sql = f"{'ALTER' if role else 'CREATE'} ROLE {identifier(name)} {' '.join(clauses)}"
    return [Step(f"role {name}: {', '.join(words)}", sql)] if clauses else []


def _closed_steps(name: str, state: dict[str, t.Any]) -> list[Step]:
    if PUBLIC not in state["grants"]:
        return []
    sql = f"REVOKE ALL ON DATABASE {identifier(name)} FROM PUBLIC"
    return [Step(f"database {name}: close it to everybody who was not named", sql)]


def database_steps(database: Database, declared: Declared, found: Found) -> list[Step]:
    name, owner = identifier(database.name), identifier(database.owner)
    state = found.databases.get(database.name)
    steps = []
    if state is None:
        sql = f"CREATE DATABASE {name} OWNER {owner} TEMPLATE template0 ENCODING 'UTF8'"
        steps.append(Step(f"database {database.name}: create it, owned by {database.owner}", sql))
        state = {"owner": database.owner, "grants": [PUBLIC], "settings": {}}
    if state["owner"] != database.owner:
        sql = f"ALTER DATABASE {name} OWNER TO {owner}"
        steps.append(Step(f"database {database.name}: give it to {database.owner}", sql))
    steps += _closed_steps(database.name, state)
    steps += _grant_steps(database, declared, state)
    steps += _timeout_steps(database, state)
    steps += _extension_steps(database.name, database.extensions, found)
    steps += _schema_steps(database, found)
    if declared.pooler:
        steps += _lookup_steps(database.name, declared.pooler, found)
    return steps


def _grant_steps(database: Database, declared: Declared, state: dict[str, t.Any]) -> list[Step]:
    name, steps = identifier(database.name), []
    pooler = declared.pooler.user if declared.pooler else None
    for other in declared.roles():
        if other in state["grants"] and other not in (database.owner, pooler):
            sql = f"REVOKE ALL ON DATABASE {name} FROM {identifier(other)}"
            steps.append(Step(f"database {database.name}: close it to {other}", sql))
    if pooler and pooler not in state["grants"]:
        sql = f"GRANT CONNECT ON DATABASE {name} TO {identifier(pooler)}"
        steps.append(Step(f"database {database.name}: let {pooler} connect", sql))
    return steps


def _timeout_steps(database: Database, state: dict[str, t.Any]) -> list[Step]:
    value = f"{database.statement_timeout_seconds}s"
    if f"statement_timeout={value}" in state["settings"].get(database.owner, []):
        return []
    sql = (
        f"ALTER ROLE {identifier(database.owner)} IN DATABASE {identifier(database.name)} "
        f"SET statement_timeout = {literal(value)}"
    )
    return [Step(f"database {database.name}: cancel statements after {value}", sql)]


def _extension_steps(name: str, wanted: tuple[str, ...], found: Found) -> list[Step]:
    content = found.contents.get(name, {"extensions": [], "available": None})
    steps = []
    for extension in wanted:
        if extension in content["extensions"]:
            continue
        if content["available"] is not None and extension not in content["available"]:
            raise _errors.StackError(
                f"extension {extension} of database {name} is not installed on this machine: "
                "install the package that has it, or remove it from the list."
            )
        sql = f"CREATE EXTENSION IF NOT EXISTS {identifier(extension)} CASCADE"
        steps.append(Step(f"database {name}: create extension {extension}", sql, name))
    return steps


def _schema_steps(database: Database, found: Found) -> list[Step]:
    """PostgreSQL 15's rule, in every version: only the owner of the database creates in public."""
    owner = _owner_role(database, found)
    fresh: dict[str, t.Any] = {"owner": OWNER_ROLE, "grants": []}
    if found.version < 150000:
        fresh = {"owner": MAINTENANCE, "grants": [f"{PUBLIC}=CREATE"]}
    content = found.contents.get(database.name, {"schemas": {PUBLIC: fresh}})
    schema = content["schemas"].get(PUBLIC)
    steps = []
    if schema and schema["owner"] != owner:
        sql = f"ALTER SCHEMA public OWNER TO {identifier(owner)}"
        what = f"database {database.name}: give schema public to {owner}"
        steps.append(Step(what, sql, database.name))
    if schema and f"{PUBLIC}=CREATE" in schema["grants"]:
        sql = "REVOKE CREATE ON SCHEMA public FROM PUBLIC"
        what = f"database {database.name}: let only its owner create in schema public"
        steps.append(Step(what, sql, database.name))
    return steps


def _point_steps(database: Database, found: Found) -> list[Step]:
    """Who migrates sets a restore point before; it is one record of WAL, which owners write anyway.

    Only on our own server: it needs a superuser.
    """
    owner = _owner_role(database, found)
    content = found.contents.get(database.name, {"point_setters": []})
    if owner in content["point_setters"]:
        return []
    function = "pg_catalog.pg_create_restore_point(text)"
    sql = f"GRANT EXECUTE ON FUNCTION {function} TO {identifier(owner)}"
    what = f"database {database.name}: let its owner set restore points"
    return [Step(what, sql, database.name)]


def _owner_role(database: Database, found: Found) -> str:
    return OWNER_ROLE if found.version >= 140000 else database.owner


def _lookup_steps(name: str, pooler: Pooler, found: Found) -> list[Step]:
    content = found.contents.get(name, {"schemas": {}, "lookup": None})
    schema, lookup, user = content["schemas"].get("slipway"), content["lookup"], pooler.user
    expected = {
        "source": LOOKUP_BODY,
        "definer": True,
        "settings": ['search_path=""'],
        "result": "TABLE(username text, password text)",
        "privileged": True,
        "grants": [user],
    }
    if schema and schema["grants"] == [f"{user}=USAGE"] and lookup == expected:
        return []
    stale = {grant.split("=")[0] for grant in (schema["grants"] if schema else [])}
    revoked = [
        f"REVOKE ALL ON SCHEMA slipway FROM {identifier(role)}"
        for role in sorted(stale - {user, PUBLIC})
    ]
    sql = ";\n".join([*_LOOKUP_HEAD, *revoked, *_lookup_tail(user)])
    return [Step(f"database {name}: create slipway.user_lookup for {user}", sql, name)]


_LOOKUP_HEAD = (
    "BEGIN",
    "CREATE SCHEMA IF NOT EXISTS slipway",
    "REVOKE ALL ON SCHEMA slipway FROM PUBLIC",
)


def _lookup_tail(user: str) -> list[str]:
    role = identifier(user)
    return [
        f"REVOKE ALL ON SCHEMA slipway FROM {role}",
        f"GRANT USAGE ON SCHEMA slipway TO {role}",
        "DROP FUNCTION IF EXISTS slipway.user_lookup(text)",
        "CREATE FUNCTION slipway.user_lookup(p_user text) "
        "RETURNS TABLE(username text, password text) LANGUAGE sql STABLE SECURITY DEFINER "
        f"SET search_path = '' AS $lookup${LOOKUP_BODY}$lookup$",
        "REVOKE ALL ON FUNCTION slipway.user_lookup(text) FROM PUBLIC",
        f"GRANT EXECUTE ON FUNCTION slipway.user_lookup(text) TO {role}",
        "COMMIT",
    ]


def cluster_query(declared: Declared) -> str:
    names = ", ".join(literal(name) for name in declared.roles()) or "NULL"
    return CLUSTER.format(names=names, public=PUBLIC) + ";\n"


def content_query(databases: t.Iterable[str]) -> str:
    """One psql input that visits each database; each answers with one line of JSON."""
    query = CONTENT.format(public=PUBLIC)
    return "".join(f"\\connect {identifier(name)}\n{query};\n" for name in databases)


def script(steps: list[Step], database: str = MAINTENANCE) -> str:
    """One psql input; the number printed before each step tells which one a failure belongs to."""
    lines = []
    for number, step in enumerate(steps):
        if step.database != database:
            lines.append(f"\\connect {identifier(step.database)}")
            database = step.database
        lines += [f"\\echo {number}", f"{step.sql};"]
    return "\n".join(lines) + "\n"


def identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
