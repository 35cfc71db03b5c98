# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Equal machines to measure on, reached by ssh, each counting how often it is."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab import images, machines, shell

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache" / "benchmarks"
KEY = CACHE / "key"
COPY = "slipway-bench-copy:latest"
# One connection is one line of "Starting session", however many commands share the connection.
SESSION = re.compile(r"^Starting session: ", re.MULTILINE)
SSH_OPTIONS = (
    *("-o", "StrictHostKeyChecking=no"),
    *("-o", "UserKnownHostsFile=/dev/null"),
    *("-o", "LogLevel=ERROR"),
)
ENTRANCE = """
mkdir -p -m 700 /root/.ssh && cat >/root/.ssh/authorized_keys
echo LogLevel VERBOSE >/etc/ssh/sshd_config.d/benchmarks.conf
systemctl enable --now --quiet ssh && systemctl reload ssh
"""


@dataclass
class Bed:
    """A lab whose machines come and go one by one; the first stays."""

    lab: str
    release: str
    layout: list[machines.Machine] = field(default_factory=list)

    def prepare(self) -> None:
        CACHE.mkdir(parents=True, exist_ok=True)
        if not KEY.exists():
            shell.require({"ssh-keygen": "openssh-client"}, purpose="machines are reached by ssh")
            shell.output("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(KEY))
        machines.up(self.lab, [], services=True, subnet="")

    def add(self, *names: str, image: str = "") -> list[Host]:
        """Start machines beside those that are there."""
        image = image or images.machine(self.release)
        self.layout += [machines.Machine(name, image) for name in names]
        machines.up(self.lab, self.layout, services=True, subnet="")
        described = machines.describe(self.lab)
        hosts = []
        for name in names:
            container = machines.container(self.lab, name)
            key = KEY.with_suffix(".pub").read_bytes()
            enter = ("docker", "exec", "--interactive", container, "sh", "-ec", ENTRANCE)
            shell.output(*enter, stdin=key)
            hosts.append(Host(container, described[container].address))
        return hosts

    def remove(self, *hosts: Host) -> None:
        gone = {host.name for host in hosts}
        shell.output("docker", "rm", "--force", "--volumes", *sorted(gone))
        self.layout = [
            one for one in self.layout if machines.container(self.lab, one.name) not in gone
        ]

    @contextlib.contextmanager
    def bare(self, *names: str) -> Iterator[list[Host]]:
        """Bare machines, for as long as they are needed."""
        hosts = self.add(*names)
        try:
            yield hosts
        finally:
            self.remove(*hosts)

    def copy(self, host: Host, count: int) -> list[Host]:
        """Start copies of a machine: the same files, another name and address."""
        shell.output("docker", "commit", host.name, COPY)
        return self.add(*(f"copy-{number}" for number in range(1, count + 1)), image=COPY)

    def clean(self) -> None:
        machines.down(self.lab)
        shell.attempt("docker", "rmi", COPY)


@dataclass(frozen=True)
class Host:
    """One machine."""

    name: str
    address: str

    def inside(self, *command: str, stdin: bytes | None = None) -> str:
        """Run a command on it, not by ssh: neither measured nor counted."""
        return shell.output("docker", "exec", "--interactive", self.name, *command, stdin=stdin)

    def raw(self, *command: str, stdin: bytes) -> bytes:
        """Run a command whose output is no text."""
        inside = ("docker", "exec", "--interactive", self.name, *command)
        return subprocess.run(inside, input=stdin, stdout=subprocess.PIPE, check=True).stdout

    def executions(self) -> int:
        """Return how many commands and transfers were started on it by ssh so far."""
        names = ("--identifier=sshd", "--identifier=sshd-session")
        journal = ("journalctl", *names, "--output=cat", "--no-pager", "--quiet")
        return len(SESSION.findall(self.inside(*journal)))


@contextlib.contextmanager
def control_paths() -> Iterator[Path]:
    """A folder for shared connections, which begin and end with the run that uses it."""
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        yield folder
    finally:
        for socket in folder.iterdir():
            shell.attempt("ssh", "-O", "exit", "-o", f"ControlPath={socket}", "any", timeout=10)
        shutil.rmtree(folder, ignore_errors=True)
