# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Physical backups of a real PostgreSQL by a real pgBackRest, and what befalls them."""

from __future__ import annotations

import json
import shlex
import time
import typing as t

import pytest
from operations import apply, broken, unscheduled
from testinfra.host import Host

UNIT = "slipway-backup-physical.service"
CONFIGURATION = "/etc/pgbackrest/pgbackrest.conf"
PASSPHRASE = "lab-only-cipher-pass"  # noqa: S105  # that of the lab
# Nobody listens there; with less patience than operators have.
UNREACHABLE = "s/^repo1-storage-port=.*/repo1-storage-port=9/; s/^io-timeout=.*/io-timeout=1/"


def as_postgres(host: Host, *command: str) -> str:
    return host.check_output(shlex.join(["runuser", "-u", "postgres", "--", *command]))


def sql(host: Host, statement: str) -> str:
    return as_postgres(host, "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement)


def start(host: Host) -> int:
    return int(host.run(f"systemctl start {UNIT}").rc)


def state(host: Host) -> dict[str, t.Any]:
    found = json.loads(host.check_output("cat /var/lib/slipway/backup/physical.json"))
    cluster: dict[str, t.Any] = found["databases"]["cluster"]
    return cluster


def journal(host: Host) -> str:
    # What the last run has said may still be on its way.
    shown = f"journalctl _SYSTEMD_UNIT={UNIT} --output=cat --no-pager"
    return host.check_output(f"journalctl --sync; {shown}")


def info(host: Host) -> dict[str, t.Any]:
    """Of the first repository."""
    told = as_postgres(host, "pgbackrest", "info", "--repo=1", "--output=json")
    (stanza,) = json.loads(told)
    found: dict[str, t.Any] = stanza
    return found


def finished_segment(host: Host) -> str:
    """A segment that PostgreSQL has finished, and so wants to be archived."""
    sql(host, "SELECT pg_create_restore_point('test')")
    return sql(host, "SELECT pg_walfile_name(pg_switch_wal())")


def archived(host: Host, segment: str, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if sql(host, "SELECT last_archived_wal FROM pg_stat_archiver") >= segment:
            return True
        time.sleep(0.5)
    return False


@pytest.fixture(scope="module", autouse=True)
def alone(host: Host) -> t.Iterator[None]:
    """The run that a new machine makes by itself must not come in between."""
    with unscheduled(host):
        yield


@pytest.fixture(scope="module")
def backed_up(host: Host) -> None:
    assert start(host) == 0, journal(host)


def test_a_segment_is_archived_soon_after_it_is_finished(host: Host) -> None:
    assert archived(host, finished_segment(host), 300)
    assert sql(host, "SHOW archive_timeout") == "1min"


@pytest.mark.usefixtures("backed_up")
def test_the_first_backup_is_a_full_one_encrypted_and_read_back(host: Host) -> None:
    assert info(host)["backup"][0]["type"] == "full"
    assert info(host)["cipher"] == "aes-256-cbc"
    assert (state(host)["ok"], state(host)["verified"]) == (True, True)
    assert state(host)["label"] == info(host)["backup"][-1]["label"]
    raw = "pgbackrest --stanza=main --repo=1 repo-get --raw backup/main/backup.info"
    assert host.check_output(f"runuser -u postgres -- {raw} | head -c 8") == "Salted__"


@pytest.mark.usefixtures("backed_up")
def test_a_run_that_is_killed_is_in_nobodys_way(host: Host) -> None:
    # Slow enough to be caught at it.
    slow = "systemd-run --quiet --collect --unit=slow -p User=postgres "
    program = "pgbackrest --stanza=main --type=full --compress-level=19 --process-max=1 backup"
    host.check_output(f"{slow} {program}")
    host.check_output("timeout 30 sh -c 'until pgrep -f type=full >/dev/null; do sleep 0.1; done'")
    time.sleep(1)
    host.check_output("systemctl kill --signal=SIGKILL slow; sleep 0.5")
    # The server notices only when it has made its checkpoint; until then it holds the lock on it.
    deadline = time.monotonic() + 120
    while sql(host, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") != "0":
        assert time.monotonic() < deadline, "the server does not let go of who was killed"
        time.sleep(0.2)
    assert start(host) == 0, journal(host)


@pytest.mark.usefixtures("backed_up")
def test_dumps_and_physical_backups_wait_for_each_other(host: Host) -> None:
    turn = "/var/lib/slipway/backup/turn"
    hold = f"systemd-run --quiet --collect --unit=holder flock {turn} sleep 4"
    host.check_output(hold)
    time.sleep(0.5)
    begun = time.monotonic()
    assert start(host) == 0, journal(host)
    assert time.monotonic() - begun > 3
    assert state(host)["kind"] == "incr"
    lock = "/var/lib/slipway/backup/physical.lock"
    assert host.run(f"flock {lock} systemctl start {UNIT}").rc != 0
    host.check_output(f"systemctl reset-failed {UNIT}")
    assert "Another backup is running" in journal(host).splitlines()[-1]


@pytest.mark.usefixtures("backed_up")
@pytest.mark.either
def test_a_store_that_cannot_be_reached_loses_no_wal_and_fails_the_run(host: Host) -> None:
    before = state(host)["last_success"]
    break_it = f"cp -p {CONFIGURATION} /root/kept; sed -i '{UNREACHABLE}' {CONFIGURATION}"
    with broken(host, break_it, f"mv /root/kept {CONFIGURATION}"):
        segment = finished_segment(host)
        assert start(host) != 0
        waiting = as_postgres(host, "sh", "-c", "ls /var/lib/postgresql/*/main/pg_wal")
        assert segment in waiting
        assert sql(host, "SELECT last_archived_wal FROM pg_stat_archiver") < segment
    host.check_output(f"systemctl reset-failed {UNIT}")
    assert (state(host)["ok"], state(host)["last_success"]) == (False, before)
    assert "The repository of the physical backups cannot be used: " in state(host)["detail"]
    assert "s3.services.test:9" in state(host)["detail"]
    assert archived(host, segment, 300), "what waited is archived once the store is back"
    assert start(host) == 0, journal(host)


@pytest.mark.usefixtures("backed_up")
def test_another_passphrase_never_goes_live(host: Host) -> None:
    done = apply(host, backup_cipher_pass="another-passphrase")  # noqa: S106
    assert done.returncode != 0
    assert "slipway-archive" in done.stdout
    assert "another-passphrase" not in done.stdout
    assert PASSPHRASE in host.file(CONFIGURATION).content_string
    host.check_output("systemctl reset-failed slipway-archive || true")


def test_a_missing_passphrase_is_refused_in_one_sentence(host: Host) -> None:
    done = apply(host, backup_cipher_pass="")
    assert done.returncode != 0
    assert "backup_cipher_pass is missing or is not 12 or more" in " ".join(done.stdout.split())


@pytest.mark.usefixtures("backed_up")
def test_only_root_and_postgres_can_read_the_passphrase(host: Host) -> None:
    file = host.file(CONFIGURATION)
    assert (file.user, file.group, file.mode) == ("root", "postgres", 0o640)
    assert PASSPHRASE not in host.check_output("journalctl --no-pager")
    found = host.run(f"grep -lr {PASSPHRASE} /opt/slipway /var/lib/slipway /etc/slipway").stdout
    readers = {
        "/etc/slipway/backup/files_secrets": ("root", "root", 0o600),
        "/etc/slipway/backup/passphrase": ("root", "postgres", 0o640),
    }
    assert sorted(found.split()) == sorted(readers)
    for path, rights in readers.items():
        file = host.file(path)
        assert (file.user, file.group, file.mode) == rights
