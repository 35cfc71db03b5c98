# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Those who do the same work: each is given machines and brings them to the same state."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

from benchmarks import script
from benchmarks.bed import CACHE, KEY, ROOT, SSH_OPTIONS, Host, control_paths
from benchmarks.reference import APPLICATION, HOME, Reference
from tests.lab import shell

GROUPS = ("database", "cache", "application", "worker", "web")
REQUIREMENTS = Path(__file__).parent / "requirements-pyinfra.txt"
CHANGED = re.compile(r"\bchanged=[1-9]")


@dataclasses.dataclass(frozen=True)
class Run:
    """What one run cost."""

    seconds: float
    controller_seconds: float
    executions: float  # per machine


class Contender(Protocol):
    """Somebody who can set machines up, and keep them as they are."""

    name: str

    def run(self, hosts: Sequence[Host], *, cold: bool) -> list[tuple[str, str]]:
        """Do the work; return what was said by each process that failed to do it."""


def measure(contender: Contender, hosts: Sequence[Host], *, cold: bool) -> Run:
    before = [host.executions() for host in hosts]
    spent, started = _controller_seconds(), time.monotonic()
    failed = contender.run(hosts, cold=cold)
    seconds, used = time.monotonic() - started, _controller_seconds() - spent
    if failed:
        log = CACHE / "failed.log"
        log.write_text("\n".join(said for _unused, said in failed))
        raise shell.LabError(f"{contender.name} failed: {failed[0][0]}; what it said is in {log}")
    counts = [host.executions() - count for host, count in zip(hosts, before, strict=True)]
    return Run(seconds, used, sum(counts) / len(counts))


def _controller_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Playbook:
    """A playbook run by ansible-playbook over pipelined ssh, on one connection per run."""

    def __init__(self, name: str, playbook: Path, variables: Mapping[str, Any]) -> None:
        self.name, self.playbook, self.variables = name, playbook, variables

    def run(self, hosts: Sequence[Host], *, cold: bool) -> list[tuple[str, str]]:
        room = CACHE / "playbook"
        room.mkdir(exist_ok=True)
        (room / "hosts.json").write_text(json.dumps(_inventory(hosts)))
        (room / "variables.json").write_text(json.dumps(self.variables))
        with control_paths() as paths:
            environment = {
                **os.environ,
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "ANSIBLE_SSH_CONTROL_PATH_DIR": str(paths),
                "ANSIBLE_PIPELINING": "true",
                "ANSIBLE_FORKS": "10",
                "ANSIBLE_NOCOLOR": "true",
            }
            done = _process(
                *("ansible-playbook", str(self.playbook), "-i", str(room / "hosts.json")),
                *("-e", f"@{room / 'variables.json'}"),
                environment=environment,
                # Where ansible.cfg says where the collection is.
                folder=ROOT,
            )
        recap = done.stdout.rpartition("PLAY RECAP")[2]
        good = done.returncode == 0 and (cold or not CHANGED.search(recap))
        (CACHE / f"{room.name}.log").write_text(done.stdout)
        return [] if good else [(_last(recap), done.stdout)]


class Slipway(Playbook):
    """The collection's own site.yml; each machine is a whole site by itself."""

    def __init__(self, source: Mapping[str, str]) -> None:
        super().__init__("slipway", ROOT / "site.yml", _site(source))


class Script:
    """One shell script over one ssh; on a machine that is set up it only compares."""

    name = "shell script"

    def __init__(self, reference: Reference, host: Host) -> None:
        archives = [reference.archive(host, early=early) for early in (True, False)]
        self.install = script.install(reference, *archives)
        self.check = script.check(reference)

    def run(self, hosts: Sequence[Host], *, cold: bool) -> list[tuple[str, str]]:
        return self._everywhere(hosts, self.install if cold else self.check)

    def verify(self, hosts: Sequence[Host]) -> list[tuple[str, str]]:
        """Return where the result is not the reference."""
        return self._everywhere(hosts, self.check)

    def _everywhere(self, hosts: Sequence[Host], text: str) -> list[tuple[str, str]]:
        path = CACHE / "script.sh"
        path.write_text(text)
        running = []
        for host in hosts:
            command = ["ssh", *SSH_OPTIONS, "-i", str(KEY), f"root@{host.address}", "bash -s"]
            with path.open("rb") as program:
                process = subprocess.Popen(
                    command, stdin=program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
                )
                running.append((host, process))
        said = [(host, process, process.communicate()[0].decode()) for host, process in running]
        return [(f"on {h.name}: {_last(text)}", text) for h, p, text in said if p.returncode]


class Pyinfra:
    """The same files, units and commands as operations of pyinfra, from its own environment."""

    name = "pyinfra"

    def __init__(self, reference: Reference, host: Host) -> None:
        self.room = CACHE / "pyinfra"
        shutil.rmtree(self.room, ignore_errors=True)
        for early in (True, False):
            archive = BytesIO(reference.archive(host, early=early))
            with tarfile.open(fileobj=archive, mode="r:gz") as members:
                members.extractall(self.room / "tree", filter=_plain)
        (self.room / "reference.json").write_text(json.dumps(_operations(reference)))
        self.program = _environment_of_pyinfra() / "bin" / "pyinfra"

    def run(self, hosts: Sequence[Host], *, cold: bool) -> list[tuple[str, str]]:
        data = {
            "ssh_user": "root",
            "ssh_key": str(KEY),
            "ssh_strict_host_key_checking": "off",
            "ssh_known_hosts_file": str(self.room / "known_hosts"),
        }
        inventory = self.room / "inventory.py"
        inventory.write_text(f"hosts = {[(host.address, data) for host in hosts]!r}\n")
        (self.room / "known_hosts").write_text("")
        done = _process(
            *(str(self.program), "-y", str(inventory)),
            str(Path(__file__).parent / "pyinfra_deploy.py"),
            environment={**os.environ, "BENCHMARK_ROOM": str(self.room)},
            folder=self.room,
        )
        (CACHE / "pyinfra.log").write_text(done.stdout)
        return [] if done.returncode == 0 else [(_last(done.stdout), done.stdout)]


def _plain(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo | None:
    """Only files, which this user may then read."""
    return member.replace(mode=0o600, deep=False) if member.isfile() else None


def _operations(reference: Reference) -> dict[str, Any]:
    version = reference.postgres_version
    first = [u for start in script.ORDER for u in reference.active if u.startswith(start)]
    sql = f"{reference.roles}\n{reference.database}"
    looked_up = f"git ls-remote {reference.repository} refs/heads/{reference.version}"
    return {
        **dataclasses.asdict(reference),
        "application": APPLICATION,
        "early": reference.early,
        "cluster": "pg_createcluster --locale=C.UTF-8 --encoding=UTF8 --start-conf=auto"
        f" {version} main -- --data-checksums",
        "cluster_file": f"/etc/postgresql/{version}/main/postgresql.conf",
        "first": first,
        "last": [unit for unit in reference.active if unit not in first],
        "sql": "cd / && runuser -u postgres -- psql -qX -v ON_ERROR_STOP=1 >/dev/null <<'END'\n"
        f"{sql}\nEND\n",
        "release": f"bash -euc {shlex.quote(script.release(reference))}",
        "healthy": script.healthy(),
        "served": f"cat {HOME}/current/REVISION 2>/dev/null || echo none",
        "wanted": f"{looked_up} 2>/dev/null || echo unknown",
    }


def _environment_of_pyinfra() -> Path:
    environment = CACHE / "pyinfra-venv"
    stamp = environment / "made-from"
    if not stamp.exists() or stamp.read_text() != REQUIREMENTS.read_text():
        shell.say("installing pyinfra")
        shell.output(sys.executable, "-m", "venv", "--clear", str(environment))
        pip = (str(environment / "bin" / "pip"), "install", "--quiet")
        shell.output(*pip, "--requirement", str(REQUIREMENTS))
        stamp.write_text(REQUIREMENTS.read_text())
    return environment


def _inventory(hosts: Sequence[Host]) -> dict[str, Any]:
    named: dict[str, Any] = {host.name: {} for host in hosts}
    everywhere = {
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(KEY),
        "ansible_ssh_common_args": shlex.join(SSH_OPTIONS),
    }
    addresses = {host.name: {"ansible_host": host.address} for host in hosts}
    return {
        "all": {"hosts": addresses, "vars": everywhere},
        **{group: {"hosts": named} for group in GROUPS},
    }


def _site(source: Mapping[str, str]) -> dict[str, Any]:
    return {
        "stack_environment": "benchmark",
        # The wire that says who is in which group: only this machine, in all of them.
        "stack_topology": (
            "{{ dict(" + repr(list(GROUPS)) + " | product([[inventory_hostname]]))"
            " | slipway.stack.topology(hostvars, inventory_hostname,"
            " {'postgres': {}, 'redis': {}}) }}"
        ),
        "stack_applications": [
            {
                "name": APPLICATION,
                "domain": f"{APPLICATION}.test",
                "redirects": [f"www.{APPLICATION}.test"],
                "certificate_source": "self_signed",
                "source": {"repository": source["repository"], "version": "main"},
                "web": {
                    "wsgi": "auction.wsgi:application",
                    "asgi": "auction.asgi:application",
                    "workers": 2,
                },
                "celery": {
                    "application": "auction",
                    "workers": [{"name": "default", "concurrency": 2}],
                    "beat_enabled": True,
                },
            }
        ],
        "stack_acme": {"directory": "https://services.test:14000/dir"},
        "stack_backup_s3": {
            "endpoint_url": "https://s3.services.test:9443",
            "bucket": "backups",
            "addressing_style": "path",
        },
        # Public on purpose: they guard containers that live as long as the measurement.
        "vault_stack_backup_s3": {"access_key": "lab", "secret_key": "lab-secret-key"},
        "vault_stack_backup_cipher_pass": "bench-passphrase-of-the-backups",
        "vault_stack_applications": {
            APPLICATION: {
                "database_password": "bench-database-password",
                "redis_password": "bench-redis-password",
                "secret_key": "bench-only-django-key-which-is-long-enough-for-its-checks-0123",
            }
        },
        "vault_stack_pgbouncer_password": "bench-pooler-password",
        "vault_stack_redis_admin_password": "bench-redis-admin-password",
    }


def _process(
    *command: str, environment: Mapping[str, str], folder: Path
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "nothing was said"
