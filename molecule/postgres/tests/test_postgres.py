# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What owners, strangers, the pooler and the operator meet."""

from __future__ import annotations

import json
import os
import subprocess
import time
import typing as t
from pathlib import Path

import pytest
from testinfra.backend.base import CommandResult
from testinfra.host import Host

Scenario = dict[str, t.Any]


def major(host: Host) -> str:
    return "15" if host.system_info.release.startswith("12") else "17"


def as_superuser(host: Host, sql: str, database: str = "postgres") -> str:
    return host.check_output(
        "runuser -u postgres -- psql -XAt --dbname=%s --command=%s", database, sql
    )


def connect(
    host: Host, scenario: Scenario, user: str, database: str, sql: str, options: str = ""
) -> CommandResult:
    """Over TCP, as applications do."""
    passwords = {
        entry.get("owner", entry["name"]): entry["password"] for entry in databases(scenario)
    }
    pooler = scenario["postgres_pooler"]
    password = {**passwords, pooler["user"]: pooler["password"]}[user]
    target = f"user={user} dbname={database} host=127.0.0.1 sslmode=require {options}"
    return host.run("PGPASSWORD=%s psql -XAt %s --command=%s", password, target, sql)


def databases(scenario: Scenario) -> list[dict[str, t.Any]]:
    return list(scenario["postgres_databases"])


def postmaster(host: Host) -> str:
    return host.check_output(f"head -n 1 /var/lib/postgresql/{major(host)}/main/postmaster.pid")


def configuration(host: Host) -> str:
    return host.check_output(f"cd /etc/postgresql/{major(host)}/main && sha256sum *.conf conf.d/*")


def apply(host: Host, **variables: t.Any) -> subprocess.CompletedProcess[str]:
    """Run the role again on one machine, as an operator who changed a variable."""
    shared = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"]) / "molecule/shared"
    command = ["ansible-playbook", f"--inventory={shared}/inventory.yml", f"{shared}/converge.yml"]
    command += [f"--limit={host.backend.get_hostname()}", f"--extra-vars={json.dumps(variables)}"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_pages_have_checksums(host: Host) -> None:
    assert as_superuser(host, "SHOW data_checksums") == "on"


def test_an_owner_connects_with_tls_and_scram(host: Host, scenario: Scenario) -> None:
    sql = "SELECT ssl, version >= 'TLSv1.2' FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    assert connect(host, scenario, "shop", "shop", sql).stdout == "t|t\n"
    kept = as_superuser(host, "SELECT DISTINCT left(rolpassword, 14) FROM pg_authid")
    assert kept.split() == ["SCRAM-SHA-256$"]


def test_a_password_need_not_be_ascii(host: Host, scenario: Scenario) -> None:
    assert connect(host, scenario, "writer", "blog", "SELECT 1").stdout == "1\n"


def test_a_connection_without_tls_is_refused(host: Host, scenario: Scenario) -> None:
    refused = connect(host, scenario, "shop", "shop", "SELECT 1", "sslmode=disable")
    assert refused.rc != 0
    assert "no encryption" in refused.stderr


def test_a_wrong_password_is_refused(host: Host) -> None:
    target = "user=shop dbname=shop host=127.0.0.1 sslmode=require"
    refused = host.run("PGPASSWORD=wrong psql %s --command='SELECT 1'", target)
    assert "password authentication failed" in refused.stderr


def test_an_address_that_was_not_declared_is_refused(host: Host, scenario: Scenario) -> None:
    address = host.check_output("hostname --ip-address").split()[0]
    refused = connect(host, scenario, "shop", "shop", "SELECT 1", f"hostaddr={address}")
    assert "pg_hba.conf rejects connection" in refused.stderr


def test_other_users_of_the_machine_are_refused(host: Host) -> None:
    refused = host.run("runuser -u nobody -- psql --username=postgres --command='SELECT 1'")
    assert "Peer authentication failed" in refused.stderr
    assert "rejects connection" in host.run("psql --username=shop shop -c 'SELECT 1'").stderr


@pytest.mark.parametrize("database", ["blog", "postgres", "template1"])
def test_an_owner_reaches_no_other_database(host: Host, scenario: Scenario, database: str) -> None:
    refused = connect(host, scenario, "shop", database, "SELECT 1")
    assert "pg_hba.conf rejects connection" in refused.stderr
    sql = f"SELECT has_database_privilege('shop', '{database}', 'CONNECT')"
    assert as_superuser(host, sql) == "f"


def test_an_owner_works_in_its_own_schema_public(host: Host, scenario: Scenario) -> None:
    sql = "CREATE TABLE works (id int); DROP TABLE works; CREATE SCHEMA mine; DROP SCHEMA mine"
    assert connect(host, scenario, "writer", "blog", sql).rc == 0


def test_a_long_statement_is_cancelled(host: Host, scenario: Scenario) -> None:
    ended = connect(host, scenario, "shop", "shop", "SELECT pg_sleep(20)")
    assert "canceling statement due to statement timeout" in ended.stderr
    assert connect(host, scenario, "writer", "blog", "SHOW statement_timeout").stdout == "30s\n"


def test_postgis_works_where_it_was_declared(host: Host, scenario: Scenario) -> None:
    sql = "SELECT ST_AsText(ST_Centroid('POLYGON((0 0,2 0,2 2,0 2,0 0))'::geometry))"
    assert connect(host, scenario, "shop", "shop", sql).stdout == "POINT(1 1)\n"
    assert connect(host, scenario, "writer", "blog", sql).rc != 0


def test_statements_are_counted_but_not_ours_about_passwords(host: Host) -> None:
    sql = "SELECT count(*) > 0, count(*) FILTER (WHERE query ~ 'PASSWORD') FROM pg_stat_statements"
    assert as_superuser(host, sql) == "t|0"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_connections", "42"),
        ("shared_buffers", "128MB"),
        ("log_min_duration_statement", "1s"),
        ("idle_in_transaction_session_timeout", "1min"),
        ("wal_level", "replica"),
        ("ssl_min_protocol_version", "TLSv1.2"),
    ],
)
def test_the_server_follows_what_was_decided(host: Host, name: str, value: str) -> None:
    assert as_superuser(host, f"SHOW {name}") == value


def look_up(host: Host, scenario: Scenario, name: str) -> str:
    sql = f"SELECT username, left(password, 6) FROM slipway.user_lookup('{name}')"  # noqa: S608
    done = connect(host, scenario, "pooler", "shop", sql)
    assert done.rc == 0, done.stderr
    return done.stdout.strip()


def test_the_pooler_finds_who_may_connect_and_nobody_else(host: Host, scenario: Scenario) -> None:
    assert look_up(host, scenario, "shop") == "shop|SCRAM-"
    assert look_up(host, scenario, "writer") == ""
    assert look_up(host, scenario, "postgres") == ""


def test_the_pooler_does_not_find_who_has_expired(host: Host, scenario: Scenario) -> None:
    as_superuser(host, "ALTER ROLE shop VALID UNTIL '2020-01-01'")
    try:
        assert look_up(host, scenario, "shop") == ""
    finally:
        as_superuser(host, "ALTER ROLE shop VALID UNTIL 'infinity'")
    assert look_up(host, scenario, "shop") == "shop|SCRAM-"


def test_only_the_pooler_may_look_up(host: Host, scenario: Scenario) -> None:
    refused = connect(host, scenario, "shop", "shop", "SELECT * FROM slipway.user_lookup('shop')")
    assert "permission denied" in refused.stderr


def test_secrets_are_nowhere_to_be_read(host: Host, scenario: Scenario) -> None:
    places = "/var/log /etc/postgresql /etc/systemd /var/lib/slipway /proc/[0-9]*/cmdline"
    for entry in [*databases(scenario), scenario["postgres_pooler"]]:
        first, *rest = entry["password"]
        pattern = f"[{first}]{''.join(rest)}"  # which does not find itself among the processes
        assert host.run("grep -rsl -e %s " + places, pattern).stdout == ""
        assert host.run("journalctl --no-pager | grep -e %s", pattern).stdout == ""
    assert host.run("grep -rlF 'SCRAM-SHA-256$' /var/log").stdout == ""


def test_the_server_answers_again_after_kill_9(host: Host) -> None:
    before = postmaster(host)
    host.check_output("kill -9 %s", before)
    deadline = time.monotonic() + 120
    while host.run("runuser -u postgres -- psql -c 'SELECT 1'").rc != 0:
        assert time.monotonic() < deadline, "no answer within 120 s"
        time.sleep(0.5)
    assert postmaster(host) != before


def test_an_impossible_number_of_connections_is_refused(host: Host) -> None:
    refused = apply(host, postgres_settings={"max_connections": 20})
    assert refused.returncode != 0
    assert "max_connections is 20, but 42 are promised" in refused.stdout + refused.stderr


@pytest.mark.either
@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"postgres_settings": {"work_mem": "plenty"}}, 'invalid value for parameter "work_mem"'),
        ({"postgres_settings": {"wrok_mem": "8MB"}}, 'unrecognized configuration parameter "wrok'),
        ({"postgres_settings": {"shared_buffers": "4TB"}}, "Cannot allocate memory"),
        ({"postgres_clients": ["10.0.0.0/99"]}, "invalid CIDR mask"),
        ({"postgres_tls_certificate": "/etc/nowhere.pem"}, "/etc/nowhere.pem"),
    ],
)
def test_a_bad_configuration_never_replaces_a_good_one(
    host: Host, variables: dict[str, t.Any], words: str
) -> None:
    before = (configuration(host), postmaster(host))
    refused = apply(host, **variables)
    assert refused.returncode != 0
    assert words in refused.stdout + refused.stderr
    assert (configuration(host), postmaster(host)) == before
    assert as_superuser(host, "SELECT 1") == "1"


def test_another_major_never_starts_empty(host: Host) -> None:
    refused = apply(host, postgres_version=16, postgres_repository="pgdg")
    assert refused.returncode != 0
    assert f"holds the PostgreSQL cluster {major(host)}/main" in refused.stdout + refused.stderr
    assert not host.file("/etc/apt/sources.list.d/pgdg.sources").exists
    assert host.file("/etc/postgresql/16").exists is False


def test_a_restart_happens_only_where_it_is_needed(host: Host) -> None:
    before = postmaster(host)
    assert apply(host, postgres_settings={"work_mem": "7MB"}).returncode == 0
    assert (as_superuser(host, "SHOW work_mem"), postmaster(host)) == ("7MB", before)
    assert apply(host, postgres_settings={"shared_buffers": "96MB"}).returncode == 0
    assert as_superuser(host, "SHOW shared_buffers") == "96MB"
    assert postmaster(host) != before
    assert apply(host).returncode == 0


def test_a_new_password_replaces_the_old_one(host: Host, scenario: Scenario) -> None:
    other = "canary-shop-next"
    first, *rest = databases(scenario)
    done = apply(host, postgres_databases=[{**first, "password": other}, *rest])
    assert done.returncode == 0
    assert "canary" not in done.stdout + done.stderr
    refused = connect(host, scenario, "shop", "shop", "SELECT 1")
    assert "password authentication failed" in refused.stderr
    assert apply(host).returncode == 0
    assert connect(host, scenario, "shop", "shop", "SELECT 1").rc == 0
