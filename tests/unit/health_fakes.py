"""Servers on loopback that behave, or misbehave, as a test wants; and certificates for them."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import socket
import ssl
import struct
import threading
import time
import typing as t
from pathlib import Path

from ansible_collections.slipway.stack.plugins.module_utils import _health
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

# What every wait in these tests ends at; nothing that works comes near it.
SECONDS = 1.0
GENEROUS = 6.0

Handler = t.Callable[["Peer"], None]


class Peer:
    """The server's side of one connection."""

    def __init__(self, connection: socket.socket, over: threading.Event, number: int) -> None:
        self.connection, self.over, self.number = connection, over, number
        self.sent = 0

    def say(self, data: bytes) -> None:
        self.connection.sendall(data)
        self.sent += len(data)

    def hear_request(self) -> str:
        """The request's head; empty when the client went away."""
        heard = b""
        while b"\r\n\r\n" not in heard:
            part = self.connection.recv(4096)
            if not part:
                return ""
            heard += part
        return heard.decode("latin-1")

    def drip(self, data: bytes) -> None:
        """A byte every tenth of a second, so that no single wait is ever long."""
        for byte in data:
            if self.over.wait(0.1):
                return
            self.say(bytes([byte]))

    def wait(self) -> None:
        self.over.wait(30)

    def reset(self) -> None:
        """Leave as a crashed process does: RST instead of FIN."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


class Fake:
    """A server that hands every connection to `handler` in a thread of its own."""

    def __init__(self, handler: Handler, tls: ssl.SSLContext | None = None) -> None:
        self._handler, self._tls = handler, tls
        self.over = threading.Event()
        self.peers: list[Peer] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _address = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.settimeout(30)
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
            peer = Peer(connection, self.over, len(self.peers))
            self.peers.append(peer)
            self._handler(peer)
            connection.close()

    def close(self) -> None:
        self.over.set()
        # Only this wakes a thread that waits in accept().
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    @property
    def sent(self) -> int:
        return sum(peer.sent for peer in self.peers)


def answer(body: bytes = b"", status: str = "200 OK", **headers: str) -> bytes:
    """One HTTP answer; an underscore in a header's name stands for a dash."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def says(data: bytes) -> Handler:
    def handler(peer: Peer) -> None:
        peer.hear_request()
        peer.say(data)

    return handler


def full_listener() -> tuple[list[socket.socket], int]:
    """A port whose queue is full: the kernel answers no further SYN, as a dropping firewall."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    kept = [listener]
    for _each in range(4):
        connection = socket.socket()
        connection.setblocking(False)
        connection.connect_ex(listener.getsockname())
        kept.append(connection)
    time.sleep(0.1)
    return kept, listener.getsockname()[1]


def examine(
    kind: _health.Kind, check: _health.Check, seconds: float = SECONDS
) -> list[_health.Finding]:
    """As the modules do it; to be late, generously counted, is the failure looked for."""
    options = {name: option.get("default") for name, option in kind.OPTIONS.items()}
    started = time.monotonic()
    found = _health.examine([(kind, {**options, "name": "it", **check})], seconds)
    assert time.monotonic() - started < seconds + GENEROUS, "did not return in time"
    return found


class Certificates:
    """A private authority and what it signed, as files."""

    def __init__(self, directory: Path, above: Certificates | None = None) -> None:
        self.directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        kind = "intermediate" if above else "authority"
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Fake {kind}")])
        now = datetime.datetime.now(datetime.UTC)
        self.now = now
        signer = above or self
        own = signer._builder(self._name, self._key, now, now + datetime.timedelta(days=3650))
        own = own.add_extension(x509.BasicConstraints(True, None), critical=True)
        self.authority = directory / f"{kind}.pem"
        self._write(self.authority, own.sign(signer._key, hashes.SHA256()))

    def _builder(
        self, name: x509.Name, key: t.Any, begins: t.Any, ends: t.Any
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(ends)
        )

    @staticmethod
    def _write(path: Path, certificate: x509.Certificate) -> None:
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def make(
        self, stem: str, age: float = 10, left: float = 80, name: str = "shop.test"
    ) -> tuple[Path, Path]:
        """A certificate `age` days old with `left` days to go, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        begins = self.now - datetime.timedelta(days=age)
        ends = self.now + datetime.timedelta(days=left)
        names: list[x509.GeneralName] = [x509.DNSName(name)]
        names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.2")))
        builder = self._builder(subject, key, begins, ends)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        chain, private = self.directory / f"{stem}.pem", self.directory / f"{stem}.key"
        self._write(chain, builder.sign(self._key, hashes.SHA256()))
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return chain, private


def server_context(pair: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    return context
