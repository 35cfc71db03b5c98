# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Databases that a dump might not do justice to: dumped, read back, and put back from the dump."""

from __future__ import annotations

import json
import shlex
import subprocess
import typing as t

import operations
import pytest
from testinfra.host import Host

LOCAL = "/var/backups/slipway"
UNIT = "slipway-backup.service"
# Rows of the operator's own in a table of the extension are dumped with the others.
PLACES = """
CREATE TABLE places (name text, at geography(Point, 4326));
INSERT INTO places SELECT n::text, ST_MakePoint(n, n / 2.0) FROM generate_series(1, 90) n;
CREATE INDEX ON places USING gist (at);
INSERT INTO spatial_ref_sys (srid, auth_name, auth_srid, proj4text)
VALUES (990001, 'own', 1, '+proj=longlat');
"""
NEAR = """
SELECT (SELECT count(*) FROM places WHERE ST_DWithin(at, ST_MakePoint(45, 22.5), 500000)),
       (SELECT auth_name FROM spatial_ref_sys WHERE srid = 990001)
"""
# 1 GiB that does not compress, in values that PostgreSQL stores apart from their rows; no WAL,
# because it is the dump that is tried.
LARGE = """
CREATE UNLOGGED TABLE large AS
SELECT i, (SELECT string_agg(sha512((i * 100000 + n)::text::bytea), '')
           FROM generate_series(1, 16384) n) AS body
FROM generate_series(1, 1024) i
"""
SUM = "SELECT count(*), sum(length(body)), md5(string_agg(md5(body), '' ORDER BY i)) FROM large"


def sql(host: Host, database: str, statement: str) -> str:
    psql = f"runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 -d {database} -c"
    return host.check_output(f"{psql} {shlex.quote(statement)}").strip()


def done(run: subprocess.CompletedProcess[str]) -> None:
    assert run.returncode == 0, run.stdout


def dumped(host: Host, database: str) -> dict[str, t.Any]:
    """What the state tells of a database after a run that succeeded."""
    ended = host.run(f"systemctl start {UNIT}")
    assert ended.rc == 0, ended.stderr
    found = json.loads(host.check_output("cat /var/lib/slipway/backup/state.json"))["databases"]
    assert found[database]["verified"]
    result: dict[str, t.Any] = found[database]
    return result


def put_back(host: Host, database: str, dump: str) -> None:
    asked = {"dump": dump, "database": database, "confirmed": database}
    for step in ("load", "swap", "report", "finish"):
        wanted = {"step": step, **asked}
        done(operations.apply(host, molecule_entry="restore", backup_restore=wanted))
    for name in sql(host, "postgres", "SELECT datname FROM pg_database").split():
        if name.startswith(f"{database}_before_"):
            sql(host, "postgres", f'DROP DATABASE "{name}"')


@pytest.mark.long
def test_a_database_with_postgis_comes_back_from_its_dump(
    host: Host, scenario: dict[str, t.Any]
) -> None:
    geo = {"name": "geo", "password": "lab-only-geo", "extensions": ["postgis"]}
    more = {
        "postgres_databases": [*scenario["postgres_databases"], geo],
        "backup_databases": [*scenario["backup_databases"], {"name": "geo"}],
    }
    try:
        for role in ("postgres", "backup"):
            done(operations.apply(host, molecule_role=role, **more))
        sql(host, "geo", PLACES)
        before = sql(host, "geo", NEAR)
        assert before.partition("|")[2] == "own" and int(before.partition("|")[0]) > 1
        result = dumped(host, "geo")
        record = f"{LOCAL}/geo/{result['file'].replace('.dump', '.json')}"
        told = json.loads(host.check_output(f"cat {record}"))
        assert told["extensions"]["postgis"]
        assert told["tables"] == {"public.places": 90}, "those of the extension are its own affair"
        sql(host, "geo", "DROP TABLE places; DELETE FROM spatial_ref_sys WHERE srid = 990001")
        put_back(host, "geo", f"{LOCAL}/geo/{result['file']}")
        assert sql(host, "geo", NEAR) == before
    finally:
        sql(host, "postgres", "DROP DATABASE IF EXISTS geo WITH (FORCE)")
        done(operations.apply(host))


@pytest.mark.long
def test_a_gigabyte_of_rows_comes_back_from_its_dump(host: Host) -> None:
    sql(host, "blog", "DROP TABLE IF EXISTS large")
    sql(host, "blog", LARGE)
    try:
        before = sql(host, "blog", SUM)
        assert before.startswith(f"1024|{2**30}|")
        result = dumped(host, "blog")
        assert result["size"] > 2**30
        sql(host, "blog", "DELETE FROM large")
        put_back(host, "blog", f"{LOCAL}/blog/{result['file']}")
        assert sql(host, "blog", SUM) == before
    finally:
        sql(host, "blog", "DROP TABLE IF EXISTS large")
