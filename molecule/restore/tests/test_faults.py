# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What comes over a backup in its middle, and that the next one knows nothing of it."""

from __future__ import annotations

import json
import typing as t

import gate
import operations
import pytest
from testinfra.host import Host

STATE = "/var/lib/slipway/backup"
PHYSICAL = "slipway-backup-physical.service"
LOGICAL = "slipway-backup.service"
# The brackets keep pgrep from finding its own shell.
COPYING = "[p]gbackrest.* backup"


def start(host: Host, unit: str) -> int:
    return int(host.run(f"systemctl start {unit}").rc)


def physical(host: Host) -> dict[str, t.Any]:
    found = json.loads(host.check_output(f"cat {STATE}/physical.json"))["databases"]["cluster"]
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module", autouse=True)
def ready(host: Host) -> t.Iterator[None]:
    """Nothing but what is asked for here."""
    timers = "slipway-backup.timer slipway-backup-physical.timer"
    with operations.broken(host, f"systemctl stop {timers}", f"systemctl start {timers}"):
        host.check_output(f"systemctl start {PHYSICAL} {LOGICAL}")
        yield
        host.check_output(f"systemctl start {PHYSICAL} {LOGICAL}")


def test_a_physical_backup_that_is_killed_in_its_middle_is_told_and_in_nobodys_way(
    host: Host,
) -> None:
    before = physical(host)["last_success"]
    host.check_output(f"touch {STATE}/full_wanted")
    kill = f"systemctl kill --signal=SIGKILL {PHYSICAL}"
    with gate.line(host, "sent"):
        ended = gate.struck(host, COPYING, kill, lambda: start(host, PHYSICAL))
    assert ended != 0
    host.check_output(f"systemctl reset-failed {PHYSICAL}")
    assert not physical(host)["ok"]
    assert physical(host)["last_success"] == before
    assert start(host, PHYSICAL) == 0
    found = physical(host)
    # Nothing builds on what did not come to its end.
    assert (found["ok"], found["verified"], found["kind"]) == (True, True, "full")
