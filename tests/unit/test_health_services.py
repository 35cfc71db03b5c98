"""Probes against real sockets and small programs that stand in for a service's own client."""

from __future__ import annotations

import socket
import threading
import typing as t
from pathlib import Path

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import (
    _health,
    _health_kinds,
    _health_process,
)
from ansible_collections.slipway.stack.plugins.plugin_utils import _derive

ALL = {group: ["one"] for group in ("database", "cache", "application", "worker", "web")}


def examine(checks: list[_health.Check], timeout: float) -> list[_health.Finding]:
    return _health.examine(
        [(_health_kinds.KINDS[check["kind"]], check) for check in checks], timeout
    )


class Listener:
    """A server on loopback that says the same to everyone, or nothing at all."""

    def __init__(self, said: bytes) -> None:
        self.said = said
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        self.kept: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _address = self.socket.accept()
            except OSError:
                return
            self.kept.append(connection)
            connection.sendall(self.said)


@pytest.fixture
def listen() -> t.Iterator[t.Callable[[bytes], Listener]]:
    listeners: list[Listener] = []

    def start(said: bytes) -> Listener:
        listeners.append(Listener(said))
        return listeners[-1]

    yield start
    for listener in listeners:
        for connection in [*listener.kept, listener.socket]:
            connection.close()


def redis(port: int) -> dict[str, t.Any]:
    login = {"user": "slipway", "password": "x"}
    return {"kind": "redis", "name": "broker", "address": "127.0.0.1", "port": port, **login}


def memory(used: int, policy: str = "noeviction") -> bytes:
    info = f"used_memory:{used}\r\nmaxmemory:100\r\nmaxmemory_policy:{policy}\r\n".encode()
    return b"+OK\r\n+PONG\r\n$%d\r\n%s\r\n" % (len(info), info)


@pytest.mark.parametrize(
    ("said", "state"),
    [
        (memory(79), "ok"),
        (memory(80), "warning"),
        (memory(95), "critical"),
        (memory(100, "allkeys-lru"), "ok"),
        (b"-WRONGPASS invalid\r\n", "critical"),
        (b"+OK\r\n-LOADING in progress\r\n", "critical"),
    ],
)
def test_redis_is_judged_by_its_answer(
    listen: t.Callable[[bytes], Listener], said: bytes, state: str
) -> None:
    (finding,) = examine([redis(listen(said).port)], timeout=2)
    assert finding.state == state, finding


def test_a_server_that_says_nothing_is_critical_in_time(
    listen: t.Callable[[bytes], Listener],
) -> None:
    (finding,) = examine([redis(listen(b"").port)], timeout=0.3)
    assert finding.state == "critical"


def test_a_closed_port_is_critical() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    (finding,) = examine([redis(port)], timeout=1)
    assert finding.state == "critical"
    assert "refused" in finding.value


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Callable[[str, str], None]:
    """Puts a shell script in front of everything else on PATH."""
    monkeypatch.setattr(_health_process, "SEARCH", f"{tmp_path}:/usr/bin:/bin")

    def write(name: str, script: str) -> None:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return write


@pytest.mark.parametrize(("active", "state"), [("active", "ok"), ("failed", "critical")])
def test_a_unit_is_what_systemd_says(
    program: t.Callable[[str, str], None], active: str, state: str
) -> None:
    program("systemctl", f"echo ActiveState={active}; echo SubState=x; echo NRestarts=0")
    (finding,) = examine([{"kind": "unit", "name": "x", "unit": "x.service"}], timeout=5)
    assert finding.state == state


@pytest.mark.parametrize(
    ("row", "states"),
    [
        ("7|10|299|1", ["ok", "ok", "ok"]),
        ("8|10|300|500000000", ["warning", "warning", "warning"]),
        ("10|10|0|1500000000", ["critical", "ok", "critical"]),
    ],
)
def test_postgres_is_judged_by_its_own_figures(
    program: t.Callable[[str, str], None], row: str, states: list[str]
) -> None:
    program("setpriv", f"echo '{row}'")
    found = examine([{"kind": "postgres", "name": "5432", "port": 5432}], timeout=5)
    assert [finding.state for finding in found] == states


def test_a_pool_in_which_clients_wait_is_a_warning(program: t.Callable[[str, str], None]) -> None:
    program("setpriv", "echo 'shop|shop|5|2|0'; echo 'blog|blog|1|0|0'")
    check = {"kind": "pgbouncer", "name": "pools", "port": 6432, "databases": ["shop", "blog"]}
    found = examine([check], timeout=5)
    assert [finding.state for finding in found] == ["warning", "ok"]


def test_a_client_that_fails_is_quoted(program: t.Callable[[str, str], None]) -> None:
    program("setpriv", "echo 'psql: no such server' >&2; exit 2")
    (finding,) = examine([{"kind": "postgres", "name": "5432", "port": 1}], timeout=5)
    assert (finding.state, finding.value) == ("critical", "psql: no such server")


def test_a_missing_client_is_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_health_process, "SEARCH", str(tmp_path))
    (finding,) = examine([{"kind": "postgres", "name": "5432", "port": 1}], timeout=5)
    assert finding.state == "unknown"


def test_the_disk_is_measured() -> None:
    found = examine([{"kind": "disk", "name": "/", "path": "/"}], timeout=5)
    assert [finding.check for finding in found] == ["disk / space", "disk / inodes"]


def checks(host: str, groups: dict[str, list[str]], addresses: dict[str, str]) -> set[str]:
    application = {
        "name": "shop",
        "domain": "shop.example.com",
        "redirects": [],
        "certificate_source": "acme",
        "acme_directory": _derive.LETS_ENCRYPT,
        "web": {"wsgi": "x:y", "asgi": "", "health_path": "/health/", "websocket_health_path": ""},
        "pool": {"name": "shop"},
        "celery": {
            "application": "shop",
            "workers": [{"name": "default"}],
            "beat": {"enabled": True, "scheduler": ""},
        },
    }
    topology = _derive.Topology(groups=groups, addresses=addresses, host=host)
    found = _derive.health_checks([application], topology)
    return {f"{check['kind']} {check['name']}" for check in found}


def test_a_machine_with_everything_is_examined_for_everything() -> None:
    assert checks("one", ALL, {"one": "one"}) == {
        "disk /",
        "postgres 5432",
        "pgbouncer pools",
        "unit slipway-backup.timer",
        "redis broker",
        "redis cache",
        "unit shop-web.service",
        "celery shop",
        "unit shop-beat.service",
        "http shop.example.com",
        "tls shop.example.com",
    }


def test_beat_is_expected_on_the_first_worker_machine_only() -> None:
    groups = {**ALL, "worker": ["one", "two"], "application": ["two"]}
    found = checks("two", groups, {"one": "10.0.0.1", "two": "10.0.0.2"})
    assert found == {"disk /", "unit shop-web.service", "celery shop"}
