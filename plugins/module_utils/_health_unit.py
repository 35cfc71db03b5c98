# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether a unit is active, in systemd's own word."""

from __future__ import annotations

import typing as t

from . import _health, _health_process
from ._health import CRITICAL, OK, UNKNOWN, Finding

KIND = "unit"
OPTIONS: dict[str, t.Any] = {"unit": {"type": "str", "required": True}}


def probe(
    check: _health.Check,
    deadline: _health.Deadline,
    output: t.Callable[..., str] = _health_process.output,
) -> list[Finding]:
    """Active, or what it is instead."""
    unit, label = check["unit"], check["label"]
    deadline.stage(f"asking systemd for {unit}")
    command = ["systemctl", "show", "-p", "LoadState,ActiveState,SubState", "--", unit]
    said = _health_process.systemd(command, deadline, output)
    values = dict(line.split("=", 1) for line in said.splitlines() if line)
    if values.get("LoadState") == "not-found":
        return [Finding(label, UNKNOWN, "systemd knows no such unit", "active", "see its name")]
    state = f"{values.get('ActiveState')} ({values.get('SubState')})"
    # One that takes its configuration anew goes on serving meanwhile.
    good = values.get("ActiveState") in ("active", "reloading")
    return [Finding(label, OK if good else CRITICAL, state, "active", f"journalctl -u {unit}")]
