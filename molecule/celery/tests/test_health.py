# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Faults of real workers, a real beat and their broker, and what celery_health says of them."""

from __future__ import annotations

import time
import typing as t

import pytest
from operations import broken, unwell
from testinfra.host import Host

Rows = dict[str, dict[str, str]]
Examine = t.Callable[..., Rows]
WORKERS = [
    {"unit": "shop-worker-default.service", "node": "shop-default"},
    {"unit": "shop-worker-slow.service", "node": "shop-slow"},
]
BEAT = "/srv/shop/current/venv/bin/celery --app tasks beat --schedule=/tmp/second --pidfile="
CALL = (
    "cd /srv/shop/current/project && set -a && . /etc/slipway/shop/environment &&"
    " runuser -u shop -- /srv/shop/current/venv/bin/celery --no-color --app tasks call"
)


@pytest.fixture
def shop(host: Host, examine: Examine) -> t.Callable[..., Rows]:
    """The application as it is declared on this machine."""
    runs_beat = str(host.backend.get_hostname()).endswith("debian12")
    declared = {
        "application": "shop",
        "module": "tasks",
        "workers": WORKERS,
        "queues": ["celery", "slow"],
        "beats": int(runs_beat),
    }
    return lambda **options: examine("celery", **{**declared, "timeout": 30, **options})


def settle(host: Host, shop: t.Callable[..., Rows]) -> Rows:
    """Wait until all is well again, so that the next test begins there."""
    deadline = time.monotonic() + 300
    while unwell(rows := shop()):
        assert time.monotonic() < deadline, f"it did not recover: {rows}"
        time.sleep(2)
    return rows


def answered(shop: t.Callable[..., Rows], worker: str) -> Rows:
    """What is found once a worker that is well has answered: on a busy computer it may be late."""
    late, deadline = ("no pong", "pong, of an unknown"), time.monotonic() + 300
    while (rows := shop())[worker]["value"].startswith(late) and time.monotonic() < deadline:
        time.sleep(2)
    return rows


def broker(host: Host) -> str:
    return "valkey" if host.file("/etc/valkey").exists else "redis"


def test_workers_queues_and_beat_are_well(host: Host, shop: t.Callable[..., Rows]) -> None:
    rows = settle(host, shop)
    assert rows["shop-worker-slow.service"]["value"].startswith("pong of ")
    assert ("last tick" in rows) is str(host.backend.get_hostname()).endswith("debian12")


@pytest.mark.either
def test_a_worker_that_hangs_in_a_living_unit_is_critical(
    host: Host, shop: t.Callable[..., Rows]
) -> None:
    kill = "systemctl kill --kill-who=main shop-worker-slow --signal="
    with broken(host, f"{kill}STOP", f"{kill}CONT"):
        assert host.service("shop-worker-slow").is_running
        rows = answered(shop, "shop-worker-default.service")
    assert rows["shop-worker-slow.service"]["state"] == "critical"
    assert rows["shop-worker-slow.service"]["value"].startswith("no pong")
    assert rows["shop-worker-default.service"]["state"] == "ok"
    settle(host, shop)


@pytest.mark.either
def test_a_worker_that_runs_an_old_release_is_told(host: Host, shop: t.Callable[..., Rows]) -> None:
    link = host.file("/srv/shop/current").linked_to
    next_one = "/srv/shop/releases/next"
    begin = (
        f"cp -a {link} {next_one} && sed -i 's/=.*/=\"0123456789abcdef\"/' {next_one}/release.env"
        " && ln -sfn releases/next /srv/shop/current"
    )
    with broken(host, begin, f"ln -sfn {link} /srv/shop/current && rm -r {next_one}"):
        rows = answered(shop, "shop-worker-default.service")
    assert rows["shop-worker-default.service"]["state"] == "warning"
    assert rows["shop-worker-default.service"]["limit"] == "0123456789ab"


@pytest.mark.either
def test_a_queue_that_nobody_reads_is_deep_and_old(host: Host, shop: t.Callable[..., Rows]) -> None:
    stop, start = "systemctl stop shop-worker-slow", "systemctl start shop-worker-slow"
    with broken(host, stop, start):
        host.check_output(f"{CALL} tasks.sleep --queue slow --args '[0, \"aged\"]'")
        host.check_output(f"{CALL} tasks.sleep --queue slow --args '[0, \"aged\"]'")
        host.check_output("sleep 3")
        rows = shop(depth_warning_messages=1, age_warning_seconds=1)
        assert rows["queue slow depth"]["state"] == "warning"
        assert rows["queue slow age"]["state"] == "warning"
        assert "was sent" in rows["queue slow age"]["value"]
        worse = shop(depth_critical_messages=1, age_critical_seconds=2)
        assert worse["queue slow depth"]["state"] == "critical"
        assert worse["queue slow age"]["state"] == "critical"
    settle(host, shop)


@pytest.mark.either
def test_the_age_of_messages_without_a_time_is_unknown(
    host: Host, shop: t.Callable[..., Rows]
) -> None:
    stop, start = "systemctl stop shop-worker-default", "systemctl start shop-worker-default"
    with broken(host, stop, start):
        host.check_output(f"{CALL} tasks.tick --queue celery")
        rows = shop()
    assert rows["queue celery age"]["state"] == "unknown"
    assert "before_task_publish" in rows["queue celery age"]["advice"]
    settle(host, shop)


def test_two_beats_are_critical(host: Host, shop: t.Callable[..., Rows]) -> None:
    run = (
        "systemd-run --collect --quiet --unit=second-beat -p User=shop"
        " -p EnvironmentFile=/etc/slipway/shop/environment"
        f" -p WorkingDirectory=/srv/shop/current/project {BEAT}"
    )
    with broken(host, run, "systemctl stop second-beat; rm -f /tmp/second*"):
        host.check_output("sleep 2")
        rows = shop()
    expected = 2 if str(host.backend.get_hostname()).endswith("debian12") else 1
    assert rows["beat"]["state"] == "critical"
    assert rows["beat"]["value"].startswith(f"{expected} on this machine")
    settle(host, shop)


def test_a_beat_that_is_gone_or_hangs_is_critical(host: Host, shop: t.Callable[..., Rows]) -> None:
    if not host.service("shop-beat").is_running:
        pytest.skip("another machine has the beat")
    with broken(host, "systemctl stop shop-beat; sleep 4", "systemctl start shop-beat"):
        rows = shop(beat_warning_seconds=1, beat_critical_seconds=2)
        assert rows["beat"]["state"] == "critical"
        assert rows["last tick"]["state"] == "critical"
    settle(host, shop)
    kill = "systemctl kill --kill-who=main shop-beat --signal="
    with broken(host, f"{kill}STOP", f"{kill}CONT"):
        rows = shop()
    assert rows["beat"]["state"] == "critical"
    assert "stopped" in rows["beat"]["value"]
    settle(host, shop)


@pytest.mark.either
def test_a_broker_that_hangs_or_is_gone_is_critical_in_time(
    host: Host, shop: t.Callable[..., Rows]
) -> None:
    unit = f"{broker(host)}-server@broker"
    kill = f"systemctl kill --kill-who=main {unit} --signal="
    with broken(host, f"{kill}STOP", f"{kill}CONT"):
        rows = shop(timeout=12)
    assert rows["shop-worker-default.service"]["state"] == "critical"
    assert "cut off" in rows["shop-worker-default.service"]["value"]
    assert rows["queue celery depth"]["state"] == "critical"
    with broken(host, f"systemctl stop {unit}", f"systemctl start {unit}"):
        rows = shop()
    assert rows["shop-worker-default.service"]["state"] == "critical"
    settle(host, shop)


@pytest.mark.either
def test_who_may_not_look_or_has_no_release_learns_nothing(shop: t.Callable[..., Rows]) -> None:
    (row,) = shop(application="nobody-knows", home="/srv/nobody-knows").values()
    assert row["state"] == "unknown"
