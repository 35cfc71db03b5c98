# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The lookups that docs/secrets.md shows, against moto for AWS and stand-ins for the others."""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import threading
import typing as t
from pathlib import Path

import boto3
import jinja2
import pytest
import yaml
from moto.server import ThreadedMotoServer

ROOT = Path(__file__).resolve().parents[2]
BACKUP = {"access_key": "AKIA", "secret_key": "of-the-bucket"}
POOLER = "of-the-pooler"
APPLICATIONS = {"shop": {"database_password": "of-the-shop"}}
PLAY = """
- hosts: localhost
  gather_facts: false
  vars_files: [{documented}]
  tasks:
    - ansible.builtin.copy:
        content: "{{{{ dict(names | zip(names | map('extract', vars))) | to_json }}}}"
        dest: {told}
        mode: "0600"
      vars:
        names: {names}
"""


class VaultStandIn(http.server.BaseHTTPRequestHandler):
    """Answers as HashiCorp Vault does to an AppRole that logs in and reads one secret."""

    def _answer(self, told: object) -> None:
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert given == {"role_id": "slipway", "secret_id": "of-the-role"}
        assert self.path == "/v1/auth/approle/login"
        self._answer({"auth": {"client_token": "token"}})

    def do_GET(self) -> None:
        assert self.path == "/v1/secret/data/slipway/pgbouncer", self.path
        assert self.headers["X-Vault-Token"] == "token"
        self._answer({"data": {"data": {"password": POOLER}, "metadata": {"version": 1}}})

    def log_message(self, *_: t.Any) -> None:
        """Quiet."""


@pytest.fixture
def vault() -> t.Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), VaultStandIn) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> t.Iterator[dict[str, str]]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    told = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
    }
    client = boto3.client(
        "secretsmanager",
        "eu-central-1",
        endpoint_url=told["AWS_ENDPOINT_URL"],
        aws_access_key_id="any",
        aws_secret_access_key="any",
    )
    client.create_secret(Name="slipway/backup", SecretString=json.dumps(BACKUP))
    yield told
    server.stop()


def sops(folder: Path) -> None:
    """A stand-in for the program, which shows what it was asked to decrypt."""
    program = folder / "sops"
    shown = "case $1 in --version) echo sops 3.9.0;; esac\nfor last; do :; done\n"
    program.write_text(f'#!/bin/sh\n{shown}test -f "$last" && cat "$last"\nexit 0\n')
    program.chmod(0o755)


def of_a_credential(url: str) -> str:
    """What AWX gives a job that has a credential of the type for HashiCorp Vault."""
    given = {"url": url, "role_id": "slipway", "secret_id": "of-the-role"}
    text = (ROOT / "awx/vars/credentials.yml").read_text(encoding="utf-8").replace("!unsafe ", "")
    types = {each["name"]: each for each in yaml.safe_load(text)["controller_credential_types"]}
    injected = types["Slipway HashiCorp Vault"]["injectors"]["extra_vars"]
    return json.dumps(
        {name: jinja2.Template(each).render(given) for name, each in injected.items()}
    )


def test_the_documented_lookups_bring_secrets(
    vault: str, aws: dict[str, str], tmp_path: Path
) -> None:
    sops(tmp_path)
    (tmp_path / "secrets.sops.yml").write_text(yaml.safe_dump(APPLICATIONS))
    section = (ROOT / "docs/secrets.md").read_text().partition("## HashiCorp Vault")[2]
    (block,) = re.findall(r"```yaml\n(.*?)```", section.partition("\n## ")[0], re.DOTALL)
    (tmp_path / "documented.yml").write_text(block)
    names, told = list(yaml.safe_load(block)), tmp_path / "told.json"
    play = PLAY.format(documented=tmp_path / "documented.yml", told=told, names=names)
    (tmp_path / "play.yml").write_text(play)
    programs = Path(sys.executable).parent
    environment = {**os.environ, **aws, "PATH": f"{tmp_path}:{programs}:/usr/bin:/bin"}
    mine = {
        "ANSIBLE_HASHI_VAULT_ADDR": vault,
        "ANSIBLE_HASHI_VAULT_AUTH_METHOD": "approle",
        "ANSIBLE_HASHI_VAULT_ROLE_ID": "slipway",
        "ANSIBLE_HASHI_VAULT_SECRET_ID": "of-the-role",
    }
    ways: list[tuple[dict[str, str], list[str]]] = [
        (mine, []),
        ({}, ["-e", of_a_credential(vault)]),
    ]
    for more, words in ways:
        told.unlink(missing_ok=True)
        done = subprocess.run(
            [programs / "ansible-playbook", "play.yml", *words],
            cwd=tmp_path,
            env=environment | more,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(told.read_text()) == {
            "vault_stack_pgbouncer_password": POOLER,
            "vault_stack_backup_s3": BACKUP,
            "vault_stack_applications": APPLICATIONS,
        }


def test_awx_imports_an_inventory_whose_values_are_encrypted_without_their_password(
    tmp_path: Path,
) -> None:
    shutil.copytree(ROOT / "inventories/prod", tmp_path / "prod")
    (tmp_path / "password").write_text("of-the-vault")
    programs = Path(sys.executable).parent
    vault: list[str | Path] = [
        programs / "ansible-vault",
        "encrypt_string",
        "--vault-password-file",
        "password",
    ]
    made = subprocess.run(
        [*vault, "--name", "secret_key", "of-the-shop"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    secrets = tmp_path / "prod/group_vars/all/secrets.yml"
    before, after = secrets.read_text().split('    secret_key: ""\n', 1)
    secrets.write_text(before + textwrap.indent(made.stdout, "    ") + after)
    command: list[str | Path] = [programs / "ansible-inventory", "-i", "prod", "--list", "--export"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    exported = json.loads(said.stdout)["all"]["vars"]["vault_stack_applications"]["shop"]
    assert exported["secret_key"]["__ansible_vault"].startswith("$ANSIBLE_VAULT;1.1;AES256")
