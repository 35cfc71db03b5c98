# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A real database that loses a table while somebody writes, and what comes back of it."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import shlex
import subprocess
import typing as t

import gate
import operations
import pytest
from testinfra.host import Host

SCRATCH = "/var/lib/slipway/scratch"
# Numbered rows, one transaction each, until the file is gone; who was acknowledged is in the log.
WRITER = """
number=0
while test -e /root/writing; do
  number=$((number + 1))
  runuser -u postgres -- psql -XAtq shop -c "INSERT INTO bids VALUES ($number)" 2>/dev/null &&
    echo $number >>/root/bids
  runuser -u postgres -- psql -XAtq shop -c "INSERT INTO visits VALUES ($number)" &&
    echo $number >>/root/visits
done
"""
MARKS = gate.TABLE.format(name="marks") + "INSERT INTO marks SELECT generate_series(1, 100);"
TABLES = "CREATE TABLE bids (id int PRIMARY KEY); CREATE TABLE visits (id int PRIMARY KEY);"
OWNER = "ALTER TABLE bids OWNER TO shop; ALTER TABLE visits OWNER TO shop;"
# As the application: its own role and password, through the pool, over TLS.
POOL = "postgresql://shop:lab-only-shop@127.0.0.1:6432/shop?sslmode=require"


def sql(host: Host, statement: str, database: str = "shop", scratch: bool = False) -> str:
    at = f"-h {SCRATCH}/socket -p 5499" if scratch else ""
    psql = f"runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 {at} -d {database}"
    return host.check_output(f"{psql} -c {shlex.quote(statement)}").strip()


def pgbackrest(host: Host, words: str) -> str:
    return host.check_output(f"runuser -u postgres -- pgbackrest --stanza=main {words}")


def restore(host: Host, step: str, **options: str) -> subprocess.CompletedProcess[str]:
    return operations.apply(
        host, molecule_entry="restore", backup_restore={"step": step, **options}
    )


def done(run: subprocess.CompletedProcess[str]) -> str:
    assert run.returncode == 0, run.stdout
    return " ".join(run.stdout.split())


def until(host: Host, condition: str) -> None:
    """However slow the machine is: not for a time, but until it is so."""
    host.check_output(f"timeout 300 sh -c {shlex.quote(f'until {condition}; do sleep 0.1; done')}")


def written(host: Host, more: int) -> None:
    """Until the writer has been acknowledged so many visits more."""
    count = "cat /root/visits 2>/dev/null | wc -l"
    wanted = int(host.check_output(count)) + more
    until(host, f"test $({count}) -ge {wanted}")


def moment(host: Host) -> str:
    """The beginning of a second: all that was done is before it, all that comes is after it."""
    second = "date -u +%Y-%m-%dT%H:%M:%SZ"
    until(host, f"test $({second}) != {host.check_output(second)}")
    return host.check_output(second)


def names(host: Host) -> list[str]:
    return sql(host, "SELECT datname FROM pg_database", "postgres").split()


def forget(host: Host) -> None:
    """What restores keep, until nobody needs it any more."""
    for database in names(host):
        if "_before_" in database or "_restored_" in database:
            sql(host, f'DROP DATABASE "{database}"', "postgres")


@pytest.fixture(scope="module", autouse=True)
def ready(host: Host) -> t.Iterator[None]:
    """A backup to begin with, nothing of an earlier run, and no copy in the end."""
    forget(host)
    host.check_output("rm -f /root/bids /root/visits /var/lib/slipway/backup/restore.json")
    sql(host, "DROP TABLE IF EXISTS bids, visits, marks;")
    sql(host, MARKS + TABLES + OWNER)
    with operations.unscheduled(host):
        # By their units, so that those which timers have begun are in nobody's way.
        host.check_output("systemctl start slipway-backup-physical.service slipway-backup.service")
        pgbackrest(host, "--type=full backup")
        yield
    host.run("systemctl stop slipway-scratch.service")
    host.check_output(f"rm -rf {SCRATCH}/*")


@pytest.fixture(scope="module")
def lost(host: Host) -> dict[str, t.Any]:
    """The table is dropped under the writer, and put back by the steps of the playbook."""
    host.check_output("touch /root/writing")
    host.check_output(f"systemd-run --collect --unit=writer sh -c {shlex.quote(WRITER)}")
    written(host, 2)
    asked = {"to": moment(host), "database": "shop", "confirmed": "shop"}
    written(host, 2)
    before = int(host.check_output("tail -1 /root/bids"))
    sql(host, "DROP TABLE bids")
    written(host, 2)
    done(restore(host, "copy", **asked))
    done(restore(host, "load", **asked))
    host.check_output("rm /root/writing")
    until(host, "! systemctl is-active --quiet writer")
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
    # Some were acknowledged between the moment and the drop.
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
    # A copy that archived would have begun another timeline there.
    live = int(sql(host, "SELECT timeline_id FROM pg_control_checkpoint()"))
    assert {int(each["max"][:8], 16) for each in stanza["archive"]} == {live}
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


@contextlib.contextmanager
def small_disk(host: Host, megabytes: int = 300) -> t.Iterator[None]:
    mount = (
        f"mount -t tmpfs -o size={megabytes}m,mode=0700,uid=postgres,gid=postgres tmpfs {SCRATCH}"
    )
    with operations.broken(host, mount, f"umount {SCRATCH}"):
        yield


# The brackets keep pgrep from finding its own shell.
COPYING = "[p]gbackrest.* restore"
LOADING = "[p]g_restore "
# What comes over a step, when, and what takes it away again; a reboot where that is nothing.
FAULTS = {
    "killed": (COPYING, f"kill -9 $(pgrep -f '{COPYING}')", ""),
    "killed while loading": (LOADING, f"kill -9 $(pgrep -f '{LOADING}')", ""),
    "no S3": (COPYING, gate.CUT_LINE, gate.OPEN_LINE),
    "disk full": (
        COPYING,
        f"fallocate -l $(($(df --output=avail -B1 {SCRATCH} | tail -1) - 4096)) {SCRATCH}/ballast",
        f"rm {SCRATCH}/ballast",
    ),
    "restarted": (COPYING, gate.STOP_SERVER, gate.START_SERVER),
    "restarted while loading": (LOADING, "systemctl restart postgresql@17-main.service", ""),
    "rebooted": (COPYING, "", ""),
    "rebooted while loading": (LOADING, "", ""),
}
HARMLESS = ("restarted",)
# pgBackRest asks S3 again for minutes before it gives up.
QUICK = ("killed while loading",)


@pytest.mark.parametrize(
    "fault",
    [pytest.param(each, marks=[] if each in QUICK else pytest.mark.long) for each in FAULTS],
)
def test_the_same_command_goes_on_after(host: Host, fault: str) -> None:
    program, strike, mend = FAULTS[fault]
    # A moment of its own, or it would find what the one before has copied and loaded.
    asked = {"to": moment(host), "database": "shop", "confirmed": "shop"}
    step = "copy" if program == COPYING else "load"
    if step == "load":
        done(restore(host, "copy", **asked))
    rows = sql(host, "SELECT count(*) FROM marks")
    with contextlib.ExitStack() as stack:
        if program == COPYING:
            stack.enter_context(gate.line(host, "received"))
        if fault == "disk full":
            stack.enter_context(small_disk(host))
        run = gate.struck(
            host,
            program,
            strike or (lambda: gate.rebooted(host)),
            lambda: restore(host, step, **asked),
        )
        if mend:
            host.check_output(mend)
        assert fault in HARMLESS or run.returncode != 0, run.stdout
        # The live database is what it was, whatever it was that happened.
        assert sql(host, "SELECT count(*) FROM marks") == rows
        for again in ("copy", "load"):
            done(restore(host, again, **asked))
        (fresh,) = [name for name in names(host) if name.startswith("shop_restored_")]
        assert sql(host, "SELECT count(*) FROM marks", fresh) == rows
        if fault == "disk full":
            done(restore(host, "remove"))


def test_the_wrong_passphrase_is_told_and_restores_nothing(host: Host) -> None:
    done(restore(host, "remove"))
    path = "/etc/pgbackrest/pgbackrest.conf"
    wrong = f"sed -i.kept s/^repo1-cipher-pass=.*/repo1-cipher-pass=not-the-one/ {path}"
    with operations.broken(host, wrong, f"cat {path}.kept >{path}; rm {path}.kept"):
        run = restore(host, "copy", to="latest")
    assert run.returncode != 0
    said = " ".join(run.stdout.split())
    assert "the repository of the physical backups cannot be used" in said
    assert "vault_stack_backup_cipher_pass" in said
    assert host.check_output(f"find {SCRATCH} -mindepth 1") == ""


@pytest.mark.long
def test_the_same_command_goes_on_after_a_reboot(host: Host) -> None:
    asked = {"to": moment(host), "database": "shop", "confirmed": "shop"}
    done(restore(host, "copy", **asked))
    done(restore(host, "load", **asked))
    operations.reboot(host)
    # The scratch instance does not come back by itself, and is not needed any more.
    rows = sql(host, "SELECT count(*) FROM marks")
    for step in ("load", "swap", "report", "finish", "remove"):
        done(restore(host, step, **asked))
    assert sql(host, "SELECT count(*) FROM marks") == rows


# Who writes what a database is called waits for whoever writes about it.
HOLD = "BEGIN; COMMENT ON DATABASE {fresh} IS 'held'; SELECT pg_sleep(600)"
HELD = """
SELECT count(*) > 0 FROM pg_locks l JOIN pg_database d ON d.oid = l.objid
WHERE l.classid = 'pg_database'::regclass AND d.datname = '{fresh}'
"""
WAITING = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted"


@pytest.mark.long
def test_a_reboot_in_the_middle_of_the_swap_leaves_one_database_or_the_other(host: Host) -> None:
    asked = {"to": moment(host), "database": "shop", "confirmed": "shop"}
    for step in ("copy", "load"):
        done(restore(host, step, **asked))
    (fresh,) = [name for name in names(host) if name.startswith("shop_restored_")]
    rows = sql(host, "SELECT count(*) FROM marks")
    psql = "runuser -u postgres -- psql -XAtq -d postgres -c"
    hold = f"{psql} {shlex.quote(HOLD.format(fresh=fresh))}"
    host.check_output(f"systemd-run --quiet --collect --unit=hold {hold}")
    until(host, f"{psql} {shlex.quote(HELD.format(fresh=fresh))} | grep -q t")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        swapping = pool.submit(restore, host, "swap", **asked)
        until(host, f"{psql} {shlex.quote(WAITING)} | grep -q t")
        operations.reboot(host)
        assert swapping.result().returncode != 0
    assert {"shop", fresh} <= set(names(host))
    for step in ("load", "swap", "report", "finish", "remove"):
        done(restore(host, step, **asked))
    assert sql(host, "SELECT count(*) FROM marks") == rows
    assert fresh not in names(host)


def test_a_full_disk_is_refused_beforehand(host: Host) -> None:
    done(restore(host, "remove"))
    with small_disk(host, 20):
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
