# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Also runs outside Ansible, where no run_command is. pylint: disable=ansible-bad-function
"""One database into one file: dumped, read back to the end, counted in the same snapshot."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import re
import subprocess
import tempfile
import typing as t
from dataclasses import dataclass, field

from . import _errors, _schema

try:
    import psycopg2
    import psycopg2.sql
except ImportError:  # reported by connect(), where it can be a sentence
    psycopg2 = None

CLIENTS = pathlib.Path("/usr/lib/postgresql")
LOCK_WAIT = "300s"
# Tables that are counted in one transaction, which locks each of them and its indexes to its end.
COUNTED_TOGETHER = 20
NO_TIMEOUT = "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0"

Connection = t.Any

# Not those of an extension: CREATE EXTENSION brings their rows. pg_dump takes at most those that
# were added to one of its configuration, as PostGIS' spatial_ref_sys.
TABLES = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't'
  AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                  AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1, 2
"""


# Of those that this role may dump: at a provider there are some of the provider's own.
DATABASES = """
SELECT datname FROM pg_database
WHERE datallowconn AND NOT datistemplate AND datname <> 'postgres'
  AND pg_has_role(datdba, 'MEMBER')
ORDER BY 1
"""


@dataclass(frozen=True)
class Facts:
    """What the database says of itself before it is dumped."""

    server_version: str
    major: int
    extensions: dict[str, str]
    sequences: dict[str, int]
    schema: str


@dataclass(frozen=True)
class Counted:
    """What was read in the snapshot of a dump while pg_dump read it too."""

    tables: dict[str, int] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Client:
    """One installed major of pg_dump and pg_restore."""

    major: int
    directory: pathlib.Path

    def program(self, name: str) -> str:
        return str(self.directory / name)


@contextlib.contextmanager
def connected(database: str, port: int) -> t.Iterator[Connection]:
    """A session whose one transaction holds the snapshot that everything is read in."""
    if psycopg2 is None:
        raise _errors.BackupError("Python's psycopg2 is missing: install python3-psycopg2.")
    try:
        connection = psycopg2.connect(dbname=database, port=port, connect_timeout=10)
    except psycopg2.Error as error:
        raise _errors.BackupError(f"cannot connect: {_one_line(error)}.") from error
    try:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        yield connection
    except psycopg2.Error as error:
        raise _errors.BackupError(f"the server refused: {_one_line(error)}.") from error
    finally:
        connection.close()


def databases(connection: Connection) -> list[str]:
    """Those of the server that somebody could miss."""
    with connection.cursor() as cursor:
        cursor.execute(DATABASES)
        return [str(name) for (name,) in cursor.fetchall()]


def size(connection: Connection) -> int:
    """In a transaction of its own, because whoever has asked may have to wait for room."""
    with connection.cursor() as cursor:
        cursor.execute(NO_TIMEOUT)
        cursor.execute("SELECT pg_database_size(current_database())")
        found = int(cursor.fetchone()[0])
    connection.commit()
    return found


def facts(connection: Connection) -> Facts:
    with connection.cursor() as cursor:
        cursor.execute(NO_TIMEOUT)
        cursor.execute("SELECT extname, extversion FROM pg_extension ORDER BY 1")
        extensions = {str(name): str(version) for name, version in cursor.fetchall()}
        cursor.execute(_schema.SEQUENCES)
        sequences = dict(cursor.fetchone()[0])
        connection.commit()  # or each sequence stays locked as long as the dump takes
        cursor.execute(_schema.FINGERPRINT)
        schema = str(cursor.fetchone()[0])
        cursor.execute("SHOW server_version")
        version = str(cursor.fetchone()[0])
    major = connection.server_version // 10_000
    return Facts(version, major, extensions, sequences, schema)


def client_for(server_major: int, installed: pathlib.Path | None = None) -> Client:
    """The client of the server's own major, else the oldest newer one; an older one cannot dump."""
    found = sorted(
        (
            Client(int(path.parent.parent.name), path.parent)
            for path in (installed or CLIENTS).glob("*/bin/pg_dump")
            if path.parent.parent.name.isdigit()
        ),
        key=lambda client: client.major,
    )
    for client in found:
        if client.major >= server_major:
            return client
    newest = f"the newest installed is {found[-1].major}" if found else "none is installed"
    raise _errors.BackupError(
        f"no pg_dump can read PostgreSQL {server_major}, {newest}: "
        f"install postgresql-client-{server_major}."
    )


def compression(client: Client) -> str:
    """zstd where both pg_dump and pg_restore know it, else gzip.

    At their fastest: rows that hardly repeat come out no larger, and level 3 of zstd takes twice as
    long for them. Text that repeats much comes out a fifth larger.
    """
    return "zstd:1" if client.major >= 16 else "gzip:1"


def dump(
    connection: Connection,
    client: Client,
    database: str,
    path: pathlib.Path,
    hashed_tables: t.Collection[str] = (),
) -> Counted:
    """Write the dump to `path`; while it runs, count every table in the very same snapshot."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_export_snapshot()")
        snapshot = str(cursor.fetchone()[0])
    method = compression(client)
    command = [
        client.program("pg_dump"),
        "--format=custom",
        f"--compress={method if client.major >= 16 else method.partition(':')[2]}",
        f"--snapshot={snapshot}",
        f"--lock-wait-timeout={LOCK_WAIT}",
        "--no-password",
        f"--file={path}",
    ]
    with _running(command, database, connection.info.port) as finish:
        tables = count_rows(connection, database, snapshot)
        counted = Counted(
            tables,
            revisions(connection, tables),
            content_hashes(connection, [name for name in hashed_tables if name in tables]),
        )
        finish()
    return counted


def count_rows(connection: Connection, database: str, snapshot: str) -> dict[str, int]:
    """In the snapshot, a few tables at a time: the server has only so many locks for all."""
    with connection.cursor() as cursor:
        cursor.execute(TABLES)
        names = list(cursor.fetchall())
    tables = {}
    with connected(database, connection.info.port) as beside, beside.cursor() as cursor:
        for begin in range(0, len(names), COUNTED_TOGETHER):
            cursor.execute(NO_TIMEOUT)
            cursor.execute(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
            for schema, table in names[begin : begin + COUNTED_TOGETHER]:
                name = psycopg2.sql.Identifier(schema, table)
                cursor.execute(psycopg2.sql.SQL("SELECT count(*) FROM ONLY {}").format(name))
                tables[f"{schema}.{table}"] = int(cursor.fetchone()[0])
            beside.commit()
    return tables


def revisions(connection: Connection, tables: t.Iterable[str]) -> dict[str, str]:
    """The migrations that the database has seen, by Django application, or of Alembic."""
    found: dict[str, str] = {}
    with connection.cursor() as cursor:
        for query in filter(None, map(_schema.revision_query, tables)):
            cursor.execute(query)
            found |= {str(name): str(revision) for name, revision in cursor.fetchall() if revision}
    return found


def content_hashes(connection: Connection, tables: t.Collection[str]) -> dict[str, str]:
    found = {}
    with connection.cursor() as cursor:
        if tables:
            cursor.execute(_schema.HASH_SETTINGS)
        for table in tables:
            cursor.execute(_schema.content_hash(table))
            found[table] = str(cursor.fetchone()[0])
    return found


def roles(client: Client, port: int) -> str:
    """The SQL of roles and memberships, which no dump of a database has; without passwords."""
    command = [client.program("pg_dumpall"), "--globals-only", "--no-role-passwords"]
    done = subprocess.run(
        [*command, f"--port={port}", "--no-password"],
        env=_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise _failed(command[0], done.returncode, done.stderr)
    return done.stdout


def _environment() -> dict[str, str]:
    """Ours without the keys of the bucket, which are none of the clients' business."""
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}


@contextlib.contextmanager
def _running(command: list[str], database: str, port: int) -> t.Iterator[t.Callable[[], None]]:
    """Run pg_dump beside us; `finish` waits and judges. Leaving early stops it."""
    # The name goes by the environment: as an argument libpq would parse one with = in it.
    environment = {**_environment(), "PGDATABASE": database, "PGPORT": str(port)}
    with tempfile.TemporaryFile("w+") as complaints:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stderr=complaints
        )

        def finish() -> None:
            if process.wait() != 0:
                complaints.seek(0)
                raise _failed(command[0], process.returncode, complaints.read())

        try:
            yield finish
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()


def require_readable(client: Client, path: pathlib.Path) -> None:
    """Read the dump to its last byte, as a restore would: a table of contents proves nothing."""
    command = [client.program("pg_restore"), "--file=/dev/null", str(path)]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise _failed(command[0], done.returncode, done.stderr)


def client_version(client: Client) -> str:
    done = subprocess.run(
        [client.program("pg_dump"), "--version"], capture_output=True, text=True, check=False
    )
    found = re.search(r"\d+(\.\d+)*", done.stdout)
    return found.group() if found else str(client.major)


def sha256(path: pathlib.Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for chunk in iter(lambda: file.read(1024 * 1024), b""):
            digest.update(chunk)
    return digest.hexdigest()


def _failed(program: str, code: int, complaints: str) -> _errors.BackupError:
    name = pathlib.Path(program).name
    lines = [line.strip() for line in complaints.splitlines() if line.strip()]
    said = next((line for line in lines if "error" in line), lines[0] if lines else "")
    how = f"was killed by signal {-code}" if code < 0 else f"ended with {code}"
    return _errors.BackupError(f"{name} {how}{': ' if said else ''}{said.rstrip('.')}.")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".")
