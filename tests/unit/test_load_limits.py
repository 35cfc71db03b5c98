# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Load tests: the profiles of the guides, and what is judged."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.slipway.stack.plugins.module_utils import _load
from ansible_collections.slipway.stack.plugins.module_utils._load import Measured

ROOT = Path(__file__).parents[2]
ROLE = ROOT / "roles/app"
FEWER = (
    "of 4 pieces of the test fewer good answers came than one a minute for each user; the first"
    " began after"
)
FEW, MANY = ((10.0, 10),), ((10.0, 200),)


def path(name: str = "/", **said: float) -> Measured:
    good = {"requests": 2000, "failures": 0, "p50": 20, "p95": 90, "p99": 200}
    return Measured(name, **{**good, **said})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "users", "minutes"),
    [
        ("smoke", 10, 2),
        ("baseline", 50, 10),
        ("stress", 200, 15),
        ("spike", 500, 5),
        ("endurance", 100, 60),
        ("day", 100, 6),
        ("rush", 200, 5),
    ],
)
def test_a_profile_is_what_the_guide_says(name: str, users: int, minutes: int) -> None:
    wanted = _load.stages(name)
    assert max(each for _until, each in wanted) == users
    assert wanted[-1][0] == 60 * minutes


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({"users": 5}, ((120, 5),)),
        ({"seconds": 8}, ((8, 10),)),
        ({"users": 5, "seconds": 8}, ((8, 5),)),
    ],
)
def test_another_number_may_be_asked_for(asked: dict[str, int], wanted: _load.Stages) -> None:
    assert _load.stages("smoke", **asked) == wanted


def test_users_come_and_go_in_stages() -> None:
    wanted = _load.stages("rush")
    moments = (0, 59, 60, 239, 240, 299, 300)
    assert [_load.users_at(wanted, at) for at in moments] == [10, 10, 200, 200, 10, 10, None]


@pytest.mark.parametrize(
    ("measured", "wanted", "said"),
    [
        ([path(p95=999, p99=1999)], FEW, []),
        ([path(p95=1000)], FEW, ["/: p95 is 1000 ms, less than 1000 ms may be."]),
        ([path(p99=2500)], FEW, ["/: p99 is 2500 ms, less than 2000 ms may be."]),
        ([path("/ai", p95=2900, p99=4900)], FEW, []),
        ([path("/ai", p95=3100)], FEW, ["/ai: p95 is 3100 ms, less than 3000 ms may be."]),
        ([path(failures=19)], FEW, []),
        ([path(failures=20)], FEW, ["1.0 % of all requests failed, less than 1 % may."]),
        ([path(requests=500)], FEW, []),
        ([path(requests=1100)], MANY, []),
        ([path(requests=1000)], MANY, ["100 requests a second were answered, more than 100 must"]),
        ([], FEW, ["no request was made; see what Locust said."]),
        ([path(requests=0)], MANY, ["no request was made; see what Locust said."]),
    ],
)
def test_what_an_application_has_to_keep_to(
    measured: list[Measured], wanted: _load.Stages, said: list[str]
) -> None:
    found = _load.breaches(measured, wanted, ("/ai",), 10)
    assert len(found) == len(said)
    assert all(one.startswith(other) for one, other in zip(found, said, strict=True))


@pytest.mark.parametrize(
    ("asked", "slow", "covered"),
    [
        ("/api/ai/", "/api/ai/", True),
        ("/api/ai", "/api/ai/", True),
        ("/api/ai/", "/api/ai", True),
        ("/api/ai/recommendations/7", "/api/ai/", True),
        ("/api/ai/chat?stream=1", "/api/ai", True),
        ("/api/ai?q=a", "/api/ai/", True),
        ("/api/ai/[id]", "/api/ai/", True),
        ("/anything", "/", True),
        ("/api/aircraft/", "/api/ai", False),
        ("/api/", "/api/ai/", False),
        ("/", "/api/ai/", False),
        ("/shop?next=/api/ai/", "/api/ai/", False),
    ],
)
def test_a_slow_path_covers_what_lies_below_it(asked: str, slow: str, covered: bool) -> None:
    found = _load.breaches([path(asked, p95=2900, p99=4900)], FEW, ["/other/", slow], 10)
    assert (found == []) == covered


@pytest.mark.parametrize(
    ("paths", "slow", "asked"),
    [
        (["/"], [], ["/"]),
        (["/"], ["/api/ai/"], ["/", "/api/ai/"]),
        (["/", "/api/ai/chat"], ["/api/ai/"], ["/", "/api/ai/chat"]),
        (["/", "/api/ai/"], ["/api/ai/", "/slow"], ["/", "/api/ai/", "/slow"]),
    ],
)
def test_a_slow_path_is_asked_for_where_none_below_it_is(
    paths: list[str], slow: list[str], asked: list[str]
) -> None:
    assert _load.visited(paths, slow) == asked


def test_who_is_held_to_a_visitors_share_is_told() -> None:
    (_failed, told) = _load.breaches([path(failures=1000)], FEW, (), 10, refused=990)
    assert told.startswith("990 answers were 429: a client address gets only so many a second.")
    assert "nginx_certbot_unlimited_clients" in told


@pytest.mark.parametrize(("name", "users"), [("smoke", 10), ("day", 320 / 6), ("rush", 124)])
def test_a_profile_with_quiet_hours_asks_less(name: str, users: float) -> None:
    assert _load.mean_users(_load.stages(name)) == pytest.approx(users)


def test_the_rate_is_that_of_the_whole_test() -> None:
    """A server that dies early answers fast until then."""
    found = _load.breaches([path(requests=30000)], _load.stages("stress"), [], 150)
    assert found == ["33 requests a second were answered, more than 100 must be."]
    # Whoever leaves late has asked for longer.
    assert _load.rate(2000, MANY, 20) == 100


@pytest.mark.parametrize(
    ("profile", "begins"),
    [
        ({"profile": "smoke"}, [0, 30, 60, 90]),
        ({"profile": "smoke", "seconds": 36}, [0]),
        ({"profile": "smoke", "seconds": 80}, [0, 30]),
        ({"profile": "rush"}, [0, 30, 60, 90, 120, 150, 180, 210, 240, 270]),
    ],
)
def test_a_stage_is_judged_by_the_half_minute(profile: dict[str, t.Any], begins: list[int]) -> None:
    wanted = _load.stages(**profile)
    found = list(_load.pieces(wanted))
    assert [begin for begin, _until, _users in found] == begins
    assert found[-1][1] == wanted[-1][0]


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (dict.fromkeys(range(121), 15), []),
        (dict.fromkeys(range(62), 15), [f"in 1 {FEWER} 90 s."]),
        ({1: 5, 30: 5, 89: 5, 119: 5}, []),
        ({1: 5, 30: 5, 89: 4, 119: 5}, [f"in 1 {FEWER} 60 s."]),
        ({}, [f"in 4 {FEWER} 0 s."]),
    ],
)
def test_a_server_that_stands_still_is_told(answers: dict[int, int], said: list[str]) -> None:
    found = _load.breaches([path()], _load.stages("smoke"), (), 62, answered=answers)
    assert found == said


def test_a_visitor_waits_for_longer_than_the_slowest_answer_may_take() -> None:
    assert _load.SLOW.p99 < 1000 * _load.PATIENCE_SECONDS
    command = yaml.safe_load((ROLE / "vars/main.yml").read_text())["__app_load_command"]
    (task,) = [
        each for each in yaml.safe_load((ROLE / "tasks/load.yml").read_text()) if "async" in each
    ]
    assert task["async"] > _load.LONGEST_SECONDS + 100
    (waits,) = re.findall("'--stop-timeout', '([0-9]+)'", command)
    assert int(waits) > _load.PATIENCE_SECONDS


def named(began: float) -> list[str]:
    """Every file of a run that the role names, as Ansible templates it."""
    told = {"name": "shop", "profile": "smoke", "url": "https://shop", "paths": [], "began": began}
    variables = yaml.safe_load((ROLE / "vars/main.yml").read_text())
    steps = (ROLE / "tasks/load.yml").read_text() + (ROLE / "tasks/load/judge.yml").read_text()
    given = [variables["__app_load_asked"]["result"], variables["__app_load_command"]]
    given += [each["path"] for each in variables["__app_load_files"]]
    given += re.findall(r"\{\{ __app_load_\w+ \}\}[/_]\w+\.json", steps)
    texts = {name: each for name, each in variables.items() if isinstance(each, str)}
    trusted = {name: trust_as_template(each) for name, each in texts.items()}
    templar = Templar(DataLoader(), variables={**trusted, "app_load": told})
    text = " ".join(str(templar.template(trust_as_template(each))) for each in given)
    return re.findall(r"/(?:var/lib|opt)/slipway/load/[\w./-]+", text)


def test_two_runs_from_one_machine_share_nothing_but_the_program() -> None:
    one, other = named(1795974012.25), named(1795974012.5)
    shared = {"_load.py", "load.py", "locust-2.47.0/bin/locust"}
    assert {*one} & {*other} == {f"/opt/slipway/load/{each}" for each in shared}
    run = "/var/lib/slipway/load/shop-smoke_20261129T"
    assert {path.rpartition("-250")[2] for path in one if path.startswith(run)} == {
        *("", ".html", "_asked.json", "_result.json", "_visitors.py")
    }


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({}, []),
        ({"__app_load_read": {"skipped": True}}, []),
        ({"__app_load_read": {"content": {"breaches": ["p95 is 2 s."]}}}, ["p95 is 2 s."]),
    ],
)
def test_any_machine_can_tell_what_was_found(found: dict[str, t.Any], said: list[str]) -> None:
    for read in found.values():
        if "content" in read:
            read["content"] = base64.b64encode(json.dumps(read["content"]).encode()).decode()
    wiring = yaml.safe_load((ROOT / "playbooks/group_vars/all.yml").read_text())
    variables = {"hostvars": {"runner1": found}, "load_from": "runner1"}
    templar = Templar(DataLoader(), variables=variables)
    assert templar.template(trust_as_template(wiring["stack_load_breaches"])) == said


# Stands for ansible-playbook: says which playbook it was given, and writes the result it is told.
PLAYBOOK = """#!/bin/sh
name=$(basename "$1" .yml); echo "$name" >> ran
for word; do case $word in result_json=*) cp "$name.told" "${word#*=}";; esac; done
exit "$(cat "$name.exit")"
"""


@pytest.mark.parametrize(
    ("new", "test", "code", "ran"),
    [
        (True, {"breaches": []}, 0, []),
        (True, {"breaches": ["p95 is 2 s."]}, 1, ["rollback"]),
        (False, {"breaches": ["p95 is 2 s."]}, 1, []),
        (True, {"breaches": [], "state": "failed"}, 1, []),
        (True, {"state": "begun"}, 1, []),
    ],
)
def test_the_gate_goes_back_only_from_a_new_release_that_is_too_slow(
    new: bool, test: dict[str, t.Any], code: int, ran: list[str], tmp_path: Path
) -> None:
    gate = (ROOT / "docs/load.md").read_text().split("## As a gate")[1].split("```")[1]
    told = {"deploy": ({"released": {"new": new}}, 0), "load_test": (test, code)}
    for name, (result, ended) in {**told, "rollback": ({}, 0)}.items():
        (tmp_path / f"{name}.told").write_text(json.dumps(result))
        (tmp_path / f"{name}.exit").write_text(str(ended))
    (tmp_path / "ansible-playbook").write_text(PLAYBOOK)
    (tmp_path / "ansible-playbook").chmod(0o755)
    path = f"{tmp_path}:/usr/bin:/bin"
    done = subprocess.run(["sh", "-c", gate], cwd=tmp_path, env={"PATH": path}, check=False)
    assert done.returncode == code
    assert (tmp_path / "ran").read_text().split() == ["deploy", "load_test", *ran]


@pytest.mark.parametrize("machines", [["runner1"], ["runner1", "web1"]])
@pytest.mark.parametrize("breaches", [[], ["p95 is 2 s."]])
def test_the_playbook_tells_its_breaches_and_fails(
    machines: list[str], breaches: list[str], tmp_path: Path
) -> None:
    """All of it but Locust, whose result is given."""
    _refused, test, _told = yaml.safe_load((ROOT / "playbooks/load_test.yml").read_text())
    begin = {"name": "Begin", "slipway.stack.result": {}, "register": "common_begun"}
    plays = [{"hosts": "all", "gather_facts": False, "tasks": [{**begin, "run_once": True}]}]
    plays += [{**test, "become": False, "tasks": test["tasks"][1:]}]
    told = yaml.safe_load((ROOT / "playbooks/say_result.yml").read_text())
    plays += [{**play, "vars": _told["vars"]} for play in told]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(plays))
    shutil.copytree(ROOT / "playbooks/group_vars", tmp_path / "group_vars")
    found = base64.b64encode(json.dumps({"breaches": breaches}).encode()).decode()
    hosts = {name: {"ansible_connection": "local"} for name in machines}
    hosts["runner1"]["__app_load_read"] = {"content": found}  # type: ignore[assignment]
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    asked = {"load_from": "runner1", "result_json": str(tmp_path / "result.json")}
    program = Path(sys.executable).parent / "ansible-playbook"
    command = [str(program), "-i", str(tmp_path / "hosts.json"), "-e", json.dumps(asked)]
    done = subprocess.run(
        [*command, str(tmp_path / "play.yml")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == (2 if breaches else 0), done.stdout + done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["breaches"], result["state"]) == (breaches, "failed" if breaches else "done")
    assert not breaches or breaches[0] in done.stdout
