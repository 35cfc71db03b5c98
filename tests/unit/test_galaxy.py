# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What users install: all that they need, and nothing of what we work with."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import typing as t
import venv
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
# What stands in an archive besides its two manifests.
SHIPPED = {
    *("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md"),
    *("changelogs", "docs", "inventories", "meta", "playbooks", "plugins", "roles"),
}


def read(name: str) -> t.Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def run(*command: str | Path, cwd: Path) -> str:
    """What a command said, run where no configuration of this checkout is found."""
    foreign = ("ANSIBLE_", "PYTHONPATH")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(foreign)
    }
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    room = tmp_path_factory.mktemp("archive")
    run(BIN / "ansible-galaxy", "collection", "build", ROOT, "--output-path", room, cwd=room)
    (built,) = room.glob("*.tar.gz")
    return built


def test_the_archive_holds_what_users_need_and_nothing_else(archive: Path) -> None:
    with tarfile.open(archive) as opened:
        names = {name for name in opened.getnames() if not name.endswith(".json")}
    assert {name.partition("/")[0] for name in names} <= SHIPPED
    for folder in ("playbooks", "plugins", "roles", "meta"):
        tracked = subprocess.run(
            ["git", "ls-files", folder], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout.split()
        assert set(tracked) - names == set()
    assert [name for name in names if name.endswith((".py", ".pyc")) and "docs" in name] == []
    assert [name for name in names if "__pycache__" in name or "changelogs/f" in name] == []
    # What the README has people copy.
    assert "inventories/prod/hosts.yml" in names
    assert "inventories/demo" not in names


def test_the_execution_environment_takes_this_very_archive(archive: Path) -> None:
    declared = read("execution-environment.yml")
    (copied,) = declared["additional_build_files"]
    (collection,) = declared["dependencies"]["galaxy"]["collections"]
    assert copied["src"] == archive.name
    assert collection["name"] == f"{copied['dest']}/{archive.name}"


@pytest.mark.long
def test_the_execution_environment_is_complete(archive: Path, tmp_path: Path) -> None:
    """Its Python packages and its collection, alone in an environment, run the playbooks."""
    declared = read("execution-environment.yml")["dependencies"]
    home, collections = tmp_path / "venv", tmp_path / "collections"
    (tmp_path / "ansible.cfg").write_text(f"[defaults]\ncollections_path = {collections}\n")
    venv.create(home, with_pip=True)
    packages = [declared[name]["package_pip"] for name in ("ansible_core", "ansible_runner")]
    run(home / "bin/pip", "install", "--quiet", *packages, cwd=tmp_path)
    galaxy = home / "bin/ansible-galaxy"
    run(galaxy, "collection", "install", archive, "-p", collections, "--offline", cwd=tmp_path)
    inventory = ROOT / "inventories/demo"
    # The demo's machines are containers, which need a connection plugin of no use to AWX.
    play = (home / "bin/ansible-playbook", "-i", inventory, "-e", "ansible_connection=ssh")
    said = run(*play, "slipway.stack.validate_declarations", cwd=tmp_path)
    assert "failed=0" in said
    # Every plugin's imports, without any machine: the documentation loads them all.
    for kind in ("module", "filter"):
        names = run(home / "bin/ansible-doc", "-t", kind, "-l", "slipway.stack", cwd=tmp_path)
        assert len(names.splitlines()) > 5
    for name in sorted((ROOT / "playbooks").glob("*.yml")):
        run(*play, f"slipway.stack.{name.stem}", "--syntax-check", cwd=tmp_path)


def test_action_groups_name_every_module_of_their_kind() -> None:
    modules = {path.stem for path in (ROOT / "plugins/modules").glob("*.py")}
    groups = read("meta/runtime.yml")["action_groups"]
    assert set(groups["health"]) == {name for name in modules if name.endswith("_health")}
    assert {name for names in groups.values() for name in names} <= modules


def test_nothing_outside_the_community_package_is_needed() -> None:
    assert read("galaxy.yml")["dependencies"] == {}
