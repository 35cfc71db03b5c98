# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""python3 -m demo.unnoticed: what a visitor of `make demo HOSTS=4` sees of releases and restarts.

Somebody bids on the page over https with its WebSocket open, and others ask for it five times a
second, while the application is deployed, deployed broken (one version that never becomes healthy
and one that falls ill when it serves), rolled back and restarted, and each service of the stack is
restarted. Fails when one request failed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import typing as t
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from demo.__main__ import DOMAIN, LAB, LAYOUTS, ROOT
from tests.lab import machines, repository, shell

INDEX = "def index(request: HttpRequest) -> HttpResponse:\n"
HEALTH = "def health(request: HttpRequest) -> JsonResponse:\n"
ILL = '    return JsonResponse({"status": "unhealthy"}, status=503)\n'
# Seconds after its start: the trial is over by then, and the watch (600 s) is not.
ILL_AFTER = 60
INVENTORY, _LAYOUT, WEB = LAYOUTS[4]


Report = dict[str, t.Any]


@dataclass(frozen=True)
class Step:
    """A playbook, what it is asked for, and whether it is to succeed."""

    name: str
    playbook: str
    options: tuple[str, ...]
    succeeds: bool = True


STEPS = (
    Step("deploy", "deploy", ("app=auction", "version=v-fine", "app_watch_seconds=20")),
    Step("broken deploy", "deploy", ("app=auction", "version=v-broken"), succeeds=False),
    Step("deploy that falls ill", "deploy", ("app=auction", "version=v-falls-ill"), succeeds=False),
    Step("rollback", "rollback", ("app=auction",)),
    Step("restart of the application", "restart", ("app=auction",)),
    *(
        Step(f"restart of {service}", "restart_service", (f"service={service}",))
        for service in ("postgres", "pgbouncer", "redis", "nginx")
    ),
)


def publish(tag: str, *changes: tuple[str, str, str]) -> None:
    """The auction with changes (file, old, new), as a version in the demo's repository."""
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room) / "auction"
        left_out = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "tests/apps/auction", folder, ignore=left_out)
        for name, old, new in changes:
            text = (folder / name).read_text()
            if old not in text:
                raise shell.LabError(f"{name} of the auction does not hold {old!r} any more")
            (folder / name).write_text(text.replace(old, new, 1))
        repository.publish(LAB, folder, "auction", tag)


@contextlib.contextmanager
def watched(room: Path, number: int, seen: Report) -> Iterator[None]:
    """Visitors come while the block runs; what they got is in seen."""
    stop = room / "stop"
    stop.unlink(missing_ok=True)
    where = ["--address", f"127.0.0.1:{number}", "--host", DOMAIN, "--stop", str(stop)]
    where += ["--authority", str(room / "authority.pem")]
    load = [str(ROOT / "tests/load.py"), *where, "--rate", "5", "--seconds", "3600"]
    programs = {"visitors": load, "bidder": ["-m", "tests.bidder", *where]}
    processes = {
        name: subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True)
        for name, words in programs.items()
    }
    try:
        for process in processes.values():
            if not (process.stdout and process.stdout.readline()):
                raise shell.LabError("the demo is not there: make demo HOSTS=4")
        yield
    finally:
        stop.touch()
        for name, process in processes.items():
            said = process.communicate()[0]
            seen[name] = json.loads(said) if said.startswith("{") else {"failed": {"all of it": 1}}


def play(step: Step) -> bool:
    """Whether the playbook ended as it should; all it says goes to the terminal."""
    tools = Path(sys.executable).parent
    options = [word for option in step.options for word in ("-e", option)]
    done = subprocess.run(
        # The controller would be another computer, and not take the machines' processor.
        [
            "nice",
            "-n",
            "19",
            "ansible-playbook",
            f"playbooks/{step.playbook}.yml",
            "-i",
            INVENTORY,
            *options,
        ],
        cwd=ROOT,
        env={
            **os.environ,
            "PATH": f"{tools}:{os.environ['PATH']}",
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        },
        check=False,
    )
    return (done.returncode == 0) is step.succeeds


def row(step: Step, ended: bool, seen: Report) -> tuple[bool, str]:
    visitors, bidder = seen["visitors"], seen["bidder"]
    failed = {**visitors["failed"], **bidder["failed"]}
    good = ended and not failed and bool(bidder["live"])
    said = f"{step.name:<28}{visitors['requests']:>9}{bidder['bids']:>6}"
    said += f"{visitors['p99']:>8}{max(visitors['longest'], bidder['longest']):>9}"
    return good, f"{said}  {'unnoticed' if good else failed or 'did not end as it should'}"


def port() -> int:
    """Where on this computer the demo's web machine answers."""
    return machines.port(LAB, WEB)


def authority(room: Path) -> None:
    """Have the certificate that the demo's is signed with, for a visitor trusts no other."""
    services = machines.container(LAB, machines.SERVICES)
    root = ("curl", "-fsSk", "https://localhost:15000/roots/0")
    (room / "authority.pem").write_text(shell.output("docker", "exec", services, *root))


def main() -> int:
    # The fine one comes last, so that the branch is left with it.
    publish("v-broken", ("auction/health.py", HEALTH, f"{HEALTH}{ILL}"))
    falls_ill = f"import time\n\nSTARTED = time.monotonic()\n\n\n@never_cache\n{HEALTH}"
    falls_ill += f"    if time.monotonic() > STARTED + {ILL_AFTER}:\n    {ILL}"
    publish("v-falls-ill", ("auction/health.py", f"@never_cache\n{HEALTH}", falls_ill))
    publish("v-fine", ("auctions/views.py", INDEX, f"{INDEX}    # as good as the one before\n"))
    results: list[tuple[bool, str]] = []
    with tempfile.TemporaryDirectory() as name:
        authority(Path(name))
        for step in STEPS:
            seen: Report = {}
            shell.say(step.name)
            with watched(Path(name), port(), seen):
                ended = play(step)
            results.append(row(step, ended, seen))
    print(f"\n{'':<28}{'requests':>9}{'bids':>6}{'p99 s':>8}{'longest':>9}")
    print("\n".join(said for _good, said in results))
    return 0 if all(good for good, _said in results) else 1


if __name__ == "__main__":
    os.chdir(ROOT)
    try:
        sys.exit(main())
    except shell.LabError as error:
        print(f"\ndemo.unnoticed: {error}", file=sys.stderr)
        sys.exit(1)
