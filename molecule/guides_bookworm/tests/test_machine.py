# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is particular to this scenario: a machine of the older Debian."""

from __future__ import annotations

from testinfra.host import Host


def test_it_runs_debian_12(host: Host) -> None:
    assert host.system_info.codename == "bookworm"
