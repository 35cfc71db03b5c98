"""What AWX does: the execution environment alone, as nobody, on a project that stays as it is."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
import testinfra
import yaml
from conftest import (
    EXCUSES,
    INVENTORIES,
    PLAYBOOKS,
    ROOT,
    SCENARIO,
    address_of,
    answers,
    write_as_awx,
)

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(SCENARIO != "default" or os.geteuid() != 0, reason="needs root, and ssh"),
]
MACHINE = f"molecule-{SCENARIO}-one"
NOBODY: dict[str, t.Any] = {"user": "nobody", "group": "nogroup", "extra_groups": []}
# Run as well as tried: they leave everything as it is, or add to it.
RUN = ("back_up", "check_health", "list_backups", "manage", "releases", "site", "verify_backups")


@dataclasses.dataclass
class Pod:
    """A folder as AWX mounts it for a job, and the programs of its image."""

    room: Path

    def run(self, name: str, given: dict[str, str], *words: str) -> str:
        """A job: what it said, once it was well or has an excuse."""
        write_as_awx(self.room / "env/extravars", given)
        ident = "-".join((name, *words)).replace("--", "")
        command = [str(self.room / "venv/bin/ansible-runner"), "run", str(self.room)]
        command += ["--playbook", f"playbooks/{name}.yml", "--ident", ident]
        (self.room / "env/cmdline").write_text(shlex.join(words))
        home = str(self.room / "home")
        path = f"{self.room}/venv/bin:/usr/bin:/bin"
        variables = {"HOME": home, "PATH": path, "LANG": "C.UTF-8"}
        done = subprocess.run(
            command, env=variables, capture_output=True, text=True, check=False, **NOBODY
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0 or any(excuse in said for excuse in EXCUSES), said
        return said

    def result(self) -> dict[str, t.Any]:
        """What the last job handed on to the next of its workflow."""
        events = (self.room / "artifacts").glob("*/job_events/*-*.json")
        newest = sorted(events, key=lambda path: path.stat().st_mtime_ns)
        told = [json.loads(path.read_text()).get("event_data", {}) for path in newest]
        stats = [each["artifact_data"] for each in told if each.get("artifact_data")]
        return dict(stats[-1]["slipway_result"])


def make(*command: str | Path, **more: t.Any) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, **more).stdout


@pytest.fixture(scope="module")
def pod() -> Iterator[Pod]:
    # Not pytest's own folder, which nobody but its owner may enter.
    room = Path(tempfile.mkdtemp(prefix="slipway-pod-"))
    room.chmod(0o755)
    try:
        _install(room)
        _lay_out(room)
        yield Pod(room)
    finally:
        shutil.rmtree(room)


def _python(wanted: str) -> str:
    """The image's Python, or another that nobody may run: those of pyenv are root's own."""
    recent = "import sys; sys.exit(sys.version_info < (3, 11))"
    for name in (wanted, "python3.13", "python3.11", "python3"):
        for folder in os.environ["PATH"].split(os.pathsep):
            with contextlib.suppress(OSError):
                done = subprocess.run([f"{folder}/{name}", "-c", recent], check=False, **NOBODY)
                if done.returncode == 0:
                    return f"{folder}/{name}"
    raise AssertionError("no Python from 3.11 on here can be run by everybody")


def _install(room: Path) -> None:
    """What execution-environment.yml puts into the image."""
    declared = yaml.safe_load((ROOT / "execution-environment.yml").read_text())["dependencies"]
    packages = [declared[name]["package_pip"] for name in ("ansible_core", "ansible_runner")]
    python = _python(declared["python_interpreter"]["package_system"])
    make(python, "-m", "venv", "--without-pip", room / "venv")
    pip = (sys.executable, "-m", "pip", "--python", room / "venv/bin/python")
    make(*pip, "install", "--quiet", *packages)
    galaxy = Path(sys.executable).parent / "ansible-galaxy"
    make(galaxy, "collection", "build", ROOT, "--output-path", room, cwd=room)
    (archive,) = room.glob("*.tar.gz")
    # The image has it in /usr/share/ansible/collections, which Ansible searches like this.
    place = room / "home/.ansible/collections"
    place.mkdir(parents=True)
    words = ("collection", "install", archive, "-p", place, "--offline", "--force")
    make(room / "venv/bin/ansible-galaxy", *words, cwd=room, env={"HOME": str(room / "home")})


def _lay_out(room: Path) -> None:
    """The clone, the inventory as AWX has imported it, and a key to the machine."""
    for name in make("git", "ls-files", cwd=ROOT).splitlines():
        target = room / "project" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_file():
            shutil.copy2(ROOT / name, target)
    exported = json.loads(make("ansible-inventory", *INVENTORIES, "--list", "--export", cwd=ROOT))
    address = {"ansible_host": address_of(MACHINE), "ansible_user": "root"}
    exported["_meta"]["hostvars"][MACHINE] = {**address, "ansible_connection": "ssh"}
    for name in ("inventory", "env", "artifacts"):
        (room / name).mkdir()
    script = room / "inventory/hosts"
    script.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(exported)}\nEND\n")
    script.chmod(0o755)
    (room / "env/envvars").write_text(json.dumps({"ANSIBLE_HOST_KEY_CHECKING": "false"}))
    key = room / "key"
    make("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
    shutil.move(key, room / "env/ssh_key")
    machine = testinfra.get_host(f"docker://{MACHINE}")
    public = shlex.quote(key.with_suffix(".pub").read_text())
    machine.check_output(f"printf %s {public} >>/root/.ssh/authorized_keys")
    shutil.chown(room, "nobody", "nogroup")
    for name in ("home", "env", "artifacts"):
        make("chown", "-R", "nobody:nogroup", room / name)


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: path.stem)
def test_a_job_needs_no_more_than_its_image_and_writes_nothing(pod: Pod, path: Path) -> None:
    for words in [("--check", "--diff"), ()][: 2 if path.stem in RUN else 1]:
        said = pod.run(path.stem, answers(path), *words)
        result = pod.result()
        assert result["playbook"] == path.stem
        assert result["check"] is bool(words)
        assert result["state"] == "done" or any(excuse in said for excuse in EXCUSES)
    status = make("find", pod.room / "project", "-user", "nobody")
    assert status == ""
