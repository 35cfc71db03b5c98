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
_ILL = {"unhealthy", "error", "down", "fail", "failed", "failing", "critical", "unavailable"}
_ILL |= {"disconnected", "unreachable", "false"}
_PARTS = ("database", "redis")
# Where frameworks put what an answer says of its components.
_BELOW = ("checks", "components", "dependencies", "details", "services")


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
    """Healthy means 200 and nothing in it, nor of its database and redis, said not to be well."""
    if not strict:
        return Answer(True, f"HTTP {status}")
    shown = body[:300].decode("utf-8", "replace").strip()
    if status != http.client.OK:
        return Answer(False, f"HTTP {status} {shown}")
    try:
        report = json.loads(body)
    except ValueError:
        return Answer(True, f"HTTP {status}")
    if ill(report):
        return Answer(False, f"HTTP {status}, but its status is {shown}")
    for name, value in components(report, _PARTS):
        if not well(value):
            return Answer(False, f"HTTP {status}, but {name} is {value!r}")
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
    if isinstance(value, list):  # application/health+json has several of each
        return bool(value) and all(map(well, value))
    return word(value) in _GOOD


def ill(report: t.Any) -> bool:
    """Whether an answer says of the whole that it is not well; many words say that it is."""
    said = _small(report).get("status") if isinstance(report, dict) else None
    return str(said).lower() in _ILL


def word(value: t.Any) -> str:
    """What a part of an answer, or its `status`, says, in small letters."""
    if isinstance(value, list):
        return " ".join(map(word, value))
    if isinstance(value, dict):
        value = _small(value).get("status", False)
    return str(value).lower()


def components(report: t.Any, names: t.Iterable[str]) -> list[tuple[str, t.Any]]:
    """What an answer says of the components, however it is put; by each name as it was asked."""
    wanted, found = {name.lower(): name for name in names}, []
    for key, value in _pairs(report):
        if key in wanted:
            found.append((wanted[key], value))
        elif key in _BELOW:
            found += [(wanted[name], each) for name, each in _pairs(value) if name in wanted]
    return found


def _pairs(report: t.Any) -> list[tuple[str, t.Any]]:
    """The members of a mapping, or of a list of {name, status}; each as often as it is there."""
    if isinstance(report, dict):
        return [(str(key).lower(), value) for key, value in report.items()]
    listed = report if isinstance(report, list) else []
    rows = [_small(row) for row in listed if isinstance(row, dict)]
    return [(str(row.get("name")).lower(), row.get("status", False)) for row in rows]


def _small(report: dict[str, t.Any]) -> dict[str, t.Any]:
    return {str(key).lower(): value for key, value in report.items()}


def _connection(address: str, timeout: float) -> http.client.HTTPConnection:
    if address.startswith("/"):
        return _UnixConnection(address, timeout)
    host, _colon, port = address.rpartition(":")
    if host in ("", "0.0.0.0", "[::]", "*"):  # noqa: S104 - where a socket listens, not a bind
        host = "127.0.0.1"
    return http.client.HTTPConnection(host.strip("[]"), int(port), timeout=timeout)
