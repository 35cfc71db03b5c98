# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The swap of two databases on a real PostgreSQL, also one that cannot be done."""

from __future__ import annotations

import json
import pathlib
import typing as t
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _psql, _restore

from .conftest import Dumps
from .database import Database

# 39 bytes in 38 characters: with what is added to it, it is longer than PostgreSQL's names.
LONG = "customer_relationship_management_archiv\N{LATIN SMALL LETTER E WITH ACUTE}"
NAMES = ["swapped", LONG]
# Whatever a failed test leaves closed; template0 stays what it is.
OPEN = "UPDATE pg_database SET datallowconn = true WHERE datname <> 'template0'"


def means(server: Database, state: pathlib.Path) -> _restore.Means:
    """psql as everybody runs it here: no user `postgres` need be on this machine."""

    def run(command: t.Sequence[str], text: str) -> tuple[int, str, str]:
        words = list(command)
        if "--" in words:
            words = words[words.index("--") + 1 :]
        if words[0] == "psql":
            words[0] = str(server.home / "bin" / "psql")
        return _psql.run(words, text, {"PGUSER": "postgres"})

    live = _psql.Psql(5432, run, socket=str(server.place))
    return _restore.Means(live, state, lambda: datetime.now(UTC))


@pytest.fixture(params=NAMES)
def loaded(
    dumps: Dumps, tmp_path: pathlib.Path, request: pytest.FixtureRequest
) -> t.Iterator[tuple[_restore.Restore, _restore.Means]]:
    """An old database with one row, a fresh one beside it with two, and a journal that says so."""
    with_server = means(dumps.server, tmp_path)
    restore = replace(_restore.begin(request.param, "latest", with_server), loaded=True)
    (tmp_path / "restore.json").write_text(json.dumps(restore.__dict__))
    for name, rows in ((restore.database, 1), (restore.fresh, 2)):
        dumps.server.sql("postgres", f'CREATE DATABASE "{name}"')
        dumps.server.sql(name, f"CREATE TABLE t AS SELECT generate_series(1, {rows}) AS i")
    yield restore, with_server
    for name in (restore.database, restore.fresh, restore.safety):
        dumps.server.sql("postgres", f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def rows(server: Database, name: str) -> str:
    return server.sql(name, "SELECT count(*) FROM t")


def test_a_swap_that_fails_leaves_the_live_database_open(
    dumps: Dumps, loaded: tuple[_restore.Restore, _restore.Means]
) -> None:
    restore, with_server = loaded
    # Nobody is connected, but the database cannot be renamed either.
    for_ever = "BEGIN; INSERT INTO t VALUES (9); PREPARE TRANSACTION 'kept'"
    dumps.server.sql(restore.database, for_ever)
    try:
        with pytest.raises(_psql.PsqlError, match="is being accessed by other users"):
            _restore.swap(restore, with_server)
        assert rows(dumps.server, restore.database) == "1"
    finally:
        dumps.server.sql("postgres", OPEN)
        dumps.server.sql(restore.database, "ROLLBACK PREPARED 'kept'")
    assert _restore.swap(restore, with_server).swapped
    assert rows(dumps.server, restore.database) == "2"
    assert rows(dumps.server, restore.safety) == "1"
