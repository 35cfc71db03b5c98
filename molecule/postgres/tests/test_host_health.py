# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Faults of a real machine, and what host_health says of them.

No machine of ours may set its clock, which is the engine's: a time server that is wrong by a known
amount, and a controller's time that is, stand in for a clock that was moved.
"""

from __future__ import annotations

import base64
import time
import typing as t

import pytest
from operations import broken
from testinfra.host import Host

# The faults are answered by our own code.
pytestmark = pytest.mark.either

Rows = dict[str, dict[str, str]]
Examine = t.Callable[..., Rows]
SMALL = "/mnt/small"
SERVER = r"""
import socket, struct, time
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 1123))
while True:
    data, who = server.recvfrom(99)
    now = int((time.time() + AHEAD + 2208988800) * 2**32)
    server.sendto(b"\x24\x01" + 30 * b"\0" + struct.pack("!2Q", now, now), who)
"""


@pytest.fixture
def small(host: Host) -> t.Iterator[str]:
    """A file system of a megabyte with twenty inodes."""
    mount = f"mkdir -p {SMALL} && mount -t tmpfs -o size=1m,nr_inodes=20 tmpfs {SMALL}"
    with broken(host, mount, f"umount {SMALL} && rmdir {SMALL}"):
        yield SMALL


def test_the_machine_is_well(examine: Examine) -> None:
    # How busy the machine under all machines is says nothing of this one.
    rows = examine("host", reference_time=time.time(), load_warning_per_processor=1000)
    disks = {name: row for name, row in rows.items() if name.split()[-1] in ("space", "inodes")}
    others = {name: row["state"] for name, row in rows.items() if name not in disks}
    assert set(others) == {"memory", "load", "clock", "failed units", "reboot"}
    assert set(others.values()) == {"ok"}
    assert "/ space" in disks


def test_a_disk_that_fills_up_is_told_and_then_critical(
    host: Host, examine: Examine, small: str
) -> None:
    assert examine("host", mounts=[small])[f"{small} space"]["state"] == "ok"
    host.check_output(f"dd if=/dev/zero of={small}/a bs=1k count=900 status=none")
    assert examine("host", mounts=[small])[f"{small} space"]["state"] == "warning"
    host.run(f"dd if=/dev/zero of={small}/b bs=1k count=900 status=none")
    rows = examine("host", mounts=[small])
    assert rows[f"{small} space"]["state"] == "critical"
    assert rows[f"{small} space"]["value"] == "0 % free"
    # Shown without being asked for, because it is not well.
    assert examine("host")[f"{small} space"]["state"] == "critical"


def test_inodes_that_run_out_are_critical(host: Host, examine: Examine, small: str) -> None:
    host.run(f"touch {small}/$(seq -s ' {small}/' 30)")
    rows = examine("host", mounts=[small])
    assert rows[f"{small} inodes"]["state"] == "critical"
    assert rows[f"{small} space"]["state"] == "ok"


def test_a_directory_that_eats_its_disk_is_told(host: Host, examine: Examine, small: str) -> None:
    host.check_output(
        f"mkdir {small}/releases && dd if=/dev/zero of={small}/releases/a bs=1k"
        " count=400 status=none"
    )
    directories = [f"{small}/*"]
    rows = examine("host", directories=directories)
    assert rows[f"{small}/releases"]["state"] == "warning"
    rows = examine("host", directories=directories, directory_critical_percent=35)
    assert rows[f"{small}/releases"]["state"] == "critical"


def test_a_failed_unit_is_named(host: Host, examine: Examine) -> None:
    begin = "systemd-run --quiet --unit=broken-thing --wait false || true"
    with broken(host, begin, "systemctl reset-failed broken-thing"):
        row = examine("host")["failed units"]
        assert (row["state"], row["value"]) == ("warning", "broken-thing.service")
        worse = examine("host", failed_critical_units=0)
        assert worse["failed units"]["state"] == "critical"
        ignored = examine("host", failed_units_ignored=["broken-thing.service"])
        assert ignored["failed units"]["state"] == "ok"


def test_a_pending_reboot_is_told_and_then_critical(host: Host, examine: Examine) -> None:
    flag = "/run/reboot-required"
    with broken(host, f"touch {flag}", f"rm {flag}"):
        assert examine("host")["reboot"]["state"] == "warning"
        host.check_output(f"touch --date='40 days ago' {flag}")
        assert examine("host")["reboot"]["state"] == "critical"


def test_a_clock_that_is_off_is_told_and_then_critical(host: Host, examine: Examine) -> None:
    for ahead, state in ((0, "ok"), (5, "warning"), (-90, "critical")):
        program = SERVER.replace("AHEAD", str(ahead))
        encoded = base64.b64encode(program.encode()).decode()
        host.check_output(f"echo {encoded} | base64 -d >/run/clock.py")
        begin = "systemd-run --collect --quiet --unit=clock python3 /run/clock.py; sleep 1"
        with broken(host, begin, "systemctl stop clock; rm /run/clock.py"):
            row = examine("host", clock_server="127.0.0.1:1123")["clock"]
        assert row["state"] == state, row
    assert examine("host", reference_time=time.time() + 90)["clock"]["state"] == "critical"
    assert examine("host", reference_time=time.time() - 90)["clock"]["state"] == "critical"


def test_a_time_server_that_does_not_answer_and_none_at_all(examine: Examine) -> None:
    rows = examine("host", clock_server="127.0.0.1:1", timeout=4)
    assert rows["clock"]["state"] == "critical"
    assert rows["memory"]["state"] == "ok"
    row = examine("host")["clock"]
    assert row["state"] == "unknown"
    assert "clock_server" in row["advice"]
