"""What visitors notice of releases on several machines: of a good one, nothing."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import typing as t
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import testinfra
from conftest import DOMAIN, LAB, ROOT, SCENARIO, Visitor, playbook

Machines = dict[str, list[t.Any]]
Report = dict[str, t.Any]
pytestmark = pytest.mark.skipif(SCENARIO != "four", reason="where several machines take turns")
MIGRATION = """from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("auctions", "{after}")]
    operations = [migrations.{operation}]
"""
MIGRATIONS = {
    "0003_note": MIGRATION.format(
        after="0002_schedule",
        operation='AddField("auction", "note", models.CharField(max_length=9, null=True))',
    ),
    "0004_no_note": MIGRATION.format(after="0003_note", operation='RemoveField("auction", "note")'),
}
# Looks at the auctions, in one transaction, until a migration has once waited for it in vain.
READER = """(echo 'SET idle_in_transaction_session_timeout = 0; BEGIN;'
echo 'SELECT count(*) FROM auctions_auction;'
tail -n 0 -F /var/log/postgresql/postgresql-*-main.log | grep -qm1 'due to lock timeout'
echo 'COMMIT;') | runuser -u postgres -- psql -d auction"""
INDEX = "def index(request: HttpRequest) -> HttpResponse:\n"


@pytest.fixture
def visitors(visitor: Visitor, authority: str, tmp_path: Path) -> Callable[[], t.Any]:
    """Visitors who come at a constant rate for as long as the block runs, and what they got."""
    (tmp_path / "authority.pem").write_text(authority)
    program = [sys.executable, str(ROOT / "tests/load.py"), "--address", f"{visitor.address}:443"]
    program += ["--host", DOMAIN, "--authority", str(tmp_path / "authority.pem")]
    program += ["--rate", "5", "--seconds", "900", "--stop", str(tmp_path / "stop")]

    @contextlib.contextmanager
    def come() -> Iterator[Report]:
        report: Report = {}
        (tmp_path / "stop").unlink(missing_ok=True)
        with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout and process.stdout.readline().startswith("asking")
            try:
                yield report
            finally:
                (tmp_path / "stop").touch()
                report.update(json.loads(process.stdout.read()))

    return come


@pytest.fixture
def bidder(visitor: Visitor, authority: str, auction: int, tmp_path: Path) -> Callable[[], t.Any]:
    """Somebody who bids on the page while the block runs, and what they saw."""
    pem, stop = tmp_path / "bidder.pem", tmp_path / "enough"
    pem.write_text(authority)
    program = [sys.executable, "-m", "tests.bidder", "--address", f"{visitor.address}:443"]
    program += ["--host", DOMAIN, "--authority", str(pem), "--auction", str(auction)]
    program += ["--stop", str(stop)]

    @contextlib.contextmanager
    def come() -> Iterator[Report]:
        report: Report = {}
        stop.unlink(missing_ok=True)
        with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
            assert process.stdout and process.stdout.readline() == "bidding\n"
            try:
                yield report
            finally:
                stop.touch()
                report.update(json.loads(process.stdout.read()))

    return come


def put(
    folder: Path, tag: str, old: str = "", new: str = "", migrations: str = "", **more: str
) -> None:
    """The auction with a change, as a version in its repository; more is for the end of modules."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(
        ROOT / "tests/apps/auction", folder, ignore=shutil.ignore_patterns("__pycache__")
    )
    views = folder / "auctions/views.py"
    assert old in views.read_text()
    views.write_text(views.read_text().replace(old, new))
    for module, text in more.items():
        with (folder / f"{module.replace('__', '/')}.py").open("a") as file:
            file.write(text)
    for name in migrations.split():
        (folder / f"auctions/migrations/{name}.py").write_text(MIGRATIONS[name])
    words = ["repository", "--name", LAB, str(folder), "auction", "--tag", tag]
    subprocess.run([sys.executable, "-m", "tests.lab", *words], cwd=ROOT, check=True)


@pytest.fixture
def branch(machines: Machines) -> Iterator[None]:
    """What the inventory wants, main, is afterwards what it was, for tests that come later.

    Both migrations together change nothing, so the database need only forget them: main would be
    refused as code from before one that breaks.
    """
    services = testinfra.get_host(f"docker://{LAB}-services")
    git = "git -C /srv/git/auction.git"
    before = services.check_output(f"{git} rev-parse main")
    yield
    services.check_output(f"{git} update-ref refs/heads/main {before}")
    forget = "DELETE FROM django_migrations WHERE name IN ('0003_note', '0004_no_note')"
    machines["database"][0].check_output(f'runuser -u postgres -- psql -d auction -c "{forget}"')


def serving(machines: Machines) -> list[str]:
    return [machine.file("/srv/auction/current").linked_to for machine in machines["application"]]


def history(machine: t.Any) -> list[dict[str, str]]:
    path = "/var/lib/slipway/deployments/auction/history.json"
    return t.cast(list[dict[str, str]], json.loads(machine.file(path).content_string))


def deploy(version: str, seconds: int, *more: str) -> subprocess.CompletedProcess[str]:
    options = ("app=auction", f"version={version}", f"app_watch_seconds={seconds}", *more)
    return playbook("deploy", *(word for option in options for word in ("-e", option)))


@pytest.mark.usefixtures("branch")
def test_a_good_release_a_bad_one_and_the_way_back(
    visitors: Callable[[], t.Any], machines: Machines, visitor: Visitor, tmp_path: Path
) -> None:
    first = serving(machines)
    put(tmp_path / "auction", "v-good", INDEX, f"{INDEX}    # as good as the one before\n")
    with visitors() as seen:
        done = deploy("v-good", 10)
    assert done.returncode == 0, done.stdout
    assert seen["failed"] == {}
    good = serving(machines)
    # Alike, so that one has built for both: the same release, and one source of the other's.
    assert len(set(good)) == 1
    assert all(old != new for old, new in zip(first, good, strict=True))
    # Well by its health endpoint, and of no use to visitors.
    put(tmp_path / "auction", "v-bad", INDEX, f'{INDEX}    raise RuntimeError("no lots today")\n')
    with visitors() as seen:
        done = deploy("v-bad", 300)
    assert done.returncode != 0
    assert set(seen["failed"]) == {"HTTP 500"}
    for machine in machines["application"]:
        line = history(machine)[-1]
        assert line["result"] == "failed", line
        assert "requests failed, at most 1 % may (before: 0 %)" in line["reason"]
    assert serving(machines) == good
    assert visitor.get("/").status == 200
    with visitors() as seen:
        done = playbook("rollback", "-e", "app=auction")
    assert done.returncode == 0, done.stdout
    assert seen["failed"] == {}
    assert serving(machines) == first
    told = playbook("releases").stdout
    assert told.count("application  when ") == 1
    lines = [line.split() for line in told.splitlines()]
    (last,) = [line for line in lines if line[:1] == ["auction"] and "rollback" in line]
    assert ("all" in last, "(serves)" in last, "succeeded" in last) == (True, True, True)


# Every visit makes a task of a kind that the release before does not know.
ANEW = """from celery import shared_task as of_this_release


@of_this_release(name="auctions.anew")
def anew() -> None:
    pass
"""
ORDER = """    from celery import current_app

    current_app.send_task("auctions.anew")
"""
# Only a trial has that directory, so the release passes it and fails when it is to serve.
ON_ONE_ONLY = """
import os
import socket

if socket.gethostname().endswith("application2"):
    os.environ["RUNTIME_DIRECTORY"]
"""


@pytest.mark.usefixtures("branch")
def test_no_old_worker_gets_a_task_of_a_release_that_fails_on_the_second_machine(
    visitors: Callable[[], t.Any], machines: Machines, tmp_path: Path
) -> None:
    old, began = serving(machines), machines["worker"][0].check_output("date +%s")
    change = {"auctions__tasks": ANEW, "auction__wsgi": ON_ONE_ONLY}
    put(tmp_path / "auction", "v-anew", INDEX, f"{INDEX}{ORDER}", **change)
    with visitors() as seen:
        done = deploy("v-anew", 0)
    assert done.returncode != 0, done.stdout
    assert seen["failed"] == {}
    assert serving(machines) == old
    journal = f"journalctl --no-pager -u 'auction-worker-*' --since @{began}"
    said = [machine.check_output(journal) for machine in machines["worker"]]
    assert "auctions.anew" in "".join(said), "the first machine had begun to serve it"
    assert [one.count("unregistered") for one in said] == [0] * len(said)


def processes(machines: Machines) -> dict[str, str]:
    """What each service runs as, to see that it was restarted."""
    units = {"database": "pgbouncer 'postgresql@*'", "cache": "'redis-server@*'", "web": "nginx"}
    return {
        group: machines[group][0].check_output(f"systemctl show -P MainPID {names}")
        for group, names in units.items()
    }


def test_no_visitor_notices_a_restart_of_a_service(
    visitors: Callable[[], t.Any], bidder: Callable[[], t.Any], machines: Machines
) -> None:
    before = processes(machines)
    with visitors() as seen, bidder() as saw:
        for service in ("postgres", "pgbouncer", "redis", "nginx"):
            done = playbook("restart_service", "-e", f"service={service}")
            assert done.returncode == 0, done.stdout
    assert seen["failed"] == {}
    assert saw["failed"] == {}
    assert saw["live"], saw
    after = processes(machines)
    assert all(
        old != new
        for group, told in before.items()
        for old, new in zip(told.split(), after[group].split(), strict=True)
    )


@pytest.mark.long
@pytest.mark.usefixtures("branch")
def test_a_migration_that_waits_one_that_breaks_and_the_way_back(
    visitors: Callable[[], t.Any], machines: Machines, tmp_path: Path
) -> None:
    name = machines["database"][0].backend.name
    put(tmp_path / "auction", "v-note", migrations="0003_note")
    reader = subprocess.Popen(["docker", "exec", name, "sh", "-c", READER])
    try:
        with visitors() as seen:
            done = deploy("v-note", 0)
        assert done.returncode == 0, done.stdout
        assert reader.wait(30) == 0
    finally:
        reader.kill()
    assert seen["failed"] == {}
    put(tmp_path / "auction", "v-no-note", migrations="0003_note 0004_no_note")
    done = deploy("v-no-note", 0)
    assert done.returncode != 0
    assert "allow_migrations=auctions.0004_no_note" in done.stdout
    # Somebody else has to approve it, and a backup is taken before it.
    allowed = "allow_migrations=auctions.0004_no_note"
    approval = (allowed, '{"stack_approval_required": true}')
    done = deploy("v-no-note", 0, *approval)
    assert "deploy_approved is missing" in done.stdout + done.stderr
    done = deploy("v-no-note", 0, *approval, "deploy_approved=v-no-note")
    assert done.returncode == 0, done.stdout
    assert "Back up now" in done.stdout
    broken = serving(machines)
    done = playbook("rollback", "-e", "app=auction")
    assert done.returncode != 0
    assert "deploy a version that fits" in " ".join(done.stdout.split())
    assert serving(machines) == broken
    # The operator knows that it works.
    done = playbook("rollback", "-e", "app=auction", "-e", allowed)
    assert done.returncode == 0, done.stdout
    assert serving(machines) != broken
