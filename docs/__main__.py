# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""python3 -m docs: write the tables that follow from the argument specifications.

Each role's README ends with its variables; docs/applications.md tells what an inventory may say;
docs/health.md ends with the options of the health modules; AWX gets a template for each playbook.
tests/conventions fails when one of them is not what this would write.
"""

from __future__ import annotations

import ast
import json
import re
import runpy
import typing as t
from pathlib import Path

import yaml

from docs import awx

ROOT = Path(__file__).resolve().parents[1]
HEADING = "## Variables\n"
OPTIONS_HEADING = "## Options\n"
APPLICATIONS = """# What an inventory may say

Generated from `roles/common/meta/argument_specs.yml` by `make docs`; the resolver runs that file.
Secrets belong into the vault twin: `vault_stack_applications.<name>` holds `database_password`,
`redis_password`, `secret_key`, and where needed `environment`, `private_key`, `deploy_key`,
`s3_access_key` and `s3_secret_key`.

PostgreSQL and Redis of a provider: [external.md](external.md).

What an application is told, and in which variables, unless its own `environment` says otherwise.
Further names are its `environment_names`: `{DB_HOST: database_host}`.

| fact | value | `django` | `fastapi` | `none` |
|---|---|---|---|---|
"""
# Ansible's markup of options, values, code and emphasis.
MARKUP = re.compile(r"\b[OVCIBRP]\(([^()]*(?:\(\))?[^()]*)\)")

Options = dict[str, dict[str, t.Any]]


def pages() -> dict[Path, str]:
    """Return what each generated page should be."""
    found = {}
    for specification in sorted((ROOT / "roles").glob("*/meta/argument_specs.yml")):
        entries = yaml.safe_load(specification.read_text(encoding="utf-8"))["argument_specs"]
        readme = specification.parents[1] / "README.md"
        if "main" in entries:
            written = readme.read_text(encoding="utf-8").split(HEADING)[0].rstrip()
            table = _table(entries["main"]["options"])
            found[readme] = f"{written}\n\n{HEADING}\n{table}"
        else:
            options = _table(entries["validate_inventory"]["options"])
            found[ROOT / "docs" / "applications.md"] = f"{APPLICATIONS}{_facts()}\n{options}"
    health = ROOT / "docs" / "health.md"
    written = health.read_text(encoding="utf-8").split(OPTIONS_HEADING)[0].rstrip()
    found[health] = f"{written}\n\n{OPTIONS_HEADING}\n{_health_options()}"
    found[ROOT / "awx" / "vars" / "templates.yml"] = awx.templates()
    return found


def _facts() -> str:
    """Return what applications are told, with the names that each framework has for it."""
    told = runpy.run_path(str(ROOT / "plugins/plugin_utils/_application_environment.py"))
    rows = [
        f"| `{fact}` | {value} | "
        + " | ".join(
            ", ".join(f"`{name}`" for name, each in names.items() if each == fact)
            for names in told["NAMES"].values()
        )
        + " |"
        for fact, value in told["FACTS"].items()
    ]
    revision = "| | which release this is | `RELEASE_REVISION` | the same | the same |"
    return "\n".join([*rows, revision, ""])


def _health_options() -> str:
    parts = [
        "Written by `make docs` from the modules; `name`, `timeout` and `fail_when_unhealthy` are"
        " common to all.\n"
    ]
    for module in sorted((ROOT / "plugins/modules").glob("*_health.py")):
        documented = _text(module, "DOCUMENTATION")
        if module.stem != "stack_health":
            options = {**_fragments(documented), **documented["options"]}
            parts.append(f"### {module.stem}\n\n{_table(options)}")
    return "\n".join(parts)


def _fragments(documented: dict[str, t.Any]) -> Options:
    """Return the options of the fragment for requests, which not every kind has."""
    if "slipway.stack._health.request" not in documented["extends_documentation_fragment"]:
        return {}
    options: Options = _text(ROOT / "plugins/doc_fragments/_health.py", "REQUEST")["options"]
    return options


def _text(path: Path, name: str) -> dict[str, t.Any]:
    """Return the YAML that a constant of a Python file holds, without running the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Constant):
            continue
        if [target.id for target in node.targets if isinstance(target, ast.Name)] == [name]:
            found: dict[str, t.Any] = yaml.safe_load(str(node.value.value))
            return found
    raise ValueError(f"{path} has no {name}")


def _table(options: Options) -> str:
    rows = ["| variable | type | default | what follows |", "|---|---|---|---|", *_rows(options)]
    return "\n".join(rows) + "\n"


def _rows(options: Options, parents: str = "") -> list[str]:
    rows = []
    for name, option in options.items():
        path = f"{parents}{name}"
        many = option.get("type") == "list"
        cells = [f"`{path}`", _type(option), _default(option), _words(option["description"])]
        rows.append(f"| {' | '.join(cells)} |")
        rows += _rows(option.get("options", {}), f"{path}{'[]' if many else ''}.")
    return rows


def _type(option: dict[str, t.Any]) -> str:
    if "choices" in option:
        return " ".join(f"`{choice}`" for choice in option["choices"])
    kind: str = option.get("type", "str")
    return f"{kind} of {option['elements']}" if "elements" in option else kind


def _default(option: dict[str, t.Any]) -> str:
    if option.get("required"):
        return "**required**"
    return f"`{json.dumps(option['default'])}`" if "default" in option else ""


def _words(description: str | list[str]) -> str:
    lines = [description] if isinstance(description, str) else description
    return MARKUP.sub(r"`\1`", " ".join(" ".join(lines).split())).replace("|", "\\|")


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))
