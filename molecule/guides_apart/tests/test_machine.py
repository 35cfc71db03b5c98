# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is particular to this scenario: each machine runs what its groups say, and nothing else."""

from __future__ import annotations

import pytest
from testinfra.host import Host

SERVED = {
    "data": {"postgresql@17-main", "pgbouncer", "redis-server@broker", "redis-server@cache"},
    "one": {"nginx", "parkme-web"},
    "two": {"parkme-web"},
    "worker": {"parkme-worker-default", "parkme-beat"},
}


def test_a_machine_runs_what_its_groups_say(host: Host) -> None:
    machine = host.backend.get_hostname().rpartition("-")[2]
    listed = host.check_output(
        "systemctl list-units --plain --no-legend --state=running --type=service"
    )
    running = {line.split()[0].removesuffix(".service") for line in listed.splitlines()}
    everything = {name for names in SERVED.values() for name in names}
    assert running & everything == SERVED[machine]


def test_a_machine_for_workers_has_the_release_and_no_socket(host: Host) -> None:
    machine = host.backend.get_hostname().rpartition("-")[2]
    if machine == "data":
        pytest.skip("it runs no application")
    assert host.file("/srv/parkme/current").is_symlink
    assert host.file("/etc/slipway/parkme/environment").mode == 0o640
    units = host.check_output("systemctl list-unit-files --plain --no-legend 'parkme-*'")
    kinds = {line.split()[0].split("-")[1].partition(".")[0] for line in units.splitlines()}
    assert kinds == ({"worker", "beat"} if machine == "worker" else {"web"})
