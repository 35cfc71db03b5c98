# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Faults of a real server, and what redis_health says of them."""

from __future__ import annotations

import contextlib
import shlex
import time
import typing as t

import pytest
from operations import unwell
from testinfra.host import Host

# The faults are answered by our own code.
pytestmark = pytest.mark.either

Rows = dict[str, dict[str, str]]
Examine = t.Callable[..., Rows]
BROKER = {"port": 6379, "user": "slipway", "evictions_allowed": False, "persistent": True}


@pytest.fixture
def password(scenario: dict[str, t.Any]) -> str:
    return str(scenario["redis_admin_password"])


@pytest.fixture
def engine(host: Host) -> str:
    return "valkey" if host.file("/etc/valkey").exists else "redis"


@pytest.fixture
def ask(host: Host, engine: str, password: str) -> t.Iterator[t.Callable[..., str]]:
    def ask(*command: object, port: int = 6379, background: bool = False) -> str:
        words = " ".join(shlex.quote(str(word)) for word in command)
        login = f"REDISCLI_AUTH={shlex.quote(password)} {engine}-cli --user slipway -p {port}"
        after = " >/dev/null 2>&1 &" if background else " 2>&1"
        return str(host.run(f"{login} {words}{after}").stdout.strip())

    yield ask
    for port in (6379, 6380):
        ask("FLUSHALL", port=port)
        ask("CONFIG", "RESETSTAT", port=port)


@contextlib.contextmanager
def signalled(host: Host, unit: str) -> t.Iterator[None]:
    """A server that lives, holds its port, and does nothing."""
    host.check_output(f"systemctl kill --signal=STOP --kill-who=main {unit}")
    try:
        yield
    finally:
        host.check_output(f"systemctl kill --signal=CONT --kill-who=main {unit}")


def until_link_is(ask: t.Callable[..., str], state: str) -> None:
    """Wait for the replica: the primary gathers replicas for 5 s before it feeds them."""
    deadline = time.monotonic() + 60
    while f"master_link_status:{state}" not in (said := ask("INFO", "replication", port=6380)):
        assert time.monotonic() < deadline, said
        time.sleep(0.5)


def save(ask: t.Callable[..., str], outcome: str) -> None:
    """Let it write its data until it has done so, or failed to."""
    wanted = {"rdb_bgsave_in_progress:0", f"rdb_last_bgsave_status:{outcome}"}
    deadline = time.monotonic() + 60
    while not wanted <= set((said := ask("INFO", "persistence")).split()):
        assert time.monotonic() < deadline, said
        ask("BGSAVE")
        time.sleep(1)


def test_both_instances_are_well(examine: Examine, password: str) -> None:
    assert unwell(examine("redis", **BROKER, password=password)) == {}
    rows = examine("redis", port=6380, user="slipway", password=password)
    assert unwell(rows) == {}
    assert rows["memory"]["limit"] == "evicts when full"


def test_a_stopped_server_is_critical(
    host: Host, examine: Examine, engine: str, password: str
) -> None:
    host.check_output(f"systemctl stop {engine}-server@broker")
    try:
        (row,) = examine("redis", **BROKER, password=password).values()
    finally:
        host.check_output(f"systemctl start {engine}-server@broker")
    assert row["state"] == "critical"
    assert "refused" in row["value"]


def test_a_wedged_server_is_critical_in_time(
    host: Host, examine: Examine, engine: str, password: str
) -> None:
    with signalled(host, f"{engine}-server@broker"):
        (row,) = examine("redis", **BROKER, password=password, timeout=2).values()
    assert row["state"] == "critical"
    assert "waiting for the first answer of 127.0.0.1:6379" in row["value"]


def test_a_full_server_that_must_not_evict_is_critical(
    ask: t.Callable[..., str], examine: Examine, password: str
) -> None:
    script = "for i=1,64 do redis.call('SET', ARGV[1]..i, string.rep('x', 131072)) end return 'OK'"
    said = [ask("EVAL", script, 0, f"health:{part}:") for part in range(10)]
    assert "OOM" in said[-1]
    rows = examine("redis", **BROKER, password=password)
    assert rows["memory"]["state"] == "critical"
    assert rows["evictions"]["state"] == "ok"


def test_evictions_where_nothing_may_be_evicted_are_critical(
    ask: t.Callable[..., str], examine: Examine, password: str
) -> None:
    ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    script = "for i=1,64 do redis.call('SET', ARGV[1]..i, string.rep('x', 131072)) end return 'OK'"
    try:
        for part in range(12):
            ask("EVAL", script, 0, f"health:{part}:")
        rows = examine("redis", **BROKER, password=password)
    finally:
        ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
    assert rows["evictions"]["state"] == "critical"
    assert rows["evictions"]["value"].split()[0] != "0"
    # The policy is mended, but what was lost stays lost until somebody has seen to it.
    after = examine("redis", **BROKER, password=password)
    assert after["evictions"]["state"] in ("warning", "critical")


def test_rejected_connections_are_told(
    host: Host, ask: t.Callable[..., str], examine: Examine, password: str
) -> None:
    ask("CONFIG", "SET", "maxclients", 3)
    program = (
        "import socket, time;"
        "kept = [socket.create_connection(('127.0.0.1', 6379)) for _ in range(5)]; time.sleep(60)"
    )
    host.check_output(f'systemd-run --collect --quiet --unit=hold python3 -c "{program}"')
    try:
        host.run("sleep 1")
        (row,) = examine("redis", **BROKER, password=password).values()
        assert row["state"] == "critical"
    finally:
        host.check_output("systemctl stop hold; sleep 1")
        ask("CONFIG", "SET", "maxclients", 10000)
    rows = examine("redis", **BROKER, password=password)
    assert rows["rejected connections"]["state"] == "warning"


def test_data_that_cannot_be_written_are_critical(
    host: Host, ask: t.Callable[..., str], examine: Examine, engine: str, password: str
) -> None:
    folder = f"/var/lib/{engine}/broker"
    host.check_output(f"chmod 0555 {folder}")
    try:
        ask("SET", "health:x", 1)
        save(ask, "err")
        rows = examine("redis", **BROKER, password=password)
    finally:
        host.check_output(f"chmod 0750 {folder}")
        save(ask, "ok")
    assert rows["snapshot"]["state"] == "critical"
    assert "MISCONF" in rows["ping"]["value"]
    assert unwell(examine("redis", **BROKER, password=password)) == {}


def test_a_replica_whose_primary_is_gone_is_not_well(
    host: Host, ask: t.Callable[..., str], examine: Examine, engine: str, password: str
) -> None:
    replica = {"port": 6380, "user": "slipway", "password": password}
    for key, value in (("masteruser", "slipway"), ("masterauth", password)):
        ask("CONFIG", "SET", key, value, port=6380)
    ask("REPLICAOF", "127.0.0.1", 6379, port=6380)
    try:
        until_link_is(ask, "up")
        assert examine("redis", **replica)["replica link"]["state"] == "ok"
        primary = examine("redis", **BROKER, password=password, replicas=1)
        assert primary["replicas"]["state"] == "ok"
        host.check_output(f"systemctl stop {engine}-server@broker")
        until_link_is(ask, "down")
        host.run("sleep 2")
        rows = examine("redis", **replica, link_warning_seconds=0, link_critical_seconds=1)
        assert rows["replica link"]["state"] == "critical"
        assert "down to 127.0.0.1:6379" in rows["replica link"]["value"]
    finally:
        host.check_output(f"systemctl start {engine}-server@broker")
        ask("REPLICAOF", "NO", "ONE", port=6380)
    lonely = examine("redis", **BROKER, password=password, replicas=1)
    assert lonely["replicas"]["state"] == "critical"


def test_a_user_that_does_not_get_in_is_critical(examine: Examine, password: str) -> None:
    (row,) = examine("redis", **BROKER, password=password[::-1]).values()
    assert row["state"] == "critical"
    assert "no login as slipway: WRONGPASS" in row["value"]


def test_what_a_user_may_not_ask_is_unknown(examine: Examine, scenario: dict[str, t.Any]) -> None:
    passwords = {user["name"]: user["password"] for user in scenario["redis_users"]}
    rows = examine("redis", user="auction", password=passwords["auction"])
    assert rows["ping"]["state"] == "ok"
    assert rows["figures"]["state"] == "unknown"
    assert "+info" in rows["figures"]["advice"]
    # shop may ask for INFO and not for CONFIG.
    assert unwell(examine("redis", user="shop", password=passwords["shop"])) == {
        "snapshot": "unknown"
    }
