# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The inventories of the five systems whose guides the collection follows: each could be copied."""

from __future__ import annotations

import difflib
import re
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.slipway.stack.plugins.plugin_utils import _applications, _derive

ROOT = Path(__file__).resolve().parents[2]
GUIDES = ["atlas", "auction", "ecommerce", "parkme", "propflow"]
ENVIRONMENTS = ["development", "staging", "production"]
SECRET = "5f2c0b9e4d7a1c3f"
FILES = ["group_vars/all/applications.yml", "group_vars/all/secrets.yml", "hosts.yml"]
# What may differ between staging and production besides the domain: where, of which version, and
# with whose certificates and buckets.
DIFFERENT = re.compile(
    r"stack_environment: |# Nobody is disturbed when |stack_load_tests_allowed: "
    r"|source: .* version: |directory: https://acme-|prefix: "
    r"|s3: \{bucket: |.*media|.* \{stack_address: |host: |.*_url: rediss:"
)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("guide", ["ecommerce", "propflow"])
def test_a_frontend_of_next_js_is_declared_as_one_is_built(guide: str, environment: str) -> None:
    (app,) = [
        each
        for each in declared(guide, environment)["stack_applications"]
        if "node" in each.get("web", {})
    ]
    assert (app["web"]["node"], app["web"]["health_path"], app["build"]) == (
        ".next/standalone/server.js",
        "/health",
        "npm run build",
    )


def text(guide: str, environment: str, file: str) -> str:
    return (ROOT / "inventories" / guide / environment / file).read_text(encoding="utf-8")


def declared(guide: str, environment: str) -> dict[str, t.Any]:
    loaded: dict[str, t.Any] = yaml.safe_load(text(guide, environment, FILES[0]))
    return loaded


def leaves(tree: t.Any) -> list[t.Any]:
    if isinstance(tree, dict):
        return [leaf for value in tree.values() for leaf in leaves(value)]
    return [tree]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("guide", GUIDES)
def test_a_copy_passes_the_playbook_that_judges_it(
    guide: str, environment: str, tmp_path: Path
) -> None:
    inventory = tmp_path / "mine"
    shutil.copytree(ROOT / "inventories" / guide / environment, inventory)
    secrets = inventory / FILES[1]
    written = secrets.read_text(encoding="utf-8").replace(': ""', f": {SECRET}")
    secrets.write_text(written, encoding="utf-8")
    done = subprocess.run(
        [
            *(Path(sys.executable).parent / "ansible-playbook", "-i", inventory),
            "playbooks/validate_declarations.yml",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("guide", GUIDES)
def test_staging_differs_from_production_in_what_has_to(guide: str, file: str) -> None:
    staging = text(guide, "staging", file).replace("staging.example.com", "example.com")
    production = text(guide, "production", file)
    differences = difflib.ndiff(staging.splitlines(), production.splitlines())
    changed = [line[2:].strip() for line in differences if line.startswith(("-", "+"))]
    assert [line for line in changed if not DIFFERENT.match(line)] == []


@pytest.mark.parametrize("guide", GUIDES)
def test_development_runs_the_same_applications(guide: str) -> None:
    names = [
        [(each["name"], each.get("web"), each.get("celery")) for each in apps]
        for apps in (declared(guide, name)["stack_applications"] for name in ENVIRONMENTS[::2])
    ]
    for development, production in zip(*names, strict=True):
        assert development[0] == production[0]
        assert development[2] == production[2]


@pytest.mark.parametrize("guide", GUIDES)
def test_secrets_stand_in_the_vault_twin_alone(guide: str) -> None:
    for environment in ENVIRONMENTS:
        written = text(guide, environment, FILES[0])
        # Names of facts, whose values are elsewhere.
        written = re.sub(r"environment_names:(\n {6}.+| .+)+", "", written)
        assert not re.search(r"(?i)(password|secret|_key|token|dsn)\w*:", written)
        assert set(leaves(yaml.safe_load(text(guide, environment, FILES[1])))) == {""}


PAGE = (ROOT / "docs/from-the-guides.md").read_text(encoding="utf-8")
VARIABLES = re.compile(
    r"^\| (\w+) \| ((?:`[A-Z0-9_]+`(?:, )?)+) "
    r"\| (Slipway|`environment`|`environment_names`|the vault twin) \|$",
    re.MULTILINE,
)
ONE = {name: ["one"] for name in ("database", "cache", "application", "worker", "web")}
TOPOLOGY = _derive.Topology(groups=ONE, addresses={"one": "192.0.2.1"}, host="one")


def holders(guide: str, environment: str) -> dict[tuple[str, str], set[str]]:
    """Which variables each application gets, and what holds them."""
    written = text(guide, environment, FILES[1]).replace(': ""', f": {SECRET}")
    secrets = yaml.safe_load(written)["vault_stack_applications"]
    found: dict[tuple[str, str], set[str]] = {}
    for each in _applications.resolve(declared(guide, environment)["stack_applications"], secrets):
        told = set(_derive.environment(each, TOPOLOGY))
        held = {
            "`environment`": set(each["environment"]),
            "the vault twin": set(each["secrets"]["environment"]),
            "`environment_names`": set(each["environment_names"]) & told,
        }
        held["Slipway"] = told.difference(*held.values())
        found |= {(each["name"], holder): names for holder, names in held.items()}
    return found


def test_the_page_lists_variables_of_every_guide() -> None:
    rows = VARIABLES.findall(PAGE)
    assert {row[0] for row in rows} > set(GUIDES)
    table = PAGE.split("| application | variables | held in |\n")[1].split("\n\n")[0]
    assert len(rows) == len(table.splitlines()) - 1


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("guide", GUIDES)
def test_what_a_guides_environment_file_holds_is_held_here(guide: str, environment: str) -> None:
    held = holders(guide, environment)
    lacking = [
        (application, holder, name)
        for application, names, holder in VARIABLES.findall(PAGE)
        if application.startswith(guide)
        for name in re.findall(r"`(\w+)`", names)
        if name not in held[application, holder]
    ]
    assert lacking == []


WRONG = re.compile(r"^\| (\d+) \| (?:.+ \| ){3}(.*)\|$", re.MULTILINE)


def test_each_error_of_the_guides_is_answered_by_a_test_that_exists() -> None:
    answers = dict(WRONG.findall(PAGE))
    assert list(answers) == [str(number) for number in range(1, 22)]
    assert all("`" in proof for proof in answers.values())
    for proof in re.findall(r"`([^`]+)`", " ".join(answers.values())):
        path, _colons, name = proof.partition("::")
        assert f"def {name}" in (ROOT / path).read_text(encoding="utf-8"), proof
