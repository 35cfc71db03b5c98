# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An S3 server that enforces policies, by HTTP for boto3 and by TLS for pgBackRest."""

from __future__ import annotations

import contextlib
import http.client
import json
import pathlib
import select
import socket
import ssl
import subprocess
import sys
import threading
import time
import typing as t
from dataclasses import dataclass

import boto3

OWNER = {"aws_access_key_id": "owner", "aws_secret_access_key": "owner"}


@dataclass(frozen=True)
class Keys:
    access_key: str
    secret_key: str


class Guarded:
    """moto in a process of its own: whether it enforces is one switch for all that it serves."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.port, self.tls_port = _free(), _free()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.certificate = folder / "server.crt"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.front = _front(folder, self.certificate, self.tls_port, self.port)
        _await(self.port)

    def client(self, name: str) -> t.Any:
        """The owner's; nobody checks these before the policies are enforced."""
        return boto3.client(name, endpoint_url=self.endpoint, region_name="us-east-1", **OWNER)

    def keys(self, name: str, policy: t.Mapping[str, t.Any]) -> Keys:
        iam = self.client("iam")
        iam.create_user(UserName=name)
        text = json.dumps(policy)
        iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=text)
        made = iam.create_access_key(UserName=name)["AccessKey"]
        return Keys(made["AccessKeyId"], made["SecretAccessKey"])

    def enforce(self) -> None:
        """From now on nobody may what no policy allows, the owner neither."""
        plain = {"Content-Type": "text/plain"}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("POST", "/moto-api/reset-auth", b"0", plain)
        assert connection.getresponse().status == 200
        connection.close()

    def stop(self) -> None:
        self.front.close()
        self.process.terminate()
        self.process.wait()


def _free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _await(port: int) -> None:
    for _attempt in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("moto does not listen")


def _front(
    folder: pathlib.Path, certificate: pathlib.Path, port: int, behind: int
) -> socket.socket:
    """moto's own TLS ends connections in a way that pgBackRest takes for an attack."""
    key = folder / "server.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listening = socket.create_server(("127.0.0.1", port))

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _address = listening.accept()
                threading.Thread(target=serve, args=(client,), daemon=True).start()

    def serve(client: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            secure = stack.enter_context(context.wrap_socket(client, server_side=True))
            server = stack.enter_context(socket.create_connection(("127.0.0.1", behind)))
            relay(secure, server)

    threading.Thread(target=accept, daemon=True).start()
    return listening


def relay(secure: ssl.SSLSocket, server: socket.socket) -> None:
    """Both ways in one thread: OpenSSL dies of two threads that use one connection."""
    ways: dict[socket.socket, socket.socket] = {secure: server, server: secure}
    while True:
        ready = [secure] if secure.pending() else select.select(list(ways), [], [])[0]
        for source in ready:
            data = source.recv(65536)
            if not data and source is server:
                secure.unwrap()
            if not data:
                return
            ways[source].sendall(data)
