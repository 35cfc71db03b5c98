# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""python3 -m benchmarks.code_deploy: a release that changes code only, beside one tar over ssh.

A project of 2,000 files, of which one changes. Measured is the time from the start to the first
visitor who gets an answer from the new code. The limit unpacks the same files over the live release
and restarts the same units; it tries nothing, keeps nothing, and visitors wait. Interleaved. Then a
release is built once and brought to eight machines, beside the same for one.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import functools
import http.client
import io
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks.bed import KEY, ROOT, SSH_OPTIONS, Bed, Host
from benchmarks.contenders import Playbook, Slipway, measure
from benchmarks.table import spread
from tests.lab import engine, images, repository, shell
from tests.lab.stages import Stages

AIM = 2.5
AIM_OF_MANY = 2.0
DOMAIN = "auction.test"
HEALTH = "def health(request: HttpRequest) -> JsonResponse:\n"
MARK = '    if "mark" in request.GET:\n        return JsonResponse({{"mark": "{mark}"}})\n'
UNITS = ("auction-web.service", "auction-asgi.service", "auction-worker-default.service")
# Unpacked as root over what serves: the least that brings new code to visitors.
UNPACK = "tar -xz --no-same-owner -C /srv/auction/current/source && systemctl restart " + " ".join(
    UNITS
)


class Project:
    """The auction with 2,000 modules beside it, and one line that tells which version answers."""

    def __init__(self, room: Path, files: int) -> None:
        self.folder = room / "auction"
        shutil.copytree(
            ROOT / "tests/apps/auction", self.folder, ignore=shutil.ignore_patterns("__pycache__")
        )
        self.plain = (self.folder / "auction/health.py").read_text()
        ballast = self.folder / "ballast"
        ballast.mkdir()
        for number in range(files):
            lines = (f"NAME_{number}_{line} = {number * line!r}\n" for line in range(30))
            (ballast / f"module_{number}.py").write_text("".join(lines))

    def mark(self, mark: str) -> None:
        marked = self.plain.replace(HEALTH, HEALTH + MARK.format(mark=mark))
        (self.folder / "auction/health.py").write_text(marked)

    def archive(self) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
            archive.add(self.folder, arcname=".")
        return buffer.getvalue()


def until_served(host: Host, mark: str, act: Callable[[], object], limit: float = 600) -> float:
    """Seconds from the start of act to the first answer of the code that it brings."""
    found = threading.Event()
    began = time.monotonic()
    seen: list[float] = []

    def look() -> None:
        while not found.is_set() and time.monotonic() - began < limit:
            if mark in _answer(host):
                seen.append(time.monotonic() - began)
                return
            time.sleep(0.05)

    visitor = threading.Thread(target=look)
    visitor.start()
    try:
        act()
        visitor.join(limit)
    finally:
        found.set()
        visitor.join()
    if not seen:
        raise shell.LabError(f"{mark} never answered on {host.name}.")
    return seen[0]


def _answer(host: Host) -> str:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    page = http.client.HTTPSConnection(DOMAIN, timeout=10)
    try:
        # nginx refuses who names no site of its own in the handshake, as an address cannot.
        plain = socket.create_connection((host.address, 443), timeout=10)
        page.sock = context.wrap_socket(plain, server_hostname=DOMAIN)
        page.request("GET", "/health/?mark=1")
        return page.getresponse().read().decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        page.close()


def warm(host: Host) -> None:
    """Let every process import what it answers with: one that has not would import the new code."""
    with concurrent.futures.ThreadPoolExecutor(8) as visitors:
        list(visitors.map(lambda _number: _answer(host), range(80)))


def unpack(host: Host, archive: bytes) -> None:
    command = ["ssh", *SSH_OPTIONS, "-i", str(KEY), f"root@{host.address}", UNPACK]
    subprocess.run(command, input=archive, check=True)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m benchmarks.code_deploy", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--machines", type=int, default=8, help="to build once for; 1: leave out")
    parser.add_argument("--release", choices=images.RELEASES, default="debian13")
    parser.add_argument("--name", default="slipway-bench-code", help="name of the lab")
    options = parser.parse_args(arguments)
    bed, stages = Bed(options.name, options.release), Stages()
    try:
        engine.ensure()
        images.ensure([options.release, "services"])
        bed.clean()
        bed.prepare()
        with tempfile.TemporaryDirectory() as room:
            project = Project(Path(room), options.files)
            with stages.stage("machine and rounds"):
                host, rows = _rounds(bed, project, options.rounds)
            with stages.stage("built once"):
                once = _once(bed, project, host, options)
    except shell.LabError as error:
        print(f"\nbenchmarks: {error}", file=sys.stderr)
        return 1
    finally:
        bed.clean()
    print(f"\n{report(rows)}\n{report_once(once, options.machines)}\n\n{stages.table()}")
    return 0


Row = tuple[float, float, float]


def _rounds(bed: Bed, project: Project, rounds: int) -> tuple[Host, list[Row]]:
    """Seconds of a deploy, of the limit, and the deploy's remote executions, in each round."""
    project.mark("first")
    source = repository.publish(bed.lab, project.folder, "auction", "")
    (host,) = bed.add("code")
    site = Slipway(source)
    measure(site, [host], cold=True)
    rows = []
    for number in range(rounds):
        mark = f"deploy-{number}"
        project.mark(mark)
        version = repository.publish(bed.lab, project.folder, "auction", mark)["version"]
        asked = {"app": "auction", "version": version, "app_watch_seconds": 0}
        deploy = Playbook("deploy", ROOT / "playbooks/deploy.yml", {**site.variables, **asked})
        before = host.executions()
        seconds = until_served(host, mark, functools.partial(measure, deploy, [host], cold=True))
        executions = float(host.executions() - before)
        project.mark(f"tar-{number}")
        warm(host)
        limit = until_served(host, f"tar-{number}", lambda: unpack(host, project.archive()))
        rows.append((seconds, limit, executions))
    return host, rows


def _once(
    bed: Bed, project: Project, host: Host, options: argparse.Namespace
) -> list[tuple[float, float]]:
    """Seconds of a build for one machine, and for several of one kind, in each round."""
    if options.machines < 2:
        return []
    every = bed.copy(host, options.machines)
    rounds = []
    for number in range(options.rounds):
        seconds = []
        for hosts in (every[:1], every):
            mark = f"once-{number}-{len(hosts)}"
            project.mark(mark)
            source = repository.publish(bed.lab, project.folder, "auction", mark)
            wanted = {"built_application": "auction", "built_source": source}
            build = Playbook("build", ROOT / "benchmarks/build_once.yml", wanted)
            seconds.append(measure(build, hosts, cold=True).seconds)
        rounds.append((seconds[0], seconds[1]))
    return rounds


def report_once(rounds: list[tuple[float, float]], machines: int) -> str:
    if not rounds:
        return ""
    ratios = [many / one for one, many in rounds]
    verdict = "reached" if median(ratios) <= AIM_OF_MANY else "missed"
    return "\n".join(
        [
            "\n| built once for | seconds | x one machine |",
            "|---|---|---|",
            f"| 1 machine | {spread([one for one, _many in rounds], '.1f')} | 1 |",
            f"| {machines} machines | {spread([many for _one, many in rounds], '.1f')}"
            f" | {spread(ratios, '.2f')} |",
            f"\nAim {AIM_OF_MANY:g} x: {verdict}.",
        ]
    )


def report(rows: list[Row]) -> str:
    ratios = [seconds / limit for seconds, limit, _executions in rows]
    verdict = "reached" if median(ratios) <= AIM else "missed"
    return "\n".join(
        [
            "| | seconds to the first answer | x one tar over ssh | remote executions |",
            "|---|---|---|---|",
            f"| deploy.yml | {spread([row[0] for row in rows], '.1f')} | {spread(ratios, '.2f')}"
            f" | {median(row[2] for row in rows):.0f} |",
            f"| one tar over ssh | {spread([row[1] for row in rows], '.1f')} | 1 | 1 |",
            f"\nAim {AIM:g} x: {verdict}.",
        ]
    )


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    os.chdir(ROOT)
    sys.exit(main(sys.argv[1:]))
