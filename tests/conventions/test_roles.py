"""The rules of CONTRIBUTING.md that every role must keep."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())
STACK_ROLES = [role for role in ROLES if role.name != "common"]
TASK_FILES = sorted((ROOT / "roles").glob("*/tasks/**/*.yml"))
# What a role is driven by from outside: nothing else may appear in it.
FOREIGN = re.compile(r"\b(?:vault_stack_\w+|stack_(?!facts)\w+|hostvars|groups)\b")
MANY = 15


def load(path: Path) -> t.Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def tasks_of(path: Path) -> list[dict[str, t.Any]]:
    """Every task of a file, those inside blocks included."""
    found: list[dict[str, t.Any]] = []
    pending = list(load(path) or [])
    while pending:
        task = pending.pop(0)
        found.append(task)
        for key in ("block", "rescue", "always"):
            pending.extend(task.get(key, []))
    return found


def entry_points(role: Path) -> dict[str, t.Any]:
    specification: dict[str, t.Any] = load(role / "meta/argument_specs.yml")["argument_specs"]
    return specification


def ids(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT / "roles")) for path in paths]


@pytest.mark.parametrize("role", STACK_ROLES, ids=ids(STACK_ROLES))
def test_defaults_are_what_the_specification_says(role: Path) -> None:
    options = entry_points(role)["main"]["options"]
    specified = {name: option["default"] for name, option in options.items() if "default" in option}
    assert load(role / "defaults/main.yml") == specified


@pytest.mark.parametrize("role", STACK_ROLES, ids=ids(STACK_ROLES))
def test_public_variables_are_few_and_carry_the_roles_name(role: Path) -> None:
    options = entry_points(role)["main"]["options"]
    assert [name for name in options if not name.startswith(f"{role.name}_")] == []
    assert len(options) <= MANY


@pytest.mark.parametrize("role", ROLES, ids=ids(ROLES))
def test_every_entry_point_has_a_file(role: Path) -> None:
    for entry in entry_points(role):
        assert (role / "tasks" / f"{entry}.yml").is_file(), entry


def descriptions(options: dict[str, t.Any], path: str = "") -> t.Iterator[tuple[str, t.Any]]:
    for name, option in options.items():
        yield f"{path}{name}", option.get("description")
        yield from descriptions(option.get("options", {}), f"{path}{name}.")


@pytest.mark.parametrize("role", ROLES, ids=ids(ROLES))
def test_every_option_is_described(role: Path) -> None:
    for entry in entry_points(role).values():
        missing = [name for name, text in descriptions(entry.get("options", {})) if not text]
        assert missing == []


@pytest.mark.parametrize("path", TASK_FILES, ids=ids(TASK_FILES))
def test_included_files_of_other_roles_are_entry_points(path: Path) -> None:
    for task in tasks_of(path):
        include = task.get("ansible.builtin.include_role")
        if include and "tasks_from" in include:
            role = ROOT / "roles" / include["name"].rpartition(".")[2]
            assert include["tasks_from"] in entry_points(role)


@pytest.mark.parametrize("role", STACK_ROLES, ids=ids(STACK_ROLES))
def test_roles_do_not_know_each_other(role: Path) -> None:
    others = "|".join(other.name for other in STACK_ROLES if other != role)
    foreign_variable = re.compile(rf"(?<![\w./-])(?:{others})_(?:[a-z]+)(?=\s*[|}}:.\[]|\s*$)")
    for path in sorted(role.rglob("*")):
        if path.suffix not in {".yml", ".j2"} or "files" in path.parts:
            continue
        text = path.read_text(encoding="utf-8")
        expressions = " ".join(re.findall(r"\{\{.*?\}\}|\{%.*?%\}|when:.*", text, re.S))
        assert FOREIGN.findall(expressions) == [], path
        assert foreign_variable.findall(expressions) == [], path


@pytest.mark.parametrize("path", TASK_FILES, ids=ids(TASK_FILES))
def test_task_files_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 60


@pytest.mark.parametrize("path", TASK_FILES, ids=ids(TASK_FILES))
def test_tasks_keep_facts_in_modules_and_privilege_in_plays(path: Path) -> None:
    for task in tasks_of(path):
        assert not {"become", "tags", "notify", "ansible.builtin.set_fact"} & set(task), task[
            "name"
        ]


@pytest.mark.parametrize("path", TASK_FILES, ids=ids(TASK_FILES))
def test_commands_say_why_they_are_needed(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if re.search(r"ansible\.builtin\.(command|shell|raw):", line):
            before = lines[max(0, number - 4) : number]
            assert any(earlier.lstrip().startswith("#") for earlier in before), line


@pytest.mark.parametrize("role", STACK_ROLES, ids=ids(STACK_ROLES))
def test_every_role_has_a_scenario_and_a_readme(role: Path) -> None:
    scenario = ROOT / "molecule" / role.name
    assert (scenario / "molecule.yml").is_file()
    assert (scenario / "vars.yml").is_file()
    assert list(scenario.glob("tests/test_*.py"))
    assert (role / "README.md").is_file()


# Units that are given sockets of systemd: by name, or of their own name as a drop-in.
GIVEN = re.compile(r"^(?:Sockets=|Requires=.*\.socket$)", re.MULTILINE)
SHARING = [
    path
    for path in sorted((ROOT / "roles").glob("*/templates/**/*.j2"))
    if GIVEN.search(path.read_text())
]


@pytest.mark.parametrize("path", SHARING, ids=ids(SHARING))
def test_no_server_waits_in_accept_on_a_socket_that_another_has_as_well(path: Path) -> None:
    """Starting one, systemd lets the socket block for both unless it is told otherwise."""
    assert "\nNonBlocking=true\n" in path.read_text(encoding="utf-8")
