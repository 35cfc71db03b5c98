# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an application is told of its services, and under which names its framework looks for it.

A fact is a value with a name of ours. `NAMES` says which variables of an environment hold which
fact; an application's own `environment_names` adds to them, or leaves one out with an empty text.
"""

from __future__ import annotations

import typing as t
from urllib.parse import quote, urlsplit

Application = dict[str, t.Any]

FACTS = {
    "database_url": "libpq URL of the pool, over TLS; for migrations of the database itself",
    "database_host": "address of the pooler; for migrations of the database itself",
    "database_port": "its port",
    "database_name": "name of the database",
    "database_user": "its owner, as which the application logs in",
    "database_password": "from the vault",
    "database_sslmode": "`require`, and `verify-full` for a provider's server itself",
    "prepared_statements": "`true` where the pooler keeps them (Debian 13); else make none",
    "conn_max_age": "`0`: the pooler keeps connections, so the application must not",
    "disable_server_side_cursors": "`true`: a cursor does not survive a transaction pooler",
    "prepare_threshold": "psycopg's: `5` where the pooler keeps statements, else `none`",
    "statement_cache_size": (
        "asyncpg's: `100` where the pooler keeps statements, else `0`; before asyncpg 0.31 write"
        " below SQLAlchemy also `prepared_statement_cache_size: 0` and"
        ' `prepared_statement_name_func: lambda: ""`'
    ),
    "broker_url": "the Redis that never evicts",
    "cache_url": "the Redis that may evict",
    "redis_host": "address of the cache",
    "redis_port": "its port",
    "redis_user": "as which the application logs in",
    "redis_password": "from the vault",
    "redis_key_prefix": "how every key and channel has to begin",
    "secret_key": "from the vault",
    "allowed_hosts": "its domain and redirects, with commas between",
    "trusted_origins": "the same as https URLs",
    "static_root": "the directory behind `/static/`, unless S3 holds static files",
    "media_root": "the directory behind `/media/`, unless S3 holds media",
    "s3_bucket": "bucket of the application's own files",
    "s3_region": "its region",
    "s3_endpoint_url": "its server, unless that is AWS",
    "s3_addressing_style": "`auto`, `path` or `virtual`",
    "s3_prefix": "folder in the bucket",
    "s3_custom_domain": "name under which visitors read the files",
    "s3_access_key": "from the vault",
    "s3_secret_key": "from the vault",
}
_ALWAYS = {
    "DATABASE_URL": "database_url",
    "DATABASE_PREPARED_STATEMENTS": "prepared_statements",
    "BROKER_URL": "broker_url",
    "CACHE_URL": "cache_url",
    "REDIS_URL": "cache_url",
    "REDIS_KEY_PREFIX": "redis_key_prefix",
    "SECRET_KEY": "secret_key",
    "ALLOWED_HOSTS": "allowed_hosts",
    "CSRF_TRUSTED_ORIGINS": "trusted_origins",
    "STATIC_ROOT": "static_root",
    "MEDIA_ROOT": "media_root",
}
_KEYS = {"AWS_ACCESS_KEY_ID": "s3_access_key", "AWS_SECRET_ACCESS_KEY": "s3_secret_key"}
# What boto3 and Amazon's SDK for Node read by themselves, besides the bucket.
_SDK = {
    **_KEYS,
    "AWS_REGION": "s3_region",
    "AWS_DEFAULT_REGION": "s3_region",
    "AWS_ENDPOINT_URL_S3": "s3_endpoint_url",
    "S3_BUCKET": "s3_bucket",
    "S3_PREFIX": "s3_prefix",
}
NAMES: dict[str, dict[str, str]] = {
    "django": {
        **_ALWAYS,
        "DJANGO_SECRET_KEY": "secret_key",
        "DJANGO_ALLOWED_HOSTS": "allowed_hosts",
        "CONN_MAX_AGE": "conn_max_age",
        "DISABLE_SERVER_SIDE_CURSORS": "disable_server_side_cursors",
        # django-storages' settings.
        **_KEYS,
        "AWS_STORAGE_BUCKET_NAME": "s3_bucket",
        "AWS_S3_REGION_NAME": "s3_region",
        "AWS_S3_ENDPOINT_URL": "s3_endpoint_url",
        "AWS_S3_ADDRESSING_STYLE": "s3_addressing_style",
        "AWS_S3_CUSTOM_DOMAIN": "s3_custom_domain",
        "AWS_LOCATION": "s3_prefix",
    },
    "fastapi": {
        **_ALWAYS,
        "PREPARE_THRESHOLD": "prepare_threshold",
        "STATEMENT_CACHE_SIZE": "statement_cache_size",
        **_SDK,
    },
    "none": {**_ALWAYS, **_SDK},
}
# Celery itself reads it, and obeys it before its own settings.
_CELERY = {"CELERY_BROKER_URL": "broker_url"}


class Servers(t.NamedTuple):
    """Where an application finds its database and its two instances of Redis."""

    database: tuple[str, int]
    sslmode: str
    ca_file: str
    broker: str
    cache: str
    prepared_statements: bool
    # As which every application logs in where a provider has no other; empty for its own name.
    redis_user: str = ""
    # Who signed the certificate of a provider's Redis.
    redis_ca_file: str = ""


def names(application: Application) -> dict[str, str]:
    """Which variables the application reads, and the fact that each holds."""
    celery = _CELERY if application["celery"] else {}
    known = {**NAMES[application["framework"]], **celery, **application["environment_names"]}
    return {name: fact for name, fact in known.items() if fact}


def environment(application: Application, servers: Servers | None) -> dict[str, str]:
    """What the application's processes get; the operator's own values win."""
    known = {**_s3(application), **(_facts(application, servers) if servers else {})}
    told = {name: known[fact] for name, fact in names(application).items() if fact in known}
    return {**told, **_given(application)}


def direct(application: Application, pooled: Servers, server: Servers) -> dict[str, str]:
    """What differs for migrations: their locks and sessions a transaction pooler cannot carry."""
    before, after = _database(application, pooled), _database(application, server)
    known = names(application).items()
    return {name: after[fact] for name, fact in known if after.get(fact) != before.get(fact)}


def _given(application: Application) -> dict[str, str]:
    given = {**application["environment"], **application["secrets"]["environment"]}
    return {key: str(value) for key, value in given.items()}


def _facts(application: Application, servers: Servers) -> dict[str, str]:
    secrets, hosts = application["secrets"], [application["domain"], *application["redirects"]]
    return {
        **_database(application, servers),
        **_pooling(servers),
        **_redis(application, servers),
        **_directories(application),
        "secret_key": secrets["secret_key"],
        "allowed_hosts": ",".join(hosts),
        "trusted_origins": ",".join(f"https://{host}" for host in hosts),
    }


def _database(application: Application, servers: Servers) -> dict[str, str]:
    name, password = application["database"]["name"], application["secrets"]["database_password"]
    (host, port), root = servers.database, servers.ca_file
    query = f"sslmode={servers.sslmode}" + (f"&sslrootcert={quote(root, safe='/')}" if root else "")
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return {
        "database_url": f"postgresql://{name}:{quote(password, safe='')}@{place}/{name}?{query}",
        "database_host": host,
        "database_port": str(port),
        "database_name": name,
        "database_user": name,
        "database_password": password,
        "database_sslmode": servers.sslmode,
    }


def _pooling(servers: Servers) -> dict[str, str]:
    kept = servers.prepared_statements
    return {
        "prepared_statements": str(kept).lower(),
        "conn_max_age": "0",
        "disable_server_side_cursors": "true",
        "prepare_threshold": "5" if kept else "none",
        "statement_cache_size": "100" if kept else "0",
    }


def _redis(application: Application, servers: Servers) -> dict[str, str]:
    user, password = (
        servers.redis_user or application["name"],
        application["secrets"]["redis_password"],
    )
    cache = urlsplit(servers.cache)
    return {
        "broker_url": _redis_url(servers.broker, user, password, servers.redis_ca_file),
        "cache_url": _redis_url(servers.cache, user, password, servers.redis_ca_file),
        "redis_host": cache.hostname or "",
        "redis_port": str(cache.port or 6379),
        "redis_user": user,
        "redis_password": password,
        "redis_key_prefix": f"{application['name']}:",
    }


def _redis_url(url: str, user: str, password: str, ca_file: str) -> str:
    """With credentials; Celery refuses a TLS connection that does not say what it verifies."""
    told = url.replace("//", f"//{user}:{quote(password, safe='')}@", 1)
    tls = url.startswith("rediss:")
    return f"{told}?ssl_cert_reqs=required&ssl_ca_certs={quote(ca_file)}" if tls else told


def _directories(application: Application) -> dict[str, str]:
    held = application["s3"]["holds"] if application["s3"] else []
    kinds = [kind for kind in ("static", "media") if kind not in held]
    return {f"{kind}_root": f"/srv/{application['name']}/{kind}" for kind in kinds}


def _s3(application: Application) -> dict[str, str]:
    store, secrets = application["s3"], application["secrets"]
    if not store:
        return {}
    parts = ("bucket", "region", "endpoint_url", "addressing_style", "prefix", "custom_domain")
    told = {f"s3_{part}": str(store[part]) for part in parts if store[part]}
    return {**told, **{key: secrets[key] for key in ("s3_access_key", "s3_secret_key")}}
