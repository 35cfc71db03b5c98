# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The ladder and the rules on buckets, in tables."""

from __future__ import annotations

import dataclasses
import types
import typing as t
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import (
    _backups,
    _evidence,
    _findings,
    _retention,
    _verification,
    _wal,
)
from ansible_collections.slipway.stack.plugins.module_utils._retention import Answer, Bucket, Ladder

NOW = datetime(2026, 11, 21, 3, tzinfo=UTC)
DAY = timedelta(days=1)
WELL = Bucket("b", Answer(True), Answer(400), Answer(True))


def days(*ages: float) -> list[datetime]:
    return [NOW - age * DAY for age in ages]


@pytest.mark.parametrize(
    ("ages", "promise", "gaps"),
    [
        (range(30), Ladder(), 0),
        ([], Ladder(), 0),
        ([0.1], Ladder(), 0),
        ([0, 1, 2.5], Ladder(weekly=0, monthly=0), 0),
        ([0, 1, 2.51], Ladder(weekly=0, monthly=0), 1),
        ([0, 1, 3, 4, 6], Ladder(weekly=0, monthly=0), 2),
        # A gap before the thirty days does not count, one that reaches into them does.
        ([*range(31), 33], Ladder(weekly=0, monthly=0), 0),
        ([*range(29), 31], Ladder(weekly=0, monthly=0), 1),
        ([0, 7, 14, 21], Ladder(daily=0, monthly=0), 0),
        ([0, 7, 17.5], Ladder(daily=0, monthly=0), 0),
        ([0, 7, 17.6], Ladder(daily=0, monthly=0), 1),
        ([0, 31, 77.5], Ladder(daily=0, weekly=0), 0),
        ([0, 31, 77.6], Ladder(daily=0, weekly=0), 1),
        ([0, 31, 62, 120], Ladder(daily=0, weekly=0), 1),
        ([0, 31, 62, 100], Ladder(daily=0, weekly=0), 0),
        ([-1, 0, 1], Ladder(), 0),
        ([-1, 3], Ladder(weekly=0, monthly=0), 0),
        ([0, 3], Ladder(weekly=0, monthly=0), 1),
        ([0, 1, 2], Ladder(weekly=0, monthly=0, since=NOW - 2 * DAY), 0),
        ([0, 1, 2], Ladder(weekly=0, monthly=0, since=NOW - 4 * DAY), 1),
        ([0, 1, 2, 4], Ladder(weekly=0, monthly=0, since=NOW - 2 * DAY), 0),
    ],
)
def test_gaps_of_the_ladder(ages: t.Iterable[float], promise: Ladder, gaps: int) -> None:
    found = _retention.ladder("shop", days(*ages), promise, NOW)
    assert len([one for one in found if one.severity == "critical"]) == gaps


def test_a_gap_is_named_once_by_its_finest_rung() -> None:
    found = _retention.ladder("shop", days(0, 1, 20), Ladder(), NOW)[0]
    assert (found.expected, found.database) == ("daily backups", "shop")
    assert found.found == "none between 2026-11-01 03:00:00 and 2026-11-20 03:00:00 UTC"


@pytest.mark.parametrize(
    ("ages", "promise", "short"),
    [
        ([], Ladder(), []),
        ([0], Ladder(0, 0, 0), []),
        ([0], Ladder(1, 1, 1), []),
        ([0], Ladder(), ["30 daily, 4 weekly, 12 monthly backups"]),
        ([0], Ladder(weekly=0), ["30 daily, 12 monthly backups"]),
        ([0, 28.5], Ladder(weekly=0, monthly=0), []),
        ([0, 28.4], Ladder(weekly=0, monthly=0), ["30 daily backups"]),
        ([0, 17.5], Ladder(daily=0, monthly=0), []),
        ([0, 325.5], Ladder(daily=0, weekly=0), []),
        ([0, 325.4], Ladder(daily=0, weekly=0), ["12 monthly backups"]),
        ([0], Ladder(since=NOW), []),
        ([-1], Ladder(), []),
    ],
)
def test_a_history_that_is_too_short(ages: list[float], promise: Ladder, short: list[str]) -> None:
    found = _retention.ladder("shop", days(*ages), promise, NOW)
    told = [one for one in found if one.severity == "warning"]
    assert [one.expected for one in told] == short
    assert all(f"{NOW - max(ages) * DAY:%F}" in one.found for one in told)


def judged(bucket: Bucket, promise: Ladder | None = None, *required: str) -> list[tuple[str, str]]:
    found = _retention.bucket_findings(bucket, promise or Ladder(), required, "night/", NOW)
    return [(one.severity, one.found) for one in found]


def test_a_bucket_that_is_well_has_no_findings() -> None:
    assert judged(WELL) == []


@pytest.mark.parametrize(
    ("changes", "severity", "words"),
    [
        ({"versioning": Answer(False)}, "warning", "overwritten or deleted"),
        ({"object_lock": Answer(0)}, "warning", "whoever has the keys"),
        ({"encryption": Answer(False)}, "warning", "in clear"),
        ({"encryption": Answer(None, "unsupported", "no")}, "unsupported", "no"),
        ({"uploads": Answer(None, "unknown", "denied")}, "unknown", "denied"),
        ({"object_lock": Answer(364)}, "warning", "for 364 days"),
        ({"public": Answer(("a grant",))}, "critical", "everybody may, by a grant"),
        ({"uploads": Answer([("k", NOW - 1.1 * DAY)])}, "warning", "one begun"),
        ({"markers": Answer({"k": NOW - 364 * DAY})}, "warning", "deleted at"),
    ],
)
def test_one_fact_one_finding(changes: dict[str, Answer], severity: str, words: str) -> None:
    facts = {"versioning": Answer(True), "object_lock": Answer(400), "encryption": Answer(True)}
    ((found, said),) = judged(Bucket("b", **{**facts, **changes}))
    assert (found, words in said) == (severity, True)


@pytest.mark.parametrize(
    "changes",
    [
        {"object_lock": Answer(365)},
        {"uploads": Answer([("k", NOW - DAY)])},
        {"uploads": Answer([("k", NOW - DAY / 2)])},
        {"markers": Answer({"k": NOW - 365 * DAY})},
        {"markers": Answer({"k": NOW - 366 * DAY})},
    ],
)
def test_what_is_just_good_enough(changes: dict[str, Answer]) -> None:
    facts = {"versioning": Answer(True), "object_lock": Answer(400), "encryption": Answer(True)}
    assert judged(Bucket("b", **{**facts, **changes})) == []


def test_a_lock_that_is_required_lasts_as_long_as_promised() -> None:
    facts = replace(WELL, object_lock=Answer(364))
    assert judged(facts, None, "object_lock") == [("critical", "for 364 days")]


@pytest.mark.parametrize(
    ("promise", "longest"),
    [(Ladder(), 365), (Ladder(9, 2, 0), 14), (Ladder(9, 0, 0), 9), (Ladder(0, 0, 1), 31)],
)
def test_how_long_the_oldest_must_stay(promise: Ladder, longest: int) -> None:
    """Any 365 days hold the same day of twelve months."""
    assert promise.longest() == longest * DAY


@pytest.mark.parametrize("name", ["versioning", "object_lock", "encryption"])
def test_what_is_required_is_critical(name: str) -> None:
    facts = {"versioning": Answer(True), "object_lock": Answer(400), "encryption": Answer(True)}
    bucket = Bucket("b", **{**facts, name: Answer(0)})
    assert [severity for severity, _said in judged(bucket, None, name)] == ["critical"]


@pytest.mark.parametrize(
    ("rule", "severity"),
    [
        ({"Expiration": {"Days": 364}}, "critical"),
        ({"Expiration": {"Days": 365}}, None),
        ({"Expiration": {"Days": 366}}, None),
        ({"Expiration": {"Date": NOW}}, "critical"),
        ({"Expiration": {"Days": 9}, "Status": "Disabled"}, None),
        ({"Expiration": {"Days": 9}, "Status": None}, None),
        ({"Expiration": {"Days": 9}, "Prefix": "day/"}, None),
        ({"Expiration": {"Days": 9}, "Prefix": "night/shop"}, "critical"),
        ({"Expiration": {"Days": 9}, "Filter": {"Prefix": "day/"}}, None),
        ({"Expiration": {"Days": 9}, "Filter": {"And": {"Prefix": "n", "Tags": []}}}, "warning"),
        ({"Expiration": {"Days": 9}, "Filter": {"ObjectSizeGreaterThan": 1}}, "critical"),
        (
            {
                "Expiration": {"Days": 9},
                "Filter": {"And": {"Prefix": "night/", "ObjectSizeGreaterThan": 1}},
            },
            "critical",
        ),
        (
            {
                "Expiration": {"Days": 9},
                "Filter": {"And": {"Prefix": "day/", "ObjectSizeGreaterThan": 1}},
            },
            None,
        ),
        ({"Expiration": {"Days": 9}, "Filter": {"ObjectSizeLessThan": 99}}, "warning"),
        ({"Expiration": {"Days": 9}, "Filter": {"Tag": {"Key": "a", "Value": "b"}}}, "warning"),
        ({"Expiration": {"ExpiredObjectDeleteMarker": True}}, None),
        ({"NoncurrentVersionExpiration": {"NoncurrentDays": 29}}, "warning"),
        ({"NoncurrentVersionExpiration": {"NoncurrentDays": 30}}, None),
        ({"NoncurrentVersionExpiration": {"NoncurrentDays": 31}}, None),
        ({"Transitions": [{"StorageClass": "GLACIER"}]}, "warning"),
        ({"Transitions": [{"StorageClass": "STANDARD_IA"}]}, None),
    ],
)
def test_rules_of_the_lifecycle(rule: dict[str, t.Any], severity: str | None) -> None:
    bucket = Bucket(
        "b",
        Answer(True),
        Answer(400),
        Answer(True),
        lifecycle=Answer([{"Status": "Enabled", **rule}]),
    )
    assert [found for found, _said in judged(bucket)] == ([severity] if severity else [])


@pytest.mark.parametrize(
    ("rule", "name", "when"),
    [
        ({"ID": "short", "Expiration": {"Days": 9}}, "rule short", "after 9 days"),
        ({"Prefix": "night", "Expiration": {"Days": 0}}, "rule night", "after 0 days"),
        ({"Expiration": {"Date": NOW}}, "rule unnamed", "on a date"),
    ],
)
def test_a_rule_of_the_lifecycle_is_named(rule: dict[str, t.Any], name: str, when: str) -> None:
    answer = Answer([{"Status": "Disabled"}, {"Status": "Enabled", **rule}])
    bucket = replace(WELL, lifecycle=answer)
    (found,) = _retention.bucket_findings(bucket, Ladder(), (), "night/", NOW)
    assert found.object == f"b, lifecycle {name}"
    assert found.found == f"deletes them {when}"


@pytest.mark.parametrize(
    ("problem", "remedy"), [("unsupported", "keep a second copy"), ("unknown", "allow the key")]
)
def test_what_to_do_without_an_answer(problem: str, remedy: str) -> None:
    bucket = replace(WELL, versioning=Answer(None, problem, "no"))
    (found,) = _retention.bucket_findings(bucket, Ladder(), (), "", NOW)
    assert found.remedy.startswith(remedy)


def test_what_is_promised_unless_said_otherwise() -> None:
    assert Ladder() == Ladder(daily=30, weekly=4, monthly=12, since=None)
    assert Ladder().longest() == 365 * DAY


@pytest.mark.parametrize(
    "module", [_backups, _evidence, _findings, _retention, _verification, _wal]
)
def test_values_do_not_change(module: types.ModuleType) -> None:
    values = [one for one in vars(module).values() if dataclasses.is_dataclass(one)]
    assert values
    assert all(vars(one)["__dataclass_params__"].frozen for one in values)


def finding(level: str, severity: str) -> _findings.Finding:
    return _findings.Finding(level, severity, "o", "e", "f", "r")


@pytest.mark.parametrize(
    ("found", "asked", "reached"),
    [
        ([], "kept", "kept"),
        ([], "present", "present"),
        ([("present", "critical")], "kept", None),
        ([("intact", "unknown")], "kept", "present"),
        ([("readable", "unsupported")], "kept", "intact"),
        ([("kept", "critical")], "kept", "readable"),
        ([("kept", "warning"), ("present", "warning")], "kept", "kept"),
    ],
)
def test_a_level_is_reached_when_nothing_speaks_against_it_or_those_before(
    found: list[tuple[str, str]], asked: str, reached: str | None
) -> None:
    assert _findings.reached([finding(*one) for one in found], asked) == reached


def test_the_worst_comes_first() -> None:
    every = [finding("kept", "warning"), finding("kept", "critical"), finding("intact", "critical")]
    assert _findings.ordered(every) == [every[2], every[1], every[0]]
