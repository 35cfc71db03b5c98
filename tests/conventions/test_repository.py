"""The rules of CONTRIBUTING.md that the repository as a whole must keep."""

from __future__ import annotations

import ast
import re
import subprocess
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.slipway.stack.plugins.plugin_utils import _request

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))
MODULES = sorted((ROOT / "plugins/modules").glob("*.py"))
CODE = [path for path in (ROOT / "plugins").rglob("*.py") if path.name != "__init__.py"]


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    return [ROOT / name for name in listed if (ROOT / name).is_file()]


def functions(path: Path) -> t.Iterator[ast.FunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            yield node


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.stem)
def test_playbooks_open_with_their_usage(playbook: Path) -> None:
    lines = playbook.read_text(encoding="utf-8").splitlines()
    assert lines[1].startswith("# Usage: ansible-playbook ")


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.stem)
def test_playbooks_begin_with_the_validation(playbook: Path) -> None:
    # What makes an inventory has none yet.
    if playbook.stem in ("validate_declarations", "say_result", "import_environment"):
        return
    first = yaml.safe_load(playbook.read_text(encoding="utf-8"))[0]
    assert first.get("ansible.builtin.import_playbook", "").startswith("validate_"), first


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.stem)
def test_playbooks_that_do_something_end_with_their_result(playbook: Path) -> None:
    alone = ("say_result", "import_environment")
    if playbook.stem.startswith("validate_") or playbook.stem in alone:
        return
    last = yaml.safe_load(playbook.read_text(encoding="utf-8"))[-1]
    assert last.get("ansible.builtin.import_playbook") == "say_result.yml", last


@pytest.mark.parametrize(
    "file", [*PLAYBOOKS, ROOT / "playbooks/group_vars/all.yml"], ids=lambda path: path.stem
)
def test_a_question_that_nobody_answered_has_a_default_as_well(file: Path) -> None:
    """AWX sends nothing then: the variable is defined, and is None."""
    options = "|".join(_request.OPTIONS)
    used = re.findall(rf"\b(?:{options}) \| default\([^()]*\)", file.read_text(encoding="utf-8"))
    assert [each for each in used if not re.search(r"(, true|none|omit)\)$", each)] == []


def test_playbooks_lie_flat_so_that_the_wiring_reaches_them() -> None:
    folders = {path.name for path in (ROOT / "playbooks").iterdir() if path.is_dir()}
    assert folders == {"group_vars"}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_modules_are_thin_doors(module: Path) -> None:
    lines = module.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 250
    if not list(functions(module)):
        # Only the documentation of what runs on the controller.
        assert (ROOT / "plugins/action" / module.name).is_file()
        return
    (main,) = [node for node in functions(module) if node.name == "main"]
    assert (main.end_lineno or 0) - main.lineno < 30


@pytest.mark.parametrize("path", CODE, ids=lambda path: path.stem)
def test_functions_are_short(path: Path) -> None:
    long = [
        node.name
        for node in functions(path)
        if (node.end_lineno or 0) - node.lineno + 1 > 40 and node.name != "main"
    ]
    assert long == []


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_documented_options_are_the_accepted_ones(module: Path) -> None:
    tree = ast.parse(module.read_text(encoding="utf-8"))
    texts = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    assert {"DOCUMENTATION", "EXAMPLES", "RETURN"} <= set(texts)
    documented = yaml.safe_load(texts["DOCUMENTATION"])
    assert documented["module"] == module.stem
    assert documented["version_added"]
    assert isinstance(yaml.safe_load(texts["RETURN"]), dict)


def test_no_tracked_file_is_large_or_a_link() -> None:
    for path in tracked():
        assert not path.is_symlink(), path
        assert path.stat().st_size < 1_000_000, path


APPLICATIONS = sorted(path for path in (ROOT / "tests/apps").iterdir() if path.is_dir())
REGISTRIES = {"pypi.org", "files.pythonhosted.org", "registry.npmjs.org"}


@pytest.mark.parametrize("application", APPLICATIONS, ids=lambda path: path.name)
def test_an_application_has_a_lock_that_is_good_everywhere(application: Path) -> None:
    """One that was made behind a mirror names it, and is of no use elsewhere."""
    name = "package-lock.json" if (application / "package.json").exists() else "uv.lock"
    text = (application / name).read_text(encoding="utf-8")
    from_where = r'(?:registry = |url = |"resolved": )"\w+://([^/"]+)'
    assert set(re.findall(from_where, text)) <= REGISTRIES


@pytest.mark.parametrize("application", APPLICATIONS, ids=lambda path: path.name)
def test_an_application_has_tests(application: Path) -> None:
    names = {path.name for path in application.rglob("*test*")}
    assert any(re.fullmatch(r"tests?(_\w+)?\.py|\w+\.test\.m?js", name) for name in names)


def test_environments_differ_in_their_inventories_only() -> None:
    names = {path.stem for path in PLAYBOOKS}
    assert not names & {"production", "staging", "development", "demo"}
