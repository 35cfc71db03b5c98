"""What is examined follows from what is declared; each check is accepted by its kind."""

from __future__ import annotations

import json
import subprocess
import sys
import typing as t
from pathlib import Path

import yaml
from ansible_collections.slipway.stack.plugins.filter.health_checks import health_checks
from ansible_collections.slipway.stack.plugins.module_utils import _health_kinds, _health_module
from ansible_collections.slipway.stack.plugins.plugin_utils import _derive

ROOT = Path(__file__).parents[2]
ALL = {group: ["one"] for group in ("database", "cache", "application", "worker", "web")}
Checks = dict[str, dict[str, t.Any]]


def checks(
    host: str,
    groups: dict[str, list[str]],
    addresses: dict[str, str],
    scheduler: str = "",
    apart: bool = False,
) -> Checks:
    application: dict[str, t.Any] = {
        "name": "shop",
        "domain": "shop.example.com",
        "redirects": [],
        "certificate_source": "acme",
        "acme_directory": _derive.LETS_ENCRYPT,
        "static": None,
        "framework": "django",
        "database": {"name": "shop"},
        "uploads_apart": apart,
        "web": {
            "wsgi": "x:y",
            "asgi": "",
            "node": "",
            "health_path": "/health/",
            "websocket_health_path": "",
        },
        "pool": {"name": "shop", "pool_size": 25, "reserve_pool_size": 10},
        "celery": {
            "application": "shop",
            "workers": [
                {"name": "default", "queues": ["celery", "mail"]},
                {"name": "slow", "queues": ["mail"]},
            ],
            "beat": {"enabled": True, "scheduler": scheduler},
        },
    }
    topology = _derive.Topology(groups=groups, addresses=addresses, host=host)
    found = _derive.health_checks([application], topology, now=5.0)
    assert len(_health_module.accept(found, {}, _health_kinds.KINDS)) == len(found)
    return {f"{check['kind']} {check['name']}": check for check in found}


def test_a_machine_with_everything_is_examined_for_everything() -> None:
    found = checks("one", ALL, {"one": "one"})
    assert set(found) == {
        "host one",
        "postgres 5432",
        "pgbouncer 6432",
        "unit slipway-backup.timer",
        "backup one",
        "redis broker",
        "redis cache",
        "unit shop-web.service",
        "pooling shop",
        "celery shop",
        "http shop.example.com",
        "tls shop.example.com",
    }
    assert found["host one"]["reference_time"] == 5.0
    assert found["postgres 5432"]["role"] == "primary"
    assert found["postgres 5432"]["databases"] == ["shop"]
    assert found["celery shop"]["queues"] == ["celery", "mail"]
    assert found["pooling shop"]["pool_size"] == 35


def test_the_broker_keeps_what_it_is_given_and_the_cache_need_not() -> None:
    found = checks("one", ALL, {"one": "one"})
    kept = {
        name: (check["evictions_allowed"], check["persistent"])
        for name, check in found.items()
        if check["kind"] == "redis"
    }
    assert kept == {"redis broker": (False, True), "redis cache": (True, False)}
    assert {found[name]["role"] for name in kept} == {"primary"}


def test_beat_is_expected_on_the_first_worker_machine_only() -> None:
    groups = {**ALL, "worker": ["one", "two"], "application": ["two"]}
    addresses = {"one": "10.0.0.1", "two": "10.0.0.2"}
    found = checks("two", groups, addresses)
    applications = {"unit shop-web.service", "pooling shop", "celery shop"}
    assert set(found) == {"host two", "backup two"} | applications
    assert found["celery shop"]["beats"] == 0
    assert checks("one", groups, addresses)["celery shop"]["beats"] == 1


def test_a_machine_for_workers_alone_answers_for_them_alone() -> None:
    groups = {**ALL, "worker": ["two"]}
    found = checks("two", groups, {"one": "10.0.0.1", "two": "10.0.0.2"})
    assert set(found) == {"host two", "backup two", "celery shop", "unit of other machines"}


def test_nothing_of_other_machines_runs_on_one_that_has_left_its_group() -> None:
    addresses = {"one": "10.0.0.1", "two": "10.0.0.2"}

    def departed(**groups: list[str]) -> set[str]:
        found = checks("two", {**ALL, **groups}, addresses).get("unit of other machines")
        assert found is None or found["absent"]
        return {*found["unit"].split()} if found else set()

    both = ["one", "two"]
    assert departed(application=both, worker=both) == set()
    assert departed(application=both) == {"shop-worker-*.service", "shop-beat.service"}
    servers = departed(worker=both)
    assert {"shop-web.service", "shop-web.socket"} < servers
    assert departed() == servers | departed(application=both)


def test_uploads_of_several_machines_are_looked_at() -> None:
    assert "uploads shop" not in checks("one", ALL, {"one": "one"})
    found = checks("one", ALL, {"one": "one"}, apart=True)
    assert found["uploads shop"]["path"] == "/srv/shop/media"


def test_only_what_is_backed_up_can_be_overdue() -> None:
    placed = {"groups": {"web": ["one"]}, "addresses": {"one": "10.0.0.1"}, "host": "one"}

    def kinds(**options: t.Any) -> list[str]:
        return [check["kind"] for check in health_checks([], placed, "", {"backup": options})]

    assert kinds() == kinds(files=False) == ["host"]
    assert kinds(files=True) == ["host", "backup"]


def test_where_beat_keeps_its_schedule_follows_from_its_scheduler() -> None:
    kept = {
        scheduler: checks("one", ALL, {"one": "one"}, scheduler)["celery shop"]["beat_schedule"]
        for scheduler in ("", "django_celery_beat.schedulers:DatabaseScheduler", "my:Scheduler")
    }
    assert list(kept.values()) == ["settings", "database", "other"]


def test_an_archive_that_is_declared_is_required(tmp_path: Path) -> None:
    """What the playbook asks for, on machines that differ in what is declared."""
    play = yaml.safe_load((ROOT / "playbooks/check_health.yml").read_text())[1]
    arguments = play["tasks"][0]["slipway.stack.stack_health"]
    postgres = "(checks | selectattr('kind', 'equalto', 'postgres') | first)"
    wanted = f"{postgres} | combine(expected, stack_health.postgres | default({{}})) == {postgres}"
    task = {"ansible.builtin.assert": {"that": wanted}, "vars": {"checks": arguments["checks"]}}
    (tmp_path / "play.yml").write_text(
        yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": [task]}])
    )

    def machine(archiving: bool, required: bool, **given: t.Any) -> dict[str, t.Any]:
        return {
            "expected": {"archive_required": required},
            **{"stack_archiving": archiving, "stack_health": given, "stack_resolved": []},
            **{"stack_files_saved": archiving, "stack_backup_second": {}},
            "stack_topology": {"groups": ALL, "addresses": {"one": "one"}, "host": "one"},
            **{"stack_authority": {"directory": ""}, "ansible_connection": "local"},
        }

    hosts = {
        "declared": machine(True, True),
        "undeclared": machine(False, False),
        "limited": machine(True, True, postgres={"archive_critical_seconds": 60}),
        "exempt": machine(True, False, postgres={"archive_required": False}),
    }
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    program = Path(sys.executable).parent / "ansible-playbook"
    done = subprocess.run(
        [program, "-i", tmp_path / "hosts.json", tmp_path / "play.yml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
