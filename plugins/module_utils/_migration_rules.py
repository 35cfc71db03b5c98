# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which statements of pending migrations the release that serves, and its visitors, would notice.

What is known to be harmless passes; whatever else there is does not. So a statement that is read
wrongly is refused rather than let through, and words can do instead of a grammar.
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
_READS_ALL: Verdict = (BLOCKING, "reads the whole table while nobody may write to it", _NOT_VALID)

# The first pattern that fits the whole text decides.
Rules = tuple[tuple[str, Verdict], ...]
_STATEMENTS: Rules = (
    (r"(BEGIN|COMMIT|SET|SELECT|INSERT|UPDATE|COMMENT|ANALYZE)\b.*", HARMLESS),
    (r"DELETE FROM .* WHERE .*", HARMLESS),
    (r"CREATE (OR REPLACE )?(SCHEMA|EXTENSION|TYPE|SEQUENCE|DOMAIN|FUNCTION|VIEW) .*", HARMLESS),
    (r"CREATE (UNIQUE )?INDEX CONCURRENTLY .*", HARMLESS),
    (r"DROP INDEX CONCURRENTLY .*", HARMLESS),
    (r"ALTER (SEQUENCE .*|TYPE .* ADD VALUE .*|INDEX .* RENAME .*)", HARMLESS),
    (
        r"CREATE (UNIQUE )?INDEX .*",
        (BLOCKING, "builds an index while nobody may write to its table", _CONCURRENTLY),
    ),
    (r"DROP INDEX .*", (BLOCKING, "locks everybody out of the index's table", _CONCURRENTLY)),
    (r"(DELETE|TRUNCATE)\b.*", (BREAKING, "deletes every row", _LATER)),
    (r"DROP .*", _DROPS),
)
_ACTIONS: Rules = (
    (r"(VALIDATE|DROP|RENAME) CONSTRAINT .*", HARMLESS),
    (r"RENAME .*", (BREAKING, "renames what the serving release uses", f"add another; {_LATER}")),
    (rf"ALTER (COLUMN )?{NAME} (DROP NOT NULL|(SET|DROP) DEFAULT.*)", HARMLESS),
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
    (r"ADD CONSTRAINT .* NOT VALID", HARMLESS),
    (rf"ADD CONSTRAINT {NAME} (UNIQUE|PRIMARY KEY) USING INDEX .*", HARMLESS),
    (rf"ADD (CONSTRAINT {NAME} )?(UNIQUE|PRIMARY KEY|EXCLUDE)\b.*", _BUILDS_INDEX),
    (rf"ADD (CONSTRAINT {NAME} )?(FOREIGN KEY|CHECK)\b.*", _READS_ALL),
    (r"DROP .*", _DROPS),
)
_MAKES = rf"CREATE (?:UNLOGGED |TEMP |TEMPORARY )?TABLE {TABLE} (?:\(|AS\b).*"
_INDEXES = rf"CREATE (?:UNIQUE )?INDEX (?P<index>{NAME} )?ON (?:ONLY )?{TABLE} .*"
_DROPPED = rf"DROP (?:TABLE|INDEX) (?:IF EXISTS )?{TABLE}(?: CASCADE| RESTRICT)?"
_ALTERS = rf"ALTER TABLE (?:IF EXISTS )?(?:ONLY )?{TABLE} (?P<actions>.+)"
_CHECKS = (
    rf"ADD CONSTRAINT (?P<name>{NAME}) CHECK (?:\( )+(?P<column>{NAME}) IS NOT NULL(?: \))+"
    r" NOT VALID"
)
_NEW_COLUMN = (
    r"ADD (?!(?:CONSTRAINT|UNIQUE|PRIMARY|EXCLUDE|FOREIGN|CHECK)\b)(?:COLUMN )?(?:IF NOT EXISTS )?"
    rf"(?P<column>{NAME}) (?P<rest>.*)"
)
_COLUMN = rf"ALTER (?:COLUMN )?(?P<column>{NAME}) (?P<what>SET NOT NULL|DROP DEFAULT)"
_WRITES = r".* (?:(?:SMALL|BIG)?SERIAL[248]?|AS IDENTITY|STORED)(?: .*)?"
_DEFAULT = (
    r"(?:.* )?DEFAULT (?P<value>.*?)(?: (?:NOT NULL|NULL|CONSTRAINT|REFERENCES|CHECK|UNIQUE)\b.*)?"
)
# Worked out once for all rows, and the lengths of types.
_ONCE = re.compile(r"\b(?:NOW|\w+_TIMESTAMP) \( \)|: : [\w ]+ \( \d+(?: , \d+)? \)", re.I)
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
        self.not_null: set[tuple[str, str]] = set()
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
    if altered := _fits(_ALTERS, statement):
        return _judge_table(folded(altered["table"]), altered["actions"], known)
    index = _fits(_INDEXES, statement)
    if index and folded(index["table"]) in known.made:
        known.made.add(folded((index["index"] or "").strip()))
        return HARMLESS
    dropped = _fits(_DROPPED, statement)
    if dropped and folded(dropped["table"]) in known.made:
        return HARMLESS
    return _first(_STATEMENTS, statement)


def _judge_table(table: str, actions: str, known: _Known) -> Verdict:
    if table in known.made:
        if renamed := _fits(rf"RENAME TO (?P<to>{NAME})", actions):
            known.made.add(folded(renamed["to"]))
        return HARMLESS
    verdicts = [_judge_action(table, action, known) for action in _statements.parts(actions)]
    return next((verdict for verdict in verdicts if verdict != HARMLESS), HARMLESS)


def _judge_action(table: str, action: str, known: _Known) -> Verdict:
    if check := _fits(_CHECKS, action):
        known.checks[table, folded(check["name"])] = folded(check["column"])
    if valid := _fits(rf"VALIDATE CONSTRAINT (?P<name>{NAME})", action):
        known.proved.add((table, known.checks.get((table, folded(valid["name"])), "")))
    if added := _fits(_NEW_COLUMN, action):
        return _judge_column((table, folded(added["column"])), f" {added['rest']}", known)
    if column := _fits(_COLUMN, action):
        place = (table, folded(column["column"]))
        if column["what"].upper() == "SET NOT NULL" and place in known.proved:
            return HARMLESS
        if column["what"].upper() == "DROP DEFAULT" and place in known.not_null:
            return _WITHOUT_DEFAULT
    return _first(_ACTIONS, action)


def _judge_column(place: tuple[str, str], rest: str, known: _Known) -> Verdict:
    default = _fits(_DEFAULT, rest)
    volatile = default and _CALL.search(_ONCE.sub("", default["value"]))
    if volatile or _fits(_WRITES, rest):
        apart = "add it without, and fill it in batches"
        return BLOCKING, f"writes the whole table again {_NOBODY_PASSES}", apart
    if _fits(r".* (UNIQUE|PRIMARY KEY)\b.*", rest):
        return _BUILDS_INDEX
    if _fits(r".* CHECK\b.*", rest) or (default and _fits(r".* REFERENCES\b.*", rest)):
        return _READS_ALL
    if _fits(r".* NOT NULL\b.*", rest):
        if not default:
            return _WITHOUT_DEFAULT
        known.not_null.add(place)
    return HARMLESS


def _first(rules: Rules, text: str) -> Verdict:
    return next((verdict for pattern, verdict in rules if _fits(pattern, text)), _UNJUDGED)
