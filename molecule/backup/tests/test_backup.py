# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the backups of a real PostgreSQL on two real object stores are worth."""

from __future__ import annotations

import contextlib
import json
import shlex
import typing as t

import pytest
from operations import unscheduled
from testinfra.host import Host

UNIT = "slipway-backup.service"
LOCAL = "/var/backups/slipway"
KEYS = "/etc/slipway/backup/s3_keys"
SETTINGS = "/etc/slipway/backup/backup.json"
SECRET = "lab-secret-key"  # noqa: S105  # that of the lab
PASSPHRASE = "lab-only-cipher-pass"  # noqa: S105  # that of the lab
GPG = "gpg --batch --quiet --pinentry-mode loopback --passphrase"
CUT = f"{LOCAL}/cut.dump"
OLD = "20200101T020000Z-0000000"

# Independent of the program: boto3 on the machine, with the settings that the role wrote.
FETCH = """
import boto3, botocore.config, hashlib, json, sys
where = json.load(open("/etc/slipway/backup/backup.json"))["s3"]
s3 = boto3.client("s3", endpoint_url=where["endpoint_url"], region_name="us-east-1",
                  aws_access_key_id="lab", aws_secret_access_key="lab-secret-key",
                  config=botocore.config.Config(s3={"addressing_style": "path"}))
body = s3.get_object(Bucket="backups", Key=sys.argv[1])["Body"].read()
open("/root/fetched", "wb").write(body)
print(json.dumps({"sha256": hashlib.sha256(body).hexdigest(), "size": len(body)}))
"""
# The installed library, asked whether it takes a dump that was cut short.
READ = """
import pathlib, sys
sys.path.insert(0, "/opt/slipway/backup")
from slipway_backup import _dump
_dump.require_readable(_dump.client_for(int(sys.argv[1])), pathlib.Path(sys.argv[2]))
"""


def sql(host: Host, database: str, statement: str) -> str:
    command = ["runuser", "-u", "postgres", "--", "psql", "-XAtq", "-v", "ON_ERROR_STOP=1"]
    return host.check_output(shlex.join([*command, "-d", database, "-c", statement]))


def python(host: Host, text: str, *arguments: str) -> t.Any:
    return host.run(shlex.join(["python3", "-c", text, *arguments]))


def start(host: Host) -> int:
    return int(host.run(f"systemctl start {UNIT}").rc)


def results(host: Host) -> dict[str, t.Any]:
    text = host.check_output("cat /var/lib/slipway/backup/state.json")
    found: dict[str, t.Any] = json.loads(text)["databases"]
    return found


def journal(host: Host) -> str:
    # What the last run has said may still be on its way.
    shown = f"journalctl _SYSTEMD_UNIT={UNIT} --output=cat --no-pager"
    return host.check_output(f"journalctl --sync; {shown}")


def dumps(host: Host, database: str) -> list[str]:
    return host.check_output(f"find {LOCAL}/{database} -name '*.dump' -printf '%f\\n'").split()


def record(host: Host, database: str) -> dict[str, t.Any]:
    file = results(host)[database]["file"].replace(".dump", ".json")
    found: dict[str, t.Any] = json.loads(host.check_output(f"cat {LOCAL}/{database}/{file}"))
    return found


def plant_old_copies(host: Host, database: str, count: int) -> list[str]:
    """Copies of long ago, which a run that succeeds would prune."""
    taken = record(host, database)
    planted = [f"{OLD}{number}.dump" for number in range(count)]
    for file in planted:
        old = json.dumps({**taken, "file": file})
        host.check_output(f"cp -p {LOCAL}/{database}/{taken['file']} {LOCAL}/{database}/{file}")
        place = f"{LOCAL}/{database}/{file.replace('.dump', '.json')}"
        host.check_output(f"printf %s {shlex.quote(old)} > {place}")
    return planted


@contextlib.contextmanager
def replaced(host: Host, path: str, text: str) -> t.Iterator[None]:
    host.check_output(f"cp -p {path} {path}.kept")
    try:
        host.check_output(f"printf %s {shlex.quote(text)} > {path}")
        yield
    finally:
        host.check_output(f"mv {path}.kept {path}")
        host.check_output(f"systemctl reset-failed {UNIT} || true")


@pytest.fixture(scope="module")
def rows(host: Host) -> None:
    sql(
        host,
        "shop",
        'DROP TABLE IF EXISTS bids, "odd \' name", events CASCADE;'
        "CREATE TABLE bids AS SELECT id, md5(id::text) FROM generate_series(1, 20000) id;"
        "CREATE TABLE events (id bigserial);"
        'CREATE TABLE "odd \' name" AS SELECT 1 AS x;',
    )


@pytest.fixture(scope="module")
def backed_up(host: Host, rows: None) -> t.Iterator[None]:
    with unscheduled(host):
        assert start(host) == 0, journal(host)
        yield


def test_the_timer_runs_at_two_and_makes_up_for_a_missed_run(host: Host) -> None:
    assert host.service("slipway-backup.timer").is_enabled
    assert host.service("slipway-backup.timer").is_running
    shown = host.check_output("systemctl show -p TimersCalendar,Persistent slipway-backup.timer")
    assert "*-*-* 02:00:00" in shown
    assert "Persistent=yes" in shown


@pytest.mark.usefixtures("backed_up")
def test_every_database_is_backed_up_and_verified(host: Host) -> None:
    found = results(host)
    assert {name: result["verified"] for name, result in found.items()} == {
        "shop": True,
        "blog": True,
    }
    assert record(host, "blog")["extensions"]["pg_trgm"]
    shop = record(host, "shop")
    assert shop["tables"]["public.bids"] == 20000
    assert len(shop["hashes"]["public.bids"]) == len(shop["schema"]) == 32
    assert "CREATE ROLE shop" in shop["roles"]
    assert "SCRAM-SHA-256" not in shop["roles"]


@pytest.mark.usefixtures("backed_up")
@pytest.mark.parametrize("database", ["shop", "blog"])
def test_the_store_holds_what_opens_to_the_local_dump(host: Host, database: str) -> None:
    result = results(host)[database]
    local = host.check_output(f"sha256sum {LOCAL}/{database}/{result['file']}").split()[0]
    assert record(host, database)["sha256"] == local
    key = result["remote"].partition("/backups/")[2]
    beside = python(host, FETCH, f"{key}.json")
    assert beside.rc == 0, beside.stderr
    kept = json.loads(host.check_output("cat /root/fetched"))
    stored = json.loads(python(host, FETCH, key).stdout)
    assert stored == {"sha256": kept["sha256"], "size": kept["size"]}
    # As an operator would on a machine that has nothing but gpg and the passphrase.
    opened = f"{GPG} {PASSPHRASE} --decrypt /root/fetched | sha256sum"
    assert host.check_output(opened).split()[0] == local == kept["plain_sha256"]
    assert host.run(f"{GPG} another-passphrase --decrypt /root/fetched").rc == 2
    assert b"PGDMP" not in host.file("/root/fetched").content


def test_a_restored_dump_holds_the_rows_of_its_record(host: Host, rows: None) -> None:
    # Rows arrive all the time, so only one snapshot for dump and counts makes them agree.
    writer = (
        "i=0; while [ $i -lt 400 ]; do echo 'INSERT INTO events DEFAULT VALUES;'; i=$((i+1)); "
        "sleep 0.02; done | runuser -u postgres -- psql -Xq -d shop"
    )
    host.check_output(f"systemd-run --quiet --unit=writer --collect sh -c {shlex.quote(writer)}")
    assert start(host) == 0, journal(host)
    host.check_output("systemctl stop writer || true")
    tables = record(host, "shop")["tables"]
    file = f"{LOCAL}/shop/{record(host, 'shop')['file']}"
    sql(host, "postgres", "DROP DATABASE IF EXISTS scratch")
    sql(host, "postgres", "CREATE DATABASE scratch")
    try:
        host.check_output(
            f"runuser -u postgres -- pg_restore --exit-on-error --dbname=scratch {file}"
        )
        for table, count in tables.items():
            schema, name = table.split(".", 1)
            found = sql(host, "scratch", f'TABLE "{schema}"."{name}"').splitlines()
            assert (table, len(found)) == (table, count)
        assert set(tables) == {"public.bids", "public.events", "public.odd ' name"}
    finally:
        sql(host, "postgres", "DROP DATABASE scratch")


@pytest.mark.usefixtures("backed_up")
@pytest.mark.parametrize("left", ["1", "1000", "50%", "-1"])
def test_a_dump_that_was_cut_short_is_refused(host: Host, left: str) -> None:
    taken = record(host, "shop")
    major = taken["server_version"].split(".")[0]
    size = {"50%": taken["size"] // 2, "-1": taken["size"] - 1}.get(left, left)
    whole = f"{LOCAL}/shop/{taken['file']}"
    assert python(host, READ, major, whole).rc == 0
    host.check_output(f"cp {whole} {CUT}; truncate --size={size} {CUT}")
    refused = python(host, READ, major, CUT)
    assert refused.rc != 0
    assert "BackupError: pg_restore ended with 1" in refused.stderr


@pytest.mark.usefixtures("backed_up")
def test_a_database_that_is_gone_fails_the_run_and_prunes_nothing_of_it(host: Host) -> None:
    planted = {name: set(plant_old_copies(host, name, 4)) for name in ("shop", "blog")}
    before = set(dumps(host, "blog"))
    sql(host, "postgres", "ALTER DATABASE blog RENAME TO blog_gone")
    try:
        assert start(host) != 0
        assert host.check_output(f"systemctl is-failed {UNIT}") == "failed"
        assert 'database "blog" does not exist' in journal(host).splitlines()[-1]
    finally:
        sql(host, "postgres", "ALTER DATABASE blog_gone RENAME TO blog")
        host.check_output(f"systemctl reset-failed {UNIT}")
    found = results(host)
    assert (found["shop"]["ok"], found["blog"]["ok"]) == (True, False)
    assert found["blog"]["last_success"]
    assert set(dumps(host, "blog")) == before
    assert start(host) == 0
    assert planted["blog"] - set(dumps(host, "blog")), "after a success old ones go"
    assert planted["shop"] - set(dumps(host, "shop"))
    assert len(dumps(host, "blog")) >= 3


@pytest.mark.usefixtures("backed_up")
def test_refused_keys_fail_the_run_and_keep_the_local_copy(host: Host) -> None:
    planted = set(plant_old_copies(host, "shop", 4))
    before = dumps(host, "shop")
    settings = json.loads(host.check_output(f"cat {SETTINGS}"))
    # moto believes everybody
    settings["s3"]["endpoint_url"] = "https://s3.services.test:9443"
    wrong = "AWS_ACCESS_KEY_ID=lab\nAWS_SECRET_ACCESS_KEY=wrong-canary-key\n"
    with replaced(host, KEYS, wrong), replaced(host, SETTINGS, json.dumps(settings)):
        assert start(host) != 0
    found = results(host)["shop"]
    assert not found["verified"]
    assert "Cannot upload s3://backups/" in found["detail"]
    assert len(dumps(host, "shop")) == len(before) + 1
    assert planted <= set(dumps(host, "shop"))
    assert "wrong-canary-key" not in host.check_output("journalctl --no-pager")
    assert start(host) == 0


@pytest.mark.usefixtures("backed_up")
def test_postgresql_outlives_the_run(host: Host) -> None:
    # A job of the same user that removes its IPC takes the server's shared memory along, where
    # no other unit names that user; here the server's own unit does, so the query alone would
    # not tell.
    assert host.check_output(f"systemctl show -p RemoveIPC {UNIT}") == "RemoveIPC=no"
    assert sql(host, "shop", "SELECT count(*) FROM bids") == "20000"


@pytest.mark.usefixtures("backed_up")
def test_a_second_run_at_the_same_time_is_refused(host: Host) -> None:
    lock = "/var/lib/slipway/backup/lock"
    held = host.run(f"flock --exclusive {lock} systemctl start {UNIT}")
    host.check_output(f"systemctl reset-failed {UNIT}")
    assert held.rc != 0
    assert "Another backup is running" in journal(host).splitlines()[-1]
    assert start(host) == 0


@pytest.mark.usefixtures("backed_up")
def test_the_keys_of_the_bucket_are_nowhere_to_be_read(host: Host) -> None:
    assert host.file(KEYS).mode == 0o600
    assert host.file(KEYS).user == "root"
    for command in ("journalctl --no-pager", f"systemctl show {UNIT}", f"cat {SETTINGS}"):
        assert SECRET not in host.check_output(command)
    assert host.run(f"grep -r {SECRET} /opt/slipway {LOCAL} /var/lib/slipway").rc == 1


def test_the_operator_is_told_what_became_of_each_database(host: Host, rows: None) -> None:
    told = host.ansible("slipway.stack.back_up", check=False)
    assert [result["database"] for result in told["databases"]] == ["shop", "blog"]
    assert all("verified" in result["line"] for result in told["databases"])


@pytest.mark.usefixtures("backed_up")
def test_what_the_store_holds_can_be_listed(host: Host) -> None:
    where = json.loads(host.check_output(f"cat {SETTINGS}"))["s3"]
    options = {**where, "access_key": "lab", "secret_key": SECRET}
    told = host.ansible(
        "slipway.stack.s3_backup_info", " ".join(f"{k}={v}" for k, v in options.items())
    )
    assert set(told["newest"]) == {"shop", "blog"}
    newest = told["newest"]["shop"]
    assert newest["sha256"] == json.loads(python(host, FETCH, newest["key"]).stdout)["sha256"]
    assert 0 <= told["newest"]["shop"]["age"] < 600
