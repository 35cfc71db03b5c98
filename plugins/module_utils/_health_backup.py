# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether backups are taken and read back in time; one that was not read back never counts."""

from __future__ import annotations

import pathlib
import time
import typing as t

from . import _backup_ages, _health, _health_process
from . import _health_limits as _limits
from ._health import CRITICAL, OK, WARNING, Finding, judge

KIND = "backup"
HOUR = 3600
# More than a clock is put right by while it runs.
FUTURE_HOURS = 0.1
OPTIONS: dict[str, t.Any] = {
    "directory": {"type": "path", "default": "/var/lib/slipway/backup"},
    "files_directory": {"type": "path", "default": "/var/lib/slipway/files"},
    "units": {"type": "path", "default": "/etc/systemd/system"},
    "databases": {"type": "list", "elements": "str", "default": []},
    "ignored_databases": {"type": "list", "elements": "str", "default": []},
    "physical": {"type": "bool", "default": False},
    "second": {"type": "bool", "default": False},
    "rehearsal": {"type": "bool", "default": False},
    "files": {"type": "bool", "default": False},
    **_limits.options("float", dump_hours=(26, 36), physical_hours=(13, 26)),
    **_limits.options("float", rehearsal_hours=(192, 336), files_hours=(26, 36)),
}
TIMERS = {
    "dump": "slipway-backup",
    "physical": "slipway-backup-physical",
    "rehearsal": "slipway-rehearsal",
    "files": "slipway-backup-files",
}


def probe(
    check: _health.Check,
    deadline: _health.Deadline,
    clock: t.Callable[[], float] = time.time,
    output: t.Callable[..., str] = _health_process.output,
) -> list[Finding]:
    """A finding for each backup that is expected here, and for each more that is known."""
    deadline.stage(f"reading {check['directory']}")
    known = {(one.kind, one.name): one for one in _known(check)}
    wanted = [("dump", name) for name in check["databases"]]
    wanted += [("physical", "cluster")] if check["physical"] else []
    wanted += [("physical", "cluster-second")] if check["physical"] and check["second"] else []
    wanted += [("rehearsal", "")] if check["rehearsal"] else []
    wanted += [("files", "files")] if check["files"] else []
    wanted += [("files", "files-second")] if check["files"] and check["second"] else []
    running = {
        kind
        for (kind, _name), age in known.items()
        if age.pending and _runs(f"{TIMERS[kind]}.service", deadline, output)
    }
    found = [
        _finding(check, *each, known.get(each), clock(), each[0] in running) for each in wanted
    ]
    return [*found, *_undeclared(check)]


def _undeclared(check: _health.Check) -> list[Finding]:
    """Databases of which there is no dump, and nobody has said that none is wanted."""
    found = _backup_ages.undeclared(pathlib.Path(check["directory"]))
    names = [name for name in found if name not in check["ignored_databases"]]
    value = f"{', '.join(names)}: declared by no application, so dumped by nobody"
    advice = "declare them in stack_applications, or write stack_health.backup.ignored_databases"
    return [Finding(f"{check['label']} undeclared", WARNING, value, "", advice)] if names else []


def _runs(unit: str, deadline: _health.Deadline, output: t.Callable[..., str]) -> bool:
    """A run that has not come to its end may have been killed; the unit knows."""
    command = ["systemctl", "show", "-p", "ActiveState", "--value", "--", unit]
    return _health_process.systemd(command, deadline, output).strip() == "activating"


def _known(check: _health.Check) -> list[_backup_ages.Age]:
    directories = map(pathlib.Path, (check["directory"], check["files_directory"]))
    return [age for directory in directories for age in _backup_ages.ages(directory)]


def _finding(
    check: _health.Check,
    kind: str,
    name: str,
    age: _backup_ages.Age | None,
    now: float,
    running: bool,
) -> Finding:
    """Without any success yet, it is as if the last had been when the timer was made."""
    label = f"{check['label']} {kind} {name}".rstrip()
    warning, critical = _limits.pair(check, kind, "hours")
    limit, advice = f"at most {warning:g} h old", f"journalctl -u {TIMERS[kind]}"
    since = age.succeeded.timestamp() if age and age.succeeded else _scheduled(check, kind)
    if since is None:
        return Finding(label, CRITICAL, "never taken, and not scheduled", limit, "run site.yml")
    hours = (now - since) / HOUR
    if hours < -FUTURE_HOURS:
        value = f"{-hours:.1f} h in the future: the clock was ahead then, or is behind now"
        return Finding(label, WARNING, value, limit, f"timedatectl; start {TIMERS[kind]}")
    state = judge(hours, warning, critical)
    never = age is None or age.succeeded is None
    value = f"none yet, {hours:.1f} h after it was scheduled" if never else f"{hours:.1f} h old"
    # Of a rehearsal that failed the older ones prove nothing: as things are, no restore works.
    disproved = kind == "rehearsal" and age is not None and age.failed
    if age and age.pending and running:
        value = f"{value}, a run is under way"
        if disproved:
            state, value = CRITICAL, f"{value}, and the one before failed"
    elif age and not age.ok and (disproved or state == OK):
        state = CRITICAL if disproved else WARNING
        value = f"{value}, but the last run failed: {age.detail}"
    return Finding(label, state, value, limit, "" if state == OK else advice)


def _scheduled(check: _health.Check, kind: str) -> float | None:
    try:
        return (pathlib.Path(check["units"]) / f"{TIMERS[kind]}.timer").stat().st_mtime
    except OSError:
        return None
