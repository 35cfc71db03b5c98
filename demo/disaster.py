# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""python3 -m demo.disaster: somebody drops the table of the bids on the demo's live auction.

Bids go on all the time. One command of docs/restore.md brings back the second before; the bids of
that second are looked for where its report says, the next backup is read back, and a rehearsal
tells of it. Needs a demo that runs, as make demo leaves it; may be repeated.
"""

from __future__ import annotations

import http
import http.client
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from demo.__main__ import DOMAIN, LAB, LAYOUTS, ROOT
from tests.lab import machines, shell

INVENTORY, _LAYOUT, MACHINE = LAYOUTS[1]
REPORTS = "/var/lib/slipway/backup/reports"
COPY = ("-h", "/var/lib/slipway/scratch/socket", "-p", "5499")
BIDS = "SELECT amount FROM auctions_bid WHERE bidder = 'disaster' ORDER BY amount"


def main() -> int:
    try:
        tell()
    except shell.LabError as error:
        print(f"\ndemo.disaster: {error}", file=sys.stderr)
        return 1
    return 0


def tell() -> None:
    if MACHINE not in machines.containers(LAB):
        raise shell.LabError("the demo does not run: make demo brings it up.")
    port = machines.port(LAB, MACHINE)
    with Bidder(port, begin=highest() + 1) as bidder:
        wait_for(lambda: len(bidder.accepted) > 9, 180, "bids are taken")
        moment = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1)
        time.sleep((moment - datetime.now(UTC)).total_seconds() + 1)
        sql("DROP TABLE auctions_bid CASCADE")
        dropped = time.time()
        shell.say(f"the table of the bids is gone; {bidder.lost} bids were lost so far")
        said = play(
            *("restore", "-e", f"restore_to={moment.isoformat().replace('+00:00', 'Z')}"),
            *("-e", "restore_database=auction", "-e", "restore_confirmed_database=auction"),
        )
        seconds = time.time() - dropped
        count = len(bidder.accepted)
        wait_for(lambda: len(bidder.accepted) > count + 5, 60, "bids are taken again")
    before = {amount for amount, when in bidder.accepted.items() if when <= moment.timestamp()}
    between = {
        amount for amount, when in bidder.accepted.items() if moment.timestamp() < when < dropped
    }
    after = {amount for amount, when in bidder.accepted.items() if when >= dropped}
    require(before | after, bids(), f"in the restored auction, as of {moment:%H:%M:%S}")
    shell.say(f"{len(before)} bids are back and {len(after)} have come since; {seconds:.0f} s")
    found = re.search(r"restore_to=(xid:\d+)", said)
    if not found:
        raise shell.LabError(f"the report names no transaction: see {REPORTS} on {MACHINE}.")
    play("restore", "-e", f"restore_to={found[1]}")
    require(before | between, bids(*COPY), f"in the copy of {found[1]}, as the report says")
    shell.say(f"the {len(between)} bids between are in the copy of {found[1]}, as the report says")
    play("restore", "-e", "restore_remove=true")
    play("back_up")
    play("verify_backups")
    play("rehearse_restore")
    report = inside("sh", "-c", f"cat $(ls -t {REPORTS}/rehearsal-*.md | head -1)")
    if "auction was put back" not in report:
        raise shell.LabError(f"the newest rehearsal's report in {REPORTS} tells of no restore.")
    shell.say(report)


@dataclass
class Bidder:
    """A visitor who bids more and more; which bids were taken, and when that was known."""

    port: int
    begin: int
    accepted: dict[int, float] = field(default_factory=dict)
    lost: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Bidder:
        self.thread = threading.Thread(target=self._bid, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.thread.join()

    def _bid(self) -> None:
        amount = self.begin
        while not self.ended.is_set():
            try:
                taken = self._place(amount)
            except (OSError, http.client.HTTPException):
                taken = False
            if taken:
                self.accepted[amount] = time.time()
            else:
                self.lost += 1
            amount += 1
            time.sleep(0.05)

    def _place(self, amount: int) -> bool:
        """Whether the bid was taken; a refusal would lead to the same page, but there is none."""
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as plain:
            page = http.client.HTTPSConnection(DOMAIN, self.port)
            page.sock = trusting.wrap_socket(plain, server_hostname=DOMAIN)
            page.request("GET", "/")
            answer = page.getresponse()
            token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', answer.read().decode())
            if not token:
                return False
            form = {"bidder": "disaster", "amount": amount, "csrfmiddlewaretoken": token[1]}
            headers = {
                "Origin": f"https://{DOMAIN}:{self.port}",
                "Cookie": answer.headers["Set-Cookie"].partition(";")[0],
                "Content-Type": "application/x-www-form-urlencoded",
            }
            page.request("POST", "/auctions/1/bid/", urllib.parse.urlencode(form), headers)
            return page.getresponse().status == http.HTTPStatus.FOUND


def highest() -> int:
    """The auction refuses less, with the same page."""
    bid = sql("SELECT coalesce(max(amount), 0) FROM auctions_bid")
    price = sql("SELECT max(starting_price) FROM auctions_auction")
    return max(int(bid), int(price))


def bids(*where: str) -> set[int]:
    return {int(line) for line in sql(BIDS, *where).split()}


def require(expected: set[int], found: set[int], where: str) -> None:
    """What was acknowledged is there; what was not known yet when a connection broke may be."""
    missing = expected - found
    if missing:
        raise shell.LabError(f"{len(missing)} bids are not {where}: {sorted(missing)[:5]}.")


def wait_for(holds: object, seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not (callable(holds) and holds()):
        if time.monotonic() > deadline:
            raise shell.LabError(f"not within {seconds:.0f} s: {what}.")
        time.sleep(0.2)


def sql(statement: str, *where: str) -> str:
    psql = ("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", *where, "-d", "auction", "-c", statement)
    return inside("runuser", "-u", "postgres", "--", *psql).strip()


def inside(*command: str) -> str:
    return shell.output("docker", "exec", MACHINE, *command)


def play(name: str, *arguments: str) -> str:
    """Run a playbook as a person would; what it said."""
    tools = Path(sys.executable).parent
    command = ["ansible-playbook", f"playbooks/{name}.yml", "-i", INVENTORY, *arguments]
    shell.say(" ".join(command))
    environment = {
        **os.environ,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "ANSIBLE_CONFIG": "ansible.cfg",
    }
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != 0:
        raise shell.LabError(f"{name} failed:\n{done.stdout}")
    return done.stdout


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    os.chdir(ROOT)
    sys.exit(main())
