# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What tests of several roles do to a machine. Importable because conftest.py lies beside it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

from testinfra.host import Host

Rows = dict[str, dict[str, str]]
LOAD = "/root/load.py"
STOP = "/root/stop"


class Load:
    """Requests at a constant rate on each machine, for as long as the block runs.

    Each of `asked` is one stream of requests in the words of tests/load.py. What came back is in
    `reports`: machine by machine, stream by stream. The block begins when every stream has begun,
    so that however short it is, nothing of it goes unasked.
    """

    def __init__(self, machines: list[Host], *asked: str) -> None:
        self.names = [machine.backend.get_hostname() for machine in machines]
        self.asked = asked
        self.processes: list[subprocess.Popen[str]] = []
        self.reports: list[dict[str, t.Any]] = []

    def __enter__(self) -> Load:
        program = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"]) / "tests/load.py"
        for name in self.names:
            subprocess.run(["docker", "cp", "-q", program, f"{name}:{LOAD}"], check=True)
            subprocess.run(["docker", "exec", name, "rm", "-f", STOP], check=True)
            for words in self.asked:
                ask = f"python3 {LOAD} --seconds 600 --stop {STOP} {words}".split()
                command = ["docker", "exec", name, *ask]
                self.processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        for process in self.processes:
            assert process.stdout and process.stdout.readline().startswith("asking")
        return self

    def __exit__(self, *_: object) -> None:
        for name in self.names:
            subprocess.run(["docker", "exec", name, "touch", STOP], check=True)
        self.reports = [json.loads(process.communicate()[0]) for process in self.processes]

    def lost(self) -> list[dict[str, int]]:
        """Return why requests failed, for each stream in which some did."""
        assert all(report["requests"] for report in self.reports)
        return [report["failed"] for report in self.reports if report["failed"]]


def apply(host: Host, **variables: t.Any) -> subprocess.CompletedProcess[str]:
    """Run the role again on one machine, as an operator who changed a variable."""
    shared = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"]) / "molecule/shared"
    command = ["ansible-playbook", f"--inventory={shared}/inventory.yml", f"{shared}/converge.yml"]
    command += [f"--limit={host.backend.get_hostname()}", f"--extra-vars={json.dumps(variables)}"]
    quiet = {**os.environ, "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1"}
    return subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env=quiet,
    )


def reboot(host: Host) -> None:
    """Shut the machine down and start it again; it is up when this ends."""
    lab, _dash, machine = host.backend.get_hostname().rpartition("-")
    command = [sys.executable, "-m", "tests.lab", "reboot", "--name", lab, machine]
    subprocess.run(command, cwd=os.environ["MOLECULE_PROJECT_DIRECTORY"], check=True)


@contextlib.contextmanager
def broken(host: Host, begin: str, end: str) -> t.Iterator[None]:
    """Something is wrong with the machine for as long as the block runs."""
    host.check_output(begin)
    try:
        yield
    finally:
        host.check_output(end)


@contextlib.contextmanager
def unscheduled(host: Host) -> t.Iterator[None]:
    """No backup and no rehearsal but those that are asked for here, also after a reboot.

    One that a timer has begun before goes on: whoever starts its unit next waits for it.
    """
    timers = "$(cd /etc/systemd/system && ls slipway-backup*.timer slipway-rehearsal.timer)"
    begin, end = (f"systemctl {each} --quiet --now {timers}" for each in ("disable", "enable"))
    with broken(host, begin, end):
        yield


def unwell(rows: Rows) -> dict[str, str]:
    """The findings of a health module that are not ok, with their states."""
    return {name: row["state"] for name, row in rows.items() if row["state"] != "ok"}
