"""What is particular to this scenario: machines of both Debians work together."""

from __future__ import annotations

from testinfra.host import Host

OLDER = ("application1", "application2")


def test_the_two_debians_are_mixed(host: Host) -> None:
    machine = host.check_output("hostname").removeprefix("molecule-four-")
    assert host.system_info.codename == ("bookworm" if machine in OLDER else "trixie")
