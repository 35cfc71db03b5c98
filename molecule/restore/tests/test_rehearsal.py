# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rehearsals of a real cluster from a real repository, also such as must fail."""

from __future__ import annotations

import contextlib
import json
import shlex
import subprocess
import typing as t

import operations
import pytest
from testinfra.host import Host

UNIT = "slipway-rehearsal.service"
STATE = "/var/lib/slipway/backup"
SETTINGS = "/etc/slipway/backup/rehearsal.json"
DUMPS = "/var/backups/slipway/blog"
# Independent of pgBackRest: one byte in the middle of each bundle of the newest backup. This server
# has no checksum trailers.
FLIP = """
import boto3, botocore.config
s3 = boto3.client("s3", endpoint_url="https://s3.services.test:9443", region_name="us-east-1",
                  aws_access_key_id="lab", aws_secret_access_key="lab-secret-key",
                  config=botocore.config.Config(s3={"addressing_style": "path"},
                                                request_checksum_calculation="when_required"))
pages = s3.get_paginator("list_objects_v2").paginate(
    Bucket="backups", Prefix="restore/pgbackrest/backup/main/")
files = [each for page in pages for each in page["Contents"] if "/bundle/" in each["Key"]]
newest = max(each["Key"].split("/")[4] for each in files)
for each in files:
    if each["Key"].split("/")[4] == newest:
        body = bytearray(s3.get_object(Bucket="backups", Key=each["Key"])["Body"].read())
        body[len(body) // 2] ^= 1
        s3.put_object(Bucket="backups", Key=each["Key"], Body=bytes(body))
"""


def rehearse(host: Host) -> tuple[int, dict[str, t.Any]]:
    """The status of the unit and what it found; nothing of the copy is left, whatever it was."""
    # Others that keep this computer busy make a restore slower than usual; so nothing is usual.
    host.check_output(f"rm -f {STATE}/rehearsal.json")
    code = host.run(f"systemctl start {UNIT}").rc
    host.run(f"systemctl reset-failed {UNIT}")
    assert host.check_output("find /var/lib/slipway/rehearsal -mindepth 1") == ""
    assert host.run("pgrep -f [/]var/lib/slipway/rehearsal").stdout == ""
    return code, json.loads(host.check_output(f"cat {STATE}/rehearsal.json"))


def wrong(found: dict[str, t.Any]) -> dict[str, str]:
    return {each["check"]: each["detail"] for each in found["findings"] if not each["ok"]}


@pytest.fixture(scope="module", autouse=True)
def backed_up(host: Host) -> t.Iterator[None]:
    psql = "runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 -d blog -c"
    rows = "CREATE TABLE IF NOT EXISTS posts AS SELECT id FROM generate_series(1, 1000) id"
    host.check_output(f"{psql} {shlex.quote(rows)}")
    # A rehearsal waits until its commit is archived by itself, which takes up to this.
    host.check_output(f"{psql} \"ALTER SYSTEM SET archive_timeout = '3s'\"")
    host.check_output(f"{psql} 'SELECT pg_reload_conf()'")
    with operations.unscheduled(host):
        # By their units, which wait for those that their timers have started.
        host.check_output("systemctl start slipway-backup-physical.service slipway-backup.service")
        yield
    host.check_output(f"{psql} 'ALTER SYSTEM RESET archive_timeout'")
    host.check_output(f"{psql} 'SELECT pg_reload_conf()'")


def test_it_runs_every_week_and_within_limits(host: Host) -> None:
    shown = host.check_output("systemctl show -p TimersCalendar,Persistent slipway-rehearsal.timer")
    assert "Sun *-*-* 04:00:00" in shown
    assert "Persistent=yes" in shown
    limits = host.check_output(f"systemctl show -p CPUQuotaPerSecUSec,MemoryMax {UNIT}")
    assert "CPUQuotaPerSecUSec=500ms" in limits
    assert f"MemoryMax={1024 * 1024 * 1024}" in limits


# While the copy is there: whether its server is in the unit's group, and what that may use, in
# files of either version of control groups.
IN_FORCE = f"""
systemctl start --no-block {UNIT}
for _try in $(seq 3000); do
  pid=$(head -1 /var/lib/slipway/rehearsal/data/postmaster.pid 2>/dev/null)
  test -n "$pid" && break
  sleep 0.1
done
grep -c /{UNIT} /proc/$pid/cgroup
find /sys/fs/cgroup -path "*/{UNIT}/memory.max" -o -path "*/{UNIT}/memory.limit_in_bytes" |
  head -1 | xargs cat
find /sys/fs/cgroup -path "*/{UNIT}/cpu.max" -o -path "*/{UNIT}/cpu.cfs_quota_us" |
  head -1 | xargs cat
systemctl start {UNIT}
"""


def test_the_limits_are_in_force_for_the_copys_server(host: Host) -> None:
    groups, memory, cpu = host.check_output(IN_FORCE).splitlines()
    assert int(groups) > 0
    assert int(memory) == 1024 * 1024 * 1024
    assert cpu.split()[0] == "50000"


def test_a_restore_that_works_is_proven(host: Host) -> None:
    code, found = rehearse(host)
    assert (code, wrong(found)) == (0, {})
    assert 0 < found["rto_seconds"] < 3600
    assert 0 < found["rpo_seconds"] < 300
    assert found["last_success"] == found["finished"]
    page = host.check_output(f"cat {STATE}/reports/rehearsals.html")
    assert "succeeded" in page and page.count("<polyline") == 3


@pytest.mark.long
def test_the_playbooks_entry_tells_what_it_found(host: Host) -> None:
    run: subprocess.CompletedProcess[str] = operations.apply(host, molecule_entry="rehearse")
    assert run.returncode == 0, run.stdout
    assert "(RTO), a commit was safe after" in " ".join(run.stdout.split())


@contextlib.contextmanager
def changed(host: Host, path: str, text: str) -> t.Iterator[None]:
    write = f"cp -p {path} /root/kept && printf %s {shlex.quote(text)} >{path}"
    with operations.broken(host, write, f"cat /root/kept >{path}"):
        yield


# What applications do all day: a queue is emptied, a table is made anew, numbers begin anew.
LIFE = """
while :; do
  echo 'INSERT INTO queue SELECT FROM generate_series(1, 9); DELETE FROM queue;'
  echo 'INSERT INTO queue DEFAULT VALUES; TRUNCATE queue RESTART IDENTITY;'
  echo 'DROP TABLE IF EXISTS passing; CREATE TABLE passing AS SELECT 1 AS x;'
  sleep 0.1
done | runuser -u postgres -- psql -Xq -d blog
"""


def test_what_applications_do_meanwhile_is_no_difference(host: Host) -> None:
    psql = "runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 -d blog -c"
    host.check_output(f"{psql} 'CREATE TABLE queue (id bigserial)'")
    start = f"systemd-run --unit=lab-life bash -c {shlex.quote(LIFE)}"
    with operations.broken(host, start, "systemctl stop lab-life"):
        code, found = rehearse(host)
    host.check_output(f"{psql} 'DROP TABLE IF EXISTS queue, passing'")
    assert (code, wrong(found)) == (0, {})


def test_what_a_dump_had_and_is_gone_is_remarked(host: Host) -> None:
    (path,) = host.check_output(f"ls {DUMPS}/*.json | tail -1").split()
    record = json.loads(host.check_output(f"cat {path}"))
    record["tables"]["public.gone"] = 5
    with changed(host, path, json.dumps(record)):
        code, found = rehearse(host)
    assert (code, wrong(found)) == (0, {})
    said = {each["check"]: each["detail"] for each in found["findings"]}
    assert "public.gone had 5 rows" in said["blog beside its newest dump"]


def test_the_content_of_named_tables_is_the_same_in_both(host: Host) -> None:
    settings = json.loads(host.check_output(f"cat {SETTINGS}"))
    settings["hashed_tables"] = {"blog": ["public.posts"]}
    with changed(host, SETTINGS, json.dumps(settings)):
        code, found = rehearse(host)
    assert (code, wrong(found)) == (0, {})


@pytest.mark.long
def test_an_assertion_of_the_operators_own_is_asked_of_the_copy(host: Host) -> None:
    settings = json.loads(host.check_output(f"cat {SETTINGS}"))
    ask = {"database": "blog", "sql": "SELECT count(*) = 1000 FROM posts"}
    no = {**ask, "name": "no", "sql": "SELECT count(*) = 7 FROM posts"}
    settings["assertions"] = [{**ask, "name": "yes"}, no]
    with changed(host, SETTINGS, json.dumps(settings)):
        code, found = rehearse(host)
    assert code != 0
    assert wrong(found) == {"no": "the answer is f, not t"}


def test_a_repository_with_a_flipped_bit_fails(host: Host) -> None:
    host.check_output(shlex.join(["python3", "-c", FLIP]))
    code, found = rehearse(host)
    assert code != 0
    assert "pgbackrest restore failed" in wrong(found)["the rehearsal comes to its end"]
    # For whoever comes next: what builds on nothing that is there.
    host.check_output("runuser -u postgres -- pgbackrest --stanza=main --type=full backup")
