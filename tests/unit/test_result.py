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
from ansible import context
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


def test_a_run_that_does_not_come_to_its_end_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "CLIARGS", {"args": ("playbooks/deploy.yml",)})
    assert tell(SITE)["result"] == {
        "playbook": "deploy",
        "environment": "production",
        "application": "shop",
        "machines": ["one", "two"],
        "check": False,
        "state": "begun",
        "seconds": None,
        "next": _result.FAILED,
    }


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
