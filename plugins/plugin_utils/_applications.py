# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From the operator's list of applications to what each role understands.

The shape is written once, in roles/common/meta/argument_specs.yml. Here it is run: values are typed
and defaulted, secrets merged, contradictions refused, and each application's share for each role is
derived. Everything is pure; an error is a sentence that names the option, the value and the remedy.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
import typing as t
from collections import Counter

from ansible_collections.slipway.stack.plugins.plugin_utils import _derive, _specification

SECRETS_FILE = "inventories/<environment>/group_vars/all/secrets.yml"
NAME = re.compile(r"^[a-z][a-z0-9_]{1,30}$")
HOST_NAME = re.compile(
    r"^(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]$"
)
# Users, databases and units of Debian and of ours, which an application would overwrite.
RESERVED_NAMES = frozenset(
    """
    root daemon bin sys sync games man lp mail news uucp proxy www backup list irc nobody
    admin public postgres redis valkey pgbouncer nginx certbot slipway template0 template1
    default sshd systemd
    all replication adm tty disk dialout fax voice cdrom floppy tape sudo audio dip operator src
    shadow utmp video sasl plugdev staff users nogroup input kvm render crontab netdev messagebus
    docker debian
    """.split()  # noqa: SIM905 - one word a line would take thirty
)
PLACEHOLDERS = frozenset(
    {"changeme", "change-me", "change_me", "secret", "password", "todo", "xxx"}
)
# The postgres role's defaults: 10 for administration, 5 replication, 5 backup, 3 for superusers.
CONNECTIONS_BESIDES_POOLS = 23
REQUIRED_GROUPS = ("database", "cache", "application", "web")
# Keys of a vault twin that are secrets of the application itself.
SECRET_KEYS = frozenset(
    {
        "database_password",
        "redis_password",
        "secret_key",
        "environment",
        "private_key",
        "deploy_key",
    }
)

Application = dict[str, t.Any]


class InventoryError(Exception):
    """The inventory cannot work; the message says what to write instead."""


def typed(option: str, value: t.Any, label: str) -> dict[str, t.Any]:
    """The dict `value`, typed and defaulted by the specification of `option`.

    Raises InventoryError naming `label` and every option that is wrong.
    """
    if not isinstance(value, dict):
        raise InventoryError(f"{label} is {value!r}; write a dictionary.")
    specification = _specification.options("common", "validate_inventory")[option]["options"]
    try:
        result = _specification.validate(specification, value)
    except (TypeError, ValueError, AttributeError) as error:
        # Ansible's own validator stumbles over some values before it can name them.
        raise InventoryError(
            f"{label}: a value has the wrong type ({error}); compare it with "
            "ansible-doc -t role -e validate_inventory slipway.stack.common."
        ) from error
    if result.error_messages:
        raise InventoryError(f"{label}: {'; '.join(map(_sentence, result.error_messages))}.")
    parameters: dict[str, t.Any] = result.validated_parameters
    return parameters


def _sentence(message: str) -> str:
    """Ansible's "a.wrkers. Supported parameters include: …" as a sentence with a likely option."""
    found = re.match(r"^(\S+)\. Supported parameters include: (.*)\.$", message)
    if not found:
        return message
    path, supported = found.group(1), re.sub(r" \(.*?\)", "", found.group(2)).split(", ")
    *parents, wrong = path.split(".")
    near = difflib.get_close_matches(wrong, supported, n=1)
    if near:
        return f"{path} is not an option; write {'.'.join([*parents, near[0]])}"
    return f"{path} is not an option; write one of {', '.join(supported)}"


def resolve(applications: t.Any, secrets: t.Any) -> list[Application]:
    """Complete, checked applications with their secrets merged; raises InventoryError."""
    if not isinstance(applications, list):
        raise InventoryError("stack_applications must be a list of dictionaries, each with a name.")
    if not isinstance(secrets, dict):
        raise InventoryError(
            "vault_stack_applications must map each application's name to its secrets."
        )
    resolved = []
    for position, given in enumerate(applications):
        name = given.get("name") if isinstance(given, dict) else None
        label = (
            f"stack_applications: {name}" if name else f"stack_applications, entry {position + 1}"
        )
        application = typed("stack_applications", given, label)
        _check_application(application, label)
        _merge_secrets(application, secrets.get(application["name"]))
        resolved.append(application)
    _check_together(resolved, secrets)
    return resolved


def _check_application(application: Application, label: str) -> None:
    name = application["name"]
    if not NAME.match(name):
        raise InventoryError(
            f"{label}: name is {name!r}; write 2 to 31 lower-case letters, digits and underscores, "
            "a letter first."
        )
    if name in RESERVED_NAMES or name.startswith(("pg_", "systemd")):
        raise InventoryError(
            f"{label}: name is {name!r}, which the system uses itself; choose another."
        )
    for domain in [application["domain"], *application["redirects"]]:
        if not HOST_NAME.match(domain):
            raise InventoryError(
                f"{label}: {domain!r} is not a host name; write one like 'shop.example.com', in "
                "lower case, without scheme or port."
            )
    _check_source(application["source"], label)
    _check_web(application, label)
    database = application["database"]
    database["name"] = database["name"] or name
    if not NAME.match(database["name"]) or (
        database["name"] != name and database["name"] in RESERVED_NAMES
    ):
        raise InventoryError(
            f"{label}: database.name {database['name']!r} cannot be used; choose another."
        )
    if database["pool_size"] < 1 or database["reserve_pool_size"] < 0:
        raise InventoryError(
            f"{label}: database.pool_size is {database['pool_size']} and reserve_pool_size "
            f"{database['reserve_pool_size']}; write at least 1 and 0."
        )
    application["redis_keys"] = application["redis_keys"] or [f"{name}:*"]
    if application["certificate_source"] == "files" and not application["certificate"]:
        raise InventoryError(
            f"{label}: certificate_source is 'files' but certificate is empty; add the PEM."
        )
    _check_environment(application["environment"], f"{label}: environment")


def _check_source(source: dict[str, t.Any], label: str) -> None:
    kinds = [kind for kind in ("repository", "archive", "directory") if source[kind]]
    if len(kinds) != 1:
        raise InventoryError(
            f"{label}: source has {' and '.join(kinds) or 'none of its kinds'}; "
            "write exactly one of repository, archive and directory."
        )
    if source["archive"] and "://" in source["archive"] and not source["sha256"]:
        raise InventoryError(f"{label}: source.archive is a URL; add the sha256 that it must have.")
    if source["version"].startswith("-"):
        raise InventoryError(
            f"{label}: source.version is {source['version']!r}; write a tag, branch or commit."
        )


def _check_web(application: Application, label: str) -> None:
    web = application["web"]
    if not (web["wsgi"] or web["asgi"]):
        raise InventoryError(
            f"{label}: web has neither wsgi nor asgi; write 'wsgi: shop.wsgi:application'."
        )
    for option in ("wsgi", "asgi"):
        if web[option] and ":" not in web[option]:
            raise InventoryError(
                f"{label}: web.{option} is {web[option]!r}; write module and object, "
                f"'shop.{option}:application'."
            )
    for option in ("workers", "threads", "timeout_seconds", "body_limit_megabytes"):
        if web[option] < 1:
            raise InventoryError(f"{label}: web.{option} is {web[option]}; write at least 1.")
    if not 1024 <= web["port"] <= 65534:
        raise InventoryError(f"{label}: web.port is {web['port']}; write one from 1024 to 65534.")
    for path in [web["health_path"], *web["websocket_paths"], *web["api_paths"]]:
        if not re.match(r"^/[A-Za-z0-9/._~-]*$", path):
            raise InventoryError(
                f"{label}: web has the path {path!r}; write one that begins with '/'."
            )


def _check_environment(environment: dict[str, t.Any], label: str) -> None:
    for key, value in environment.items():
        if not re.match(r"^[A-Za-z_][A-Za-z0-9_]*$", str(key)):
            raise InventoryError(
                f"{label} has the name {key!r}; write letters, digits and underscores."
            )
        if isinstance(value, (dict, list)):
            raise InventoryError(f"{label}.{key} is not a single value; write it as one string.")
        # The value may be a secret, so it is not quoted.
        if any(character in str(value) for character in "\n\r\0"):
            raise InventoryError(
                f"{label}.{key} contains a line break; encode it, for example in base64."
            )


def _merge_secrets(application: Application, secrets: t.Any) -> None:
    name = application["name"]
    twin = f"vault_stack_applications.{name}"
    if not isinstance(secrets, dict):
        raise InventoryError(
            f"{twin} is missing; add it with database_password, redis_password and secret_key to "
            f"{SECRETS_FILE}."
        )
    unknown = sorted(set(secrets) - SECRET_KEYS)
    if unknown:
        raise InventoryError(
            f"{twin}.{unknown[0]} is not known; write one of {', '.join(sorted(SECRET_KEYS))}, "
            f"or put it into {twin}.environment."
        )
    required = ["database_password", "redis_password", "secret_key"]
    if application["certificate_source"] == "files":
        required.append("private_key")
    for key in required:
        require_secret(secrets.get(key), f"{twin}.{key}")
    if not isinstance(secrets.get("environment") or {}, dict):
        raise InventoryError(f"{twin}.environment must map names to values.")
    _check_environment(secrets.get("environment") or {}, f"{twin}.environment")
    application["secrets"] = {
        key: secrets.get(key) or ({} if key == "environment" else "") for key in SECRET_KEYS
    }


def require_secret(value: t.Any, label: str) -> None:
    """Refuses a secret that is missing, a placeholder or too short; never quotes it."""
    if not isinstance(value, str) or not value:
        raise InventoryError(f"{label} is missing; add it to {SECRETS_FILE} (ansible-vault edit).")
    if value.lower() in PLACEHOLDERS:
        raise InventoryError(
            f"{label} is a placeholder; write a random value (openssl rand -hex 32)."
        )
    if len(value) < 12:
        raise InventoryError(
            f"{label} has fewer than 12 characters; write openssl rand -hex 32's output."
        )
    if any(character in value for character in "\n\r\0") and not label.endswith("_key"):
        raise InventoryError(f"{label} contains a line break; write it in one line.")


def _check_together(applications: list[Application], secrets: dict[str, t.Any]) -> None:
    _refuse_duplicates("name", [application["name"] for application in applications])
    _refuse_duplicates(
        "domain or redirect",
        [domain for a in applications for domain in [a["domain"], *a["redirects"]]],
    )
    _refuse_duplicates("database.name", [a["database"]["name"] for a in applications])
    for application in applications:
        _refuse_duplicates(
            f"worker name of {application['name']}",
            [worker["name"] for worker in (application["celery"] or {}).get("workers", [])],
        )
    orphans = sorted(set(secrets) - {application["name"] for application in applications})
    if orphans:
        raise InventoryError(
            f"vault_stack_applications.{orphans[0]} belongs to no application; add it to "
            "stack_applications or remove it."
        )


def _refuse_duplicates(option: str, values: list[t.Any], remedy: str = "give each its own") -> None:
    for value, count in Counter(values).items():
        if count > 1:
            raise InventoryError(
                f"stack_applications: {count} entries have the {option} {value}; {remedy}."
            )


def check_topology(
    applications: list[Application], groups: dict[str, list[str]], addresses: dict[str, str]
) -> None:
    """Refuses groups without machines, and machines or ports that the others could not reach."""
    for group in REQUIRED_GROUPS:
        if not groups.get(group):
            raise InventoryError(
                f"the inventory has no machine in the group {group!r}; add one to hosts.yml."
            )
    for group in ("database", "cache"):
        if len(groups[group]) > 1:
            raise InventoryError(
                f"the group {group!r} has {len(groups[group])} machines; it takes exactly one."
            )
    if len(addresses) < 2:
        return
    _refuse_duplicates(
        "web.port (each application takes two)",
        [port for a in applications for port in (a["web"]["port"], a["web"]["port"] + 1)],
        remedy="write ports two apart, for example 8000, 8002, 8004",
    )
    for host, address in sorted(addresses.items()):
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise InventoryError(
                f"stack_address of {host} is {address!r}; set it to the IP address at which the "
                "other machines reach it."
            ) from None
    for address, count in Counter(addresses.values()).items():
        if count > 1:
            raise InventoryError(
                f"{count} machines have the stack_address {address}; give each its own."
            )


def problems(
    inputs: dict[str, t.Any], groups: dict[str, list[str]], addresses: dict[str, str]
) -> list[str]:
    """Everything wrong with the operator's `inputs`, one sentence each, the first per concern."""
    checks: list[t.Callable[[], t.Any]] = [
        lambda: _check_environment_name(inputs.get("environment")),
        lambda: _check_applications(inputs, groups, addresses),
        lambda: require_secret(inputs.get("pgbouncer_password"), "vault_stack_pgbouncer_password"),
        lambda: require_secret(
            inputs.get("redis_admin_password"), "vault_stack_redis_admin_password"
        ),
        lambda: typed("stack_acme", inputs.get("acme") or {}, "stack_acme"),
        lambda: _check_backup_s3(inputs.get("backup_s3"), inputs.get("backup_s3_secrets")),
    ]
    found = []
    for check in checks:
        try:
            check()
        except InventoryError as error:
            found.append(str(error))
    return found


def _check_environment_name(name: t.Any) -> None:
    if not isinstance(name, str) or not re.match(r"^[a-z][a-z0-9-]*$", name):
        raise InventoryError(
            f"stack_environment is {name!r}; write its name, for example 'production'."
        )


def _check_applications(
    inputs: dict[str, t.Any], groups: dict[str, list[str]], addresses: dict[str, str]
) -> None:
    resolved = resolve(inputs.get("applications"), inputs.get("secrets") or {})
    check_topology(resolved, groups, addresses)
    check_connections(resolved, inputs.get("postgres_settings") or {})
    only = inputs.get("only")
    names = [application["name"] for application in resolved]
    if only and only not in names:
        raise InventoryError(
            f"app is {only!r}, which is not declared; write one of {', '.join(names)}."
        )
    if not any(application["celery"] for application in resolved):
        return
    if not groups.get("worker"):
        raise InventoryError(
            "an application declares celery but the group 'worker' has no machine; "
            "add one to hosts.yml."
        )


def check_connections(applications: list[Application], settings: dict[str, t.Any]) -> None:
    """Refuses a max_connections that the declared pools could exhaust."""
    if not isinstance(settings, dict):
        raise InventoryError(f"postgres_settings is {settings!r}; write a dictionary.")
    if "max_connections" not in settings:
        return
    if not str(settings["max_connections"]).isdecimal():
        raise InventoryError(
            f"postgres_settings.max_connections is {settings['max_connections']!r}; write a number."
        )
    pools = sum(_derive.connections(application) for application in applications)
    needed = pools + CONNECTIONS_BESIDES_POOLS
    if int(settings["max_connections"]) < needed:
        raise InventoryError(
            f"postgres_settings.max_connections is {settings['max_connections']}, but the pools "
            f"take {pools} and administration, replication and backup {CONNECTIONS_BESIDES_POOLS}; "
            f"write at least {needed} or make database.pool_size smaller."
        )


def _check_backup_s3(given: t.Any, secrets: t.Any) -> None:
    if not given:
        return
    typed("stack_backup_s3", given, "stack_backup_s3")
    for key in ("access_key", "secret_key"):
        if not isinstance(secrets, dict) or not secrets.get(key):
            raise InventoryError(
                f"vault_stack_backup_s3.{key} is missing; add it to {SECRETS_FILE}."
            )
