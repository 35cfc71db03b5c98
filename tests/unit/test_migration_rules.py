# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which statements of a migration pass, and which do not; the SQL is Django's and Alembic's."""

from __future__ import annotations

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _migration_rules, _statements

HARMLESS = [
    "BEGIN; COMMIT",
    "-- a comment; with DROP TABLE x\n/* DROP TABLE y; */",
    'SET CONSTRAINTS "fk" IMMEDIATE; SET CONSTRAINTS "fk" DEFERRED',
    "COMMENT ON TABLE x IS 'DROP TABLE x; it''s'; COMMENT ON TABLE x IS E'\\'; DROP TABLE x';"
    " COMMENT ON TABLE x IS $a$; DROP TABLE x;$a$",
    "INSERT INTO alembic_version (version_num) VALUES ('1') RETURNING alembic_version.version_num",
    "UPDATE alembic_version SET version_num='2' WHERE alembic_version.version_num = '1'",
    "DELETE FROM our.versions WHERE our.versions.version_num = '1'",
    "INSERT INTO item (title, made) VALUES ('a', now()), ('b', NOW()) ON CONFLICT (id) DO NOTHING",
    "CREATE EXTENSION IF NOT EXISTS pg_trgm; CREATE TYPE mood AS ENUM ('a')",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 1; DROP TABLE x $$",
    "COMMENT ON COLUMN item.title IS 'drop'; ANALYZE item",
    "ALTER TYPE mood ADD VALUE 'b'; ALTER SEQUENCE item_id_seq OWNED BY item.id",
    "ALTER INDEX a RENAME TO b",
    'CREATE INDEX CONCURRENTLY "a" ON "item" ("title")',
    "CREATE INDEX CONCURRENTLY IF NOT EXISTS a ON item (title) WHERE price > 0",
    # Columns that the release that serves can do without.
    'ALTER TABLE "item" ADD COLUMN "note" text NULL',
    'ALTER TABLE "item" ADD COLUMN "price" integer DEFAULT 0 NOT NULL',
    "ALTER TABLE item ADD note numeric(10, 2) DEFAULT 0.5, ADD COLUMN IF NOT EXISTS b boolean",
    "ALTER TABLE item ADD COLUMN note varchar(9) DEFAULT 'x'::varchar(9) NOT NULL",
    "ALTER TABLE item ADD COLUMN made timestamptz DEFAULT now() NOT NULL",
    "ALTER TABLE item ADD COLUMN made timestamptz DEFAULT STATEMENT_TIMESTAMP() NOT NULL",
    "ALTER TABLE item ADD COLUMN a timestamp(3) without time zone DEFAULT timezone('utc', now())",
    "ALTER TABLE item ADD COLUMN tags varchar(9)[] COLLATE x NULL, ADD place geometry(POINT,4326)",
    "CREATE TYPE mood AS ENUM ('a'); ALTER TABLE item ADD COLUMN mood mood DEFAULT 'a' NOT NULL",
    "ALTER TABLE item ADD COLUMN tags jsonb DEFAULT '{}'::jsonb NOT NULL",
    "ALTER TABLE item ADD COLUMN n int DEFAULT (-1)",
    'ALTER TABLE "item" ADD COLUMN "seller_id" bigint NULL CONSTRAINT "fk" REFERENCES "user"("id")'
    " DEFERRABLE INITIALLY DEFERRED",
    'ALTER TABLE item ALTER COLUMN note DROP NOT NULL, ALTER "price" SET DEFAULT 3',
    "ALTER TABLE item ADD COLUMN a text DEFAULT 'x' NULL; ALTER TABLE item ALTER a DROP DEFAULT",
    "ALTER TABLE item ALTER note SET STATISTICS 9; ALTER TABLE item VALIDATE CONSTRAINT c",
    "ALTER TABLE item ADD a int, ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES b (id) NOT VALID",
    # What only the new release knows.
    'CREATE TABLE "bid" ("id" bigint NOT NULL PRIMARY KEY); CREATE INDEX "i" ON "bid" ("id");'
    ' ALTER TABLE "bid" ADD CONSTRAINT "f" FOREIGN KEY ("id") REFERENCES "item" ("id");'
    ' ALTER TABLE "bid" DROP COLUMN "id"; DROP INDEX IF EXISTS "i"; DROP TABLE "bid" CASCADE',
    "CREATE TABLE bid (id int); CREATE INDEX ON BID (id); ALTER TABLE bid RENAME TO offer;"
    "ALTER TABLE offer ALTER id TYPE bigint; CREATE UNIQUE INDEX CONCURRENTLY i ON offer (id);"
    "DROP INDEX CONCURRENTLY i; INSERT INTO offer (id) SELECT id FROM item;"
    "UPDATE offer SET id = 1; DELETE FROM offer;"
    "ALTER TABLE offer ADD CONSTRAINT c CHECK (id > 0) NOT VALID",
    "CREATE TABLE shop.bid (id int); CREATE INDEX i ON shop.bid (id); DROP INDEX shop.i",
]
WRONG = [
    ("DROP TABLE item", "breaking", "drops"),
    ('DROP TABLE "item" CASCADE', "breaking", "drops"),
    ("DROP VIEW cheap", "breaking", "drops"),
    # The session's own limits, and names that then mean something else.
    ("SET lock_timeout = 0", "unknown", "changes settings"),
    ("SET LOCAL statement_timeout TO 0", "unknown", "changes settings"),
    ("SET search_path TO scratch", "unknown", "changes settings"),
    ("RESET ALL", "unknown", "changes settings"),
    ("SELECT set_config('lock_timeout', '0', false)", "unknown", "changes settings"),
    ("SELECT pg_catalog.set_config('lock_timeout', '0', false)", "unknown", "changes settings"),
    ("SELECT f()", "unknown", "nobody has judged"),
    # Rows that visitors write, too.
    ("DELETE FROM item WHERE true", "unknown", "changes rows"),
    ("UPDATE item SET price = NULL", "unknown", "changes rows"),
    ("UPDATE item SET version_num = '2'", "unknown", "changes rows"),
    ("INSERT INTO item SELECT * FROM other", "unknown", "changes rows"),
    ("INSERT INTO item VALUES (f())", "unknown", "changes rows"),
    ("INSERT INTO item VALUES (1) ON CONFLICT (id) DO UPDATE SET a = (1)", "unknown", "changes"),
    ("INSERT INTO item VALUES ((SELECT a FROM b))", "unknown", "changes rows"),
    ("UPDATE item SET version_num = '2' WHERE true OR version_num = '1'", "unknown", "changes"),
    ("CREATE TABLE bid (id int); INSERT INTO bid (id) SELECT f()", "unknown", "changes rows"),
    # What the serving release may need, or not keep to.
    ("CREATE OR REPLACE FUNCTION f() RETURNS int AS $$ $$", "unknown", "replaces"),
    ("DROP INDEX CONCURRENTLY a", "unknown", "ON CONFLICT"),
    ("ALTER TABLE item DROP CONSTRAINT item_key", "unknown", "ON CONFLICT"),
    ("ALTER TABLE item DROP CONSTRAINT item_pkey CASCADE", "breaking", "drops"),
    ("ALTER TABLE item RENAME CONSTRAINT a TO b", "breaking", "renames"),
    ("ALTER SEQUENCE item_id_seq RESTART WITH 1", "unknown", "nobody has judged"),
    ("ALTER TABLE item ALTER COLUMN note DROP DEFAULT", "breaking", "takes a default away"),
    ("ALTER TABLE item ALTER COLUMN note SET DEFAULT NULL", "breaking", "takes a default away"),
    (
        "ALTER TABLE item ADD COLUMN IF NOT EXISTS note text;"
        "ALTER TABLE item ALTER COLUMN note DROP DEFAULT",
        "breaking",
        "takes a default away",
    ),
    ("CREATE UNIQUE INDEX CONCURRENTLY a ON item (title)", "breaking", "holds"),
    ("ALTER TABLE item ADD CONSTRAINT u UNIQUE USING INDEX a", "breaking", "holds"),
    ("ALTER TABLE item ADD CONSTRAINT c CHECK (price > 0) NOT VALID", "breaking", "holds"),
    ("ALTER TABLE item ADD CHECK (price > 0) NOT VALID", "breaking", "holds"),
    (
        "ALTER TABLE item ADD a int DEFAULT 1,"
        "ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES b (id) NOT VALID",
        "breaking",
        "holds",
    ),
    # NOT NULL that a check has proved.
    (
        "ALTER TABLE item ADD CONSTRAINT n CHECK (note IS NOT NULL) NOT VALID;"
        "ALTER TABLE item VALIDATE CONSTRAINT n; ALTER TABLE item ALTER COLUMN note SET NOT NULL",
        "breaking",
        "holds",
    ),
    # A name that has ceased to be what the migration made.
    ("CREATE TABLE bid (id int); DROP TABLE bid; DROP TABLE bid", "breaking", "drops"),
    (
        "CREATE TABLE bid (id int); ALTER TABLE bid RENAME TO offer; ALTER TABLE bid DROP COLUMN a",
        "breaking",
        "drops",
    ),
    ("CREATE TABLE public.bid (id int); ALTER TABLE bid DROP COLUMN a", "breaking", "drops"),
    (
        "CREATE TABLE shop.bid (id int); CREATE INDEX item ON shop.bid (id); DROP TABLE item",
        "breaking",
        "drops",
    ),
    ("CREATE TEMP TABLE item (id int)", "unknown", "nobody has judged"),
    ("CREATE TABLE bid () INHERITS (item)", "unknown", "nobody has judged"),
    ("CREATE TABLE bid AS SELECT f()", "unknown", "nobody has judged"),
    (
        "CREATE TABLE bid (id int); ALTER TABLE bid ALTER a SET DEFAULT 1, INHERIT item",
        "unknown",
        "",
    ),
    ("CREATE TABLE bid (id int); ALTER TABLE bid SET SCHEMA x", "unknown", "nobody has judged"),
    ("DELETE FROM item", "breaking", "deletes every row"),
    ("TRUNCATE item", "breaking", "deletes every row"),
    ('ALTER TABLE "item" DROP COLUMN "title" CASCADE', "breaking", "drops"),
    ("ALTER TABLE item DROP title", "breaking", "drops"),
    ("ALTER TABLE IF EXISTS ONLY item ADD COLUMN a int, DROP COLUMN b", "breaking", "drops"),
    ('ALTER TABLE "item" RENAME COLUMN "a" TO "b"', "breaking", "renames"),
    ("ALTER TABLE item RENAME TO offer", "breaking", "renames"),
    ('ALTER TABLE "item" ALTER COLUMN "a" TYPE bigint USING "a"::bigint', "breaking", "again"),
    ("ALTER TABLE item ALTER a SET DATA TYPE text", "breaking", "again"),
    ("ALTER TABLE item ADD COLUMN a int NOT NULL", "breaking", "without a default"),
    ("ALTER TABLE item ADD COLUMN a int DEFAULT NULL NOT NULL", "breaking", "without a default"),
    ("CREATE DOMAIN d AS int DEFAULT 1; ALTER TABLE item ADD a d", "unknown", "is a domain"),
    ("ALTER TABLE item ADD a mood NULL", "unknown", "is a domain"),
    ("ALTER TABLE item ADD a timestamptz DEFAULT clock_timestamp()", "blocking", "writes"),
    (
        'ALTER TABLE "item" ADD COLUMN "a" int DEFAULT 3 NOT NULL;'
        'ALTER TABLE "item" ALTER COLUMN "a" DROP DEFAULT',
        "breaking",
        "without a default",
    ),
    ('ALTER TABLE "item" ALTER COLUMN "a" SET NOT NULL', "blocking", "reads"),
    ('CREATE INDEX "a" ON "item" ("title")', "blocking", "builds an index"),
    ("CREATE UNIQUE INDEX ON ONLY shop.item USING btree (title)", "blocking", "builds an index"),
    ("CREATE TABLE shop.item (id int); CREATE INDEX a ON item (id)", "blocking", "builds"),
    ('CREATE TABLE "Item" (id int); CREATE INDEX a ON item (id)', "blocking", "builds"),
    ("CREATE TABLE IF NOT EXISTS item (id int)", "unknown", "nobody has judged"),
    ("CREATE TABLE part PARTITION OF item FOR VALUES IN (1)", "unknown", "nobody has judged"),
    ('DROP INDEX IF EXISTS "a"', "blocking", "locks everybody out"),
    ("ALTER TABLE item ADD COLUMN a uuid DEFAULT gen_random_uuid()", "blocking", "writes"),
    ("ALTER TABLE item ADD COLUMN a int DEFAULT (nextval('s')) NOT NULL", "blocking", "writes"),
    ("ALTER TABLE item ADD COLUMN a bigserial", "blocking", "writes"),
    ("ALTER TABLE item ADD COLUMN a int GENERATED BY DEFAULT AS IDENTITY", "blocking", "writes"),
    ("ALTER TABLE item ADD a int GENERATED ALWAYS AS (b + 1) STORED", "blocking", "writes"),
    ("ALTER TABLE item ADD COLUMN a text NULL UNIQUE", "blocking", "builds an index"),
    ("ALTER TABLE item ADD COLUMN a integer NULL CHECK (a >= 0)", "blocking", "reads"),
    ("ALTER TABLE item ADD COLUMN a int DEFAULT 1 REFERENCES b (id)", "blocking", "reads"),
    ("ALTER TABLE item ADD CONSTRAINT c CHECK (a IN (1, 2))", "blocking", "reads"),
    ("ALTER TABLE item ADD FOREIGN KEY (a) REFERENCES b (id)", "blocking", "reads"),
    ('ALTER TABLE "item" ADD CONSTRAINT "u" UNIQUE ("a", "b")', "blocking", "builds an index"),
    ("ALTER TABLE item ADD PRIMARY KEY (a)", "blocking", "builds an index"),
    ("ALTER TABLE item ADD CONSTRAINT e EXCLUDE USING gist (a WITH =)", "blocking", "builds"),
    ("ALTER TABLE item SET TABLESPACE slow", "unknown", "nobody has judged"),
    ("VACUUM FULL item", "unknown", "nobody has judged"),
    ("LOCK TABLE item", "unknown", "nobody has judged"),
    ("BEGIN; DO $$ BEGIN DROP TABLE item; END $$", "unknown", "nobody has judged"),
    ('ALTER TABLE item DROP COLUMN "DROP NOT NULL"', "breaking", "drops"),
]


@pytest.mark.parametrize("sql", HARMLESS)
def test_what_nobody_notices_passes(sql: str) -> None:
    assert _migration_rules.findings([("0001", sql)]) == []


@pytest.mark.parametrize(("sql", "kind", "problem"), WRONG)
def test_what_somebody_notices_is_found_with_a_remedy(sql: str, kind: str, problem: str) -> None:
    (found,) = _migration_rules.findings([("0001", sql)])
    assert (found.migration, found.kind) == ("0001", kind)
    assert problem in found.problem
    assert found.remedy


def test_a_check_that_is_not_valid_yet_proves_nothing() -> None:
    check = "ALTER TABLE item ADD CONSTRAINT n CHECK (note IS NOT NULL) NOT VALID"
    wanted = "ALTER TABLE item ALTER COLUMN note SET NOT NULL"
    found = _migration_rules.findings([("0001", check), ("0002", wanted)])
    assert [(one.migration, one.kind) for one in found] == [
        ("0001", "breaking"),
        ("0002", "blocking"),
    ]


def test_what_one_migration_makes_is_known_to_those_after_it() -> None:
    make, use = ("0001", "CREATE TABLE bid (id int)"), ("0002", "CREATE INDEX a ON bid (id)")
    assert _migration_rules.findings([make, use]) == []
    assert [one.migration for one in _migration_rules.findings([use, make])] == ["0002"]


def test_long_statements_are_shown_in_part_and_without_values() -> None:
    columns = ", ".join(f"column_{number}" for number in range(40))
    sql = f"CREATE INDEX a ON item ({columns}) WHERE title = 'secret'"
    (found,) = _migration_rules.findings([("0001", sql)])
    assert found.statement.endswith("...")
    (short,) = _migration_rules.findings([("0001", "DELETE FROM item RETURNING 'secret'")])
    assert short.statement == "DELETE FROM item RETURNING ''"


def test_statements_end_where_they_end() -> None:
    sql = """SELECT ';' ; select "a;b" -- ; no\n , $x$ ; $$ ; $x$; -- last"""
    assert _statements.split(sql) == ["SELECT ''", "select \"a;b\" , ''"]


@pytest.mark.parametrize(
    ("name", "folded"),
    [
        ("Item", "item"),
        ('"Item"', "Item"),
        ('"public" . Item', "public.item"),
        ('shop . "Item"', "shop.Item"),
    ],
)
def test_names_are_folded_as_postgresql_does(name: str, folded: str) -> None:
    assert _statements.folded(name) == folded
