# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The own tests of the applications in tests/apps, from their locks, on servers of their own.

Not those of atlas, which wants PostGIS: molecule/guides runs them, in the release that serves.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.lab import shell, venv
from tests.verification import database

ROOT = Path(__file__).resolve().parents[2]
APPS = ROOT / "tests" / "apps"
CACHE = ROOT / ".cache" / "applications"
DJANGO = ("python manage.py test --verbosity 0",)
FASTAPI = ("alembic upgrade head", "python -m unittest --quiet")
COMMANDS = {
    "auction": ("python -m pytest --quiet -p no:cacheprovider",),  # starts its own servers
    "ecommerce": DJANGO,
    "ecommerce_ai": FASTAPI,
    "parkme": DJANGO,
    "propflow": FASTAPI,
}
# What Slipway tells them, but for their servers.
TOLD = {
    "SECRET_KEY": "only for the tests",
    "ALLOWED_HOSTS": "example.com",
    "CSRF_TRUSTED_ORIGINS": "https://example.com",
    "CORS_ALLOWED_ORIGINS": "https://example.com",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_STORAGE_BUCKET_NAME": "nowhere",
    "S3_BUCKET": "nowhere",
    # Molecule copies the folders as they are.
    "PYTHONPYCACHEPREFIX": str(CACHE / "bytecode"),
}


def test() -> None:
    """Run the tests of every application; the first that fails is a LabError."""
    shell.require({"node": "nodejs", "redis-server": "redis-server"}, purpose="applications use it")
    for package in sorted(APPS.glob("*/package.json")):
        shell.say(package.parent.name)
        shell.stream("env", f"--chdir={package.parent}", "node", "--test")
    uv = venv.tools("applications") / "uv"
    with _servers() as (postgres, redis):
        for name, commands in COMMANDS.items():
            shell.say(name)
            programs = _locked(uv, name)
            told = {**TOLD, **_services(postgres, redis, name), "REDIS_KEY_PREFIX": f"{name}:"}
            for command in commands:
                program, *arguments = command.split()
                here = ("env", f"--chdir={APPS / name}", str(programs / program))
                shell.stream(*here, *arguments, environment=told)


def _locked(uv: Path, name: str) -> Path:
    """The programs of what the application's lock names, which has to fit its pyproject.toml."""
    home = CACHE / name
    shell.stream(
        *(str(uv), "sync", "--quiet", "--locked", f"--project={APPS / name}"),
        f"--python={sys.executable}",
        environment={"UV_PROJECT_ENVIRONMENT": str(home)},
    )
    return home / "bin"


@contextlib.contextmanager
def _servers() -> Iterator[tuple[database.Database, Path]]:
    """A PostgreSQL and a Redis that are reached by their sockets alone."""
    postgres = database.serve()
    place = postgres.place
    command = ["redis-server", "--port", "0", "--unixsocket", str(place / "redis"), "--save", ""]
    try:
        with (place / "redis.log").open("wb") as log:
            redis = subprocess.Popen([*command, "--dir", str(place)], stdout=log, stderr=log)
        try:
            for _again in range(100):
                if (place / "redis").exists():
                    break
                time.sleep(0.1)
            yield postgres, place / "redis"
        finally:
            redis.terminate()
            redis.wait()
    finally:
        database.remove(postgres)


def _services(postgres: database.Database, redis: Path, name: str) -> dict[str, str]:
    """New databases for the application, and where they are."""
    urls = []
    for made in (name, f"{name}_replica"):
        postgres.sql("postgres", f"CREATE DATABASE {made}")
        urls.append(f"postgresql://postgres@/{made}?host={postgres.place}")
    return {
        "DATABASE_URL": urls[0],
        "DATABASE_REPLICA_URL": urls[1],
        "BROKER_URL": f"unix://{redis}",
        "CACHE_URL": f"unix://{redis}",
    }
