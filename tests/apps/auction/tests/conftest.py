"""A PostgreSQL and a Redis of our own, on spare loopback ports, for as long as the tests run."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import django
import psycopg
import pytest
import redis
from django.core.management import call_command

# What the application's Redis user may do, and nothing more: the README gives the same line.
REDIS_COMMANDS = (
    "+@read +@write +@transaction -@dangerous -scan -randomkey +select +ping +time"
    " +publish +psubscribe +punsubscribe +eval +evalsha +script|load +script|exists"
)
# To PSUBSCRIBE, Redis wants the very pattern allowed: `auction:*` covers PUBLISH alone.
REDIS_CHANNELS = "&auction:* &auction:/0.celery.pidbox &auction:/0.celeryev/worker.*"
_processes: list[subprocess.Popen[bytes]] = []
_folder = Path(tempfile.mkdtemp(prefix="auction-tests-"))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for_port(port: int, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on port {port} after {seconds} s")


def _start(port: int, *command: str | Path, user: str | None = None) -> None:
    with (_folder / f"{port}.log").open("wb") as log:
        _processes.append(subprocess.Popen(command, stdout=log, stderr=log, user=user))
    wait_for_port(port)


def _start_postgres() -> str:
    newest = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: float(p.parent.name))
    programs = newest[-1] if newest else Path(str(shutil.which("postgres"))).parent
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    data, port = _folder / "postgres", free_port()
    data.mkdir()
    _folder.chmod(0o755)
    if user:
        shutil.chown(data, user)
    initdb = [programs / "initdb", "--auth=trust", "--username=auction", "--no-sync", "-D", data]
    subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, user=user)
    options = f"-p {port} -h 127.0.0.1 -k {data} -c fsync=off -c max_connections=50".split()
    _start(port, programs / "postgres", "-D", data, *options, user=user)
    return f"postgresql://auction@127.0.0.1:{port}/postgres"


def _start_redis() -> tuple[str, str]:
    port = free_port()
    config = _folder / "redis.conf"
    config.write_text(
        f"port {port}\nbind 127.0.0.1\nsave ''\ndir {_folder}\n"
        "user default off\nuser admin on >secret ~* &* +@all\n"
        f"user auction on >p%40ss resetchannels ~auction:* {REDIS_CHANNELS} {REDIS_COMMANDS}\n"
    )
    _start(port, "redis-server", config)
    return f"redis://auction:p%2540ss@127.0.0.1:{port}", f"redis://admin:secret@127.0.0.1:{port}"


@pytest.hookimpl(tryfirst=True)
def pytest_configure() -> None:
    """Before pytest-django reads the settings."""
    redis_url, redis_admin_url = _start_redis()
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "auction.settings",
        "SECRET_KEY": "only for the tests",
        "ALLOWED_HOSTS": "auction.example",
        "CSRF_TRUSTED_ORIGINS": "https://auction.example",
        "DATABASE_URL": _start_postgres(),
        "BROKER_URL": f"{redis_url}/0",
        "CACHE_URL": f"{redis_url}/1",
        "REDIS_KEY_PREFIX": "auction:",
        "REDIS_ADMIN_URL": redis_admin_url,
        "STATIC_ROOT": str(_folder / "static"),
        "MEDIA_ROOT": str(_folder / "media"),
    }
    django.setup()


def pytest_unconfigure() -> None:
    for process in reversed(_processes):
        process.terminate()
        process.wait(20)
    shutil.rmtree(_folder)


@pytest.fixture(scope="session")
def redis_admin() -> Iterator[redis.Redis]:
    with redis.Redis.from_url(os.environ["REDIS_ADMIN_URL"], decode_responses=True) as client:
        yield client


@pytest.fixture(scope="session")
def empty_database() -> str:
    """A second database, for processes that see only what is committed."""
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("CREATE DATABASE processes")
    return os.environ["DATABASE_URL"].removesuffix("postgres") + "processes"


@pytest.fixture(scope="session", autouse=True)
def collected() -> None:
    call_command("collectstatic", "--noinput", verbosity=0)
