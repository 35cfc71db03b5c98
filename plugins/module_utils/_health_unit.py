# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether a unit is active, or none of some is, in systemd's own word."""

from __future__ import annotations

import typing as t

from . import _health, _health_process
from ._health import CRITICAL, OK, UNKNOWN, Finding

KIND = "unit"
OPTIONS: dict[str, t.Any] = {
    "unit": {"type": "str", "required": True},
    # Whether none may run; the unit may then be several patterns with spaces between.
    "absent": {"type": "bool", "default": False},
}
LISTED = ["systemctl", "list-units", "--plain", "--no-legend", "--full"]
RUNNING = "--state=active,activating,reloading"


def probe(
    check: _health.Check,
    deadline: _health.Deadline,
    output: t.Callable[..., str] = _health_process.output,
) -> list[Finding]:
    """Active, or what it is instead; or who runs that may not."""
    unit, label = check["unit"], check["label"]
    deadline.stage(f"asking systemd for {unit}")
    if check["absent"]:
        said = _health_process.systemd([*LISTED, RUNNING, "--", *unit.split()], deadline, output)
        return [_absent(label, [line.split()[0] for line in said.splitlines() if line.strip()])]
    command = ["systemctl", "show", "-p", "LoadState,ActiveState,SubState", "--", unit]
    said = _health_process.systemd(command, deadline, output)
    values = dict(line.split("=", 1) for line in said.splitlines() if line)
    if values.get("LoadState") == "not-found":
        return [Finding(label, UNKNOWN, "systemd knows no such unit", "active", "see its name")]
    state = f"{values.get('ActiveState')} ({values.get('SubState')})"
    # One that takes its configuration anew goes on serving meanwhile.
    good = values.get("ActiveState") in ("active", "reloading")
    return [Finding(label, OK if good else CRITICAL, state, "active", f"journalctl -u {unit}")]


def _absent(label: str, running: list[str]) -> Finding:
    if not running:
        return Finding(label, OK, "none runs", "none")
    advice = "run site.yml, which ends what the groups of this machine do not run"
    return Finding(label, CRITICAL, f"{', '.join(running)} runs here", "none", advice)
