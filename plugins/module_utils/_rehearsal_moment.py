# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Also runs outside Ansible, where no run_command is. pylint: disable=ansible-bad-function
"""What the live databases have at one point of the WAL, to which a copy can be recovered.

The copy must then have the very same, row for row, whatever the applications did before and do
after: a queue that is emptied or a table that is dropped is no difference, and no bound is needed.
"""

from __future__ import annotations

import contextlib
import time
import typing as t
from dataclasses import dataclass, replace

from . import _dump, _postgres, _schema
from ._rehearsal_facts import Facts

try:
    import psycopg2
    import psycopg2.errors
    import psycopg2.sql
except ImportError:  # _dump.connected() says so in a sentence
    psycopg2 = None

# A site that is written to has a quiet moment among so many, of less than a millisecond.
TRIES = 200
# From then on one in which somebody writes will do: a batch may run for hours.
PATIENT = 100
PAUSE = 0.02
# Meanwhile vacuum waits for the snapshots of every database.
LOCK_WAIT = "10s"
# Of those who may change something; a lock goes after its transaction has become visible.
LOCKS = """
SELECT d.datname, l.relation, l.mode FROM pg_locks l JOIN pg_database d ON d.oid = l.database
LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'relation' AND l.granted AND l.relation >= 16384
  AND l.mode NOT IN ('AccessShareLock', 'RowShareLock')
  AND a.backend_type IS DISTINCT FROM 'autovacuum worker'
"""
USED = "RowExclusiveLock"
ROWS = {USED, "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock"}
# Unlogged ones are empty in every copy, and an extension's rows are its own affair.
TABLES = """
SELECT c.oid, n.nspname, c.relname, c.relfilenode
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence = 'p'
  AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                  AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 2, 3
"""
# They know no snapshot. What starts one anew, TRUNCATE and ALTER, makes it another.
SEQUENCES = """
SELECT c.oid, c.xmin::text, format('%s.%s', schemaname, sequencename), last_value
FROM pg_sequences JOIN pg_namespace n ON n.nspname = schemaname
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = sequencename AND c.relpersistence = 'p'
WHERE increment_by > 0 AND NOT cycle AND last_value IS NOT NULL
"""
# Which transactions made the schema what it is: it may have been changed and changed back.
VERSION = """
WITH ours AS (
  SELECT c.oid, c.xmin FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_')
SELECT md5(coalesce(string_agg(line, ',' ORDER BY line), '')) FROM (
  SELECT format('%s %s', oid, xmin) AS line FROM ours
  UNION ALL SELECT format('%s.%s %s', attrelid, attnum, a.xmin)
  FROM pg_attribute a JOIN ours ON ours.oid = attrelid
  UNION ALL SELECT format('%s %s', k.oid, k.xmin)
  FROM pg_constraint k JOIN ours ON ours.oid = conrelid
  UNION ALL SELECT format('%s %s', g.oid, g.xmin)
  FROM pg_trigger g JOIN ours ON ours.oid = tgrelid) AS lines
"""
FILENODE = "SELECT pg_relation_filenode(to_regclass(%s))"
SNAPSHOT = "SELECT pg_current_snapshot()::text"


Sequence = tuple[int, str, str]  # oid, the transaction that made it what it is, name


@dataclass(frozen=True)
class Moment:
    """The name of the restore point, and what each database has there."""

    point: str
    databases: dict[str, Facts]


@dataclass(frozen=True)
class Quiet:
    """A point in the WAL, and what was asked beside it while no transaction ended.

    A transaction is in the WAL, so in a copy, before others see it; it still holds its locks then.
    So the snapshot has all that the copy has of what nobody held for writing.
    """

    point: str
    sequences: dict[str, dict[Sequence, int]]
    locks: frozenset[tuple[str, int, str]]
    found: bool = True  # or a transaction ended whenever one was looked for

    def known(self, database: str, relation: int) -> bool:
        """Whether nobody was writing it."""
        return self.found and not any((database, relation, mode) in self.locks for mode in ROWS)

    def restarted(self, database: str, relation: int) -> bool:
        return any((database, relation, mode) in self.locks for mode in ROWS - {USED})

    def altered(self, database: str) -> bool:
        return any(each == database and mode != USED for each, _relation, mode in self.locks)


def take(
    databases: t.Collection[str],
    port: int,
    hashed_tables: t.Mapping[str, t.Collection[str]],
    name: str,
    wait: t.Callable[[float], None] = time.sleep,
) -> Moment:
    """A point whose name begins with `name`; what is counted afterwards is what was there then."""
    with contextlib.ExitStack() as stack:
        # One for each database, and never more than one besides: so many the server keeps free.
        held = {each: stack.enter_context(_session(each, port)) for each in databases}
        before = {each: _shape(one) for each, one in held.items()}
        with _session(_postgres.MAINTENANCE, port) as server:
            server.set_session(autocommit=True)
            quiet = _quiet(held, server, name, wait)
        after = {}
        for each in held:
            with _session(each, port) as now:
                after[each] = _reached(each, now, quiet), _shape(now)
        facts = {}
        for each, one in held.items():
            with _session(each, port) as now:
                counted = _counted(each, one, now, quiet, hashed_tables.get(each, ()))
            one.rollback()  # from here on vacuum need not wait for its snapshot
            sequences, shape = after[each]
            same = before[each] == shape and not quiet.altered(each)
            facts[each] = replace(counted, sequences=sequences, schema=shape[0] if same else "")
    return Moment(quiet.point, facts)


@contextlib.contextmanager
def _session(database: str, port: int) -> t.Iterator[_dump.Connection]:
    with _dump.connected(database, port) as made:
        waits = f"{_dump.NO_TIMEOUT}; SET lock_timeout = '{LOCK_WAIT}'"
        _run(made, f"{waits}; {_schema.HASH_SETTINGS}")
        made.commit()
        yield made


def _quiet(
    held: t.Mapping[str, _dump.Connection],
    server: _dump.Connection,
    name: str,
    wait: t.Callable[[float], None],
) -> Quiet:
    """The snapshots last until those who hold them are used for another transaction."""
    for number in range(TRIES):
        for one in held.values():
            one.rollback()
        point = f"{name}-{number}"
        sequences = {each: _sequences(one) for each, one in held.items()}
        seen = {_one(one, SNAPSHOT) for one in held.values()}
        _one(server, "SELECT pg_create_restore_point(%s)", point)
        locks = frozenset(each for each in _run(server, LOCKS) if each[0] in held)
        if seen <= {_one(server, SNAPSHOT)} and (not locks or number >= PATIENT):
            return Quiet(point, sequences, locks)
        wait(PAUSE)
    return Quiet(point, sequences, locks, found=False)


def _reached(database: str, now: _dump.Connection, quiet: Quiet) -> dict[str, int]:
    """How far sequences must be in the copy, of those that nothing but their use has moved."""
    found = _sequences(now)
    return {
        sequence[2]: value
        for sequence, value in quiet.sequences[database].items()
        if value <= found.get(sequence, 0) and not quiet.restarted(database, sequence[0])
    }


def _counted(
    database: str,
    held: _dump.Connection,
    now: _dump.Connection,
    quiet: Quiet,
    hashed_tables: t.Collection[str],
) -> Facts:
    """The rows and hashes that the snapshot has."""
    found = Facts({}, {}, "")
    skipped = []
    snapshot = _one(held, "SELECT pg_export_snapshot()")
    for oid, schema, table, filenode in _run(held, TABLES):
        name = f"{schema}.{table}"
        hashed = [_schema.content_hash(name)] if name in hashed_tables else []
        answers = None
        if quiet.known(database, oid):
            answers = _ask(now, snapshot, (schema, table), filenode, hashed)
        if answers is None:
            skipped.append(name)
            continue
        found.tables[name] = answers[0]
        if hashed:
            found.hashes[name] = answers[1]
    return replace(found, skipped=tuple(skipped))


def _ask(
    session: _dump.Connection, snapshot: str, names: tuple[str, str], filenode: int, more: list[str]
) -> list[t.Any] | None:
    """The number of rows and more, of one table: the server has only so many locks for all.

    None where it is not what it was: TRUNCATE, and what writes a table anew, changes what older
    snapshots see, and so does another name. Also where somebody may be about to do so.
    """
    table = psycopg2.sql.Identifier(*names)
    count = psycopg2.sql.SQL("SELECT count(*) FROM ONLY {}").format(table).as_string(session)
    try:
        _run(session, f"SET TRANSACTION SNAPSHOT '{snapshot}'")
        answers = [_one(session, each) for each in (count, *more)]
        now = _one(session, FILENODE, table.as_string(session))
    except (psycopg2.errors.UndefinedTable, psycopg2.errors.LockNotAvailable):
        now = None
    session.rollback()
    return answers if now == filenode else None


def _sequences(session: _dump.Connection) -> dict[Sequence, int]:
    """Nothing while somebody alters one or starts it anew: that may take long."""
    try:
        found = {each[:3]: each[3] for each in _run(session, SEQUENCES)}
    except psycopg2.errors.LockNotAvailable:
        found = {}
    session.rollback()
    return found


def _shape(session: _dump.Connection) -> tuple[str, str]:
    shape = _one(session, _schema.FINGERPRINT), _one(session, VERSION)
    session.rollback()
    return shape


def _one(session: _dump.Connection, query: str, *values: str) -> t.Any:
    return _run(session, query, *values)[0][0]


def _run(session: _dump.Connection, query: str, *values: str) -> list[tuple[t.Any, ...]]:
    with session.cursor() as cursor:
        cursor.execute(query, values or None)
        return list(cursor.fetchall()) if cursor.description else []
