"""A server that takes no more clients: what it holds is read from a /proc of our own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _drain

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when uid  timeout inode"


def row(port: int, state: str, inode: int) -> str:
    counters = "00000000:00000000 00:00000000 00000000   105        0"
    return (
        f"   0: 0100007F:{port:04X} 0100007F:C350 {state} {counters} {inode} 1 0000 20 4 30 10 -1"
    )


def machine(proc: Path, held: list[str], rows: list[str]) -> Path:
    home = proc / "7"
    (home / "fd").mkdir(parents=True)
    (home / "net").mkdir()
    for number, target in enumerate(held):
        (home / "fd" / str(number)).symlink_to(target)
    (home / "net/tcp").write_text("\n".join([HEAD, *rows]) + "\n")
    return proc


def test_clients_are_its_own_connections_to_the_port(tmp_path: Path) -> None:
    held = ["/dev/null", "socket:[11]", "socket:[12]", "socket:[13]", "socket:[14]"]
    rows = [
        row(6432, "01", 11),
        row(6432, "0A", 12),  # where it listens
        row(5432, "01", 13),  # its own way to the database
        row(6432, "01", 99),  # a client of another process on the same socket
        row(6432, "01", 14),
    ]
    assert _drain.clients(7, 6432, machine(tmp_path, held, rows)) == 2


def test_a_descriptor_that_closes_meanwhile_is_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proc = machine(tmp_path, ["socket:[11]"], [row(6432, "01", 11)])
    monkeypatch.setattr(os, "listdir", lambda _folder: ["0", "99"])
    assert _drain.clients(7, 6432, proc) == 1


class Clock:
    def __init__(self) -> None:
        self.moment = 0.0

    def now(self) -> float:
        return self.moment

    def sleep(self, seconds: float) -> None:
        self.moment += seconds


def test_it_is_over_when_nobody_is_left_or_the_time_is() -> None:
    clock, counts = Clock(), iter([2, 1, 0])
    assert _drain.drain(lambda: next(counts), 10, clock.now, clock.sleep) == 0
    assert clock.moment < 1
    assert _drain.drain(lambda: 3, 10, clock.now, clock.sleep) == 3
    assert 10 <= clock.moment < 11


# What libevent does: it watches the socket in an epoll, and accepts whoever knocks there.
SERVER = """
import select, socket, sys
door = socket.socket(fileno=int(sys.argv[1]))
watcher = select.epoll()
watcher.register(door, select.EPOLLIN)
held = {}
print("watching", flush=True)
while True:
    for number, _event in watcher.poll():
        if number == door.fileno():
            came, _address = door.accept()
            held[came.fileno()] = came
            watcher.register(came, select.EPOLLIN)
            print("accepted", flush=True)
        else:
            # Later work for whom it has: another connection, which needs another descriptor.
            said = held[number].recv(1)
            socket.create_connection(door.getsockname()).close()
            print("served", said.decode(), flush=True)
            sys.exit()
"""


@pytest.fixture
def door() -> t.Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as door:
        door.settimeout(20)
        yield door


@pytest.fixture
def server(door: socket.socket) -> t.Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", SERVER, str(door.fileno())]
    with subprocess.Popen(
        command, pass_fds=[door.fileno()], stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert heard(server) == "watching"
            yield server
        finally:
            server.kill()


def heard(server: subprocess.Popen[str]) -> str:
    return t.cast(t.IO[str], server.stdout).readline().strip()


def test_a_real_server_accepts_no_more_and_serves_whom_it_has(
    door: socket.socket, server: subprocess.Popen[str], capsys: pytest.CaptureFixture[str]
) -> None:
    port = door.getsockname()[1]
    with socket.create_connection(door.getsockname()) as client:
        assert heard(server) == "accepted"
        assert _drain.main([str(server.pid), str(port), "0.2"]) == 0
        assert "1 clients stayed for 0.2 s" in capsys.readouterr().err
        with socket.create_connection(door.getsockname()):
            # Whoever comes now is left to another that listens there.
            assert door.accept()[0]
            client.sendall(b"x")
            assert heard(server) == "served x"
    server.wait()
    assert _drain.clients(server.pid, port) == 0


def test_nobody_to_wait_for_is_nothing_to_tell(
    door: socket.socket, server: subprocess.Popen[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for _time in range(2):  # what is no longer watched need not be taken away
        assert _drain.main([str(server.pid), str(door.getsockname()[1]), "10"]) == 0
    assert capsys.readouterr().err == ""


def test_who_may_not_look_into_the_server_says_so(
    server: subprocess.Popen[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(_drain, "_PIDFD_GETFD", 1 << 20)  # no such call
    assert _drain.main([str(server.pid), "6432", "10"]) == 1
    assert "cannot be kept from accepting clients: " in capsys.readouterr().err


@pytest.mark.parametrize(("state", "busy"), [("R", True), ("S", False)])
def test_a_server_that_sleeps_has_seen_to_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, busy: bool
) -> None:
    monkeypatch.setattr(_drain, "PROC", tmp_path)
    assert not _drain.is_busy(7)  # it has ended
    (tmp_path / "7").mkdir()
    (tmp_path / "7/stat").write_text(f"7 (a) R (b) {state} 1 7")
    assert _drain.is_busy(7) is busy
