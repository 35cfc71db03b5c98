# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What holds on every machine, whichever roles have been applied to it."""

from __future__ import annotations

import time
import typing as t

import pytest
from testinfra.host import Host

DROP_IN = "50-hardening.conf"
EXPOSURE_LIMIT = 1.5
OURS = "/etc/slipway /srv /opt/slipway /var/lib/slipway /var/backups/slipway"
SSH_PORT = 22
PROPERTIES = "Id,Type,ActiveState,SubState,MainPID,DropInPaths,LoadState"


def units(host: Host, names: str = "'*.service'") -> list[dict[str, str]]:
    """Return the services that systemd has loaded, jobs at rest too, and that we have confined."""
    shown = host.check_output(f"systemctl show --all --property={PROPERTIES} {names}")
    blocks = [
        dict(line.split("=", 1) for line in block.splitlines()) for block in shown.split("\n\n")
    ]
    return [block for block in blocks if DROP_IN in block.get("DropInPaths", "")]


def test_no_unit_has_failed(host: Host) -> None:
    assert host.check_output("systemctl list-units --failed --plain --no-legend") == ""


def test_every_hardening_reaches_a_service(host: Host) -> None:
    written = host.check_output(
        f"find /etc/systemd/system -name {DROP_IN} -path '*.service.d/*'"
    ).split()
    # By name too: a service that is stopped on this machine on purpose is not loaded otherwise, and
    # of a template it is some instance that is.
    folders = (path.split("/")[-2].removesuffix(".d") for path in written)
    names = " ".join(name.replace("@.", "@any.") for name in folders)
    loaded = [unit for unit in units(host, f"{names} '*.service'") if unit["LoadState"] == "loaded"]
    assert set(written) <= {path for unit in loaded for path in unit["DropInPaths"].split()}


def test_every_service_of_ours_is_confined(host: Host) -> None:
    # One by one: the table of all leaves out jobs at rest, and is never an error.
    judge = f"systemd-analyze security --no-pager --threshold={EXPOSURE_LIMIT * 10:.0f}"
    judged = {unit["Id"]: host.run(f"{judge} {unit['Id']}") for unit in units(host)}
    assert {name: done.stdout.splitlines()[-1] for name, done in judged.items() if done.rc} == {}


def test_nobody_else_may_write_our_files(host: Host) -> None:
    found = host.run(f"find {OURS} ! -type l -perm /o+w 2>/dev/null")
    assert found.stdout == ""


def test_only_declared_ports_are_open(host: Host, scenario: dict[str, t.Any]) -> None:
    declared = {SSH_PORT, *scenario.get("molecule_open_ports", [])}
    sockets = [line.split() for line in host.check_output("ss -Hlntup").splitlines()]
    opened = [(fields[4], fields[-1]) for fields in sockets]
    surprising = [
        (address, program)
        for address, program in opened
        if not address.startswith(("127.", "[::1]"))
        and int(address.rpartition(":")[2]) not in declared
    ]
    assert surprising == []


def test_every_service_of_ours_comes_back_after_kill_9(host: Host) -> None:
    running = [unit for unit in units(host) if unit["SubState"] == "running"]
    for unit in running:
        name, before = unit["Id"], unit["MainPID"]
        host.check_output(f"systemctl kill --signal=KILL --kill-who=main {name}")
        deadline = time.monotonic() + 120
        while not _is_back(host, name, before):
            if time.monotonic() > deadline:
                pytest.fail(f"{name} has not come back within 120 s after kill -9")
            time.sleep(0.5)


def _is_back(host: Host, name: str, before: str) -> bool:
    (unit,) = units(host, name)
    return unit["SubState"] == "running" and unit["MainPID"] not in ("0", before)
