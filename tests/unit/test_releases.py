# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Releases on disk: complete ones count, links switch whole, pruning spares what is needed."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _releases

GOOD, FAILED, BUILT = _releases.GOOD, _releases.FAILED, _releases.BUILT


@pytest.fixture
def releases(tmp_path: Path) -> _releases.Releases:
    (tmp_path / "releases").mkdir()
    return _releases.Releases(tmp_path)


def add(releases: _releases.Releases, name: str, result: str = GOOD) -> None:
    releases.path(name).mkdir()
    releases.finish(name, f"revision-{name}", "/usr/bin/python3")
    releases.judge(name, result)


def test_names_sort_by_age_and_show_the_revision() -> None:
    now = datetime.datetime(2026, 11, 21, 8, 5, 9, tzinfo=datetime.UTC)
    assert _releases.new_name("0123456789abcdef", now) == "20261121T080509Z-0123456789ab"


def test_a_killed_build_is_not_a_release(releases: _releases.Releases) -> None:
    add(releases, "1")
    releases.path("2").mkdir()
    assert [release.name for release in releases.all()] == ["1"]
    assert releases.leftovers() == ["2"]


def test_a_failed_release_is_a_leftover_unless_a_link_names_it(
    releases: _releases.Releases,
) -> None:
    for name in "12":
        add(releases, name, FAILED)
    releases.point("previous", "2")
    assert releases.leftovers() == ["1"]


def test_a_refused_release_goes_unless_it_was_good_before(releases: _releases.Releases) -> None:
    add(releases, "1", GOOD)
    add(releases, "2", BUILT)
    for name in "12":
        releases.discard(name)
    assert [release.name for release in releases.all()] == ["1"]


def test_an_unreadable_record_is_not_a_release(releases: _releases.Releases) -> None:
    add(releases, "1")
    (releases.path("1") / _releases.RECORD).write_text("{")
    assert releases.read("1") is None


def test_links_switch_and_go_away(releases: _releases.Releases) -> None:
    add(releases, "1")
    add(releases, "2")
    assert releases.linked("current") is None
    for name in ("1", "2", "2"):
        releases.point("current", name)
        current = releases.linked("current")
        assert current and current.name == name
    releases.point("current", None)
    assert releases.linked("current") is None


def test_a_link_that_a_killed_run_left_is_no_obstacle(releases: _releases.Releases) -> None:
    add(releases, "1")
    (releases.home / ".current.new").symlink_to("nowhere")
    releases.point("current", "1")
    assert releases.linked("current") is not None


def test_pruning_keeps_the_newest_good_ones(releases: _releases.Releases) -> None:
    for name in "1234567":
        add(releases, name)
    releases.point("current", "7")
    assert releases.prune(5) == ["1", "2"]


def test_pruning_spares_current_and_previous(releases: _releases.Releases) -> None:
    for name in "1234":
        add(releases, name)
    releases.point("current", "1")
    releases.point("previous", "2")
    assert releases.prune(1) == ["3"]
    assert [release.name for release in releases.all()] == ["4", "2", "1"]


def test_what_serves_stays_also_when_its_record_cannot_be_read(
    releases: _releases.Releases,
) -> None:
    for name in "123":
        add(releases, name)
    for link, name in (("current", "3"), ("previous", "2")):
        releases.point(link, name)
        (releases.path(name) / _releases.RECORD).write_text("")
    assert releases.leftovers() == []
    assert releases.prune(0) == ["1"]


def test_failed_and_killed_ones_do_not_count_as_good(releases: _releases.Releases) -> None:
    add(releases, "1")
    add(releases, "2", FAILED)
    add(releases, "3", BUILT)
    releases.path("4").mkdir()
    assert releases.prune(2) == ["2", "3", "4"]


def test_before_the_first_build_there_is_no_release(tmp_path: Path) -> None:
    assert _releases.Releases(tmp_path).all() == []


def test_a_verdict_that_stands_is_not_written_again(releases: _releases.Releases) -> None:
    add(releases, "1")
    record = releases.path("1") / _releases.RECORD
    before = record.stat().st_ino
    releases.judge("1", GOOD)
    assert record.stat().st_ino == before
    releases.judge("1", FAILED, "it does not start")
    found = releases.read("1")
    assert found and (found.result, found.reason) == (FAILED, "it does not start")


def test_a_withdrawn_revision_is_known_when_its_release_is_gone(
    releases: _releases.Releases,
) -> None:
    for name in "12":
        add(releases, name)
    releases.point("current", "1")
    releases.mark("2", _releases.WITHDRAWN, "slow")
    assert releases.prune(5) == ["2"]
    assert [releases.is_withdrawn(f"revision-{name}") for name in "12"] == [False, True]
    # Released again, by whoever meant it.
    add(releases, "2")
    assert not releases.is_withdrawn("revision-2")
    releases.prune(0)
    assert not releases.is_withdrawn("revision-2")


def test_a_withdrawn_revision_that_failed_when_it_was_released_again_stays_so(
    releases: _releases.Releases,
) -> None:
    add(releases, "1", _releases.WITHDRAWN)
    releases.remove("1")
    add(releases, "1", FAILED)
    assert releases.is_withdrawn("revision-1")


def test_what_was_taken_back_for_a_peer_is_withdrawn_no_more(
    releases: _releases.Releases,
) -> None:
    add(releases, "1")
    releases.mark("1", _releases.WITHDRAWN)
    assert releases.is_withdrawn("revision-1")
    releases.point("current", "1")
    releases.restore()
    assert not releases.is_withdrawn("revision-1")


def test_withdrawn_revisions_are_bounded_and_a_broken_list_is_none(
    releases: _releases.Releases,
) -> None:
    for number in range(_releases.WITHDRAWN_KEPT + 1):
        add(releases, str(number), _releases.WITHDRAWN)
        releases.remove(str(number))
    known = [releases.is_withdrawn(f"revision-{number}") for number in (0, 1, number)]
    assert known == [False, True, True]
    for text in ("{", "{}"):
        (releases.home / _releases.WITHDRAWN_LIST).write_text(text)
        assert not releases.is_withdrawn("revision-1")
