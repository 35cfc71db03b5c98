# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is made once for all: a PostgreSQL with its dumps, and an S3 server on a port."""

from __future__ import annotations

import pathlib
import socket
import subprocess
import sys
import time
import typing as t
from dataclasses import dataclass

import moto.server
import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _decode, _s3

from . import database as postgres
from . import repository as pgbackrest
from .store import Store


@dataclass(frozen=True)
class Dumps:
    """Dumps of the shop in every format, and of the two other databases."""

    server: postgres.Database
    custom: bytes
    uncompressed: bytes
    tar: bytes
    plain: bytes
    directory_tar: bytes
    blog: bytes
    void: bytes


@pytest.fixture(scope="session")
def dumps() -> t.Iterator[Dumps]:
    server = postgres.make()
    try:
        yield Dumps(
            server,
            server.dump("shop", "-Fc"),
            server.dump("shop", "-Fc", "-Z0"),
            server.dump("shop", "-Ft"),
            server.dump("shop"),
            server.directory_tar("shop"),
            server.dump("blog", "-Fc"),
            server.dump("void", "-Fc"),
        )
    finally:
        postgres.remove(server)


@pytest.fixture(scope="session")
def repositories() -> t.Iterator[pgbackrest.Repositories]:
    server, made = pgbackrest.make()
    try:
        yield made
    finally:
        postgres.remove(server)


@pytest.fixture(scope="session")
def endpoint() -> t.Iterator[str]:
    """The server of moto: HTTP on a port, like any other."""
    server = moto.server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def target(endpoint: str, request: pytest.FixtureRequest) -> _s3.Target:
    return _s3.Target(
        bucket=f"b{abs(hash(request.node.nodeid)):x}",
        prefix="night",
        endpoint_url=endpoint,
        access_key="AKIA1",
        secret_key="s3cr3t",
        addressing_style="path",
    )


@pytest.fixture
def store(dumps: Dumps, target: _s3.Target) -> Store:
    client = _s3.client(target)
    client.create_bucket(Bucket=target.bucket)
    return Store(client, target, dumps.server.installed)


@pytest.fixture
def rclone(
    dumps: Dumps, tmp_path: pathlib.Path, request: pytest.FixtureRequest
) -> t.Iterator[Store]:
    """A bucket on the other server, which checks signatures and knows no features."""
    (tmp_path / "backups").mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"127.0.0.1:{port}"
    # Who changes the folder after a first verdict must not be answered from memory.
    remembered = f"--dir-cache-time={getattr(request.module, 'REMEMBERED', '5m')}"
    command = ["rclone", "serve", "s3", str(tmp_path), "--addr", address, remembered]
    process = subprocess.Popen(
        [*command, "--auth-key", "lab,secret", "--config", "/dev/null", "--vfs-cache-mode=writes"],
        stderr=subprocess.DEVNULL,
        env={"PATH": f"{pathlib.Path(sys.executable).parent}", "HOME": str(tmp_path)},
    )
    try:
        _await(port)
        target = _s3.Target("backups", "", f"http://{address}", None, "lab", "secret", None, "path")
        yield Store(_s3.client(target), target, dumps.server.installed)
    finally:
        process.terminate()
        process.wait()


def _await(port: int) -> None:
    for _attempt in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("rclone does not listen")


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some archives keep pg_restore busy for ever; what proves it need not take a minute."""
    monkeypatch.setattr(_decode, "PATIENCE_AT_END", 4)
