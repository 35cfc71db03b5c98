# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What workers and beat promise, asked with real tasks over a real broker."""

from __future__ import annotations

import collections
import json
import os
import shutil
import subprocess
import time
import typing as t
from pathlib import Path

import pytest
import yaml
from operations import Load, apply
from testinfra.host import Host

WORKERS = ["shop-worker-default", "shop-worker-slow"]
CELERY = (
    "cd /srv/shop/current/project && set -a && . /etc/slipway/shop/environment &&"
    " runuser -u shop -- /srv/shop/current/venv/bin/celery --no-color --app tasks"
)

# By itself it waits for a second; whoever names the nodes waits no longer than for their answers.
PATIENTLY = "--timeout 60"


def runs_beat(host: Host) -> bool:
    return str(host.backend.get_hostname()).endswith("debian12")


def call(host: Host, task: str, *words: object, queue: str = "celery") -> None:
    arguments = "[" + ", ".join(f'"{w}"' if isinstance(w, str) else str(w) for w in words) + "]"
    host.check_output(f"{CELERY} call {task} --queue {queue} --args '{arguments}'")


def wait_for(host: Host, path: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not host.file(path).exists:
        if time.monotonic() > deadline:
            pytest.fail(f"{path} is not there after {seconds} s")
        time.sleep(0.3)


def main_process(host: Host, unit: str) -> str:
    return str(host.check_output(f"systemctl show -P MainPID {unit}"))


@pytest.fixture(autouse=True)
def clean(host: Host) -> None:
    host.check_output("rm -f /srv/shop/media/*.begun /srv/shop/media/*.done")


@pytest.mark.parametrize("unit", WORKERS)
def test_workers_run_and_start_with_the_machine(host: Host, unit: str) -> None:
    assert host.service(unit).is_running
    assert host.service(unit).is_enabled


def test_each_worker_answers_under_its_own_name(host: Host) -> None:
    machine = host.check_output("hostname")
    nodes = [f"{node}@{machine}" for node in ("shop-default", "shop-slow")]
    said = host.check_output(f"{CELERY} inspect ping {PATIENTLY} -d {','.join(nodes)}")
    for node in nodes:
        assert f"{node}: OK" in said


def test_a_worker_has_its_own_queues_and_limits(host: Host) -> None:
    machine = host.check_output("hostname")
    slow = host.check_output(f"{CELERY} inspect active_queues {PATIENTLY} -d shop-slow@{machine}")
    assert "'name': 'slow'" in slow
    assert "'name': 'celery'" not in slow
    stats = host.check_output(f"{CELERY} inspect stats {PATIENTLY} -d shop-default@{machine}")
    assert '"max-concurrency": 2' in stats
    assert '"max-tasks-per-child": 1000' in stats


def test_a_task_finishes_before_its_worker_restarts(host: Host) -> None:
    before = main_process(host, "shop-worker-slow")
    call(host, "tasks.sleep", 8, "drained", queue="slow")
    wait_for(host, "/srv/shop/media/drained.begun")
    host.check_output("systemctl restart shop-worker-slow")
    assert host.file("/srv/shop/media/drained.done").exists
    assert main_process(host, "shop-worker-slow") != before


def test_a_task_that_waits_is_done_by_the_restarted_worker(host: Host) -> None:
    call(host, "tasks.sleep", 4, "first", queue="slow")
    call(host, "tasks.sleep", 0, "second", queue="slow")
    wait_for(host, "/srv/shop/media/first.begun")
    host.check_output("systemctl restart shop-worker-slow")
    wait_for(host, "/srv/shop/media/second.done")


@pytest.mark.either
def test_a_task_that_takes_longer_than_it_may_is_given_back(
    host: Host, scenario: dict[str, t.Any]
) -> None:
    """One that is acknowledged late; nothing waits for the broker to miss it."""
    (shop,) = scenario["celery_applications"]
    hasty = [{**shop, "stop_timeout_seconds": 3}]
    try:
        assert apply(host, celery_applications=hasty).returncode == 0
        call(host, "tasks.patient", 15, "patient", queue="slow")
        wait_for(host, "/srv/shop/media/patient.begun")
        begun = time.monotonic()
        host.check_output("systemctl restart shop-worker-slow")
        assert time.monotonic() - begun < 30, "it was asked to give it back, and not killed"
        assert not host.file("/srv/shop/media/patient.done").exists
        wait_for(host, "/srv/shop/media/patient.done")
    finally:
        assert converge(host).returncode == 0
    revision = host.file("/srv/shop/current/REVISION").content_string.strip()
    assert host.file("/srv/shop/media/patient.begun").content_string == revision * 2
    assert host.file("/srv/shop/media/patient.done").content_string == revision


@pytest.mark.long
def test_a_task_of_a_minute_is_done_once_while_a_release_comes(host: Host, tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    shutil.copytree(Path(os.environ["MOLECULE_PROJECT_DIRECTORY"]) / "molecule/app/shop", folder)
    with (folder / "tasks.py").open("a") as tasks:
        tasks.write("# Another release.\n")
    old = host.file("/srv/shop/current/REVISION").content_string.strip()
    before = main_process(host, "shop-worker-slow")
    call(host, "tasks.sleep", 60, "minute", queue="slow")
    wait_for(host, "/srv/shop/media/minute.begun")
    done = deploy(host, folder, "deploy")
    assert done.returncode == 0, done.stdout
    for moment in ("begun", "done"):
        assert host.file(f"/srv/shop/media/minute.{moment}").content_string == old
    assert main_process(host, "shop-worker-slow") != before
    assert host.file("/srv/shop/current/REVISION").content_string.strip() != old
    assert deploy(host, folder, "rollback").returncode == 0


def test_beat_runs_on_one_machine_only(host: Host) -> None:
    assert host.service("shop-beat").is_running is runs_beat(host)
    assert host.service("shop-beat").is_enabled is runs_beat(host)
    beats = host.run("pgrep -fc '[c]elery --app tasks beat'").stdout.strip()
    assert beats == ("1" if runs_beat(host) else "0")


@pytest.mark.either
def test_what_is_no_longer_declared_is_stopped(host: Host, scenario: dict[str, t.Any]) -> None:
    (shop,) = scenario["celery_applications"]
    fewer = [{**shop, "workers": shop["workers"][:1], "beat": {"enabled": False}}]
    try:
        assert apply(host, celery_applications=fewer).returncode == 0
        for name in ("shop-worker-slow", "shop-beat"):
            assert not host.service(name).is_running
            assert not host.service(name).is_enabled
        assert " changed=0 " in apply(host, celery_applications=fewer).stdout
    finally:
        assert converge(host).returncode == 0
    assert host.service("shop-worker-slow").is_running
    assert host.service("shop-worker-slow").is_enabled


def test_beat_s_schedule_is_kept_and_its_tasks_are_done(host: Host) -> None:
    if not runs_beat(host):
        assert not host.file("/srv/shop/media/ticks").exists
        return
    wait_for(host, "/srv/shop/media/ticks")
    before = host.file("/srv/shop/media/ticks").size
    deadline = time.monotonic() + 120
    while host.file("/srv/shop/media/ticks").size == before:
        assert time.monotonic() < deadline, "nothing that beat sends is done"
        time.sleep(0.5)
    assert host.run("ls /var/lib/slipway/shop/beat-schedule*").rc == 0


def test_workers_can_write_media_and_nothing_else_of_the_application(host: Host) -> None:
    pid = main_process(host, "shop-worker-default")
    enter = f"nsenter --target {pid} --mount -- touch"
    assert host.run(f"{enter} /srv/shop/media/x && rm /srv/shop/media/x").rc == 0
    for folder in ("current/source", "static", "releases"):
        assert "Read-only" in host.run(f"{enter} /srv/shop/{folder}/x 2>&1").stdout


def test_the_broker_s_password_is_not_in_any_command_line(host: Host) -> None:
    assert host.run("cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c '[c]anary-8264'").rc != 0
    assert host.run("journalctl --no-pager | grep '[c]anary-8264'").rc != 0


@pytest.mark.either
def test_a_new_release_restarts_the_workers_on_it(host: Host) -> None:
    """What the role compares is the link itself, whoever has switched it."""
    link = host.file("/srv/shop/current").linked_to
    host.check_output(f"cp -a {link} /srv/shop/releases/next")
    before = main_process(host, "shop-worker-default")
    host.check_output("ln -sfn releases/next /srv/shop/current")
    try:
        assert converge(host).returncode == 0
        assert main_process(host, "shop-worker-default") != before
    finally:
        host.check_output(f"ln -sfn {link} /srv/shop/current && rm -r /srv/shop/releases/next")
        assert converge(host).returncode == 0
    assert "changed=0" in converge(host).stdout


def deploy(
    host: Host, folder: Path, entry: str, **options: object
) -> subprocess.CompletedProcess[str]:
    """Apply an entry of the role app with the shop of another folder."""
    scenario = yaml.safe_load(
        Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"], "vars.yml").read_text()
    )
    (shop,) = scenario["app_applications"]
    shop["source"] = {"directory": str(folder)}
    shop["beat"] = "shop-beat.service" if runs_beat(host) else ""
    given = {"app_applications": [shop], "molecule_role": "app", "molecule_entry": entry}
    return converge(host, "-e", json.dumps({**given, "app_watch_seconds": 0, **options}))


ORDERS = "--socket /run/slipway/shop/web.sock --method POST --path /order/ --rate 5"


def counted(host: Host) -> collections.Counter[str]:
    return collections.Counter(host.file("/srv/shop/media/counted").content_string.split())


@pytest.mark.either
def test_no_task_reaches_a_worker_that_does_not_know_it(host: Host, tmp_path: Path) -> None:
    """A release whose servers create tasks that only it knows comes, and goes back again."""
    folder = tmp_path / "shop"
    shutil.copytree(Path(os.environ["MOLECULE_PROJECT_DIRECTORY"]) / "molecule/app/shop", folder)
    shop, tasks = folder / "shop.py", folder / "tasks.py"
    shop.write_text(shop.read_text().replace('"tasks.count"', '"tasks.anew"'))
    anew = '@app.task(name="tasks.anew")\ndef anew() -> None:\n    count()\n'
    tasks.write_text(f"{tasks.read_text()}\n\n{anew}")
    old = host.file("/srv/shop/current/REVISION").content_string.strip()
    host.check_output("rm -f /srv/shop/media/counted; touch /root/since")
    call(host, "tasks.sleep", 15, "long", queue="slow")
    wait_for(host, "/srv/shop/media/long.begun")
    for entry in ("deploy", "rollback"):
        before = counted(host).total() if entry == "rollback" else 0
        with Load([host], ORDERS) as orders:
            done = deploy(host, folder, entry)
        assert done.returncode == 0, done.stdout
        assert orders.lost() == []
        expected = before + orders.reports[0]["requests"]
        # A busy computer takes long to start a worker; what counts is that none is lost.
        deadline = time.monotonic() + 120
        while counted(host).total() < expected and time.monotonic() < deadline:
            time.sleep(0.5)
        assert counted(host).total() == expected
    new = set(counted(host)) - {old}
    assert len(new) == 1
    assert host.file("/srv/shop/media/long.done").content_string == old
    said = host.run("journalctl --no-pager -u 'shop-worker-*' | grep -ci unregistered")
    assert said.stdout.strip() == "0"
    if runs_beat(host):
        beats = host.run(
            "journalctl --no-pager -u shop-beat --output=cat | grep -c 'beat: Starting'"
        )
        assert int(beats.stdout) >= 3  # it followed both ways


@pytest.mark.either
def test_a_worker_that_cannot_reach_its_broker_fails_the_run(host: Host) -> None:
    host.check_output("systemctl stop 'redis-server@*' 'valkey-server@*'")
    host.check_output("systemctl kill --signal=KILL shop-worker-default shop-worker-slow")
    host.check_output("systemctl stop shop-worker-slow")
    try:
        done = converge(host, "-e", '{"celery_health_timeout_seconds": 5}')
        assert done.returncode != 0
        assert "does not answer a ping after 5 s" in done.stdout + done.stderr
    finally:
        host.check_output(
            "systemctl start --all 'redis-server@broker' || systemctl start valkey-server@broker"
        )


def converge(host: Host, *words: str) -> subprocess.CompletedProcess[str]:
    scenario = os.environ["MOLECULE_SCENARIO_DIRECTORY"]
    return subprocess.run(
        [
            *["ansible-playbook", f"--inventory={scenario}/../shared/inventory.yml"],
            *["--limit", host.backend.get_hostname(), f"{scenario}/../shared/converge.yml", *words],
        ],
        check=False,
        capture_output=True,
        text=True,
    )
