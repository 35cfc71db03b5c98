# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What AWX is given: complete, accepted by the modules of awx.awx, and given once."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.slipway.stack.plugins.plugin_utils import _request
from controller_stand_in import Controller

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOKS = {path.name: path for path in (ROOT / "playbooks").glob("*.yml")}
del PLAYBOOKS["say_result.yml"]  # nobody starts it
del PLAYBOOKS["import_environment.yml"]  # it writes files beside the inventory
GIVEN = (
    "-e",
    "awx_repository=https://git.example.com/stack.git",
    "-e",
    "awx_image=registry.example.com/slipway:1",
)

OPTIONAL = (
    *("-e", "awx_webhook_url=https://chat.example.com/hook", "-e", "awx_load_from=runner1"),
    *("-e", "awx_rehearsal_folder=inventories/rehearsal"),
)


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Reads Ansible's tags as the plain texts that they mark."""


_Loader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))


def read(name: str) -> dict[str, t.Any]:
    text = (ROOT / "awx/vars" / name).read_text(encoding="utf-8")
    loaded: dict[str, t.Any] = yaml.load(text, _Loader)  # noqa: S506
    return loaded


TEMPLATES = {
    Path(each["playbook"]).name: each for each in read("templates.yml")["controller_templates"]
}


def configure(controller: Controller, *arguments: str) -> str:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("CONTROLLER_")
    }
    environment |= {
        "CONTROLLER_HOST": controller.address,
        "CONTROLLER_OAUTH_TOKEN": "token",
        "SLIPWAY_SSH_KEY": "the-private-key",
        "SLIPWAY_VAULT_PASSWORD": "the-vault-password",
        "SLIPWAY_REGISTRY_USERNAME": "robot",
        "SLIPWAY_REGISTRY_PASSWORD": "the-registry-password",
        "ANSIBLE_NOCOLOR": "1",
    }
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "awx/configure.yml"]
    done = subprocess.run(
        [*command, *GIVEN, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not re.search("the-private-key|the-[a-z]+-password", done.stdout + done.stderr)
    return done.stdout


def test_each_playbook_has_a_job_template() -> None:
    assert set(TEMPLATES) == set(PLAYBOOKS)


@pytest.mark.parametrize("name", sorted(PLAYBOOKS))
def test_a_survey_asks_for_what_its_playbook_heeds(name: str) -> None:
    plays = yaml.safe_load(PLAYBOOKS[name].read_text(encoding="utf-8"))
    takes = {option for play in plays for option in play.get("vars", {}).get("common_takes", [])}
    questions = TEMPLATES[name].get("survey_spec", {}).get("spec", [])
    asked = {question["variable"] for question in questions}
    assert asked <= takes
    # Files would go with the pod.
    assert all(re.search("json|html|file|reports", option) for option in takes - asked)
    needed = {question["variable"] for question in questions if question["required"]}
    assert needed >= takes & set(_request.NEEDED)


def test_schedules_and_workflows_run_what_there_is() -> None:
    names = {template["name"] for template in TEMPLATES.values()}
    objects = read("objects.yml")
    schedules = objects["__awx_schedules"] + objects["__awx_quarterly"]
    assert {schedule["unified_job_template"] for schedule in schedules} <= names
    (quarterly,) = objects["__awx_quarterly"]
    questions = TEMPLATES["restore_cluster.yml"]["survey_spec"]["spec"]
    assert set(quarterly["extra_data"]) <= {question["variable"] for question in questions}
    text = (ROOT / "awx/vars/workflows.yml").read_text(encoding="utf-8")
    named = set(re.findall(r"'name': '(Slipway [^']+)'", text))
    assert named and named <= names
    held = read("workflows.yml")
    every = held["__awx_nodes"] + held["__awx_gate"]
    nodes = {node["identifier"] for node in every}
    related = [node.get("related", {}) for node in every]
    followers = {each["identifier"] for one in related for many in one.values() for each in many}
    followers = (followers - {"{{ __awx_after_smoke }}"}) | {"load test staging", "approve"}
    assert nodes - followers == {"back up"}
    assert followers <= nodes


@pytest.mark.long
def test_awx_is_given_everything_once() -> None:
    with Controller() as controller:
        configure(controller, *OPTIONAL)
        held = {name: len(items) for name, items in controller.items.items()}
        assert held["job_templates"] == len(PLAYBOOKS)
        assert held["inventories"] == held["inventory_sources"] == 3
        assert held["credentials"] == 3
        assert held["workflow_job_template_nodes"] == 8
        assert held["schedules"] == 4 and held["notification_templates"] == 1
        (key,) = [
            item for item in controller.items["credentials"] if "ssh_key_data" in item["inputs"]
        ]
        assert key["inputs"]["ssh_key_data"].rstrip() == "the-private-key"
        (registry,) = [item for item in controller.items["credentials"] if "host" in item["inputs"]]
        assert registry["inputs"]["host"] == "registry.example.com"
        (image,) = controller.items["execution_environments"]
        assert image["credential"] == registry["id"]
        injected = controller.items["credential_types"][3]["injectors"]["extra_vars"]
        assert injected["vault_stack_backup_s3"]["secret_key"] == "{{ secret_key }}"
        again = configure(controller, *OPTIONAL)
        assert " changed=0 " in again, again
        assert held == {name: len(items) for name, items in controller.items.items()}
