# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A real database that loses a table while somebody writes, and what comes back of it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
import typing as t

import operations
import pytest
from testinfra.host import Host

SCRATCH = "/var/lib/slipway/scratch"
# Numbered rows, one transaction each, until the file is gone; who was acknowledged is in the log.
WRITER = """
touch /root/writing
(number=0
while test -e /root/writing; do
  number=$((number + 1))
  runuser -u postgres -- psql -XAtq shop -c "INSERT INTO bids VALUES ($number)" 2>/dev/null &&
    echo $number >>/root/bids
  runuser -u postgres -- psql -XAtq shop -c "INSERT INTO visits VALUES ($number)" &&
    echo $number >>/root/visits
done) >/dev/null 2>&1 &
"""
MARKS = "CREATE TABLE marks AS SELECT generate_series(1, 100) AS x;"
TABLES = "CREATE TABLE bids (id int PRIMARY KEY); CREATE TABLE visits (id int PRIMARY KEY);"
OWNER = "ALTER TABLE bids OWNER TO shop; ALTER TABLE visits OWNER TO shop;"
# As the application: its own role and password, through the pool, over TLS.
POOL = "postgresql://shop:lab-only-shop@127.0.0.1:6432/shop?sslmode=require"


def sql(host: Host, statement: str, database: str = "shop", scratch: bool = False) -> str:
    at = f"-h {SCRATCH}/socket -p 5499" if scratch else ""
    psql = f"runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 {at} -d {database}"
    return host.check_output(f'{psql} -c "{statement}"').strip()


def pgbackrest(host: Host, words: str) -> str:
    return host.check_output(f"runuser -u postgres -- pgbackrest --stanza=main {words}")


def restore(host: Host, step: str, **options: str) -> subprocess.CompletedProcess[str]:
    return operations.apply(
        host, molecule_entry="restore", backup_restore={"step": step, **options}
    )


def done(run: subprocess.CompletedProcess[str]) -> str:
    assert run.returncode == 0, run.stdout
    return " ".join(run.stdout.split())


def moment(host: Host) -> str:
    """A second with commits on both of its sides."""
    time.sleep(1.5)
    now = host.check_output("date -u +%Y-%m-%dT%H:%M:%SZ")
    time.sleep(1.5)
    return now


def names(host: Host) -> list[str]:
    return sql(host, "SELECT datname FROM pg_database", "postgres").split()


@pytest.fixture(scope="module", autouse=True)
def ready(host: Host) -> t.Iterator[None]:
    """A backup to begin with, nothing of an earlier run, and no copy in the end."""
    for database in names(host):
        if "_before_" in database or "_restored_" in database:
            sql(host, f'DROP DATABASE \\"{database}\\"', "postgres")
    host.check_output("rm -f /root/bids /root/visits /var/lib/slipway/backup/restore.json")
    sql(host, "DROP TABLE IF EXISTS bids, visits, marks;")
    sql(host, MARKS + TABLES + OWNER)
    # Not the timer's own, in whose way it would be.
    host.check_output("systemctl stop slipway-backup-physical.timer")
    host.check_output("systemctl start slipway-backup-physical.service")
    pgbackrest(host, "--type=full backup")
    yield
    host.check_output("systemctl start slipway-backup-physical.timer")
    host.run("systemctl stop slipway-scratch.service")
    host.check_output(f"rm -rf {SCRATCH}/*")


@pytest.fixture(scope="module")
def lost(host: Host) -> dict[str, t.Any]:
    """The table is dropped under the writer, and put back by the steps of the playbook."""
    host.run(WRITER)
    asked = {"to": moment(host), "database": "shop", "confirmed": "shop"}
    before = int(host.check_output("tail -1 /root/bids"))
    sql(host, "DROP TABLE bids")
    time.sleep(1)
    done(restore(host, "copy", **asked))
    done(restore(host, "load", **asked))
    host.check_output("rm /root/writing")
    time.sleep(1)
    for step in ("swap", "report", "finish", "remove"):
        done(restore(host, step, **asked))
    (report,) = host.check_output(
        "ls -t /var/lib/slipway/backup/reports/restore-shop-*.json | head -1"
    ).split()
    return {"before": before, "report": json.loads(host.check_output(f"cat {report}"))}


def test_what_was_acknowledged_before_the_moment_is_back(
    host: Host, lost: dict[str, t.Any]
) -> None:
    rows = [int(row) for row in sql(host, "SELECT id FROM bids ORDER BY id").split()]
    assert rows == list(range(1, len(rows) + 1))
    # The moment lies a second and a half before the last that was acknowledged.
    assert 0 < len(rows) < lost["before"]
    assert lost["report"]["reached"]["last_commit"] < lost["report"]["source"].replace("Z", "+")


def test_what_came_after_is_where_the_report_says(host: Host, lost: dict[str, t.Any]) -> None:
    tables = {each["table"]: each for each in lost["report"]["tables"]}
    assert tables["public.bids"]["before"] is None
    visits = tables["public.visits"]
    assert visits["before"] > visits["restored"] > 0
    written = [int(row) for row in host.check_output("cat /root/visits").split()]
    kept = lost["report"]["safety_copy"]
    assert kept in names(host)
    found = [int(row) for row in sql(host, "SELECT id FROM visits ORDER BY id", kept).split()]
    assert set(written) <= set(found)
    assert visits["before"] == len(found)


@pytest.mark.usefixtures("lost")
def test_the_application_can_use_it(host: Host) -> None:
    insert = "INSERT INTO bids VALUES (-1) RETURNING id"
    assert host.check_output(f'psql -XAtq "{POOL}" -c "{insert}"').strip() == "-1"
    settings = sql(
        host,
        "SELECT setconfig FROM pg_db_role_setting s JOIN pg_database d ON d.oid = setdatabase"
        " WHERE datname = 'shop' LIMIT 1",
        "postgres",
    )
    assert "statement_timeout" in settings


@pytest.mark.usefixtures("lost")
def test_the_next_backup_is_valid_and_the_copy_left_nothing(host: Host) -> None:
    assert host.run("systemctl start slipway-backup.service").rc == 0
    pgbackrest(host, "check")
    pgbackrest(host, "--type=full backup")
    (stanza,) = json.loads(pgbackrest(host, "info --output=json"))
    assert {each["max"][:8] for each in stanza["archive"]} == {"00000001"}
    assert host.check_output(f"find {SCRATCH} -mindepth 1") == ""
    assert not host.service("slipway-scratch.service").is_running


@pytest.mark.long
def test_a_copy_at_a_restore_point_leaves_the_live_database_alone(host: Host) -> None:
    sql(host, "SELECT pg_create_restore_point('before_it')", "postgres")
    sql(host, "INSERT INTO marks VALUES (101)")
    # A backup that is newer than the point cannot lead to it.
    pgbackrest(host, "--type=incr backup")
    assert "before_it" not in done(restore(host, "copy", to="point:before_it"))
    assert sql(host, "SELECT count(*) FROM marks", scratch=True) == "100"
    assert sql(host, "SHOW archive_mode", scratch=True) == "off"
    assert sql(host, "SELECT count(*) FROM marks") == "101"
    done(restore(host, "remove"))


@pytest.mark.parametrize("step", [pytest.param("copy", marks=pytest.mark.long), "load"])
def test_the_same_command_goes_on_after_kill_9(host: Host, step: str) -> None:
    # Another request than that of the other step, which would find this one loaded already.
    to = "latest" if step == "copy" else moment(host)
    asked = {"to": to, "database": "shop", "confirmed": "shop"}
    if step == "load":
        done(restore(host, "copy", **asked))
    killed = threading.Event()

    def kill() -> None:
        # The brackets keep pgrep from finding the shell that it is called by.
        program = "[p]gbackrest.* restore" if step == "copy" else "[p]g_(dump|restore) "
        deadline = time.monotonic() + 300
        while not killed.is_set() and time.monotonic() < deadline:
            found = host.run(f"pgrep -f '{program}'").stdout.split()
            if found:
                host.run(f"kill -9 {' '.join(found)}")
                killed.set()

    thread = threading.Thread(target=kill)
    thread.start()
    run = restore(host, step, **asked)
    thread.join()
    assert killed.is_set()
    assert run.returncode != 0
    for again in ("copy", "load"):
        done(restore(host, again, **asked))
    (fresh,) = [name for name in names(host) if name.startswith("shop_restored_")]
    assert sql(host, "SELECT count(*) FROM marks", fresh) == sql(host, "SELECT count(*) FROM marks")


@contextlib.contextmanager
def small_disk(host: Host) -> t.Iterator[None]:
    mount = f"mount -t tmpfs -o size=20m,mode=0700,uid=postgres,gid=postgres tmpfs {SCRATCH}"
    with operations.broken(host, mount, f"umount {SCRATCH}"):
        yield


def test_a_full_disk_is_refused_beforehand(host: Host) -> None:
    done(restore(host, "remove"))
    with small_disk(host):
        run = restore(host, "copy", to="latest")
        assert run.returncode != 0
        assert "but a copy of the cluster takes" in " ".join(run.stdout.split())
        assert host.check_output(f"find {SCRATCH} -mindepth 1") == ""


def test_a_database_is_not_replaced_without_its_name(host: Host) -> None:
    before = names(host)
    run = restore(host, "load", to="latest", database="shop", confirmed="blog")
    assert run.returncode != 0
    assert "add -e restore_confirmed_database=shop" in " ".join(run.stdout.split())
    assert names(host) == before


@pytest.mark.long
def test_a_dump_can_be_put_back_as_well(host: Host) -> None:
    assert host.run("systemctl start slipway-backup.service").rc == 0
    (dump,) = host.check_output("ls -t /var/backups/slipway/shop/*.dump | head -1").split()
    rows = sql(host, "SELECT count(*) FROM marks")
    sql(host, "DELETE FROM marks")
    asked = {"dump": dump, "database": "shop", "confirmed": "shop"}
    for step in ("load", "swap", "report", "finish"):
        done(restore(host, step, **asked))
    assert sql(host, "SELECT count(*) FROM marks") == rows
