# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Media and configuration, saved by a real restic to real object stores, and what befalls them."""

from __future__ import annotations

import json
import shlex
import typing as t

import pytest
from operations import broken, unscheduled
from testinfra.host import Host

UNIT = "slipway-backup-files.service"
RESTIC = "/opt/slipway/backup/files"
MEDIA = "/srv/shop/media"
STATE = "/var/lib/slipway/files/files.json"
SECRETS = "/etc/slipway/backup/files_secrets"
PLACE = "/root/restored"


def start(host: Host) -> int:
    return int(host.run(f"systemctl start {UNIT}").rc)


def state(host: Host) -> dict[str, t.Any]:
    found = json.loads(host.check_output(f"cat {STATE}"))
    files: dict[str, t.Any] = found["databases"]["files"]
    return files


def journal(host: Host) -> str:
    # What the last run has said may still be on its way.
    shown = f"journalctl _SYSTEMD_UNIT={UNIT} --output=cat --no-pager"
    return host.check_output(f"journalctl --sync; {shown}")


def snapshots(host: Host) -> list[dict[str, t.Any]]:
    found: list[dict[str, t.Any]] = json.loads(host.check_output(f"{RESTIC} snapshots --json"))
    return found


@pytest.fixture(scope="module", autouse=True)
def media(host: Host) -> t.Iterator[None]:
    """What visitors have uploaded, which only the application and its group may read."""
    host.check_output(f"install -d -o nobody -m 0750 {MEDIA}/2026")
    host.check_output(f"head -c 3000000 /dev/urandom > '{MEDIA}/2026/a b.jpg'")
    host.check_output(f"chown -R nobody {MEDIA}; chmod 0600 {MEDIA}/2026/*")
    with unscheduled(host):
        assert start(host) == 0, journal(host)
        yield


def test_what_comes_back_is_what_was_there_with_its_rights(host: Host) -> None:
    assert state(host)["verified"]
    assert state(host)["paths"] == [MEDIA, "/etc/slipway"]
    try:
        host.check_output(f"{RESTIC} restore latest --target {PLACE}")
        host.check_output(f"diff -r {MEDIA} {PLACE}{MEDIA}")
        host.check_output(f"diff -r /etc/slipway {PLACE}/etc/slipway")
        assert host.file(f"{PLACE}{MEDIA}/2026/a b.jpg").user == "nobody"
        assert host.file(f"{PLACE}{MEDIA}/2026").mode == 0o750
    finally:
        host.check_output(f"rm -rf {PLACE}")


def test_a_second_run_sends_and_reads_only_what_is_new(host: Host) -> None:
    host.check_output(f"echo more > {MEDIA}/2026/more.txt")
    assert start(host) == 0
    assert "kB of them new" in journal(host).splitlines()[-1]
    assert len(snapshots(host)) >= 2


def test_another_passphrase_saves_nothing_and_says_why(host: Host) -> None:
    before, count = state(host)["last_success"], len(snapshots(host))
    wrong = (
        f"cp -p {SECRETS} /root/kept; sed -i 's/^RESTIC_PASSWORD=.*/RESTIC_PASSWORD=x/' {SECRETS}"
    )
    with broken(host, wrong, f"mv /root/kept {SECRETS}; systemctl reset-failed {UNIT} || true"):
        assert start(host) != 0
    assert "wrong password" in state(host)["detail"]
    assert (state(host)["ok"], state(host)["last_success"]) == (False, before)
    assert len(snapshots(host)) == count


def test_a_run_that_was_killed_is_in_nobodys_way(host: Host) -> None:
    host.check_output(f"head -c 60000000 /dev/urandom > {MEDIA}/large")
    try:
        host.check_output(f"systemctl start --no-block {UNIT}")
        begun = f"until grep -q '\"finished\": null' {STATE}; do sleep 0.1; done; sleep 1"
        host.check_output(f"timeout 120 sh -c {shlex.quote(begun)}")
        host.check_output(f"systemctl kill --signal=SIGKILL {UNIT}; sleep 0.5")
        assert state(host)["detail"] == "this run did not come to its end"
    finally:
        host.check_output(f"rm {MEDIA}/large; systemctl reset-failed {UNIT}")
    assert start(host) == 0, journal(host)
    assert state(host)["verified"]


@pytest.mark.either
def test_a_directory_that_was_emptied_is_told(host: Host) -> None:
    with broken(
        host, f"mv {MEDIA} {MEDIA}.kept; mkdir {MEDIA}", f"rmdir {MEDIA}; mv {MEDIA}.kept {MEDIA}"
    ):
        assert start(host) == 0
    assert "see whether something is gone or not mounted" in journal(host).splitlines()[-1]
    assert start(host) == 0


def test_the_secrets_are_read_by_root_alone(host: Host) -> None:
    assert (host.file(SECRETS).user, host.file(SECRETS).mode) == ("root", 0o600)
    assert "lab-only-cipher-pass" not in host.check_output("journalctl --no-pager")


# One pack turned over in the store, by the client that the program is installed with.
FLIP = """
import json, sys
sys.path.insert(0, "/opt/slipway/backup")
from slipway_backup import _s3
keys = {"access_key": "lab", "secret_key": "lab-secret-key"}
where = _s3.target({**json.load(open("/etc/slipway/backup/files.json"))["target"], **keys})
s3 = _s3.client(where)
largest = max(_s3.list_objects(s3, where, "data"), key=lambda one: (one.size, one.key)).key
body = bytearray(_s3.read_whole(s3, where, largest, 2**30))
body[len(body) // 2] ^= 1
s3.put_object(Bucket=where.bucket, Key=largest, Body=bytes(body))
"""


@pytest.mark.either
def test_every_saved_byte_is_read_by_a_verification(host: Host) -> None:
    program = "python3 /opt/slipway/backup/back_up_files.py /etc/slipway/backup/files.json"

    def verdict() -> dict[str, t.Any]:
        """Of the first place; the second, whose bytes nobody touches, is always well."""
        first, second = host.check_output(f"{program} verify 90000").splitlines()
        assert json.loads(second)["verified"]
        found: dict[str, t.Any] = json.loads(first)
        return found

    assert (verdict()["level"], verdict()["findings"]) == ("readable", [])
    flip = shlex.join(["python3", "-c", FLIP])
    with broken(host, flip, flip):
        (finding,) = verdict()["findings"]
    assert finding["severity"] == "critical"
    assert verdict()["verified"]
