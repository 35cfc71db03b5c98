"""WebSocket servers that upgrade or do not, and talk, stammer or keep silent."""

from __future__ import annotations

import base64
import hashlib
import struct
import threading
import typing as t

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _health, _health_websocket
from health_fakes import Fake, Handler, Peer, examine, says
from websockets.sync.server import ServerConnection
from websockets.sync.server import serve as real_server

TEXT, CLOSE, PING, PONG, MORE = 0x81, 0x88, 0x89, 0x8A, 0x01
Serve = t.Callable[[Handler], Fake]


@pytest.fixture
def serve() -> t.Iterator[Serve]:
    fakes: list[Fake] = []

    def start(handler: Handler) -> Fake:
        fakes.append(Fake(handler))
        return fakes[-1]

    yield start
    for fake in fakes:
        fake.close()


def proof(request: str) -> bytes:
    key = next(line for line in request.split("\r\n") if line.startswith("Sec-WebSocket-Key"))
    accepted = f"{key.split()[1]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()
    return base64.b64encode(hashlib.sha1(accepted).digest())  # noqa: S324 - RFC 6455


def upgrade(peer: Peer) -> None:
    head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    peer.say(head + b"Sec-WebSocket-Accept: " + proof(peer.hear_request()) + b"\r\n\r\n")


def frame(kind: int, payload: bytes) -> bytes:
    return bytes([kind, len(payload)]) + payload


def talks(*frames: bytes) -> Handler:
    def handler(peer: Peer) -> None:
        upgrade(peer)
        for each in frames:
            peer.say(each)
        peer.wait()

    return handler


# A busy computer is slow, and that is not what most of these look for.
PATIENT = {"latency_warning_milliseconds": 30_000, "latency_critical_milliseconds": 60_000}


def ask(port: int, **options: t.Any) -> _health.Finding:
    check = {"url": f"ws://127.0.0.1:{port}/ws/", **PATIENT, **options}
    (finding,) = examine(_health_websocket, check)
    return finding


@pytest.mark.parametrize("size", [0, 20, 200, 40_000, 70_000])
def test_a_real_server_echoes(size: int) -> None:
    origins: list[str] = []

    def echo(connection: ServerConnection) -> None:
        origins.append(t.cast(t.Any, connection.request).headers["Origin"])
        connection.send("welcome")
        for message in connection:
            connection.ping()
            connection.send(message)

    with real_server(echo, "127.0.0.1", 0) as server:
        port = server.socket.getsockname()[1]
        with Running(server):
            finding = ask(port, expect="echo", text="x" * size, message_limit_bytes=100_000)
    assert finding.state == "ok", finding
    assert finding.value.startswith("echo in ")
    assert origins == [f"http://127.0.0.1:{port}"]


class Running:
    """A real server in a thread for as long as a test asks it."""

    def __init__(self, server: t.Any) -> None:
        self._server = server

    def __enter__(self) -> None:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()


@pytest.mark.parametrize(
    ("expect", "frames", "value"),
    [
        ("upgrade", [], "upgraded in "),
        ("first_message", [frame(TEXT, b"hello")], "first message in "),
        ("first_message", [frame(PING, b"p"), frame(PONG, b""), frame(TEXT, b"x")], "first mess"),
        ("first_message", [frame(MORE, b"he"), frame(0x80, b"llo")], "first message in "),
        ("first_message", [bytes([TEXT, 126]) + struct.pack(">H", 3) + b"abc"], "first message"),
        ("first_message", [bytes([TEXT, 127]) + struct.pack(">Q", 3) + b"abc"], "first message"),
    ],
)
def test_a_good_server_is_ok(serve: Serve, expect: str, frames: list[bytes], value: str) -> None:
    finding = ask(serve(talks(*frames)).port, expect=expect)
    assert (finding.state, finding.value.startswith(value)) == ("ok", True), finding


def no_more(peer: Peer) -> None:
    upgrade(peer)


@pytest.mark.parametrize(
    ("handler", "state", "value"),
    [
        (talks(frame(CLOSE, struct.pack(">H", 1011) + b"no")), "critical",
         "upgraded, but the server closed with 1011 no"),
        (talks(frame(TEXT, b"hello"), frame(CLOSE, b"")), "ok", "upgraded in "),
        (talks(frame(PING, b""), frame(CLOSE, b"")), "critical",
         "upgraded, but the server closed with no reason"),
        (talks(frame(CLOSE, struct.pack(">H", 1000))), "ok", "upgraded in "),
        (no_more, "critical", "watching whether it stays open: the server hung up"),
    ],
)  # fmt: skip
def test_an_upgrade_that_does_not_last_is_told(
    serve: Serve, handler: Handler, state: str, value: str
) -> None:
    finding = ask(serve(handler).port, expect="upgrade")
    assert (finding.state, finding.value.startswith(value)) == (state, True), finding


def drip(peer: Peer) -> None:
    upgrade(peer)
    peer.drip(frame(TEXT, b"x" * 100))


def pings_only(peer: Peer) -> None:
    upgrade(peer)
    while not peer.over.wait(0.02):
        peer.say(frame(PING, b"still here"))


def never_the_last(peer: Peer) -> None:
    upgrade(peer)
    peer.say(frame(MORE, b"x" * 100))
    while not peer.over.is_set():
        peer.say(frame(0x00, b"x" * 100))


def hangs_up(peer: Peer) -> None:
    upgrade(peer)
    peer.say(b"\x81\x05he")


WRONG_PROOF = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\n\r\n"


@pytest.mark.parametrize(
    ("handler", "value"),
    [
        (says(b"HTTP/1.1 404 Not Found\r\n\r\n"), "404 Not Found: not upgraded"),
        (says(b"HTTP/1.1 200 OK\r\n\r\n"), "200 OK: not upgraded"),
        (says(WRONG_PROOF), "101, but without the proof of a WebSocket server"),
        (lambda peer: peer.wait(), "waiting for the first byte of the answer: not done within"),
        (talks(), "waiting for the first message: not done within 1 s"),
        (drip, "waiting for the first message: not done within 1 s"),
        (pings_only, "waiting for the first message: "),
        (never_the_last, "the message is too large: over 1000 bytes"),
        (hangs_up, "waiting for the first message: the server hung up"),
        (talks(bytes([TEXT, 127]) + struct.pack(">Q", 2**62)), "the message is too large"),
        (talks(b"\x81\x81\x00\x00\x00\x00x"), "the server masks its frames"),
        (
            talks(bytes([PING, 127]) + struct.pack(">Q", 65_536) + b"x" * 65_536),
            "a ping or a close of 65536 bytes, of at most 125",
        ),
        (talks(b"\x83\x00"), "a frame of an unknown kind, 3"),
        (
            talks(frame(CLOSE, struct.pack(">H", 1008) + b"no\x1b")),
            "the server closed with 1008 no",
        ),
        (talks(frame(CLOSE, b"")), "the server closed with no reason"),
    ],
)
def test_a_bad_server_is_told_by_name_in_time(serve: Serve, handler: Handler, value: str) -> None:
    finding = ask(serve(handler).port, expect="first_message", message_limit_bytes=1000)
    assert (finding.state, finding.value.startswith(value)) == ("critical", True), finding


def test_an_echo_of_something_else_is_none(serve: Serve) -> None:
    def babble(peer: Peer) -> None:
        upgrade(peer)
        while not peer.over.wait(0.05):
            peer.say(frame(TEXT, b"something else"))

    finding = ask(serve(babble).port, expect="echo", advice="ask Ada")
    assert finding.value == "waiting for the echo: not done within 1 s"
    assert finding.advice == "ask Ada"


def test_latency_has_two_limits(serve: Serve) -> None:
    def slow(peer: Peer) -> None:
        peer.over.wait(0.2)
        upgrade(peer)
        peer.wait()

    fake = serve(slow)
    assert ask(fake.port, latency_warning_milliseconds=100).state == "warning"
    assert ask(fake.port, latency_critical_milliseconds=100).state == "critical"


def test_the_url_must_be_one_of_websockets(serve: Serve) -> None:
    finding = ask(0, url="http://127.0.0.1/")
    assert (finding.state, finding.advice) == ("unknown", "write ws:// or wss://<host>/<path>")
