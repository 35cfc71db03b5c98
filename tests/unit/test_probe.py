# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What counts as a healthy answer, asked of real sockets where there is something to ask."""

from __future__ import annotations

import http.server
import socketserver
import threading
import typing as t
from pathlib import Path

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _probe

CASES = [
    (200, b'{"status": "ok", "database": "ok", "redis": "ok"}', True),
    (200, b'{"database": true, "redis": "connected"}', True),
    (200, b'{"database": {"status": "up"}}', True),
    (200, b'{"database": "ok", "redis": "down"}', False),
    (200, b'{"database": false}', False),
    (200, b'{"database": {}}', False),
    (200, b"fine", True),
    (200, b"<h1>It works</h1>", True),
    (200, b'{"database": "er', True),
    (200, b'{"status": "serving"}', True),
    (200, b'{"status": "unhealthy"}', False),
    (200, b'{"Status": "ERROR"}', False),
    (200, b'{"checks": {"database": "error"}}', False),
    (200, b'{"Redis": "down"}', False),
    (200, b'[{"name": "database", "status": "down"}]', False),
    (200, b"[1]", True),
    (503, b'{"database": "ok", "redis": "ok"}', False),
    (301, b"", False),
]


@pytest.mark.parametrize(("status", "body", "healthy"), CASES)
def test_an_answer_is_judged(status: int, body: bytes, healthy: bool) -> None:
    assert _probe.judge(status, body, strict=True).healthy is healthy


def test_a_server_of_websockets_proves_itself_by_any_answer() -> None:
    assert _probe.judge(500, b"", strict=False).healthy


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


class _Handler(http.server.BaseHTTPRequestHandler):
    asked: t.ClassVar[list[tuple[str, str, str]]] = []

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers["Host"], self.headers["X-Forwarded-Proto"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"database": "ok"}')

    def log_message(self, *_: t.Any) -> None:
        """Say nothing."""


def test_a_unix_socket_is_asked_as_nginx_would(tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    with _Server(str(path), _Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = _probe.Endpoint(str(path), "/health/", "shop.example.com")
        assert _probe.ask(endpoint, 5).healthy
        server.shutdown()
    assert _Handler.asked == [("/health/", "shop.example.com", "https")]


def test_nobody_there_is_an_answer_too(tmp_path: Path) -> None:
    answer = _probe.ask(_probe.Endpoint(str(tmp_path / "none"), "/", "x"), 1)
    assert (answer.healthy, "no answer" in answer.detail) == (False, True)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def wait(answers: list[bool], deadline: float, alive: bool = True) -> tuple[bool, float]:
    clock = Clock()

    def ask(endpoint: _probe.Endpoint, timeout: float) -> _probe.Answer:
        return _probe.Answer(answers.pop(0) if len(answers) > 1 else answers[0], "")

    endpoint = _probe.Endpoint("/x", "/", "x")
    answer = _probe.wait(endpoint, deadline, clock, clock.sleep, ask, lambda: alive)
    return answer.healthy, clock.now


def test_waiting_ends_with_health() -> None:
    healthy, seconds = wait([False, False, True], 10)
    assert healthy
    assert seconds < 1


def test_waiting_ends_with_the_deadline() -> None:
    healthy, seconds = wait([False], 3)
    assert not healthy
    assert 3 <= seconds < 4


def test_waiting_ends_with_the_process() -> None:
    assert wait([False], 60, alive=False) == (False, 0)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "[::]", "*", "127.0.0.1"])  # noqa: S104
def test_a_server_on_a_port_is_asked_on_this_machine(host: str) -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        address = f"{host}:{server.server_address[1]}"
        assert _probe.ask(_probe.Endpoint(address, "/", "shop.example.com"), 5).healthy
        server.shutdown()


def test_an_address_of_ipv6_has_no_brackets_for_the_connection() -> None:
    assert _probe._connection("[fd00::1]:8000", 1).host == "fd00::1"
