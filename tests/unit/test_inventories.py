# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The inventories of this repository, validated as an operator validates them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SECRET = "5f2c0b9e4d7a1c3f"
APPLICATIONS = "group_vars/all/applications.yml"
HOSTS = "hosts.yml"
WIRING = ROOT / "playbooks/group_vars/all.yml"
# What the roles of such an inventory are told.
TOLD = ("app_", "celery_", "nginx_certbot_")
WORKERS = ("worker1", "worker2")
PAGES = """
stack_environment: test
stack_applications:
  - name: pages
    domain: pages.example.com
    source: {repository: "https://git.example.com/pages.git"}
    build: npm run build
    static: {}
"""
# A change that changes nothing: what is wrong stands on the command line.
NOTHING = (APPLICATIONS, "domain:", "domain:")


class Trial:
    """A copy of an inventory, and an ssh that only notes that it was asked."""

    def __init__(self, room: Path, environment: str) -> None:
        self.inventory, self.contacted = room / environment, room / "contacted"
        shutil.copytree(ROOT / "inventories" / environment, self.inventory)
        self.change("group_vars/all/secrets.yml", ': ""', f": {SECRET}")
        self.ssh = room / "ssh"
        self.ssh.write_text(f"#!/bin/sh\ntouch {self.contacted}\nexit 255\n", encoding="utf-8")
        self.ssh.chmod(0o755)

    def change(self, file: str, old: str, new: str) -> None:
        path = self.inventory / file
        path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")

    def run(self, playbook: str, *arguments: str) -> str:
        """What the run said; no machine answers, so that none ends well."""
        command = [
            str(Path(sys.executable).parent / "ansible-playbook"),
            f"playbooks/{playbook}.yml",
        ]
        command += ["-i", str(self.inventory), "-e", f"ansible_ssh_executable={self.ssh}"]
        done = subprocess.run(
            [*command, "-e", "ansible_connection=ssh", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        # Refused, or not reached.
        assert done.returncode in (2, 4)
        return done.stdout + done.stderr


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_an_inventory_that_is_filled_in_goes_on_to_its_machines(
    environment: str, tmp_path: Path
) -> None:
    trial = Trial(tmp_path, environment)
    said = trial.run("validate_inventory")
    assert trial.contacted.exists(), said
    assert "cannot be reached at" in said


@pytest.mark.parametrize(
    ("playbook", "arguments", "change", "sentences"),
    [
        (
            "site",
            ["-e", "app=shop"],
            (APPLICATIONS, "domain:", "domian:"),
            [
                "stack_applications.shop.domian is not an option; write domain.",
                "app is 'shop', but this playbook serves every application; leave -e app out",
            ],
        ),
        (
            "validate_inventory",
            [],
            (APPLICATIONS, "name: shop", 'name: "{{ shop_name }}"'),
            ["stack_applications[entry 1].name is not defined ('shop_name' is undefined); define"],
        ),
        (
            "site",
            ["--tags", "redis"],
            NOTHING,
            ["--tags redis would leave out what the rest"],
        ),
        (
            "deploy",
            ["-e", "version=--upload-pack=x"],
            NOTHING,
            ["app is missing; write -e app=shop (declared are shop)."],
        ),
        (
            "rollback",
            ["-e", "version=v1"],
            NOTHING,
            # The only application is meant.
            ["version is 'v1', which this playbook does not heed; use playbooks/deploy.yml"],
        ),
        (
            "manage",
            [],
            (HOSTS, "10.0.0.12", "cache1"),
            [
                "stack_address of cache1.example.com is 'cache1'; set it to the IP address",
                "app is missing; write -e app=shop (declared are shop).",
            ],
        ),
    ],
)
def test_a_bad_one_is_refused_before_any_machine_is_touched(
    playbook: str,
    arguments: list[str],
    change: tuple[str, str, str],
    sentences: list[str],
    tmp_path: Path,
) -> None:
    trial = Trial(tmp_path, "prod")
    trial.change(*change)
    said = trial.run(playbook, *arguments)
    for sentence in sentences:
        assert sentence in said
    assert not trial.contacted.exists()
    assert SECRET not in said


def wired(room: Path, inventory: Path, wire: str, *arguments: str) -> str:
    """What the wiring tells the roles on each machine, as Ansible shows it."""
    shutil.copytree(ROOT / "playbooks/group_vars", room / "group_vars")
    tell = f'- hosts: all\n  gather_facts: false\n  tasks: [debug: {{var: "{wire}"}}]\n'
    (room / "tell.yml").write_text(tell.replace("debug", "ansible.builtin.debug"))
    return subprocess.run(
        [
            *(str(Path(sys.executable).parent / "ansible-playbook"), str(room / "tell.yml")),
            *("-i", str(inventory), "-e", "ansible_connection=local", *arguments),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_what_visitors_uploaded_is_among_the_files_that_are_saved(tmp_path: Path) -> None:
    more = ("-e", '{"stack_backup_paths": ["/var/lib/redis"]}')
    told = wired(tmp_path, ROOT / "inventories/demo", "backup_files", *more)
    for path in ("/etc/slipway", "/srv/auction/media", "/var/lib/redis"):
        assert f"- {path}\n" in told
    assert "required:\n        - /var/lib/redis\n" in told


def test_machines_for_workers_alone_switch_after_those_that_serve(tmp_path: Path) -> None:
    told = wired(tmp_path, ROOT / "inventories/parkme/production", "app_machines")
    order = "".join(f"    - {name}.parkme.example.com\n" for name in ("app1", "app2", *WORKERS))
    assert told.count(order) == 5


NO_FILES = "no machine here is in the group 'database', and files are saved only with stack_backup"
NO_DATABASE = (
    "no machine here is in the group 'database', where alone this playbook works; there is"
)
REDIS = {"stack_redis": {"broker_url": "rediss://redis.example.com:6379/0"}}
BUCKET = {
    "stack_backup_s3": {"bucket": "backups", "region": "eu-central-1"},
    "vault_stack_backup_s3": {"access_key": SECRET, "secret_key": SECRET},
    "vault_stack_backup_cipher_pass": SECRET,
}


@pytest.mark.parametrize(
    ("playbook", "extra", "sentence"),
    [
        ("back_up", {}, NO_FILES),
        ("verify_backups", {}, NO_FILES),
        ("back_up", BUCKET, ""),
        ("verify_backups", BUCKET, ""),
        ("back_up", {"back_up_only": "pages"}, "which no application has; leave it out."),
        ("check_health", {}, ""),
        ("check_health", REDIS, ""),
        ("list_backups", BUCKET, ""),
        ("releases", {}, ""),
        ("restore", {"restore_to": "latest"}, NO_DATABASE),
        ("restart", {"app": "pages"}, "in the group 'application:worker', where alone this playb"),
        ("deploy", {"app": "pages"}, ""),
        ("site", {}, ""),
    ],
)
def test_frontends_alone_go_on_to_their_machine_or_are_refused_in_a_sentence(
    playbook: str, extra: dict[str, t.Any], sentence: str, tmp_path: Path
) -> None:
    trial = Trial(tmp_path, "dev")
    shutil.rmtree(trial.inventory)
    (trial.inventory / "group_vars/all").mkdir(parents=True)
    (trial.inventory / HOSTS).write_text("web: {hosts: {pages.example.com: }}\n")
    (trial.inventory / APPLICATIONS).write_text(PAGES)
    said = trial.run(playbook, "-e", json.dumps(extra))
    assert sentence in said
    assert trial.contacted.exists() != bool(sentence), said
    assert "undefined" not in said and "no attribute" not in said, said


def test_files_alone_need_no_other_machine_than_their_own(tmp_path: Path) -> None:
    """Nor does anything that the roles are told need a group that is not there."""
    inventory = tmp_path / "pages"
    (inventory / "group_vars/all").mkdir(parents=True)
    (inventory / HOSTS).write_text("web: {hosts: {pages.example.com: }}\n")
    (inventory / APPLICATIONS).write_text(PAGES)
    wires = [name for name in yaml.safe_load(WIRING.read_text()) if name.startswith(TOLD)]
    told = wired(tmp_path, inventory, f"[{', '.join(wires)}]")
    assert "pages.example.com" in told and "not defined" not in told
