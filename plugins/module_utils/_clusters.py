# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""PostgreSQL clusters as Debian lays them out: one that is ours, or a reason not to make one."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass
from pathlib import Path

from . import _errors

SWITCH = "etc/postgresql-common/createcluster.d/slipway.conf"
SWITCH_TEXT = """\
# Managed by Ansible (slipway.stack.postgres_cluster).
# The package would create a cluster without data checksums.
create_main_cluster = false
"""
_DATA_DIRECTORY = re.compile(r"^\s*data_directory\s*=?\s*'([^']+)'", re.MULTILINE)

Run = t.Callable[..., "tuple[int, str, str]"]


@dataclass(frozen=True)
class Cluster:
    major: int
    name: str
    root: Path = Path("/")

    @property
    def configuration(self) -> Path:
        return self.root / f"etc/postgresql/{self.major}/{self.name}/postgresql.conf"

    @property
    def programs(self) -> Path:
        return self.root / f"usr/lib/postgresql/{self.major}/bin"

    def exists(self) -> bool:
        return self.configuration.is_file()

    def data_directory(self) -> str:
        found = _DATA_DIRECTORY.search(self.configuration.read_text())
        return found.group(1) if found else f"/var/lib/postgresql/{self.major}/{self.name}"


def require_same_major(cluster: Cluster) -> None:
    """A second major beside the first would be an empty database server."""
    for major, name in _present(cluster.root):
        if major != cluster.major:
            raise _errors.StackError(
                f"this machine holds the PostgreSQL cluster {major}/{name}, and version "
                f"{cluster.major} would start beside it with no data: write "
                f"postgres_version: {major}, or upgrade that cluster and drop the old one first."
            )


def _present(root: Path) -> list[tuple[int, str]]:
    marks = [*root.glob("etc/postgresql/*/*/postgresql.conf")]
    marks += root.glob("var/lib/postgresql/*/*/PG_VERSION")
    places = {(mark.parent.parent.name, mark.parent.name) for mark in marks}
    return sorted((int(major), name) for major, name in places if major.isdigit())


def require_checksums(cluster: Cluster, run: Run) -> None:
    data = cluster.data_directory()
    program = str(cluster.programs / "pg_controldata")
    status, output, errors = run([program, data], environ_update={"LC_ALL": "C"})
    if status != 0:
        raise _errors.StackError(f"{program} cannot read {data}: {(errors or output).strip()}")
    if re.search(r"^Data page checksum version:\s+0$", output, re.MULTILINE):
        unit = f"postgresql@{cluster.major}-{cluster.name}"
        raise _errors.StackError(
            f"cluster {cluster.major}/{cluster.name} has no data checksums, so damaged pages would "
            f"be read as if they were true: run 'systemctl stop {unit} && runuser -u postgres -- "
            f"{cluster.programs}/pg_checksums --enable -D {data}', then try again."
        )


def is_held_back(root: Path) -> bool:
    switch = root / SWITCH
    return switch.is_file() and switch.read_text() == SWITCH_TEXT


def hold_package_back(root: Path) -> None:
    """To be called before the package arrives: it leaves creating a cluster to create()."""
    switch = root / SWITCH
    switch.parent.mkdir(parents=True, exist_ok=True)
    switch.write_text(SWITCH_TEXT)
    switch.chmod(0o644)


def create(cluster: Cluster, port: int, run: Run) -> None:
    """C.UTF-8 sorts the same in every release of the C library: no index breaks by an upgrade."""
    command = ["pg_createcluster", "--locale=C.UTF-8", "--encoding=UTF8", f"--port={port}"]
    command += ["--start-conf=auto", str(cluster.major), cluster.name]
    command += ["--", "--data-checksums"]
    status, output, errors = run(command)
    if status != 0:
        raise _errors.StackError(
            f"pg_createcluster could not create {cluster.major}/{cluster.name}: "
            f"{' '.join((errors or output).split())}"
        )
