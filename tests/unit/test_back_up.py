"""A whole run on real files; moto in this process plays the store, a stand-in takes the dump."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import typing as t
from datetime import UTC, datetime, timedelta

import botocore.exceptions
import moto
import pytest
from ansible_collections.slipway.stack.plugins.module_utils import (
    _back_up,
    _backup_ages,
    _backup_state,
    _backups,
    _errors,
    _restore,
    _s3,
)

NOW = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)
TARGET = _s3.Target(bucket="backups", prefix="night", access_key="AKIA1", secret_key="s3cr3t")
DUMP = b"PGDMP" * 100


class Run:
    """Settings, store and stand-ins of one run; what it said is in `said`."""

    def __init__(self, directory: pathlib.Path, store: _back_up.Store | None) -> None:
        self.second: _back_up.Store | None = None
        (directory / "state").mkdir()
        (directory / "backups").mkdir()
        self.said: list[str] = []
        self.failing: dict[str, Exception] = {}
        self.now = NOW
        self.there = ["blog", "shop"]
        self.store = store
        self.room = _back_up.Room()
        self.options = _back_up.Settings(
            databases=["shop", "blog"],
            directory=directory / "backups",
            state=directory / "state",
            port=5432,
            retention_days=30,
            keep=1,
            reserve_percent=0,
            targets=[],
        )

    def take(
        self,
        room: _back_up.Room,
        database: str,
        directory: pathlib.Path,
        options: t.Any,
        _clock: t.Any,
    ) -> _backups.Record:
        room.promise(directory, len(DUMP), options)
        if database in self.failing:
            raise self.failing[database]
        return self.lay_down(database, 0, verified=False)

    def lay_down(self, database: str, age_days: int, verified: bool = True) -> _backups.Record:
        """A dump with its record, as an earlier run left it."""
        begun = self.now - timedelta(days=age_days)
        directory = self.options.directory / database
        directory.mkdir(exist_ok=True)
        record = _backups.Record(
            database=database,
            file=_backups.file_name(begun, "0a1b2c3d"),
            size=len(DUMP),
            sha256=hashlib.sha256(DUMP).hexdigest(),
            nonce="0a1b2c3d",
            started=begun.isoformat(),
            finished=begun.isoformat(),
            server_version="17.6",
            client_version="17.6",
            compression="zstd:1",
            verified=verified,
        )
        (directory / record.file).write_bytes(DUMP)
        (directory / _backups.record_name(record.file)).write_text(record.as_json())
        return record

    def __call__(self) -> bool:
        succeeded: bool = _back_up.run(self.options, self.means())
        return succeeded

    def means(self) -> _back_up.Means:
        stores = [each for each in (self.store, self.second) if each]
        return _back_up.Means(
            stores, lambda: self.now, self.said.append, self.take, lambda _: self.there, self.room
        )

    def state(self) -> dict[str, t.Any]:
        found: dict[str, t.Any] = json.loads((self.options.state / "state.json").read_text())
        return found

    def files(self, database: str, pattern: str = "*.dump") -> list[str]:
        return sorted(path.name for path in (self.options.directory / database).glob(pattern))

    def record(self, database: str) -> _backups.Record:
        (path,) = (self.options.directory / database).glob("20261121*.json")
        found: _backups.Record = _backups.record(path.read_text(), "here")
        return found

    def stored(self) -> list[str]:
        assert self.store is not None
        return [item.key for item in _s3.list_objects(self.store.client, TARGET)]


@pytest.fixture
def run(tmp_path: pathlib.Path) -> t.Iterator[Run]:
    with moto.mock_aws():
        client = _s3.client(TARGET)
        client.create_bucket(Bucket="backups")
        yield Run(tmp_path, _back_up.Store(client, TARGET))


class Tampering:
    """A store that keeps something else than it was sent, or answers something else."""

    def __init__(self, client: t.Any, change: t.Callable[[bytes], bytes], suffix: str) -> None:
        self.client, self.change, self.suffix = client, change, suffix

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self.client, name)

    def put_object(self, **request: t.Any) -> t.Any:
        answer = self.client.put_object(**request)
        if request["Key"].endswith(self.suffix):
            where = {"Bucket": request["Bucket"], "Key": request["Key"]}
            whole = self.client.get_object(**where)["Body"].read()
            self.client.put_object(**where, Body=self.change(whole))
        return answer


def test_each_database_is_stored_read_back_and_recorded_in_both_places(run: Run) -> None:
    assert run()
    stem = "20261121T020000Z-0a1b2c3d"
    assert sorted(run.stored()) == [
        f"night/{database}/{stem}{suffix}"
        for database in ("blog", "shop")
        for suffix in (".dump", ".json")
    ]
    record = run.record("shop")
    assert record.verified
    assert record.remote == f"s3://backups/night/shop/{stem}.dump"
    assert run.store is not None
    assert _s3.read_text(run.store.client, TARGET, f"night/shop/{stem}.json") == record.as_json()


def test_the_state_tells_what_became_of_each(run: Run) -> None:
    assert run()
    state = run.state()
    assert state["started"] == state["finished"] == "2026-11-21T02:00:00+00:00"
    shop = state["databases"]["shop"]
    assert (shop["ok"], shop["verified"], shop["size"]) == (True, True, len(DUMP))
    assert shop["last_success"] == "2026-11-21T02:00:00+00:00"
    assert all("\n" not in line for line in run.said)


def test_a_database_that_nobody_declares_is_told_by_name(run: Run) -> None:
    run.there = ["blog", "crm", "shop", "shop_before_christmas", "shop_restored_data", "wiki"]
    for database in ("shop", "s" * 63):
        restore = _restore.Restore(database, "latest", "2026-11-21T02:00:00+00:00")
        run.there += [restore.fresh, restore.safety]
    assert run()
    assert run.state()["undeclared"] == [
        *("crm", "shop_before_christmas", "shop_restored_data", "wiki")
    ]


def test_one_that_fails_does_not_stop_the_others_but_fails_the_run(run: Run) -> None:
    run.failing["shop"] = _errors.BackupError("cannot connect: no such database.")
    assert not run()
    state = run.state()["databases"]
    assert (state["shop"]["ok"], state["blog"]["ok"]) == (False, True)
    assert state["shop"]["detail"] == "cannot connect: no such database."
    assert run.said[0] == "<3>Backup of shop failed: cannot connect: no such database."


def test_some_databases_are_backed_up_and_the_others_stay_as_they_were(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinged: list[str] = []
    monkeypatch.setattr(_backup_ages, "tell", lambda _state, url, _say: pinged.append(url))
    run.options = dataclasses.replace(run.options, ping_url="https://switch.example.com/one")
    assert run()
    before = run.state()
    run.now += timedelta(hours=1)
    run.failing["blog"] = OSError("would fail")
    assert _back_up.run_only(run.options, run.means(), ["shop"])
    state = run.state()
    assert state["databases"]["blog"] == before["databases"]["blog"]
    assert state["databases"]["shop"]["last_success"] == "2026-11-21T03:00:00+00:00"
    assert state["started"] == before["started"]
    own = json.loads((run.options.state / "only-shop.json").read_text())
    assert (set(own["databases"]), own["started"]) == ({"shop"}, "2026-11-21T03:00:00+00:00")
    assert len(run.files("shop")) == 2 and len(run.files("blog")) == 1
    # Whoever waits for the nightly run is told of that alone.
    assert pinged == ["https://switch.example.com/one", ""]


def test_what_is_no_database_is_not_backed_up(run: Run) -> None:
    with pytest.raises(_errors.BackupError, match=r"^wiki is none of the databases, shop, blog\.$"):
        _back_up.run_only(run.options, run.means(), ["shop", "wiki"])
    assert list(run.options.state.iterdir()) == []


def test_whoever_asks_for_others_at_once_is_told_of_their_own(run: Run) -> None:
    for names in (["shop"], ["blog"], ["blog", "shop"]):
        assert _back_up.run_only(run.options, run.means(), names)
        run.now += timedelta(hours=1)
    found = {path.name: json.loads(path.read_text()) for path in run.options.state.glob("only*")}
    assert {name: list(each["databases"]) for name, each in found.items()} == {
        "only-shop.json": ["shop"],
        "only-blog.json": ["blog"],
        "only-blog:shop.json": ["blog", "shop"],
    }
    # The role waits for that very file.
    role = (pathlib.Path(__file__).parents[2] / "roles/backup/vars/main.yml").read_text()
    assert "/only-{{ __backup_only }}.json" in role


def test_some_databases_keep_the_nightly_run_from_nothing(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**CONFIGURATION, "s3": {}, "state": str(tmp_path)}
    (tmp_path / "c").write_text(json.dumps(settings))
    asked: list[list[str]] = []

    def run_only(_options: t.Any, _means: t.Any, names: list[str]) -> bool:
        with _backup_state.alone(tmp_path / "lock"):  # as the nightly run takes it meanwhile
            asked.append(names)
        return True

    monkeypatch.setattr(_back_up, "run_only", run_only)
    assert _back_up.main(["back_up", str(tmp_path / "c"), "only", "shop:blog"]) == 0
    assert asked == [["shop", "blog"]]


def test_a_failure_keeps_the_date_of_the_last_success(run: Run) -> None:
    assert run()
    run.now += timedelta(days=1)
    run.failing["shop"] = OSError("no room")
    assert not run()
    state = run.state()["databases"]
    assert state["shop"]["last_success"] == "2026-11-21T02:00:00+00:00"
    assert state["blog"]["last_success"] == "2026-11-22T02:00:00+00:00"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda whole: b"", id="empty"),
        pytest.param(lambda whole: whole[:-1], id="one byte short"),
        pytest.param(lambda whole: bytes(len(whole)), id="zeros"),
        pytest.param(lambda whole: whole[:50] + bytes([whole[50] ^ 1]) + whole[51:], id="one bit"),
    ],
)
def test_an_upload_that_comes_back_changed_does_not_count(
    run: Run, change: t.Callable[[bytes], bytes]
) -> None:
    assert run.store is not None
    for database in ("shop", "blog"):
        run.lay_down(database, 40)
    bad = Tampering(run.store.client, change, ".dump")
    run.store = dataclasses.replace(run.store, client=bad)
    assert not run()
    assert not [key for key in run.stored() if key.endswith(".json")]
    assert not run.record("shop").verified
    assert "do not trust this object store" in run.said[0]
    assert len(run.files("shop")) == 2, "the local copy stays and nothing is pruned"


def test_a_record_that_comes_back_changed_does_not_count(run: Run) -> None:
    assert run.store is not None
    bad = Tampering(run.store.client, lambda whole: whole[:-3], ".json")
    run.store = dataclasses.replace(run.store, client=bad)
    assert not run()
    assert not run.record("shop").verified
    assert run.files("shop", "*.partial") == []


def test_a_store_that_refuses_leaves_the_local_copy_and_prunes_nothing(run: Run) -> None:
    assert run.store is not None
    run.lay_down("shop", 40)
    run.lay_down("shop", 35)
    run.store.client.delete_bucket(Bucket="backups")
    assert not run()
    assert len(run.files("shop")) == 3
    assert "NoSuchBucket" in run.state()["databases"]["shop"]["detail"]


@pytest.fixture
def twice(run: Run) -> Run:
    """The same run with a second place."""
    assert run.store is not None
    elsewhere = dataclasses.replace(TARGET, bucket="elsewhere")
    run.store.client.create_bucket(Bucket="elsewhere")
    run.second = _back_up.Store(run.store.client, elsewhere)
    return run


def test_each_place_gets_the_dump_and_its_own_record(twice: Run) -> None:
    assert twice() and twice.second and twice.store
    stored = [item.key for item in _s3.list_objects(twice.store.client, twice.second.target)]
    assert stored == twice.stored() and len(stored) == 4
    text = _s3.read_text(twice.store.client, twice.second.target, stored[1])
    assert _backups.record(text, "there").remote == f"s3://elsewhere/{stored[0]}"
    assert twice.record("blog").remote == f"s3://backups/{stored[0]}"


@pytest.mark.parametrize("gone", ["backups", "elsewhere"])
def test_a_place_that_is_gone_keeps_no_dump_from_the_other(twice: Run, gone: str) -> None:
    assert twice.second and twice.store
    twice.lay_down("shop", 40)
    twice.store.client.delete_bucket(Bucket=gone)
    assert not twice()
    (there,) = {"backups", "elsewhere"} - {gone}
    record = twice.record("shop")
    assert record.verified and str(record.remote).startswith(f"s3://{there}/night/shop/")
    result = twice.state()["databases"]["shop"]
    assert (result["ok"], result["last_success"]) == (False, None)
    assert f"Cannot upload s3://{gone}/" in result["detail"]
    assert result["detail"].endswith(f"It was read back whole from {record.remote} alone.")
    assert len(twice.files("shop")) == 2, "nothing is pruned"


@pytest.mark.parametrize("unwritable", [".json.partial", ".json"])
def test_a_disk_that_is_full_at_the_first_place_keeps_no_dump_from_the_second(
    twice: Run, monkeypatch: pytest.MonkeyPatch, unwritable: str
) -> None:
    assert twice.second and twice.store
    write = _backup_state.write
    refused: list[pathlib.Path] = []

    def full(path: pathlib.Path, text: str) -> None:
        if path.parent.name == "shop" and path.name.endswith(unwritable) and not refused:
            refused.append(path)
            raise OSError(28, "No space left on device")
        write(path, text)

    monkeypatch.setattr(_back_up, "write", full)
    assert not twice()
    stored = _s3.list_objects(twice.store.client, twice.second.target)
    assert sum("/shop/" in item.key for item in stored) == 2
    record = twice.record("shop")
    assert record.verified and str(record.remote).startswith("s3://elsewhere/")
    detail = twice.state()["databases"]["shop"]["detail"]
    assert "No space left on device" in detail and detail.endswith(f"{record.remote} alone.")


def test_the_second_place_is_thinned_out_too(twice: Run) -> None:
    assert twice.second and twice.store
    in_the_bucket(twice, 400, 2, 1)
    for item in _s3.list_objects(twice.store.client, TARGET):
        source = {"Bucket": "backups", "Key": item.key}
        twice.store.client.copy_object(Bucket="elsewhere", Key=item.key, CopySource=source)
    twice.options = dataclasses.replace(twice.options, store_retention_days=90, databases=["shop"])
    assert twice()
    old = f"{NOW - timedelta(days=400):%Y%m%d}"
    for place in ("backups", "elsewhere"):
        assert any(f"deleted s3://{place}/night/shop/{old}" in line for line in twice.said)


def test_the_places_of_a_program_have_keys_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_SECOND_ACCESS_KEY_ID", "there")
    monkeypatch.setenv("SLIPWAY_SECOND_SECRET_ACCESS_KEY", "s")
    places = _s3.targets({"s3": {"bucket": "b"}, "second": {"bucket": "c", "prefix": "p"}})
    assert [(each.bucket, each.access_key) for each in places] == [("b", None), ("c", "there")]
    assert _s3.targets({"s3": {}}) == []


def test_old_copies_go_only_after_success_and_are_named(run: Run) -> None:
    old = run.lay_down("shop", 40)
    run.lay_down("shop", 3)
    run.lay_down("shop", 2)
    assert run()
    assert len(run.files("shop")) == len(run.files("shop", "*.json")) == 3
    assert old.file not in run.files("shop")
    assert f"shop: deleted {old.file}, older than 30 days." in run.said


def test_a_clock_that_jumped_ahead_deletes_nothing_anywhere(run: Run) -> None:
    ages = (402, 401, 400)
    for age in ages:
        run.lay_down("shop", age)
    in_the_bucket(run, *ages)
    run.options = dataclasses.replace(run.options, store_retention_days=90, databases=["shop"])
    assert run()
    assert (len(run.files("shop")), len(run.stored())) == (4, 8)
    assert not [line for line in run.said if "deleted" in line]


def in_the_bucket(run: Run, *ages: int) -> None:
    """Verified dumps of so many days ago, as runs of those nights left them."""
    assert run.store is not None
    for age in ages:
        file = _backups.file_name(NOW - timedelta(days=age), "0a1b2c3d")
        for name in (f"{file}.gpg", f"{file}.gpg.json"):
            key = TARGET.key("shop", name)
            run.store.client.put_object(Bucket="backups", Key=key, Body=b"x")


def test_the_bucket_keeps_the_last_days_and_a_rung_of_each_month(run: Run) -> None:
    assert run.store is not None
    run.store.client.put_bucket_versioning(
        Bucket="backups", VersioningConfiguration={"Status": "Enabled"}
    )
    in_the_bucket(run, 1, 2, 89, 91, 92, 120, 121, 500)
    run.options = dataclasses.replace(run.options, store_retention_days=90, databases=["shop"])
    assert run()
    left = [_backups.taken(key.rpartition("/")[2]) for key in run.stored()]
    ages = {(NOW - taken).days for taken in left if taken}
    # 2026-08-22 and 08-21 are 91 and 92 days ago, 07-24 and 07-23 are 120 and 121.
    assert ages == {0, 1, 2, 89, 92, 121}
    assert len(run.stored()) == 2 * len(ages)
    assert sum(" and none of the 4 weekly and 12 monthly ones." in line for line in run.said) == 3
    versions = run.store.client.list_object_versions(Bucket="backups")["Versions"]
    assert len(versions) == 18, "whoever may only hide has destroyed nothing"


def test_a_bucket_that_refuses_to_delete_is_told_and_no_failure(run: Run) -> None:
    assert run.store is not None
    in_the_bucket(run, 1, 2, 91, 500)

    class Refusing(Tampering):
        def delete_object(self, **_asked: t.Any) -> t.NoReturn:
            raise botocore.exceptions.ClientError({"Error": {"Code": "AccessDenied"}}, "Delete")

    refusing = Refusing(run.store.client, bytes, "none")
    run.store = dataclasses.replace(run.store, client=refusing)
    run.options = dataclasses.replace(run.options, store_retention_days=90, databases=["shop"])
    assert run()
    assert run.said[-1].startswith("<4>Old dumps of shop stay, for room: Cannot delete s3://")
    assert "AccessDenied: the key may not do this" in run.said[-1]
    assert run.said[-1].endswith("playbooks/prune_backups.yml deletes with others.")
    assert not _back_up.prune_stores(run.options, run.means())


def test_what_may_not_be_deleted_at_night_is_pruned_with_other_keys(run: Run) -> None:
    in_the_bucket(run, 1, 2, 91, 500)
    assert run()
    before = len(run.stored())
    run.options = dataclasses.replace(run.options, store_retention_days=90, databases=["shop"])
    assert _back_up.prune_stores(run.options, run.means())
    assert len(run.stored()) == before - 2, "of 91 days ago is the first of its month"
    run.failing["shop"] = _errors.BackupError("no.")
    in_the_bucket(run, 500)
    assert not run()
    before = len(run.stored())
    assert not _back_up.prune_stores(run.options, run.means())
    assert run.said[-1] == "<3>shop: the last backup failed, so nothing is deleted."
    assert len(run.stored()) == before


def test_a_failed_run_deletes_nothing_in_the_bucket(run: Run) -> None:
    in_the_bucket(run, 91, 500)
    before = run.stored()
    run.failing["shop"] = _errors.BackupError("no.")
    run.options = dataclasses.replace(run.options, store_retention_days=90, databases=["shop"])
    assert not run()
    assert run.stored() == before


def test_a_database_that_was_never_backed_up_is_not_called_failed(run: Run) -> None:
    run.options = dataclasses.replace(run.options, store_retention_days=90, databases=["shop"])
    assert not _back_up.prune_stores(run.options, run.means())
    assert run.said == ["<3>shop: no backup was taken yet, so nothing is deleted."]


def test_a_failed_database_is_not_pruned_while_the_others_are(run: Run) -> None:
    for database in ("shop", "blog"):
        for age in (40, 2, 1):
            run.lay_down(database, age)
    run.failing["shop"] = _errors.BackupError("no.")
    run()
    assert (len(run.files("shop")), len(run.files("blog"))) == (3, 3)
    assert run.files("shop") != run.files("blog")


def test_a_copy_whose_record_is_gone_or_differs_counts_as_unverified(run: Run) -> None:
    for age in (4, 3, 2, 1):
        run.lay_down("shop", age)
    directory = run.options.directory / "shop"
    dumps = run.files("shop")
    (directory / dumps[0]).with_suffix(".json").unlink()
    (directory / dumps[1]).with_suffix(".json").write_text("{")
    (directory / dumps[2]).write_bytes(b"short")
    (directory / "notes.dump").touch()
    found = sorted(_back_up.copies(directory), key=lambda copy: copy.file)
    assert [copy.verified for copy in found] == [False, False, False, True]


def test_what_a_killed_run_left_behind_is_removed(run: Run) -> None:
    run.lay_down("shop", 1)
    (run.options.directory / "shop" / "20261120T020000Z-00.dump.partial").touch()
    (run.options.directory / "shop" / ".20261120T020000Z-00.json.new").touch()
    (
        run.options.directory / "shop" / "20261120T020001Z-00.json"
    ).touch()  # before its dump was there
    (run.options.directory / "shop" / "notes.json").touch()
    fetched = "20261101T020000Z-00.dump.gpg"  # by somebody who restores it
    for name in (fetched, f"{fetched}.json"):
        (run.options.directory / "shop" / name).touch()
    assert run()
    whole = {name.removesuffix(".dump") for name in run.files("shop")}
    records = {name.removesuffix(".json") for name in run.files("shop", "*.json")}
    assert records == {*whole, "notes", fetched}
    assert run.files("shop", "*.new") == []
    assert run.files("shop", "*.partial") == []


def test_without_a_store_the_run_succeeds_and_warns(run: Run) -> None:
    run.store = None
    assert run()
    assert run.said[0].startswith("<4>backup_s3 is empty")
    assert run.record("shop").verified
    assert run.record("shop").remote is None


def test_a_name_that_is_no_directory_fails_alone(run: Run) -> None:
    run.options = dataclasses.replace(run.options, databases=["../etc", "blog"])
    assert not run()
    assert [result["ok"] for result in run.state()["databases"].values()] == [False, True]


def test_a_table_that_cannot_be_hashed_is_told(run: Run) -> None:
    run.options = dataclasses.replace(run.options, hashed_tables={"shop": ["public.gone"]})
    assert run()
    assert "<4>shop: hashed_tables names public.gone, which is not there." in run.said


def test_a_disk_that_would_fill_is_refused_before_the_dump(
    run: Run, tmp_path: pathlib.Path
) -> None:
    def require_room(size: int, **options: t.Any) -> None:
        _back_up.require_room(tmp_path, size, dataclasses.replace(run.options, **options))

    with pytest.raises(_errors.BackupError, match=r"free or add space\.$"):
        require_room(10**18)
    with pytest.raises(_errors.BackupError, match=r"\(100 %\) stay reserved"):
        require_room(1, reserve_percent=100)
    require_room(1)
    half = shutil.disk_usage(tmp_path).free * 2 // 3
    require_room(half)
    with pytest.raises(_errors.BackupError, match="but the dump may take"):
        require_room(half, gpg=["gpg"], targets=[TARGET])


def test_what_does_not_fit_beside_others_waits_for_them(run: Run, tmp_path: pathlib.Path) -> None:
    room, half = _back_up.Room(), shutil.disk_usage(tmp_path).free * 2 // 3
    one, two = (tmp_path / name for name in ("backups", "state"))
    room.promise(one, half, run.options)
    room.promise(two, 1, run.options)
    room.give_back(two)
    waiting = threading.Thread(target=room.promise, args=(two, half, run.options), daemon=True)
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive() and list(room.promises) == [one]
    room.give_back(one)
    waiting.join(10)
    assert list(room.promises) == [two]
    room.give_back(two)
    with pytest.raises(_errors.BackupError, match=r"the dump may take .* stay reserved"):
        room.promise(one, 10**18, run.options)
    assert room.promises == {}


def test_room_is_held_until_the_encrypted_copy_is_gone(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = []
    send = _back_up.send_everywhere

    def sending(*given: t.Any) -> _backups.Record:
        held.append([path.name for path in run.room.promises])
        return send(*given)

    monkeypatch.setattr(_back_up, "send_everywhere", sending)
    run.failing = {"blog": _errors.BackupError("no.")}
    assert not run()
    assert held == [["shop"]]
    assert run.room.promises == {}, "also that of what failed"


def test_several_databases_are_dumped_at_once(run: Run) -> None:
    met = threading.Barrier(2, timeout=10)
    take = run.take

    def together(*given: t.Any) -> _backups.Record:
        met.wait()
        return take(*given)

    run.take = together  # type: ignore[method-assign, assignment]
    run.options = dataclasses.replace(run.options, jobs=2)
    assert run()
    assert [each["ok"] for each in run.state()["databases"].values()] == [True, True]
    assert list(run.state()["databases"]) == ["shop", "blog"]


def test_a_state_that_cannot_be_written_meanwhile_loses_no_result(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, written = _backup_state.write, iter(range(10))

    def full(path: pathlib.Path, text: str) -> None:
        if path.name == "state.json" and next(written) in (1, 2):  # after each of both
            raise OSError(28, "No space left on device")
        write(path, text)

    monkeypatch.setattr(_back_up, "write", full)
    assert run()
    assert [each["ok"] for each in run.state()["databases"].values()] == [True, True]


def test_what_is_stored_is_encrypted_and_what_stays_is_not(
    run: Run, gpg: list[str], tmp_path: pathlib.Path
) -> None:
    run.options = dataclasses.replace(run.options, gpg=gpg)
    assert run()
    stem = "20261121T020000Z-0a1b2c3d"
    assert run.store is not None
    key = f"night/shop/{stem}.dump.gpg"
    body = _s3.read_whole(run.store.client, TARGET, key)
    assert b"PGDMP" not in body
    (tmp_path / "body").write_bytes(body)
    opened = subprocess.run([*gpg, "--decrypt", tmp_path / "body"], capture_output=True, check=True)
    assert opened.stdout == DUMP
    stored = _backups.record(_s3.read_text(run.store.client, TARGET, f"{key}.json"), key)
    assert (stored.file, stored.size) == (f"{stem}.dump.gpg", len(body))
    assert stored.sha256 == hashlib.sha256(body).hexdigest()
    local = run.record("shop")
    assert local.sha256 == stored.plain_sha256 == hashlib.sha256(DUMP).hexdigest()
    assert (local.file, local.verified) == (f"{stem}.dump", True)
    assert local.remote == stored.remote == f"s3://backups/{key}"
    assert run.files("shop", "*") == [f"{stem}.dump", f"{stem}.json"]


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        ("*", "gpg cannot encrypt "),
        ("*--decrypt*", "gpg cannot decrypt "),
        ("", "does not decrypt to "),
    ],
)
def test_what_cannot_be_encrypted_never_leaves_the_machine(
    run: Run, tmp_path: pathlib.Path, broken: str, sentence: str
) -> None:
    stand_in = tmp_path / "gpg"
    write = 'for word; do case $word in --output=*) echo x > "${word#*=}";; esac; done'
    fail = f'case "$*" in {broken or "never"}) exit 2;; esac'
    stand_in.write_text(f"#!/bin/sh\n{fail}\n{write}\n")
    stand_in.chmod(0o755)
    run.options = dataclasses.replace(run.options, gpg=[str(stand_in)])
    assert not run()
    assert sentence in run.said[0]
    assert run.stored() == []
    assert not run.record("shop").verified


def test_two_runs_exclude_each_other(tmp_path: pathlib.Path) -> None:
    with (
        _backup_state.alone(tmp_path / "lock"),
        pytest.raises(_errors.BackupError, match="Another backup is running"),
        _backup_state.alone(tmp_path / "lock"),
    ):
        pass
    with _backup_state.alone(tmp_path / "lock"):
        pass


@pytest.mark.parametrize("text", ["", "[]", '{"databases"', "\0"])
def test_a_state_that_was_cut_short_is_none(tmp_path: pathlib.Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    assert _backup_state.read(tmp_path / "state.json") == {}
    assert _backup_state.read(tmp_path / "absent") == {}


CONFIGURATION: dict[str, t.Any] = {
    "databases": ["shop"],
    "directory": "/var/backups/slipway",
    "state": "/var/lib/slipway/backup",
    "port": 5432,
    "retention_days": 30,
    "keep": 3,
    "reserve_percent": 5,
    "s3": {"bucket": "backups"},
}


def test_a_full_disk_under_the_state_ends_the_program_in_one_sentence(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {**CONFIGURATION, "s3": {}, "state": str(tmp_path)}
    (tmp_path / "c").write_text(json.dumps(settings))

    def full(*_: t.Any) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_back_up, "run", full)
    assert _back_up.main(["back_up", str(tmp_path / "c")]) == 1
    said = capsys.readouterr().out
    assert said == "<3>The run was given up: [Errno 28] No space left on device.\n"


def test_half_of_a_file_does_not_stay_where_there_is_no_room(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: t.Any) -> t.NoReturn:
        raise OSError(28, "No space left on device")

    (tmp_path / "state.json").write_text("old")
    monkeypatch.setattr(_backup_state, "flush", full)
    with pytest.raises(OSError, match="No space"):
        _backup_state.write(tmp_path / "state.json", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]
    assert (tmp_path / "state.json").read_text() == "old"


@pytest.mark.parametrize(("wish", "processors", "jobs"), [(0, 8, 4), (0, 1, 1), (3, 8, 3)])
def test_the_number_at_once_is_the_operators_or_half_the_processors(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, wish: int, processors: int, jobs: int
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: processors)
    told = {"databases": [], "directory": "/d", "state": "/s", "port": 1, "s3": {}, "jobs": wish}
    told |= {"retention_days": 1, "keep": 1, "reserve_percent": 1}
    (tmp_path / "settings").write_text(json.dumps(told))
    assert _back_up.settings(tmp_path / "settings").jobs == jobs


def test_settings_name_a_target_or_none(tmp_path: pathlib.Path) -> None:
    (tmp_path / "c").write_text(json.dumps(CONFIGURATION))
    assert _back_up.settings(tmp_path / "c").targets == [_s3.Target(bucket="backups")]
    (tmp_path / "c").write_text(json.dumps({**CONFIGURATION, "s3": {}}))
    assert _back_up.settings(tmp_path / "c").targets == []


@pytest.mark.parametrize("text", ["", "{}", "[]"])
def test_settings_that_cannot_be_used_end_the_program_in_one_sentence(
    tmp_path: pathlib.Path, text: str
) -> None:
    (tmp_path / "c").write_text(text)
    with pytest.raises(_errors.BackupError, match=r"cannot be used: .* Run site\.yml to write it"):
        _back_up.settings(tmp_path / "c")
    root = pathlib.Path(_back_up.__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(root=str(root)), str(tmp_path / "c")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout.startswith("<3>Nothing was backed up: ")
    assert done.stdout.count("\n") == 1


# As installed: the same files under another package name, without a trace of Ansible.
PROGRAM = """
import importlib.machinery, importlib.util, sys
spec = importlib.machinery.ModuleSpec("slipway_backup", None, is_package=True)
spec.submodule_search_locations = [{root!r}]
sys.modules["slipway_backup"] = importlib.util.module_from_spec(spec)
from slipway_backup import _back_up
assert not [name for name in sys.modules if name.startswith("ansible")]
sys.exit(_back_up.main(["back_up", sys.argv[1]]))
"""
