"""One database put back, killed wherever one likes, with a server that keeps its databases here."""

from __future__ import annotations

import json
import typing as t
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import (
    _backups,
    _dump,
    _errors,
    _gpg,
    _psql,
    _restore,
    _scratch,
)
from ansible_collections.slipway.stack.plugins.modules import restore_database, restore_scratch
from fakes import run_module
from restore_fakes import Cluster, Machine

NOW = datetime(2026, 11, 28, 21, 20, tzinfo=UTC)
MOMENT = "2026-11-28T21:14:05Z"
SAFETY = "shop_before_20261128t212000z"
FRESH = "shop_restored_20261128t212000z"
TARGET = ["time", "2026-11-28 21:14:05+00:00"]
REACHED = {
    "backup": "20261128-030000F",
    "last_commit": "2026-11-28T21:14:04+00:00",
    "lsn": "0/1",
    "timeline": 2,
    "checksums": True,
}


@pytest.fixture
def cluster() -> Cluster:
    """The bids were dropped, orders came after."""
    cluster = Cluster(postgres={}, shop={"public.orders": 9})
    cluster.copy = {"postgres": {}, "shop": {"public.bids": 5, "public.orders": 7}}
    cluster.loads = dict(cluster.copy["shop"])
    return cluster


@pytest.fixture
def means(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _restore.Means:
    monkeypatch.setattr(_dump, "client_for", lambda major: _dump.Client(major, Path("/usr/bin")))
    live = _psql.Psql(5432, cluster)
    return _restore.Means(live, tmp_path, lambda: NOW, lambda _path: 10_000)


@pytest.fixture
def scratch(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _scratch.Scratch:
    told = {"target": TARGET, "reached": REACHED}
    monkeypatch.setattr(_scratch, "_read", lambda _scratch: told)
    return _scratch.Scratch(tmp_path / "scratch", 5499, run=cluster)


def begun(means: _restore.Means) -> _restore.Restore:
    return _restore.begin("shop", MOMENT, means)


def test_the_database_is_put_back_and_the_old_one_kept(
    cluster: Cluster, means: _restore.Means, scratch: _scratch.Scratch
) -> None:
    _restore.load_copy(begun(means), scratch, means)
    assert cluster.databases["shop"] == {"public.orders": 9}
    assert cluster.databases[FRESH] == {"public.bids": 5, "public.orders": 7}
    _restore.swap(begun(means), means)
    assert cluster.databases["shop"] == {"public.bids": 5, "public.orders": 7}
    assert cluster.databases[SAFETY] == {"public.orders": 9}
    told = _restore.report(begun(means), means, {})
    assert told["lines"] == [
        f"shop is as it was at {MOMENT}; last transaction: 2026-11-28T21:14:04+00:00.",
        f"The database as it was before is kept as {SAFETY}; look for what came after there:",
        "  public.bids: no such table there, 5 rows restored",
        "  public.orders: 9 rows there, 7 rows restored",
        _restore.DROPPED,
        "  0 tables have as many rows as before.",
        f'Remove it when it is not needed any more: DROP DATABASE "{SAFETY}".',
    ]
    written = json.loads(Path(told["report"]).read_text())
    assert written["safety_copy"] == SAFETY
    assert written["reached"] == REACHED
    ended, proven = _restore.finish(begun(means), means)
    assert ended.finished
    assert proven == [
        "Archiving works: the segment 000000010000000000000002 has arrived; the cluster is on"
        " timeline 1."
    ]


def test_where_nothing_is_archived_nothing_is_proven(
    cluster: Cluster, means: _restore.Means, scratch: _scratch.Scratch
) -> None:
    cluster.archive_mode = "off"
    swapped = _restore.swap(_restore.load_copy(begun(means), scratch, means), means)
    assert _restore.finish(swapped, means)[1] == []


def test_only_a_table_that_is_gone_has_rows_elsewhere() -> None:
    tables = [{"table": "public.bids", "before": 2, "restored": 5}]
    told = {"database": "shop", "source": MOMENT, "reached": {}, "safety_copy": SAFETY}
    told["removed"] = {}
    said = _restore.lines({**told, "tables": tables})
    assert "  public.bids: 2 rows there, 5 rows restored" in said
    assert _restore.DROPPED not in said


def test_every_step_may_be_repeated(
    cluster: Cluster, means: _restore.Means, scratch: _scratch.Scratch
) -> None:
    for _again in range(2):
        _restore.load_copy(begun(means), scratch, means)
    assert len([asked for asked in cluster.asked if "/pg_restore" in asked]) == 1
    for _again in range(2):
        _restore.swap(begun(means), means)
        _restore.report(begun(means), means, {})
    assert cluster.databases["shop"] == {"public.bids": 5, "public.orders": 7}
    assert sorted(cluster.databases) == ["postgres", "shop", SAFETY]


def test_the_latest_of_an_earlier_run_is_not_the_latest_any_more(
    cluster: Cluster,
    means: _restore.Means,
    scratch: _scratch.Scratch,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = {"target": ["latest", ""], "reached": REACHED}
    monkeypatch.setattr(_scratch, "_read", lambda _scratch: told)
    _restore.load_copy(_restore.begin("shop", "latest", means), scratch, means)
    later = replace(means, clock=lambda: NOW + timedelta(days=7))
    cluster.copy["shop"] = cluster.loads = {"public.orders": 900}
    restore = _restore.begin("shop", "latest", later)
    assert restore.loaded
    restore = _restore.load_copy(restore, scratch, later)
    assert restore == _restore.begin("shop", "latest", later)
    assert restore.safety == "shop_before_20261205t212000z"
    assert FRESH not in cluster.databases
    restore = _restore.swap(restore, later)
    assert cluster.databases["shop"] == {"public.orders": 900}
    # From here on it goes on with what was swapped.
    assert _restore.load_copy(restore, scratch, later) == restore


def test_a_swap_whose_end_nobody_wrote_down_is_not_done_again(
    cluster: Cluster, means: _restore.Means, scratch: _scratch.Scratch
) -> None:
    loaded = _restore.load_copy(begun(means), scratch, means)
    _restore.swap(loaded, means)
    (means.state / "restore.json").write_text(json.dumps(loaded.__dict__))
    assert _restore.swap(begun(means), means).swapped
    assert cluster.databases["shop"] == {"public.bids": 5, "public.orders": 7}


@pytest.mark.parametrize("name", ["s" * 63, "s" * 36 + "\N{LATIN SMALL LETTER E WITH ACUTE}" * 9])
def test_no_name_is_longer_than_those_of_the_server(name: str) -> None:
    restore = _restore.Restore(name, MOMENT, NOW.isoformat())
    for each in (restore.fresh, restore.safety):
        assert len(each.encode()) <= 63
        assert each.startswith("s" * 36)
        assert each.endswith("_20261128t212000z")


def test_a_swap_is_believed_only_if_the_old_database_is_kept(
    cluster: Cluster, means: _restore.Means, scratch: _scratch.Scratch
) -> None:
    loaded = _restore.load_copy(begun(means), scratch, means)
    del cluster.databases[FRESH]
    with pytest.raises(_errors.BackupError) as refused:
        _restore.swap(loaded, means)
    assert str(refused.value) == (
        f"{FRESH} is gone, and nothing is kept as {SAFETY}: nothing was swapped; the same command"
        " loads it anew."
    )
    assert cluster.databases["shop"] == {"public.orders": 9}
    # It does.
    _restore.swap(_restore.load_copy(begun(means), scratch, means), means)
    assert cluster.databases[SAFETY] == {"public.orders": 9}


def test_a_swap_that_fails_opens_the_live_database_again(
    cluster: Cluster, means: _restore.Means, scratch: _scratch.Scratch
) -> None:
    loaded = _restore.load_copy(begun(means), scratch, means)
    cluster.fails = "RENAME"
    with pytest.raises(_psql.PsqlError, match="no"):
        _restore.swap(loaded, means)
    assert "ALLOW_CONNECTIONS true" in cluster.asked[-1]
    assert not begun(means).swapped


def test_a_load_that_was_killed_begins_anew(
    cluster: Cluster, means: _restore.Means, scratch: _scratch.Scratch
) -> None:
    cluster.fails = "/pg_restore"
    with pytest.raises(_errors.BackupError, match=r"^pg_restore failed: no\.$"):
        _restore.load_copy(begun(means), scratch, means)
    cluster.fails = ""
    cluster.databases[FRESH] = {"public.half": 1}
    assert _restore.load_copy(begun(means), scratch, means).loaded
    assert cluster.databases[FRESH] == {"public.bids": 5, "public.orders": 7}


def test_rows_that_were_lost_on_the_way_stop_it(
    cluster: Cluster, means: _restore.Means, scratch: _scratch.Scratch
) -> None:
    cluster.loads["public.bids"] = 4
    with pytest.raises(
        _errors.BackupError, match=r"public.bids has 4 rows after loading, but 5 ro"
    ):
        _restore.load_copy(begun(means), scratch, means)
    with pytest.raises(_errors.BackupError, match="shop was not loaded: nothing was swapped"):
        _restore.swap(begun(means), means)
    assert cluster.databases["shop"] == {"public.orders": 9}


def test_a_database_that_is_gone_altogether_comes_back(
    cluster: Cluster, means: _restore.Means, scratch: _scratch.Scratch
) -> None:
    del cluster.databases["shop"]
    _restore.swap(_restore.load_copy(begun(means), scratch, means), means)
    told = _restore.report(begun(means), means, {})
    assert len(told["lines"]) == 1
    assert sorted(cluster.databases) == ["postgres", "shop"]


def test_nothing_ends_before_the_swap(means: _restore.Means) -> None:
    with pytest.raises(_errors.BackupError, match="shop was not swapped"):
        _restore.report(begun(means), means, {})
    with pytest.raises(_errors.BackupError, match="shop was not swapped"):
        _restore.finish(begun(means), means)


DROP = (
    "rmgr: Transaction len (rec/tot): 469/469, tx:        842, lsn: 0/0400D4D8, prev 0/0400D4A"
    ", desc: COMMIT 2026-11-28 21:14:06.391051 UTC; rels: base/1/0 base/1/9; dropped stats: 2/1/0;"
    " inval msgs: catcache 80\n"
)


def test_the_report_says_which_transaction_dropped_a_table(
    cluster: Cluster, means: _restore.Means, scratch: _scratch.Scratch
) -> None:
    cluster.wal = DROP + DROP.replace("842", "900")
    restore = _restore.swap(_restore.load_copy(begun(means), scratch, means), means)
    found = _restore.removed(restore, scratch, means)
    assert {name: each.xid for name, each in found.items()} == {"public.bids": 842}
    said = _restore.report(restore, means, found)["lines"]
    assert _restore.DROPPED not in said
    (line,) = [each for each in said if "-e restore_to=xid:842 and without a database" in each]
    assert "dropped it, 2026-11-28 21:14:06.391051 UTC, is in a copy" in line
    gone = replace(restore, reached={})
    assert _restore.removed(gone, scratch, means) == {}


def test_another_request_takes_what_is_left_of_an_interrupted_one(
    cluster: Cluster, means: _restore.Means, scratch: _scratch.Scratch
) -> None:
    _restore.load_copy(begun(means), scratch, means)
    assert not _restore.begin("shop", "latest", means).loaded
    assert FRESH not in cluster.databases


def test_another_request_does_not_pass_over_one_that_was_swapped(
    means: _restore.Means, scratch: _scratch.Scratch
) -> None:
    swapped = _restore.swap(_restore.load_copy(begun(means), scratch, means), means)
    with pytest.raises(_errors.BackupError, match="interrupted after the swap: finish it with its"):
        _restore.begin("blog", "latest", means)
    _restore.finish(swapped, means)
    assert _restore.begin("blog", "latest", means).database == "blog"


@pytest.mark.parametrize("left", ["{", "[]", '{"x": 1}'])
def test_a_journal_that_cannot_be_read_is_none(means: _restore.Means, left: str) -> None:
    (means.state / "restore.json").write_text(left)
    assert begun(means) == _restore.Restore("shop", MOMENT, NOW.isoformat())


def test_no_room_is_found_beforehand(
    cluster: Cluster, means: _restore.Means, scratch: _scratch.Scratch
) -> None:
    full = replace(means, free=lambda _path: 1_400)
    with pytest.raises(
        _errors.BackupError, match=r"1.4 kB free, but a second shop .* up to 1.5 kB"
    ):
        _restore.load_copy(begun(means), scratch, full)
    assert FRESH not in cluster.databases


def test_room_is_asked_of_the_disk(means: _restore.Means, tmp_path: Path) -> None:
    assert _restore.Means(means.live, tmp_path, means.clock).free(tmp_path) > 0


def test_a_copy_of_another_moment_or_without_the_database_is_refused(
    cluster: Cluster, means: _restore.Means, scratch: _scratch.Scratch
) -> None:
    with pytest.raises(_errors.BackupError, match="there is no scratch instance at latest: run"):
        _restore.load_copy(_restore.begin("shop", "latest", means), scratch, means)
    del cluster.copy["shop"]
    with pytest.raises(_errors.BackupError, match="shop was not in the cluster at 2026-11-28T21"):
        _restore.load_copy(begun(means), scratch, means)


def dumped(tmp_path: Path, **changes: t.Any) -> Path:
    path = tmp_path / "20261128T020000Z-abc.dump"
    path.write_bytes(b"PGDMP")
    record = _backups.Record(
        database="shop",
        file=path.name,
        size=5,
        sha256=_dump.sha256(path),
        nonce="abc",
        started="",
        finished="",
        server_version="17",
        client_version="17",
        compression="zstd",
        tables={"public.bids": 5, "public.orders": 7},
    )
    path.with_suffix(".json").write_text(replace(record, **changes).as_json())
    return path


def test_a_dump_is_put_back_as_its_record_says(
    cluster: Cluster, means: _restore.Means, tmp_path: Path
) -> None:
    path = dumped(tmp_path)
    for _again in range(2):
        restore = _restore.load_dump(_restore.begin("shop", str(path), means), path, means)
    _restore.swap(restore, means)
    assert cluster.databases["shop"] == {"public.bids": 5, "public.orders": 7}
    told = _restore.report(_restore.swap(restore, means), means, {})
    assert told["lines"][0] == f"shop is as it was at {path}."


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"database": "blog"}, "is a dump of blog, not of shop"),
        ({"sha256": "0"}, "is not what was dumped: its sha256 is"),
        ({"tables": {"public.bids": 6}}, "public.bids has 5 rows after loading, but 6 rows where"),
    ],
)
def test_a_dump_that_is_not_what_its_record_says_is_refused(
    means: _restore.Means, tmp_path: Path, changes: dict[str, t.Any], said: str
) -> None:
    path = dumped(tmp_path, **changes)
    with pytest.raises(_errors.BackupError, match=said):
        _restore.load_dump(begun(means), path, means)


def test_a_dump_needs_its_record_and_an_owner(
    cluster: Cluster, means: _restore.Means, tmp_path: Path
) -> None:
    with pytest.raises(_errors.BackupError, match=r"x.json cannot be read: No such file"):
        _restore.load_dump(begun(means), tmp_path / "x.dump", means)
    del cluster.databases["shop"]
    with pytest.raises(_errors.BackupError, match="nobody knows its owner: run site"):
        _restore.load_dump(begun(means), dumped(tmp_path), means)


def test_what_is_not_read_of_the_dump_is_not_told_of_it(
    means: _restore.Means, tmp_path: Path
) -> None:
    def free(_path: Path) -> int:
        raise PermissionError(13, "Permission denied", "/var/lib/postgresql")

    path = dumped(tmp_path)
    with pytest.raises(PermissionError):
        _restore.load_dump(begun(means), path, replace(means, free=free))
    path.unlink()
    with pytest.raises(_errors.BackupError, match=r"abc\.dump cannot be read: No such file"):
        _restore.load_dump(begun(means), path, means)


def fetched(tmp_path: Path, gpg: list[str], passphrase: bool = True) -> Path:
    """A dump as it is in the bucket, with its record, beside the program's settings."""
    dump = dumped(tmp_path)
    path = tmp_path / f"{dump.name}.gpg"
    _gpg.encrypt(gpg, dump, path)
    record = _backups.record(dump.with_suffix(".json").read_text(), "")
    record = replace(record, file=path.name, sha256=_dump.sha256(path), plain_sha256=record.sha256)
    path.with_name(f"{path.name}.json").write_text(record.as_json())
    dump.with_suffix(".json").unlink()
    (tmp_path / "dumps").mkdir()
    told = {"directory": str(tmp_path / "dumps"), "gpg": gpg if passphrase else []}
    (tmp_path / "backup.json").write_text(json.dumps(told))
    return path


def test_a_dump_of_the_bucket_is_put_back(
    cluster: Cluster, means: _restore.Means, tmp_path: Path, gpg: list[str]
) -> None:
    means = replace(means, settings=tmp_path / "backup.json")
    path = fetched(tmp_path, gpg)
    plain = path.with_suffix("")
    for restored in (plain, path):
        restore = _restore.begin("shop", str(restored), means)
        assert _restore.load_dump(restore, restored, means).loaded
    assert list((tmp_path / "dumps").iterdir()) == []
    read = [line.split()[-1] for line in cluster.asked if "pg_restore" in line]
    assert read == [str(plain), str(tmp_path / "dumps/restore.dump")]
    plain.write_bytes(b"PGDMP and more")
    with pytest.raises(_errors.BackupError, match="is not what was dumped: its sha256 is"):
        _restore.load_dump(_restore.begin("shop", str(plain), means), plain, means)


@pytest.mark.parametrize(
    ("ill", "said"),
    [
        ("passphrase", "is encrypted, and .*backup.json names no passphrase: decrypt it as"),
        ("room", "has 3 B free, but .*gpg takes .* there while it is read"),
        ("damage", "gpg cannot decrypt .*20261128T020000Z-abc.dump.gpg: "),
        ("another", "20261128T020000Z-abc.dump.gpg is not what was dumped: its sha256 is"),
    ],
)
def test_a_dump_of_the_bucket_that_cannot_be_read_is_refused(
    means: _restore.Means, tmp_path: Path, gpg: list[str], ill: str, said: str
) -> None:
    path = fetched(tmp_path, gpg, ill != "passphrase")
    free = 3 if ill == "room" else 10_000
    means = replace(means, settings=tmp_path / "backup.json", free=lambda _path: free)
    if ill == "damage":
        path.write_bytes(path.read_bytes()[:-9])
    if ill == "another":
        (tmp_path / "other").write_bytes(b"PGDMP2")
        path.unlink()
        _gpg.encrypt(gpg, tmp_path / "other", path)
    with pytest.raises(_errors.BackupError, match=said):
        _restore.load_dump(begun(means), path, means)
    assert list((tmp_path / "dumps").iterdir()) == []


def asked(step: str, tmp_path: Path, **options: t.Any) -> dict[str, t.Any]:
    defaults = {"to": MOMENT, "dump": None, "directory": str(tmp_path / "scratch"), "port": 5499}
    return {"database": "shop", "confirmed": "shop", "step": step, **defaults, **options}


@pytest.mark.usefixtures("scratch")
def test_the_module_takes_the_steps(means: _restore.Means, tmp_path: Path) -> None:
    steps = ["load", "load", "swap", "report", "finish"]
    done = [restore_database.step(asked(step, tmp_path), means) for step in steps]
    assert [each["changed"] for each in done] == [True, False, True, False, True]
    assert {each["safety_copy"] for each in done} == {SAFETY}
    assert done[3]["lines"]
    path = dumped(tmp_path)
    dump = asked("load", tmp_path, to=None, dump=str(path))
    assert restore_database.step(dump, means)["changed"]


def test_the_module_asks_for_the_name_again(capsys: pytest.CaptureFixture[str]) -> None:
    options = {"database": "shop", "step": "load", "to": "latest"}
    said = run_module("restore_database", capsys, confirmed="blog", **options)
    assert said["msg"] == (
        "shop is to be replaced, but 'blog' was confirmed: add -e restore_confirmed_database=shop."
    )
    assert run_module("restore_database", capsys, True, confirmed="shop", **options)["changed"]


def test_a_copy_is_brought_about(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    options = {"directory": str(tmp_path), "port": 5499, "live_port": 5432}
    asked = {**options, "state": "present", "to": MOMENT}
    done = restore_scratch.bring_about(asked, machine, predicting=False)
    assert done["reached"] == {**REACHED, "last_commit": "2026-11-28T21:14:04.5+00:00"}
    assert done["psql"] == f"sudo -u postgres psql -h {tmp_path}/socket -p 5499"
    assert "pg_switch_wal" in "".join(machine.statements)
    gone = {**options, "state": "absent"}
    assert restore_scratch.bring_about(gone, machine, predicting=False) == {"changed": True}


def test_a_copy_by_the_module(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    base = {"directory": str(tmp_path)}
    assert "msg" in run_module("restore_scratch", capsys, to="now", **base)
    assert run_module("restore_scratch", capsys, True, to="latest", **base)["changed"]
    assert not run_module("restore_scratch", capsys, True, state="absent", **base)["changed"]
