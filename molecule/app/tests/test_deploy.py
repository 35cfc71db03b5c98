# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Releases good and bad, each deployed onto machines that serve the one before.

One run of Ansible serves both machines, because these tests are mostly such runs.
"""

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
from test_app import get
from testinfra.host import Host

SCENARIO = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"])
CANARY = "canary-7391"
Change = t.Callable[[Path], None]
Deploy = t.Callable[..., subprocess.CompletedProcess[str]]


NEXT = "git commit -q --allow-empty -m next && chmod -R a+rX ."
INVENTORY = f"{SCENARIO}/../shared/inventory.yml"


@pytest.fixture(scope="session")
def machines() -> list[Host]:
    found = testinfra.get_hosts(["ansible://molecule"], ansible_inventory=INVENTORY)
    return sorted(found, key=lambda machine: str(machine.backend.get_hostname()))


@pytest.fixture
def deploy(scenario: dict[str, t.Any], tmp_path: Path) -> Deploy:
    """Apply the role with another source or environment of the shop."""

    def deploy(
        change: Change | None = None, *words: str, **options: t.Any
    ) -> subprocess.CompletedProcess[str]:
        shop, stall = copy.deepcopy(scenario["app_applications"])
        folder = tmp_path / "shop"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(SCENARIO / "shop", folder)
        if change:
            change(folder)
        shop["source"] = {"directory": str(folder)}
        stall["source"] = {"directory": str(SCENARIO / "shop")}
        for name, value in options.items():
            shop[name] = {**shop[name], **value} if name == "environment" else value
        given = {"app_applications": [shop, stall], "app_health_timeout_seconds": 8}
        (tmp_path / "given.json").write_text(json.dumps(given))
        return subprocess.run(
            [
                *["ansible-playbook", f"--inventory={INVENTORY}"],
                *["-e", f"@{tmp_path}/given.json"],
                *[*words, f"{SCENARIO}/../shared/converge.yml"],
            ],
            check=False,
            capture_output=True,
            text=True,
        )

    return deploy


def replace(name: str, old: str, new: str) -> Change:
    def change(folder: Path) -> None:
        path = folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return change


def state(machines: list[Host]) -> list[tuple[str, str, str]]:
    return [
        (
            machine.file("/srv/shop/current").linked_to,
            machine.check_output("ls /srv/shop/releases"),
            machine.check_output("systemctl show -P MainPID shop-web shop-asgi stall-web"),
        )
        for machine in machines
    ]


def everywhere(machines: list[Host], path: str) -> set[str]:
    return {get(machine, path) for machine in machines}


def healthy(machines: list[Host]) -> bool:
    return all(answer.startswith("200") for answer in everywhere(machines, "/health/"))


def unchanged(done: subprocess.CompletedProcess[str], machines: list[Host]) -> bool:
    return done.stdout.count("changed=0 ") == len(machines)


BROKEN = {
    "does not import": (replace("shop.py", "import json", "import jason"), "jason"),
    "says that it is ill": (replace("shop.py", "200 OK", "503 down"), "503"),
    "cannot be migrated": (replace("migrate.py", "import os", "import oz"), "migrate"),
    "has no lock": (lambda folder: (folder / "uv.lock").unlink(), "run 'uv lock'"),
    "has a lock with a wrong hash": (replace("uv.lock", "sha256:", "sha256:00"), "dependencies"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_release_that(machines: list[Host], deploy: Deploy, fault: str) -> None:
    change, expected = BROKEN[fault]
    before = state(machines)
    done = deploy(change)
    assert done.returncode != 0
    assert (done.stdout + done.stderr).count("FAILED! =>") == len(machines)
    assert expected in done.stdout + done.stderr
    assert state(machines) == before
    assert healthy(machines)


def test_a_new_release_serves_and_the_next_run_changes_nothing(
    machines: list[Host], deploy: Deploy
) -> None:
    change = replace("shop.py", 'text = "slow"', 'text = "quick"')
    old = [machine.file("/srv/shop/current").linked_to for machine in machines]
    done = deploy(change)
    assert done.returncode == 0, done.stdout
    assert everywhere(machines, "/slow/") == {"200 quick"}
    assert [machine.file("/srv/shop/previous").linked_to for machine in machines] == old
    assert unchanged(deploy(change), machines)


def test_going_back_to_a_revision_does_not_build_it_again(
    machines: list[Host], deploy: Deploy
) -> None:
    releases = [machine.check_output("ls /srv/shop/releases") for machine in machines]
    done = deploy()
    assert done.returncode == 0, done.stdout
    assert everywhere(machines, "/slow/") == {"200 slow"}
    assert [machine.check_output("ls /srv/shop/releases") for machine in machines] == releases


def test_a_changed_environment_restarts_its_application_alone(
    machines: list[Host], deploy: Deploy
) -> None:
    def neighbours() -> list[str]:
        return [machine.check_output("systemctl show -P MainPID stall-web") for machine in machines]

    before = neighbours()
    done = deploy(environment={"SHOP_NEW": "1"})
    assert done.returncode == 0, done.stdout
    for answer in everywhere(machines, "/environment/"):
        assert '"SHOP_NEW": "1"' in answer
    assert neighbours() == before


def test_an_environment_that_makes_it_ill_fails_the_run(
    machines: list[Host], deploy: Deploy
) -> None:
    done = deploy(environment={"SHOP_IS_ILL": "yes"})
    assert done.returncode != 0
    assert "503" in done.stdout + done.stderr
    assert deploy().returncode == 0
    assert healthy(machines)


def test_a_branch_that_moves_is_a_release(machines: list[Host], deploy: Deploy) -> None:
    source = {"repository": "file:///var/lib/shop.git", "version": "main"}
    first = (
        "rm -rf /var/lib/shop.git && cp -r /srv/shop/current/source /var/lib/shop.git"
        " && cd /var/lib/shop.git && git init -q -b main && git config user.email a@b.c"
        " && git config user.name a && git add -A && git commit -qm first && chmod -R a+rX ."
    )
    for commit in (first, f"cd /var/lib/shop.git && {NEXT}"):
        for machine in machines:
            machine.check_output(commit)
        done = deploy(source=source)
        assert done.returncode == 0, done.stdout
        for machine in machines:
            head = machine.check_output("git -C /var/lib/shop.git rev-parse HEAD")
            assert get(machine, "/") == f"200 {head}"
    assert unchanged(deploy(source=source), machines)


def test_a_killed_build_and_a_killed_switch_are_finished_by_the_next_run(
    machines: list[Host], deploy: Deploy
) -> None:
    done = deploy()
    assert done.returncode == 0, done.stdout
    for machine in machines:
        machine.check_output("mkdir /srv/shop/releases/20000101T000000Z-half")
        machine.check_output("sed -i s/good/built/ /srv/shop/current/release.json")
    done = deploy(replace("shop.py", "repeat what", "repeat that which"))
    assert done.returncode == 0, done.stdout
    for machine in machines:
        assert "half" not in machine.check_output("ls /srv/shop/releases")
        machine.check_output("sed -i s/good/built/ /srv/shop/current/release.json")
    done = deploy(replace("shop.py", "repeat what", "repeat that which"))
    assert done.returncode == 0, done.stdout
    for machine in machines:
        assert "good" in machine.file("/srv/shop/current/release.json").content_string


def test_secrets_are_not_shown(machines: list[Host], deploy: Deploy) -> None:
    done = deploy(None, "-vvv", "--diff", environment={"SHOP_OTHER_SECRET": f"new-{CANARY}"})
    assert done.returncode == 0, done.stdout
    assert CANARY not in done.stdout + done.stderr
    failed = deploy(replace("migrate.py", 'print("mig', 'raise SystemExit("mig'), "-vvv")
    assert failed.returncode != 0
    assert CANARY not in failed.stdout + failed.stderr
    for machine in machines:
        assert machine.run(f"journalctl --no-pager | grep {CANARY}").rc != 0
