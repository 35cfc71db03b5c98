# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the pools promise, asked through psql of the running PgBouncer and PostgreSQL."""

from __future__ import annotations

import shlex
import time
import typing as t

import pytest
from operations import apply
from testinfra.backend.base import CommandResult
from testinfra.host import Host

TARGET = "host=127.0.0.1 port=6432 dbname=shop user=shop sslmode=require"
Query = t.Callable[..., CommandResult]


@pytest.fixture(scope="session")
def passwords(scenario: dict[str, t.Any]) -> dict[str, str]:
    declared = {each["name"]: each["password"] for each in scenario["postgres_databases"]}
    pooler = scenario["postgres_pooler"]
    return {**declared, pooler["user"]: pooler["password"], "wrong": "wrong"}


@pytest.fixture
def query(host: Host, passwords: dict[str, str]) -> Query:
    """What a client gets that logs in over TCP as the owner of the database."""

    def query(
        sql: str, database: str = "shop", user: str = "", key_of: str = "", tls: str = "require"
    ) -> CommandResult:
        user = user or database
        password = shlex.quote(passwords[key_of or user])
        target = f"host=127.0.0.1 port=6432 dbname={database} user={user} sslmode={tls}"
        # A login that hangs is no refusal.
        client = f"timeout --foreground 15 psql -XAtd '{target}'"
        return host.run(f"PGPASSWORD={password} {client} -c {shlex.quote(sql)} 2>&1")

    return query


def superuser(host: Host, sql: str) -> str:
    return str(host.check_output(f"runuser -u postgres -- psql -XAtc {shlex.quote(sql)}"))


def console(host: Host, sql: str, user: str = "postgres", name: str = "pgbouncer") -> CommandResult:
    target = f"host=/run/pgbouncer port=6432 dbname=pgbouncer user={name}"
    return host.run(f"runuser -u {user} -- psql -XAtd '{target}' -c {shlex.quote(sql)} 2>&1")


def main_process(host: Host) -> str:
    return str(host.check_output("systemctl show -P MainPID pgbouncer"))


def test_the_owner_logs_in_with_the_password_of_the_database(query: Query) -> None:
    assert query("SELECT current_user || '@' || current_database()").stdout.strip() == "shop@shop"


def test_a_wrong_password_is_refused(query: Query) -> None:
    refused = query("SELECT 1", key_of="wrong")
    assert refused.rc == 2
    assert "authentication failed" in refused.stdout


def test_nobody_logs_in_as_a_user_that_does_not_exist(query: Query) -> None:
    assert query("SELECT 1", user="nobody", key_of="shop").rc == 2


def test_an_owner_is_refused_by_another_database(query: Query) -> None:
    assert query("SELECT 1", database="blog").rc == 0
    assert query("SELECT 1", database="blog", user="shop").rc == 2


@pytest.mark.parametrize("database", ["hidden", "postgres", "template1", "pgbouncer"])
def test_only_declared_databases_have_a_pool(query: Query, database: str) -> None:
    assert query("SELECT 1", database=database, user="shop").rc == 2


def test_an_undeclared_database_is_there_but_out_of_reach(host: Host, query: Query) -> None:
    assert superuser(host, "SELECT 1 FROM pg_database WHERE datname = 'hidden'") == "1"
    assert query("SELECT 1", database="hidden").rc == 2


@pytest.mark.parametrize("tls", ["disable", "require"])
def test_clients_must_encrypt(query: Query, tls: str) -> None:
    assert (query("SELECT 1", tls=tls).rc == 0) is (tls == "require")


def test_the_server_is_reached_over_tls(query: Query) -> None:
    sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    assert query(sql).stdout.strip() == "t"


def test_an_expired_role_is_refused(host: Host, query: Query) -> None:
    superuser(host, "ALTER ROLE blog VALID UNTIL '2001-01-01'")
    try:
        # A fresh process has asked for nobody's secret yet.
        host.check_output("systemctl restart pgbouncer")
        assert query("SELECT 1", database="blog").rc == 2
    finally:
        superuser(host, "ALTER ROLE blog VALID UNTIL 'infinity'")
    host.check_output("systemctl restart pgbouncer")
    assert query("SELECT 1", database="blog").rc == 0


def test_nobody_logs_in_as_a_superuser(host: Host, passwords: dict[str, str], query: Query) -> None:
    superuser(host, "CREATE ROLE chief SUPERUSER LOGIN PASSWORD 'blog-secret'")
    try:
        assert query("SELECT 1", user="chief", key_of="blog").rc == 2
    finally:
        superuser(host, "DROP ROLE chief")


def test_an_unknown_startup_parameter_is_refused(host: Host, passwords: dict[str, str]) -> None:
    login = f"PGOPTIONS='-c statement_timeout=1' PGPASSWORD={shlex.quote(passwords['shop'])}"
    assert host.run(f"{login} psql -XAtd '{TARGET}' -c 'SELECT 1'").rc == 2


def test_transactions_share_the_server_connections(host: Host, passwords: dict[str, str]) -> None:
    """Five clients at once, each with a slow query, on a pool of two."""
    one = f"psql -XAtd '{TARGET}' -c \"$QUERY\""
    login = f"export PGPASSWORD={shlex.quote(passwords['shop'])}"
    login += "; QUERY='SELECT pg_backend_pid() FROM pg_sleep(0.3)'"
    said = host.check_output(f"{login}; for client in 1 2 3 4 5; do {one} & done; wait")
    assert len(said.split()) == 5
    assert len(set(said.split())) <= 2


def test_the_figures_are_the_declared_ones(host: Host) -> None:
    rows = console(host, "SHOW CONFIG").stdout.splitlines()
    shown = dict(row.split("|")[:2] for row in rows)
    expected = {
        "pool_mode": "transaction",
        "max_client_conn": "1000",
        "default_pool_size": "25",
        "max_db_connections": "100",
        "server_idle_timeout": "600",
        "client_idle_timeout": "0",
        "server_connect_timeout": "15",
        "query_wait_timeout": "60",
        "ignore_startup_parameters": "extra_float_digits",
    }
    assert {key: shown[key] for key in expected} == expected


def test_prepared_statements_are_on_where_pgbouncer_has_them(host: Host) -> None:
    shown = console(host, "SHOW CONFIG").stdout
    newer = host.system_info.release.startswith("13")
    assert ("max_prepared_statements|200|" in shown) is newer


def test_the_console_is_for_the_service_s_own_user_on_the_socket(host: Host, query: Query) -> None:
    assert console(host, "SHOW POOLS").rc == 0
    assert console(host, "SHOW POOLS", user="nobody").rc == 2
    assert console(host, "SHOW POOLS", name="pooler").rc == 2
    assert query("SHOW POOLS", database="pgbouncer", user="pooler").rc == 2


def test_only_the_declared_addresses_answer(host: Host) -> None:
    listening = host.check_output("ss -Hltn '( sport = :6432 )'").splitlines()
    assert [line.split()[3] for line in listening] == ["127.0.0.1:6432"]


def test_files_may_have_twice_as_many_as_clients(host: Host) -> None:
    limits = host.check_output(f"grep 'open files' /proc/{main_process(host)}/limits")
    assert int(limits.split()[3]) > 2 * 1000


def test_secrets_are_for_root_and_pgbouncer(host: Host, passwords: dict[str, str]) -> None:
    users = host.file("/etc/pgbouncer/userlist.txt")
    assert (users.user, users.group, users.mode) == ("root", "postgres", 0o640)
    assert users.content_string.count("\n") == 1
    for password in passwords.values():
        assert host.run(f"journalctl --no-pager | grep -qF {shlex.quote(password)}").rc == 1


def test_a_changed_pool_keeps_its_clients(
    host: Host, passwords: dict[str, str], scenario: dict[str, t.Any]
) -> None:
    """A client that was connected before a change works on after it, on the same connection."""
    before = main_process(host)
    shop, blog = scenario["pgbouncer_databases"]
    session = "(echo 'SELECT 1;'; while test -e /run/hold; do sleep 0.2; done; echo 'SELECT 2;')"
    client = f"PGPASSWORD={shlex.quote(passwords['shop'])} psql -XAtd '{TARGET}'"
    host.check_output(f"touch /run/hold; ({session} | {client} >/run/session 2>&1) >/dev/null &")
    try:
        done = apply(host, pgbouncer_databases=[{**shop, "pool_size": 3}, blog])
        assert done.returncode == 0, done.stdout
        pools = console(host, "SHOW DATABASES").stdout.splitlines()
        assert any(row.startswith("shop|") and "|3|" in row for row in pools)
        host.check_output("rm /run/hold")
        deadline = time.monotonic() + 60
        while (said := host.file("/run/session").content_string.split()) != ["1", "2"]:
            assert time.monotonic() < deadline, said
            time.sleep(0.3)
    finally:
        assert apply(host).returncode == 0
    assert main_process(host) == before


def test_a_new_address_is_listened_on(host: Host, query: Query) -> None:
    try:
        done = apply(host, pgbouncer_listen_addresses=["127.0.0.1", "127.0.0.2"])
        assert done.returncode == 0, done.stdout
        assert "127.0.0.2:6432" in host.check_output("ss -Hltn")
    finally:
        assert apply(host).returncode == 0
    assert query("SELECT 1").rc == 0


BAD = {
    "setting": {"pgbouncer_settings": {"pool_mode": "nonsense"}},
    "certificate": {"pgbouncer_tls_certificate": "/etc/hostname"},
    "client": {"pgbouncer_clients": ["not-an-address"]},
}


@pytest.mark.either
@pytest.mark.parametrize("variables", BAD.values(), ids=BAD)
def test_a_bad_value_is_refused_and_the_pools_go_on(
    host: Host, query: Query, variables: dict[str, t.Any]
) -> None:
    def state() -> tuple[str, str]:
        return host.check_output("sha256sum /etc/pgbouncer/*"), main_process(host)

    before = state()
    done = apply(host, **variables)
    assert done.returncode != 0
    assert "refused and nothing was written" in " ".join(done.stdout.split())
    assert state() == before
    assert query("SELECT 1").rc == 0
    assert host.check_output("pgrep -cx pgbouncer") == "1"  # no trial is left


def test_clients_are_served_again_after_kill_9(host: Host, query: Query) -> None:
    before = main_process(host)
    host.check_output(f"kill -9 {before}")
    deadline = time.monotonic() + 120
    while query("SELECT 1").rc != 0:
        assert time.monotonic() < deadline, host.run("journalctl -n 20 -u pgbouncer").stdout
        time.sleep(0.3)
    assert main_process(host) not in ("0", before)


@pytest.mark.parametrize("unit", ["pgbouncer", "postgresql@*"])
def test_clients_do_not_notice_a_restart(host: Host, passwords: dict[str, str], unit: str) -> None:
    """Each asks three times on one connection, so that most are between two statements."""
    asks = "-c 'SELECT 1' -c 'SELECT pg_sleep(0.1)' -c 'SELECT 2'"
    client = f"PGPASSWORD={shlex.quote(passwords['shop'])} psql -XAtqd '{TARGET}' {asks}"
    once = f"{client} 2>&1 | tr '\\n' ' '; echo"
    visit = f"while test -e /run/visits; do {once}; done >/run/visited"
    host.check_output("touch /run/visits; rm -f /run/visited*")
    # A file each: lines of two would meet in one.
    for number in (1, 2):
        host.check_output(f"({visit}{number}) >/dev/null 2>&1 &")
    try:
        for _time in range(2):
            host.check_output(f"sleep 1; systemctl restart '{unit}'; sleep 1")
        enough = "test $(cat /run/visited1 /run/visited2 | wc -l) -gt 4"
        host.check_output(f"timeout 120 sh -c 'until {enough}; do sleep 0.3; done'")
    finally:
        host.check_output("rm /run/visits; sleep 2")
    visited = host.check_output("cat /run/visited1 /run/visited2").splitlines()
    assert len(visited) > 4
    assert {line.strip() for line in visited} == {"1  2"}


def test_a_stopped_pooler_leaves_the_server_its_shared_memory(host: Host) -> None:
    """Both run as postgres, and systemd likes to clean up after the last process of a unit."""
    listing = "ls /dev/shm; ipcs -m | awk '/postgres/ { print $1, $2 }'"
    before = host.check_output(listing)
    assert "PostgreSQL" in before
    host.check_output("systemctl restart pgbouncer")
    assert host.check_output(listing) == before
