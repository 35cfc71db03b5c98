# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A machine whose disk is lost under a writer, and the cluster that comes back on it."""

from __future__ import annotations

import json
import random
import shlex
import subprocess
import threading
import time
import typing as t

import gate
import operations
import pytest
from testinfra.host import Host

# Numbered rows, one transaction each; a row and the second of its acknowledgement in the log.
WRITER = """
import time, psycopg2
connection = psycopg2.connect(dbname="blog")
connection.autocommit = True
with connection.cursor() as cursor, open("/var/tmp/ledger", "w", buffering=1) as log:
    for number in range(1, 10**9):
        cursor.execute("INSERT INTO ledger VALUES (%s)", [number])
        log.write(f"{number} {time.time()}\\n")
        time.sleep(0.002)
"""
DATA = "/var/lib/postgresql/17/main"
# All that a machine has of the stack, so that it is as good as a new one.
PURGE = """
apt-get purge -qq 'postgresql*' pgbackrest >/dev/null 2>&1
rm -rf /etc/postgresql* /var/lib/postgresql /etc/pgbackrest* /opt/slipway /etc/slipway/backup
rm -rf /etc/systemd/system/slipway-* /var/lib/slipway /var/backups/slipway
systemctl daemon-reload
"""
LOST = f"rm -rf {DATA} /var/lib/slipway/backup/* /var/backups/slipway/*"
RPO_SECONDS = 300


def sql(host: Host, statement: str, database: str = "blog") -> str:
    psql = f"runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 -d {database}"
    return host.check_output(f"{psql} -c {shlex.quote(statement)}").strip()


def done(run: subprocess.CompletedProcess[str]) -> str:
    assert run.returncode == 0, run.stdout
    return " ".join(run.stdout.split())


def step(host: Host, name: str, **options: t.Any) -> subprocess.CompletedProcess[str]:
    asked = {"step": name, "to": "latest", **options}
    return operations.apply(host, molecule_entry="restore_cluster", backup_cluster=asked)


def finish(host: Host, **options: t.Any) -> str:
    """What the playbook does on the machine of the databases, from the recovery on."""
    done(step(host, "recover", **options))
    for role in ("postgres", "backup"):
        done(operations.apply(host, molecule_role=role))
    done(operations.apply(host, molecule_entry="back_up", backup_full=True))
    return done(step(host, "finish", **options))


def full_since(host: Host, moment: float) -> dict[str, t.Any]:
    """The newest full backup, begun since; the schedule may have added an incremental one."""
    (stanza,) = json.loads(
        host.check_output("runuser -u postgres -- pgbackrest --stanza=main info --output=json")
    )
    full: list[dict[str, t.Any]] = [each for each in stanza["backup"] if each["type"] == "full"]
    assert full
    assert full[-1]["timestamp"]["start"] >= moment, stanza["backup"]
    return full[-1]


def write(host: Host) -> float:
    """The writer, until everything that has to do with PostgreSQL dies; when it did."""
    sql(host, "DROP TABLE IF EXISTS ledger; CREATE TABLE ledger (id int PRIMARY KEY)")
    host.check_output("systemctl start slipway-backup-physical.service && rm -f /var/tmp/ledger")
    host.check_output(f"systemd-run --uid=postgres --collect python3 -c {shlex.quote(WRITER)}")
    host.check_output("timeout 300 sh -c 'until test -s /var/tmp/ledger; do sleep 0.1; done'")
    begun = sql(host, "SELECT pg_walfile_name(pg_current_wal_lsn())")
    # However slow the machine is: something of it is archived, and then comes any moment.
    deadline = time.monotonic() + 300
    while sql(host, "SELECT last_archived_wal FROM pg_stat_archiver") < begun:
        assert time.monotonic() < deadline, f"{begun} is not archived"
        time.sleep(0.5)
    time.sleep(random.uniform(0, 12))  # noqa: S311
    host.check_output("systemctl kill --signal=KILL postgresql@17-main.service")
    return float(host.check_output("date +%s.%N"))


def lost_seconds(host: Host, died: float) -> float:
    """Every row that was acknowledged up to this long before the end is there."""
    found = [int(row) for row in sql(host, "SELECT id FROM ledger ORDER BY id").split()]
    assert found == list(range(1, len(found) + 1))
    lines = host.check_output("cat /var/tmp/ledger").splitlines()
    acknowledged = {int(line.split()[0]): float(line.split()[1]) for line in lines}
    assert found
    # The last row may have been committed without anybody having been told.
    last = acknowledged[min(found[-1], max(acknowledged))]
    assert all(number <= found[-1] for number, when in acknowledged.items() if when <= last)
    return died - last


@pytest.fixture(scope="module", autouse=True)
def archiving_soon(host: Host) -> None:
    """What is set is restored as well, so it needs not be set again."""
    sql(host, "ALTER SYSTEM SET archive_timeout = '4s'")
    sql(host, "SELECT pg_reload_conf()")


LONG = [pytest.param(number, marks=pytest.mark.long) for number in range(1, 10)]


def rebooted(host: Host) -> None:
    """One run of the step that recovers, and the machine is rebooted in its middle."""
    with gate.line(host, "received"):
        run = gate.struck(
            host,
            "[p]gbackrest.* restore",
            lambda: gate.rebooted(host),
            lambda: step(host, "recover"),
        )
    assert run.returncode != 0
    # Half a cluster is none that starts.
    assert not host.file(f"{DATA}/global/pg_control").exists
    assert host.run("runuser -u postgres -- psql -XAtqc 'SELECT 1'").rc != 0


def killed(host: Host) -> None:
    """One run of the step that recovers, with kill -9 in its middle."""
    ended = threading.Event()

    def kill() -> None:
        deadline = time.monotonic() + 120
        while not ended.is_set() and time.monotonic() < deadline:
            # The brackets keep pgrep from finding the shell that it is called by.
            found = host.run("pgrep -f '[p]gbackrest.* restore'").stdout.split()
            if found:
                host.run(f"kill -9 {' '.join(found)}")
                ended.set()

    thread = threading.Thread(target=kill)
    thread.start()
    run = step(host, "recover")
    thread.join()
    assert ended.is_set()
    assert run.returncode != 0


CUT_OFF = {1: killed, 2: rebooted}


@pytest.mark.parametrize("number", [0, *LONG])
def test_a_lost_disk_costs_no_more_than_the_rpo(host: Host, number: int) -> None:
    """First on a machine as good as new; the second is killed, the third rebooted; both go on."""
    died = write(host)
    host.check_output(LOST if number else PURGE)
    done(step(host, "begin"))
    done(operations.apply(host, molecule_role="postgres"))
    if number in CUT_OFF:
        CUT_OFF[number](host)
        done(step(host, "begin"))
    said = finish(host)
    if number == 0:  # it went with PostgreSQL
        done(operations.apply(host, molecule_role="pgbouncer"))
    rpo = lost_seconds(host, died)
    print(f"round {number}: RPO {rpo:.1f} s")
    assert rpo < RPO_SECONDS
    taken = full_since(host, died)
    timeline = int(taken["archive"]["stop"][:8], 16)
    assert f"the cluster is on timeline {timeline}" in said
    assert timeline > 1
    assert sql(host, "SHOW archive_mode") == "on"
    assert sql(host, "SHOW hot_standby") == "on"


def test_a_cluster_that_is_there_is_left_alone_until_its_machine_is_confirmed(host: Host) -> None:
    before = host.check_output(f"stat -c %i {DATA}/PG_VERSION")
    refused = step(host, "begin")
    assert refused.returncode != 0
    name = host.backend.get_hostname()
    assert f"-e restore_confirmed_machine={name}" in " ".join(refused.stdout.split())
    assert host.check_output(f"stat -c %i {DATA}/PG_VERSION") == before


@pytest.mark.long
def test_a_cluster_that_was_confirmed_is_moved_aside(host: Host) -> None:
    sql(host, "CREATE TABLE kept AS SELECT 1 AS x")
    host.check_output("systemctl start slipway-backup-physical.service")
    sql(host, "INSERT INTO kept VALUES (2)")
    sql(host, "SELECT pg_switch_wal()")
    confirmed = {"confirmed_machine": host.backend.get_hostname()}
    done(step(host, "begin", **confirmed))
    done(operations.apply(host, molecule_role="postgres"))
    said = finish(host, **confirmed)
    assert sql(host, "SELECT string_agg(x::text, ' ' ORDER BY x) FROM kept") == "1 2"
    (aside,) = host.check_output("ls -dt /var/lib/postgresql/17/before_* | head -1").split()
    assert f"is kept in {aside}" in said
    assert host.file(f"{aside}/data/PG_VERSION").exists


LISTED = """
import boto3, botocore.config
s3 = boto3.client("s3", endpoint_url="https://s3.services.test:9443", region_name="us-east-1",
                  aws_access_key_id="lab", aws_secret_access_key="lab-secret-key",
                  config=botocore.config.Config(s3={"addressing_style": "path"}))
pages = s3.get_paginator("list_objects_v2").paginate(Bucket="backups", Prefix="restore/")
for page in pages:
    for each in page["Contents"]:
        print(each["Key"], each["ETag"])
"""


@pytest.mark.long
def test_the_backups_of_another_site_are_only_read(host: Host, scenario: dict[str, t.Any]) -> None:
    sql(host, "CREATE TABLE rehearsed AS SELECT 1 AS x")
    host.check_output("systemctl start slipway-backup-physical.service")
    own = {"backup_s3": {**scenario["backup_s3"], "prefix": "rehearsed"}}
    asked = {"to": "latest", "confirmed_machine": host.backend.get_hostname()}
    asked["from_prefix"] = "restore/"

    def step_of_both(name: str) -> subprocess.CompletedProcess[str]:
        cluster = {"step": name, **asked}
        return operations.apply(
            host, molecule_entry="restore_cluster", backup_cluster=cluster, **own
        )

    done(step_of_both("begin"))
    began = float(host.check_output("date +%s"))
    before = host.check_output(f"python3 -c {shlex.quote(LISTED)}")
    done(operations.apply(host, molecule_role="postgres"))
    done(step_of_both("recover"))
    done(operations.apply(host, **own))
    done(operations.apply(host, molecule_entry="back_up", backup_full=True, **own))
    done(step_of_both("finish"))
    assert sql(host, "SELECT x FROM rehearsed") == "1"
    assert host.check_output(f"python3 -c {shlex.quote(LISTED)}") == before
    assert not host.file("/etc/pgbackrest/source.conf").exists
    full_since(host, began)
    # Back to its own backups, for whatever comes next.
    done(operations.apply(host))
