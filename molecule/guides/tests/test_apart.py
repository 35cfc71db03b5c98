# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Parkme on machines of its own for pages, tasks and data, beside a replica that is not ours."""

from __future__ import annotations

import json
import re
import shlex
import time
import uuid
from collections.abc import Callable, Iterator

import pytest
import testinfra
from conftest import LAB, SCENARIO, SECONDS, Page, playbook
from testinfra.host import Host

pytestmark = pytest.mark.skipif(SCENARIO != "guides_apart", reason="one machine does everything")
Visit = Callable[[str], Page]
SPOTS = "curl -fsSk https://api.parkme.test/api/spots/"
ADD = "INSERT INTO parkme_spot (number, is_active) SELECT 'N' || count(*), true FROM parkme_spot"
# A page may be as old as its cache.
CACHED_SECONDS = 5


def machine_of(name: str) -> Host:
    return testinfra.get_host(f"docker://{LAB}-{name}")


DATA, ONE, TWO, WORKER, REPLICA, SERVICES = map(
    machine_of, ("data", "one", "two", "worker", "replica", "services")
)
RELEASED = (ONE, TWO, WORKER)


def ask(machine: Host, sql: str) -> str:
    answer: str = machine.check_output(
        f"runuser -u postgres -- psql -AtX parkme -c {shlex.quote(sql)}"
    )
    return answer


def until(ask: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + SECONDS
    while not ask():
        assert time.monotonic() < end, f"{what}: not within {SECONDS} s"
        time.sleep(0.5)


def free() -> int:
    """How many spots are free, as visitors are told."""
    return int(json.loads(SERVICES.check_output(SPOTS))["free"])


def done(machine: Host) -> int:
    """How many tickets the machine's workers have written."""
    journal = "journalctl --output=cat --unit='parkme-worker-*' --no-pager"
    return len(re.findall(r"write_ticket\[.+\] succeeded", machine.run(journal).stdout))


def book(visit: Visit) -> None:
    page = visit("https://api.parkme.test/")
    page.fill("[name=plate]", uuid.uuid4().hex[:8])
    page.press("button")
    page.shows("#answer", "Your ticket")


@pytest.fixture
def behind() -> Iterator[None]:
    """The replica follows no further for as long as the test runs."""
    ask(REPLICA, "SELECT pg_wal_replay_pause()")
    yield
    ask(REPLICA, "SELECT pg_wal_replay_resume()")


def test_a_task_is_done_by_the_machine_that_is_for_tasks(visit: Visit) -> None:
    before = done(WORKER)
    book(visit)
    until(lambda: done(WORKER) > before, "a ticket is written there")
    assert done(ONE) == done(TWO) == 0


def test_both_application_machines_answer_and_no_other_is_asked() -> None:
    def served(machine: Host) -> int:
        journal = machine.run("journalctl -u parkme-web --no-pager | grep -c 'GET /api/spots/'")
        return int(journal.stdout.strip() or 0)

    written = ONE.file("/etc/nginx/sites-enabled/parkme.conf").content_string
    assert re.findall(r"^\s*server (10\S+?)[ ;]", written, re.MULTILINE) == [
        "10.215.0.12:8000",
        "10.215.0.13:8000",
    ]
    assert "least_conn;" in written
    before = served(ONE), served(TWO)
    for _attempt in range(12):
        free()
    until(lambda: served(ONE) > before[0] and served(TWO) > before[1], "both have answered")


def test_the_replica_follows() -> None:
    assert ask(REPLICA, "SELECT pg_is_in_recovery()") == "t"
    ask(DATA, ADD)
    count = "SELECT count(*) FROM parkme_spot"
    until(lambda: ask(REPLICA, count) == ask(DATA, count), "a spot is seen there")


def test_reads_that_are_marked_go_to_the_replica_and_no_others(visit: Visit, behind: None) -> None:
    time.sleep(CACHED_SECONDS + 1)
    before = free()
    ask(DATA, ADD)
    # Whoever books sees the booking and its ticket, of which the replica knows nothing yet.
    book(visit)
    book(visit)
    time.sleep(CACHED_SECONDS + 1)
    assert free() == before
    ask(REPLICA, "SELECT pg_wal_replay_resume()")
    until(lambda: free() == before - 1, "the replica has caught up")


CHANGE = """
set -e
cd $(mktemp -d)
git clone --quiet /srv/git/parkme.git work
cd work
echo changed > CHANGED
git add CHANGED
git -c user.name=lab -c user.email=lab@services.test commit --quiet -m Change
git push --quiet origin HEAD:main
"""


def test_a_release_and_the_way_back_reach_all_three(services: Host, visit: Visit) -> None:
    def worker() -> str:
        return str(WORKER.check_output("systemctl show -P MainPID parkme-worker-default"))

    services.check_output(f"sh -c {shlex.quote(CHANGE)}")
    for name, changed in (("deploy", True), ("rollback", False)):
        before = worker()
        # All three watch, also the one that nobody visits.
        released = playbook(name, "-e", "app=parkme", "-e", "app_watch_seconds=10")
        assert released.returncode == 0, released.stdout + released.stderr
        # Built once, so it is called the same.
        assert len({each.check_output("readlink /srv/parkme/current") for each in RELEASED}) == 1
        for each in RELEASED:
            assert each.file("/srv/parkme/current/source/CHANGED").exists is changed
        assert worker() != before
        book(visit)
    told = playbook("releases", "-e", "app=parkme", "--limit", f"{LAB}-one,{LAB}-worker")
    assert told.returncode == 0, told.stdout + told.stderr
    # The two say the same of it, so it is one line.
    (line,) = [each for each in told.stdout.splitlines() if " rollback " in each]
    assert re.search(r" all .*\(serves\) +succeeded$", line), told.stdout


def test_a_restart_reaches_the_workers() -> None:
    def running() -> list[str]:
        units = {ONE: "parkme-web", TWO: "parkme-web", WORKER: "parkme-worker-default"}
        return [str(on.check_output(f"systemctl show -P MainPID {u}")) for on, u in units.items()]

    before = running()
    restarted = playbook("restart", "-e", "app=parkme")
    assert restarted.returncode == 0, restarted.stdout + restarted.stderr
    after = running()
    assert not set(before) & set(after)
    alone = playbook("restart", "-e", "app=parkme", "--limit", f"{LAB}-worker")
    assert alone.returncode == 0, alone.stdout + alone.stderr
    assert running()[:2] == after[:2] and running()[2] != after[2]


def test_the_database_is_backed_up_and_restored_while_workers_rest(visit: Visit) -> None:
    count = "SELECT count(*) FROM parkme_booking"
    before = ask(DATA, count)
    taken = playbook("back_up")
    assert taken.returncode == 0, taken.stdout + taken.stderr
    verified = playbook("verify_backups")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    listed = playbook("list_backups")
    assert f"{LAB}-worker" in listed.stdout
    ask(DATA, "DELETE FROM parkme_booking")
    dump = DATA.check_output("ls -t /var/backups/slipway/parkme/*.dump").split()[0]
    given = {"restore_dump": dump, "restore_database": "parkme"}
    given["restore_confirmed_database"] = "parkme"
    worker = WORKER.check_output("systemctl show -P MainPID parkme-worker-default")
    restored = playbook("restore", "-e", json.dumps(given))
    assert restored.returncode == 0, restored.stdout + restored.stderr
    assert ask(DATA, count) == before
    assert WORKER.check_output("systemctl show -P MainPID parkme-worker-default") != worker
    # What follows the cluster follows the database that was put in the other's place.
    until(lambda: ask(REPLICA, count) == before, "the replica has it")
    book(visit)


def test_all_of_it_is_healthy() -> None:
    examined = playbook("check_health")
    assert examined.returncode == 0, examined.stdout + examined.stderr
    assert f"{LAB}-worker" in examined.stdout


def test_servers_of_a_machine_that_has_them_no_more_are_stopped() -> None:
    """A machine that served before; its socket would start the server again."""
    folder = "/etc/systemd/system/parkme-web"
    socket = "[Socket]\\nListenStream=127.0.0.1:8000\\n[Install]\\nWantedBy=sockets.target"
    service = "[Service]\\nExecStart=/bin/sleep infinity"
    WORKER.check_output(
        f"printf '{socket}\\n' >{folder}.socket && printf '{service}\\n' >{folder}.service"
        " && systemctl daemon-reload && systemctl enable --now parkme-web.socket"
    )
    assert WORKER.run("systemctl is-active parkme-web.socket").stdout.strip() == "active"
    again = playbook("site", "--limit", f"{LAB}-worker")
    assert again.returncode == 0, again.stdout + again.stderr
    states = WORKER.run("systemctl is-active parkme-web.socket parkme-web.service").stdout.split()
    assert states == ["inactive", "inactive"]
    assert WORKER.service("parkme-worker-default").is_running
    WORKER.check_output("rm /etc/systemd/system/parkme-web.* && systemctl daemon-reload")


def test_what_ran_on_machines_that_have_left_its_group_is_told_and_ended() -> None:
    """A beat where no workers are any more, and a server where there never are releases."""
    service = "[Service]\\nExecStart=/bin/sleep infinity\\n[Install]\\nWantedBy=multi-user.target"
    left = {TWO: "parkme-beat.service", DATA: "parkme-web.service"}
    for machine, unit in left.items():
        machine.check_output(
            f"printf '{service}\\n' >/etc/systemd/system/{unit}"
            f" && systemctl daemon-reload && systemctl enable --now {unit}"
        )
    examined = playbook("check_health")
    assert examined.returncode != 0
    for unit in left.values():
        assert f"{unit} runs here" in examined.stdout
    again = playbook("site")
    assert again.returncode == 0, again.stdout + again.stderr
    for machine, unit in left.items():
        assert machine.run(f"systemctl is-active {unit}").stdout.strip() == "inactive"
        machine.check_output(f"rm /etc/systemd/system/{unit} && systemctl daemon-reload")
    assert WORKER.service("parkme-beat").is_running
    assert playbook("check_health").returncode == 0
