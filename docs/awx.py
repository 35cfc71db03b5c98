# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The job templates of AWX, which follow from the playbooks: one for each, and what it takes."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
HEADER = """---
# Written by `make docs` from the playbooks and awx/questions.yml; change those.
"""
# The end of the others, which nobody starts, and what is for whoever writes an inventory.
INNER = ("say_result", "import_environment")
# Without them a playbook that takes them does nothing.
REQUIRED = ("app", "command", "load_environment", "load_from", "service")
# What a question of AWX has, whether it is asked for or not: it is compared with what AWX answers.
QUESTION = {"type": "text", "default": "", "choices": "", "min": 0, "max": 1024}
TEMPLATE = {
    "organization": "{{ awx_organization }}",
    "project": "{{ awx_project }}",
    "execution_environment": "{{ awx_execution_environment }}",
    "job_type": "run",
    # Which machines, and whether it is only tried, is said with each launch.
    "ask_inventory_on_launch": True,
    "ask_limit_on_launch": True,
    "ask_job_type_on_launch": True,
    "ask_diff_mode_on_launch": True,
    # Staging may have another key than production.
    "ask_credential_on_launch": True,
    "ask_variables_on_launch": False,
    "use_fact_cache": False,
}


Data = dict[str, t.Any]


class _Unsafe(str):
    """What whoever reads the file must not template, for AWX's jobs do."""


# Templates that a workflow alone is meant to start, and what they give their playbook unasked. Of
# all variables AWX leaves those of a template to Jinja; jobs of a workflow know its number.
OF_WORKFLOWS: dict[str, tuple[str, Data]] = {
    "Slipway deploy approved": (
        "deploy",
        {"deploy_approved": _Unsafe("{{ version if awx_workflow_job_id is defined else '' }}")},
    ),
    "Slipway return": ("rollback", {"rollback_if_critical": True}),
}


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Writes lists below their key indented, as yamllint wants them."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


_Dumper.add_representer(
    _Unsafe, lambda dumper, text: dumper.represent_scalar("!unsafe", str(text), style='"')
)


def templates() -> str:
    """Return awx/vars/templates.yml."""
    questions = yaml.safe_load((ROOT / "awx" / "questions.yml").read_text(encoding="utf-8"))
    playbooks = sorted((ROOT / "playbooks").glob("*.yml"))
    found = [_template(each, questions) for each in playbooks if each.stem not in INNER]
    for name, (playbook, given) in OF_WORKFLOWS.items():
        told = {**questions, **dict.fromkeys(given)}
        template = _template(ROOT / "playbooks" / f"{playbook}.yml", told)
        survey = {**template["survey_spec"], "name": name}
        found.append({**template, "name": name, "extra_vars": given, "survey_spec": survey})
    return HEADER + yaml.dump(
        {"controller_templates": found}, Dumper=_Dumper, sort_keys=False, width=88
    )


def _template(playbook: Path, questions: Data) -> Data:
    text = playbook.read_text(encoding="utf-8")
    plays = yaml.safe_load(text)
    optional = _said(plays, "common_optional")
    asked = [
        _question(name, questions.get(name, {}), optional)
        for name in _said(plays, "common_takes")
        if questions.get(name, {}) is not None
    ]
    template = {
        "name": f"Slipway {playbook.stem.replace('_', ' ')}",
        "description": _summary(text),
        "playbook": f"playbooks/{playbook.name}",
        **TEMPLATE,
        "survey_enabled": bool(asked),
    }
    survey = {"name": template["name"], "description": "", "spec": asked}
    return {**template, "survey_spec": survey} if asked else template


def _said(plays: list[Data], what: str) -> list[str]:
    """Return the options that a playbook says it heeds; others that it imports say theirs again."""
    said = [name for play in plays for name in play.get("vars", {}).get(what, [])]
    return list(dict.fromkeys(said))


def _summary(text: str) -> str:
    """Return the first sentence of a playbook's header that is not its usage."""
    lines = re.findall(r"^# ?(.*)$", text.split("\n\n")[0], re.MULTILINE)
    told = [line for line in lines if not line.startswith(("Usage:", " "))]
    return re.split(r"(?<=[.;]) ", " ".join(told))[0].rstrip(".;")


def _question(name: str, known: Data, optional: list[str]) -> Data:
    return {
        "question_name": name.replace("_", " ").capitalize(),
        "question_description": "",
        "variable": name,
        "required": name in REQUIRED and name not in optional,
        **QUESTION,
        **known,
        **({"max": 1_000_000_000} if known.get("type") == "integer" else {}),
    }
