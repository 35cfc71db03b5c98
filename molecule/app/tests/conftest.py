"""The machines of the scenario at once, because releases are runs of Ansible over all of them."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import typing as t
from pathlib import Path

import pytest
import testinfra
from testinfra.host import Host

SCENARIO = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"])
INVENTORY = f"{SCENARIO}/../shared/inventory.yml"
# For a release that never gets well; for others there is no hurry.
IMPATIENT = "--extra-vars=app_health_timeout_seconds=12"
Change = t.Callable[[Path], None]
Deploy = t.Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def machines() -> list[Host]:
    found = testinfra.get_hosts(["ansible://molecule"], ansible_inventory=INVENTORY)
    return sorted(found, key=lambda machine: str(machine.backend.get_hostname()))


@pytest.fixture
def command(scenario: dict[str, t.Any], tmp_path: Path) -> t.Callable[..., list[str]]:
    """The run that applies the role with another source or environment of the shop."""

    def command(
        change: Change | None = None, *words: str, entry: str = "main", **options: t.Any
    ) -> list[str]:
        shop, stall = copy.deepcopy(scenario["app_applications"])[:2]
        folder = tmp_path / "shop"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(SCENARIO / "shop", folder)
        if change:
            change(folder)
        shop["source"] = {"directory": str(folder)}
        stall["source"] = {"directory": str(SCENARIO / "shop")}
        for name, value in options.items():
            shop[name] = {**shop[name], **value} if name == "environment" else value
        given = {
            "app_applications": [shop, stall] if entry == "main" else [shop],
            "app_health_timeout_seconds": 60,
            "app_watch_seconds": 0,
            "molecule_entry": entry,
        }
        (tmp_path / "given.json").write_text(json.dumps(given))
        return [
            *["ansible-playbook", f"--inventory={INVENTORY}", "-e", f"@{tmp_path}/given.json"],
            *[*words, f"{SCENARIO}/../shared/converge.yml"],
        ]

    return command


@pytest.fixture
def deploy(command: t.Callable[..., list[str]]) -> Deploy:
    def deploy(
        change: Change | None = None, *words: str, **options: t.Any
    ) -> subprocess.CompletedProcess[str]:
        run = command(change, *words, **options)
        return subprocess.run(run, check=False, capture_output=True, text=True)

    return deploy
