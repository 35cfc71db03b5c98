# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a database says of itself, and whether a copy of it can be a copy of it."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass, field, replace

from . import _psql, _restore, _schema

SIZE = "SELECT sum(pg_database_size(oid)) FROM pg_database;"
# A database that is written to has no row count to compare with, only bounds: what was counted,
# and what was inserted and deleted since.
QUERY = """
SELECT json_build_object(
  'changes', (SELECT coalesce(json_object_agg(schemaname || '.' || relname,
                                              json_build_array(n_tup_ins, n_tup_del)), '{}')
              FROM pg_stat_user_tables),
  'sequences', ({sequences}),
  'schema', ({schema}));
""".replace("{sequences}", _schema.SEQUENCES).replace("{schema}", _schema.FINGERPRINT)


@dataclass(frozen=True)
class Facts:
    tables: dict[str, int]
    changes: dict[str, list[int]]
    sequences: dict[str, int]
    schema: str
    hashes: dict[str, str] = field(default_factory=dict)


def facts(psql: _psql.Psql, hashed_tables: t.Collection[str] = ()) -> Facts:
    """What it says now; hashes are of those named tables that are there."""
    # What changes while it is counted is then in the rows and among the changes: the bounds are
    # wider, where they would be missed by a row if the changes were read last.
    told = json.loads(psql.ask(QUERY))
    found = Facts(**told, tables=_restore.tables(psql))
    named = [name for name in hashed_tables if name in found.tables]
    queries = [f"{_schema.HASH_SETTINGS};", *(f"{_schema.content_hash(name)};" for name in named)]
    answers = psql.ask("\n".join(queries)).split() if named else []
    return replace(found, hashes=dict(zip(named, answers, strict=True)))


def compare(before: Facts, copy: Facts, after: Facts) -> list[str]:
    """What the copy has and cannot have, or has not and must have.

    `before` is the live database when the rehearsal began, `after` when the copy was counted.
    """
    wrong = [
        f"{name} has {copy.tables[name]} rows, but between {low} and {high} were expected"
        if name in copy.tables
        else f"{name} is not there"
        for name, (low, high) in _bounds(before, after).items()
        if not low <= copy.tables.get(name, -1) <= high
    ]
    wrong += [
        f"sequence {name} is at {copy.sequences.get(name)}, but was at {value} already"
        for name, value in before.sequences.items()
        if copy.sequences.get(name, 0) < value
    ]
    # What did not change while it was looked at has one hash only.
    wrong += [
        f"{name} has as many rows, but not the same"
        for name, digest in before.hashes.items()
        if digest == after.hashes.get(name) != copy.hashes.get(name) and name in copy.tables
    ]
    # A migration in the middle leaves nothing to compare with.
    if before.schema == after.schema != copy.schema:
        wrong.append("its tables, columns, constraints, indexes or triggers are others")
    return wrong


def _bounds(before: Facts, after: Facts) -> dict[str, tuple[int, int]]:
    """For each table that was there all the time."""
    bounds: dict[str, tuple[int, int]] = {}
    for name, rows in before.tables.items():
        if name in after.tables:
            inserted, deleted = (
                max(0, now - then)
                for now, then in zip(
                    after.changes.get(name, [0, 0]), before.changes.get(name, [0, 0]), strict=True
                )
            )
            bounds[name] = (rows - deleted, rows + inserted)
    return bounds
