"""A server that takes no more clients: what it holds is read from a /proc of our own."""

from __future__ import annotations

import os
import resource
import signal
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
    monkeypatch.setattr(os, "listdir", lambda _folder: ["0", "gone"])
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


SERVER = """
import select, socket
door = socket.socket(fileno=0)
first, _address = door.accept()
print("one", flush=True)
# As servers do that have many clients: one that already waits in accept() has its descriptor.
select.select([door], [], [])
try:
    door.accept()
except OSError as error:
    print(error.errno, flush=True)
first.recv(1)
"""


def test_a_real_server_accepts_no_more_and_keeps_whom_it_has(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
        command = [sys.executable, "-c", SERVER]
        server = subprocess.Popen(command, stdin=door.fileno(), stdout=subprocess.PIPE, text=True)
        with server, socket.create_connection(("127.0.0.1", port)) as client:
            output = t.cast(t.IO[str], server.stdout)
            assert output.readline() == "one\n"
            assert _drain.clients(server.pid, port) == 1
            # Its version is not known: a Python's would be newer than any PgBouncer.
            monkeypatch.setattr(_drain, "version_of", lambda _pid: ())
            assert _drain.main([str(server.pid), str(port), "0.2"]) == 0
            assert "1 clients stayed for 0.2 s" in capsys.readouterr().err
            assert resource.prlimit(server.pid, resource.RLIMIT_NOFILE)[0] == 0
            with socket.create_connection(("127.0.0.1", port)):
                assert output.readline() == "24\n"  # EMFILE
                # Who was turned away stays in the socket, for another that listens there.
                assert door.accept()[0]
            client.sendall(b".")


def test_nobody_to_wait_for_is_nothing_to_tell(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_drain, "stop_accepting", lambda _pid, _version: None)
    monkeypatch.setattr(_drain, "version_of", lambda _pid: ())
    monkeypatch.setattr(_drain, "clients", lambda _pid, _port: 0)
    assert _drain.main(["7", "6432", "10"]) == 0
    assert capsys.readouterr().err == ""


def test_one_that_knows_how_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *what: told.append(what))
    _drain.stop_accepting(7, (1, 24))
    assert told == [(7, signal.SIGTERM)]


def test_a_version_is_that_of_the_program_that_runs() -> None:
    assert _drain.version_of(os.getpid()) == sys.version_info[:2]
    with subprocess.Popen(["/usr/bin/sleep", "60"]) as nobody:
        assert len(_drain.version_of(nobody.pid)) == 2  # coreutils'
        nobody.kill()
    with subprocess.Popen(["/bin/dash", "-c", "while :; do sleep 1; done"]) as silent:
        assert _drain.version_of(silent.pid) == ()
        silent.kill()


def test_a_process_that_is_gone_has_no_clients(tmp_path: Path) -> None:
    assert _drain.clients(7, 6432, tmp_path) == 0
