# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Each application's share for each role, in that role's own vocabulary.

Pure functions from a resolved application and the topology; the wiring hands their results out.
"""

from __future__ import annotations

import dataclasses
import typing as t
from urllib.parse import urlsplit

from ansible_collections.slipway.stack.plugins.plugin_utils import (
    _app_layout,
    _application_environment,
    _celery_layout,
    _site_checks,
)
from ansible_collections.slipway.stack.plugins.plugin_utils._application_environment import Servers

Application = dict[str, t.Any]
LOOPBACK = "127.0.0.1"
POSTGRES_PORT = 5432
PGBOUNCER_PORT = 6432
BROKER_PORT = 6379
CACHE_PORT = 6380
REDIS_ADMIN = "slipway"
# What the role postgres keeps of a provider's server, and Debian's package ca-certificates.
PROVIDED_AUTHORITIES = "/etc/slipway/postgres/authorities.pem"
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
# Migrations and a person's psql, which go past the pooler.
DIRECT_CONNECTIONS = 5
CELERY_SECONDS = 30


@dataclasses.dataclass(frozen=True)
class Topology:
    """Which machine is in which group, and how the others reach it."""

    groups: dict[str, list[str]]
    addresses: dict[str, str]
    host: str
    # What the pooler before the database can carry.
    prepared_statements: bool = False
    # A provider's servers in place of ours, typed by their specification; empty without them.
    postgres: dict[str, t.Any] = dataclasses.field(default_factory=dict)
    redis: dict[str, t.Any] = dataclasses.field(default_factory=dict)

    @property
    def single(self) -> bool:
        """Everything on one machine: services talk over loopback and Unix sockets only."""
        return len(self.addresses) == 1

    def of(self, group: str) -> list[str]:
        """The addresses of a group's machines, as seen by all the others."""
        return [
            LOOPBACK if self.single else self.addresses[host] for host in self.groups.get(group, [])
        ]

    @property
    def own(self) -> str:
        return LOOPBACK if self.single else self.addresses[self.host]

    @property
    def listen(self) -> list[str]:
        """What a service that other machines use listens on."""
        return [LOOPBACK] if self.single else [LOOPBACK, self.own]


def derive(application: Application, topology: Topology) -> Application:
    """The application with one sub-dict for each role that serves it, empty where none does."""
    stores, released = bool(application["database"]), _released_on(application, topology)
    return {
        **application,
        "database": _database(application) if stores else {},
        "pool": _pool(application) if stores else {},
        "pool_user": _pool_user(application) if stores and topology.postgres else {},
        "redis_user": _redis_user(application) if stores and not topology.redis else {},
        "site": _site(application, topology),
        "release": _release(application, topology) if topology.host in released else {},
        "celery": _celery(application, topology),
        "backup": _backup(application) if stores else {},
        "departed": departed_servers(application, topology),
        "uploads_apart": _uploads_apart(application, topology),
    }


def _uploads_apart(application: Application, topology: Topology) -> bool:
    """Whether each of several machines keeps its own, where nginx serves its own machine's."""
    kept = bool(application["database"]) and "media" not in _held_by_s3(application)
    return kept and len(_released_on(application, topology)) > 1


def departed_servers(application: Application, topology: Topology) -> list[str]:
    """Units that a machine has which served the application once, and has left its group."""
    if application["static"] or topology.host in topology.groups.get("application", []):
        return []
    return _app_layout.owned(application["name"])


def departed_workers(application: Application, topology: Topology) -> list[str]:
    """The same of a machine that ran its workers."""
    if not application["database"] or topology.host in topology.groups.get("worker", []):
        return []
    return _celery_layout.owned(application["name"])


def _released_on(application: Application, topology: Topology) -> list[str]:
    """Who needs its releases: servers and workers run them, and nginx serves files of them."""
    servers = "web" if application["static"] else "application"
    groups = [servers, *(["worker"] if application["celery"] else [])]
    return list(dict.fromkeys(host for each in groups for host in topology.groups.get(each, [])))


def _database(application: Application) -> dict[str, t.Any]:
    database = application["database"]
    return {
        "name": database["name"],
        "owner": database["name"],
        "password": application["secrets"]["database_password"],
        "extensions": database["extensions"],
        "statement_timeout_seconds": database["statement_timeout_seconds"],
        "connections": connections(application),
    }


def _backup(application: Application) -> dict[str, t.Any]:
    database = application["database"]
    return {"name": database["name"], "hashed_tables": database["hashed_tables"]}


def connections(application: Application) -> int:
    """What PgBouncer may open for the application, and what its migrations open directly."""
    database = application["database"]
    if not database:
        return 0
    return int(database["pool_size"] + database["reserve_pool_size"] + DIRECT_CONNECTIONS)


def _pool(application: Application) -> dict[str, t.Any]:
    database = application["database"]
    return {
        "name": database["name"],
        "pool_size": database["pool_size"],
        "reserve_pool_size": database["reserve_pool_size"],
    }


def _pool_user(application: Application) -> dict[str, t.Any]:
    """Whom the pooler knows itself, because a provider lets nobody look up passwords."""
    name = application["database"]["name"]
    return {"name": name, "password": application["secrets"]["database_password"]}


def _redis_user(application: Application) -> dict[str, t.Any]:
    patterns = application["redis_keys"]
    # PSUBSCRIBE is allowed only for a pattern that is listed literally, and these are Celery's.
    celery = [
        f"{application['name']}:/0.{channel}" for channel in ("celery.pidbox", "celeryev/worker.*")
    ]
    return {
        "name": application["name"],
        "password": application["secrets"]["redis_password"],
        "keys": patterns,
        "channels": [*patterns, *(celery if application["celery"] else [])],
    }


def _listen(application: Application, topology: Topology, server: str, host: str) -> str:
    if topology.single:
        return f"unix:/run/slipway/{application['name']}/{server}.sock"
    port = application["web"]["port"] + (1 if server == "asgi" else 0)
    return server_at(topology.addresses[host], port)


def server_at(address: str, port: int) -> str:
    """Address and port as URLs, nginx and systemd want them."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


SERVERS = _app_layout.SERVERS


def _site(application: Application, topology: Topology) -> dict[str, t.Any]:
    name, web = application["name"], application["web"]
    hosts = topology.groups.get("application", [])
    # Only a machine that also runs the application has its files; elsewhere it answers itself.
    local = set(topology.groups.get("web", [])) <= set(hosts)
    return {
        "name": name,
        "server_name": application["domain"],
        "redirects": application["redirects"],
        "upstreams": _upstreams(application, topology),
        "locations": _locations(web) if not application["static"] else [],
        "pages": _pages(application),
        "static": [
            {"path": f"/{kind}/", "directory": f"/srv/{name}/{kind}"}
            for kind in ("static", "media")
            if local and application["database"] and kind not in _held_by_s3(application)
        ],
        "certificate": {
            "source": application["certificate_source"],
            "certificate": application["certificate"],
            "private_key": application["secrets"]["private_key"],
        },
        "headers": (application["static"] or web)["headers"],
        "body_limit_megabytes": web["body_limit_megabytes"],
        "timeout_seconds": web["timeout_seconds"],
    }


def _held_by_s3(application: Application) -> list[str]:
    return application["s3"]["holds"] if application["s3"] else []


def _pages(application: Application) -> dict[str, t.Any] | None:
    """What nginx serves itself: the release that is current, and the files of open pages."""
    static, home = application["static"], f"/srv/{application['name']}"
    if not static:
        return None
    return {
        "directory": f"{home}/current/public",
        "previous_directory": f"{home}/previous/public",
        "next_directory": f"{home}/next/public",
        "hashed_paths": static["hashed_paths"],
        "fallback": static["fallback"],
    }


def _upstreams(application: Application, topology: Topology) -> list[dict[str, t.Any]]:
    """The servers of an application as nginx reaches them."""
    hosts = topology.groups.get("application", [])
    return [
        {
            "name": server,
            "servers": [_listen(application, topology, server, host) for host in hosts],
        }
        for kind, server in SERVERS.items()
        if application["web"][kind]
    ]


def _locations(web: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    main = next(server for kind, server in SERVERS.items() if web[kind])
    locations: list[dict[str, t.Any]] = [{"path": "/", "upstream": main, "rate": "general"}]
    locations += [{"path": path, "upstream": main, "rate": "api"} for path in web["api_paths"]]
    # The health endpoint is asked by machines that must never be told 429.
    locations.append({"path": web["health_path"], "upstream": main, "rate": "none"})
    if web["asgi"] or web["node"]:
        channel = "asgi" if web["asgi"] else main
        locations += [
            {"path": path, "upstream": channel, "websocket": True, "rate": "general"}
            for path in web["websocket_paths"]
        ]
    return locations


def _release(application: Application, topology: Topology) -> dict[str, t.Any]:
    web, static = application["web"], application["static"]
    return {
        "name": application["name"],
        "source": {**application["source"], "deploy_key": application["secrets"]["deploy_key"]},
        "framework": application["framework"],
        "build": application["build"],
        "static": {"directory": static["directory"]} if static else None,
        "python": _app_layout.interpreter(application["python"]),
        # A machine for workers alone has the releases, but nobody asks it anything.
        "serves": topology.host in topology.groups.get("application", []),
        "machines": _released_on(application, topology),
        "web": {
            **{key: web[key] for key in (*SERVERS, "workers", "threads", "timeout_seconds")},
            "health_path": web["health_path"],
            "memory_limit_megabytes": web["memory_limit_megabytes"],
            "listen": _listen(
                application, topology, "node" if web["node"] else "web", topology.host
            ),
            "asgi_listen": _listen(application, topology, "asgi", topology.host),
            # Whose word on the visitor's address and scheme is believed.
            "trusted_proxies": topology.of("web"),
            # The health endpoint is asked as nginx would ask it.
            "host_name": application["domain"],
        },
        **_followers(application, topology),
        "upstreams": _upstreams(application, topology),
        # Migrations hold locks and sessions, which a transaction pooler cannot carry.
        "migrate": _migrate(application, topology),
        "environment": environment(application, topology),
        "authorities": _authorities(application, topology),
    }


def _authorities(application: Application, topology: Topology) -> str:
    """Who signed the certificates of a provider's servers, where that is none of Debian's own."""
    given = [topology.postgres.get("ca", ""), topology.redis.get("ca", "")]
    return "".join(f"{pem.strip()}\n" for pem in given if pem) if application["database"] else ""


def _migrate(application: Application, topology: Topology) -> dict[str, t.Any]:
    if not application["database"]:
        return {}
    pooled, server = servers(application, topology), database_server(application, topology)
    return {"environment": _application_environment.direct(application, pooled, server)}


def _followers(application: Application, topology: Topology) -> dict[str, t.Any]:
    """What else runs the release on this machine."""
    name, celery = application["name"], application["celery"]
    machines = topology.groups.get("worker", [])
    if not celery or topology.host not in machines:
        return {"workers": [], "beat": ""}
    workers = [
        {
            "unit": f"{name}-worker-{worker['name']}.service",
            "node": f"{name}-{worker['name']}",
            "module": celery["application"],
        }
        for worker in celery["workers"]
    ]
    beats = celery["beat_enabled"] and machines[0] == topology.host
    return {"workers": workers, "beat": f"{name}-beat.service" if beats else ""}


def _celery(application: Application, topology: Topology) -> dict[str, t.Any]:
    celery = application["celery"]
    if not celery or topology.host not in topology.groups.get("worker", []):
        # Told all the same, so that workers of yesterday do not go on.
        return {"name": application["name"], "workers": []}
    scheduler = celery["beat_scheduler"]
    if not scheduler and application["framework"] == "django":
        scheduler = "django_celery_beat.schedulers:DatabaseScheduler"
    return {
        "name": application["name"],
        "application": celery["application"],
        "workers": celery["workers"],
        "beat": {"enabled": celery["beat_enabled"], "scheduler": scheduler},
        "stop_timeout_seconds": celery["stop_timeout_seconds"],
        "memory_limit_megabytes": celery["memory_limit_megabytes"],
    }


def environment(application: Application, topology: Topology) -> dict[str, str]:
    """What the application's processes get; the operator's own values win."""
    known = servers(application, topology) if application["database"] else None
    return _application_environment.environment(application, known)


def servers(application: Application, topology: Topology) -> Servers:
    """Where the application finds its pool and its Redis."""
    (database,), redis = topology.of("database"), topology.redis
    authorities = authorities_file(application["name"], redis.get("ca", ""))
    (cache,) = [""] if redis else topology.of("cache")
    return Servers(
        database=(database, PGBOUNCER_PORT),
        sslmode="require",
        ca_file="",
        broker=redis.get("broker_url") or f"redis://{server_at(cache, BROKER_PORT)}/0",
        cache=redis.get("cache_url")
        or redis.get("broker_url")
        or f"redis://{server_at(cache, CACHE_PORT)}/0",
        prepared_statements=topology.prepared_statements,
        redis_user=redis.get("user", ""),
        redis_ca_file=authorities,
    )


def database_server(application: Application, topology: Topology) -> Servers:
    """Where it finds the database itself, past the pooler."""
    given, postgres = servers(application, topology), topology.postgres
    if not postgres:
        return given._replace(database=(given.database[0], POSTGRES_PORT))
    authorities = authorities_file(application["name"], postgres["ca"])
    place = (postgres["host"], postgres["port"])
    return given._replace(database=place, sslmode="verify-full", ca_file=authorities)


def authorities_file(application: str, given: str) -> str:
    """Whom an application trusts of a provider's servers: who was named, or whom Debian trusts."""
    return f"/etc/slipway/{application}/authorities.pem" if given else AUTHORITIES


def health_checks(
    resolved: list[Application], topology: Topology, now: float | None = None
) -> list[dict[str, t.Any]]:
    """What stack_health examines on this machine, from what is declared to run on it."""

    def here(group: str) -> bool:
        return topology.host in topology.groups.get(group, [])

    checks: list[dict[str, t.Any]] = [
        {"kind": "host", "name": topology.host, "reference_time": now}
    ]
    names = [application["pool"]["name"] for application in resolved if application["pool"]]
    if here("database"):
        checks.append({**_postgres_check(topology), "role": "primary", "databases": names})
        checks += _pool_checks(names, provided=bool(topology.postgres))
        checks.append(_unit("slipway-backup.timer"))
    backed_up = names if here("database") else []
    checks.append({"kind": "backup", "name": topology.host, "databases": backed_up})
    if here("cache"):
        checks += [_redis("broker", BROKER_PORT, keeps=True)]
        checks += [_redis("cache", CACHE_PORT, keeps=False)]
    if topology.redis and topology.groups["application"][:1] == [topology.host]:
        checks += _provided_redis(resolved, topology)
    for application in resolved:
        checks += _application_checks(application, topology, here)
    return checks + _departed_check(resolved, topology)


def _departed_check(resolved: list[Application], topology: Topology) -> list[dict[str, t.Any]]:
    """A beat or worker left behind does everything twice, or does it as the code of yesterday."""
    departed = (departed_servers, departed_workers)
    units = [unit for each in resolved for of in departed for unit in of(each, topology)]
    if not units:
        return []
    check = {"kind": "unit", "name": "of other machines", "unit": " ".join(units), "absent": True}
    return [check]


def release_checks(
    resolved: list[Application], topology: Topology, name: str
) -> list[dict[str, t.Any]]:
    """What a release of one application answers for on this machine; its certificate does not."""

    def here(group: str) -> bool:
        return topology.host in topology.groups.get(group, [])

    (application,) = [each for each in resolved if each["name"] == name]
    checks = _application_checks(application, topology, here)
    return [check for check in checks if check["kind"] != "tls"]


def _postgres_check(topology: Topology) -> dict[str, t.Any]:
    """The server on this machine, or a provider's over the network as its administrator."""
    given = topology.postgres
    if not given:
        return {"kind": "postgres", "name": str(POSTGRES_PORT), "port": POSTGRES_PORT}
    place = {key: given[key] for key in ("host", "port", "database")}
    trusted = PROVIDED_AUTHORITIES if given["ca"] else AUTHORITIES
    login = {"user": given["admin"], "sslmode": "verify-full", "ca_file": trusted}
    return {"kind": "postgres", "name": given["host"], **place, **login}


def _pool_checks(names: list[str], *, provided: bool) -> list[dict[str, t.Any]]:
    """The pooler, asked as the user that looks up passwords, or as each owner that it was told."""
    check = {"kind": "pgbouncer", "name": str(PGBOUNCER_PORT), "port": PGBOUNCER_PORT}
    if not provided:
        return [{**check, "databases": names}]
    return [{**check, "databases": [owner], "login_user": owner} for owner in names]


def _provided_redis(resolved: list[Application], topology: Topology) -> list[dict[str, t.Any]]:
    """A provider's broker and cache, as the first application that has them reaches them."""
    found = []
    for application in [each for each in resolved if each["database"]][:1]:
        told = servers(application, topology)
        for name, url in (("broker", told.broker), ("cache", told.cache)):
            place = urlsplit(url)
            tls = place.scheme == "rediss"
            found.append(
                {
                    **{"kind": "redis", "name": name, "host": place.hostname},
                    **{"port": place.port or BROKER_PORT, "tls": tls},
                    **({"ca_file": told.redis_ca_file} if tls else {}),
                    "user": told.redis_user or application["name"],
                    "evictions_allowed": name == "cache",
                }
            )
    return found


def _redis(name: str, port: int, keeps: bool) -> dict[str, t.Any]:
    """An instance that keeps what it is given, or one that forgets when it is full."""
    return {
        **{"kind": "redis", "name": name, "host": LOOPBACK, "port": port, "user": REDIS_ADMIN},
        "evictions_allowed": not keeps,
        "persistent": keeps,
        "role": "primary",
    }


def _celery_check(name: str, celery: dict[str, t.Any], beat_here: bool) -> dict[str, t.Any]:
    scheduler = celery["beat"]["scheduler"]
    database = "django_celery_beat" in scheduler
    return {
        "kind": "celery",
        "name": name,
        "application": name,
        "module": celery["application"],
        "workers": [
            {
                "unit": f"{name}-worker-{worker['name']}.service",
                "node": f"{name}-{worker['name']}",
            }
            for worker in celery["workers"]
        ],
        "queues": sorted({queue for worker in celery["workers"] for queue in worker["queues"]}),
        "beats": int(celery["beat"]["enabled"] and beat_here),
        "beat_schedule": "database" if database else "other" if scheduler else "settings",
        # The application's Python takes seconds to start.
        "timeout": CELERY_SECONDS,
    }


def _application_checks(
    application: Application, topology: Topology, here: t.Callable[[str], bool]
) -> list[dict[str, t.Any]]:
    name, celery = application["name"], application["celery"]
    checks: list[dict[str, t.Any]] = []
    if topology.groups.get("application", [])[:1] == [topology.host]:
        checks += _pooling_check(application)
    if here("application"):
        checks += [
            _unit(f"{name}-{server}.service")
            for kind, server in SERVERS.items()
            if application["web"][kind]
        ]
        if application["uploads_apart"]:
            checks.append({"kind": "uploads", "name": name, "path": f"/srv/{name}/media"})
    if celery["workers"] and here("worker"):
        beat_here = topology.groups["worker"][0] == topology.host
        checks.append(_celery_check(name, celery, beat_here))
    if here("web"):
        # What Let's Encrypt issues for the public must be trusted by the public.
        acme = application["certificate_source"] == "acme"
        public = acme and application["acme_directory"] == LETS_ENCRYPT
        checks += _site_checks.site_checks(application, LOOPBACK, public=public)
    return checks


def _pooling_check(application: Application) -> list[dict[str, t.Any]]:
    """The release is the same on every machine, so the first one is asked."""
    served = application["web"]["wsgi"] or application["web"]["asgi"]
    if not application["database"] or not served:
        return []
    check = {"kind": "pooling", "name": application["name"], "application": application["name"]}
    told = {"module": served.split(":")[0], "framework": application["framework"]}
    pool = application["pool"]
    told["pool_size"] = pool["pool_size"] + pool["reserve_pool_size"]
    return [{**check, **told, "timeout": CELERY_SECONDS}]


def _unit(unit: str) -> dict[str, t.Any]:
    return {"kind": "unit", "name": unit, "unit": unit}
