# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ask an application over its own socket whether it is healthy."""

from __future__ import annotations

import dataclasses
import http.client
import json
import socket
import time
import typing as t

_GOOD = {"ok", "up", "connected", "healthy", "pass", "true"}
_PARTS = ("database", "redis")


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a probe learned."""

    healthy: bool
    detail: str


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """Where an application answers: a path of a unix socket, or host:port."""

    address: str
    path: str
    host: str
    strict: bool = True


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(endpoint: Endpoint, timeout: float) -> Answer:
    """One request; every failure is an answer."""
    connection = _connection(endpoint.address, timeout)
    try:
        headers = {"Host": endpoint.host, "X-Forwarded-Proto": "https", "Connection": "close"}
        connection.request("GET", endpoint.path, headers=headers)
        answer = connection.getresponse()
        return judge(answer.status, answer.read(65536), strict=endpoint.strict)
    except (OSError, http.client.HTTPException) as error:
        return Answer(False, f"no answer ({error or type(error).__name__})")
    finally:
        connection.close()


def judge(status: int, body: bytes, *, strict: bool) -> Answer:
    """Healthy means 200 and, where the answer names database and redis, that both are well."""
    if not strict:
        return Answer(True, f"HTTP {status}")
    shown = body[:300].decode("utf-8", "replace").strip()
    if status != http.client.OK:
        return Answer(False, f"HTTP {status} {shown}")
    try:
        report = json.loads(body)
    except ValueError:
        return Answer(True, f"HTTP {status}")
    parts = report if isinstance(report, dict) else {}
    for part in _PARTS:
        if part in parts and not well(parts[part]):
            return Answer(False, f"HTTP {status}, but {part} is {parts[part]!r}")
    return Answer(True, f"HTTP {status}")


def wait(
    endpoint: Endpoint,
    deadline: float,
    clock: t.Callable[[], float] = time.monotonic,
    sleep: t.Callable[[float], None] = time.sleep,
    ask: t.Callable[[Endpoint, float], Answer] = ask,
    alive: t.Callable[[], bool] = lambda: True,
) -> Answer:
    """Ask until the answer is healthy, nobody is left to answer, or the time is up."""
    end = clock() + deadline
    while True:
        answer = ask(endpoint, min(10.0, max(1.0, end - clock())))
        if answer.healthy or clock() >= end or not alive():
            return answer
        sleep(0.2)


def well(value: t.Any) -> bool:
    """Whether a part of a health answer, or its `status`, says that it is well."""
    if isinstance(value, dict):
        value = value.get("status", False)
    return str(value).lower() in _GOOD


def _connection(address: str, timeout: float) -> http.client.HTTPConnection:
    if address.startswith("/"):
        return _UnixConnection(address, timeout)
    host, _colon, port = address.rpartition(":")
    if host in ("", "0.0.0.0", "[::]", "*"):  # noqa: S104 - where a socket listens, not a bind
        host = "127.0.0.1"
    return http.client.HTTPConnection(host.strip("[]"), int(port), timeout=timeout)
