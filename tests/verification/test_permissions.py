# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keys that write and cannot delete, by the very policy of docs/bucket.md, really enforced."""

from __future__ import annotations

import json
import pathlib
import re
import shutil
import subprocess
import tempfile
import typing as t
from datetime import UTC, datetime, timedelta

import boto3
import botocore.exceptions
import pytest
from ansible_collections.slipway.stack.plugins.module_utils import (
    _back_up,
    _backups,
    _dump,
    _physical,
    _s3,
)

from . import database as postgres
from .conftest import Dumps
from .guarded import Guarded, Keys
from .repository import SERVER, Archiving, home

DOCUMENT = pathlib.Path(__file__).parents[2] / "docs" / "bucket.md"
BUCKET = "example-backups"
DELETE = {
    "Effect": "Allow",
    "Action": "s3:DeleteObject",
    "Resource": f"arn:aws:s3:::{BUCKET}/production/*",
}
REPOSITORY = """
[global]
repo1-type=s3
repo1-path=/production/pgbackrest
repo1-s3-bucket=example-backups
repo1-s3-region=us-east-1
repo1-s3-endpoint=localhost
repo1-storage-port={port}
repo1-storage-ca-file={certificate}
repo1-s3-uri-style=path
repo1-s3-key={keys.access_key}
repo1-s3-key-secret={keys.secret_key}
repo1-bundle=y
repo1-retention-full=1
log-level-file=off
log-level-console=off
log-level-stderr=error
lock-path={place}/lock
start-fast=y

[global:backup]
expire-auto=n
"""


def documented() -> dict[str, t.Any]:
    (text,) = re.findall(r"```json\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    policy: dict[str, t.Any] = json.loads(text)
    return policy


@pytest.fixture
def server() -> t.Iterator[Guarded]:
    """Its certificate is read by the user of the database, whom pytest's own folders keep out."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="slipway-guarded-"))
    folder.chmod(0o755)
    guarded = Guarded(folder)
    try:
        s3 = guarded.client("s3")
        s3.create_bucket(Bucket=BUCKET)
        versions = {"Status": "Enabled"}
        s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration=versions)
        yield guarded
    finally:
        guarded.stop()
        shutil.rmtree(folder)


@pytest.fixture
def writing(server: Guarded) -> Keys:
    return server.keys("machine", documented())


@pytest.fixture
def pruning(server: Guarded) -> Keys:
    policy = documented()
    return server.keys("pruner", {**policy, "Statement": [*policy["Statement"], DELETE]})


def refused(action: t.Callable[[], object]) -> bool:
    try:
        action()
    except botocore.exceptions.ClientError as error:
        return str(error.response["Error"]["Code"]) == "AccessDenied"
    return False


def test_a_dump_is_stored_and_pruned_by_other_keys_alone(
    server: Guarded,
    writing: Keys,
    pruning: Keys,
    dumps: Dumps,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PGHOST", str(dumps.server.place))
    monkeypatch.setenv("PGUSER", "postgres")
    monkeypatch.setattr(_dump, "CLIENTS", dumps.server.installed)
    monkeypatch.setattr(_dump, "compression", lambda _client: "gzip:3")
    old = _backups.file_name(datetime.now(UTC) - timedelta(days=500), "0a1b2c3d")
    keys = [f"production/shop/{name}" for name in (old, _backups.record_name(old))]
    for key in keys:
        server.client("s3").put_object(Bucket=BUCKET, Key=key, Body=b"x")
    server.enforce()
    for name in ("state", "dumps"):
        (tmp_path / name).mkdir()
    place = {"bucket": BUCKET, "prefix": "production", "endpoint_url": server.endpoint}
    settings = {
        **{"databases": ["shop"], "directory": str(tmp_path / "dumps"), "port": 5432, "keep": 1},
        **{"state": str(tmp_path / "state"), "retention_days": 30, "reserve_percent": 0},
        **{"s3": place, "store_retention_days": 90},
    }
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    call = ["back_up", str(tmp_path / "settings.json")]

    def with_keys(given: Keys) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", given.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", given.secret_key)

    with_keys(writing)
    for _night in range(3):  # a clock is believed that made three dumps
        assert _back_up.main(call) == 0
    said = capsys.readouterr().out.splitlines()
    assert "read back whole from s3://example-backups/production/shop/" in said[0]
    assert said[-1].startswith("<4>Old dumps of shop stay, for room: Cannot delete s3://")
    assert "AccessDenied: the key may not do this" in said[-1]
    assert said[-1].endswith("playbooks/prune_backups.yml deletes with others.")

    with_keys(pruning)
    assert _back_up.main([*call, "prune"]) == 0
    assert f"shop: hid s3://{BUCKET}/{keys[0]}" in capsys.readouterr().out
    s3 = _s3.client(_s3.target(place))
    listed = [one["Key"] for one in s3.list_objects_v2(Bucket=BUCKET)["Contents"]]
    assert len(listed) == 6 and not set(keys) & set(listed)
    hidden = [
        one for one in s3.list_object_versions(Bucket=BUCKET)["Versions"] if one["Key"] in keys
    ]
    assert len(hidden) == 2, "what is deleted comes back for as long as its version is there"
    for one in hidden:
        which = {"Bucket": BUCKET, "Key": one["Key"], "VersionId": one["VersionId"]}
        assert refused(lambda which=which: s3.delete_object(**which))  # type: ignore[misc]


def test_the_keys_of_a_machine_change_nothing_of_the_bucket(server: Guarded, writing: Keys) -> None:
    server.enforce()
    s3 = boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        region_name="us-east-1",
        aws_access_key_id=writing.access_key,
        aws_secret_access_key=writing.secret_key,
    )
    off = {"Status": "Suspended"}
    assert refused(lambda: s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration=off))
    assert refused(lambda: s3.delete_bucket_policy(Bucket=BUCKET))
    assert refused(lambda: s3.put_object(Bucket=BUCKET, Key="staging/x", Body=b"x"))
    s3.put_object(Bucket=BUCKET, Key="production/x", Body=b"x")
    assert refused(lambda: s3.delete_object(Bucket=BUCKET, Key="production/x"))


def test_pgbackrest_backs_up_and_other_keys_expire(
    server: Guarded, writing: Keys, pruning: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It replaces the name of the newest backup, which it deletes first."""
    policy = json.loads(json.dumps(documented()).replace("backup/main/", "backup/shop/"))
    keys = server.keys("archiver", policy)
    server.enforce()
    place = pathlib.Path(tempfile.mkdtemp(prefix="slipway-guarded-"))
    cluster = Archiving(place, home())
    cluster.configuration.write_text(
        (REPOSITORY + SERVER).format(
            port=server.tls_port, certificate=server.certificate, keys=keys, place=place
        )
    )
    try:
        cluster.begin()
        for kind in ("full", "full", "incr"):
            cluster.back_up(kind)
        with pytest.raises(subprocess.CalledProcessError) as raised:
            cluster.pgbackrest("expire")
        said = _physical.complaint(raised.value.stderr)
        assert re.search(
            r"403 .*: DELETE /example-backups/production/pgbackrest/backup/shop/", said
        )
        monkeypatch.setenv("PGBACKREST_REPO1_S3_KEY", pruning.access_key)
        monkeypatch.setenv("PGBACKREST_REPO1_S3_KEY_SECRET", pruning.secret_key)
        cluster.pgbackrest("expire")
        told = cluster.pgbackrest("info", "--output=json")
        assert [one["type"] for one in json.loads(told)[0]["backup"]] == ["full", "incr"]
    finally:
        postgres.remove(cluster)
