# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""systemd units: what they run on, what they were last started with, and what follows from it."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.slipway.stack.plugins.module_utils import _files
from ansible_collections.slipway.stack.plugins.module_utils._commands import Run
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError

RECORDS = "/var/lib/slipway/units"
UNIT_FOLDERS = (
    "/etc/systemd/system/",
    "/run/systemd/system/",
    "/usr/lib/systemd/system/",
    "/lib/systemd/system/",
)
_SUFFIXES = (".service", ".socket", ".timer", ".path", ".target", ".mount", ".slice")
_PROPERTIES = (
    "LoadState,ActiveState,SubState,UnitFileState,NeedDaemonReload,CanReload,Type,"
    "RemainAfterExit,Result,NRestarts,Triggers"
)
_WITHOUT_READINESS = ("simple", "exec", "idle")
_PENDING = "pending"
_ACT_TIMEOUT = 900
_FOLLOWING_ADVICE = re.compile(r"\s*\bSee \S*\"?(?:systemctl|journalctl)")


@dataclass(frozen=True)
class Unit:
    name: str
    enabled: bool
    state: str
    restart_on: tuple[str, ...]
    reload_on: tuple[str, ...]
    requires_path: str = ""
    settle_seconds: float = 1

    @property
    def watched(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.restart_on + self.reload_on))


@dataclass(frozen=True)
class Shown:
    """What systemd says about a unit."""

    load_state: str = "not-found"
    active_state: str = "inactive"
    sub_state: str = "dead"
    unit_file_state: str = ""
    need_daemon_reload: bool = False
    can_reload: bool = False
    kind: str = ""
    remains: bool = True
    result: str = "success"
    restarts: int = 0
    triggers: tuple[str, ...] = ()

    @property
    def is_known(self) -> bool:
        return self.load_state != "not-found"

    @property
    def is_running(self) -> bool:
        return self.active_state in ("active", "reloading")

    @property
    def is_finished(self) -> bool:
        """A oneshot that did its work and left nothing behind, as it should."""
        done = self.active_state == "inactive" and self.result == "success"
        return self.kind == "oneshot" and not self.remains and done

    def __str__(self) -> str:
        return f"{self.active_state} ({self.sub_state})" if self.is_known else "unknown"


@dataclass(frozen=True)
class Decision:
    """What to do with a unit: start, restart, reload, stop or nothing, and why."""

    action: str
    reasons: tuple[str, ...] = ()
    enabling: bool | None = None


STATUS = {
    "start": "started",
    "restart": "restarted",
    "reload": "reloaded",
    "stop": "stopped",
    "": "unchanged",
}


def options() -> dict[str, Any]:
    return {
        "name": {"type": "str", "required": True},
        "enabled": {"type": "bool", "default": True},
        "state": {"type": "str", "choices": ["started", "stopped"], "default": "started"},
        "restart_on": {"type": "list", "elements": "path"},
        "reload_on": {"type": "list", "elements": "path", "default": []},
        "requires_path": {"type": "path"},
        "settle_seconds": {"type": "int", "default": 1},
    }


def from_params(params: Mapping[str, Any], files: Sequence[str]) -> Unit:
    reload_on = tuple(params["reload_on"] or ())
    restart_on = params["restart_on"]
    if restart_on is None:
        restart_on = [path for path in files if not _is_under(path, reload_on)]
    return Unit(
        name=full_name(params["name"]),
        enabled=params["enabled"],
        state=params["state"],
        restart_on=tuple(restart_on),
        reload_on=reload_on,
        requires_path=params["requires_path"] or "",
        settle_seconds=params["settle_seconds"],
    )


def strays(patterns: Sequence[str], declared: Collection[str]) -> tuple[Unit, ...]:
    """The units that match a pattern and are not declared any more, to be stopped."""
    folder = Path(UNIT_FOLDERS[0])
    found = {path.name for pattern in patterns for path in folder.glob(pattern)}
    # A socket that listens would start its service again.
    names = sorted(found - set(declared), key=lambda name: (not name.endswith(".socket"), name))
    return tuple(Unit(name, False, "stopped", (), ()) for name in names)


def full_name(name: str) -> str:
    name = name if name.endswith(_SUFFIXES) else f"{name}.service"
    if "@." in name or "/" in name:
        raise StackError(
            f"unit {name} is a template and cannot be started;"
            f" name an instance, like {name.replace('@.', '@main.')}"
        )
    return name


def is_file_of(path: str, name: str) -> bool:
    """Whether a path is the unit's own file, or that of its template."""
    stem, suffix = os.path.splitext(name)
    own = {name, f"{stem.split('@')[0]}@{suffix}"}
    return path.startswith(UNIT_FOLDERS) and os.path.basename(path) in own


def _is_under(path: str, folders: Sequence[str]) -> bool:
    return any(path == folder or path.startswith(folder + "/") for folder in folders)


def show(names: Sequence[str], run: Run) -> dict[str, Shown]:
    """Ask systemd about all the units at once."""
    if not names:
        return {}
    done = run(["systemctl", "show", f"--property={_PROPERTIES}", "--", *names])
    blocks = done.output.strip("\n").split("\n\n")
    if not done.ok or len(blocks) != len(names):
        raise StackError(f"systemd does not answer on this machine: {done.output.strip()}")
    return {name: parse(block) for name, block in zip(names, blocks, strict=True)}


def parse(block: str) -> Shown:
    said = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
    return Shown(
        load_state=said.get("LoadState", "not-found"),
        active_state=said.get("ActiveState", "inactive"),
        sub_state=said.get("SubState", "dead"),
        unit_file_state=said.get("UnitFileState", ""),
        need_daemon_reload=said.get("NeedDaemonReload") == "yes",
        can_reload=said.get("CanReload") == "yes",
        kind=said.get("Type", ""),
        remains=said.get("RemainAfterExit", "yes") == "yes",
        result=said.get("Result", "success"),
        restarts=int(said.get("NRestarts", "0")),
        triggers=tuple(said.get("Triggers", "").split()),
    )


def decide(
    unit: Unit,
    shown: Shown,
    recorded: Mapping[str, str] | None,
    digests: Mapping[str, str],
    ready: bool,
    comes: bool = True,
) -> Decision:
    """The whole policy, on values alone; comes says that an unknown unit will be there later."""
    enabling = _enabling(unit, shown, comes)
    if unit.state == "stopped":
        action = (
            "stop" if shown.is_known and shown.active_state not in ("inactive", "failed") else ""
        )
        return Decision(action, ("it is declared stopped",) if action else (), enabling)
    if not ready:
        return Decision("", (), enabling)
    changed = _changed(unit.watched, recorded, digests)
    if shown.is_finished and recorded is not None and not changed:
        return Decision("", (), enabling)
    if not shown.is_running:
        return Decision("start", (f"it was {shown}",), enabling)
    if not changed:
        return Decision("", (), enabling)
    reasons = tuple(f"{path} changed" for path in changed)
    if recorded is None:
        reasons = ("it may run on older files, there is no record of its start",)
    restarts = any(path in unit.restart_on for path in changed) or not shown.can_reload
    return Decision("restart" if restarts else "reload", reasons, enabling)


def _changed(
    watched: Sequence[str], recorded: Mapping[str, str] | None, digests: Mapping[str, str]
) -> list[str]:
    if recorded is None:
        return list(watched)
    return [path for path in watched if recorded.get(path, _files.ABSENT) != digests[path]]


def _enabling(unit: Unit, shown: Shown, comes: bool) -> bool | None:
    """Whether to enable (or disable); units without [Install] are neither."""
    if unit.enabled and (shown.unit_file_state == "disabled" or (not shown.is_known and comes)):
        return True
    if not unit.enabled and shown.unit_file_state in ("enabled", "enabled-runtime"):
        return False
    return None


def digests_of(unit: Unit, overlay: Mapping[str, bytes | None]) -> dict[str, str]:
    return {path: _files.digest(path, overlay) for path in unit.watched}


def _record_path(name: str) -> str:
    return os.path.join(RECORDS, f"{name}.json")


def recall(name: str) -> dict[str, str] | None:
    """What the unit was last started with; an unreadable record counts as none."""
    try:
        said = json.loads(_files.read_bytes(_record_path(name)))
    except (OSError, ValueError):
        return None
    return said if isinstance(said, dict) else None


def remember(name: str, digests: Mapping[str, str]) -> None:
    if not os.path.isdir(RECORDS):
        os.makedirs(RECORDS, 0o755, exist_ok=True)
    text = json.dumps(digests, indent=0, sort_keys=True)
    _files.write(_record_path(name), text.encode(), _files.own(0o600))


def remember_all(
    name: str, recorded: Mapping[str, str], digests: Mapping[str, str], fresh: bool
) -> None:
    """Note the digests beside what other calls watch; a fresh start runs on all of it."""
    others = {path: value for path, value in recorded.items() if path not in digests}
    if fresh:
        others = {path: _files.digest(path, {}) for path in others}
    if {**others, **digests} != recorded:
        remember(name, {**others, **digests})


def forget(name: str) -> None:
    if os.path.exists(_record_path(name)):
        os.unlink(_record_path(name))


def lagging(names: Sequence[str], path: str, run: Run) -> list[str]:
    """Units that run and were, as far as is known, last started on something else at a path."""
    digest = _files.digest(path, {})
    others = [name for name in names if (recall(name) or {}).get(path, digest) != digest]
    shown = show(others, run)
    return [name for name in others if shown[name].active_state not in ("inactive", "failed")]


def expect(name: str, path: str) -> None:
    """Note that a unit is stopped for a restart on what is at a path, whoever started it before."""
    remember(name, {**(recall(name) or {}), path: _PENDING})


def announced(names: Sequence[str], path: str) -> list[str]:
    """Units whose restart on what is at a path somebody began and did not end."""
    return [name for name in names if (recall(name) or {}).get(path) == _PENDING]


def announce(unit: Unit, written: Sequence[str]) -> None:
    """Note before files are written that the unit does not run on them yet."""
    recorded = recall(unit.name)
    touched = [path for path in unit.watched if any(_is_under(new, (path,)) for new in written)]
    if recorded is not None and touched:
        remember(unit.name, {**recorded, **dict.fromkeys(touched, _PENDING)})


def reload_manager(run: Run) -> None:
    done = run(["systemctl", "daemon-reload"])
    if not done.ok:
        raise StackError(f"systemctl daemon-reload failed: {done.output.strip()}")


def enable(names: Sequence[str], enabling: bool, run: Run) -> None:
    if names:
        verb = "enable" if enabling else "disable"
        done = run(["systemctl", verb, "--quiet", "--", *names])
        if not done.ok:
            raise StackError(f"systemctl {verb} {' '.join(names)} failed: {done.output.strip()}")


def act(
    unit: Unit,
    action: str,
    shown: Shown,
    run: Run,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Carry out the action; an empty answer is success, otherwise what went wrong."""
    if shown.load_state == "masked" and action != "stop":
        return f"it is masked; unmask it with: systemctl unmask {unit.name}"
    names, verb = [unit.name], action
    if action in ("start", "restart"):
        if unit.name.endswith(".socket"):
            names, verb = [unit.name, *_make_way(unit.name, shown.triggers, run)], "start"
        elif shown.sub_state.startswith("auto-restart"):
            verb = "restart"  # a start would wait until systemd tries again by itself
        run(["systemctl", "reset-failed", "--", *names])  # forgets the start limit
    done = run(["systemctl", verb, "--", *names], timeout=_ACT_TIMEOUT)
    if not done.ok:
        return _FOLLOWING_ADVICE.split(done.output.strip())[0].strip()
    earlier = shown.restarts if action == "reload" else 0
    return "" if action == "stop" else watch(unit, earlier, run, sleep)


def _make_way(socket: str, triggers: Sequence[str], run: Run) -> list[str]:
    """Stop a socket with its services, under which it does not start; returns those that ran."""
    running = [name for name, each in show(triggers, run).items() if each.is_running]
    run(["systemctl", "stop", "--", socket, *running], timeout=_ACT_TIMEOUT)
    return running


def watch(unit: Unit, restarts: int, run: Run, sleep: Callable[[float], None]) -> str:
    """Units that systemd cannot ask whether they are ready are watched for a moment."""
    shown = show([unit.name], run)[unit.name]
    rounds = 4 if shown.kind in _WITHOUT_READINESS and unit.settle_seconds else 0
    for _round in range(rounds):
        if not shown.is_running or shown.restarts > restarts:
            break
        sleep(unit.settle_seconds / rounds)
        shown = show([unit.name], run)[unit.name]
    if shown.is_finished or (shown.is_running and shown.restarts <= restarts):
        return ""
    return f"it is {shown} afterwards, result {shown.result}"


def journal(name: str, since: float, run: Run) -> str:
    """The last lines that the unit wrote."""
    # systemd 252 takes --lines with --since for the first ones, unless the order is reversed. What
    # was wrong with an application stands some 45 lines above the end of gunicorn's own traceback.
    argv = ["journalctl", f"--unit={name}", f"--since=@{int(since)}", "--lines=60", "--reverse"]
    done = run([*argv, "--no-pager", "--output=cat", "--quiet"], timeout=30)
    lines = done.output.strip().splitlines() if done.ok else []
    return "\n".join(reversed(lines)) or "(its journal is empty)"
