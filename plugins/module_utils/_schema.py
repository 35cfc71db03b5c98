# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Questions whose answers tell whether a copy is the database it was taken of. Pure.

A backup records the answers, whoever restores it asks again: both must ask the very same.
"""

from __future__ import annotations

# Tables, columns, constraints, indexes and triggers, whatever order they were made in.
FINGERPRINT = """
SELECT md5(coalesce(string_agg(line, E'\\n' ORDER BY line COLLATE "C"), '')) FROM (
  SELECT format('%s.%s %s %s %s', n.nspname, c.relname, a.attname,
                format_type(a.atttypid, a.atttypmod), a.attnotnull) AS line
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
  UNION ALL
  SELECT format('%s %s', conrelid::regclass, pg_get_constraintdef(k.oid))
  FROM pg_constraint k JOIN pg_namespace n ON n.oid = connamespace
  WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
  UNION ALL
  SELECT indexdef FROM pg_indexes
  WHERE schemaname <> 'information_schema' AND schemaname !~ '^pg_'
  UNION ALL
  SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal) AS lines
"""

# Of those that only go up: what a copy must have reached. They know no snapshot, so it may be past.
# Unlogged ones begin anew in a physical copy.
SEQUENCES = """
SELECT coalesce(json_object_agg(schemaname || '.' || sequencename, last_value)
                FILTER (WHERE increment_by > 0 AND NOT cycle AND last_value IS NOT NULL), '{}')
FROM pg_sequences
JOIN pg_namespace n ON n.nspname = schemaname
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = sequencename AND c.relpersistence = 'p'
"""

# Where frameworks keep which migrations were applied: the newest of each Django application, and
# the heads of Alembic.
REVISIONS = {
    "django_migrations": (
        "SELECT DISTINCT ON (app) 'django:' || app, name FROM {table} ORDER BY app, id DESC"
    ),
    "alembic_version": (
        "SELECT 'alembic', string_agg(version_num, ',' ORDER BY version_num) FROM {table}"
    ),
}

# The text of a value depends on them.
HASH_SETTINGS = (
    "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'iso_8601'; "
    "SET extra_float_digits = 1; SET bytea_output = 'hex'; SET lc_monetary = 'C'"
)
# Neither the order of the rows nor their number of bytes is held in memory: each row's digest is
# one summand.
HASH = """
SELECT md5(count(*) || ' ' || coalesce(sum(('x' || left(md5((t.*)::text), 16))::bit(64)::bigint), 0)
           || ' ' || coalesce(sum(('x' || right(md5((t.*)::text), 16))::bit(64)::bigint), 0))
FROM ONLY {table} AS t
"""


def quoted(name: str) -> str:
    """A table as records name it, `schema.table`, so that SQL reads it as one."""
    schema, _dot, table = name.partition(".")
    return ".".join(f'"{part.replace(chr(34), chr(34) * 2)}"' for part in (schema, table))


def content_hash(table: str) -> str:
    """The query for the content hash of a table; to be asked under HASH_SETTINGS."""
    return HASH.format(table=quoted(table)).strip()


def revision_query(table: str) -> str:
    """The query for what a framework's table tells of migrations; empty for any other table."""
    query = REVISIONS.get(table.partition(".")[2], "")
    return query.format(table=quoted(table))
