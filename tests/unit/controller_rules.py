# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What AWX 24.6.1 refuses of what it is given, in its own words where those are short."""

from __future__ import annotations

import re
import typing as t

Item = dict[str, t.Any]
# Within an organization, or altogether, a name is taken once.
UNIQUE = {
    "organizations": ("name",),
    "credential_types": ("name", "kind"),
    "credentials": ("name", "organization", "credential_type"),
    "execution_environments": ("name",),
    "projects": ("name", "organization"),
    "inventories": ("name", "organization"),
    "inventory_sources": ("name", "inventory"),
    "notification_templates": ("name", "organization"),
    "job_templates": ("name", "organization"),
    "workflow_job_templates": ("name", "organization"),
    "workflow_job_template_nodes": ("identifier", "workflow_job_template"),
    "schedules": ("name", "unified_job_template"),
}
# What a job may be given; the key of a registry or of a repository is not for it.
FOR_JOBS = ("ssh", "vault", "cloud")
KINDS = {"text": str, "textarea": str, "multiplechoice": str, "integer": int}


class Refused(Exception):
    """What AWX answers with 400, or with 404 where it has no such object."""

    def __init__(self, answer: Item, status: int = 400) -> None:
        super().__init__(answer)
        self.answer, self.status = answer, status


def check_survey(survey: Item) -> None:
    """JobTemplateSurveySpec._validate_spec_data of awx/api/views."""
    asked: set[str] = set()
    if not survey.get("spec"):
        raise Refused({"error": "'spec' doesn't contain any items."})
    for number, question in enumerate(survey["spec"]):
        for field, kind in (("type", str), ("question_name", str), ("variable", str)):
            if not isinstance(question.get(field), kind):
                raise Refused({"error": f"'{field}' missing from survey question {number}"})
        if not isinstance(question.get("required"), bool):
            raise Refused({"error": f"'required' in survey question {number} expected to be bool"})
        variable = question["variable"]
        if variable in asked:
            raise Refused(
                {"error": f"'variable' '{variable}' duplicated in survey question {number}."}
            )
        asked.add(variable)
        _check_default(question, number)


def _check_default(question: Item, number: int) -> None:
    kind, default = question["type"], question.get("default", "")
    if kind not in KINDS:
        raise Refused({"error": f"'{kind}' in survey question {number} is not allowed"})
    if default != "" and not isinstance(default, KINDS[kind]):
        raise Refused({"error": f"Default value {default} in survey question {number}"})
    for limit in ("min", "max"):
        if not isinstance(question.get(limit, 0), int):
            raise Refused({"error": f"The {limit} limit in survey question {number}"})
    choices = question.get("choices", "")
    if kind == "multiplechoice" and any(each not in choices for each in default.splitlines()):
        raise Refused({"error": "Default choice must be answered from the choices listed."})


def check_injectors(given: Item) -> None:
    """CredentialTypeInjectorField of awx/main/fields."""
    for name in (given.get("injectors") or {}).get("env", {}):
        if name.startswith("ANSIBLE_"):
            said = "may affect Ansible configuration so its use is not allowed in credentials."
            raise Refused({"injectors": [f"Environment variable {name} {said}"]})
    fields = {field["id"] for field in (given.get("inputs") or {}).get("fields", [])}
    named = set(re.findall(r"{{ *(\w+)", str(given.get("injectors"))))
    if named - fields:
        raise Refused({"injectors": [f"uses an undefined field ({named - fields})"]})


def check_node(node: Item, template: Item, survey: Item) -> None:
    """What a node gives its job must be what the job's template asks for."""
    asked = {question["variable"] for question in survey.get("spec", [])}
    if set(node.get("extra_data") or {}) - asked:
        raise Refused({"extra_data": ["Variables are not allowed on launch."]})
    if node.get("inventory") and not template.get("ask_inventory_on_launch"):
        raise Refused({"inventory": ["Field is not configured to prompt on launch."]})


def check_credentials(held: list[Item], new: Item, kinds: dict[int, str]) -> None:
    """One of a kind, as the lists of credentials of templates and of nodes want it."""
    if kinds[new["credential_type"]] not in FOR_JOBS:
        raise Refused({"error": "Cannot assign a Credential of this kind."})
    if new["credential_type"] in [each["credential_type"] for each in held]:
        raise Refused({"error": "Cannot assign multiple credentials of one type."})
