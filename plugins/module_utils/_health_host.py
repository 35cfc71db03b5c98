# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether the machine itself is well; each part is asked for itself and fails for itself."""

from __future__ import annotations

import functools
import glob
import os
import time
import typing as t
from pathlib import Path

from . import _health, _health_clock, _health_process, _host_figures
from . import _health_limits as _limits
from ._health import CRITICAL, OK, UNKNOWN, Finding, judge

KIND = "host"
GIGABYTE = 2**30
DAY = 86_400
OPTIONS: dict[str, t.Any] = {
    "mounts": {"type": "list", "elements": "path", "default": []},
    "directories": {
        "type": "list",
        "elements": "path",
        "default": ["/srv/*/releases", "/srv/*/dependencies", "/var/backups/slipway"],
    },
    "clock_server": {"type": "str", "default": ""},
    "reference_time": {"type": "float"},
    "failed_units_ignored": {"type": "list", "elements": "str", "default": []},
    **_limits.options(
        "float",
        disk_free_percent=(15, 10),
        inodes_free_percent=(15, 10),
        memory_percent=(85, 95),
        load_per_processor=(0.8, 10),
        clock_seconds=(1, 30),
        reboot_days=(0, 30),
        directory_percent=(30, 50),
    ),
    **_limits.options("int", failed_units=(0, 4)),
}

Check = dict[str, t.Any]


class Machine(t.NamedTuple):
    """Where figures come from; given by tests."""

    proc: Path = Path("/proc")
    run: Path = Path("/run")
    boot: Path = Path("/boot")
    fstab: Path = Path("/etc/fstab")
    output: t.Callable[..., str] = _health_process.output
    space: t.Callable[[str], t.Any] = _host_figures.space
    clock: t.Callable[[], float] = time.time
    kernel: str = os.uname().release
    processors: int = os.cpu_count() or 1


def probe(
    check: Check,
    deadline: _health.Deadline,
    machine: Machine = Machine(),  # noqa: B008
) -> list[Finding]:
    """The findings of the machine; one part that cannot be asked takes no other with it."""
    label, found = check["label"], []
    for name, part in (
        ("disk", disks),
        ("memory", memory),
        ("load", load),
        ("clock", _health_clock.clock),
        ("failed units", failed_units),
        ("reboot", reboot),
        ("directories", directories),
    ):
        deadline.stage(f"asking for the {name}")
        try:
            found += part(label, check, deadline, machine)
        except _health.Expired:
            raise
        except Exception as error:
            found.append(_health.explain(f"{label} {name}", error, deadline))
    return found


def disks(label: str, check: Check, deadline: _health.Deadline, machine: Machine) -> list[Finding]:
    """Free space and inodes of each file system that can fill up, in memory only when it does."""
    fstab = machine.fstab.read_text() if machine.fstab.exists() else ""
    mounts = _host_figures.mounts((machine.proc / "self/mountinfo").read_text(), fstab)
    if check["mounts"]:
        known = {mount.path: mount for mount in mounts}
        mounts = [known.get(path, _host_figures.Mount(path, "", "")) for path in check["mounts"]]
    found = []
    for mount in mounts:
        deadline.stage(f"asking the file system at {mount.path}", "is it a network's that is gone?")
        rows = _disk(label, check, mount.path, machine)
        if mount.read_only:
            advice = f"dmesg -T; back it up, fsck it, then mount -o remount,rw {mount.path}"
            advice += "; if it is meant so, write ro into /etc/fstab"
            name = f"{label} {mount.path} writable"
            rows.append(Finding(name, CRITICAL, "read-only", "read-write", advice))
        quiet = mount.kind == _host_figures.MEMORY and not check["mounts"]
        found += [row for row in rows if row.state != OK or not quiet]
    return found


def _disk(label: str, check: Check, path: str, machine: Machine) -> list[Finding]:
    name = f"{label} {path}"
    try:
        numbers = machine.space(path)
    except OSError as error:
        advice = "mount it, or drop it from mounts"
        return [Finding(f"{name} space", UNKNOWN, error.strerror or "?", "", advice)]
    if numbers is None:
        advice = f"is its server gone? umount -l {path}"
        return [Finding(f"{name} space", CRITICAL, "the file system does not answer", "", advice)]
    figures = [("space", "disk", numbers.f_bavail, numbers.f_blocks, "du -xh --max-depth=2")]
    if numbers.f_files:  # some file systems have inodes without end
        figures.append(("inodes", "inodes", numbers.f_favail, numbers.f_files, "du -x --inodes"))
    rows = []
    for what, option, free, total, program in figures:
        share = 100 * free / max(1, total)
        warning, critical = _limits.pair(check, option, "free_percent")
        state = judge(share, warning, critical, lower_is_worse=True)
        limit, advice = f"at least {warning:g} % free", f"find what fills it: {program} {path}"
        rows.append(Finding(f"{name} {what}", state, f"{share:.0f} % free", limit, advice))
    return rows


def memory(label: str, check: Check, _deadline: t.Any, machine: Machine) -> list[Finding]:
    """What no process could get any more, as a share of the whole."""
    used, total = _host_figures.memory((machine.proc / "meminfo").read_text())
    warning, critical = _limits.pair(check, "memory", "percent")
    share = 100 * used / max(1, total)
    value = f"{used / GIGABYTE:.1f} of {total / GIGABYTE:.1f} GB used ({share:.0f} %)"
    limit, advice = f"at most {warning:g} %", "find who holds it: systemd-cgtop -m"
    return [Finding(f"{label} memory", judge(share, warning, critical), value, limit, advice)]


def load(label: str, check: Check, _deadline: t.Any, machine: Machine) -> list[Finding]:
    """How many processes ran or waited to, over five minutes."""
    average = float((machine.proc / "loadavg").read_text().split()[1])
    warning, critical = _limits.pair(check, "load", "per_processor")
    value = f"{average:g} over 5 minutes on {machine.processors} processors"
    limit, advice = f"at most {warning:g} a processor", "find who runs: top, iotop"
    state = judge(average / machine.processors, warning, critical)
    return [Finding(f"{label} load", state, value, limit, advice)]


def failed_units(
    label: str, check: Check, deadline: _health.Deadline, machine: Machine
) -> list[Finding]:
    """Units that systemd has given up."""
    command = ["systemctl", "list-units", "--failed", "--plain", "--no-legend", "--no-pager"]
    lines = _health_process.systemd(command, deadline, machine.output).splitlines()
    units = [line.split()[0] for line in lines if line.split()]
    units = [unit for unit in units if unit not in check["failed_units_ignored"]]
    warning, critical = _limits.pair(check, "failed", "units")
    value = ", ".join(units[:5]) + (" ..." if units[5:] else "") if units else "none"
    advice = f"journalctl -u {units[0]}; then systemctl reset-failed" if units else ""
    state = judge(len(units), warning, critical)
    return [Finding(f"{label} failed units", state, value, f"at most {warning}", advice)]


def reboot(label: str, check: Check, _deadline: t.Any, machine: Machine) -> list[Finding]:
    """Whether a kernel or a package that was updated waits for a reboot, and for how long."""
    flag, newest = machine.run / "reboot-required", _host_figures.newest_kernel(machine.boot)
    since, why = [], []
    if flag.exists():
        since.append(flag.stat().st_mtime)
        why.append("asked for by a package")
    if newest and newest != machine.kernel:
        since.append((machine.boot / f"vmlinuz-{newest}").stat().st_mtime)
        why.append(f"runs {machine.kernel}, has {newest}")
    if not why:
        return [Finding(f"{label} reboot", OK, "none pending")]
    days = max(0.0, (machine.clock() - min(since)) / DAY)
    warning, critical = _limits.pair(check, "reboot", "days")
    # Asked for this very moment is pending as well.
    state = judge(max(days, 1e-6), warning, critical)
    value, limit = f"pending for {days:.0f} days: {'; '.join(why)}", f"within {critical:g} days"
    return [Finding(f"{label} reboot", state, value, limit, "reboot it in a quiet hour")]


def directories(
    label: str, check: Check, deadline: _health.Deadline, machine: Machine
) -> list[Finding]:
    """What releases and backups take of the disk that they lie on."""
    end = deadline.clock() + deadline.remaining() / 2
    found: dict[str, Finding] = {}
    for each in check["directories"]:
        paths = _host_figures.guarded(
            functools.partial(glob.glob, each), _host_figures.MOUNT_SECONDS
        )
        if paths is None:
            advice = "is the server of its file system gone? umount -l"
            silent = "its file system does not answer"
            found[each] = Finding(f"{label} {each}", CRITICAL, silent, "", advice)
        for path in paths or []:
            found[path] = _directory(label, check, path, machine, end - deadline.clock())
    return [found[path] for path in sorted(found)]


def _directory(label: str, check: Check, path: str, machine: Machine, seconds: float) -> Finding:
    name, (warning, critical) = f"{label} {path}", _limits.pair(check, "directory", "percent")
    limit, advice = f"at most {warning:g} % of its disk", "keep fewer of them, or for less long"
    try:
        size = _host_figures.size(path, seconds)
    except PermissionError:
        return Finding(name, UNKNOWN, "may not be read", limit, "run it as root (become)")
    if size is None:
        slow = "raise timeout; is a file system below it gone?"
        return Finding(name, UNKNOWN, "not counted in time", limit, slow)
    numbers = machine.space(path)
    total = max(1, numbers.f_blocks * numbers.f_frsize) if numbers else 1
    share = 100 * size / total
    value = f"{size / GIGABYTE:.2f} GB, {share:.0f} % of its disk"
    return Finding(name, judge(share, warning, critical), value, limit, advice)
