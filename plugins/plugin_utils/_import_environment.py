# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From the variables of an application as it runs today to its declaration and its secrets.

What follows from the declaration is left out of it, under whichever name the application reads it;
what nobody can place is said, without its value.
"""

from __future__ import annotations

import dataclasses
import re
import typing as t
from urllib.parse import unquote, urlsplit

from ansible_collections.slipway.stack.plugins.plugin_utils import (
    _application_environment,
    _applications,
)

# Other names for what an application is told of its services, besides those of `NAMES`.
ALIASES = {
    "POSTGRES_URL": "database_url",
    "SQLALCHEMY_DATABASE_URL": "database_url",
    **{f"{word}_HOST": "database_host" for word in ("DATABASE", "DB", "POSTGRES")},
    **{f"{word}_PORT": "database_port" for word in ("DATABASE", "DB", "POSTGRES")},
    **{f"{word}_NAME": "database_name" for word in ("DATABASE", "DB", "POSTGRES")},
    "POSTGRES_DB": "database_name",
    **{f"{word}_USER": "database_user" for word in ("DATABASE", "DB", "POSTGRES")},
    **{f"{word}_PASSWORD": "database_password" for word in ("DATABASE", "DB", "POSTGRES")},
    "CELERY_BROKER_URL": "broker_url",
    "CELERY_RESULT_BACKEND": "broker_url",
    "REDIS_HOST": "redis_host",
    "REDIS_PORT": "redis_port",
    "REDIS_USER": "redis_user",
    "REDIS_PASSWORD": "redis_password",
    "JWT_SECRET_KEY": "secret_key",
}
_SECRET = re.compile(r"SECRET|PASSWORD|PASSWD|TOKEN|_KEY$|^KEY$|API_?KEY|DSN|CREDENTIAL|PRIVATE")
_CREDENTIALS = re.compile(r"://[^/@\s]*:[^/@\s]+@")
# A word of both letters and digits that is too long for one that somebody would say.
_RANDOM = re.compile(r"(?=\S*[0-9])(?=\S*[A-Za-z])[A-Za-z0-9+/=_-]{24,}")
_PLACEHOLDER = re.compile(r"\{.*\}|<.*>|\.\.\.|your[-_ ].*|(?:change|replace)[-_ ]?me.*", re.I)
_NEAR = ("localhost", "127.0.0.1", "::1", "")


@dataclasses.dataclass
class Placed:
    """An entry of stack_applications, its vault twin, and what was not placed."""

    application: dict[str, t.Any]
    secrets: dict[str, t.Any]
    remarks: list[str] = dataclasses.field(default_factory=list)


def place(values: t.Mapping[str, str], name: str, framework: str = "django") -> Placed:
    """Every variable where it belongs."""
    placed = Placed(
        {
            "name": name,
            "domain": "",
            "source": {"repository": "", "version": "main"},
            "framework": framework,
            "web": {"asgi" if framework == "fastapi" else "wsgi": ""},
        },
        {"database_password": "", "redis_password": "", "secret_key": ""},
    )
    known = {**ALIASES, **_application_environment.NAMES[framework]}
    for variable, value in values.items():
        fact = known.get(variable, "")
        if fact:
            _tell(placed, variable, fact, value)
            _name(placed, variable, fact)
        else:
            _keep(placed, variable, value)
    _missing(placed)
    return placed


def _name(placed: Placed, variable: str, fact: str) -> None:
    """Under which name the application reads it, unless its framework has that one."""
    told = _application_environment.NAMES[placed.application["framework"]]
    if variable not in told:
        placed.application.setdefault("environment_names", {})[variable] = fact


def _tell(placed: Placed, variable: str, fact: str, value: str) -> None:
    if _PLACEHOLDER.fullmatch(value):
        placed.remarks.append(f"{variable} is a placeholder; its value is to be written")
        value = ""
    if fact == "database_url":
        _database(placed, variable, value)
    elif fact in ("broker_url", "cache_url"):
        _redis(placed, variable, value)
    elif fact == "database_name" and value:
        placed.application.setdefault("database", {})["name"] = value
    elif fact in ("database_password", "redis_password", "secret_key"):
        placed.secrets[fact] = value
    elif fact == "allowed_hosts":
        _hosts(placed, variable, value)
    elif fact.startswith("s3_"):
        _s3(placed, fact.removeprefix("s3_"), value)
    elif fact in ("database_host", "redis_host"):
        _server(placed, variable, value, fact.split("_")[0])


def _parts(placed: Placed, variable: str, value: str) -> t.Any:
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 - raises where it is no number
    except ValueError:
        placed.remarks.append(f"{variable} is no URL; correct it")
        return urlsplit("")
    return parts


def _database(placed: Placed, variable: str, value: str) -> None:
    parts = _parts(placed, variable, value)
    name = parts.path.strip("/")
    if name:
        placed.application.setdefault("database", {})["name"] = unquote(name)
    if parts.password and not _PLACEHOLDER.fullmatch(parts.password):
        placed.secrets["database_password"] = unquote(parts.password)
    _server(placed, variable, parts.hostname or "", "database")


def _redis(placed: Placed, variable: str, value: str) -> None:
    parts = _parts(placed, variable, value)
    if parts.password and not _PLACEHOLDER.fullmatch(parts.password):
        placed.secrets["redis_password"] = unquote(parts.password)
    _server(placed, variable, parts.hostname or "", "redis")


def _server(placed: Placed, variable: str, host: str, kind: str) -> None:
    """A name with dots is a server of its own; one without is a neighbour in a compose file."""
    option = {"database": "stack_postgres", "redis": "stack_redis"}[kind]
    if host not in _NEAR and "." in host:
        remark = f"{variable} names the server {host}; if a provider runs it, declare {option}"
        if not any(f"{host}; if" in each for each in placed.remarks):
            placed.remarks.append(remark)


def _hosts(placed: Placed, variable: str, value: str) -> None:
    """The first one is served; whether the others are redirected, nobody can know."""
    hosts = [host.strip() for host in value.split(",")]
    public = [host for host in hosts if "." in host and host not in _NEAR and host[0] not in ".*"]
    if not public:
        return
    first, *others = public
    placed.application["domain"] = first
    for other in others:
        placed.remarks.append(
            f"{variable} has {other} too; add it to redirects, or to another application"
        )


def _s3(placed: Placed, part: str, value: str) -> None:
    if part in ("access_key", "secret_key"):
        placed.secrets[f"s3_{part}"] = value
    elif value:
        placed.application.setdefault("s3", {})[part] = value


def _keep(placed: Placed, variable: str, value: str) -> None:
    if variable in _applications.PROCESS_VARIABLES:
        placed.remarks.append(f"{variable} was left out; how processes start, the units decide")
    elif "\n" in value or "\r" in value:
        placed.remarks.append(f"{variable} has several lines; encode it, for example in base64")
    else:
        secret = _SECRET.search(variable) or _CREDENTIALS.search(value) or _RANDOM.search(value)
        side = placed.secrets if secret else placed.application
        if _PLACEHOLDER.fullmatch(value):
            placed.remarks.append(f"{variable} is a placeholder; its value is to be written")
            value = ""
        side.setdefault("environment", {})[variable] = value


def _missing(placed: Placed) -> None:
    """What no variable says."""
    application = placed.application
    if not application["domain"]:
        placed.remarks.append("domain is not known; write the name that visitors use")
    (server,) = application["web"]
    placed.remarks.append(f"source.repository and web.{server} are not known; write them")
    for name in ("database_password", "redis_password", "secret_key"):
        if not placed.secrets[name]:
            placed.remarks.append(f"{name} is not known; write openssl rand -hex 32's output")
    if "s3" in application and "bucket" not in application["s3"]:
        placed.remarks.append("s3.bucket is not known; write it, or remove s3")
