# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which statements of pending migrations the release that serves, and its visitors, would notice.

What is known to be harmless passes; whatever else there is does not, be it harmless or not. So a
statement that is read wrongly is refused rather than let through, and words can do instead of a
grammar. Only what is shown as SQL is judged: RunPython shows none, and passes whatever it does. Nor
is this a defence against somebody who hides what he does.
"""

from __future__ import annotations

import dataclasses
import re
import typing as t

from . import _statements
from ._statements import NAME, TABLE, folded

BREAKING = "breaking"
BLOCKING = "blocking"
UNKNOWN = "unknown"
_SHOWN = 160
_NOBODY_PASSES = "under a lock that nobody gets past"
_LATER = "stop using it in one release, and do this in a later one"
_NOT_VALID = "add it as NOT VALID, and VALIDATE CONSTRAINT in a migration after it"
_CONCURRENTLY = "use CONCURRENTLY, in a migration that is not atomic"

Verdict = tuple[str, str, str]
HARMLESS: Verdict = ("", "", "")
_DROPS: Verdict = (BREAKING, "drops what the serving release may use", _LATER)
_UNJUDGED: Verdict = (UNKNOWN, "does what nobody has judged", "allow it when it is harmless")
_WITHOUT_DEFAULT: Verdict = (
    BREAKING,
    "leaves a NOT NULL column without a default, so that the serving release cannot insert",
    "give it a default that stays (Django: db_default, Alembic: server_default), or let it be NULL"
    " until a later release",
)
_BUILDS_INDEX: Verdict = (
    BLOCKING,
    f"builds an index {_NOBODY_PASSES}",
    "create the unique index CONCURRENTLY, then ADD CONSTRAINT ... USING INDEX",
)
_HOLDS: Verdict = (
    BREAKING,
    "holds the serving release to a rule that it may not keep",
    "let one release keep to it, and then allow it with a later one",
)
_NEEDED: Verdict = (
    UNKNOWN,
    "drops what a query or an ON CONFLICT of the serving release may need",
    "allow it when none does",
)
_REPLACES: Verdict = (
    UNKNOWN,
    "replaces what the serving release may use",
    "make another beside it, or allow it when it does the same for that release",
)
_SETTING: Verdict = (
    UNKNOWN,
    "changes settings of the session, among which are the limits that protect visitors",
    "leave them to app_migrate_limits, and write schemas before names",
)
_ROWS: Verdict = (
    UNKNOWN,
    "changes rows of which nobody knows how many, and whoever writes to them waits",
    "do it in batches outside of migrations, or allow it when they are few",
)
_NO_DEFAULT: Verdict = (
    BREAKING,
    "takes a default away without which the serving release may not be able to insert",
    _LATER,
)
_TYPE: Verdict = (
    UNKNOWN,
    f"may write the whole table again {_NOBODY_PASSES}, if the column's type is a domain",
    "allow it when it is none",
)
_READS_ALL: Verdict = (BLOCKING, "reads the whole table while nobody may write to it", _NOT_VALID)

_NOTED = rf"({NAME} \. )*version_num = ''"
# The first pattern that fits the whole text decides.
Rules = tuple[tuple[str, Verdict], ...]
_STATEMENTS: Rules = (
    (r"BEGIN|COMMIT|SET CONSTRAINTS .* (IMMEDIATE|DEFERRED)|(COMMENT|ANALYZE)\b.*", HARMLESS),
    (r"(SET|RESET|SELECT (\w+ \. )?SET_CONFIG)\b.*", _SETTING),
    # Alembic's own note, in whatever table.
    (rf"(DELETE FROM|UPDATE) {TABLE}( SET version_num = '')? WHERE {_NOTED}", HARMLESS),
    (r"(INSERT INTO|UPDATE|DELETE FROM .* WHERE)\b.*", _ROWS),
    (r"CREATE (SCHEMA|EXTENSION|TYPE|SEQUENCE|DOMAIN|FUNCTION|VIEW) .*", HARMLESS),
    (r"CREATE OR REPLACE .*", _REPLACES),
    (r"CREATE INDEX CONCURRENTLY .*", HARMLESS),
    (r"CREATE UNIQUE INDEX CONCURRENTLY .*", _HOLDS),
    (r"DROP INDEX CONCURRENTLY .*", _NEEDED),
    (r"ALTER (SEQUENCE .* OWNED BY .*|TYPE .* ADD VALUE .*|INDEX .* RENAME .*)", HARMLESS),
    (
        r"CREATE (UNIQUE )?INDEX .*",
        (BLOCKING, "builds an index while nobody may write to its table", _CONCURRENTLY),
    ),
    (r"DROP INDEX .*", (BLOCKING, "locks everybody out of the index's table", _CONCURRENTLY)),
    (r"(DELETE|TRUNCATE)\b.*", (BREAKING, "deletes every row", _LATER)),
    (r"DROP .*", _DROPS),
)
_ACTIONS: Rules = (
    (r"VALIDATE CONSTRAINT .*", HARMLESS),
    (rf"DROP CONSTRAINT (IF EXISTS )?{NAME}( RESTRICT)?", _NEEDED),
    (r"RENAME .*", (BREAKING, "renames what the serving release uses", f"add another; {_LATER}")),
    (rf"ALTER (COLUMN )?{NAME} (DROP DEFAULT|SET DEFAULT NULL\b.*)", _NO_DEFAULT),
    (rf"ALTER (COLUMN )?{NAME} (DROP NOT NULL|SET DEFAULT .*)", HARMLESS),
    (rf"ALTER (COLUMN )?{NAME} SET (STATISTICS|STORAGE) .*", HARMLESS),
    (
        rf"ALTER (COLUMN )?{NAME} (SET DATA )?TYPE .*",
        (
            BREAKING,
            f"may write the whole table again {_NOBODY_PASSES}",
            "add a column of the new type and move to it, or allow this if it only widens",
        ),
    ),
    (
        rf"ALTER (COLUMN )?{NAME} SET NOT NULL",
        (
            BLOCKING,
            f"reads the whole table {_NOBODY_PASSES}",
            "add CHECK (... IS NOT NULL) NOT VALID and VALIDATE CONSTRAINT before it",
        ),
    ),
    (r"ADD (CONSTRAINT .*|CHECK .*|FOREIGN KEY .*) NOT VALID", _HOLDS),
    (rf"ADD CONSTRAINT {NAME} (UNIQUE|PRIMARY KEY) USING INDEX .*", _HOLDS),
    (rf"ADD (CONSTRAINT {NAME} )?(UNIQUE|PRIMARY KEY|EXCLUDE)\b.*", _BUILDS_INDEX),
    (rf"ADD (CONSTRAINT {NAME} )?(FOREIGN KEY|CHECK)\b.*", _READS_ALL),
    (r"DROP .*", _DROPS),
)
# What inherits, or is temporary, stands in for a table that others use.
_MAKES = rf"CREATE (?:UNLOGGED )?TABLE {TABLE} \((?!.* INHERITS \().*"
_INDEXES = rf"CREATE (?:UNIQUE )?INDEX (?:CONCURRENTLY )?(?P<index>{NAME} )?ON (?:ONLY )?{TABLE} .*"
_DROPPED = rf"DROP (?:TABLE|INDEX(?: CONCURRENTLY)?) (?:IF EXISTS )?{TABLE}(?: CASCADE| RESTRICT)?"
_FILLS = rf"(?:INSERT INTO|UPDATE|DELETE FROM) {TABLE}(?: \( [^()]* \))?(?P<rest> .*)?"
_ROWS_ADDED = (
    r" (?!.*\b(?:SELECT|DO UPDATE)\b)VALUES \(.*\)(?: ON CONFLICT(?: \(.*\))? DO NOTHING)?"
    r"(?: RETURNING .*)?"
)
_ALTERS = rf"ALTER TABLE (?:IF EXISTS )?(?:ONLY )?{TABLE} (?P<actions>.+)"
_CHECKS = (
    rf"ADD CONSTRAINT (?P<name>{NAME}) CHECK (?:\( )+(?P<column>{NAME}) IS NOT NULL(?: \))+"
    r" NOT VALID"
)
_REFERS = rf"ADD CONSTRAINT {NAME} FOREIGN KEY \( (?P<columns>[^()]*) \) REFERENCES .* NOT VALID"
_NEW_COLUMN = (
    r"ADD (?!(?:CONSTRAINT|UNIQUE|PRIMARY|EXCLUDE|FOREIGN|CHECK)\b)(?:COLUMN )?"
    rf"(?P<unsure>IF NOT EXISTS )?(?P<column>{NAME}) (?P<rest>.*)"
)
_COLUMN = rf"ALTER (?:COLUMN )?(?P<column>{NAME}) (?P<what>SET NOT NULL|DROP DEFAULT)"
_WRITES = r".* (?:(?:SMALL|BIG)?SERIAL[248]?|AS IDENTITY|STORED)(?: .*)?"
_DEFAULT = (
    r"(?:.* )?DEFAULT (?P<value>.*?)(?: (?:NOT NULL|NULL|CONSTRAINT|REFERENCES|CHECK|UNIQUE)\b.*)?"
)
# A domain may have a default and a check of its own; these are none, nor are those just made.
_TYPES = (
    "SMALLINT|INTEGER|INT|BIGINT|INT[248]|NUMERIC|DECIMAL|REAL|DOUBLE PRECISION|FLOAT[48]?|MONEY"
    "|BOOLEAN|BOOL|TEXT|CHARACTER VARYING|VARCHAR|CHARACTER|CHAR|BPCHAR|CITEXT|BYTEA|UUID|JSONB?"
    "|XML|DATE|TIMESTAMPTZ|TIMETZ|TIME|TIMESTAMP|INTERVAL|INET|CIDR|MACADDR8?|BIT VARYING|BIT"
    "|VARBIT|TSVECTOR|TSQUERY|POINT|(?:INT4|INT8|NUM|DATE|TS|TSTZ)RANGE|HSTORE|LTREE|GEOMETRY"
    "|GEOGRAPHY|VECTOR|HALFVEC"
)
_OF_TYPE = (
    r" (?P<type>{types})(?: \( [^()]* \))?(?: WITH(?:OUT)? TIME ZONE)?(?: \[ (?:\d+ )?\])*"
    r"(?: (?:NOT|NULL|DEFAULT|COLLATE|CONSTRAINT|REFERENCES)\b.*)?"
)
_MAKES_ENUM = rf"CREATE TYPE (?P<type>{NAME}) AS ENUM .*"
# Worked out once for all rows, and the lengths of types.
_ONCE = re.compile(
    r"\bTIMEZONE \( '' , NOW \( \) \)|\b(?:NOW|(?:STATEMENT|TRANSACTION)_TIMESTAMP) \( \)"
    r"|: : [\w ]+ \( \d+(?: , \d+)? \)",
    re.I,
)
_CALL = re.compile(r'[\w"] \(')


@dataclasses.dataclass(frozen=True)
class Finding:
    """One statement that must not run without the operator's word."""

    migration: str
    statement: str
    kind: str
    problem: str
    remedy: str


class _Known:
    """What the statements before have made: nobody else uses it yet."""

    def __init__(self) -> None:
        self.made: set[str] = set()
        self.enums: set[str] = set()
        # Of a new column, whether it is NOT NULL and whether it has a default.
        self.added: dict[tuple[str, str], tuple[bool, bool]] = {}
        self.checks: dict[tuple[str, str], str] = {}
        self.proved: set[tuple[str, str]] = set()


def findings(migrations: t.Iterable[tuple[str, str]]) -> list[Finding]:
    """What is wrong with migrations, given by name and SQL in the order in which they will run."""
    known, found = _Known(), []
    for migration, sql in migrations:
        for statement in _statements.split(sql):
            kind, problem, remedy = _judge(statement, known)
            if kind:
                shown = statement if len(statement) <= _SHOWN else f"{statement[:_SHOWN]}..."
                found.append(Finding(migration, shown, kind, problem, remedy))
    return found


def _fits(pattern: str, text: str) -> re.Match[str] | None:
    return re.fullmatch(pattern, text, re.IGNORECASE)


def _judge(statement: str, known: _Known) -> Verdict:
    if made := _fits(_MAKES, statement):
        known.made.add(folded(made["table"]))
        return HARMLESS
    if enum := _fits(_MAKES_ENUM, statement):
        known.enums.add(enum["type"])
    if altered := _fits(_ALTERS, statement):
        return _judge_table(folded(altered["table"]), altered["actions"], known)
    if filled := _fits(_FILLS, statement):
        return _judge_rows(statement, folded(filled["table"]), filled["rest"] or "", known)
    index = _fits(_INDEXES, statement)
    if index and folded(index["table"]) in known.made:
        known.made.add(_beside(folded(index["table"]), (index["index"] or "").strip()))
        return HARMLESS
    dropped = _fits(_DROPPED, statement)
    if dropped and folded(dropped["table"]) in known.made:
        known.made.remove(folded(dropped["table"]))
        return HARMLESS
    return _first(_STATEMENTS, statement)


def _beside(table: str, name: str) -> str:
    """What lies in the schema of a table."""
    schema, dot, _last = table.rpartition(".")
    return f"{schema}{dot}{folded(name)}"


def _judge_rows(statement: str, table: str, rest: str, known: _Known) -> Verdict:
    """Rows that are added, or whose table is new; no function, which might do anything."""
    plain = re.sub(r"\b(VALUES|CONFLICT) \(", ", (", _ONCE.sub("", rest), flags=re.IGNORECASE)
    calm = not _CALL.search(plain)
    if calm and (table in known.made or _fits(_ROWS_ADDED, rest)):
        return HARMLESS
    return _first(_STATEMENTS, statement)


def _judge_table(table: str, actions: str, known: _Known) -> Verdict:
    each = _statements.parts(actions)
    own = r"(ADD|ALTER|DROP|RENAME|VALIDATE)\b.*"
    if table in known.made and all(_fits(own, action) for action in each):
        if renamed := _fits(rf"RENAME TO (?P<to>{NAME})", actions):
            known.made.remove(table)
            known.made.add(_beside(table, renamed["to"]))
        return HARMLESS
    verdicts = [_judge_action(table, action, known) for action in each]
    return next((verdict for verdict in verdicts if verdict != HARMLESS), HARMLESS)


def _judge_action(table: str, action: str, known: _Known) -> Verdict:
    if check := _fits(_CHECKS, action):
        known.checks[table, folded(check["name"])] = folded(check["column"])
    if valid := _fits(rf"VALIDATE CONSTRAINT (?P<name>{NAME})", action):
        known.proved.add((table, known.checks.get((table, folded(valid["name"])), "")))
    if added := _fits(_NEW_COLUMN, action):
        return _judge_column((table, folded(added["column"])), added, known)
    if refers := _fits(_REFERS, action):
        places = [(table, folded(name)) for name in refers["columns"].split(" , ")]
        if all(known.added.get(place) == (False, False) for place in places):
            return HARMLESS
    if column := _fits(_COLUMN, action):
        place = (table, folded(column["column"]))
        if column["what"].upper() == "SET NOT NULL" and place in known.proved:
            return HARMLESS
        if column["what"].upper() == "DROP DEFAULT" and place in known.added:
            return _WITHOUT_DEFAULT if known.added[place][0] else HARMLESS
    return _first(_ACTIONS, action)


def _judge_column(place: tuple[str, str], added: re.Match[str], known: _Known) -> Verdict:
    rest = f" {added['rest']}"
    default = _fits(_DEFAULT, rest)
    if default and _fits(r"NULL\b.*", default["value"]):
        default = None
    volatile = default and _CALL.search(_ONCE.sub("", default["value"]))
    if volatile or _fits(_WRITES, rest):
        apart = "add it without, and fill it in batches"
        return BLOCKING, f"writes the whole table again {_NOBODY_PASSES}", apart
    if _fits(r".* (UNIQUE|PRIMARY KEY)\b.*", rest):
        return _BUILDS_INDEX
    if _fits(r".* CHECK\b.*", rest) or (default and _fits(r".* REFERENCES\b.*", rest)):
        return _READS_ALL
    filled = bool(_fits(r".* NOT NULL\b.*", rest))
    if filled and not default:
        return _WITHOUT_DEFAULT
    types = "|".join([_TYPES, *map(re.escape, known.enums)])
    if not _fits(_OF_TYPE.format(types=types), rest):
        return _TYPE
    if not added["unsure"]:
        known.added[place] = (filled, bool(default))
    return HARMLESS


def _first(rules: Rules, text: str) -> Verdict:
    return next((verdict for pattern, verdict in rules if _fits(pattern, text)), _UNJUDGED)
