# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a machine has that Slipway set up, so that others can be asked for exactly the same.

Taken from the machine, not written by hand: what is compared cannot drift from what is released.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.bed import Host

SURVEY = (Path(__file__).parent / "survey.py").read_bytes()
APPLICATION = "auction"
HOME = f"/srv/{APPLICATION}"
UV = "/opt/slipway/uv"
Survey = dict[str, Any]


@dataclass(frozen=True)
class Reference:
    """Everything that the others are asked for."""

    packages: list[str]
    users: dict[str, dict[str, Any]]
    directories: dict[str, dict[str, str]]
    files: dict[str, dict[str, str]]
    links: dict[str, str]
    enabled: list[str]
    disabled: list[str]
    active: list[str]
    postgres_version: str
    roles: str
    database: str
    repository: str
    version: str
    commit: str
    uv: str

    @property
    def early(self) -> list[str]:
        """Files that a package reads while it is installed."""
        return [path for path in self.files if path.startswith("/etc/postgresql-common/")]

    def archive(self, host: Host, *, early: bool) -> bytes:
        """Return files, directories and links as a compressed archive, with owners by name."""
        paths = self.early if early else [*self.directories, *self.files, *self.links]
        chosen = "\n".join(path.lstrip("/") for path in paths)
        return host.raw(
            *("tar", "-C", "/", "-cz", "--no-recursion", "--files-from=-"), stdin=chosen.encode()
        )


def survey(host: Host) -> Survey:
    found: Survey = json.loads(host.inside("python3", "-", stdin=SURVEY))
    return found


def describe(host: Host, bare: Survey, packaged: Survey, source: dict[str, str]) -> Reference:
    """Return what the host has beyond a bare machine; packaged is one with only its packages."""
    found = survey(host)
    tree = {
        path: entry
        for path, entry in found["tree"].items()
        if packaged["tree"].get(path) != entry and not path.endswith(".rdb")
    }
    changed = {
        unit: state
        for unit, state in found["units"].items()
        if packaged["units"].get(unit) != state and "@." not in unit
    }
    kept = found["kept"]
    return Reference(
        packages=packages(found, bare),
        users={
            name: user for name, user in found["users"].items() if name not in packaged["users"]
        },
        directories=_of(tree, "directory"),
        files=_of(tree, "file"),
        links={path: entry["target"] for path, entry in _of(tree, "link").items()},
        enabled=sorted({u for u, state in changed.items() if state == "enabled"} | set(kept)),
        disabled=sorted(unit for unit, state in changed.items() if state == "disabled"),
        active=[unit for unit in kept if host.inside("systemctl", "is-active", unit) == "active"],
        postgres_version=next(
            match[1] for p in found["packages"] if (match := re.match(r"postgresql-(\d+)$", p))
        ),
        roles=_sql(host, "pg_dumpall --globals-only"),
        database=_sql(
            host, f"pg_dump --create --schema-only --exclude-table='public.*' {APPLICATION}"
        ),
        commit=host.inside("cat", f"{HOME}/current/REVISION"),
        uv=host.inside(f"{UV}/bin/uv", "--version").split()[1],
        repository=source["repository"],
        version="main",
    )


def packages(found: Survey, bare: Survey) -> list[str]:
    """What was asked for by name; what these need comes with them."""
    return sorted(set(found["packages"]) - set(bare["packages"]))


def _of(tree: dict[str, Any], kind: str) -> dict[str, dict[str, str]]:
    return {path: entry for path, entry in tree.items() if entry["kind"] == kind}


def _sql(host: Host, command: str) -> str:
    """A dump that can be fed to psql of any minor version, with passwords as they are stored."""
    text = host.inside("runuser", "-u", "postgres", "--", "sh", "-c", f"cd / && {command}")
    lines = [
        line
        for line in text.splitlines()
        if line and not line.startswith(("--", "\\restrict", "\\unrestrict"))
    ]
    return "\n".join(
        line for line in lines if not re.match(r"(CREATE|ALTER) ROLE postgres\b", line)
    )
