# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A database of more tables and indexes than its server has locks for, or connections, at once."""

from __future__ import annotations

import contextlib
import pathlib
import typing as t

import psycopg2
import pytest
from ansible_collections.slipway.stack.plugins.module_utils import (
    _dump,
    _psql,
    _rehearsal_facts,
    _rehearsal_moment,
    _restore,
)

from . import database as postgres

TABLES = 250
INDEXES = 8
FEW_LOCKS = (
    "max_locks_per_transaction = 40",
    "max_connections = 10",
    "max_wal_senders = 0",
    "max_worker_processes = 2",
    "autovacuum_max_workers = 1",
)
MANY = f"""
DO $$ BEGIN FOR number IN 1..{TABLES} LOOP
  EXECUTE format('CREATE TABLE t%s AS SELECT 1 AS id', number);
  FOR one IN 1..{INDEXES} LOOP
    EXECUTE format('CREATE INDEX ON t%s (id)', number);
  END LOOP;
  COMMIT;
END LOOP; END $$
"""
COUNTS = {f"public.t{number}": 1 for number in range(1, TABLES + 1)}


@pytest.fixture(scope="module")
def server() -> t.Iterator[postgres.Database]:
    made = postgres.serve(*FEW_LOCKS)
    try:
        made.sql("postgres", "CREATE DATABASE many")
        made.sql("many", MANY)
        yield made
    finally:
        postgres.remove(made)


@pytest.fixture
def live(server: postgres.Database) -> _psql.Psql:
    def run(command: t.Sequence[str], text: str) -> tuple[int, str, str]:
        words = [
            str(server.home / "bin/psql"),
            "-U",
            "postgres",
            *command[command.index("-XqAt") :],
        ]
        return _psql.run(words, text)

    return _psql.Psql(5432, run, socket=str(server.place), database="many")


def test_a_dump_is_counted_with_few_locks(
    server: postgres.Database, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGHOST", str(server.place))
    monkeypatch.setenv("PGUSER", "postgres")
    monkeypatch.setattr(_dump, "compression", lambda _: "gzip:3")
    with _dump.connected("many", 5432) as connection:
        _dump.facts(connection)
        client = _dump.client_for(int(postgres.MAJOR), server.installed)
        assert _dump.dump(connection, client, "many", tmp_path / "out").tables == COUNTS


def test_a_restore_and_a_rehearsal_count_with_few_locks(
    server: postgres.Database, live: _psql.Psql, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _restore.tables(live) == COUNTS
    assert _rehearsal_facts.facts(live).tables == COUNTS
    monkeypatch.setenv("PGHOST", str(server.place))
    monkeypatch.setenv("PGUSER", "postgres")
    moment = _rehearsal_moment.take(["many"], 5432, {}, "few-locks")
    assert moment.databases["many"].tables == COUNTS


def test_a_rehearsal_takes_one_connection_of_each_database_and_one(
    server: postgres.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGHOST", str(server.place))
    monkeypatch.setenv("PGUSER", "postgres")
    others = [f"other{number}" for number in range(4)]
    for name in others:
        server.sql("postgres", f"CREATE DATABASE {name}")
        server.sql(name, "CREATE TABLE posts AS SELECT 1 AS id")
    with contextlib.ExitStack() as stack:
        for _taken in range(3):  # of 10; who has left may take one for a moment longer
            stack.enter_context(contextlib.closing(psycopg2.connect(dbname="postgres")))
        moment = _rehearsal_moment.take(others, 5432, {}, "few-connections")
    assert [each.tables for each in moment.databases.values()] == [{"public.posts": 1}] * 4
