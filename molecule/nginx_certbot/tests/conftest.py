"""Two applications behind nginx, and a visitor who asks the machine itself."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import subprocess
import typing as t
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from testinfra.host import Host

PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
SHARED = PROJECT / "molecule/shared"
BACKEND = Path(__file__).with_name("backend.py")
UNIT = """[Service]
ExecStart=/usr/bin/python3 /usr/local/lib/backend.py %i
Restart=always
"""


def put(host: Host, path: str, content: str) -> None:
    host.check_output(f"printf %s {shlex.quote(content)} > {path}")


@pytest.fixture(scope="module", autouse=True)
def backends(host: Host) -> None:
    host.check_output("command -v curl || { apt-get update && apt-get install -y curl; } >&2")
    host.check_output("mkdir -p /srv/shop/static")
    put(host, "/srv/shop/static/app.js", "let a = 1; // as long as gzip wants it\n" * 100)
    put(host, "/usr/local/lib/backend.py", BACKEND.read_text(encoding="utf-8"))
    put(host, "/etc/systemd/system/backend@.service", UNIT)
    host.check_output("systemctl daemon-reload")
    host.check_output("systemctl start backend@8001 backend@8002")


@dataclasses.dataclass(frozen=True)
class Answer:
    code: int
    headers: list[tuple[str, str]]
    body: str
    protocol: str

    def header(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]


def ask(host: Host, url: str, *options: str) -> Answer:
    """One request from the machine to its own public name; 0 when the connection was refused."""
    words = ["curl", "--silent", "--insecure", "--include", "--max-time", "20", *options, url]
    said = host.run(shlex.join(words)).stdout.replace("\r\n", "\n")
    while said.startswith("HTTP/1.1 100 "):
        said = said.partition("\n\n")[2]
    head, _blank, body = said.partition("\n\n")
    first, *lines = head.split("\n")
    found = re.match(r"HTTP/([0-9.]+) ([0-9]+)", first)
    if not found:
        return Answer(0, [], "", "")
    headers = [(key, value) for key, _colon, value in (line.partition(": ") for line in lines)]
    return Answer(int(found[2]), headers, body, found[1])


@pytest.fixture
def name(host: Host) -> str:
    """The public name of the machine's site `shop`."""
    return f"shop.{release(host)}.test"


def release(host: Host) -> str:
    return f"debian{host.check_output('. /etc/os-release; echo $VERSION_ID')}"


@dataclasses.dataclass(frozen=True)
class Run:
    succeeded: bool
    said: str


Apply = Callable[..., Run]


@pytest.fixture(scope="module")
def apply(host: Host, scenario: dict[str, t.Any]) -> Iterator[Apply]:
    """Run the role with more sites or other variables; in the end it is run as declared."""

    def run(*more: dict[str, t.Any], **others: t.Any) -> Run:
        sites = [*scenario["nginx_certbot_sites"], *more]
        values = {"nginx_certbot_sites": sites, **others}
        inventory, limit = SHARED / "inventory.yml", f"--limit=*-{release(host)}"
        command = ["ansible-playbook", f"--inventory={inventory}", limit]
        command += [f"--extra-vars={json.dumps(values)}", str(SHARED / "converge.yml")]
        plain = {name: value for name, value in os.environ.items() if "COLOR" not in name}
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=PROJECT, env=plain
        )
        # Ansible folds long lines.
        return Run(done.returncode == 0, " ".join((done.stdout + done.stderr).split()))

    yield run
    done = run()
    assert done.succeeded, done.said
