# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a playbook tells workflows and programs when it begins and when it ends."""

from __future__ import annotations

import json
import subprocess
import sys
import typing as t
from pathlib import Path

import fakes
import pytest
import yaml
from ansible import context
from ansible.template import trust_as_template
from ansible_collections.slipway.stack.plugins.action import result as action
from ansible_collections.slipway.stack.plugins.plugin_utils import _result, _variables

ROOT = Path(__file__).resolve().parents[2]
SITE = {
    "stack_environment": "production",
    "app": "shop",
    "ansible_play_hosts_all": ["one", "two"],
    "ansible_play_hosts": ["one", "two"],
}


def tell(variables: dict[str, t.Any], **arguments: t.Any) -> dict[str, t.Any]:
    said: dict[str, t.Any] = fakes.action(action, arguments).run(task_vars=variables)
    assert said["changed"] is False
    assert said["ansible_stats"]["data"] == {"slipway_result": said["result"]}
    return said


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("playbooks/deploy.yml", "deploy"),
        ("site.yaml", "site"),
        ("slipway.stack.check_health", "check_health"),
    ],
)
def test_a_playbook_is_called_what_it_is_called(given: str, name: str) -> None:
    assert _result.name(given) == name


def test_the_application_that_a_playbook_means_by_itself_is_named() -> None:
    assert (
        tell({**SITE, "app": trust_as_template("{{ 'sh' ~ 'op' }}")})["result"]["application"]
        == "shop"
    )


def test_a_run_that_does_not_come_to_its_end_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "CLIARGS", {"args": ("playbooks/deploy.yml",)})
    assert tell(SITE)["result"] == {
        "playbook": "deploy",
        "environment": "production",
        "application": "shop",
        "machines": ["one", "two"],
        "check": False,
        "released": {},
        "state": "begun",
        "seconds": None,
        "next": _result.FAILED,
    }


@pytest.mark.parametrize(
    ("found", "state"),
    [
        ({"breaches": []}, "done"),
        ({"breaches": ["p95 is 2 s."]}, "failed"),
        ({"healthy": False}, "failed"),
    ],
)
def test_a_verdict_that_is_bad_is_a_failure(found: dict[str, t.Any], state: str) -> None:
    assert tell(SITE, begun=tell(SITE), found=found)["result"]["state"] == state


@pytest.mark.parametrize(
    ("left", "state", "then"),
    [(["one", "two"], "done", "Watch it."), (["one"], "failed", _result.FAILED)],
)
def test_the_end_has_the_keys_of_the_beginning(
    left: list[str], state: str, then: str, tmp_path: Path
) -> None:
    begun = tell(SITE)
    file = tmp_path / "result.json"
    variables = {**SITE, "ansible_play_hosts": left}
    ended = tell(variables, begun=begun, next="Watch it.", json=str(file))["result"]
    assert list(ended) == list(begun["result"])
    assert (ended["state"], ended["next"]) == (state, then)
    assert ended["seconds"] >= 0
    assert json.loads(file.read_text()) == ended


def test_what_a_playbook_finds_is_told_and_may_be_a_failure() -> None:
    found = {"health": "critical", "healthy": False}
    ended = tell(SITE, begun=tell(SITE), next="Watch it.", found=found)["result"]
    assert (ended["state"], ended["next"], ended["health"]) == (
        "failed",
        _result.FAILED,
        "critical",
    )
    well = {"health": "warning", "healthy": True}
    assert tell(SITE, begun=tell(SITE), found=well)["result"]["state"] == "done"


@pytest.mark.parametrize(
    ("change", "carried"),
    [({}, True), ({"app": "blog"}, False), ({"stack_environment": "staging"}, False)],
)
def test_the_next_jobs_hear_what_was_released_of_the_same_in_the_same_place(
    change: dict[str, str], carried: bool
) -> None:
    released = {"version": "v2", "release": "20261129T080000Z-2", "before": "", "new": True}
    deployed = tell(SITE, begun=tell(SITE), found={"released": released})["result"]
    examined = tell({**SITE, "slipway_result": deployed})["result"]
    assert examined["released"] == released
    after = tell({**SITE, **change, "slipway_result": examined})["result"]
    assert after["released"] == (released if carried else {})


def run(playbook: Path | str, *words: str, **given: t.Any) -> str:
    # Machines that answer to nobody, whatever the demo's are doing.
    nowhere = {
        **{"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1},
        "ansible_ssh_args": "-F/dev/null",
    }
    command = [str(Path(sys.executable).parent / "ansible-playbook"), str(playbook)]
    extra = json.dumps(nowhere | given)
    done = subprocess.run(
        [*command, "-i", "inventories/demo", "-e", extra, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return " ".join((done.stdout + done.stderr).split())


def test_a_health_check_tells_its_verdict_also_when_it_fails(tmp_path: Path) -> None:
    told = tmp_path / "result.json"
    assert "1 critical on 1 machine; see the table above" in run(
        "playbooks/check_health.yml", result_json=str(told)
    )
    said = json.loads(told.read_text())
    assert (said["state"], said["health"], said["healthy"]) == ("failed", "critical", False)


@pytest.mark.parametrize(("needed", "version"), [(True, "v2"), (False, "")])
def test_a_deploy_tells_what_it_released(needed: bool, version: str, tmp_path: Path) -> None:
    """Its last words, after what the role would have registered on the machines."""
    told, play = tmp_path / "result.json", tmp_path / "play.yml"
    *_others, last = yaml.safe_load((ROOT / "playbooks/deploy.yml").read_text())
    info = {"applications": {"auction": {"current": "one", "needed": needed}}}
    facts = {"__app_info": info, "__app_build": {"release": "two"}}
    begin = {"slipway.stack.result": {}, "register": "common_begun"}
    last["ansible.builtin.import_playbook"] = str(ROOT / "playbooks/say_result.yml")
    tasks = [begin, {"ansible.builtin.set_fact": facts}]
    plays = [{"hosts": "all", "gather_facts": False, "tasks": tasks}, last]
    play.write_text(yaml.safe_dump(plays, sort_keys=False))
    run(play, app="auction", version=version, result_json=str(told))
    said = json.loads(told.read_text())
    new = "two" if needed else "one"
    declared = "main"
    released = {"version": version or declared, "release": new, "before": "one", "new": needed}
    assert (said["application"], said["released"]) == ("auction", released)


@pytest.mark.parametrize(
    ("environment", "state", "said"),
    [
        ("demo", "critical", "it goes back"),
        ("demo", "warning", "auction stays at v2, for none of its servers, workers and pages is"),
        (
            "staging",
            "critical",
            "auction stays as it is, for no deploy before this in its workflow",
        ),
    ],
)
def test_a_workflow_goes_back_from_its_own_release_when_that_is_critical(
    environment: str, state: str, said: str, tmp_path: Path
) -> None:
    """Who examines the machine is replaced by what it would have found."""
    plays = yaml.safe_load((ROOT / "playbooks/rollback.yml").read_text())
    (look,) = [play for play in plays if play["name"] == "Look for a reason"]
    block = look["tasks"][0]["block"]
    (examine,) = [each for each in block if "slipway.stack.stack_health" in each]
    found = {examine["register"]: {"findings": [{"state": "ok"}, {"state": state}]}}
    block[block.index(examine)] = {"ansible.builtin.set_fact": found}
    block.append({"ansible.builtin.debug": {"msg": "it goes back"}})
    begin = {"slipway.stack.result": {}, "register": "common_begun"}
    plays = [{"hosts": "all", "gather_facts": False, "tasks": [begin]}, {**look, "become": False}]
    play = tmp_path / "play.yml"
    play.write_text(yaml.safe_dump(plays, sort_keys=False))
    earlier: dict[str, t.Any] = {"environment": environment, "application": "auction"}
    earlier["released"] = {"version": "v2", "new": True}
    given = {"app": "auction", "rollback_if_critical": True, "slipway_result": earlier}
    shown = run(play, **given)
    assert said in shown
    assert ("it goes back" in shown) == (said == "it goes back")


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"awx_workflow_job_id": 7}, "slipway-demo-1 cannot be reached"),
        ({}, "deploy_approved is missing, and this environment deploys only what was approved"),
    ],
)
def test_what_a_workflow_of_awx_approved_is_deployed_by_it_alone(
    told: dict[str, int], said: str
) -> None:
    text = (ROOT / "awx/vars/templates.yml").read_text().replace("!unsafe ", "")
    templates = {each["name"]: each for each in yaml.safe_load(text)["controller_templates"]}
    given = templates["Slipway deploy approved"]["extra_vars"]
    wanted = {"app": "auction", "version": "v2", "stack_approval_required": True}
    assert said in run("playbooks/deploy.yml", "--check", **given, **wanted, **told)


def test_a_workflow_hands_it_on_without_a_playbook_minding() -> None:
    assert _variables.problems({"one": {_result.NAME: {"state": "done"}}}) == []


@pytest.mark.parametrize(("environment", "state"), [("demo", "done"), ("No such", "begun")])
def test_a_playbook_that_others_begin_with_ends_by_itself(
    environment: str, state: str, tmp_path: Path
) -> None:
    told = tmp_path / "result.json"
    words = ["playbooks/validate_declarations.yml", "-i", "inventories/demo"]
    given = {"result_json": str(told), "stack_environment": environment}
    command = [str(Path(sys.executable).parent / "ansible-playbook"), *words]
    subprocess.run([*command, "-e", json.dumps(given)], cwd=ROOT, capture_output=True, check=False)
    said = json.loads(told.read_text())
    assert (said["playbook"], said["state"]) == ("validate_declarations", state)
