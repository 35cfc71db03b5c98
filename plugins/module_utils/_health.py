# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Probes of what runs on one machine. Each asks the real thing and never changes it.

A probe returns Findings; what it cannot find out is `unknown`, never `ok`. Only the standard
library and the services' own clients are used, so nothing has to be installed on a machine.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import http.client
import json
import os
import socket
import ssl
import subprocess
import time
import typing as t
from pathlib import Path

from ansible_collections.slipway.stack.plugins.module_utils import _celery

OK, WARNING, CRITICAL, UNKNOWN = "ok", "warning", "critical", "unknown"
BODY_LIMIT = 65_536


@dataclasses.dataclass(frozen=True)
class Finding:
    """One row of the health table."""

    check: str
    state: str
    value: str
    limit: str = ""
    advice: str = ""


Check = dict[str, t.Any]
Probe = t.Callable[[Check, float], list[Finding]]


def examine(checks: list[Check], timeout: float) -> list[Finding]:
    """The findings of all checks, in their order; each has `timeout` seconds, all run at once."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=max(1, len(checks))) as pool:
        return [
            row for rows in pool.map(lambda check: _examine(check, timeout), checks) for row in rows
        ]


def _examine(check: Check, timeout: float) -> list[Finding]:
    label = f"{check['kind']} {check['name']}"
    try:
        return PROBES[check["kind"]]({**check, "label": label}, timeout)
    except FileNotFoundError as error:
        return [
            Finding(
                label, UNKNOWN, f"{error.filename} is missing", "", "install it or drop the check"
            )
        ]
    except (TimeoutError, subprocess.TimeoutExpired):
        advice = f"it hangs: systemctl status, journalctl -u {check['name']}"
        return [
            Finding(label, CRITICAL, f"no answer within {timeout:g} s", f"{timeout:g} s", advice)
        ]
    except (OSError, http.client.HTTPException, ProbeError) as error:
        return [Finding(label, CRITICAL, str(error), "", check.get("advice", "see its journal"))]


class ProbeError(Exception):
    """The service answered, but not as a healthy one does."""


def _run(command: list[str], timeout: float, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, "LC_ALL": "C", **(environment or {})},
        stdin=subprocess.DEVNULL,
    )
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise ProbeError(lines[-1] if lines else f"{command[0]} ended with {done.returncode}")
    return done.stdout


def unit(check: Check, timeout: float) -> list[Finding]:
    """systemd's own word: active, and how often it had to be restarted."""
    shown = _run(
        ["systemctl", "show", "-p", "ActiveState,SubState,NRestarts", "--", check["unit"]], timeout
    )
    values = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    state = f"{values.get('ActiveState')} ({values.get('SubState')})"
    if values.get("ActiveState") == "active":
        return [Finding(check["label"], OK, state)]
    return [Finding(check["label"], CRITICAL, state, "active", f"journalctl -u {check['unit']}")]


def web(check: Check, timeout: float) -> list[Finding]:
    """An https request as a visitor sends it, certificate verified, to the machine itself."""
    context = ssl.create_default_context()
    if check["chain"]:
        # A private authority is in nobody's store: the chain on disk itself is the anchor.
        context.load_verify_locations(cafile=check["chain"])
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    started = time.monotonic()
    address = (check["address"], check["port"])
    with (
        socket.create_connection(address, timeout=timeout) as plain,
        context.wrap_socket(plain, server_hostname=check["host"]) as channel,
    ):
        lifetime = _lifetime(t.cast("dict[str, t.Any]", channel.getpeercert() or {}))
        connection = http.client.HTTPConnection(check["host"], timeout=timeout)
        connection.sock = channel
        connection.request("GET", check["path"])
        answer = connection.getresponse()
        body = answer.read(BODY_LIMIT)
    milliseconds = (time.monotonic() - started) * 1000
    if answer.status == 200:
        state, value = (OK if milliseconds < 1000 else WARNING), f"200 in {milliseconds:.0f} ms"
    else:
        state, value = CRITICAL, f"{answer.status}: {_summary(body)}"
    return [
        Finding(
            check["label"], state, value, "200 within 1000 ms", "journalctl -u '<application>-*'"
        ),
        *_certificate(check["host"], lifetime),
    ]


def _summary(body: bytes) -> str:
    try:
        return ", ".join(f"{key} {value}" for key, value in json.loads(body).items())[:120]
    except (ValueError, AttributeError):
        return body[:80].decode(errors="replace").strip()


def _lifetime(certificate: dict[str, t.Any]) -> float | None:
    if "notAfter" not in certificate:
        return None
    begins = ssl.cert_time_to_seconds(certificate["notBefore"])
    ends = ssl.cert_time_to_seconds(certificate["notAfter"])
    return (ends - time.time()) / max(1.0, ends - begins)


def _certificate(host: str, share: float | None) -> list[Finding]:
    label = f"certificate {host}"
    if share is None:
        return [Finding(label, UNKNOWN, "not verified", "", "issue one: run site.yml")]
    state = OK if share > 0.25 else WARNING if share > 0.1 else CRITICAL
    advice = "journalctl -u slipway-certbot"
    return [Finding(label, state, f"{share:.0%} of its lifetime left", "over 25 %", advice)]


def redis(check: Check, timeout: float) -> list[Finding]:
    """PING and INFO memory as the admin user; the password travels in the protocol, not in argv."""
    with socket.create_connection((check["address"], check["port"]), timeout=timeout) as connection:
        stream = connection.makefile("rwb")
        stream.write(_resp("AUTH", check["user"], check["password"]))
        stream.write(_resp("PING") + _resp("INFO", "memory"))
        stream.flush()
        for expected in (b"+OK", b"+PONG"):
            line = stream.readline(BODY_LIMIT).rstrip()
            if line != expected:
                raise ProbeError(line.decode(errors="replace").lstrip("-")[:120] or "it hung up")
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


def _psql(query: str, directory: str, check: Check, timeout: float) -> list[list[str]]:
    """Rows by peer login over a local socket, so that no password is needed."""
    output = _run(
        [
            *("setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--"),
            *("psql", "-XAtq", "-h", directory, "-p", str(check["port"]), "-U", check["user"]),
            *("-d", check["database"], "-c", query),
        ],
        timeout,
        {"PGCONNECT_TIMEOUT": str(int(timeout) or 1)},
    )
    return [line.split("|") for line in output.splitlines()]


def postgres(check: Check, timeout: float) -> list[Finding]:
    """A login over the local socket: connections used, oldest transaction, wraparound age."""
    query = (
        "SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),"
        " current_setting('max_connections'),"
        " coalesce((SELECT extract(epoch FROM max(now() - xact_start))::int FROM pg_stat_activity"
        " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()), 0),"
        " (SELECT max(age(datfrozenxid)) FROM pg_database)"
    )
    ((used, most, oldest, age),) = _psql(
        query, "/var/run/postgresql", {**check, "database": "postgres", "user": "postgres"}, timeout
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


def pgbouncer(check: Check, timeout: float) -> list[Finding]:
    """SHOW POOLS over the local socket: nobody may wait long for a server connection."""
    rows = _psql(
        "SHOW POOLS",
        "/run/pgbouncer",
        {**check, "database": "pgbouncer", "user": "pgbouncer"},
        timeout,
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


def celery(check: Check, timeout: float) -> list[Finding]:
    """Each worker's own answer over the broker, not merely a living process."""
    del timeout  # the question brings its own, for Python takes seconds to load an application
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


def disk(check: Check, timeout: float) -> list[Finding]:
    """Free space and inodes, of the file system that holds the path."""
    del timeout
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


PROBES: dict[str, Probe] = {
    "unit": unit,
    "web": web,
    "redis": redis,
    "postgres": postgres,
    "pgbouncer": pgbouncer,
    "celery": celery,
    "disk": disk,
}
