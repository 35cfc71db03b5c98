"""The product as a visitor and as an operator meet it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import ssl
import subprocess
import time
import typing as t
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import testinfra
import websockets.asyncio.client
import yaml

ROOT = Path(__file__).resolve().parents[3]
SCENARIO = os.environ.get("MOLECULE_SCENARIO_NAME", "default")
LAB = f"molecule-{SCENARIO}"
INVENTORY = ROOT / "molecule" / SCENARIO / "inventory"
INVENTORIES = ("-i", str(ROOT / "molecule/product/inventory"), "-i", str(INVENTORY))
DOMAIN = "auction.test"
# Seconds; far more than anything takes, for a busy computer is no fault of what is tried.
PATIENCE = 300


class Answer(t.NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> t.Any:
        return json.loads(self.body)


class Visitor:
    """A browser of sorts: https to the web machine, the certificate verified."""

    def __init__(self, address: str, authority: str) -> None:
        self.address = address
        self.tls = ssl.create_default_context(cadata=authority)

    def connect(self, timeout: float = 60, name: str = DOMAIN) -> ssl.SSLSocket:
        plain = socket.create_connection((self.address, 443), timeout=timeout)
        return self.tls.wrap_socket(plain, server_hostname=name)

    def listen(self, path: str) -> websockets.asyncio.client.connect:
        """Opens a WebSocket; asyncio's, for the threaded client reads and writes TLS at once."""
        return websockets.asyncio.client.connect(
            f"wss://{DOMAIN}{path}",
            host=self.address,
            port=443,
            ssl=self.tls,
            origin=t.cast(t.Any, f"https://{DOMAIN}"),
            open_timeout=60,
        )

    def ask(self, method: str, path: str, body: t.Any = None, **headers: str) -> Answer:
        with contextlib.closing(http.client.HTTPSConnection(DOMAIN, timeout=60)) as connection:
            connection.sock = self.connect()
            payload = body if body is None or isinstance(body, str) else json.dumps(body)
            connection.request(method, path, payload, headers)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())

    def get(self, path: str) -> Answer:
        return self.ask("GET", path)

    def bid(self, auction: int, bidder: str, amount: int) -> Answer:
        body = {"bidder": bidder, "amount": amount}
        return self.ask("POST", f"/api/auctions/{auction}/bids/", body)


@pytest.fixture(scope="session")
def inventory() -> dict[str, t.Any]:
    loaded: dict[str, t.Any] = yaml.safe_load((INVENTORY / "hosts.yml").read_text())
    return loaded


@pytest.fixture(scope="session")
def machines(inventory: dict[str, t.Any]) -> dict[str, list[t.Any]]:
    """testinfra hosts by group."""
    groups = ("database", "cache", "application", "worker", "web")
    return {
        group: [testinfra.get_host(f"docker://{name}") for name in inventory[group]["hosts"]]
        for group in groups
    }


def address_of(container: str) -> str:
    template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    return subprocess.run(
        ["docker", "inspect", "--format", template, container],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


@pytest.fixture(scope="session")
def authority() -> str:
    """The certificate that the ACME server signs with."""
    services = testinfra.get_host(f"docker://{LAB}-services")
    root: str = services.check_output("curl -fsSk https://localhost:15000/roots/0")
    return root


@pytest.fixture(scope="session")
def visitor(inventory: dict[str, t.Any], authority: str) -> Visitor:
    return Visitor(address_of(next(iter(inventory["web"]["hosts"]))), authority)


@pytest.fixture(scope="session")
def manage(machines: dict[str, list[t.Any]]) -> Callable[[str], str]:
    """Runs a management command of the live release, as the application does."""

    def run(command: str) -> str:
        output: str = machines["application"][0].check_output(
            "systemd-run --quiet --wait --pipe --collect --uid=auction"
            " -p EnvironmentFile=/etc/slipway/auction/environment"
            " -p WorkingDirectory=/srv/auction/current/source"
            f" /srv/auction/current/venv/bin/python manage.py {command}"
        )
        return output.strip()

    return run


@pytest.fixture
def auction(manage: Callable[[str], str]) -> int:
    """The number of a fresh, open auction."""
    return int(manage(f"open_auction 'Lot {uuid.uuid4()}' --closes-in 3600").splitlines()[-1])


# What a playbook needs to be told; every other option as a survey sends it when nobody answers.
NEEDED = {
    "app": "auction",
    "command": "python manage.py check",
    "restore_to": "latest",
    "service": "nginx",
    "load_environment": "test",
    "load_from": f"{LAB}-one",
}
# The end of the others, and what makes an inventory and needs none.
APART = ("say_result", "import_environment")
PLAYBOOKS = sorted(path for path in (ROOT / "playbooks").glob("*.yml") if path.stem not in APART)

# A busy computer is unwell, the first release has none to go back to, nothing was backed up yet.
EXCUSES = ("see the table above", "no good release besides", "the table says why")

# What AWX tells each job besides the answers.
TOLD = {"awx_job_id": 7, "awx_user_name": "ada", "tower_job_launch_type": "manual"}


def answers(path: Path, **others: str) -> dict[str, str]:
    """What a survey answers with, for each option that a playbook takes."""
    needed = {**NEEDED, **others}
    plays = yaml.safe_load(path.read_text())
    takes = [name for play in plays for name in play.get("vars", {}).get("common_takes", [])]
    return {name: needed.get(name, "") for name in takes}


def write_as_awx(path: Path, variables: t.Mapping[str, t.Any]) -> Path:
    """A file of extra variables as AWX writes them: it marks every text as unsafe, names as well.

    Ansible reads a marked text like an unmarked one: an empty one becomes None, 1.10 a number.
    """

    def marked(value: t.Any) -> str:
        return "!unsafe " + yaml.dump(value, default_style="'").strip()

    lines = [
        f"{marked(name)}: {marked(value) if isinstance(value, str) else json.dumps(value)}\n"
        for name, value in {**variables, **TOLD}.items()
    ]
    path.write_text("".join(lines))
    return path


def playbook(
    name: str, *arguments: str, inventories: t.Sequence[str] = INVENTORIES
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["ansible-playbook", f"playbooks/{name}.yml", *inventories, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
    )


def eventually(condition: Callable[[], bool], what: str) -> float:
    """Waits until `condition` holds; returns how long that took in seconds."""
    started = time.monotonic()
    while time.monotonic() - started < PATIENCE:
        with contextlib.suppress(OSError, http.client.HTTPException, AssertionError):
            if condition():
                return time.monotonic() - started
        time.sleep(0.5)
    pytest.fail(f"{what}: not within {PATIENCE} s")


@pytest.fixture
def healthy(visitor: Visitor) -> Iterator[Callable[[], bool]]:
    yield lambda: visitor.get("/health/").status == 200


@pytest.fixture
def installed(tmp_path: Path) -> Callable[..., str]:
    """Runs a command where the collection was built and installed, far from the checkout."""
    (tmp_path / "ansible.cfg").write_text(f"[defaults]\ncollections_path = {tmp_path}\n")
    environment = {**os.environ, "ANSIBLE_PIPELINING": "1", "ANSIBLE_NOCOLOR": "1"}
    for name in ("ANSIBLE_CONFIG", "ANSIBLE_COLLECTIONS_PATH"):
        environment.pop(name, None)

    def run(*command: str) -> str:
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("ansible-galaxy", "collection", "build", str(ROOT), "--output-path", str(tmp_path))
    archive = next(tmp_path.glob("*.tar.gz"))
    run("ansible-galaxy", "collection", "install", str(archive), "-p", str(tmp_path), "--offline")
    return run
