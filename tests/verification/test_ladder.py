# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a real pgBackRest keeps after the ladder was told to it, and that a rung can be restored."""

from __future__ import annotations

import pathlib
import tempfile
import typing as t
from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _physical, _recovery, _s3

from . import database as postgres
from .repository import SERVER, Archiving, home

CONFIGURATION = """
[global]
repo1-path={place}/repository
repo1-retention-full-type=time
repo1-retention-full=400
repo1-bundle=y
log-level-file=off
log-level-console=off
log-level-stderr=error
lock-path={place}/lock
spool-path={place}/spool
start-fast=y

[global:backup]
expire-auto=n
"""


@pytest.fixture
def cluster() -> t.Iterator[Archiving]:
    place = pathlib.Path(tempfile.mkdtemp(prefix="slipway-ladder-"))
    made = Archiving(place, home())
    made.configuration.write_text((CONFIGURATION + SERVER).format(place=place))
    made.begin()
    yield made
    postgres.remove(made)


def test_a_rung_stays_alone_with_its_wal_and_can_be_restored(
    cluster: Archiving, tmp_path: pathlib.Path
) -> None:
    """As if in a week, after three days of retention: of three full ones the first is the rung.

    Further the clock is not believed before backups were taken by it.
    """
    said: list[str] = []
    repository = _physical.Repository(1, "cluster", _s3.Target("unused"))
    options = _physical.Settings(tmp_path, 5432, 7, 24, 3, [repository])

    def pgbackrest(command: str, *words: str) -> str:
        return cluster.pgbackrest(command, *words)

    def nobody(*_given: object) -> t.Any:
        raise AssertionError("not in this test")

    means = _physical.Means(
        pgbackrest,
        nobody,
        nobody,
        lambda _repository, _label: None,
        lambda: datetime.now(UTC) + timedelta(days=7),
        said.append,
    )
    for kind in ("full", "diff", "full", "incr", "full"):
        cluster.back_up(kind)
        cluster.work()
    rung, *_between, newest = before = _physical.listed(repository, means)
    assert _physical.expire(repository, options, means, before)
    left = _physical.listed(repository, means)
    assert [one.label for one in left] == [rung.label, newest.label]
    assert len(said) == 3
    archive = cluster.place / "repository" / "archive" / "shop"
    segments = {path.name[:24] for path in archive.glob("*/*/*-*")}
    assert {rung.wal_start, rung.wal_stop, newest.wal_start} <= segments
    assert not {one for one in segments if rung.wal_stop < one < newest.wal_start}

    cluster.stop("fast")
    target = _recovery.target(f"backup:{rung.label}")
    cluster.pgbackrest("restore", "--delta", f"--set={rung.label}", *target.options())
    cluster.start()
    assert cluster.sql("template1", "SELECT count(*) FROM bids") == "0", "as it was then"
