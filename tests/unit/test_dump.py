"""Which client dumps, and what becomes of one that fails; stand-ins play pg_dump and its server."""

from __future__ import annotations

import contextlib
import hashlib
import pathlib
import time
import typing as t

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _dump, _errors
from fakes import without


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> Connection:
    """What the rows are counted by."""
    made = Connection()
    monkeypatch.setattr(_dump, "connected", lambda *_: contextlib.nullcontext(made))
    return made


@pytest.fixture
def client(tmp_path: pathlib.Path) -> _dump.Client:
    directory = tmp_path / "17" / "bin"
    directory.mkdir(parents=True)
    return _dump.Client(17, directory)


def program(client: _dump.Client, name: str, text: str) -> None:
    path = client.directory / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


class Cursor:
    """Answers what the library asks of a server, by the first words of the question."""

    def __init__(self, connection: Connection) -> None:
        self.connection, self.rows = connection, [("",)]

    def __enter__(self) -> Cursor:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def execute(self, query: str) -> None:
        self.connection.queries.append(query)
        answers = self.connection.answers
        self.rows = next((rows for ask, rows in answers.items() if ask in query), [])

    def fetchone(self) -> tuple[t.Any, ...]:
        return self.rows[0]

    def fetchall(self) -> list[tuple[t.Any, ...]]:
        return self.rows


class FakePsycopg2:
    class sql:  # as psycopg2 names it
        SQL = str
        Identifier = staticmethod(lambda *names: ".".join(names))


class Connection:
    server_version = 170_006

    class info:  # as psycopg2 names it
        port = 5433

    def __init__(self) -> None:
        self.queries: list[str] = []
        self.answers: dict[str, list[t.Any]] = {
            "pg_export_snapshot": [("0000-1",)],
            "pg_database_size": [(4096,)],
            "FROM pg_extension": [("pg_trgm", "1.6")],
            "SHOW server_version": [("17.6 (Debian)",)],
            "FROM pg_sequences": [({"public.bids_id_seq": 9},)],
            "FROM pg_attribute": [("5c4e3a",)],
        }

    def cursor(self) -> Cursor:
        return Cursor(self)

    def commit(self) -> None:
        self.queries.append("COMMIT")


@pytest.mark.parametrize(
    ("installed", "server", "chosen"),
    [
        (["15"], 15, 15),
        (["13", "15", "17"], 15, 15),
        (["13", "17", "18"], 15, 17),
        (["9.6", "17"], 15, 17),
        (["9.6", "x"], 15, None),
        (["13", "14"], 15, None),
        ([], 15, None),
    ],
)
def test_a_client_older_than_the_server_never_dumps(
    tmp_path: pathlib.Path, installed: list[str], server: int, chosen: int | None
) -> None:
    for major in installed:
        (tmp_path / major / "bin").mkdir(parents=True)
        (tmp_path / major / "bin" / "pg_dump").touch()
    if chosen is not None:
        assert _dump.client_for(server, tmp_path).major == chosen
        return
    with pytest.raises(_errors.BackupError, match=r"install postgresql-client-15\.$"):
        _dump.client_for(server, tmp_path)


@pytest.mark.parametrize(("major", "method"), [(15, "gzip:1"), (16, "zstd:1"), (18, "zstd:1")])
def test_zstd_is_used_where_it_is_known(major: int, method: str) -> None:
    assert _dump.compression(_dump.Client(major, pathlib.Path())) == method


@pytest.mark.usefixtures("beside")
@pytest.mark.parametrize(("major", "option"), [(15, "--compress=1"), (17, "--compress=zstd:1")])
def test_the_dump_reads_the_snapshot_and_holds_no_lock_forever(
    client: _dump.Client, tmp_path: pathlib.Path, major: int, option: str
) -> None:
    said = tmp_path / "said"
    program(client, "pg_dump", f'echo "$@" "db=$PGDATABASE" "port=$PGPORT" > {said}')
    older = _dump.Client(major, client.directory)
    _dump.dump(Connection(), older, "a=b", tmp_path / "out")
    words = said.read_text().split()
    assert {option, "--snapshot=0000-1", "--lock-wait-timeout=300s", "--format=custom"} < set(words)
    assert {"db=a=b", "port=5433", f"--file={tmp_path / 'out'}"} < set(words)


@pytest.mark.usefixtures("beside")
def test_the_dump_does_not_see_the_keys_of_the_bucket(
    client: _dump.Client, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t")
    program(client, "pg_dump", f"env > {tmp_path / 'said'}")
    _dump.dump(Connection(), client, "shop", tmp_path / "out")
    said = (tmp_path / "said").read_text()
    assert "PGDATABASE=shop" in said
    assert "AWS" not in said


@pytest.mark.usefixtures("beside")
@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        (
            "echo 'pg_dump: error: no room.' >&2; exit 1",
            "pg_dump ended with 1: pg_dump: error: no room.",
        ),
        (
            "echo hint >&2; echo 'pg_dump: error: x' >&2; exit 3",
            "pg_dump ended with 3: pg_dump: error: x.",
        ),
        ("exit 2", "pg_dump ended with 2."),
        ("kill -9 $$", "pg_dump was killed by signal 9."),
    ],
)
def test_a_dump_that_fails_says_so(
    client: _dump.Client, tmp_path: pathlib.Path, script: str, sentence: str
) -> None:
    program(client, "pg_dump", script)
    with pytest.raises(_errors.BackupError) as caught:
        _dump.dump(Connection(), client, "shop", tmp_path / "out")
    assert str(caught.value) == sentence


def test_what_the_dump_must_hold_is_read_in_its_snapshot(
    client: _dump.Client,
    tmp_path: pathlib.Path,
    beside: Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_dump, "psycopg2", FakePsycopg2)
    monkeypatch.setattr(_dump, "COUNTED_TOGETHER", 1)
    program(client, "pg_dump", "exit 0")
    beside.answers["SELECT count"] = [(7,)]
    asked = Connection()
    asked.answers |= {
        "count(*) || ": [("d1ge57",)],
        "pg_class": [("public", "bids"), ("public", "django_migrations")],
        "'django:'": [("django:auth", "0012_names"), ("django:shop", "0003_bids")],
    }
    found = _dump.dump(asked, client, "shop", tmp_path / "out", ["public.bids", "public.gone"])
    assert found.tables == {"public.bids": 7, "public.django_migrations": 7}
    told = [query.split(" '")[0] for query in beside.queries if "timeout" not in query]
    assert told == [
        *("SET TRANSACTION SNAPSHOT", "SELECT count(*) FROM ONLY public.bids", "COMMIT"),
        "SET TRANSACTION SNAPSHOT",
        "SELECT count(*) FROM ONLY public.django_migrations",
        "COMMIT",
    ], "what is counted stays locked for as long as its transaction"
    assert found.revisions == {"django:auth": "0012_names", "django:shop": "0003_bids"}
    assert found.hashes == {"public.bids": "d1ge57"}
    settings = next(query for query in asked.queries if "bytea_output" in query)
    assert asked.queries.index(settings) < len(asked.queries) - 1


def test_roles_are_kept_without_their_passwords(
    client: _dump.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t")
    program(client, "pg_dumpall", 'echo "$@"; env')
    said = _dump.roles(client, 5433)
    assert said.startswith("--globals-only --no-role-passwords --port=5433 --no-password\n")
    assert "s3cr3t" not in said
    program(client, "pg_dumpall", "echo 'pg_dumpall: error: no.' >&2; exit 1")
    with pytest.raises(_errors.BackupError, match="pg_dumpall ended with 1: pg_dumpall: error: no"):
        _dump.roles(client, 5433)


def test_a_count_that_fails_stops_the_dump(client: _dump.Client, tmp_path: pathlib.Path) -> None:
    class Failing(Connection):
        def cursor(self) -> Cursor:
            if self.queries:
                raise _errors.BackupError("the server refused: lock.")
            return super().cursor()

    program(client, "pg_dump", "exec sleep 60")
    begun = time.monotonic()
    with pytest.raises(_errors.BackupError, match="lock"):
        _dump.dump(Failing(), client, "shop", tmp_path / "out")
    assert time.monotonic() - begun < 30


def test_a_dump_that_cannot_be_read_to_its_end_is_refused(
    client: _dump.Client, tmp_path: pathlib.Path
) -> None:
    program(client, "pg_restore", "echo 'pg_restore: error: unexpected end of file' >&2; exit 1")
    with pytest.raises(_errors.BackupError, match=r"^pg_restore ended with 1: .*end of file\.$"):
        _dump.require_readable(client, tmp_path / "out")


def test_the_dump_is_read_whole_not_only_its_table_of_contents(
    client: _dump.Client, tmp_path: pathlib.Path
) -> None:
    said = tmp_path / "said"
    program(client, "pg_restore", f'echo "$@" > {said}')
    _dump.require_readable(client, tmp_path / "out")
    assert said.read_text().split() == ["--file=/dev/null", str(tmp_path / "out")]


def test_without_its_library_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = without(_dump, "psycopg2", monkeypatch)
    with (
        pytest.raises(_errors.BackupError, match=r"missing: install python3-psycopg2\.$"),
        bare.connected("shop", 5432),
    ):
        pytest.fail("there is nothing to connect with")


def test_facts_come_from_the_transaction_of_the_snapshot() -> None:
    connection = Connection()
    extensions, sequences = {"pg_trgm": "1.6"}, {"public.bids_id_seq": 9}
    facts = _dump.Facts("17.6 (Debian)", 17, extensions, sequences, "5c4e3a")
    assert _dump.facts(connection) == facts
    assert "statement_timeout = 0" in connection.queries[0]


def test_whoever_waits_for_room_holds_no_snapshot() -> None:
    connection = Connection()
    assert _dump.size(connection) == 4096
    assert connection.queries[-1] == "COMMIT"


@pytest.mark.parametrize(
    ("output", "version"), [("pg_dump (PostgreSQL) 17.6 (Debian 17.6-0)", "17.6"), ("", "17")]
)
def test_the_client_tells_its_version(client: _dump.Client, output: str, version: str) -> None:
    program(client, "pg_dump", f"echo '{output}'")
    assert _dump.client_version(client) == version


def test_a_digest_is_that_of_all_bytes(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "dump"
    path.write_bytes(b"abc" * 1_000_000)
    assert _dump.sha256(path) == hashlib.sha256(b"abc" * 1_000_000).hexdigest()
