# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Everything that an operator declares, looked at as a whole, before any machine is touched."""

from __future__ import annotations

import ipaddress
import re
import typing as t
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

from ansible_collections.slipway.stack.plugins.module_utils import _health_kinds
from ansible_collections.slipway.stack.plugins.plugin_utils import (
    _applications,
    _derive,
    _placement,
    _request,
    _rules,
    _specification,
    _variables,
)
from ansible_collections.slipway.stack.plugins.plugin_utils._applications import (
    Application,
    InventoryError,
)

# The postgres role's defaults: 10 for administration, 5 replication, 3 for superusers.
CONNECTIONS_BESIDES_POOLS = 18
# For backups, and what dumps and a rehearsal take of each database if that is more; as the role.
BACKUP_CONNECTIONS, OF_EACH_DATABASE = 5, 4
# What PostgreSQL itself accepts as max_connections.
CONNECTIONS_LIMIT = 262_143


def problems(
    inputs: dict[str, t.Any],
    groups: dict[str, list[str]],
    addresses: dict[str, str],
    machines: _variables.Machines | None = None,
) -> list[str]:
    """Everything wrong with the operator's `inputs`, and with the variables of the `machines`."""
    inputs = _specification.plain(inputs)
    needed = _groups_needed(inputs, groups)
    checks: list[t.Callable[[], t.Any]] = [
        lambda: _check_variables(machines or {}),
        lambda: _check_environment_name(inputs.get("environment")),
        lambda: _placement.check_groups(groups, needed, redis_provided=bool(inputs.get("redis"))),
        lambda: _check_applications(inputs, groups, addresses),
        lambda: _request.check(inputs, _names(inputs.get("applications"))),
        lambda: _check_postgres(inputs, needed),
        lambda: _check_redis(inputs, needed),
        lambda: _applications.typed("stack_acme", inputs.get("acme") or {}),
        lambda: _check_backup_s3(inputs, "backup_s3"),
        lambda: _check_backup_s3(inputs, "backup_s3_second"),
        lambda: _check_second_place(inputs),
        lambda: _check_cipher_pass(inputs),
        lambda: _check_health(inputs.get("health", {})),
        lambda: _check_wired_ports(inputs.get("ports") or {}),
        lambda: _check_redis_instances(inputs.get("redis_instances")),
    ]
    found: list[str] = []
    for check in checks:
        try:
            check()
        except InventoryError as error:
            found += error.sentences
    return list(dict.fromkeys(found))


def _groups_needed(inputs: dict[str, t.Any], groups: dict[str, list[str]]) -> set[str]:
    """Frontends alone need nothing but what serves them; a machine that is there is set up."""
    try:
        resolved = _applications.resolve(inputs.get("applications"), inputs.get("secrets") or {})
    except InventoryError:
        return set(_placement.ALL_GROUPS)
    there = {group for group in _placement.ALL_GROUPS if groups.get(group)}
    return _placement.groups_of(resolved) | there


def _check_variables(machines: _variables.Machines) -> None:
    found = _variables.problems(machines)
    if found:
        raise InventoryError(*found)


def _check_postgres(inputs: dict[str, t.Any], needed: set[str]) -> None:
    """Our own server has a pooler that looks up passwords, a provider's has an administrator."""
    if inputs.get("postgres") in (None, {}):
        secret, name = inputs.get("pgbouncer_password"), "vault_stack_pgbouncer_password"
        if "database" in needed:
            _applications.require_secret(secret, name)
        return
    _applications.typed("stack_postgres", inputs["postgres"])
    _applications.require_secret(inputs.get("postgres_password"), "vault_stack_postgres_password")
    _require_verification(inputs.get("health"))


def _require_verification(health: t.Any) -> None:
    """The one place where an operator could say otherwise: the health check of the server."""
    mode = _mapping(_mapping(health).get("postgres")).get("sslmode", "verify-full")
    if mode != "verify-full":
        raise InventoryError(
            f"stack_health.postgres.sslmode is {_specification.shown(mode)}, but the"
            " server of stack_postgres always has to prove who it is; remove it, or write"
            " verify-full."
        )


def _mapping(given: t.Any) -> t.Mapping[str, t.Any]:
    return given if isinstance(given, t.Mapping) else {}


def _check_redis(inputs: dict[str, t.Any], needed: set[str]) -> None:
    if inputs.get("redis") in (None, {}):
        secret, name = inputs.get("redis_admin_password"), "vault_stack_redis_admin_password"
        if "cache" in needed:
            _applications.require_secret(secret, name)
        return
    given = _applications.typed("stack_redis", inputs["redis"])
    for option in ("broker_url", "cache_url"):
        _refuse_clear_text(f"stack_redis.{option}", given[option], given["tls_required"])


def _refuse_clear_text(label: str, url: str, tls_required: bool) -> None:
    """A name may be of a private network, which nobody here knows; a public address is none."""
    host = urlsplit(url).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    if not url.startswith("redis:") or host == "localhost" or (address and address.is_loopback):
        return
    said = f"{label} is {url!r}, which sends passwords and data in clear text"
    if tls_required:
        raise InventoryError(
            f"{said}; write rediss://, or add stack_redis.tls_required: false where nothing but a"
            " private network lies between."
        )
    if address and address.is_global:
        raise InventoryError(f"{said} over the internet; write rediss://.")


def _check_health(given: t.Any) -> None:
    """Refuses kinds and options of health checks that there are not."""
    timeout = {"timeout": {"type": "float"}}
    kinds = {
        kind: {
            "type": "dict",
            "options": {
                **{name: {**option, "required": False} for name, option in each.OPTIONS.items()},
                **timeout,
            },
        }
        for kind, each in _health_kinds.KINDS.items()
    }
    whole = {"stack_health": {"type": "dict", "options": kinds}}
    found = _specification.read(whole, {"stack_health": given})[1]
    if found:
        raise InventoryError(*found)


def _check_environment_name(name: t.Any) -> None:
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", name):
        shown = "missing" if name is None else _specification.shown(name)
        raise InventoryError(
            f"stack_environment is {shown}; write its name in lower-case letters, digits and"
            " dashes, for example 'production'."
        )


def _check_applications(
    inputs: dict[str, t.Any], groups: dict[str, list[str]], addresses: dict[str, str]
) -> None:
    resolved = _applications.resolve(inputs.get("applications"), inputs.get("secrets") or {})
    _placement.check_topology(resolved, groups, addresses, redis_provided=bool(inputs.get("redis")))
    _check_administrator(resolved, inputs.get("postgres"))
    _check_shared_user(resolved, inputs.get("redis"))
    if not inputs.get("postgres"):
        check_connections(resolved, inputs.get("postgres_settings") or {})
    _check_workers(resolved, groups)
    _check_certificates(resolved, groups)
    if inputs.get("sources_needed"):
        _check_sources(resolved)


def _check_administrator(applications: list[Application], postgres: t.Any) -> None:
    """Refuses a provider's administrator or database that an application would take over."""
    given = _mapping(postgres)
    owners = [each["database"]["name"] for each in applications if each["database"]]
    if given.get("admin") in owners:
        raise InventoryError(
            f"stack_postgres.admin is {given['admin']!r}, which is the owner of a database of"
            " stack_applications; write the provider's administrator, or rename that database."
        )
    if given.get("database") in owners:
        raise InventoryError(
            f"stack_postgres.database is {given['database']!r}, which is an application's; write"
            " the one that the provider made, like 'postgres' or 'defaultdb'."
        )


def _check_shared_user(applications: list[Application], redis: t.Any) -> None:
    """Refuses two passwords of the one user that all applications log in as."""
    user = _mapping(redis).get("user")
    known = [each for each in applications if each["database"]]
    for each in known[1:] if user else []:
        if each["secrets"]["redis_password"] != known[0]["secrets"]["redis_password"]:
            raise InventoryError(
                f"vault_stack_applications.{each['name']}.redis_password is not that of"
                f" {known[0]['name']}, but stack_redis.user {user!r} has one password; write the"
                " same, or leave user out where the provider has a user for each."
            )


def _check_workers(applications: list[Application], groups: dict[str, list[str]]) -> None:
    if not any(application["celery"] for application in applications):
        return
    if not groups.get("worker"):
        raise InventoryError(
            "an application declares celery but the group 'worker' has no machine; "
            "add one to hosts.yml."
        )


def _check_certificates(applications: list[Application], groups: dict[str, list[str]]) -> None:
    """Refuses a second web machine where an authority would ask either for the answer of one."""
    asked = [each["name"] for each in applications if each["certificate_source"] == "acme"]
    if asked and len(groups["web"]) > 1:
        raise InventoryError(
            f"the group 'web' has {len(groups['web'])} machines, and the authority that issues the"
            f" certificate of {asked[0]} may ask either for the other's answer; keep one machine,"
            " or write certificate_source: files."
        )


def _check_sources(applications: list[Application]) -> None:
    """Refuses folders and archives that are not on the controller, where a release needs them."""
    for application in applications:
        source, label = application["source"], f"stack_applications.{application['name']}.source"
        directory, archive = source["directory"], source["archive"]
        if directory and not Path(directory).is_dir():
            raise InventoryError(
                _complaint(f"{label}.directory", directory, "write a folder of this computer")
            )
        if archive and "://" not in archive and not Path(archive).is_file():
            raise InventoryError(
                _complaint(f"{label}.archive", archive, "write a file of this computer")
            )


def _names(applications: t.Any) -> list[str]:
    given = applications if isinstance(applications, (list, tuple)) else []
    names = [each.get("name") for each in given if isinstance(each, t.Mapping)]
    return [name for name in names if isinstance(name, str)]


def check_connections(applications: list[Application], settings: t.Any) -> None:
    """Refuses a max_connections that the declared pools could exhaust."""
    if not isinstance(settings, t.Mapping):
        raise InventoryError(_complaint("postgres_settings", settings, "write a dictionary"))
    given = settings.get("max_connections")
    pools = sum(_derive.connections(application) for application in applications)
    databases = sum(1 for application in applications if application["database"])
    backups = max(BACKUP_CONNECTIONS, OF_EACH_DATABASE * databases + 1)
    besides = CONNECTIONS_BESIDES_POOLS + backups
    needed = pools + besides
    if "max_connections" in settings and (
        isinstance(given, bool) or not re.fullmatch(r"[0-9]{1,9}", str(given))
    ):
        raise InventoryError(
            _complaint("postgres_settings.max_connections", given, "write a number")
        )
    limit = int(str(given)) if "max_connections" in settings else needed
    if limit < needed:
        raise InventoryError(
            f"postgres_settings.max_connections is {given}, but the pools take {pools} and"
            f" administration, replication and backup {besides}; write at least"
            f" {needed} or make database.pool_size smaller."
        )
    if limit > CONNECTIONS_LIMIT:
        raise InventoryError(
            _complaint(
                "postgres_settings.max_connections",
                limit,
                f"write at most {CONNECTIONS_LIMIT}, PostgreSQL takes no more",
            )
        )


def _complaint(path: str, value: t.Any, remedy: str) -> str:
    return _specification.complaint(path, value, remedy)


def _check_backup_s3(inputs: dict[str, t.Any], name: str) -> None:
    given, secrets = inputs.get(name), inputs.get(f"{name}_secrets")
    if not given:
        return
    _applications.typed(f"stack_{name}", given)
    if not inputs.get("backup_s3"):
        raise InventoryError(
            f"stack_{name} is declared without stack_backup_s3; call it that, it is the only one."
        )
    twin, keys = f"vault_stack_{name}", ("access_key", "secret_key")
    secrets = {} if secrets is None else secrets
    if not isinstance(secrets, t.Mapping):
        remedy = f"write a dictionary of {' and '.join(keys)}"
        raise InventoryError(_complaint(twin, secrets, remedy))
    for key in secrets:
        if key not in keys:
            raise InventoryError(_specification.unknown(twin, key, keys))
    for key in keys:
        if secrets.get(key) in (None, ""):
            raise InventoryError(
                f"{twin}.{key} is missing; add it to {_applications.SECRETS_FILE}."
            )
        if not isinstance(secrets[key], str) or not re.fullmatch(r"[!-~]+", secrets[key]):
            raise InventoryError(
                _complaint(f"{twin}.{key}", secrets[key], "write it in quotes and without spaces")
            )


def _check_second_place(inputs: dict[str, t.Any]) -> None:
    """Refuses a second place that is the first: all would go there twice, and be lost at once."""
    if not inputs.get("backup_s3") or not inputs.get("backup_s3_second"):
        return
    first, second = (
        _applications.typed(f"stack_{name}", inputs[name])
        for name in ("backup_s3", "backup_s3_second")
    )
    prefix = first["prefix"] or f"{inputs.get('environment')}/"
    if _place(first, prefix) == _place(second, prefix):
        raise InventoryError(
            "stack_backup_s3_second is the same bucket and prefix as stack_backup_s3; write another"
            " bucket, best of another provider."
        )


def _place(given: t.Mapping[str, t.Any], prefix: str) -> tuple[str, str, str]:
    """Where it is in the end; AWS has one name for a bucket in whichever region."""
    host = urlsplit(given["endpoint_url"]).netloc or "amazonaws.com"
    if host.endswith(".amazonaws.com"):
        host = "amazonaws.com"
    return host, given["bucket"], (given["prefix"] or prefix).strip("/")


def _check_cipher_pass(inputs: dict[str, t.Any]) -> None:
    """Refuses backups that would leave the machines in clear text, or, of files, not at all."""
    if inputs.get("backup_s3"):
        _applications.require_secret(
            inputs.get("backup_cipher_pass"), "vault_stack_backup_cipher_pass"
        )


def _check_wired_ports(ports: t.Mapping[str, t.Any]) -> None:
    """The wiring tells every application these ports, so a role cannot be moved alone."""
    wired = {
        "postgres_port": _derive.POSTGRES_PORT,
        "pgbouncer_port": _derive.PGBOUNCER_PORT,
        "backup_postgres_port": _derive.POSTGRES_PORT,
    }
    for option, port in wired.items():
        if ports.get(option) is not None and str(ports[option]) != str(port):
            raise InventoryError(
                _complaint(option, ports[option], f"remove it, the stack is wired to {port}")
            )


def _check_redis_instances(given: t.Any) -> None:
    if given is None:
        return
    option = "redis_instances"
    specification = {option: _specification.options("redis", "main")[option]}
    read, problems = _specification.read(specification, {option: given}, rules=_rules.RULES)
    if problems:
        raise InventoryError(*problems)
    for part in ("name", "port"):
        for value, count in Counter(instance[part] for instance in read[option]).items():
            if count > 1:
                raise InventoryError(
                    f"{option}: {count} entries have the {part} {value}; give each its own."
                )
    ports = {instance["port"] for instance in read[option]}
    for port in (_derive.BROKER_PORT, _derive.CACHE_PORT):
        if port not in ports:
            raise InventoryError(
                f"{option} has no instance with the port {port}; add {_rules.OWN_PORTS[port]},"
                " which every application is told to find there."
            )
