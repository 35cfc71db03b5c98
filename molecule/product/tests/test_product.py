"""What the whole stack does for a visitor, and what it survives."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import subprocess
import typing as t
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import pytest
import testinfra
import yaml
from conftest import (
    DOMAIN,
    EXCUSES,
    INVENTORIES,
    LAB,
    PLAYBOOKS,
    ROOT,
    SCENARIO,
    Visitor,
    answers,
    eventually,
    playbook,
    write_as_awx,
)

Machines = dict[str, list[t.Any]]


def test_the_page_and_its_files_are_served(visitor: Visitor) -> None:
    page = visitor.get("/")
    assert page.status == 200
    assert "max-age=31536000" in page.headers["strict-transport-security"]
    styles = re.findall(rb'href="(/static/[^"]+\.css)"', page.body)
    assert styles
    answer = visitor.get(styles[0].decode())
    assert answer.status == 200
    assert "max-age=2592000" in answer.headers["cache-control"]


@pytest.mark.parametrize("port", ["", ":8443"])
def test_a_browsers_form_is_taken_also_behind_a_forwarded_port(
    visitor: Visitor, auction: int, port: str
) -> None:
    page = visitor.get("/")
    found = re.search(rb'name="csrfmiddlewaretoken" value="([^"]+)"', page.body)
    assert found
    fields = {"bidder": "Grace", "amount": "41", "csrfmiddlewaretoken": found[1].decode()}
    browser = {
        "Host": f"{DOMAIN}{port}",
        "Origin": f"https://{DOMAIN}{port}",
        "Cookie": page.headers["set-cookie"].partition(";")[0],
        "Content-Type": "application/x-www-form-urlencoded",
    }
    path = f"/auctions/{auction}/bid/"
    assert visitor.ask("POST", path, urllib.parse.urlencode(fields), **browser).status == 302
    assert visitor.get(f"/api/auctions/{auction}/").json()["leader"] == "Grace"


def test_health_says_that_everything_is_connected(visitor: Visitor) -> None:
    answer = visitor.get("/health/")
    assert answer.status == 200
    assert {"database": "connected", "redis": "connected"}.items() <= answer.json().items()


def test_the_application_is_told_what_the_pooler_keeps(machines: Machines) -> None:
    keeps = machines["database"][0].file("/etc/pgbouncer/pgbouncer.ini")
    expected = str(keeps.contains("^max_prepared_statements")).lower()
    for host in machines["application"]:
        environment = host.file("/etc/slipway/auction/environment").content_string
        assert f'DATABASE_PREPARED_STATEMENTS="{expected}"' in environment.splitlines()


def test_a_bid_over_https_arrives_on_the_websocket(visitor: Visitor, auction: int) -> None:
    async def watch() -> list[dict[str, t.Any]]:
        async with visitor.listen(f"/ws/auctions/{auction}/") as live:
            first = json.loads(await asyncio.wait_for(live.recv(), 60))
            assert (await asyncio.to_thread(visitor.bid, auction, "Ada", 100)).status == 201
            return [first, json.loads(await asyncio.wait_for(live.recv(), 60))]

    before, after = asyncio.run(watch())
    assert before["bids"] == 0
    assert (after["price"], after["leader"]) == (100, "Ada")


def test_celery_closes_an_auction_and_notes_its_winner(
    visitor: Visitor, manage: Callable[[str], str]
) -> None:
    number = int(manage("open_auction 'Soon over' --closes-in 20").splitlines()[-1])
    assert visitor.bid(number, "Grace", 50).status == 201

    def closed() -> bool:
        standing = visitor.get(f"/api/auctions/{number}/").json()
        return bool(standing["closed"]) and standing["winner"] == "Grace"

    eventually(closed, "Celery closes the auction")


def test_a_backup_is_taken_and_read_back() -> None:
    result = playbook("back_up")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "verified" in result.stdout


def test_other_keys_than_the_machines_prune() -> None:
    done = playbook("prune_backups")
    assert done.returncode == 0, done.stdout
    assert "Nothing was old." in done.stdout
    refused = playbook("prune_backups", "-e", json.dumps({"vault_stack_backup_s3_prune": None}))
    assert refused.returncode != 0
    assert "vault_stack_backup_s3_prune is missing: write access_key" in refused.stdout
    assert "Nothing was old." not in refused.stdout


def test_what_lies_in_s3_could_be_restored() -> None:
    result = playbook("verify_backups")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 critical, 0 unknown" in result.stdout


FLIP = """
import boto3
s3 = boto3.client("s3", "us-east-1", endpoint_url="http://127.0.0.1:5000",
                  aws_access_key_id="any", aws_secret_access_key="any")
found = s3.list_objects_v2(Bucket="backups", Prefix="test/")["Contents"]
dumps = [each for each in found if each["Key"].endswith(".dump.gpg")]
key = max(dumps, key=lambda each: each["LastModified"])["Key"]
body = bytearray(s3.get_object(Bucket="backups", Key=key)["Body"].read())
body[len(body) // 2] ^= 1
s3.put_object(Bucket="backups", Key=key, Body=bytes(body))
"""


def test_a_bit_that_flipped_in_s3_is_told() -> None:
    services = testinfra.get_host(f"docker://{LAB}-services")
    flip = f"/opt/lab/venv/bin/python -c {shlex.quote(FLIP)}"
    services.check_output(flip)
    try:
        result = playbook("verify_backups")
    finally:
        services.check_output(flip)
    assert result.returncode != 0
    assert "sha256" in result.stdout
    assert "0 critical" not in result.stdout


SERVICES = [
    ("database", "postgresql@*-main.service"),
    ("database", "pgbouncer.service"),
    ("cache", "redis-server@broker.service"),
    ("cache", "redis-server@cache.service"),
    ("application", "auction-web.service"),
    ("application", "auction-asgi.service"),
    ("worker", "auction-worker-default.service"),
    ("worker", "auction-beat.service"),
    ("web", "nginx.service"),
]


@pytest.mark.parametrize(("group", "pattern"), SERVICES, ids=[unit for _group, unit in SERVICES])
def test_a_killed_service_comes_back_by_itself(
    machines: Machines, group: str, pattern: str, healthy: Callable[[], bool]
) -> None:
    machine = machines[group][0]
    unit = machine.check_output(f"systemctl list-units --plain --no-legend '{pattern}'").split()[0]

    def process() -> str:
        output: str = machine.check_output(f"systemctl show -p MainPID --value {unit}")
        return output.strip()

    before = process()
    assert before not in ("", "0")
    machine.check_output(f"kill -9 {before}")

    def back() -> bool:
        active = machine.run(f"systemctl is-active {unit}").stdout.strip() == "active"
        return active and process() not in ("0", before)

    eventually(back, f"{unit} runs again")
    eventually(healthy, "the site is healthy again")


def test_a_bad_file_is_refused_before_any_machine_is_touched() -> None:
    result = playbook("site", "--extra-vars", json.dumps({"stack_environment": "No such"}))
    assert result.returncode != 0
    assert "stack_environment is 'No such'; write its name" in result.stdout
    assert "changed=0" in result.stdout


def test_a_python_that_is_not_there_is_refused_before_any_machine_is_touched() -> None:
    written = (ROOT / "molecule/product/inventory/group_vars/all/applications.yml").read_text()
    (auction,) = yaml.safe_load(written)["stack_applications"]
    declared = {"stack_applications": [{**auction, "python": "3.19"}]}
    result = playbook("site", "--extra-vars", json.dumps(declared))
    assert result.returncode != 0
    assert "has no /usr/bin/python3.19, which an application's python names" in result.stdout
    assert re.findall(r"changed=[1-9]\d*", result.stdout) == []


def test_everything_comes_back_after_a_reboot(
    machines: Machines, visitor: Visitor, auction: int, healthy: Callable[[], bool]
) -> None:
    assert visitor.bid(auction, "Alan", 77).status == 201
    # Not the object store of the tests, which keeps everything in memory.
    names = sorted({machine.backend.name for group in machines.values() for machine in group})
    reboot = ["python3", "-m", "tests.lab", "reboot", "--name", LAB, *names]
    subprocess.run(reboot, cwd=ROOT, check=True)
    eventually(healthy, "the site is healthy after the reboot")
    standing = visitor.get(f"/api/auctions/{auction}/").json()
    assert (standing["price"], standing["leader"]) == (77, "Alan")
    eventually(healthy_again, "every check is healthy")


def healthy_again() -> bool:
    result = playbook("check_health")
    print(result.stdout)
    return result.returncode == 0


def test_the_installed_collection_does_the_same(installed: Callable[..., str]) -> None:
    said = installed("ansible-playbook", "slipway.stack.site", *INVENTORIES)
    assert re.findall(r"changed=[1-9]\d*", said) == [], said


def test_a_machine_alone_is_told_the_same(machines: Machines) -> None:
    host = machines["application"][-1].backend.name
    done = playbook("site", f"--limit={host}", "--check", "--diff")
    assert done.returncode == 0, done.stdout
    assert " changed=0 " in done.stdout.partition("PLAY RECAP")[2], done.stdout


# What these do is done each time: tried, they say so.
EVERY_TIME = (
    "back_up",
    "load_test",
    "manage",
    "rehearse_restore",
    "restart",
    "restart_service",
    "restore",
    "restore_cluster",
    "restore_files",
    "rollback",
)


@pytest.mark.skipif(SCENARIO != "default", reason="what they are is the same everywhere")
@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: path.stem)
def test_each_playbook_can_be_tried_where_everything_runs(path: Path, tmp_path: Path) -> None:
    file = write_as_awx(tmp_path / "extravars", answers(path))
    done = playbook(path.stem, "--check", "--diff", f"-e@{file}")
    excused = any(excuse in done.stdout + done.stderr for excuse in EXCUSES)
    assert done.returncode == 0 or excused, done.stdout + done.stderr
    changed = re.findall(r"changed=[1-9]\d*", done.stdout)
    assert changed == [] or path.stem in EVERY_TIME, done.stdout
