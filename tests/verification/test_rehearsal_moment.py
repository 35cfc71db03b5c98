# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A real server that is written to while its facts are taken, and real recoveries to that point."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
import typing as t
from dataclasses import replace

import psycopg2
import pytest
from ansible_collections.slipway.stack.plugins.module_utils import (
    _psql,
    _rehearsal_facts,
    _rehearsal_moment,
)

from . import database as postgres

COPY_PORT = 5433
ROUNDS = 2
ARCHIVE = ("archive_mode = on", "archive_command = 'cp %p ../archive/%f'")
# A commit is in the WAL for so long before others see it, as on a slow disk.
SLOW = ("fsync = on", "commit_delay = 20000", "commit_siblings = 0")
TABLES = """
CREATE TABLE bids (id bigserial, price int);
CREATE TABLE queue (id bigserial);
CREATE TABLE batch AS SELECT id FROM generate_series(1, 1000) id;
CREATE TABLE steady AS SELECT id, md5(id::text) FROM generate_series(1, 1000) id;
CREATE TABLE "a % ""name" (id int);
CREATE TABLE waits (w interval CHECK (w < interval '30 days'));
CREATE UNLOGGED TABLE cache (id bigserial);
INSERT INTO cache SELECT FROM generate_series(1, 50);
"""
RATE = 40
# What applications do all day, so many times in a second; each statement is a transaction.
LIFE = (
    ("INSERT INTO bids (price) VALUES (1)", "UPDATE bids SET price = price + 1 WHERE id % 50 = 0"),
    (
        "INSERT INTO queue SELECT FROM generate_series(1, 9)",
        "DELETE FROM queue",
        "INSERT INTO queue DEFAULT VALUES",
        "TRUNCATE queue RESTART IDENTITY",
    ),
    ("DROP TABLE IF EXISTS passing", "CREATE TABLE passing AS SELECT 1 AS x"),
    (
        "BEGIN",
        "CREATE TABLE fresh AS TABLE steady",
        "DROP TABLE steady",
        "ALTER TABLE fresh RENAME TO steady",
        "COMMIT",
    ),
)
FACTS = ("shop", "blog")
HASHED = ["public.steady", "public.gone"]
RECOVERY = """
port = {port}
archive_mode = off
restore_command = 'cp ../archive/%f %p'
recovery_target_name = '{point}'
recovery_target_action = promote
"""


@pytest.fixture(scope="module")
def server() -> t.Iterator[postgres.Database]:
    made = postgres.serve(*ARCHIVE, *SLOW)
    try:
        (made.place / "archive").mkdir()
        (made.place / "archive").chmod(0o777)
        for name in FACTS:
            made.sql("postgres", f"CREATE DATABASE {name}")
            made.sql(name, TABLES)
        yield made
    finally:
        postgres.remove(made)


@pytest.fixture(autouse=True)
def socket(server: postgres.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", str(server.place))
    monkeypatch.setenv("PGUSER", "postgres")


@contextlib.contextmanager
def life(server: postgres.Database) -> t.Iterator[None]:
    """Beside all that a batch is written all the time, and never committed."""
    command = [str(server.home / "bin/pgbench"), "-n", f"-R{RATE}", "-T60"]
    quietly = {**os.environ, "PGOPTIONS": "-c client_min_messages=warning"}
    running = []
    for number, statements in enumerate(LIFE):
        script = server.place / f"life{number}"
        script.write_text(";\n".join((*statements, "")))
        for name in FACTS:
            running.append(
                subprocess.Popen(
                    [*command, f"-f{script}", name], env=quietly, stdout=subprocess.DEVNULL
                )
            )
    try:
        with contextlib.closing(psycopg2.connect(dbname="shop")) as batch:
            batch.cursor().execute("DELETE FROM batch")
            yield
            assert {each.poll() for each in running} == {None}
    finally:
        for each in running:
            each.terminate()
            each.wait()


@contextlib.contextmanager
def recovered(server: postgres.Database, point: str) -> t.Iterator[_psql.Psql]:
    """The copy of the base backup, recovered to a point as any tool has it done."""
    segment = server.sql("postgres", "SELECT pg_walfile_name(pg_switch_wal())")
    while server.sql("postgres", "SELECT last_archived_wal FROM pg_stat_archiver") < segment:
        time.sleep(0.1)
    copy = server.place / "copy"
    with (copy / "postgresql.conf").open("a") as configuration:
        configuration.write(RECOVERY.format(port=COPY_PORT, point=point))
    (copy / "recovery.signal").touch()
    start = ("-D", "copy", "-w", "-l", "copy.log", "-o", f"-k {server.place}")
    server.program("pg_ctl", *start, "start")

    def run(command: t.Sequence[str], text: str) -> tuple[int, str, str]:
        words = [*command[command.index("-XqAt") :]]
        return _psql.run([str(server.home / "bin/psql"), *words], text)

    try:
        psql = _psql.Psql(COPY_PORT, run, socket=str(server.place))
        while psql.ask("SELECT pg_is_in_recovery();").strip() == "t":
            time.sleep(0.1)
        yield psql
    finally:
        server.program("pg_ctl", "-D", "copy", "-w", "-m", "immediate", "stop")
        shutil.rmtree(copy)


def moment(name: str) -> _rehearsal_moment.Moment:
    return _rehearsal_moment.take(FACTS, 5432, {"shop": HASHED, "blog": HASHED}, name)


def wrong(copy: _psql.Psql, taken: _rehearsal_moment.Moment) -> dict[str, list[str]]:
    return {
        name: _rehearsal_facts.compare(
            there, _rehearsal_facts.facts(replace(copy, database=name), HASHED)
        )
        for name, there in taken.databases.items()
    }


@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_copy_of_a_server_that_is_never_quiet_is_the_same(
    server: postgres.Database, number: int
) -> None:
    server.program("pg_basebackup", "-D", "copy", "-c", "fast", "-X", "none")
    with life(server):
        time.sleep(0.3)
        taken = moment(f"round{number}")
        time.sleep(0.3)
    with recovered(server, taken.point) as copy:
        assert wrong(copy, taken) == {name: [] for name in FACTS}
    assert "public.batch" in taken.databases["shop"].skipped
    assert {"public.batch", 'public.a % "name'} <= set(taken.databases["blog"].tables)
    assert "public.cache" not in taken.databases["blog"].tables


def test_a_copy_of_another_moment_is_not(server: postgres.Database) -> None:
    server.program("pg_basebackup", "-D", "copy", "-c", "fast", "-X", "none")
    server.sql("shop", "INSERT INTO bids (price) VALUES (1), (2); UPDATE steady SET md5 = 'x'")
    taken = moment("before")
    assert [each.skipped for each in taken.databases.values()] == [(), ()]
    server.sql("shop", "DELETE FROM bids WHERE price = 2; UPDATE steady SET md5 = 'y'")
    server.sql("blog", "DROP TABLE batch; ALTER TABLE bids ADD COLUMN x int")
    server.sql("postgres", "SELECT pg_create_restore_point('after')")
    with recovered(server, "after") as copy:
        found = wrong(copy, taken)
    rows = taken.databases["shop"].tables["public.bids"]
    assert found["shop"] == [
        f"public.bids has {rows - 1} rows, and had {rows}",
        "public.steady has as many rows, but not the same",
    ]
    assert found["blog"] == [
        "public.batch is not there",
        "its tables, columns, constraints, indexes or triggers are others",
    ]


def test_what_somebody_locks_is_not_waited_for(
    server: postgres.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_rehearsal_moment, "LOCK_WAIT", "200ms")
    quiet = _rehearsal_moment._quiet
    for name in FACTS:
        server.sql(name, "INSERT INTO bids (price) VALUES (1)")
    with contextlib.closing(psycopg2.connect(dbname="shop")) as other:

        def locked(*given: t.Any) -> t.Any:
            found = quiet(*given)
            other.cursor().execute("LOCK TABLE steady; ALTER SEQUENCE bids_id_seq RESTART 900")
            return found

        monkeypatch.setattr(_rehearsal_moment, "_quiet", locked)
        taken = moment("locked")
    shop, blog = taken.databases["shop"], taken.databases["blog"]
    assert (shop.skipped, shop.sequences) == (("public.steady",), {})
    assert "public.bids" in shop.tables
    assert blog.skipped == () and blog.sequences
