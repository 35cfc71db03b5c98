# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Confining systemd services: one strict profile, and what the others give up of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError

Value: TypeAlias = "str | int | bool | Sequence[str] | None"

_DIRECTIVE = re.compile(r"[A-Z][A-Za-z]+")
_WRITABLE = re.compile(r"[-+]?/\S*")

# What these say is added to what the vendor's unit says, unless they are reset first.
_ADDITIVE = {
    "AmbientCapabilities",
    "CapabilityBoundingSet",
    "RestrictAddressFamilies",
    "SystemCallFilter",
}

_DAEMON: dict[str, Value] = {
    "NoNewPrivileges": True,
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
    "UMask": "0077",
    "ProtectSystem": "strict",
    "ProtectHome": True,
    "PrivateTmp": True,
    "PrivateMounts": True,
    "PrivateDevices": True,
    "DevicePolicy": "closed",
    # Other users are mapped to nobody, so a daemon that starts as root and then
    # changes to its own user needs an exception.
    "PrivateUsers": True,
    "ProtectProc": "invisible",
    "ProcSubset": "pid",
    "ProtectClock": True,
    "ProtectControlGroups": True,
    "ProtectHostname": True,
    "ProtectKernelLogs": True,
    "ProtectKernelModules": True,
    "ProtectKernelTunables": True,
    "KeyringMode": "private",
    "LockPersonality": True,
    # Just-in-time compilers (PostgreSQL's too) need an exception.
    "MemoryDenyWriteExecute": True,
    "RemoveIPC": True,
    "RestrictAddressFamilies": ["AF_UNIX AF_INET AF_INET6"],
    "RestrictNamespaces": True,
    "RestrictRealtime": True,
    "RestrictSUIDSGID": True,
    "SystemCallArchitectures": "native",
    "SystemCallErrorNumber": "EPERM",
    "SystemCallFilter": ["@system-service", "~@privileged @resources"],
}

# What an application writes (media files) is read by the web server through its group.
_APPLICATION: dict[str, Value] = {"UMask": "0027"}

PROFILES: dict[str, dict[str, Value]] = {
    "daemon": _DAEMON,
    # gunicorn changes owner and user even where there is nothing to change, and dies if it cannot.
    "web": {
        **_DAEMON,
        **_APPLICATION,
        "SystemCallFilter": ["@system-service", "~@privileged @resources", "@chown @setuid"],
    },
    "worker": {**_DAEMON, **_APPLICATION},
    # Jobs of root handle files of several users.
    "oneshot": {**_DAEMON, "PrivateUsers": False},
}


def drop_in(
    profile: str, writable: Sequence[str] = (), exceptions: Mapping[str, Value] | None = None
) -> str:
    """The text of a drop-in that confines a service."""
    strict = _profile(profile)
    exceptions = dict(sorted((exceptions or {}).items()))
    directives = {**strict, **exceptions}
    if writable:
        directives["ReadWritePaths"] = [_writable(path) for path in writable]
    lines = [f"# Ansible managed: hardening profile {profile} of slipway.stack"]
    lines += [_note(name, value, strict) for name, value in exceptions.items()]
    lines += ["[Service]"]
    for name, value in directives.items():
        lines += _assignments(name, value)
    return "\n".join(lines) + "\n"


def _profile(name: str) -> dict[str, Value]:
    if name not in PROFILES:
        raise StackError(f"{name} is no hardening profile; use one of {', '.join(PROFILES)}")
    return PROFILES[name]


def _writable(path: str) -> str:
    if not _WRITABLE.fullmatch(path):
        raise StackError(
            f"writable path {path} is not an absolute path without blanks; write it like"
            " /var/lib/x, or -/var/lib/x if it may be missing"
        )
    return path


def _note(name: str, value: Value, strict: Mapping[str, Value]) -> str:
    if name not in strict:
        return f"# Added for this unit: {name}"
    was = _text(strict[name]) or "nothing"
    now = "left to the unit" if value is None else _text(value) or "nothing"
    return f"# Exception of this unit: {name} is {now}, otherwise {was}"


def _text(value: Value) -> str:
    return " ".join(value) if isinstance(value, (list, tuple)) else _plain(value)


def _assignments(name: str, value: Value) -> list[str]:
    """Lines that set a directive; what the vendor's unit says is forgotten."""
    if not _DIRECTIVE.fullmatch(name):
        raise StackError(f"{name} is not the name of a systemd directive; write it like UMask")
    if value is None:
        return []
    values = value if isinstance(value, (list, tuple)) else [value]
    is_list = name in _ADDITIVE or values is value
    reset = [""] if is_list and name != "ReadWritePaths" else []
    return [f"{name}={each}" for each in dict.fromkeys([*reset, *map(_plain, values)])]


def _plain(value: Value) -> str:
    text = str(value).lower() if isinstance(value, bool) else str("" if value is None else value)
    if "\n" in text:
        raise StackError(f"the value {text!r} of a hardening exception has more than one line")
    return text
