# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What comes over a backup in its middle, and that the next one knows nothing of it."""

from __future__ import annotations

import contextlib
import json
import shlex
import typing as t

import conftest
import gate
import operations
import pytest
from testinfra.host import Host

STATE = "/var/lib/slipway/backup"
LOCAL = "/var/backups/slipway"
PHYSICAL = "slipway-backup-physical.service"
LOGICAL = "slipway-backup.service"
# The brackets keep pgrep from finding its own shell.
COPYING = "[p]gbackrest.* backup"
DUMPING = "[p]g_dump "
SENDING = "[b]ack_up.py"
# More than the line lets pass, and than a disk has left that is as good as full.
ROWS = """
CREATE TABLE IF NOT EXISTS held AS
  SELECT md5(random()::text) || md5(random()::text) AS x FROM generate_series(1, 60000);
ALTER TABLE held OWNER TO shop;
"""
HALF = rf"find {LOCAL} -name '*.partial' -o -name '.*.new'"


def start(host: Host, unit: str) -> int:
    ended = int(host.run(f"systemctl start {unit}").rc)
    host.run(f"systemctl reset-failed {unit}")
    return ended


def sql(host: Host, statement: str) -> str:
    psql = "runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 -d shop -c"
    return host.check_output(f"{psql} {shlex.quote(statement)}").strip()


def results(host: Host, file: str) -> dict[str, t.Any]:
    found = json.loads(host.check_output(f"cat {STATE}/{file}"))["databases"]
    assert isinstance(found, dict)
    return found


def physical(host: Host) -> dict[str, t.Any]:
    found = results(host, "physical.json")["cluster"]
    assert isinstance(found, dict)
    return found


def verified(host: Host) -> set[str]:
    """The dumps of the shop that may be relied on."""
    records = host.check_output(f"cat {LOCAL}/shop/*.json").replace("}\n{", "}\0{").split("\0")
    return {each["file"] for each in map(json.loads, records) if each["verified"]}


def healthy(examine: conftest.Examine) -> dict[str, str]:
    """What the health module says of each backup that is not well."""
    found = examine("backup", databases=["shop", "blog"], physical=True)
    assert len(found) >= 3
    return {name: row["value"] for name, row in found.items() if row["state"] != "ok"}


def quick_of(faults: t.Iterable[str], *quick: str) -> list[t.Any]:
    """All faults are for `make test-long`, these for `make test`."""
    marks = {fault: [] if fault in quick else [pytest.mark.long] for fault in faults}
    return [pytest.param(fault, marks=marks[fault]) for fault in faults]


@pytest.fixture(scope="module", autouse=True)
def ready(host: Host) -> t.Iterator[None]:
    with operations.unscheduled(host):
        sql(host, "DROP TABLE IF EXISTS held")
        sql(host, ROWS)
        host.check_output(f"systemctl start {PHYSICAL} {LOGICAL}")
        yield
        sql(host, "DROP TABLE held")
        host.check_output(f"systemctl start {PHYSICAL} {LOGICAL}")


# What comes over a physical backup, and what takes it away again.
COPIED = {
    "killed": (f"systemctl kill --signal=SIGKILL {PHYSICAL}", ""),
    "restarted": (gate.STOP_SERVER, gate.START_SERVER),
    "rebooted": ("", ""),
}


@pytest.mark.parametrize("fault", COPIED)
def test_a_physical_backup_that_is_cut_off_is_told_and_in_nobodys_way(
    host: Host, examine: conftest.Examine, fault: str
) -> None:
    before = physical(host)["last_success"]
    host.check_output(f"touch {STATE}/full_wanted")
    strike, mend = COPIED[fault]
    with gate.line(host, "sent"):
        ended = gate.struck(
            host, COPYING, strike or (lambda: gate.rebooted(host)), lambda: start(host, PHYSICAL)
        )
    if mend:
        host.check_output(mend)
    assert ended != 0
    assert not physical(host)["ok"]
    assert physical(host)["last_success"] == before
    assert list(healthy(examine)) == ["physical cluster"]
    assert "the last run failed: " in healthy(examine)["physical cluster"]
    assert start(host, PHYSICAL) == 0
    found = physical(host)
    # Nothing builds on what did not come to its end.
    assert (found["ok"], found["verified"], found["kind"]) == (True, True, "full")
    assert healthy(examine) == {}


# Where a dump is cut off, and by what.
CUT_OFF = {
    "restarted": (DUMPING, "systemctl restart postgresql@17-main.service"),
    "rebooted": (DUMPING, ""),
    "killed while sending": (SENDING, f"systemctl kill --signal=SIGKILL {LOGICAL}"),
    "rebooted while sending": (SENDING, ""),
}


@pytest.mark.parametrize("fault", quick_of(CUT_OFF, "restarted", "rebooted"))
def test_a_dump_that_is_cut_off_is_told_and_in_nobodys_way(
    host: Host, examine: conftest.Examine, fault: str
) -> None:
    before, known = results(host, "state.json"), verified(host)
    program, strike = CUT_OFF[fault]

    def run() -> int:
        return start(host, LOGICAL)

    with contextlib.ExitStack() as stack:
        if program == SENDING:
            stack.enter_context(gate.line(host, "sent"))
        ended = gate.struck(
            host,
            program,
            strike or (lambda: gate.rebooted(host)),
            run if program == SENDING else lambda: gate.locked(host, "shop", "held", run),
        )
    assert ended != 0
    after = results(host, "state.json")
    assert not after["shop"]["ok"]
    assert after["shop"]["last_success"] == before["shop"]["last_success"]
    assert verified(host) == known
    assert "the last run failed: " in healthy(examine)["dump shop"]
    assert start(host, LOGICAL) == 0
    assert len(verified(host) - known) == 1
    assert host.check_output(HALF) == ""
    assert healthy(examine) == {}


# The program, and whatever it runs, is told another time; how long something takes is not changed.
CLOCK = """
dpkg -s faketime >/dev/null 2>&1 || apt-get install -qq faketime >/dev/null 2>&1
mkdir -p /run/systemd/system/{unit}.d
cat >/run/systemd/system/{unit}.d/clock.conf <<EOF
[Service]
Environment=FAKETIME={clock} FAKETIME_DONT_FAKE_MONOTONIC=1
Environment=LD_PRELOAD=$(ls /usr/lib/*/faketime/libfaketime.so.1)
EOF
systemctl daemon-reload
"""


@contextlib.contextmanager
def wrong_clock(host: Host, unit: str, clock: str) -> t.Iterator[None]:
    end = f"rm -r /run/systemd/system/{unit}.d; systemctl daemon-reload"
    with operations.broken(host, CLOCK.format(unit=unit, clock=clock), end):
        yield


@contextlib.contextmanager
def no_store(host: Host) -> t.Iterator[None]:
    """A store would refuse whoever has another time; without one nobody notices."""
    path = "/etc/slipway/backup/backup.json"
    settings = json.loads(host.check_output(f"cat {path}"))
    text = shlex.quote(json.dumps({**settings, "s3": {}}))
    with operations.broken(
        host, f"cp -p {path} /root/kept; printf %s {text} >{path}", f"cat /root/kept >{path}"
    ):
        yield


@pytest.mark.parametrize("clock", ["+400d", "-400d"])
def test_a_clock_that_jumped_prunes_nothing_and_is_told(
    host: Host, examine: conftest.Examine, clock: str
) -> None:
    # One more than what is never deleted.
    while len(verified(host)) < 4:
        assert start(host, LOGICAL) == 0
    before = verified(host)
    with no_store(host), wrong_clock(host, LOGICAL, clock):
        assert start(host, LOGICAL) == 0
    (jumped,) = verified(host) - before
    assert before < verified(host), "nothing is old by a clock that one dump alone was taken by"
    told = healthy(examine)["dump shop"]
    assert ("in the future" if clock == "+400d" else "9600.") in told
    assert start(host, LOGICAL) == 0
    assert healthy(examine) == {}, "the next run by the right clock puts it right"
    # Of long ago it is gone by now; of the future it would stay for a year.
    assert before < verified(host)
    host.check_output(f"rm -f {LOCAL}/*/{jumped[:8]}T*")


@pytest.mark.long
@pytest.mark.parametrize("clock", ["+2d", "-2d"])
@pytest.mark.parametrize(
    ("unit", "file", "name"),
    [(LOGICAL, "state.json", "shop"), (PHYSICAL, "physical.json", "cluster")],
)
def test_a_store_takes_nothing_from_whoever_has_another_time(
    host: Host, unit: str, file: str, name: str, clock: str
) -> None:
    before, known = results(host, file)[name], verified(host)
    with wrong_clock(host, unit, clock):
        assert start(host, unit) != 0
    after = results(host, file)[name]
    assert not after["ok"]
    assert after["last_success"] == before["last_success"]
    said = "RequestTimeTooSkewed" if clock == "+2d" else "certificate is not yet valid"
    assert said in after["detail"]
    assert verified(host) == known
    assert start(host, unit) == 0


@contextlib.contextmanager
def small_disk(host: Host) -> t.Iterator[None]:
    """The dumps of the shop have a disk of their own, with one good copy on it."""
    mount = f"mount -t tmpfs -o size=96m,mode=0750,uid=postgres,gid=postgres tmpfs {LOCAL}/shop"
    with operations.broken(host, mount, f"umount {LOCAL}/shop"):
        assert start(host, LOGICAL) == 0
        yield


def ballast(left: int) -> str:
    """So much is left of the disk."""
    free = f"$(df --output=avail -B1 {LOCAL}/shop | tail -1)"
    return f"fallocate -l $(({free} - {left})) {LOCAL}/shop/ballast"


def test_a_disk_that_is_full_or_fills_up_costs_one_dump_and_no_more(host: Host) -> None:
    with small_disk(host):
        good = verified(host)
        assert len(good) == 1
        host.check_output(ballast(2**20))
        assert start(host, LOGICAL) != 0
        full = results(host, "state.json")
        host.check_output(f"rm {LOCAL}/shop/ballast")
        ended = gate.struck(
            host,
            DUMPING,
            ballast(4096),
            lambda: gate.locked(host, "shop", "held", lambda: start(host, LOGICAL)),
        )
        assert ended != 0
        filled = results(host, "state.json")
        assert (verified(host), host.check_output(HALF)) == (good, "")
        host.check_output(f"rm {LOCAL}/shop/ballast")
        assert start(host, LOGICAL) == 0
        assert good < verified(host)
    assert " free, but the dump may take " in full["shop"]["detail"]
    assert filled["shop"]["detail"].startswith("pg_dump ended with 1: ")
    assert "No space left on device" in filled["shop"]["detail"]
    for each in (full, filled):
        assert (each["shop"]["ok"], each["blog"]["ok"]) == (False, True)
        assert each["shop"]["last_success"]
