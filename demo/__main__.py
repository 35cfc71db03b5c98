# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""python3 -m demo: the whole stack with a real application on this computer, in containers."""

from __future__ import annotations

import argparse
import http
import http.client
import json
import os
import re
import socket
import ssl
import sys
import time
import urllib.parse
from pathlib import Path

from tests.lab import engine, images, machines, repository, shell
from tests.lab.stages import Stages

ROOT = Path(__file__).resolve().parents[1]
LAB = "slipway-demo"
# As in the inventories, which need fixed addresses.
SUBNET = "10.203.77.0/24"
# As in the inventories, too: browsers and curl take every name below localhost for this computer.
DOMAIN = "auction.localhost"
WEB = f",alias={DOMAIN},alias=www.{DOMAIN},publish=127.0.0.1:8443:443"
LAYOUTS = {
    1: ("inventories/demo", [f"1={{release}}{WEB}"], "slipway-demo-1"),
    4: (
        "inventories/demo4",
        [
            "database-1={release}",
            "cache-1={release}",
            f"application-1={{release}}{WEB}",
            "application-2={release}",
        ],
        "slipway-demo-application-1",
    ),
}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m demo", description=__doc__)
    parser.add_argument("--hosts", type=int, choices=LAYOUTS, default=1)
    parser.add_argument("--release", choices=images.RELEASES, default="debian12")
    parser.add_argument("--clean", action="store_true", help="remove every trace of it instead")
    options = parser.parse_args(arguments)
    stages = Stages()
    try:
        if options.clean:
            clean()
        else:
            address = show(stages, options.hosts, options.release)
            print(
                f"\n{stages.table()}\n\nOpen {address} (the certificate is from a test authority,"
            )
            print("so the browser warns). Again: make demo. Away with it: make demo-clean.")
    except shell.LabError as error:
        if stages.seconds:
            print(f"\n{stages.table()}")
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "\ndemo: interrupted; make demo goes on, make demo-clean removes it.", file=sys.stderr
        )
        return 130
    return 0


SEED = {"app": "auction", "command": "python manage.py seed_auctions"}


def show(stages: Stages, hosts: int, release: str) -> str:
    """Bring the demo up, or back; return the address to open."""
    inventory, layout, web = LAYOUTS[hosts]
    wanted = [machines.Machine.parse(text.format(release=release)) for text in layout]
    with stages.stage("Docker engine"):
        engine.ensure()
    with stages.stage("images"):
        images.ensure([release, "services"])
    with stages.stage("machines"):
        machines.up(LAB, wanted, services=True, subnet=SUBNET)
    with stages.stage("repository"):
        said = repository.publish(LAB, ROOT / "tests" / "apps" / "auction", "auction", "")
        shell.say(f"{said['repository']} has {said['version']}, {said['commit'][:12]}")
    for name, playbook in (
        ("site", "site.yml"),
        ("first auctions", "playbooks/manage.yml"),
        ("health", "playbooks/check_health.yml"),
        ("first backup", "playbooks/back_up.yml"),
    ):
        with stages.stage(name):
            play(playbook, inventory)
    with stages.stage("https"):
        port = machines.port(LAB, web)
        address = f"https://{DOMAIN}:{port}/"
        prove(address, port)
    return address


def play(playbook: str, inventory: str) -> None:
    """Run a playbook with the tools of .venv, as a person would do it from the checkout."""
    tools = Path(sys.executable).parent
    environment = {"PATH": f"{tools}:{os.environ['PATH']}", "ANSIBLE_CONFIG": "ansible.cfg"}
    if sys.stdout.isatty():
        environment["ANSIBLE_FORCE_COLOR"] = "true"
    arguments = ["-e", json.dumps(SEED)] if playbook.endswith("manage.yml") else []
    shell.stream("ansible-playbook", playbook, "-i", inventory, *arguments, environment=environment)


def prove(address: str, port: int, seconds: float = 30) -> None:
    """Fail unless the page that the person is going to open can be opened, and used."""
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    deadline = time.monotonic() + seconds
    while True:
        try:
            # By number: not every resolver knows what browsers know about names below localhost.
            with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
                page = http.client.HTTPSConnection(DOMAIN, port)
                page.sock = trusting.wrap_socket(plain, server_hostname=DOMAIN)
                problem = _problem(page, address.rstrip("/"))
        except OSError as error:
            problem = f"does not answer: {error}"
        if not problem:
            shell.say(f"{address} shows its page and takes bids")
            return
        if time.monotonic() > deadline:
            raise shell.LabError(f"{address} {problem}; see journalctl in the machines.")
        time.sleep(1)


def _problem(page: http.client.HTTPSConnection, origin: str) -> str:
    """What is wrong with the page and its form, for which a browser says where it comes from."""
    page.request("GET", "/")
    answer = page.getresponse()
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', answer.read().decode())
    if answer.status != http.HTTPStatus.OK or not token:
        return f"answers {answer.status}{'' if token else ' without a form to bid'}"
    headers = {
        "Origin": origin,
        "Cookie": answer.headers["Set-Cookie"].partition(";")[0],
        "Content-Type": "application/x-www-form-urlencoded",
    }
    # Too low on purpose: refused by the auction, not by the protection of the form.
    bid = {"bidder": "demo", "amount": "0", "csrfmiddlewaretoken": token[1]}
    page.request("POST", "/auctions/1/bid/", urllib.parse.urlencode(bid), headers)
    status = page.getresponse().status
    return "" if status == http.HTTPStatus.FOUND else f"answers a bid with {status}"


def clean() -> None:
    """Remove machines, network and images; the engine and .venv stay."""
    if shell.attempt("docker", "version", timeout=20).returncode == 0:
        machines.down(LAB)
        stays = ["the Docker engine", ".venv"]
        if not images.remove():
            stays.append("the images, of which other machines are made")
        shell.say(f"no trace of the demo is left (what stays: {', '.join(stays)})")
    else:
        shell.say("no Docker engine answers, so nothing of the demo is running")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    os.chdir(ROOT)
    sys.exit(main(sys.argv[1:]))
