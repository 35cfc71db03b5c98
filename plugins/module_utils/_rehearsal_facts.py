# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a database says of itself, and whether a copy of it is a copy of it."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass, field, replace

from . import _psql, _restore, _schema

SIZE = "SELECT sum(pg_database_size(oid)) FROM pg_database;"
QUERY = (
    f"SELECT json_build_object('sequences', ({_schema.SEQUENCES}),"
    f" 'schema', ({_schema.FINGERPRINT}));"
)


@dataclass(frozen=True)
class Facts:
    tables: dict[str, int]
    sequences: dict[str, int]
    schema: str
    hashes: dict[str, str] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()  # tables of which nobody knows


def facts(psql: _psql.Psql, hashed_tables: t.Collection[str] = ()) -> Facts:
    """What a copy says, that nobody writes to; hashes are of those named tables that are there."""
    # As the live one was asked: the text of a constraint or a default depends on them too.
    told = json.loads(psql.ask(f"{_schema.HASH_SETTINGS};\n{QUERY}"))
    found = Facts(**told, tables=_restore.tables(psql))
    named = [name for name in hashed_tables if name in found.tables]
    queries = [f"{_schema.HASH_SETTINGS};", *(f"{_schema.content_hash(name)};" for name in named)]
    answers = psql.ask("\n".join(queries)).split() if named else []
    return replace(found, hashes=dict(zip(named, answers, strict=True)))


def compare(live: Facts, copy: Facts) -> list[str]:
    """In what the copy is not what the live database was at the same moment.

    A sequence may be further: the WAL has it some values ahead.
    """
    wrong = [
        f"{name} has {copy.tables[name]} rows, and had {rows}"
        if name in copy.tables
        else f"{name} is not there"
        for name, rows in live.tables.items()
        if copy.tables.get(name) != rows
    ]
    wrong += [
        f"{name} has as many rows, but not the same"
        for name, digest in live.hashes.items()
        if copy.tables.get(name) == live.tables[name] and copy.hashes.get(name) != digest
    ]
    wrong += [
        f"sequence {name} is at {copy.sequences.get(name)}, but was at {value} already"
        for name, value in live.sequences.items()
        if copy.sequences.get(name, 0) < value
    ]
    if live.schema and live.schema != copy.schema:
        wrong.append("its tables, columns, constraints, indexes or triggers are others")
    return wrong


def unproven(live: Facts, hashed_tables: t.Collection[str] = ()) -> list[str]:
    """What had to be compared and was not: a rehearsal that looked at nothing proves nothing."""
    wrong = [
        f"{name} was not compared, and hashed_tables names it"
        for name in hashed_tables
        if name in live.skipped
    ]
    if live.skipped and not live.tables:
        wrong.append("none of its tables was compared: rehearse when less is written")
    return wrong


def remark(live: Facts) -> str:
    """What was left out; it need not be looked at."""
    shown = ", ".join(live.skipped[:5]) + (" and others" if live.skipped[5:] else "")
    tables = (
        f"not compared, because somebody was writing them at that moment or has rebuilt, dropped or"
        f" locked them since: {len(live.skipped)}, {shown}"
    )
    schema = "its schema was not compared, because somebody was changing it"
    return "; ".join([tables] * bool(live.skipped) + [schema] * (not live.schema))
