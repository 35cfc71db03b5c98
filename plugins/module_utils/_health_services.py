# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The kinds that have no module of their own yet."""

from __future__ import annotations

import dataclasses
import os
import socket
import typing as t
from pathlib import Path

from ansible_collections.slipway.stack.plugins.module_utils import _celery, _health_process
from ansible_collections.slipway.stack.plugins.module_utils._health import (
    CRITICAL,
    OK,
    WARNING,
    Check,
    Deadline,
    Finding,
    Unhealthy,
)

BODY_LIMIT = 65_536


def unit(check: Check, deadline: Deadline) -> list[Finding]:
    """systemd's own word: active, and how often it had to be restarted."""
    shown = _health_process.output(
        ["systemctl", "show", "-p", "ActiveState,SubState,NRestarts", "--", check["unit"]], deadline
    )
    values = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    state = f"{values.get('ActiveState')} ({values.get('SubState')})"
    if values.get("ActiveState") == "active":
        return [Finding(check["label"], OK, state)]
    return [Finding(check["label"], CRITICAL, state, "active", f"journalctl -u {check['unit']}")]


def redis(check: Check, deadline: Deadline) -> list[Finding]:
    """PING and INFO memory as the admin user; the password travels in the protocol, not in argv."""
    with socket.create_connection(
        (check["address"], check["port"]), timeout=deadline.remaining()
    ) as connection:
        stream = connection.makefile("rwb")
        stream.write(_resp("AUTH", check["user"], check["password"]))
        stream.write(_resp("PING") + _resp("INFO", "memory"))
        stream.flush()
        for expected in (b"+OK", b"+PONG"):
            line = stream.readline(BODY_LIMIT).rstrip()
            if line != expected:
                raise Unhealthy(line.decode(errors="replace").lstrip("-")[:120] or "it hung up")
        size = int(stream.readline(BODY_LIMIT)[1:])
        info = dict(
            line.split(":", 1) for line in stream.read(size).decode().splitlines() if ":" in line
        )
    used, limit = int(info["used_memory"]), int(info["maxmemory"])
    share = used / limit if limit else 0.0
    state = OK
    if info.get("maxmemory_policy") == "noeviction":
        state = OK if share < 0.8 else WARNING if share < 0.95 else CRITICAL
    value = f"{used / 2**20:.0f} of {limit / 2**20:.0f} MB, {info.get('maxmemory_policy')}"
    return [Finding(check["label"], state, value, "under 80 %", "raise memory_limit_megabytes")]


def _resp(*words: str) -> bytes:
    parts = [word.encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)


def _psql(query: str, directory: str, check: Check, deadline: Deadline) -> list[list[str]]:
    """Rows by peer login over a local socket, so that no password is needed."""
    output = _health_process.output(
        [
            *("setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--"),
            *("psql", "-XAtq", "-h", directory, "-p", str(check["port"]), "-U", check["user"]),
            *("-d", check["database"], "-c", query),
        ],
        deadline,
        {"PGCONNECT_TIMEOUT": str(int(deadline.remaining()) or 1)},
    )
    return [line.split("|") for line in output.splitlines()]


def postgres(check: Check, deadline: Deadline) -> list[Finding]:
    """A login over the local socket: connections used, oldest transaction, wraparound age."""
    query = (
        "SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),"
        " current_setting('max_connections'),"
        " coalesce((SELECT extract(epoch FROM max(now() - xact_start))::int FROM pg_stat_activity"
        " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()), 0),"
        " (SELECT max(age(datfrozenxid)) FROM pg_database)"
    )
    ((used, most, oldest, age),) = _psql(
        query,
        "/var/run/postgresql",
        {**check, "database": "postgres", "user": "postgres"},
        deadline,
    )
    share = int(used) / int(most)
    state = OK if share < 0.8 else WARNING if share < 0.95 else CRITICAL
    old = OK if int(oldest) < 300 else WARNING
    wrap = OK if int(age) < 500_000_000 else WARNING if int(age) < 1_500_000_000 else CRITICAL
    name = check["label"]
    return [
        Finding(
            f"{name} connections", state, f"{used} of {most}", "under 80 %", "pg_stat_activity"
        ),
        Finding(
            f"{name} oldest transaction", old, f"{oldest} s", "300 s", "end it: pg_stat_activity"
        ),
        Finding(f"{name} wraparound", wrap, f"age {age}", "500000000", "VACUUM FREEZE"),
    ]


def pgbouncer(check: Check, deadline: Deadline) -> list[Finding]:
    """SHOW POOLS over the local socket: nobody may wait long for a server connection."""
    rows = _psql(
        "SHOW POOLS",
        "/run/pgbouncer",
        {**check, "database": "pgbouncer", "user": "pgbouncer"},
        deadline,
    )
    findings = []
    for database in check["databases"]:
        pools = [row for row in rows if row[0] == database]
        waiting = sum(int(row[3]) for row in pools)
        state = OK if waiting == 0 else WARNING
        findings.append(
            Finding(f"pool {database}", state, f"{waiting} clients wait", "0", "raise pool_size")
        )
    return findings


def celery(check: Check, deadline: Deadline) -> list[Finding]:
    """Each worker's own answer over the broker, not merely a living process."""
    del deadline  # the question brings its own, for Python takes seconds to load an application
    name = check["name"]
    workers = [
        _celery.Worker(unit, node, name, check["module"], Path(f"/srv/{name}"))
        for unit, node in check["nodes"].items()
    ]
    host = socket.gethostname()
    there = _celery.answering(_celery.ask(name, workers, host).output)
    return [
        Finding(f"celery {worker.unit}", OK, "pong")
        if f"{worker.node}@{host}" in there
        else Finding(
            f"celery {worker.unit}", CRITICAL, "no pong", "pong", f"journalctl -u {worker.unit}"
        )
        for worker in workers
    ]


def disk(check: Check, deadline: Deadline) -> list[Finding]:
    """Free space and inodes, of the file system that holds the path."""
    del deadline
    numbers = os.statvfs(check["path"])
    findings = []
    for name, free, total in (
        ("space", numbers.f_bavail, numbers.f_blocks),
        ("inodes", numbers.f_favail, numbers.f_files),
    ):
        share = free / total if total else 1.0
        state = OK if share > 0.15 else WARNING if share > 0.1 else CRITICAL
        label = f"disk {check['name']} {name}"
        findings.append(
            Finding(label, state, f"{share:.0%} free", "over 15 %", "du -xh --max-depth=2 /")
        )
    return findings


@dataclasses.dataclass(frozen=True)
class Service:
    """A kind made of its parts."""

    KIND: str
    OPTIONS: dict[str, t.Any]
    probe: t.Callable[[Check, Deadline], list[Finding]]


def _options(**types: str) -> dict[str, t.Any]:
    return {name: {"type": kind, "required": True} for name, kind in types.items()}


SECRET = {"password": {"type": "str", "default": "", "no_log": True}}
ALL = [
    Service("unit", _options(unit="str"), unit),
    Service("redis", _options(address="str", port="int", user="str") | SECRET, redis),
    Service("postgres", _options(port="int"), postgres),
    Service("pgbouncer", _options(port="int", databases="list"), pgbouncer),
    Service("celery", _options(module="str", nodes="dict"), celery),
    Service("disk", _options(path="path"), disk),
]
