# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What several machines do one after the other, and at the same time, by the role's own tasks.

The modules are stand-ins that note when they are called; Ansible, role and actions are real.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.slipway.stack.plugins.module_utils import _serving

ROOT = Path(__file__).resolve().parents[2]
MACHINES = ["a", "b", "c"]
MODULES = [path.stem for path in (ROOT / "plugins/modules").glob("app_*.py")]
STANDIN = """#!/usr/bin/python
import json, os, sys
from ansible.module_utils.basic import AnsibleModule
ARGUMENTS = ("part", "state", "release", "found")
module = AnsibleModule({name: {"type": "raw"} for name in %(arguments)r})
given, me = module.params, os.environ["MACHINE"]
said = given.get("part") or given.get("state") or "%(name)s"
if given.get("part") in ("quiet", "workers") and not given["release"]:
    said = f"{said} follow" + " or warn" * bool(given["tolerant"])
if given.get("trouble") and said == "ended":
    said = f"{said}: {given['trouble']}"
with open(os.environ["LOG"], "a") as log:
    log.write(f"{me} {said}\\n")
if f"{me} {said}" == os.environ["FAILS"] or said == "undo":
    module.fail_json(msg="as it was told")
answer = {"changed": True, "release": "2", "deployment": "7", "started": "", "machine": "m"}
answer["found"] = {"before": "1", "switched": said != "try"}
answer["behind"] = ["shop-worker-default.service"] * (os.environ["BEHIND"] == "yes")
answer.update(json.loads(os.environ["ANSWERS"]))
shop = {"needed": True, "wanted": "r", "current": "1", "withdrawn": False, "built": True}
module.exit_json(**answer, applications={"shop": shop})
"""
SHOP = {
    "name": "shop",
    "source": {"repository": "https://git.example.com/shop.git"},
    "framework": "none",
    "web": {"wsgi": "shop:application"},
    "workers": [{"unit": "shop-worker-default.service", "node": "shop-default", "module": "tasks"}],
}
FAST = {"ANSIBLE_PIPELINING": "1"}
Play = t.Callable[..., list[str]]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Runs an entry of the role on machines that are all this one; what was called, in order."""
    stack = tmp_path / "ansible_collections/slipway/stack"
    (stack / "plugins/modules").mkdir(parents=True)
    for part in ("roles", "meta", "galaxy.yml"):
        (stack / part).symlink_to(ROOT / part)
    for folder in (ROOT / "plugins").iterdir():
        if folder.name != "modules":
            (stack / "plugins" / folder.name).symlink_to(folder)
    for name in MODULES:
        documented = (ROOT / f"plugins/modules/{name}.py").read_text().split('"""')[1]
        own = yaml.safe_load(documented).get("options", {})
        words = {"name": name, "arguments": [*own, *_serving.argument_spec()]}
        (stack / f"plugins/modules/{name}.py").write_text(STANDIN % words)

    def run(
        entry: str,
        fails: str = "",
        behind: str = "no",
        limit: str = "all",
        answers: dict[str, t.Any] | None = None,
        **options: t.Any,
    ) -> list[str]:
        log = tmp_path / "log"
        log.write_text("")
        told = {"MACHINE": "{{ inventory_hostname }}", "LOG": str(log)}
        # Ansible would read JSON in a variable as what it says.
        told["ANSWERS"] = "{% raw %}" + json.dumps(answers or {}) + "{% endraw %}"
        role = {"name": "slipway.stack.app", "tasks_from": entry}
        given = {"app_applications": [SHOP], "app_machines": MACHINES, "app_watch_seconds": 0}
        steps = {
            "hosts": "all",
            "gather_facts": False,
            "connection": "local",
            "environment": {**told, "FAILS": fails, "BEHIND": behind},
            "tasks": [{"ansible.builtin.include_role": role, "vars": {**given, **options}}],
        }
        # A play before: a machine may leave the run there, too.
        gone = {"ansible.builtin.fail": {}, "when": f"inventory_hostname ~ ' before' == '{fails}'"}
        before = {"hosts": "all", "gather_facts": False, "tasks": [gone]}
        (tmp_path / "play.yml").write_text(yaml.safe_dump([before, steps]))
        interpreter = f"ansible_python_interpreter={sys.executable}"
        words = ["-i", "a,b,c", "-l", limit, "-e", interpreter, str(tmp_path / "play.yml")]
        done = subprocess.run(
            ["ansible-playbook", *words],
            cwd=tmp_path,
            env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(tmp_path), **FAST},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode == 0) == (not fails), done.stdout + done.stderr
        return log.read_text().splitlines()

    return run


def steps(lines: list[str]) -> list[str]:
    """What was done one after the other: the machines that did it, in order, and what."""
    told = [line.split(" ", 1) for line in lines]
    grouped = itertools.groupby(told, key=lambda one: one[1])
    return [
        f"{''.join(name for name, _what in group)} {what}"
        if what == "servers"
        else f"{''.join(sorted(name for name, _what in group))} {what}"
        for what, group in grouped
    ]


def test_workers_of_all_machines_are_new_before_the_first_server_is(play: Play) -> None:
    assert steps(play("deploy")) == [
        *["abc app_release_info", "abc asked", "abc begun", "abc app_build"],
        *["abc try", "abc quiet", "abc workers", "abc servers", "abc ended"],
    ]


def test_one_machine_is_not_asked_before_it_takes_the_lock(play: Play) -> None:
    told = steps(play("deploy", limit="a", app_machines=["a"]))
    assert told[:3] == ["a app_release_info", "a begun", "a app_build"]


def test_files_are_built_on_one_web_machine_and_served_by_all_at_once(play: Play) -> None:
    pages = {**SHOP, "web": {}, "workers": [], "static": {"directory": "dist"}}
    told = play("deploy", app_applications=[pages], app_machines=[], app_web_machines=MACHINES)
    assert steps(told[:-6])[-2:] == ["abc app_build", "abc try"]
    # At the same time, so in any order.
    assert sorted(told[-6:-3]) == ["a servers", "b servers", "c servers"]


def test_servers_of_all_machines_are_old_before_the_first_worker_is(play: Play) -> None:
    """Also what a killed run has left."""
    assert steps(play("rollback", behind="yes")) == [
        *["abc asked", "abc begun", "abc quiet follow or warn", "abc workers follow or warn"],
        *["abc app_revert", "abc try", "abc servers", "abc quiet", "abc workers", "abc ended"],
    ]


def test_when_a_machine_fails_workers_wait_for_all_servers_on_the_way_back(play: Play) -> None:
    assert steps(play("deploy", "b servers"))[-7:] == [
        *["abc quiet", "abc workers", "ab servers", "ac undo"],
        *["abc quiet follow", "abc workers follow", "abc ended: as it was told"],
    ]


@pytest.mark.parametrize(
    ("fails", "last"),
    [
        ("b before", "ac asked"),
        ("b app_release_info", "ac asked"),
        ("b asked", "abc asked"),
        ("b quiet follow or warn", "ac app_build"),
        ("b app_build", "abc app_build"),
    ],
)
def test_nobody_goes_live_without_a_machine_that_has_failed_early(
    play: Play, fails: str, last: str
) -> None:
    told = [one for one in play("deploy", fails, behind="yes") if "ended" not in one]
    assert steps([one for one in told if "follow" not in one])[-1] == last


def test_no_worker_follows_while_servers_of_a_machine_may_not_be_back(play: Play) -> None:
    told = play("deploy", "b begun", behind="yes")
    assert steps([one for one in told if "ended" not in one])[-2:] == ["abc begun", "ac app_build"]


def test_the_database_is_migrated_when_all_have_what_was_built_or_not_at_all(play: Play) -> None:
    shop = {**SHOP, "framework": "django"}
    told = steps(play("deploy", app_applications=[shop]))
    assert told[told.index("abc app_build") + 1] == "abc app_migrate"
    told = play("deploy", "b app_build", app_applications=[shop])
    assert sorted(told[-3:]) == [
        "a ended: b failed, nothing is migrated.",
        "b ended: as it was told",
        "c ended: b failed, nothing is migrated.",
    ]
    assert steps(told[:-3])[-1] == "abc app_build"


@pytest.mark.parametrize(
    ("broken", "gone_back", "said"),
    [
        ([], True, "as it was told"),
        (
            ["shop.0003_drop"],
            False,
            "visitors suffer. Release 2 goes on serving, because 1 may not work with the database"
            " since shop.0003_drop: deploy a version that is well, with playbooks/deploy.yml -e"
            " version=; or, when you know that it works, go back with playbooks/rollback.yml -e"
            " allow_migrations=shop.0003_drop.",
        ),
    ],
)
def test_the_watch_does_not_go_back_to_a_release_that_the_database_has_left(
    play: Play, broken: list[str], gone_back: bool, said: str
) -> None:
    told = play(
        "deploy",
        "visitors",
        answers={"trouble": "visitors suffer", "broken": broken},
        app_applications=[{**SHOP, "framework": "django"}],
        app_watch_seconds=60,
        app_migrate_enabled="{{ inventory_hostname == 'a' }}",
    )
    done = steps(told)
    assert ("abc undo" in done) == gone_back
    assert done[-1] == f"abc ended: {said}"


def test_a_machine_that_the_limit_leaves_out_has_not_failed(play: Play) -> None:
    assert steps(play("restart", limit="a,c"))[-2:] == ["ac all", "ac ended"]


def test_nobody_waits_for_a_machine_without_releases_of_the_application(play: Play) -> None:
    """One for workers alone, of an application that has none."""
    shop = {**SHOP, "workers": [], "machines": ["a", "b"]}
    told = steps(play("deploy", "c before", app_applications=[shop]))
    assert told[2:] == ["ab begun", "ab app_build", "ab try", "ab servers", "ab ended"]
