# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is on a machine, as JSON; runs on the machine itself, with nothing but Python."""

from __future__ import annotations

import grp
import hashlib
import json
import os
import pwd
import re
import stat
import subprocess
from typing import Any

ROOTS = ("/etc", "/opt", "/srv", "/usr/local", "/var/backups", "/var/lib/slipway", "/var/lib/redis")
# What a machine makes for itself, what users, units and releases become by their own commands, and
# Slipway's notes to itself.
LEFT_OUT = re.compile(
    r"/etc/(hosts|hostname|resolv\.conf|machine-id|ld\.so\.cache|\.pwd\.lock|mailcap)$"
    r"|/etc/(passwd|shadow|group|gshadow|subuid|subgid)-?$"
    r"|/etc/(alternatives|ssl/certs|ssl/private|rc.\.d|ssh)(/|$)"
    r"|/etc/systemd/system/[^/]+\.(wants|requires)(/|$)"
    r"|/opt/slipway/uv/|/srv/[^/]+/(releases|cache|static|media)/|/srv/[^/]+/current$"
    r"|/var/lib/slipway/(units|backup)/|/var/backups/(dpkg|apt|alternatives)"
    r"|/var/lib/redis/[^/]+/|/__pycache__|\.pyc$"
)


def main() -> None:
    print(
        json.dumps(
            {
                "packages": _lines("apt-mark", "showmanual"),
                "versions": _lines("dpkg-query", "--show"),
                "users": {
                    user.pw_name: {
                        "home": user.pw_dir,
                        "shell": user.pw_shell,
                        "groups": [g.gr_name for g in grp.getgrall() if user.pw_name in g.gr_mem],
                    }
                    for user in pwd.getpwall()
                },
                "tree": {path: _entry(path) for root in ROOTS for path in _paths(root)},
                "units": _units(),
                "kept": sorted(name[: -len(".json")] for name in _names("/var/lib/slipway/units")),
            }
        )
    )


def _names(folder: str) -> list[str]:
    return [n for n in os.listdir(folder) if n.endswith(".json")] if os.path.isdir(folder) else []


def _lines(*command: str) -> list[str]:
    return subprocess.check_output(command, encoding="utf-8").splitlines()


def _paths(root: str) -> list[str]:
    found = [
        os.path.join(folder, name)
        for folder, folders, files in os.walk(root)
        for name in folders + files
    ]
    return sorted(path for path in found if not LEFT_OUT.search(path))


def _entry(path: str) -> dict[str, Any]:
    found = os.lstat(path)
    entry: dict[str, Any] = {
        "owner": pwd.getpwuid(found.st_uid).pw_name,
        "group": grp.getgrgid(found.st_gid).gr_name,
        "mode": f"{stat.S_IMODE(found.st_mode):04o}",
    }
    if stat.S_ISLNK(found.st_mode):
        return {"kind": "link", "target": os.readlink(path)}
    if stat.S_ISDIR(found.st_mode):
        return {"kind": "directory", **entry}
    with open(path, "rb") as file:
        return {"kind": "file", "sha256": hashlib.sha256(file.read()).hexdigest(), **entry}


def _units() -> dict[str, str]:
    """Whether each installed unit starts at boot."""
    listed = _lines("systemctl", "list-unit-files", "--no-legend", "--plain")
    return {line.split()[0]: line.split()[1] for line in listed}


if __name__ == "__main__":
    main()
