# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters as a template calls them."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.slipway.stack.plugins.filter.backup_list import backup_list
from ansible_collections.slipway.stack.plugins.filter.backup_table import backup_table
from ansible_collections.slipway.stack.plugins.filter.backup_verdicts import (
    MISSING,
    backup_verdicts,
)
from ansible_collections.slipway.stack.plugins.filter.group_addresses import group_addresses
from ansible_collections.slipway.stack.plugins.filter.inventory_problems import inventory_problems
from ansible_collections.slipway.stack.plugins.filter.nginx_layout import nginx_layout
from ansible_collections.slipway.stack.plugins.filter.resolve_applications import (
    resolve_applications,
)
from ansible_collections.slipway.stack.plugins.filter.topology import topology
from ansible_collections.slipway.stack.plugins.filter.typed import typed
from ansible_collections.slipway.stack.plugins.plugin_utils import _operator, _tree
from jinja2.exceptions import UndefinedError
from test_applications import SHOP, SHOP_SECRETS

FILTERS = sorted((Path(__file__).parents[2] / "plugins/filter").glob("*.py"))
GROUPS = ["database", "cache", "application", "worker", "web"]


@pytest.mark.parametrize("name", [path.stem for path in FILTERS])
def test_a_file_offers_the_filter_of_its_name(name: str) -> None:
    module = importlib.import_module(f"ansible_collections.slipway.stack.plugins.filter.{name}")
    assert module.FilterModule().filters() == {name: getattr(module, name)}


def test_loading_the_filters_is_quick() -> None:
    # Each task that uses one filter loads all of them, in a process of its own.
    package = "ansible_collections.slipway.stack.plugins."
    load = f"""
import importlib, runpy, sys
runpy.run_path({str(Path(__file__).parents[1] / "conftest.py")!r})
for name in {[path.stem for path in FILTERS]}:
    importlib.import_module("{package}filter." + name)
print(*[name.rpartition(".")[2] for name in sys.modules if name.startswith("{package}")])
"""
    loaded = subprocess.check_output([sys.executable, "-c", load], text=True).split()
    assert "resolve_applications" in loaded
    assert not {"_inventory", "_request", "_health_kinds"} & set(loaded)


class Variables(dict[str, t.Any]):
    """A machine's variables, of which one refers to what nobody has defined."""

    def get(self, key: str, default: t.Any = None) -> t.Any:
        if self[key] == "{{ missing }}":
            raise UndefinedError("'missing' is undefined")
        return self[key]


def placed(*machines: str, host: str = "one") -> dict[str, t.Any]:
    variables = {
        "one": {"stack_address": "10.0.0.1", "ansible_host": "one.example.com"},
        "two": {"ansible_host": "10.0.0.2"},
        "three": {},
        "four": Variables(stack_address="{{ missing }}"),
    }
    groups = {group: list(machines) for group in GROUPS if group != "worker"}
    found: dict[str, t.Any] = topology({**groups, "ungrouped": ["five"]}, variables, host)
    return found


def test_a_machine_has_the_address_that_says_most() -> None:
    found = placed("one", "two", "three", "four")
    assert found["addresses"] == {
        "one": "10.0.0.1",
        "two": "10.0.0.2",
        "three": "three",
        "four": "not defined ('missing' is undefined)",
    }
    assert (found["groups"]["worker"], found["host"]) == ([], "one")


def test_a_single_machine_keeps_everything_to_itself() -> None:
    assert group_addresses(placed("one")) == {
        "listen": ["127.0.0.1"],
        "clients": ["127.0.0.1"],
        "first": {**dict.fromkeys(GROUPS, "one"), "worker": ""},
    }


def test_services_listen_for_exactly_the_machines_that_use_them() -> None:
    found = group_addresses(placed("one", "two"))
    assert found["listen"] == ["127.0.0.1", "10.0.0.1"]
    assert found["clients"] == ["127.0.0.1", "10.0.0.1", "10.0.0.2"]
    assert group_addresses(placed("one", "two", host="localhost"))["listen"] == []


def test_applications_are_resolved_or_refused_in_one_sentence() -> None:
    (shop,) = resolve_applications([SHOP], {"shop": SHOP_SECRETS}, placed("one"))
    assert shop["backup"] == {"name": "shop", "hashed_tables": []}
    with pytest.raises(AnsibleFilterError, match=r"vault_stack_applications\.shop is missing"):
        resolve_applications([SHOP], {}, placed("one"))


def test_problems_of_an_inventory_are_told() -> None:
    problems = inventory_problems({}, placed("one"))
    assert problems[0].startswith("stack_environment is missing; write its name")


def test_the_variables_of_every_machine_are_looked_at() -> None:
    machines = {"one": {"redis_engin": "redis"}}
    assert "redis_engin is not an option; write redis_engine, or give a variable" in "\n".join(
        inventory_problems({}, placed("one"), machines)
    )


def test_an_option_is_typed_or_refused() -> None:
    assert typed({}, "stack_acme")["directory"].startswith("https://")
    with pytest.raises(AnsibleFilterError, match=r"stack_acme\.drectory is not an option"):
        typed({"drectory": "x"}, "stack_acme")


def test_sites_are_laid_out_or_refused() -> None:
    assert nginx_layout([], ["127.0.0.1"])
    with pytest.raises(AnsibleFilterError):
        nginx_layout([{"name": "shop"}], ["127.0.0.1"])


def verdict(database: str, *findings: dict[str, str], **given: t.Any) -> dict[str, t.Any]:
    plain = {"key": "night/x.dump", "age": 5400, "level": "kept"}
    return {**plain, "database": database, "findings": list(findings), **given}


PUBLIC = {
    "severity": "critical",
    "object": "s3://b",
    "expected": "a closed bucket",
    "found": "an open one",
    "remedy": "close it",
}


def test_verdicts_are_one_table_and_a_bucket_is_told_once() -> None:
    odd = {**PUBLIC, "severity": "warning", "object": "a\nb\\c"}
    blog = verdict("blog", PUBLIC, key=None, age=None)
    found = [verdict("shop", PUBLIC, odd, bucket="b"), blog]
    assert backup_table({"db1": found}).splitlines() == [
        "machine  database  bucket  newest  age    level  findings",
        "db1      shop      b       x.dump  1.5 h  kept   2",
        "  critical: s3://b: expected a closed bucket, found an open one; close it",
        "  warning: a\\nb\\\\c: expected a closed bucket, found an open one; close it",
        "db1      blog      -       -       -      kept   1",
        "1 critical, 0 unknown, 0 unsupported, 1 warning",
    ]


# What the controller knows of itself and of its files.


DUMP, OTHER, CLUSTER = ({"database": name} for name in ("shop", "blog", "main"))


@pytest.mark.parametrize(
    ("told", "holds", "verdicts"),
    [
        ({"backup_verified": {"results": [{"databases": [DUMP, OTHER]}]}}, True, [DUMP, OTHER]),
        # Two places, of which the second did not answer.
        (
            {"backup_verified": {"results": [{"databases": [DUMP]}, {"msg": "no"}]}},
            True,
            [DUMP, MISSING],
        ),
        ({"backup_verified": {"results": [{"databases": []}]}}, True, []),
        ({"backup_verified": {"results": []}}, True, [MISSING]),
        ({"backup_verified": {"skipped": True}}, True, [MISSING]),
        ({}, True, [MISSING]),
        ({}, False, []),
        (
            {
                "backup_verified": {"results": [{"databases": [DUMP]}]},
                "backup_verified_physical": {"results": [{"databases": [CLUSTER]}, {"msg": "no"}]},
                "backup_verified_files": {
                    "stdout": '{"database": "files"}\n{"database": "files-second"}'
                },
            },
            True,
            [DUMP, CLUSTER, {"database": "files"}, {"database": "files-second"}],
        ),
        ({"backup_verified_files": {"skipped": True}}, False, []),
        ({"backup_verified_files": {"stdout": ""}}, False, []),
    ],
)
def test_what_was_said_of_backups_is_gathered(
    told: dict[str, t.Any], holds: bool, verdicts: list[dict[str, t.Any]]
) -> None:
    groups = ["one"] if holds else []
    hostvars = {"one": told, "two": {}, "three": {}}
    found = backup_verdicts(["one", "two"], hostvars, groups)
    assert found == {"one": verdicts, "two": []}


def test_a_machine_of_which_nothing_was_said_is_told_in_the_table() -> None:
    said = backup_table(backup_verdicts(["one"], {"one": {}}, ["one"]))
    assert said.endswith("0 critical, 1 unknown, 0 unsupported, 0 warning")
    assert "unknown: database machine: expected a verdict, found no backup of it was" in said


def test_without_processes_to_look_at_nobody_is_known(tmp_path: Path) -> None:
    assert _operator.process(7, tmp_path) == "7::"


@pytest.mark.parametrize(("sudo", "who"), [("ada", "ada"), ("", None)])
def test_whoever_runs_it_is_named(
    monkeypatch: pytest.MonkeyPatch, sudo: str, who: str | None
) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SUDO_USER", sudo)
    found = _operator.holder({})["who"]
    assert found == (who or found) and found


def test_a_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "SUDO_USER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)
    assert _operator.holder({})["who"] == "uid 4000000"


def test_a_tree_is_known_by_what_matters_of_it(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("x = 1\n")
    (tmp_path / "link").symlink_to("app.py")
    (tmp_path / "folder").symlink_to("/etc")
    seen = {_tree.digest(tmp_path)}
    for folder in (".git", "__pycache__"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x").touch()
    (tmp_path / "app.pyc").touch()
    seen.add(_tree.digest(tmp_path))
    assert len(seen) == 1, "what belongs to a workplace is no change"
    (tmp_path / "app.py").chmod(0o755)
    seen.add(_tree.digest(tmp_path))
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("elsewhere")
    seen.add(_tree.digest(tmp_path))
    assert len(seen) == 3
    assert len(_tree.digest_file(tmp_path / "app.py")) == 64


def test_backups_of_both_kinds_are_one_table_the_newest_first() -> None:
    dumps: list[dict[str, t.Any]] = [
        {"database": "shop", "key": "p/shop/b.dump", "size": 1200, "problem": None},
        {"database": "blog", "key": "p/blog/a.dump", "size": 9, "problem": "has no record"},
    ]
    dumps[0]["taken"] = "2026-11-28T02:00:03+00:00"
    dumps[0]["verified"] = "2026-11-28T02:01:00+00:00"
    dumps[1]["taken"] = "2026-11-27T04:00:00+02:00"
    physical = {
        "label": "20261128-030000F",
        "database": {"id": 1, "repo-key": 2},
        "type": "full",
        "timestamp": {"start": 1795834800},
        "info": {"repository": {"delta": 4_500_000}},
        "archive": {"start": "000000010000000000000003", "stop": "000000010000000000000004"},
        "error": True,
    }
    told: list[dict[str, t.Any]] = [{"msg": "no answer"}, {"backups": dumps}]
    lines = backup_list(told, json.dumps([{"backup": [physical]}])).splitlines()
    assert [line.split()[2] for line in lines[1:]] == ["cluster", "shop", "blog"]
    assert [line.split()[4] for line in lines[1:]] == ["second", "second", "second"]
    assert "000000010000000000000003 to 000000010000000000000004" in lines[1]
    assert lines[1].endswith("20261128-030000F  has page errors")
    assert lines[2].endswith("b.dump            read back 2026-11-28 02:01:00Z")
    assert lines[3].startswith("2026-11-27 02:00:00Z  blog") and "has no record" in lines[3]
    saved = [
        {"time": "2026-11-29T04:30:00.691090441+02:00", "short_id": "881d92ea"},
        {
            "time": "2026-11-28T02:30:00.1Z",
            "short_id": "e913588e",
            "summary": {"total_bytes_processed": 5_000_000},
        },
    ]
    lines = backup_list([], "", json.dumps(saved)).splitlines()
    assert lines[1].split() == [
        "2026-11-29",
        "02:30:00Z",
        "files",
        "snapshot",
        "first",
        "-",
        "-",
        "881d92ea",
    ]
    assert lines[2].split() == [
        "2026-11-28",
        "02:30:00Z",
        "files",
        "snapshot",
        "first",
        "5.0",
        "MB",
        "-",
        "e913588e",
    ]
    head = ["taken", "of", "kind", "place", "size", "WAL", "backup", "verdict"]
    assert backup_list([]).split() == head


def test_a_backup_is_listed_with_what_has_proven_it() -> None:
    def physical(label: str) -> dict[str, t.Any]:
        return {
            "label": label,
            "database": {"id": 1, "repo-key": 1},
            "type": "full",
            "timestamp": {"start": 1795834800},
            "info": {"repository": {"delta": 1}},
            "archive": {"start": "3", "stop": "4"},
            "error": False,
        }

    found = [{"object": "s3://b/x", "found": "a flipped bit"}]
    proofs: list[dict[str, t.Any]] = [
        {"label": "A", "verified": True, "verified_at": "2026-11-28T03:01:00+00:00"},
        {"label": "B", "verified": False, "verdict": {"findings": found}},
        {
            "history": [
                {"backup": "A", "ok": False, "started": "2026-11-28T04:00:00+00:00"},
                {"backup": "A", "ok": True, "started": "2026-11-29T04:00:00+00:00"},
                {"ok": True, "started": "2026-11-22T04:00:00+00:00"},
            ]
        },
        {
            "databases": {
                "files": {"verified": True, "snapshot": "881d92eaff", "last_success": "2026-11-29"}
            }
        },
    ]
    text = "\n".join(json.dumps(each, indent=2) for each in proofs)
    info = json.dumps([{"backup": [physical(label) for label in "ABC"]}])
    snapshots = [{"time": "2026-11-29T02:30:00Z", "short_id": name} for name in ("881d92ea", "e9")]
    other = json.dumps([{"time": "2026-11-29T02:31:00Z", "short_id": "aa"}])
    lines = backup_list([], info, f"{json.dumps(snapshots)}\n{other}", text).splitlines()
    assert any(" second " in line and line.endswith("  aa") for line in lines)
    assert lines[0].endswith("verdict")
    (a,) = [line for line in lines if "  A " in line]
    assert a.endswith("read back 2026-11-28T03:01:00+00:00, rehearsed 2026-11-29T04:00:00+00:00")
    (b,) = [line for line in lines if "  B " in line]
    assert b.endswith("s3://b/x: a flipped bit")
    (c,) = [line for line in lines if "  C " in line]
    assert c.endswith("another machine took it")
    assert any(line.endswith("881d92ea  read back 2026-11-29") for line in lines)
    assert any(line.endswith("  e9") for line in lines)
