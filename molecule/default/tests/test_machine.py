"""What is particular to this scenario: one machine of the newer Debian."""

from __future__ import annotations

from testinfra.host import Host


def test_everything_runs_on_debian_13(host: Host) -> None:
    assert host.system_info.codename == "trixie"
    assert host.file("/srv/auction/current").is_symlink
    assert host.service("nginx").is_running
