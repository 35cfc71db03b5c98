# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From the operator's list of applications to complete, checked ones.

The shape is written once, in roles/common/meta/argument_specs.yml, ranges and patterns in _rules.
Here they are run, secrets merged, and contradictions refused. Everything is pure; an error is a
sentence that names the option, the value and the remedy.
"""

from __future__ import annotations

import difflib
import itertools
import re
import typing as t
from collections import Counter

from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError
from ansible_collections.slipway.stack.plugins.plugin_utils import (
    _application_environment,
    _headers,
    _rules,
    _specification,
)

SECRETS_FILE = "inventories/<environment>/group_vars/all/secrets.yml"
PLACEHOLDERS = frozenset(
    {"changeme", "change-me", "change_me", "secret", "password", "todo", "xxx"}
)
# Keys of a vault twin that are secrets of the application itself.
SECRET_KEYS = frozenset(
    {
        "database_password",
        "redis_password",
        "secret_key",
        "environment",
        "private_key",
        "deploy_key",
        "s3_access_key",
        "s3_secret_key",
    }
)
# What an application's environment must not say: how its processes are found and started.
PROCESS_VARIABLES = frozenset(
    {"PATH", "HOME", "USER", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_PRELOAD"}
    | {"LD_LIBRARY_PATH", "LISTEN_FDS", "LISTEN_PID", "NOTIFY_SOCKET", "GUNICORN_CMD_ARGS"}
)
ACME_CHALLENGES = "/.well-known/acme-challenge/"

Application = dict[str, t.Any]


class InventoryError(StackError):
    """The inventory cannot work; each sentence says what to write instead."""

    def __init__(self, *sentences: str) -> None:
        super().__init__(" ".join(sentences))
        self.sentences = list(sentences)


def typed(option: str, value: t.Any) -> dict[str, t.Any]:
    """The dict `value`, typed and defaulted by the specification of `option`."""
    specification = _specification.options("common", "validate_inventory")[option]["options"]
    place = _specification.Place(option, option)
    result, problems = _specification.read(specification, value, place, _rules.RULES)
    if problems:
        raise InventoryError(*problems)
    return result


def resolve(applications: t.Any, secrets: t.Any) -> list[Application]:
    """Complete, checked applications with their secrets merged; raises InventoryError."""
    name = "stack_applications"
    if applications is None:
        raise InventoryError(
            f"{name} is missing; write a list of applications into group_vars/all, each with name,"
            " domain, source and web."
        )
    secrets = _specification.plain(secrets)
    if not isinstance(secrets, t.Mapping):
        raise InventoryError(
            f"vault_{name} is {_kind(secrets)}; write a dictionary that maps each application's"
            " name to its secrets."
        )
    specification = {name: _specification.options("common", "validate_inventory")[name]}
    read, problems = _specification.read(specification, {name: applications}, rules=_rules.RULES)
    if problems:
        raise InventoryError(*problems)
    resolved: list[Application] = read[name]
    _collect(
        *(
            lambda pair=pair: _check_application(*pair)
            for pair in zip(resolved, applications, strict=True)
        ),
        *(lambda each=each: _merge_secrets(each, secrets.get(each["name"])) for each in resolved),
        lambda: _check_together(resolved, secrets),
    )
    return resolved


def _kind(value: t.Any) -> str:
    """What a value is, for where the value itself may be secret."""
    if isinstance(value, _specification.Undefined):
        return _specification.shown(value)
    kinds = {t.Mapping: "a dictionary", list: "a list", str: "a text", bool: "true or false"}
    found = [word for kind, word in kinds.items() if isinstance(value, kind)]
    return found[0] if found else "empty" if value is None else "a number"


def _collect(*checks: t.Callable[[], t.Any]) -> None:
    """Runs all checks and raises what they found, together."""
    sentences = []
    for check in checks:
        try:
            check()
        except InventoryError as error:
            sentences += error.sentences
    if sentences:
        raise InventoryError(*sentences)


def _check_application(application: Application, given: t.Mapping[str, t.Any]) -> None:
    name = application["name"]
    label = f"stack_applications.{name}"
    _check_kind(application, given, label)
    database = application["database"]
    if database:
        database["name"] = database["name"] or name
        application["redis_keys"] = application["redis_keys"] or [f"{name}:*"]
    _collect(
        lambda: _check_source(application["source"], f"{label}.source"),
        lambda: _check_web(application, given.get("web") or {}, f"{label}.web"),
        lambda: _check_database(database, name, f"{label}.database"),
        lambda: _check_certificate(application, label),
        lambda: _check_environment(application["environment"], f"{label}.environment"),
        lambda: _check_names(application, f"{label}.environment_names"),
        lambda: _check_workers(application["celery"], f"{label}.celery.workers"),
    )


def _check_kind(application: Application, given: t.Mapping[str, t.Any], label: str) -> None:
    """A frontend stores nothing here: what it shows, it asks another application for."""
    web, served = application["web"], application["static"]
    kinds = [kind for kind in ("wsgi", "asgi", "node") if web[kind]]
    if served and given.get("web"):
        raise InventoryError(
            f"{label} has static and web; make an application of its own of each, with its own"
            " domain."
        )
    if web["node"] and len(kinds) > 1:
        raise InventoryError(
            f"{label}.web has {' and '.join(kinds)}; make an application of its own of node."
        )
    if not (served or web["node"]):
        if application["build"]:
            raise InventoryError(
                f"{label}.build is given, but uv builds what wsgi and asgi name; remove it, or"
                " write static or web.node."
            )
        return
    for option in ("celery", "database", "redis_keys"):
        if given.get(option):
            kind = "static" if served else "web.node"
            raise InventoryError(
                f"{label}.{option} is given, but {kind} has none; remove it, or declare it of the"
                " application that this one asks."
            )
    if given.get("framework") not in (None, "none"):
        served_by = "static is served by nginx alone" if served else "web.node is run by Node"
        raise InventoryError(
            f"{label}.framework is {application['framework']!r}, but {served_by}; remove it."
        )
    application.update(database=None, redis_keys=[], framework="none")


def _check_source(source: dict[str, t.Any], label: str) -> None:
    kinds = [kind for kind in ("repository", "archive", "directory") if source[kind]]
    if len(kinds) != 1:
        raise InventoryError(
            f"{label} has {' and '.join(kinds) or 'none of its kinds'}; write exactly one of"
            " repository, archive and directory."
        )
    if source["archive"] and "://" in source["archive"] and not source["sha256"]:
        raise InventoryError(f"{label}.archive is a URL; add the sha256 that it must have.")
    if source["sha256"] and not source["archive"]:
        raise InventoryError(
            f"{label}.sha256 is given, but no archive; remove it, or write source.archive."
        )


def _check_web(application: Application, given: t.Mapping[str, t.Any], label: str) -> None:
    web = application["web"]
    if application["static"]:
        place = f"{label.removesuffix('.web')}.static"
        _check_headers(application["static"], place)
        _check_hashed(application["static"]["hashed_paths"], f"{place}.hashed_paths")
        return
    if not (web["wsgi"] or web["asgi"] or web["node"]):
        raise InventoryError(
            f"{label} has neither wsgi, asgi nor node; write 'wsgi: shop.wsgi:application'."
        )
    if given.get("websocket_paths") and not (web["asgi"] or web["node"]):
        raise InventoryError(
            f"{label}.websocket_paths is given, but nothing answers WebSockets; write {label}.asgi,"
            " like 'shop.asgi:application'."
        )
    _check_paths(web, label)
    _check_headers(web, label)
    opened = web["websocket_health_path"]
    if opened and not opened.startswith(tuple(web["websocket_paths"])):
        raise InventoryError(
            f"{label}.websocket_health_path is {opened!r}; write one below one of"
            f" {label}.websocket_paths ({', '.join(web['websocket_paths'])})."
        )


def _check_headers(site: dict[str, t.Any], label: str) -> None:
    wrong = _headers.problem(site["headers"])
    if wrong:
        raise InventoryError(f"{label}.headers: {wrong}.")


def _check_hashed(paths: list[str], label: str) -> None:
    """Refuses to keep for a year what changes, or is not the site's to serve."""
    for path in paths:
        owner = ""
        if path == "/":
            owner = "is the whole site, and its pages change"
        elif ACME_CHALLENGES.startswith(path) or f"{path}/".startswith("/.well-known/"):
            owner = "belongs to the certificate authority"
        if owner:
            raise InventoryError(
                f"{label} has {path!r}, which {owner}; write where the build puts files whose names"
                " change with their content, like '/assets/'."
            )


def _check_paths(web: dict[str, t.Any], label: str) -> None:
    owners = {"/": "the site itself", "/static/": "static files", "/media/": "uploaded files"}
    places = [("health_path", web["health_path"])]
    places += [("api_paths", path) for path in web["api_paths"]]
    places += [("websocket_paths", path) for path in web["websocket_paths"] if web["asgi"]]
    for option, path in places:
        owner = owners.setdefault(path, f"{label}.{option}")
        if path.startswith(ACME_CHALLENGES.rstrip("/")):
            owner = "the certificate authority"
        elif owner == f"{label}.{option}" and places.count((option, path)) == 1:
            continue
        raise InventoryError(
            f"{label}.{option} is or has {path!r}, which belongs to {owner}; write another path."
        )


def _check_database(database: dict[str, t.Any] | None, name: str, label: str) -> None:
    if not database:
        return
    if database["name"] != name and (
        database["name"] in _rules.RESERVED_NAMES or database["name"].startswith("pg_")
    ):
        raise InventoryError(
            f"{label}.name is {database['name']!r}, which the system uses itself; choose another."
        )
    pool = database["pool_size"] + database["reserve_pool_size"]
    if pool > _rules.POOL_LIMIT:
        raise InventoryError(
            f"{label}.pool_size and reserve_pool_size are {pool} together; write at most"
            f" {_rules.POOL_LIMIT}, which is all that PgBouncer opens for one database."
        )


def _check_certificate(application: Application, label: str) -> None:
    source = application["certificate_source"]
    if source == "files" and not application["certificate"]:
        raise InventoryError(
            f"{label}.certificate is empty but certificate_source is 'files'; write the PEM chain."
        )
    if source != "files" and application["certificate"]:
        raise InventoryError(
            f"{label}.certificate_source is {source!r}, but a certificate is given; write 'files',"
            " or remove the certificate."
        )


def _check_workers(celery: dict[str, t.Any] | None, label: str) -> None:
    names = Counter(worker["name"] for worker in celery["workers"]) if celery else {}
    for name, count in names.items():
        if count > 1:
            raise InventoryError(f"{label} has {count} with the name {name}; give each its own.")


def _check_environment(environment: t.Mapping[t.Any, t.Any], label: str) -> None:
    for key, value in environment.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", str(key)):
            raise InventoryError(
                f"{label} has the name {str(key)!r}; write letters, digits and underscores."
            )
        if key in PROCESS_VARIABLES:
            raise InventoryError(
                f"{label}.{key} decides how the application's processes start, which its units do;"
                " remove it."
            )
        if key == "NODE_OPTIONS" and "--inspect" in str(value):
            raise InventoryError(
                f"{label}.{key} has --inspect, through which whoever reaches the debugger runs what"
                " he likes; remove that."
            )
        if value is None:
            raise InventoryError(f"{label}.{key} is empty; write '' if that is meant.")
        if isinstance(value, (bool, float)):
            raise InventoryError(
                f"{label}.{key} was read by YAML as {_kind(value)}; write it in quotes, just as the"
                " application is to read it."
            )
        if isinstance(value, _specification.Undefined):
            raise InventoryError(_specification.complaint(f"{label}.{key}", value, ""))
        if isinstance(value, (t.Mapping, list)):
            raise InventoryError(f"{label}.{key} is not a single value; write it as one string.")
        # The value may be a secret, so it is not quoted.
        if any(character in str(value) for character in "\n\r\0"):
            raise InventoryError(
                f"{label}.{key} contains a line break; encode it, for example in base64."
            )


def _check_names(application: Application, label: str) -> None:
    """Refuses variables for facts that there are not, or that the application says itself."""
    for name, fact in application["environment_names"].items():
        _check_environment({name: fact}, label)
        if fact and fact not in _application_environment.FACTS:
            known = _application_environment.FACTS
            near = difflib.get_close_matches(str(fact), known, n=1) or sorted(known)
            raise InventoryError(
                f"{label}.{name} is {_specification.shown(fact)}; write {', '.join(near)}, or ''"
                " for none."
            )


def _merge_secrets(application: Application, secrets: t.Any) -> None:
    twin = f"vault_stack_applications.{application['name']}"
    if secrets is None and not application["database"]:
        secrets = {}
    if not isinstance(secrets, t.Mapping):
        raise InventoryError(
            f"{twin} is {'missing' if secrets is None else _kind(secrets)}; write a dictionary with"
            f" database_password, redis_password and secret_key into {SECRETS_FILE}."
        )
    unknown = sorted(str(key) for key in secrets if key not in SECRET_KEYS)
    if unknown:
        remedy = _specification.unknown(twin, unknown[0], SECRET_KEYS).removesuffix(".")
        raise InventoryError(f"{remedy}, or put it into {twin}.environment.")
    required = ["database_password", "redis_password", "secret_key"]
    required = required if application["database"] else []
    required += ["s3_secret_key"] if application["s3"] else []
    keys = [key for key in ("private_key", "deploy_key") if secrets.get(key)]
    if application["certificate_source"] == "files":
        keys.append("private_key")
    environment = secrets.get("environment") or {}
    if not isinstance(environment, t.Mapping):
        raise InventoryError(
            f"{twin}.environment is {_kind(environment)}; write a dictionary of names and values."
        )
    _collect(
        *(lambda key=key: require_secret(secrets.get(key), f"{twin}.{key}") for key in required),
        *(lambda key=key: _require_pem(secrets.get(key), f"{twin}.{key}") for key in set(keys)),
        lambda: _check_s3_key(application, secrets.get("s3_access_key"), f"{twin}.s3_access_key"),
        lambda: _check_environment(environment, f"{twin}.environment"),
        lambda: _refuse_twice(application["environment"], environment, application["name"]),
    )
    application["secrets"] = {
        key: secrets.get(key) or ({} if key == "environment" else "") for key in SECRET_KEYS
    }


def _check_s3_key(application: Application, value: t.Any, label: str) -> None:
    """A name rather than a secret, so it may be short."""
    if application["s3"] and not (isinstance(value, str) and re.fullmatch(r"[!-~]+", value)):
        raise InventoryError(f"{label} is missing or has spaces; add it to {SECRETS_FILE}.")


def _refuse_twice(
    environment: t.Mapping[t.Any, t.Any], secrets: t.Mapping[t.Any, t.Any], name: str
) -> None:
    for key in sorted(str(key) for key in set(environment) & set(secrets)):
        raise InventoryError(
            f"{key} is in stack_applications.{name}.environment and in the vault twin's; remove"
            " one of them."
        )


def require_secret(value: t.Any, label: str) -> None:
    """Refuses a secret that is missing, a placeholder or too short; never quotes it."""
    if value is None or value == "":
        raise InventoryError(f"{label} is missing; add it to {SECRETS_FILE} (ansible-vault edit).")
    if isinstance(value, _specification.Undefined):
        raise InventoryError(_specification.complaint(label, value, ""))
    if not isinstance(value, str):
        raise InventoryError(f"{label} is {_kind(value)}; write it in quotes.")
    if value.lower() in PLACEHOLDERS or re.fullmatch(r"<.*>|\[.*\]|\$?\{.*\}", value):
        raise InventoryError(
            f"{label} is a placeholder; write a random value (openssl rand -hex 32)."
        )
    if len(value) < 12:
        raise InventoryError(
            f"{label} has fewer than 12 characters; write openssl rand -hex 32's output."
        )
    if not value.isprintable():
        raise InventoryError(
            f"{label} contains a line break or another control character; write it in one line."
        )


def _require_pem(value: t.Any, label: str) -> None:
    if not value:
        raise InventoryError(f"{label} is missing; add it to {SECRETS_FILE} (ansible-vault edit).")
    pem = r"\s*-----BEGIN [A-Z ]*PRIVATE KEY-----\n.*\n-----END [A-Z ]*PRIVATE KEY-----\s*"
    if not isinstance(value, str) or not re.fullmatch(pem, value, re.DOTALL):
        raise InventoryError(
            f"{label} is not a private key; write its PEM as a block (|), from '-----BEGIN' to"
            " 'PRIVATE KEY-----'."
        )


def _check_together(applications: list[Application], secrets: t.Mapping[t.Any, t.Any]) -> None:
    refuse_duplicates("name", [application["name"] for application in applications])
    refuse_duplicates(
        "domain or redirect",
        [domain for a in applications for domain in [a["domain"], *a["redirects"]]],
    )
    refuse_duplicates(
        "database.name", [a["database"]["name"] for a in applications if a["database"]]
    )
    _refuse_shared_keys(applications)
    names = {application["name"] for application in applications}
    for orphan in sorted(str(name) for name in secrets if name not in names):
        raise InventoryError(
            f"vault_stack_applications.{orphan} belongs to no application; add it to"
            " stack_applications, or remove it."
        )


def _refuse_shared_keys(applications: list[Application]) -> None:
    """Refuses patterns by which one application could reach the keys of another."""
    claims = [(each["name"], pattern) for each in applications for pattern in each["redis_keys"]]
    for (name, pattern), (other, theirs) in itertools.combinations(claims, 2):
        ours, others = (re.split(r"[*?\[\\]", text)[0] for text in (pattern, theirs))
        if name != other and (ours.startswith(others) or others.startswith(ours)):
            raise InventoryError(
                f"stack_applications.{name}.redis_keys has {pattern!r}, which may meet {theirs!r}"
                f" of {other}; let each begin differently, like '{name}:*'."
            )


def refuse_duplicates(option: str, values: list[t.Any], remedy: str = "give each its own") -> None:
    """Refuses a value that more than one application has."""
    for value, count in Counter(values).items():
        if count > 1:
            raise InventoryError(
                f"stack_applications: {count} entries have the {option} {value}; {remedy}."
            )
