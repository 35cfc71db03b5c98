# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What servers do to whoever reads backups from them: faults, refusals, features they lack."""

from __future__ import annotations

import json
import pathlib
import shutil
import typing as t
import urllib.request
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import boto3
import pytest
from ansible_collections.slipway.stack.plugins.module_utils import (
    _backups,
    _errors,
    _retention,
    _s3,
    _verification,
    _verify_options,
)

from .conftest import Dumps
from .database import SHOP_TABLES
from .injector import Faults, injected
from .store import DAY, HOUR, Store, said

BACKUPS = 100_000


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda low, _high: low)


def through(store: Store, endpoint: str) -> t.Any:
    return _s3.client(replace(store.target, endpoint_url=endpoint))


def test_a_server_that_is_busy_three_times_is_asked_again(store: Store, dumps: Dumps) -> None:
    store.put(dumps.custom, tables=SHOP_TABLES)
    faults = Faults(refusals=3)
    with injected(str(store.target.endpoint_url), faults) as endpoint:
        assert store.verdict(client=through(store, endpoint)).findings == []
    assert faults.refusals == 0


def test_a_server_that_stays_busy_leaves_it_unknown(store: Store, dumps: Dumps) -> None:
    store.put(dumps.custom, tables=SHOP_TABLES)
    with injected(str(store.target.endpoint_url), Faults(refusals=99)) as endpoint:
        verdict = store.verdict(client=through(store, endpoint))
    assert verdict.reached == "present"
    assert said(verdict, "unknown")


@pytest.mark.parametrize("level", ["intact", "readable"])
def test_a_connection_that_is_cut_again_and_again_leaves_it_unknown(
    store: Store, dumps: Dumps, level: str
) -> None:
    store.put(dumps.custom, tables=SHOP_TABLES)
    with injected(str(store.target.endpoint_url), Faults(cuts=99)) as endpoint:
        verdict = store.verdict(level=level, client=through(store, endpoint))
    assert verdict.reached == "present"
    assert said(verdict, "unknown")


@pytest.mark.parametrize("cuts", [1, 3])
def test_a_connection_cut_at_nine_tenths_is_resumed(store: Store, dumps: Dumps, cuts: int) -> None:
    store.put(dumps.custom, tables=SHOP_TABLES)
    faults = Faults(cuts=cuts)
    with injected(str(store.target.endpoint_url), faults) as endpoint:
        verdict = store.verdict(client=through(store, endpoint))
    assert verdict.findings == []
    assert verdict.bytes_read == len(dumps.custom)
    assert [bool(asked) for asked in faults.ranges if asked] == [True] * cuts


def test_a_server_that_drips_is_given_up(
    store: Store, dumps: Dumps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte comes in time; all of them never would."""
    monkeypatch.setattr(_s3, "SLOWEST", 0.5, raising=False)
    store.put(dumps.custom, tables=SHOP_TABLES)
    with injected(str(store.target.endpoint_url), Faults(drips=50)) as endpoint:
        verdict = store.verdict(client=through(store, endpoint))
    assert verdict.reached == "present"
    assert "intact: every byte / Cannot read" in said(verdict, "unknown")


def test_a_server_that_is_not_there_leaves_all_unknown(store: Store) -> None:
    absent = _s3.client(replace(store.target, endpoint_url="http://127.0.0.1:9"))
    found = store.verdicts(databases=["shop", "blog"], client=absent)
    assert {name: one.reached for name, one in found.items()} == {"shop": None, "blog": None}
    assert "Cannot list" in said(found["blog"], "unknown")


@pytest.fixture
def lister(store: Store) -> t.Iterator[t.Any]:
    """A client with keys that may list and not read, on a server that holds to it."""
    iam = boto3.client(
        "iam",
        endpoint_url=store.target.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="root",
        aws_secret_access_key="root",
    )
    iam.create_user(UserName="lister")
    statement = {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName="lister", PolicyName="list", PolicyDocument=document)
    key = iam.create_access_key(UserName="lister")["AccessKey"]
    keys = {"access_key": key["AccessKeyId"], "secret_key": key["SecretAccessKey"]}
    yield lambda: _s3.client(replace(store.target, **keys))
    _authorise(store, "inf")


def _authorise(store: Store, after: str) -> None:
    url = f"{store.target.endpoint_url}/moto-api/reset-auth"
    plain = {"Content-Type": "text/plain"}
    request = urllib.request.Request(url, data=after.encode(), headers=plain)  # noqa: S310
    urllib.request.urlopen(request).close()  # noqa: S310


def test_keys_that_list_but_do_not_read(store: Store, dumps: Dumps, lister: t.Any) -> None:
    store.put(dumps.custom, tables=SHOP_TABLES)
    client = lister()
    _authorise(store, "0")
    verdict = store.verdict(level="kept", client=client)
    assert verdict.reached is None
    assert "the key may not do this" in said(verdict, "unknown")


def test_many_objects(rclone: Store, dumps: Dumps, tmp_path: pathlib.Path) -> None:
    """Laid into the server's folder, because a hundred thousand uploads take minutes."""
    rclone.put(dumps.custom, tables=SHOP_TABLES)
    folder = tmp_path / "backups" / "other"
    folder.mkdir()
    for number in range(BACKUPS):
        (folder / f"{number:06}.dump").touch()
    verdict = rclone.verdicts(level="readable", databases=["shop"])["shop"]
    assert verdict.reached == "readable"


def test_a_server_without_features_is_no_pass_and_no_crash(rclone: Store, dumps: Dumps) -> None:
    rclone.put(dumps.custom, tables=SHOP_TABLES)
    verdict = rclone.verdict(level="kept")
    assert verdict.reached == "readable"
    for asked in ("versioning", "object lock", "encryption", "public", "lifecycle", "uploads"):
        assert f"kept: an answer about {asked} / " in said(verdict, "unsupported")
    # That it has only one backup yet is no affair of the server.
    assert said(verdict, "warning").startswith("kept: 30 daily, ")
    assert {one.severity for one in verdict.findings} == {"unsupported", "warning"}


def test_a_name_of_two_lines(rclone: Store, dumps: Dumps) -> None:
    rclone.put(dumps.plain, database="two lines", suffix=" of\nmine.sql", tables=SHOP_TABLES)
    assert rclone.verdict().reached == "readable"


def test_wrong_keys_leave_it_unknown(rclone: Store, dumps: Dumps) -> None:
    rclone.put(dumps.custom, tables=SHOP_TABLES)
    wrong = _s3.client(replace(rclone.target, secret_key="wrong"))
    verdict = rclone.verdict(client=wrong)
    assert "SignatureDoesNotMatch" in said(verdict, "unknown")


@pytest.mark.parametrize(
    ("kept", "words"),
    [([], "zstd cannot be run"), (["zstd"], "no pg_dump can read PostgreSQL 18")],
)
def test_a_machine_without_the_programs_leaves_it_unknown(
    store: Store,
    dumps: Dumps,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    kept: list[str],
    words: str,
) -> None:
    from .test_healthy import piped

    store.put(piped(dumps.custom, "zstd"), tables=SHOP_TABLES, suffix=".dump.zst")
    for program in kept:
        (tmp_path / program).symlink_to(str(shutil.which(program)))
    monkeypatch.setenv("PATH", str(tmp_path))
    store.installed = tmp_path
    verdict = store.verdict()
    assert verdict.reached == "intact"
    assert words in said(verdict, "unknown")


def test_a_window_that_zstd_does_not_open_here_leaves_it_unknown(
    store: Store, dumps: Dumps
) -> None:
    from .test_healthy import piped

    body = piped(dumps.plain, "zstd", "-1", "--long=30")
    store.put(body, tables=SHOP_TABLES, suffix=".sql.zst")
    assert "zstd cannot read it here" in said(store.verdict(), "unknown")


@pytest.mark.parametrize("scratch", ["/proc/none", "/sys"])
def test_scratch_space_that_cannot_be_used_leaves_it_unknown(
    store: Store, dumps: Dumps, scratch: str
) -> None:
    store.put(dumps.directory_tar, tables=SHOP_TABLES, suffix=".tar")
    verdict = store.verdict(scratch=pathlib.Path(scratch))
    assert "set scratch" in said(verdict, "unknown")


def test_scratch_space_that_is_too_small_leaves_it_unknown(
    store: Store, dumps: Dumps, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(dumps.directory_tar, tables=SHOP_TABLES, suffix=".tar")
    full = shutil.disk_usage("/")._replace(free=1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: full)
    assert "too small for it" in said(store.verdict(), "unknown")


def policy(store: Store, **changes: t.Any) -> None:
    statement = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{store.target.bucket}/*",
        **changes,
    }
    text = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    store.client.put_bucket_policy(Bucket=store.target.bucket, Policy=text)


@pytest.mark.parametrize("principal", ["*", {"AWS": "*"}, {"AWS": ["*"]}])
def test_a_public_bucket(store: Store, dumps: Dumps, principal: t.Any) -> None:
    store.put(dumps.custom, tables=SHOP_TABLES)
    policy(store, Principal=principal)
    assert "everybody may, by statement 1" in said(store.verdict("kept"))
    policy(store, Principal={"AWS": "arn:aws:iam::123456789012:root"})
    assert said(store.verdict("kept")) == ""


def test_a_bucket_that_is_public_in_other_words(store: Store, dumps: Dumps) -> None:
    store.put(dumps.custom, tables=SHOP_TABLES)
    policy(store, Condition={"Bool": {"aws:SecureTransport": "true"}})
    assert "everybody may, by statement 1" in said(store.verdict("kept"))
    policy(store, Condition={"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}})
    assert said(store.verdict("kept")) == ""


def test_a_newest_backup_that_is_public_by_itself(store: Store, dumps: Dumps) -> None:
    key = store.put(dumps.custom, tables=SHOP_TABLES)
    where = {"Bucket": store.target.bucket, "Key": key}
    store.client.put_object_acl(**where, ACL="public-read")
    verdict = store.verdict("kept")
    assert verdict.reached == "readable"
    assert "everybody may, by the grant READ of its ACL" in said(verdict)
    blocks = {"IgnorePublicAcls": True, "RestrictPublicBuckets": True}
    store.client.put_public_access_block(
        Bucket=store.target.bucket, PublicAccessBlockConfiguration=blocks
    )
    assert said(store.verdict("kept")) == ""


def test_a_bucket_with_a_public_acl(store: Store, dumps: Dumps) -> None:
    store.put(dumps.custom, tables=SHOP_TABLES)
    store.client.put_bucket_acl(Bucket=store.target.bucket, ACL="public-read")
    assert "everybody may, by the grant READ" in said(store.verdict("kept"))
    blocks = {"IgnorePublicAcls": True, "RestrictPublicBuckets": True}
    store.client.put_public_access_block(
        Bucket=store.target.bucket, PublicAccessBlockConfiguration=blocks
    )
    assert said(store.verdict("kept")) == ""


def test_a_lifecycle_shorter_than_the_promise(store: Store, dumps: Dumps) -> None:
    store.put(dumps.custom, tables=SHOP_TABLES)
    rule = {
        "ID": "short",
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "Expiration": {"Days": 20},
    }
    store.client.put_bucket_lifecycle_configuration(
        Bucket=store.target.bucket, LifecycleConfiguration={"Rules": [rule]}
    )
    assert "deletes them after 20 days" in said(store.verdict("kept"))
    few = _retention.Ladder(daily=14, weekly=2, monthly=0)
    assert said(store.verdict("kept", ladder=few)) == ""


def test_a_gap_in_what_was_kept(store: Store, dumps: Dumps) -> None:
    for days in (6, 5, 2, 1):
        store.put(dumps.custom, age=days * DAY, tables=SHOP_TABLES)
    store.put(dumps.server.dump("shop", "-Fc"), tables=SHOP_TABLES)
    assert "daily backups / none between" in said(store.verdict("kept"))


@pytest.mark.parametrize("recorded", [True, False])
def test_what_is_no_backup_is_no_rung(store: Store, dumps: Dumps, recorded: bool) -> None:
    """Empty ones, and those of another size than their record, promise a past that is gone."""
    promise = _verification.Promise(require_record=recorded)
    ladder = _retention.Ladder(30, 0, 0, since=store.now - 5 * DAY)
    for days in range(1, 5):
        key = store.put(dumps.void, age=days * DAY)
        if days in (2, 3):
            store.write(key, dumps.void[: days % 2 * 300])
        if not recorded and days in (2, 4):
            store.unrecord(key)
        if recorded and days == 4:
            store.write(_backups.record_name(key), b"{")
    store.put(dumps.custom, tables=SHOP_TABLES)
    verdict = store.verdict("kept", ladder=ladder, promise=promise)
    assert "daily backups / none between" in said(verdict)
    assert "a backup of its day" in said(verdict, "warning")


def test_records_that_cannot_be_read_leave_the_past_unknown(store: Store, dumps: Dumps) -> None:
    for days in range(3):
        store.put(dumps.server.dump("void", "-Fc"), age=days * DAY + HOUR, database="void")
    faults = Faults(refusals=99, status=403, only="00000002.json")
    with injected(str(store.target.endpoint_url), faults) as endpoint:
        verdict = store.verdict("kept", client=through(store, endpoint))
    assert "kept: the record of each older backup" in said(verdict, "unknown")


def test_a_single_backup_is_no_history(store: Store, dumps: Dumps) -> None:
    store.put(dumps.custom, tables=SHOP_TABLES)
    verdict = store.verdict("kept")
    assert "30 daily, 4 weekly, 12 monthly backups / the first is of " in said(verdict, "warning")
    began = _retention.Ladder(since=store.now - HOUR)
    assert "12 monthly" not in said(store.verdict("kept", ladder=began), "warning")


def test_a_bucket_that_has_all_and_is_well(store: Store, dumps: Dumps) -> None:
    store.client.put_bucket_versioning(
        Bucket=store.target.bucket, VersioningConfiguration={"Status": "Enabled"}
    )
    store.client.put_object_lock_configuration(
        Bucket=store.target.bucket,
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 400}},
        },
    )
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    store.client.put_bucket_encryption(
        Bucket=store.target.bucket, ServerSideEncryptionConfiguration={"Rules": [rule]}
    )
    store.extra = {"ChecksumAlgorithm": "SHA256"}  # a locked bucket takes nothing without
    store.put(dumps.custom, tables=SHOP_TABLES)
    every = ["versioning", "object_lock", "encryption"]
    began = _retention.Ladder(since=store.now - DAY)
    verdict = store.verdict("kept", required=every, encryption="server", ladder=began)
    assert (verdict.reached, verdict.findings) == ("kept", [])


def test_what_is_required_and_off(store: Store, dumps: Dumps) -> None:
    store.put(dumps.custom, tables=SHOP_TABLES)
    every = ["versioning", "object_lock", "encryption"]
    found = said(store.verdict("kept", required=every))
    assert [f"{name.replace('_', ' ')} is on / off" in found for name in every] == [True] * 3
    assert store.verdict("kept").reached == "kept"


@pytest.mark.parametrize("encryption", ["client", "server"])
def test_a_dump_in_clear_where_it_must_not_be(store: Store, dumps: Dumps, encryption: str) -> None:
    store.put(dumps.custom, tables=SHOP_TABLES)
    assert "encrypted b" in said(store.verdict("kept", encryption=encryption))


def test_an_upload_that_was_never_finished(store: Store, dumps: Dumps) -> None:
    store.put(dumps.custom, tables=SHOP_TABLES)
    key = store.target.key("shop", "never.dump")
    store.client.create_multipart_upload(Bucket=store.target.bucket, Key=key)
    store.now += 25 * HOUR
    old = _verification.Promise(max_age=3 * DAY)
    assert "no upload that was never finished" in said(
        store.verdict("kept", promise=old), "warning"
    )


def test_a_deleted_backup_is_told(store: Store, dumps: Dumps) -> None:
    store.client.put_bucket_versioning(
        Bucket=store.target.bucket, VersioningConfiguration={"Status": "Enabled"}
    )
    store.delete(store.put(dumps.void, age=timedelta(days=3)))
    store.put(dumps.custom, tables=SHOP_TABLES)
    verdict = store.verdict("kept")
    assert "backups stay as long as promised / deleted at" in said(verdict, "warning")
    assert verdict.reached == "kept"


@pytest.mark.parametrize(
    "wrong",
    [
        {"parallel": 0},
        {"since": "soon"},
        {"expected_tables": {"shop": "bids"}},
        {"last_wal": "yesterday"},
        {"min_ratio": 1.1},
        {"min_ratio": -0.1},
        {"max_ratio": 0.9},
        {"since": "2026-11-22"},
        {"expected_tables": {"shpo": ["public.bids"]}, "databases": ["shop"]},
    ],
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, t.Any]) -> None:
    now = datetime(2026, 11, 21, tzinfo=UTC)
    params = {
        name: option.get("default") for name, option in _verify_options.argument_spec().items()
    }
    with pytest.raises(_errors.StackError, match=f"^{next(iter(wrong))}"):
        _verify_options.request({**params, "bucket": "b", **wrong}, now)
    tables = {"shop": ["public.bids"], "blog": []}
    right = {"bucket": "b", "since": "2026-01-31", "expected_tables": tables}
    request = _verify_options.request({**params, **right}, now)
    assert request.ladder.since is not None
    growing = _verify_options.request({**params, "bucket": "b", "max_ratio": 9.0}, now)
    assert growing.promise.max_ratio == 9.0
    assert request.promise == _verification.Promise(tables=tables)
