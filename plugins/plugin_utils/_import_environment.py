# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""From the variables of an application as it runs today to its declaration and its secrets.

What follows from the declaration is left out of it, under whichever name the application reads it;
what becomes different by that, and what nobody can place, is said, without its value.
"""

from __future__ import annotations

import copy
import dataclasses
import re
import typing as t
from urllib.parse import SplitResult, unquote, urlsplit

from ansible_collections.slipway.stack.plugins.module_utils import _frontend as _frontend_build
from ansible_collections.slipway.stack.plugins.plugin_utils import (
    _application_environment,
    _applications,
)

# Other names for what an application is told of its services, besides those of `NAMES`.
_WORDS = ("DATABASE", "DB", "POSTGRES", "SQL")
_FORMS = {
    **{form: form.lower() for form in ("HOST", "PORT", "NAME", "USER", "PASSWORD")},
    "USERNAME": "user",
    "PASS": "password",
}
ALIASES = {
    "POSTGRES_URL": "database_url",
    "SQLALCHEMY_DATABASE_URL": "database_url",
    **{f"{word}_{form}": f"database_{part}" for word in _WORDS for form, part in _FORMS.items()},
    **{f"PG{form}": f"database_{form.lower()}" for form in ("HOST", "PORT", "USER", "PASSWORD")},
    "PGDATABASE": "database_name",
    "POSTGRES_DB": "database_name",
    "CELERY_BROKER_URL": "broker_url",
    "CELERY_RESULT_BACKEND": "broker_url",
    "REDIS_HOST": "redis_host",
    "REDIS_PORT": "redis_port",
    "REDIS_USER": "redis_user",
    "REDIS_PASSWORD": "redis_password",
    "JWT_SECRET_KEY": "secret_key",
}
# Rather too many: what is in the vault without need does no harm.
_SECRET = re.compile(
    r"SECRET|PASS|PW|TOKEN|KEY|DSN|CRED|PRIV|SALT|PEPPER|AUTH|JWT|SIGN|HMAC|HASH|CRYPT|CIPHER"
    r"|FERNET|CERT|LICEN[CS]E|WEBHOOK|SEED|OTP|(?:^|_)(?:PIN|SID|CODE)S?(?:_|$)",
    re.I,
)
_CREDENTIALS = re.compile(r"://[^/@\s]+@")
# A secret that a longer text names, as a connection's or a service account's does.
_NAMED = re.compile(r"(?:pass|pwd|secret|token|key|auth|sig)\w*[\"']?\s*[:=]", re.I)
# A word of both letters and digits that is too long for one that somebody would say.
_RANDOM = re.compile(r"(?=\S*[0-9])(?=\S*[A-Za-z])[A-Za-z0-9+/=_!#$%^&*-]{16,}")
# A name and a password, not a server and its port; a word that begins as those of services do; one
# that nobody would say, also within a URL.
_LOGIN = re.compile(r"[\w.@+-]+:(?!\d+$)[^\s:/]+")
_ISSUED = re.compile(
    r"(?:sk|pk|rk|whsec|gh[opsu]|github_pat|glpat|xox[abeprs]|hf|npm|pypi|dop_v1|shpat)[-_]\S{6,}"
    r"|(?:AKIA|ASIA|AIza|SG\.|eyJ)\S{8,}"
)
_LONG = re.compile(r"[A-Za-z0-9]{20,}")
_PLACEHOLDER = re.compile(
    r"\{+ *[a-z][\w .-]*\}+|<[^<>]*>|\.\.\.|your[-_]\S*|(?:change|replace)[-_ ]?me\S*", re.I
)
# What is kept as it is, but by name or value leads to where the application's data is today.
_SERVICE = re.compile(
    r"(?:PG|SQL|DB|DATABASE|POSTGRES|POSTGRESQL|PSQL|RDS|MYSQL|REDIS|CACHE|BROKER|RABBITMQ)_?"
    r"(?:HOST\w*|PORT|USER\w*|NAME|PASS\w*|PW\w*|DB|DATABASE|DSN|UR[IL]|SERVER|ADDR\w*)",
    re.I,
)
_SERVICE_URL = re.compile(r"(?:\w+\+)?(?:postg|redis|mysql|mariadb|amqp)[\w+]*://", re.I)
_NEAR = ("localhost", "127.0.0.1", "::1", "")
_HOST = re.compile(r"[A-Za-z0-9.-]+|[0-9A-Fa-f:]+")
_S3 = ("bucket", "region", "endpoint_url", "addressing_style", "prefix", "custom_domain")
_KEYS = ("database_password", "redis_password", "s3_access_key", "s3_secret_key")
# Of these there is one, so a second value of another variable is lost.
_ONCE = ("database_name", *_KEYS, *(f"s3_{part}" for part in _S3))

# Kinds of frontends, which have no services of ours: what they are told is kept.
FRONTENDS = {
    "static": {"build": "npm run build", "static": {"directory": "dist"}},
    "node": {"build": "npm run build", "web": {"node": ""}},
}


@dataclasses.dataclass
class Placed:
    """An entry of stack_applications, its vault twin, and what was not placed."""

    application: dict[str, t.Any]
    secrets: dict[str, t.Any]
    remarks: list[str] = dataclasses.field(default_factory=list)

    def say(self, sentence: str) -> None:
        self.remarks.append(sentence)


class _Told(t.NamedTuple):
    """A fact as a variable of today tells it; a URL tells several."""

    variable: str
    fact: str
    value: str


def place(values: t.Mapping[str, str], name: str, framework: str = "django") -> Placed:
    """Every variable where it belongs."""
    if framework in FRONTENDS:
        return _frontend(values, name, framework)
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
    facts = _facts(values, framework)
    if "s3_bucket" in facts.values():
        placed.application["s3"] = {"bucket": ""}
    told: list[_Told] = []
    for variable, value in values.items():
        fact = facts.get(variable)
        if not fact or _is_of_its_own(placed, variable, fact, value):
            _keep(placed, variable, value)
        else:
            told += _read(placed, _Told(variable, fact, _filled(placed, variable, value)))
            _name(placed, variable, fact)
    _take(placed, told)
    _queues(placed, values, facts)
    _missing(placed)
    return placed


def _frontend(values: t.Mapping[str, str], name: str, kind: str) -> Placed:
    source = {"repository": "", "version": "main"}
    declared = {"name": name, "domain": "", "source": source, **FRONTENDS[kind]}
    placed = Placed(copy.deepcopy(declared), {})
    for variable, value in values.items():
        _keep(placed, variable, value)
    hidden = [each for each in placed.secrets.get("environment", {}) if _is_published(each)]
    if hidden:
        placed.say(
            f"{', '.join(hidden)} may be a secret, but what is called so is built into what every"
            " visitor gets; issue another one if it is"
        )
    placed.say("domain is not known; write the name that visitors use")
    unknown = "static.directory may be another" if kind == "static" else "web.node is not known"
    placed.say(f"source.repository is not known, {unknown}; write them")
    _say_clear(placed)
    return placed


def _is_published(variable: str) -> bool:
    return variable.startswith(_frontend_build.PUBLISHED)


def _facts(values: t.Mapping[str, str], framework: str) -> dict[str, str]:
    """Which fact a variable holds, however it is spelt; keys without a bucket are no fact."""
    known = {**ALIASES, **_application_environment.NAMES[framework]}
    found = {name: known[name.upper()] for name in values if name.upper() in known}
    if any(values[name] for name, fact in found.items() if fact == "s3_bucket"):
        return found
    return {name: fact for name, fact in found.items() if not fact.startswith("s3_")}


def _is_of_its_own(placed: Placed, variable: str, fact: str, value: str) -> bool:
    """A second key stays what it is, and so do results that Celery keeps elsewhere."""
    if fact == "secret_key":
        taken = placed.secrets["secret_key"]
        return bool(taken and value) and value != taken
    results = variable.upper() == "CELERY_RESULT_BACKEND"
    return results and bool(value) and not re.match(r"rediss?://", value)


def _name(placed: Placed, variable: str, fact: str) -> None:
    """Under which name the application reads it, unless its framework has that one."""
    told = _application_environment.NAMES[placed.application["framework"]]
    if variable not in told:
        placed.application.setdefault("environment_names", {})[variable] = fact


def _filled(placed: Placed, variable: str, value: str) -> str:
    if not _PLACEHOLDER.fullmatch(value):
        return value
    placed.say(f"{variable} is a placeholder; its value is to be written")
    return ""


def _read(placed: Placed, told: _Told) -> list[_Told]:
    variable, fact, value = told
    if fact in ("database_url", "broker_url", "cache_url"):
        return _url(placed, told) if value else []
    if fact == "secret_key":
        placed.secrets[fact] = placed.secrets[fact] or value
    elif fact == "allowed_hosts":
        _hosts(placed, variable, value)
    return [told] if value else []


def _url(placed: Placed, told: _Told) -> list[_Told]:
    """Server, user, password and name of a URL; what else it says is lost, and said."""
    variable, fact, value = told
    kind = "database" if fact == "database_url" else "redis"
    parts = _split(value)
    if not parts:
        placed.say(
            f"{variable} is no URL; correct it, and write / # ? of a password as %2F %23 %3F"
        )
        return []
    usual = {"database": ("postgresql", "postgres"), "redis": ("redis", "rediss")}[kind]
    if parts.scheme not in usual:
        placed.say(
            f"{variable} is no {usual[0]}:// URL, but the application gets one; let it read that"
        )
        # Another kind of server's name and password are of no use here.
        if not parts.scheme.startswith("postg"):
            return []
    if parts.query or parts.fragment:
        placed.say(f"{variable} has options behind its ?, which were left out; set them elsewhere")
    path = unquote(parts.path.strip("/"))
    if kind == "redis" and path not in ("", "0"):
        placed.say(f"{variable} is of another database of Redis than 0, which is the one it gets")
    password = parts.password or ""
    found = {
        "host": parts.hostname,
        "user": unquote(parts.username or ""),
        "password": "" if _PLACEHOLDER.fullmatch(password) else unquote(password),
        "name": path if kind == "database" else "",
    }
    return [_Told(variable, f"{kind}_{part}", text) for part, text in found.items() if text]


def _split(value: str) -> SplitResult | None:
    """Nothing where a character of the password ends the server, which would then be part of it."""
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 - raises where it is no number
    except ValueError:
        return None
    return None if "@" in parts.path + parts.query + parts.fragment else parts


def _take(placed: Placed, told: list[_Told]) -> None:
    """The first variable that tells a fact wins; that another one differs is said."""
    first: dict[str, _Told] = {}
    for each in told:
        taken = first.setdefault(each.fact, each)
        if each.fact in _ONCE and each.value != taken.value:
            placed.say(
                f"{each.variable} has another {each.fact} than {taken.variable}, which was taken;"
                " an application has one"
            )
    if "database_name" in first:
        placed.application["database"] = {"name": first["database_name"].value}
    for fact in _KEYS:
        if fact in first:
            placed.secrets[fact] = first[fact].value
    for part in _S3:
        if f"s3_{part}" in first:
            placed.application["s3"][part] = first[f"s3_{part}"].value
    ours = _ours(placed)
    for variable, fact, value in told:
        if fact in ("database_host", "redis_host"):
            _server(placed, variable, value, fact.split("_")[0])
        elif fact.endswith("_user") and value != ours[fact]:
            placed.say(
                f"{variable} names another user; the application logs in as {ours[fact]}"
                " or, at a provider, as that one says"
            )
        elif value != ours.get(fact, value):
            placed.say(f"{variable} was left out; the application gets {ours[fact]} instead")


def _ours(placed: Placed) -> dict[str, str]:
    """What an application is told by us, where that is more than an address."""
    name, domain = placed.application["name"], placed.application["domain"]
    return {
        "database_user": placed.application.get("database", {}).get("name", name),
        "redis_user": name,
        "redis_key_prefix": f"{name}:",
        "static_root": f"/srv/{name}/static",
        "media_root": f"/srv/{name}/media",
        "trusted_origins": f"https://{domain or '<domain>'}",
        "conn_max_age": "0",
        "disable_server_side_cursors": "true",
        **dict.fromkeys(
            ("prepared_statements", "prepare_threshold", "statement_cache_size"),
            "what the pooler can carry",
        ),
    }


def _server(placed: Placed, variable: str, host: str, kind: str) -> None:
    """A name with dots is a server of its own; one without is a neighbour in a compose file."""
    option = {"database": "stack_postgres", "redis": "stack_redis"}[kind]
    if host not in _NEAR and not _HOST.fullmatch(host):
        placed.say(f"{variable} is no name of a server; correct it")
    elif host not in _NEAR and "." in host:
        remark = f"{variable} names the server {host}; if a provider runs it, declare {option}"
        if not any(f"{host}; if" in each for each in placed.remarks):
            placed.say(remark)


def _hosts(placed: Placed, variable: str, value: str) -> None:
    """The first one is served; whether the others are redirected, nobody can know."""
    hosts = re.split(r"[\s,\[\]\"']+", value)
    if any(host[:1] in (".", "*") for host in hosts):
        placed.say(f"{variable} has a pattern, which was left out; name each host in redirects")
    if value.startswith("["):
        placed.say(f"{variable} is a list; the application gets the names with commas between")
    public = [
        host for host in hosts if "." in host and host not in _NEAR and host[:1] not in (".", "*")
    ]
    if not public:
        return
    domain = placed.application["domain"] = placed.application["domain"] or public[0]
    for other in public:
        if other != domain:
            placed.say(
                f"{variable} has {other} too; add it to redirects, or to another application"
            )


def _queues(placed: Placed, values: t.Mapping[str, str], facts: t.Mapping[str, str]) -> None:
    """One Redis is often both; here the cache may forget what a queue must not."""
    told = {name: fact for name, fact in facts.items() if values[name]}
    brokers = {
        values[name]
        for name, fact in told.items()
        if fact == "broker_url" and name.upper() != "CELERY_RESULT_BACKEND"
    }
    for name, fact in told.items():
        both = name.upper() in ("REDIS_URL", "REDIS_HOST") and not brokers
        if fact in ("cache_url", "redis_host") and (both or values[name] in brokers):
            placed.say(
                f"{name} becomes the cache, which may forget; let queues use the broker, whose"
                " fact is broker_url"
            )
    celery = [name for name in values if name.upper().startswith("CELERY_")]
    if celery:
        placed.say(f"{celery[0]} is Celery's; declare celery too, or nothing works off its queues")


def _keep(placed: Placed, variable: str, value: str) -> None:
    if variable in _applications.PROCESS_VARIABLES:
        placed.say(f"{variable} was left out; how processes start, the units decide")
    elif any(character in value for character in "\n\r\0"):
        placed.say(f"{variable} has several lines; encode it, for example in base64")
    else:
        if value and (_SERVICE.fullmatch(variable) or _SERVICE_URL.match(value)):
            placed.say(
                f"{variable} was kept and may lead to a server of today; if so, change it, or give"
                " it a fact in environment_names"
            )
        side = placed.secrets if _is_secret(variable, value) else placed.application
        side.setdefault("environment", {})[variable] = _filled(placed, variable, value)


def _is_secret(variable: str, value: str) -> bool:
    """By its name, or by what it holds; whoever reads the declaration is told of the rest."""
    held = any(each.search(value) for each in (_CREDENTIALS, _NAMED, _RANDOM, _LONG))
    whole = _LOGIN.fullmatch(value) or _ISSUED.match(value)
    return bool(_SECRET.search(variable) or held or whole)


def _missing(placed: Placed) -> None:
    """What no variable says."""
    application = placed.application
    if not application["domain"]:
        placed.say("domain is not known; write the name that visitors use")
    (server,) = application["web"]
    placed.say(f"source.repository and web.{server} are not known; write them")
    for name in ("database_password", "redis_password", "secret_key"):
        if not placed.secrets[name]:
            placed.say(f"{name} is not known; write openssl rand -hex 32's output")
    _say_clear(placed)
    if application.get("s3", {}).get("bucket") == "":
        placed.say("s3.bucket is not known; write it, or remove s3")
    published = [name for name in application.get("environment", {}) if _is_published(name)]
    if published:
        placed.say(
            f"{published[0]} is for what builds a frontend, which is an application of its own;"
            " take its .env file over with -e framework=static, or node"
        )


def _say_clear(placed: Placed) -> None:
    held = placed.application.get("environment", {}).items()
    clear = [name for name, value in held if value and not _is_published(name)]
    if clear:
        placed.say(
            f"{', '.join(clear)} stay in clear in the declaration; move what is a secret into the"
            " vault's twin"
        )
