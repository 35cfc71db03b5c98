"""Redis is asked over real sockets, and judged by what it says."""

from __future__ import annotations

import contextlib
import io
import socket
import threading
import typing as t

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import (
    _health,
    _health_net,
    _health_redis,
    _health_resp,
)

INFO = {
    "used_memory": "10", "maxmemory": "100", "maxmemory_policy": "noeviction",
    "total_system_memory": "1000", "evicted_keys": "0", "connected_clients": "1",
    "maxclients": "100", "rejected_connections": "0", "aof_enabled": "1",
    "aof_last_write_status": "ok", "aof_last_bgrewrite_status": "ok",
    "rdb_last_bgsave_status": "ok", "rdb_changes_since_last_save": "0",
    "rdb_last_save_time": "1000", "server_time_usec": "5000000000", "role": "master",
}  # fmt: skip


def defaults(**given: t.Any) -> dict[str, t.Any]:
    values = {name: option.get("default") for name, option in _health_redis.OPTIONS.items()}
    return {"label": "x", "name": "x", **values, **given}


def examined(
    pong: str = "PONG", saves: str = "save 900 1", said: str | None = None,
    options: dict[str, t.Any] | None = None, needed: str = "min-replicas-to-write 2",
    cluster: str = "", **info: str,
) -> dict[str, _health.Finding]:  # fmt: skip
    text = "\r\n".join(f"{key}:{value}" for key, value in {**INFO, **info}.items() if value)
    answers = [pong, f"# Server\r\n{text}" if said is None else said, saves, needed]

    def ask(_check: t.Any, questions: list[list[str]], _deadline: t.Any) -> list[str]:
        return [cluster] if questions == [["CLUSTER", "INFO"]] else answers

    found = _health_redis.probe(defaults(**(options or {})), _health.Deadline(5), ask)
    return {row.check.removeprefix("x "): row for row in found}


def states(rows: dict[str, _health.Finding]) -> dict[str, str]:
    return {name: row.state for name, row in rows.items() if row.state != "ok"}


def test_a_quiet_server_is_well() -> None:
    assert states(examined()) == {}
    assert set(examined()) >= {"ping", "memory", "append-only file", "snapshot"}


ONE = {"slave0": "ip=1.2.3.4,port=1,state=online,offset=1,lag=0"}
UP = {"role": "slave", "master_host": "a", "master_port": "1", "master_link_status": "up"}
DOWN = {**UP, "master_link_status": "down"}


@pytest.mark.parametrize(
    ("options", "info", "found"),
    [
        ({}, {"used_memory": "86"}, {"memory": "warning"}),
        ({}, {"used_memory": "96"}, {"memory": "critical"}),
        ({}, {"used_memory": "100", "maxmemory_policy": "allkeys-lru"}, {}),
        ({}, {"used_memory": "86", "maxmemory_policy": "volatile-lru"}, {"memory": "warning"}),
        ({}, {"used_memory": "96", "maxmemory_policy": "volatile-ttl"}, {"memory": "critical"}),
        ({}, {"errorstat_OOM": "count=3"}, {"memory": "warning"}),
        ({}, {"errorstat_OOM": "count=3", "maxmemory_policy": "allkeys-lru"},
         {"memory": "warning"}),
        ({}, {"maxmemory": "0"}, {"memory": "warning"}),
        ({}, {"maxmemory": "0", "used_memory": "960"}, {"memory": "critical"}),
        ({}, {"maxmemory": "0", "total_system_memory": ""}, {"memory": "unknown"}),
        ({}, {"evicted_keys": "9"}, {}),
        ({"evictions_allowed": False}, {"evicted_keys": "1"}, {"evictions": "warning"}),
        ({"evictions_allowed": False}, {"evicted_keys": "101"}, {"evictions": "critical"}),
        ({"evictions_allowed": False}, {"maxmemory_policy": "allkeys-lru"},
         {"evictions": "critical"}),
        ({}, {"connected_clients": "81"}, {"clients": "warning"}),
        ({}, {"connected_clients": "96"}, {"clients": "critical"}),
        ({}, {"maxclients": ""}, {"clients": "unknown"}),
        ({}, {"rejected_connections": "1"}, {"rejected connections": "warning"}),
        ({}, {"rejected_connections": "101"}, {"rejected connections": "critical"}),
        ({}, {"aof_last_write_status": "err"}, {"append-only file": "critical"}),
        ({}, {"aof_last_bgrewrite_status": "err"}, {"append-only file": "warning"}),
        ({}, {"rdb_last_bgsave_status": "err"}, {"snapshot": "critical"}),
        ({}, {"rdb_changes_since_last_save": "1"}, {"snapshot": "warning"}),
        ({"save_critical_seconds": 3000}, {"rdb_changes_since_last_save": "1"},
         {"snapshot": "critical"}),
        ({"replicas": 1}, {}, {"replicas": "critical"}),
        ({"replicas": 1}, ONE, {}),
        ({}, {"slave0": "state=wait_bgsave"}, {"replicas": "warning"}),
        ({}, {"slave0": "state=online,lag=16"}, {"replicas": "warning"}),
        ({}, {"slave0": "state=online,lag=61"}, {"replicas": "critical"}),
        ({}, {**UP, "master_last_io_seconds_ago": "1"}, {}),
        ({}, {**UP, "master_last_io_seconds_ago": "16"}, {"replica link": "warning"}),
        ({}, {**DOWN, "master_link_down_since_seconds": "1"}, {"replica link": "warning"}),
        ({}, {**DOWN, "master_link_down_since_seconds": "61"}, {"replica link": "critical"}),
        ({}, {**DOWN, "master_link_down_since_seconds": "-1"}, {"replica link": "warning"}),
    ],
)  # fmt: skip
def test_figures_are_judged(
    options: dict[str, t.Any], info: dict[str, str], found: dict[str, str]
) -> None:
    assert states(examined(options=options, **info)) == found


@pytest.mark.parametrize(
    ("expected", "info", "state", "value"),
    [
        ("primary", {}, "ok", "primary"),
        ("replica", UP, "ok", "replica of a:1"),
        ("primary", UP, "critical", "replica of a:1"),
        ("replica", {}, "critical", "primary"),
        ("primary", {"role": "sentinel"}, "critical", "sentinel"),
    ],
)
def test_another_role_than_the_expected_is_critical(
    expected: str, info: dict[str, str], state: str, value: str
) -> None:
    row = examined(options={"role": expected}, **info)["role"]
    assert (row.state, row.value, bool(row.advice)) == (state, value, state != "ok")


def test_without_an_expected_role_either_is_well() -> None:
    assert "role" not in {**examined(), **examined(options={}, **UP)}


@pytest.mark.parametrize(
    ("good", "needed", "state"),
    [
        ("2", "min-replicas-to-write 2", "ok"),
        ("1", "min-replicas-to-write 2", "critical"),
        ("0", "-NOPERM this user", "critical"),
        ("1", "-NOPERM this user", "unknown"),
    ],
)
def test_too_few_replicas_for_a_write_are_critical(good: str, needed: str, state: str) -> None:
    row = examined(needed=needed, min_slaves_good_slaves=good)["replicas for writes"]
    assert (row.state, row.value[:9]) == (state, f"{good} in time")


@pytest.mark.parametrize(
    ("said", "state", "value"),
    [
        ("cluster_state:ok\r\ncluster_slots_ok:16384\r\n", "ok", "ok, 16384 of 16384"),
        ("cluster_state:fail\r\ncluster_slots_ok:1\r\n", "critical", "fail, 1 of 16384"),
        ("-NOPERM this user", "unknown", "-NOPERM"),
        ("", "unknown", "nothing"),
    ],
)
def test_a_cluster_that_is_down_is_critical(said: str, state: str, value: str) -> None:
    row = examined(cluster=said, cluster_enabled="1")["cluster"]
    assert (row.state, row.value.startswith(value)) == (state, True)
    assert "cluster" not in examined(cluster=said, cluster_enabled="0")


def test_what_is_neither_logged_nor_saved_is_critical_only_where_it_must_last() -> None:
    assert states(examined(saves="save ", aof_enabled="0")) == {}
    rows = examined(saves="save ", aof_enabled="0", options={"persistent": True})
    assert states(rows) == {"persistence": "critical"}
    assert states(examined(saves="save ", options={"persistent": True})) == {}


def test_a_provider_who_took_a_command_away_knows_the_answer() -> None:
    gone = "-ERR unknown command 'CONFIG', with args beginning with: 'GET' 'save'"
    assert states(examined(saves=gone)) == {}
    assert states(examined(saves=gone, options={"persistent": True})) == {"snapshot": "unknown"}


def test_what_may_not_be_asked_is_unknown() -> None:
    rows = examined(saves="-NOPERM this user")
    assert states(rows) == {"snapshot": "unknown"}
    rows = examined(said="-NOPERM this user", options={"user": "shop"})
    assert states(rows) == {"figures": "unknown"}
    assert "ACL SETUSER shop +info" in rows["figures"].advice
    assert states(examined(said="")) == {"figures": "unknown"}


@pytest.mark.parametrize(
    ("pong", "advice"), [("-LOADING", "reads its data"), ("-NOPERM", "+ping"), ("-ERR", "journal")]
)
def test_another_answer_than_pong_is_critical(pong: str, advice: str) -> None:
    assert advice in examined(pong=pong)["ping"].advice
    rows = examined(pong=f"{pong} x", said="-ERR")
    assert states(rows) == {"ping": "critical"}


class Server:
    """Says the same to everyone."""

    def __init__(self, said: bytes) -> None:
        self.said, self.heard = said, b""
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        connection, _address = self.socket.accept()
        # One that is flooded hangs up first.
        with connection, contextlib.suppress(OSError):
            connection.sendall(self.said)
            connection.shutdown(socket.SHUT_WR)
            while data := connection.recv(4096):
                self.heard += data
        self.socket.close()


def ask(said: bytes, **given: t.Any) -> tuple[list[str], Server]:
    server = Server(said)
    check = defaults(port=server.port, **given)
    answers = _health_resp.ask(check, [["PING"], ["INFO"]], _health.Deadline(5))
    return answers, server


def test_answers_are_read_after_a_login() -> None:
    answers, server = ask(b"+OK\r\n+PONG\r\n$3\r\na\r\n\r\n", user="u", password="secret")
    assert answers == ["PONG", "a\r\n"]
    answers, server = ask(b":7\r\n*2\r\n$4\r\nsave\r\n$-1\r\n")
    assert answers == ["7", "save "]
    assert b"AUTH" not in server.heard
    assert ask(b"+OK\r\n+A\r\n-NOPERM x\r\n", password="p")[0] == ["A", "-NOPERM x"]


def test_a_user_without_a_password_is_not_taken_for_logged_in() -> None:
    with pytest.raises(_health.CannotCheck, match="shop has no password here") as refusal:
        ask(b"+PONG\r\n+x\r\n", user="shop")
    assert "passwords" in refusal.value.remedy
    # Whoever does not log in is this user.
    assert ask(b"+PONG\r\n+x\r\n", user="default")[0] == ["PONG", "x"]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"-WRONGPASS x\r\n", "no login as the default user: WRONGPASS x"),
        (b"", "closed the connection"),
        (b"+OK\r\nHTTP/1.1 400\r\n", "does not speak"),
        (b"+OK\r\n*999\r\n", "does not speak"),
        (b"+OK\r\n$2097152\r\n" + b"x" * 2_097_152, "it announces 2097152 bytes; at most"),
        (b"+OK\r\n$999999999999999\r\n", "it announces 999999999999999 bytes; at most"),
        (b"+OK\r\n$900000\r\n" + b"x" * 900_000 + b"\r\n$900000\r\n" + b"x" * 900_000,
         "more than"),
    ],
)  # fmt: skip
def test_what_is_no_answer_is_refused(said: bytes, words: str) -> None:
    with pytest.raises((_health.Unhealthy, ConnectionError), match=words):
        ask(said, password="p")


@pytest.mark.parametrize(
    ("said", "doing"),
    [(b"", "waiting for the first answer of"), (b"$999\r\nx", "reading the answers of")],
)
def test_one_that_hangs_is_told_from_one_that_drips(said: bytes, doing: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        deadline = _health.Deadline(2)
        port = server.getsockname()[1]
        asking = threading.Thread(target=ask_in_vain, args=(port, deadline))
        asking.start()
        connection, _address = server.accept()
        with connection:
            connection.sendall(said)
            asking.join()
    assert deadline.doing.startswith(doing)


def ask_in_vain(port: int, deadline: _health.Deadline) -> None:
    with contextlib.suppress(_health.Expired, TimeoutError):
        _health_resp.ask(defaults(port=port), [["PING"]], deadline)


def test_lists_in_lists_in_lists_are_not_followed() -> None:
    stream = t.cast(io.BufferedReader, io.BytesIO(b"*1\r\n" * 9))
    with pytest.raises(_health.Unhealthy, match="does not speak"):
        _health_resp.answer(stream)


def test_with_tls_the_connection_is_secured_first(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[t.Any] = []

    def secure(connection: t.Any, context: t.Any, name: str, deadline: t.Any) -> t.Any:
        seen.append((context, name))
        return connection

    monkeypatch.setattr(_health_net, "tls_context", lambda ca_file: f"context of {ca_file}")
    monkeypatch.setattr(_health_net, "secure", secure)
    assert ask(b"+PONG\r\n+x\r\n", tls=True, ca_file="/ca")[0] == ["PONG", "x"]
    assert seen == [("context of /ca", "127.0.0.1")]
