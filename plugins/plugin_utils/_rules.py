# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ranges and patterns of what an operator may write, each with its remedy.

The key is the option's path in roles/common/meta/argument_specs.yml; `[]` is an element of a list.
The first remedy of an option also tells what to write when it is missing.
"""

from __future__ import annotations

import re
import ssl
from collections import Counter

from ansible_collections.slipway.stack.plugins.plugin_utils._specification import Rule

NAME = re.compile(r"[a-z][a-z0-9_]{1,30}")
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
# Where our own services listen, whichever machine they are on.
OWN_PORTS = {5432: "PostgreSQL", 6379: "the broker", 6380: "the cache", 6432: "PgBouncer"}
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = rf"(?=.{{4,253}}$)(?:{_LABEL}\.)+[a-z](?:[a-z0-9-]*[a-z0-9])"
_DOTTED = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
_SEGMENT = r"(?!\.\.?(?:/|$))[A-Za-z0-9._~-]+"
_URL_PATH = rf"/(?:{_SEGMENT}(?:/{_SEGMENT})*/?)?"
_GIT = r"(?:https?|ssh|git|file)://[^\s/-]\S*|file:///\S+|[\w.-]+@[\w.-]+:[^\s-]\S*|/\S+"
# Enough for the largest machine; what is beyond is a slip of the finger.
_PROCESSES = 512
_DAY = 86_400
_MEBIBYTES = 1_048_576
# What PgBouncer opens at most for one database (max_db_connections).
POOL_LIMIT = 100


def matches(pattern: str | re.Pattern[str], remedy: str) -> Rule:
    compiled = re.compile(pattern)
    return Rule(lambda value: bool(compiled.fullmatch(value)), remedy)


def between(least: int, most: int, what: str = "") -> Rule:
    return Rule(lambda value: least <= value <= most, f"write {least} to {most}{what}")


def distinct(remedy: str = "write each once") -> Rule:
    return Rule(lambda values: max(Counter(map(repr, values)).values(), default=1) == 1, remedy)


def filled(remedy: str) -> Rule:
    return Rule(bool, remedy)


def _is_free(name: str) -> bool:
    return name not in RESERVED_NAMES and not name.startswith(("pg_", "systemd"))


_HOST_NAME = matches(
    _HOST, "write a host name like 'shop.example.com', in lower case, without scheme or port"
)
_PATH = matches(_URL_PATH, "write a path that begins with '/', like '/api/'")
_MODULE_OBJECT = "write module and object, 'shop.{}:application'"
_MEMORY = between(64, _MEBIBYTES, " MB, a Python process fits into no less")
_PORT = Rule(lambda port: 1024 <= port <= 65534, "write one from 1024 to 65534")
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


def _is_chain(text: str) -> bool:
    """Whether everything in it that calls itself a certificate is one."""
    found = _CERTIFICATE.findall(text)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata="\n".join(found))
    except (ssl.SSLError, TypeError, ValueError):
        return False
    return len(found) == text.count("-----BEGIN CERTIFICATE-----")


_CHAIN = Rule(
    _is_chain,
    "write certificates in PEM as a block (|), from '-----BEGIN CERTIFICATE-----' to the last END",
)
_APPLICATION: dict[str, tuple[Rule, ...]] = {
    "name": (
        matches(NAME, "write 2 to 31 lower-case letters, digits and underscores, a letter first"),
        Rule(_is_free, "the system uses that name itself, choose another"),
    ),
    "domain": (_HOST_NAME,),
    "redirects": (distinct(),),
    "redirects[]": (_HOST_NAME,),
    "source": (filled("write exactly one of repository, archive and directory into it"),),
    "source.repository": (
        matches(_GIT, "write a git URL like 'https://git.example.com/shop.git'"),
    ),
    "source.version": (
        matches(r"(?!.*\.\.)[A-Za-z0-9][\w./+@-]{0,199}", "write a tag, branch or commit"),
    ),
    "source.archive": (
        matches(r"https?://[^\s/]\S*|/\S.*", "write an https URL, or a path from / on"),
    ),
    "source.sha256": (matches(r"[0-9a-fA-F]{64}", "write the 64 hex digits of sha256sum"),),
    "source.directory": (matches(r"/.*", "write the whole path, from /"),),
    "source.subdirectory": (
        matches(rf"{_SEGMENT}(?:/{_SEGMENT})*/?", "write a folder within the source, without '..'"),
    ),
    "python": (
        matches(
            r"(?:/(?!\.\.?/)[\w.+-]+)+|3\.(?:9|1[0-9])",
            "write an interpreter's path, or a version from '3.9' on",
        ),
    ),
    "static.directory": (
        matches(rf"{_SEGMENT}(?:/{_SEGMENT})*/?", "write a folder of the project, like 'dist'"),
    ),
    "static.hashed_paths": (distinct(),),
    "static.hashed_paths[]": (_PATH,),
    "static.fallback": (_PATH,),
    "web": (filled("write 'wsgi: shop.wsgi:application', an asgi or a node into it"),),
    "web.node": (
        matches(rf"{_SEGMENT}(?:/{_SEGMENT})*", "write a script of the project, like 'server.js'"),
    ),
    "web.wsgi": (matches(rf"{_DOTTED}:{_DOTTED}(?:\(\))?", _MODULE_OBJECT.format("wsgi")),),
    "web.asgi": (matches(rf"{_DOTTED}:{_DOTTED}(?:\(\))?", _MODULE_OBJECT.format("asgi")),),
    "web.websocket_paths[]": (_PATH,),
    "web.api_paths[]": (_PATH,),
    "web.health_path": (_PATH,),
    "web.websocket_health_path": (_PATH,),
    "web.workers": (between(1, _PROCESSES, ", about two for each processor"),),
    "web.threads": (between(1, _PROCESSES),),
    "web.timeout_seconds": (between(1, _DAY),),
    "web.memory_limit_megabytes": (_MEMORY,),
    "web.port": (
        _PORT,
        Rule(
            lambda port: not {port, port + 1} & set(OWN_PORTS),
            "it or the next one is a port of "
            + " or ".join(f"{service} ({port})" for port, service in OWN_PORTS.items())
            + ", write another like 8000",
        ),
    ),
    "web.body_limit_megabytes": (between(1, 102_400),),
    "celery.application": (
        matches(rf"{_DOTTED}(?::{_DOTTED})?", "write the module that holds it, like 'shop'"),
    ),
    "celery.workers": (filled("write at least one, or leave celery out"),),
    "celery.workers[].name": (
        matches(r"[A-Za-z0-9][A-Za-z0-9_-]{0,30}", "write up to 31 letters, digits, - and _"),
    ),
    "celery.workers[].queues": (filled("write at least one, like [celery]"), distinct()),
    "celery.workers[].queues[]": (
        matches(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,99}", "write letters, digits and . : _ - only"),
    ),
    "celery.workers[].concurrency": (between(1, _PROCESSES),),
    "celery.workers[].max_tasks_per_child": (between(1, 10_000_000),),
    "celery.beat_scheduler": (
        matches(rf"{_DOTTED}[:.][A-Za-z_]\w*", "write module and class, 'package.module:Class'"),
    ),
    "celery.stop_timeout_seconds": (between(1, _DAY),),
    "celery.memory_limit_megabytes": (_MEMORY,),
    "database.name": (matches(NAME, "write 2 to 31 lower-case letters, digits and underscores"),),
    "database.extensions": (distinct(),),
    "database.extensions[]": (
        matches(r"[a-z][a-z0-9_-]{0,62}", "write an extension's name like 'pg_trgm'"),
    ),
    "database.hashed_tables": (distinct(),),
    "database.hashed_tables[]": (
        matches(r"[^.\s]+\.\S+", "write schema and table, 'public.payments'"),
    ),
    "database.statement_timeout_seconds": (between(0, _DAY, ", 0 for no limit"),),
    "database.pool_size": (between(1, POOL_LIMIT),),
    "database.reserve_pool_size": (between(0, POOL_LIMIT - 1),),
    "redis_keys": (distinct(),),
    "redis_keys[]": (
        matches(
            r"[!#-&(-\[\]-~]{1,200}", "write a pattern like 'shop:*', without spaces or quotes"
        ),
    ),
    "certificate": (
        _CHAIN,
        Rule(
            lambda text: "PRIVATE KEY" not in text,
            "it holds a private key, move that to private_key of the vault twin",
        ),
    ),
}
_S3: dict[str, tuple[Rule, ...]] = {
    "endpoint_url": (
        matches(
            r"https?://[A-Za-z0-9.\[\]:-]+(?::[0-9]{1,5})?/?",
            "write a URL like 'https://s3.example.com', or leave it out for AWS",
        ),
        matches(
            r"https://.*|http://(?:localhost|127\.0\.0\.1|\[::1\])(?:[:/].*)?",
            "write https, or what it holds would cross the network readable",
        ),
    ),
    "bucket": (
        matches(
            r"(?!.*\.\.)(?![0-9.]+$)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]",
            "write 3 to 63 lower-case letters, digits, dots and dashes",
        ),
    ),
    "prefix": (
        matches(
            rf"{_SEGMENT}(?:/{_SEGMENT})*/?", "write a folder in the bucket, like 'production/'"
        ),
    ),
    "region": (matches(r"[a-z0-9][a-z0-9-]{0,40}", "write one like 'eu-central-1'"),),
    "ca_file": (matches(r"/\S+", "write the whole path, from /"),),
    "storage_class": (
        matches(r"[A-Z0-9_]{1,40}", "write one like 'STANDARD_IA'"),
        # Each backup is read back at once; GLACIER_IR answers at once too.
        matches(
            r"(?!(?:GLACIER|DEEP_ARCHIVE)$).*",
            "write one that can be read at once, like 'STANDARD_IA' or 'GLACIER_IR'",
        ),
    ),
}
# A server of a provider, by its name or address.
_SERVER = r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?"
_PROVIDED_POSTGRES: dict[str, tuple[Rule, ...]] = {
    "host": (
        matches(
            _SERVER,
            "write the name on the server's certificate, like 'shop.rds.amazonaws.com'",
        ),
    ),
    "port": (between(1, 65535),),
    "admin": (
        matches(r"[A-Za-z_][\w-]{0,62}", "write the role that the provider gave you, 'postgres'"),
    ),
    "database": (
        # A database that is made is a copy of template1, for which nobody may be connected to it.
        matches(
            r"(?!template[01]$)[A-Za-z_][\w-]{0,62}",
            "write the database that is always there, 'postgres'",
        ),
    ),
    "ca": (_CHAIN,),
}
_REDIS_URL = matches(
    rf"rediss?://{_SERVER}(?::[0-9]{{1,5}})?(?:/[0-9]{{1,3}})?",
    "write 'rediss://host:port/database'; credentials belong into the vault twin",
)
_PROVIDED_REDIS: dict[str, tuple[Rule, ...]] = {
    "broker_url": (_REDIS_URL,),
    "cache_url": (_REDIS_URL,),
    "user": (matches(r"[A-Za-z0-9_.-]{1,64}", "write the provider's user, 'default' at most"),),
    "ca": (_CHAIN,),
}


_REDIS: dict[str, tuple[Rule, ...]] = {
    "name": (matches(r"[a-z][a-z0-9-]{0,30}", "write lower-case letters, digits and dashes"),),
    "port": (
        between(1024, 65535),
        Rule(
            lambda port: port not in (5432, 6432),
            "write one that neither PostgreSQL nor PgBouncer has",
        ),
    ),
    "memory_limit_megabytes": (between(0, _MEBIBYTES, ", 0 for an eighth of the machine"),),
}
# Of systemd's calendar expressions what anybody writes; 'Sun 25:00' would stop the timer alone.
_WEEKDAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*"
_DAYS = rf"{_WEEKDAY}(?:(?:,|\.\.){_WEEKDAY})*,?"


def _times(number: str) -> str:
    one = rf"(?:\*|{number}(?:\.\.{number})?)(?:/\d+)?"
    return rf"{one}(?:,{one})*"


_HOURS, _MINUTES, _SECONDS = map(
    _times, (r"(?:[01]?\d|2[0-3])", r"[0-5]?\d", r"[0-5]?\d(?:\.\d+)?")
)
_TIME = rf"{_HOURS}:{_MINUTES}(?::{_SECONDS})?"
_DATE = r"[\d*,./]+[-~][\d*,./~-]+"
_SCHEDULE = matches(
    r"(?i:minutely|hourly|daily|weekly|monthly|quarterly|semiannually|yearly|annually)"
    rf"|(?=\S)(?i:{_DAYS})?(?:(?:^| ){_DATE})?(?:(?:^| ){_TIME})?(?: [A-Za-z][\w/+-]*)?",
    "write one that systemd-analyze calendar accepts, like 'Sun 04:00'",
)
_YEARS = between(1, 36_500)
# Of variables of single machines, which are read with these rules alone.
BACKUP: dict[str, tuple[Rule, ...]] = {
    "stack_backup_paths[]": (matches(r"/[^\n]*", "write the whole path, from /"),),
    "backup_ping_url": (
        matches(
            r"|https?://[^\s/]+(?:/\S*)?",
            "write a URL like 'https://switch.example.com/{machine}-{kind}'",
        ),
    ),
    "backup_schedule": (_SCHEDULE,),
    "backup_retention_days": (_YEARS,),
    "backup_keep_at_least": (between(0, 36_500),),
    "backup_disk_reserve_percent": (between(0, 99),),
    "backup_physical.schedule": (_SCHEDULE,),
    "backup_physical.full_days": (_YEARS,),
    "backup_physical.differential_hours": (between(1, 876_000),),
    "backup_physical.retention_days": (_YEARS,),
    "backup_physical.process_max": (between(1, _PROCESSES),),
    "backup_rehearsal.schedule": (_SCHEDULE,),
    "backup_rehearsal.rto_minutes": (between(1, 43_200),),
    "backup_rehearsal.rpo_minutes": (between(1, 43_200),),
    "backup_rehearsal.cpu_percent": (between(1, 100 * _PROCESSES),),
    "backup_rehearsal.memory_megabytes": (between(256, _MEBIBYTES, " MB, a server takes that"),),
}
RULES: dict[str, tuple[Rule, ...]] = {
    "stack_applications": (
        filled("write at least one application, with name, domain, source and web"),
    ),
    "stack_acme.directory": (
        matches(
            r"https://[A-Za-z0-9.\[\]:-]+(?::[0-9]{1,5})?/\S*",
            "write the authority's https URL, as https://acme-v02.api.letsencrypt.org/directory",
        ),
    ),
    "stack_acme.email": (
        matches(
            r"[^@\s,;<>\"]+@[^@\s,;<>\"]+\.[A-Za-z0-9-]{2,}", "write one address, or leave it out"
        ),
    ),
    **{f"stack_applications[].{option}": rules for option, rules in _APPLICATION.items()},
    "stack_backup_s3.retention_days": (between(1, 36500),),
    **{
        f"{place}.{option}": rules
        for place in ("stack_backup_s3", "stack_backup_s3_second")
        for option, rules in _S3.items()
    },
    **{f"stack_postgres.{option}": rules for option, rules in _PROVIDED_POSTGRES.items()},
    **{f"stack_redis.{option}": rules for option, rules in _PROVIDED_REDIS.items()},
    **{
        f"stack_applications[].s3.{option}": _S3[option]
        for option in ("endpoint_url", "bucket", "prefix", "region")
    },
    "stack_applications[].s3.custom_domain": (_HOST_NAME,),
    "stack_applications[].s3.holds": (distinct(),),
    **BACKUP,
    **{f"redis_instances[].{option}": rules for option, rules in _REDIS.items()},
}
# Of what the roles are told by their variables; other values of theirs are right by their type.
ROLES: dict[str, tuple[Rule, ...]] = {
    # A sign of life comes each 30 seconds.
    "app_lock_seconds": (between(60, _DAY),),
    "app_watch_seconds": (between(0, _DAY, ", 0 not to watch"),),
    "app_health_timeout_seconds": (between(1, _DAY),),
    "celery_health_timeout_seconds": (between(1, _DAY),),
    "app_releases_kept": (between(0, 1000),),
    # Without a limit everybody would queue behind the statement for as long.
    "app_migrate_limits.lock_timeout_seconds": (between(1, 3600),),
    "app_migrate_limits.statement_timeout_seconds": (between(0, _DAY, ", 0 for no limit"),),
    "app_migrate_limits.attempts": (between(1, 1000),),
    "app_watch_limits.error_percent": (between(0, 100),),
    "app_watch_limits.p95_milliseconds": (between(1, 3_600_000),),
}
