# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A second place for backups on another object store, and what it is worth without the first."""

from __future__ import annotations

import json
import typing as t

import pytest
from operations import broken, unscheduled
from test_physical import (
    CONFIGURATION,
    UNIT,
    UNREACHABLE,
    archived,
    as_postgres,
    finished_segment,
    journal,
    sql,
    start,
)
from testinfra.host import Host

DUMPS = "slipway-backup.service"
STATE = "/var/lib/slipway/backup"
COPY = "psql -XAtq -h /var/lib/slipway/scratch/socket -p 5499"


def states(host: Host, file: str) -> dict[str, t.Any]:
    found: dict[str, t.Any] = json.loads(host.check_output(f"cat {STATE}/{file}"))["databases"]
    return found


@pytest.fixture(scope="module", autouse=True)
def backed_up(host: Host) -> t.Iterator[None]:
    with unscheduled(host):
        assert start(host) == 0, journal(host)
        yield


def test_the_cluster_is_in_both_repositories(host: Host) -> None:
    (stanza,) = json.loads(as_postgres(host, "pgbackrest", "info", "--output=json"))
    assert {one["database"]["repo-key"] for one in stanza["backup"]} == {1, 2}
    found = states(host, "physical.json")
    assert {name: one["verified"] for name, one in found.items()} == {
        "cluster": True,
        "cluster-second": True,
    }
    assert "s3://backups/" in found["cluster"]["detail"]
    assert "s3://slipway-demo/second-" in found["cluster-second"]["detail"]


def test_a_dump_is_in_both_places(host: Host) -> None:
    host.check_output(f"systemctl start {DUMPS}")
    settings = json.loads(host.check_output("cat /etc/slipway/backup/backup.json"))
    names = []
    for place in ("s3", "second"):
        options = {**settings[place], "access_key": "lab", "secret_key": "lab-secret-key"}
        known = ("bucket", "prefix", "endpoint_url", "addressing_style", "access_key", "secret_key")
        told = host.ansible(
            "slipway.stack.s3_backup_info", " ".join(f"{name}={options[name]}" for name in known)
        )
        names.append({one["key"].rpartition("/")[2] for one in told["newest"].values()})
    assert names[0] == names[1] and len(names[0]) == 2


def test_files_are_in_both_places(host: Host) -> None:
    host.check_output("systemctl start slipway-backup-files.service")
    found = json.loads(host.check_output("cat /var/lib/slipway/files/files.json"))["databases"]
    assert {name: one["verified"] for name, one in found.items()} == {
        "files": True,
        "files-second": True,
    }
    assert "s3://slipway-demo/second-" in found["files-second"]["detail"]
    told = json.loads(host.check_output("/opt/slipway/backup/files-second snapshots --json"))
    # An older restic tells the beginning of the name alone.
    assert told[-1]["id"].startswith(found["files-second"]["snapshot"])


def test_figures_of_all_programs_are_in_one_directory(host: Host) -> None:
    host.check_output(f"systemctl start {DUMPS} slipway-backup-files.service")
    assert sorted(host.file("/var/lib/slipway/metrics").listdir()) == ["backup.prom", "files.prom"]
    for name, user in (("backup", "postgres"), ("files", "slipway-files")):
        file = host.file(f"/var/lib/slipway/metrics/{name}.prom")
        assert (file.user, file.mode) == (user, 0o644)
        assert 'slipway_backup_last_run_ok{kind="' in file.content_string
        assert not host.file(f"/var/lib/slipway/{name}/backup.prom").exists


@pytest.mark.long
def test_without_the_first_place_the_second_restores_what_came_after(host: Host) -> None:
    """WAL and backups go on arriving there, and a restore finds them by itself.

    For each segment pgBackRest tries the first for a while, which makes this slow.
    """
    sql(host, "CREATE TABLE IF NOT EXISTS elsewhere (id int)")
    break_it = f"cp -p {CONFIGURATION} /root/kept; sed -i '{UNREACHABLE}' {CONFIGURATION}"
    with broken(host, break_it, f"mv /root/kept {CONFIGURATION}"):
        segment = finished_segment(host)
        assert start(host) != 0
        found = states(host, "physical.json")
        assert {name: one["ok"] for name, one in found.items()} == {
            "cluster": False,
            "cluster-second": True,
        }
        sql(host, "INSERT INTO elsewhere VALUES (42)")
        try:
            told = host.ansible("slipway.stack.restore_scratch", "to=latest", check=False)
            assert told.get("changed"), told
            assert as_postgres(host, *COPY.split(), "-c", "TABLE elsewhere") == "42"
        finally:
            host.ansible("slipway.stack.restore_scratch", "state=absent", check=False)
            sql(host, "DROP TABLE elsewhere")
        assert sql(host, "SELECT last_archived_wal FROM pg_stat_archiver") < segment
    host.check_output(f"systemctl reset-failed {UNIT}")
    assert archived(host, segment, 90), "the first gets what it missed once it is back"
    assert start(host) == 0, journal(host)
