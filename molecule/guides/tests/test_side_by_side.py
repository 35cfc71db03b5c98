# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Five systems on one machine, none of which can reach, or is touched by, another."""

from __future__ import annotations

import json
import shlex
from urllib.parse import urlsplit

import pytest
from conftest import APPS, PROVIDED, PROVIDER, STORING, SYSTEMS, ours, playbook
from testinfra.host import Host

PAIRS = list(zip(STORING, [*STORING[1:], STORING[0]], strict=True))
CONNECT = "python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])'"


def environment(machine: Host, app: str) -> dict[str, str]:
    written = machine.file(f"/etc/slipway/{app}/environment").content_string
    pairs = (line.partition("=") for line in written.splitlines() if "=" in line)
    return {name: value.strip('"') for name, _equals, value in pairs}


def as_user(machine: Host, app: str, command: str) -> int:
    """How a command ends that somebody runs who has taken over an application."""
    return int(machine.run(f"runuser -u {app} -- sh -c {shlex.quote(command)}").rc)


def test_all_of_it_is_healthy() -> None:
    examined = playbook("check_health")
    assert examined.returncode == 0, examined.stdout + examined.stderr


@pytest.mark.parametrize(("app", "other"), PAIRS)
def test_one_systems_database_is_out_of_the_others_reach(
    machine: Host, app: str, other: str
) -> None:
    own, theirs = (urlsplit(environment(machine, name)["DATABASE_URL"]) for name in (app, other))
    # Through the pooler, and past it.
    for place in (f"{own.hostname}:{own.port}", PROVIDER if PROVIDED else f"{own.hostname}:5432"):
        known = own._replace(netloc=f"{own.username}:{own.password}@{place}")
        for database, reached in ((own.path, True), (theirs.path, False)):
            url = shlex.quote(known._replace(path=database).geturl())
            ended = as_user(machine, app, f"psql {url} -c 'SELECT 1'")
            assert (ended == 0) is reached, (place, database)


@ours
@pytest.mark.parametrize(("app", "other"), PAIRS)
def test_one_systems_keys_are_out_of_the_others_reach(machine: Host, app: str, other: str) -> None:
    given = environment(machine, app)
    for name in ("BROKER_URL", "CACHE_URL"):
        ask = f"redis-cli --no-auth-warning -u {shlex.quote(given[name])}"
        own = machine.check_output(f"{ask} SET {app}:probe 1 EX 5")
        assert own == "OK"
        for command in (f"GET {other}:probe", f"SET {other}:probe 1", "KEYS '*'", "FLUSHALL"):
            assert "NOPERM" in machine.run(f"{ask} {command}").stdout, command


@pytest.mark.parametrize(("app", "other"), PAIRS)
def test_one_systems_files_and_sockets_are_out_of_the_others_reach(
    machine: Host, app: str, other: str
) -> None:
    socket = machine.check_output(f"ls /run/slipway/{other}/*.sock").split()[0]
    machine.check_output(f"{CONNECT} {socket}")
    assert as_user(machine, app, f"cat /etc/slipway/{app}/environment >/dev/null") == 0
    for command in (
        f"cat /etc/slipway/{other}/environment",
        f"ls /srv/{other}/current/",
        f"ls /srv/{other}/media/",
        f"touch /srv/{other}/static/mine",
        f"{CONNECT} {socket}",
    ):
        assert as_user(machine, app, command) != 0, command


def processes(machine: Host) -> dict[str, str]:
    """The main process of each service that an application runs."""
    listed = machine.check_output(
        "systemctl list-units --plain --no-legend --state=running --type=service"
    )
    names = [line.split()[0] for line in listed.splitlines()]
    ours = [name for name in names if name.startswith(tuple(f"{app}-" for app in APPS))]
    shared = ["nginx.service", "pgbouncer.service"]
    return {
        name: machine.check_output(f"systemctl show -P MainPID {name}") for name in ours + shared
    }


CHANGE = """
set -e
cd $(mktemp -d)
git clone --quiet /srv/git/{name}.git work
cd work
echo changed > CHANGED
git add CHANGED
git -c user.name=lab -c user.email=lab@services.test commit --quiet -m Change
git push --quiet origin HEAD:main
"""


# The first application of a system is called like it, and so is its repository.
@pytest.mark.parametrize("app", SYSTEMS)
def test_a_release_of_one_and_the_way_back_leave_the_others_alone(
    machine: Host, services: Host, app: str
) -> None:
    services.check_output(f"sh -c {shlex.quote(CHANGE.format(name=app))}")
    for name, changed in (("deploy", True), ("rollback", False)):
        before = processes(machine)
        released = playbook(name, "-e", f"app={app}", "-e", "app_watch_seconds=0")
        assert released.returncode == 0, released.stdout + released.stderr
        assert machine.file(f"/srv/{app}/current/source/CHANGED").exists is changed
        after = processes(machine)
        assert set(after) == set(before)
        restarted = {unit for unit in before if before[unit] != after[unit]}
        assert restarted == {unit for unit in before if unit.startswith(f"{app}-")}


TABLES = {
    "atlas_investor": "atlas_place",
    "auction": "auctions_auction",
    "ecommerce": "ecommerce_product",
    "parkme": "parkme_spot",
    "propflow": "properties",
}
OTHERS = dict(zip(TABLES, [*list(TABLES)[1:], next(iter(TABLES))], strict=True))
# Rows that no migration brings.
WRITTEN = {
    "auction": "INSERT INTO auctions_auction (title, description, picture, starting_price,"
    " closes_at) VALUES ('Before', '', '', 1, now())",
    "propflow": "INSERT INTO properties (address) VALUES ('before')",
}


def ask(machine: Host, database: str, sql: str) -> str:
    answer: str = machine.check_output(
        f"runuser -u postgres -- psql -AtX {database} -c {shlex.quote(sql)}"
    )
    return answer


def counted(machine: Host, database: str) -> int:
    return int(ask(machine, database, f"SELECT count(*) FROM {TABLES[database]}"))  # noqa: S608


@pytest.fixture(scope="module")
def verified(machine: Host) -> dict[str, tuple[str, int]]:
    """The dump that was verified of each database, and how many rows it had then."""
    for database, sql in WRITTEN.items():
        ask(machine, database, sql)
    rows = {database: counted(machine, database) for database in TABLES}
    taken = playbook("back_up")
    assert taken.returncode == 0, taken.stdout + taken.stderr
    judged = playbook("verify_backups")
    assert judged.returncode == 0, judged.stdout + judged.stderr
    for app in STORING:
        assert {"atlas": "atlas_investor"}.get(app, app) in judged.stdout
    newest = "ls -t /var/backups/slipway/{}/*.dump"
    dumps = {each: machine.check_output(newest.format(each)).split()[0] for each in TABLES}
    return {each: (dumps[each], rows[each]) for each in TABLES}


@ours
def test_one_database_is_backed_up_alone(
    machine: Host, verified: dict[str, tuple[str, int]]
) -> None:
    def dumps() -> set[str]:
        found: str = machine.check_output("find /var/backups/slipway -name '*.dump'")
        return set(found.split())

    before = dumps()
    taken = playbook("back_up", "-e", "back_up_only=ecommerce_ai")
    assert taken.returncode == 0, taken.stdout + taken.stderr
    (new,) = dumps() - before
    assert new.startswith("/var/backups/slipway/ecommerce_ai/")


@ours
@pytest.mark.parametrize(("database", "other"), OTHERS.items())
def test_one_database_is_restored_alone_from_what_was_verified(
    machine: Host, verified: dict[str, tuple[str, int]], database: str, other: str
) -> None:
    dump, rows = verified[database]
    assert rows > 0
    ask(machine, database, f"TRUNCATE {TABLES[database]} CASCADE")
    ask(machine, other, "CREATE TABLE written_since (x int)")
    given = {"restore_dump": dump, "restore_database": database}
    given["restore_confirmed_database"] = database
    restored = playbook("restore", "-e", json.dumps(given))
    assert restored.returncode == 0, restored.stdout + restored.stderr
    assert counted(machine, database) == rows
    assert ask(machine, other, "SELECT to_regclass('written_since')") == "written_since"
    ask(machine, other, "DROP TABLE written_since")
