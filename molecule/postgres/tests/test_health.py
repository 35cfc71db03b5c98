# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Faults of real servers, and what postgres_health says of them.

Faults that need a restart or another configuration happen to a server of our own, beside the
machine's, and to its replica.
"""

from __future__ import annotations

import contextlib
import time
import typing as t

import pytest
from operations import unwell
from testinfra.host import Host

# The faults are answered by our own code.
pytestmark = pytest.mark.either

Rows = dict[str, dict[str, str]]
Examine = t.Callable[..., Rows]
ROOM, PRIMARY, REPLICA = "/var/lib/postgresql/health", 5498, 5499
SETTINGS = (
    f"-k /var/run/postgresql -c listen_addresses= -c max_connections=10"
    f" -c archive_mode=on -c archive_command={ROOM}/archive -c archive_timeout=60"
    " -c wal_keep_size=64"
)


def as_postgres(host: Host, command: str) -> str:
    return str(host.check_output("runuser -u postgres -- sh -ec %s", command))


def control(host: Host, name: str, port: int, action: str) -> None:
    programs = host.check_output("ls -d /usr/lib/postgresql/*/bin")
    as_postgres(
        host,
        f"cd {ROOM}; {programs}/pg_ctl -w -D {ROOM}/{name} -l {ROOM}/{name}.log"
        f" -o '-p {port} {SETTINGS}' {action} >/dev/null",
    )


def sql(host: Host, statement: str, port: int = PRIMARY) -> str:
    return host.check_output(
        f"runuser -u postgres -- psql -XAtq -h /var/run/postgresql -p {port} -c %s", statement
    )


def hold(host: Host, name: str, statement: str, port: int = PRIMARY) -> str:
    """A session that stays, as a unit that can be stopped."""
    client = f"psql -X -h /var/run/postgresql -p {port} -d postgres"
    return f'systemd-run --collect --quiet --unit={name} -p User=postgres {client} -c "{statement}"'


def until(host: Host, condition: str) -> None:
    """However slow the machine is: not for a time, but until it is so."""
    deadline = time.monotonic() + 120
    while sql(host, condition) != "t":
        assert time.monotonic() < deadline, condition
        time.sleep(0.3)


@pytest.fixture(scope="module")
def servers(host: Host) -> t.Iterator[None]:
    """A primary that archives, and its replica over a slot."""
    programs = host.check_output("ls -d /usr/lib/postgresql/*/bin")
    host.check_output(f"rm -rf {ROOM} && install -d -o postgres -m 0700 {ROOM}")
    as_postgres(host, f"cd {ROOM}; printf '#!/bin/sh\\ntrue\\n' >archive; chmod 0755 archive")
    as_postgres(host, f"{programs}/initdb -k -A trust -D {ROOM}/primary >/dev/null")
    control(host, "primary", PRIMARY, "start")
    as_postgres(
        host,
        f"cd {ROOM}; {programs}/pg_basebackup -h /var/run/postgresql -p {PRIMARY} -c fast -C"
        f" -S replica -R -D {ROOM}/replica",
    )
    control(host, "replica", REPLICA, "start")
    until(host, "SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'")
    yield
    for name, port in (("replica", REPLICA), ("primary", PRIMARY)):
        with contextlib.suppress(AssertionError):
            control(host, name, port, "-m immediate stop")
    host.run(f"rm -rf {ROOM}")


@pytest.fixture
def primary(servers: None, examine: Examine) -> t.Callable[..., Rows]:
    return lambda **options: examine("postgres", port=PRIMARY, **options)


def test_the_machine_s_server_is_well(examine: Examine) -> None:
    rows = examine("postgres")
    assert unwell(rows) == {}
    assert rows["login"]["value"] == "SELECT 1 answered"


def test_a_primary_and_its_replica_are_well(
    examine: Examine, primary: t.Callable[..., Rows]
) -> None:
    rows = primary(replicas=1, archive_required=True)
    assert unwell(rows) == {}
    assert rows["slot replica"]["value"].startswith("active")
    standby = examine("postgres", port=REPLICA)
    assert unwell(standby) == {}
    assert standby["replication"]["value"].startswith("streaming")


def test_a_wedged_server_is_critical_in_time(host: Host, primary: t.Callable[..., Rows]) -> None:
    pid = host.check_output(f"head -n 1 {ROOM}/primary/postmaster.pid")
    host.check_output(f"kill -STOP {pid}")
    try:
        (row,) = primary(timeout=6).values()
    finally:
        host.check_output(f"kill -CONT {pid}")
    assert row["state"] == "critical"
    assert "no login is answered" in row["value"]


def test_a_server_without_a_place_left_is_critical(
    host: Host, primary: t.Callable[..., Rows]
) -> None:
    names = [f"health-{number}" for number in range(7)]
    for name in names:
        host.check_output(hold(host, name, "SELECT pg_sleep(600)"))
    try:
        until(
            host, "SELECT count(*) = 7 FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)'"
        )
        rows = primary()
    finally:
        host.run(f"systemctl stop {' '.join(names)}")
        sql(
            host,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ~ 'sleep.600'"
            " AND pid <> pg_backend_pid()",
        )
    assert rows["connections"]["state"] == "critical"
    assert rows["connections"]["value"] == "7 of 7 used"


def test_an_old_transaction_is_told(host: Host, primary: t.Callable[..., Rows]) -> None:
    host.check_output(hold(host, "health-old", "SELECT pg_sleep(600)"))
    try:
        host.check_output("sleep 4")
        assert primary(transaction_warning_seconds=2)["oldest transaction"]["state"] == "warning"
        rows = primary(transaction_warning_seconds=1, transaction_critical_seconds=2)
        assert rows["oldest transaction"]["state"] == "critical"
    finally:
        host.run("systemctl stop health-old")
        sql(
            host,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ~ 'sleep.600'"
            " AND pid <> pg_backend_pid()",
        )


def test_an_archiver_that_fails_is_told_and_then_critical(
    host: Host, primary: t.Callable[..., Rows]
) -> None:
    as_postgres(host, f"printf '#!/bin/sh\\nexit 1\\n' >{ROOM}/archive")
    try:
        sql(host, "CREATE TABLE IF NOT EXISTS t (i int); INSERT INTO t VALUES (1)")
        sql(host, "SELECT pg_switch_wal()")
        host.check_output("sleep 4")
        rows = primary()
        assert rows["archiver"]["state"] == "warning"
        assert "fails at 0000" in rows["archiver"]["value"]
        lagging = primary(archive_warning_seconds=1, archive_critical_seconds=2)
        assert lagging["archiver"]["state"] == "critical"
    finally:
        as_postgres(host, f"printf '#!/bin/sh\\ntrue\\n' >{ROOM}/archive")


def test_slots_that_nobody_reads_hold_wal(host: Host, primary: t.Callable[..., Rows]) -> None:
    sql(host, "SELECT pg_create_physical_replication_slot('idle', true)")
    try:
        sql(host, "SELECT pg_switch_wal()")
        rows = primary(slot_critical_megabytes=100_000)
        assert rows["slot idle"]["state"] == "warning"
        assert "nobody reads it, holds" in rows["slot idle"]["value"]
        more = primary(slot_warning_megabytes=0, slot_critical_megabytes=1)
        assert more["slot idle"]["state"] == "critical"
    finally:
        sql(host, "SELECT pg_drop_replication_slot('idle')")


def test_a_replica_that_hangs_falls_behind_in_bytes(
    host: Host, examine: Examine, primary: t.Callable[..., Rows]
) -> None:
    receiver = host.check_output("pgrep -f '[w]alreceiver'")
    host.check_output(f"kill -STOP {receiver}")
    try:
        sql(host, "CREATE TABLE big AS SELECT repeat('x', 1000) FROM generate_series(1, 5000)")
        host.check_output("sleep 1")
        rows = primary(replicas=1, lag_warning_megabytes=1, lag_critical_megabytes=3)
        assert rows["replica walreceiver"]["state"] == "critical"
    finally:
        host.check_output(f"kill -CONT {receiver}")
        sql(host, "DROP TABLE big")


def test_a_damaged_page_is_critical_once_it_was_met(
    host: Host, primary: t.Callable[..., Rows]
) -> None:
    # Nobody else is to meet the damage.
    options = "WITH (autovacuum_enabled = off)"
    sql(host, f"CREATE TABLE damaged {options} AS SELECT generate_series(1, 100) AS i")
    file = sql(host, "SELECT pg_relation_filepath('damaged')")
    # A page that the server holds in memory is not read.
    control(host, "primary", PRIMARY, "-m fast stop")
    as_postgres(host, f"printf x | dd of={ROOM}/primary/{file} bs=1 seek=8000 conv=notrunc")
    control(host, "primary", PRIMARY, "start")
    assert primary()["pages"]["state"] == "ok"
    assert host.run(f"psql -XU postgres -h /var/run/postgresql -p {PRIMARY} -c 'TABLE damaged'").rc
    try:
        row = primary()["pages"]
        assert (row["state"], row["value"]) == ("critical", "damage was met 1 times in postgres")
    finally:
        sql(host, "DROP TABLE damaged; SELECT pg_stat_reset()")


def test_a_replica_that_is_missing_is_critical_on_both_sides(
    host: Host, examine: Examine, primary: t.Callable[..., Rows]
) -> None:
    control(host, "replica", REPLICA, "-m fast stop")
    rows = primary(replicas=1)
    assert rows["replicas"]["state"] == "critical"
    assert rows["slot replica"]["state"] == "warning"
    control(host, "primary", PRIMARY, "-m fast stop")
    control(host, "replica", REPLICA, "start")
    host.check_output("sleep 2")
    alone = examine("postgres", port=REPLICA)
    assert alone["replication"]["state"] in ("warning", "unknown")
    (gone,) = primary().values()
    assert gone["state"] == "critical"
    assert "nobody listens on" in gone["value"]
    control(host, "primary", PRIMARY, "start")


def test_what_a_role_may_not_see_is_unknown(examine: Examine, scenario: dict[str, t.Any]) -> None:
    database = scenario["postgres_databases"][0]
    login = {"user": database["name"], "database": database["name"], "host": "127.0.0.1"}
    rows = examine("postgres", **login, password=database["password"])
    assert unwell(rows) == {
        "oldest transaction": "unknown",
        "archiver": "unknown",
        "replication": "unknown",
    }
    assert "pg_monitor" in rows["archiver"]["advice"]
    (refused,) = examine("postgres", **login, password=database["password"][::-1]).values()
    assert (refused["state"], "authentication failed" in refused["value"]) == ("critical", True)
    (stranger,) = examine("postgres", system_user="nobody").values()
    assert stranger["state"] == "unknown"
    assert "Peer authentication failed" in stranger["value"]
