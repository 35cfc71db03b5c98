# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What AWX is given: complete, accepted by the modules of awx.awx, and given once."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.slipway.stack.plugins.plugin_utils import _request
from controller_rules import check_injectors, check_survey
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


EVERY = read("templates.yml")["controller_templates"]
# Those that only give their playbook what nobody is asked for come besides.
TEMPLATES = {Path(each["playbook"]).name: each for each in EVERY if "extra_vars" not in each}


KEYS = {
    "SLIPWAY_SSH_KEY": "the-private-key",
    "SLIPWAY_VAULT_PASSWORD": "the-vault-password",
    "SLIPWAY_REGISTRY_USERNAME": "robot",
    "SLIPWAY_REGISTRY_PASSWORD": "the-registry-password",
}


def configure(
    controller: Controller,
    *arguments: str,
    keys: t.Mapping[str, str] | None = None,
    fails: bool = False,
) -> str:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CONTROLLER_", "SLIPWAY_"))
    }
    environment |= {
        "CONTROLLER_HOST": controller.address,
        "CONTROLLER_OAUTH_TOKEN": "token",
        "ANSIBLE_NOCOLOR": "1",
    }
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "awx/configure.yml"]
    done = subprocess.run(
        [*command, *GIVEN, *arguments],
        cwd=ROOT,
        env={**environment, **(KEYS if keys is None else keys)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    assert not re.search("the-[a-z]+-(key|password|token)", done.stdout + done.stderr)
    return done.stdout + done.stderr


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
    unasked = "json|html|file|reports|rollback_if_critical"
    assert all(re.search(unasked, option) for option in takes - asked)
    needed = {question["variable"] for question in questions if question["required"]}
    may = {option for play in plays for option in play.get("vars", {}).get("common_optional", [])}
    assert needed >= takes & set(_request.NEEDED) - may
    assert not needed & may


def test_schedules_and_workflows_run_what_there_is() -> None:
    names = {template["name"] for template in EVERY}
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
    followers = {
        follower["identifier"]
        for node in every
        for relation, many in node.get("related", {}).items()
        if relation.endswith("_nodes")
        for follower in many
    }
    followers = (followers - {"{{ __awx_after_smoke }}"}) | {"load test staging", "approve"}
    assert nodes - followers == {"back up"}
    assert followers <= nodes


@pytest.mark.parametrize("name", sorted(PLAYBOOKS))
def test_awx_accepts_each_survey(name: str) -> None:
    if TEMPLATES[name]["survey_enabled"]:
        check_survey(TEMPLATES[name]["survey_spec"])


def test_awx_accepts_the_types_of_credentials() -> None:
    for kind in read("credentials.yml")["controller_credential_types"]:
        check_injectors(kind)


def test_schedules_run_from_the_first_day() -> None:
    objects = read("objects.yml")
    for schedule in objects["__awx_schedules"] + objects["__awx_quarterly"]:
        (began,) = re.findall(r"DTSTART:(\d{8})T", schedule["rrule"])
        assert began < "20261101"


def few(*more: str) -> tuple[str, ...]:
    """The job templates that the workflow and the schedules need, for the others are alike."""
    files = [ROOT / "awx/vars" / f"{name}.yml" for name in ("objects", "workflows")]
    text = "".join(path.read_text(encoding="utf-8") for path in files)
    chosen = [each for each in EVERY if each["name"] in text]
    return ("-e", json.dumps({"controller_templates": chosen}), *more)


def test_check_mode_says_what_a_first_run_would_make() -> None:
    with Controller() as controller:
        said = " ".join(configure(controller, *few("--check")).split())
        assert "would make organization Slipway, execution environment Slipway, project" in said
        assert "inventory production, template Slipway back up" in said
        assert controller.changes == []


@pytest.mark.parametrize(
    ("keys", "missing"),
    [
        ({"CONTROLLER_HOST": ""}, "CONTROLLER_HOST"),
        ({"CONTROLLER_OAUTH_TOKEN": ""}, "CONTROLLER_OAUTH_TOKEN"),
    ],
)
def test_the_way_to_awx_is_asked_for(keys: dict[str, str], missing: str) -> None:
    with Controller() as controller:
        said = " ".join(configure(controller, keys=keys, fails=True).split())
        assert f"{missing} is not in the environment; set CONTROLLER_HOST=https://" in said


@pytest.mark.long
def test_awx_is_given_everything_once() -> None:
    with Controller() as controller:
        configure(controller, *OPTIONAL)
        held = {name: len(items) for name, items in controller.items.items()}
        assert held["job_templates"] == len(EVERY)
        assert held["inventories"] == held["inventory_sources"] == 3
        assert held["workflow_job_template_nodes"] == 8
        assert held["schedules"] == 4 and held["notification_templates"] == 1
        key = controller.one("credentials", "Slipway machines")
        assert key["inputs"]["ssh_key_data"].rstrip() == "the-private-key"
        registry = controller.one("credentials", "Slipway registry")
        assert registry["inputs"]["host"] == "registry.example.com"
        assert controller.one("execution_environments", "Slipway")["credential"] == registry["id"]
        storage = controller.one("credential_types", "Slipway backup storage")
        injected = storage["injectors"]["extra_vars"]["vault_stack_backup_s3"]
        assert injected["secret_key"] == "{{ secret_key }}"
        for template in controller.items["job_templates"]:
            assert controller.names(template, "credentials") == {
                "Slipway machines",
                "Slipway vault",
            }
        controller.changes.clear()
        again = configure(controller, *OPTIONAL)
        assert " changed=0 " in again, again
        assert controller.changes == []


@pytest.mark.long
def test_what_is_not_given_again_stays_and_a_stale_node_goes() -> None:
    with Controller() as controller:
        configure(controller, *few(*OPTIONAL))
        deploy = controller.one("job_templates", "Slipway deploy")
        kind = controller.add("credential_types", {"name": "Jira", "kind": "cloud"})
        mine = {"credential_type": kind["id"], "inputs": {}, "organization": deploy["organization"]}
        added = controller.add("credentials", {"name": "Jira", **mine})
        controller.related[f"{deploy['url']}credentials/"].append(added)
        told = controller.add("notification_templates", {"name": "Mail"})
        controller.related[f"{deploy['url']}notification_templates_error/"].append(told)
        later = {"SLIPWAY_BECOME_PASSWORD": "the-become-password"}
        configure(controller, *few(), keys=later)
        own = {"Slipway machines", "Slipway vault"}
        assert controller.names(deploy, "credentials") == {*own, "Jira"}
        assert controller.names(deploy, "notification_templates_error") == {"Slipway", "Mail"}
        inputs = controller.one("credentials", "Slipway machines")["inputs"]
        assert set(inputs) == {"ssh_key_data", "become_password"}
        nodes = {node["identifier"] for node in controller.items["workflow_job_template_nodes"]}
        assert "load test staging" not in nodes
        smoke = controller.one("workflow_job_template_nodes", "smoke test staging")
        assert controller.names(smoke, "success_nodes") == {"approve"}
        controller.changes.clear()
        assert " changed=0 " in configure(controller, *few(), keys={})
        assert controller.changes == []


@pytest.mark.long
def test_a_second_system_has_its_own_beside_the_first() -> None:
    with Controller() as controller:
        first = controller.add("organizations", {"name": "Slipway"})["id"]
        kinds = {each["name"]: each["id"] for each in controller.items["credential_types"]}
        for name, kind in (("Slipway machines", "Machine"), ("Slipway vault", "Vault")):
            theirs = {"credential_type": kinds[kind], "inputs": {}, "organization": first}
            controller.add("credentials", {"name": name, **theirs})
        for endpoint, name in (
            *(("inventories", name) for name in ("staging", "production")),
            ("notification_templates", "Slipway"),
            ("execution_environments", "Slipway"),
            ("projects", "Slipway"),
            ("job_templates", "Slipway deploy"),
        ):
            controller.add(endpoint, {"name": name, "organization": first})
        before = json.dumps(
            [each for each in _all(controller) if each.get("organization") == first]
        )
        keys = {
            "SLIPWAY_STAGING_SSH_KEY": "the-staging-key",
            "SLIPWAY_S3_ACCESS_KEY": "AK",
            "SLIPWAY_S3_SECRET_KEY": "the-bucket-key",
            "SLIPWAY_GIT_TOKEN": "the-git-token",
        }
        configure(
            controller, *few("-e", "awx_organization=Parkme", *OPTIONAL), keys={**KEYS, **keys}
        )
        after = json.dumps([each for each in _all(controller) if each.get("organization") == first])
        assert after == before
        second = controller.one("organizations", "Parkme")["id"]
        deploy = controller.one("job_templates", "Slipway deploy", organization=second)
        held = controller.related[f"{deploy['url']}credentials/"]
        assert {each["organization"] for each in held} == {second}
        assert controller.names(deploy, "credentials") == {
            "Slipway machines",
            "Slipway vault",
            "Slipway backup storage",
        }
        project = controller.one("projects", "Slipway", organization=second)
        assert project["credential"] == controller.one("credentials", "Slipway git")["id"]
        production = controller.one("inventories", "production", organization=second)
        rehearsal = controller.one("inventories", "rehearsal", organization=second)
        used = {each["inventory"] for each in controller.items["schedules"]}
        assert used == {production["id"], rehearsal["id"]}
        for identifier, wanted in (
            ("smoke test staging", {"Slipway staging machines"}),
            ("smoke test production", set()),
        ):
            node = controller.one("workflow_job_template_nodes", identifier)
            assert controller.names(node, "credentials") == wanted


def _all(controller: Controller) -> list[dict[str, t.Any]]:
    return [each for items in controller.items.values() for each in items]
