# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The reference as a pyinfra deploy, one operation for each thing; run by pyinfra itself."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pyinfra import host
from pyinfra.facts.files import File
from pyinfra.facts.postgres import PostgresDatabases
from pyinfra.facts.server import Command
from pyinfra.operations import apt, files, server, systemd

ROOM = Path(os.environ["BENCHMARK_ROOM"])
REFERENCE: dict[str, Any] = json.loads((ROOM / "reference.json").read_text())
TREE = ROOM / "tree"


def deploy() -> None:
    for path in REFERENCE["early"]:
        put(path)
    apt.packages(
        name="packages",
        packages=REFERENCE["packages"],
        update=True,
        cache_time=3600,
        no_recommends=True,
        extra_install_args="-o Dpkg::Options::=--force-confold",
    )
    for name, user in REFERENCE["users"].items():
        server.user(
            name=f"user {name}",
            user=name,
            home=user["home"],
            shell=user["shell"],
            system=True,
            ensure_home=False,
        )
    # Facts that an earlier operation of the same run changes are asked for when they are needed.
    server.shell(
        name="cluster",
        commands=[REFERENCE["cluster"]],
        _if=lambda: not host.get_fact(File, path=REFERENCE["cluster_file"]),
    )
    changes = [directory(path, entry) for path, entry in REFERENCE["directories"].items()]
    changes += [put(path) for path in REFERENCE["files"]]
    for path, target in REFERENCE["links"].items():
        files.link(name=f"link {path}", path=path, target=target)
    systemd.daemon_reload(
        name="reload units", _if=lambda: any(each.did_change() for each in changes)
    )
    for unit in REFERENCE["disabled"]:
        systemd.service(name=f"unit {unit}", service=unit, running=False, enabled=False)
    for unit in REFERENCE["first"]:
        service(unit, changes)
    server.shell(name="roles and database", commands=[REFERENCE["sql"]], _if=no_database)
    released = server.shell(name="release", commands=[REFERENCE["release"]], _if=no_release)
    for unit in REFERENCE["last"]:
        service(unit, changes)
    server.shell(
        name="health",
        commands=[REFERENCE["healthy"]],
        _if=lambda: any(each.did_change() for each in [*changes, released]),
    )


def directory(path: str, entry: dict[str, str]) -> Any:
    return files.directory(
        name=f"directory {path}",
        path=path,
        user=entry["owner"],
        group=entry["group"],
        mode=entry["mode"].lstrip("0"),
    )


def put(path: str) -> Any:
    entry = REFERENCE["files"][path]
    return files.put(
        name=f"file {path}",
        src=str(TREE / path.lstrip("/")),
        dest=path,
        user=entry["owner"],
        group=entry["group"],
        mode=entry["mode"].lstrip("0"),
    )


def service(unit: str, changes: list[Any]) -> None:
    systemd.service(name=f"unit {unit}", service=unit, running=True, enabled=True)
    systemd.service(
        name=f"restart {unit}",
        service=unit,
        restarted=True,
        _if=lambda: any(each.did_change() for each in changes),
    )


def no_database() -> bool:
    found = host.get_fact(PostgresDatabases, _sudo=True, _sudo_user="postgres")
    return REFERENCE["application"] not in (found or {})


def no_release() -> bool:
    served = host.get_fact(Command, command=REFERENCE["served"])
    wanted = host.get_fact(Command, command=REFERENCE["wanted"])
    return str(served).strip() != str(wanted).split()[0]


deploy()
