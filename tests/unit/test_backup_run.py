"""What the operator is told after a run, whatever systemd and the state file say."""

from __future__ import annotations

import typing as t
from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _backup_run, _errors

NOW = datetime(2026, 11, 21, 2, 0, 0, 900_000, tzinfo=UTC)
GOOD = {"ok": True, "verified": True, "size": 2_500_000, "seconds": 1.5, "detail": "read back"}
BAD = {"ok": False, "verified": False, "detail": "cannot connect: no."}


def state(seconds: int, **databases: dict[str, t.Any]) -> dict[str, t.Any]:
    begun = NOW + timedelta(seconds=seconds)
    return {"started": begun.isoformat(timespec="seconds"), "databases": databases}


def run(*states: dict[str, t.Any], complaint: str = "") -> tuple[list[_backup_run.Result], int]:
    left = list(states)
    starts: list[int] = []

    def start() -> str:
        starts.append(1)
        return complaint

    return _backup_run.run(start, lambda: left.pop(0), NOW), len(starts)


def test_each_database_has_one_line() -> None:
    found, starts = run(state(0, shop=GOOD, blog=BAD))
    assert [result.line() for result in found] == [
        "shop: 2.5 MB in 1.5 s, verified, read back",
        "blog: FAILED, cannot connect: no.",
    ]
    assert starts == 1


def test_a_run_that_was_under_way_already_is_followed_by_a_new_one() -> None:
    found, starts = run(state(-60, shop=BAD), state(1, shop=GOOD))
    assert [result.ok for result in found] == [True]
    assert starts == 2


@pytest.mark.parametrize("old", [{}, {"started": None}, {"started": "x"}, state(-5, shop=GOOD)])
def test_the_state_of_an_older_run_is_no_success(old: dict[str, t.Any]) -> None:
    with pytest.raises(_errors.BackupError, match=r"^The backup did not run: Unit not found\.$"):
        run(old, old, complaint="Unit not found")
    with pytest.raises(_errors.BackupError, match=r"state file tells of no new run\.$"):
        run(old, old)


def test_every_failure_is_named() -> None:
    found, _calls = run(state(0, shop=GOOD, blog=BAD, wiki={"ok": None, "detail": "not reached"}))
    with pytest.raises(_errors.BackupError) as caught:
        _backup_run.require_success(found)
    assert str(caught.value) == ("Backup failed for blog: cannot connect: no; wiki: not reached.")
    _backup_run.require_success(found[:1])


def test_an_unverified_copy_is_called_so() -> None:
    found, _calls = run(state(0, shop={**GOOD, "verified": False}))
    assert ", not verified, " in found[0].as_dict()["line"]


@pytest.mark.parametrize(
    ("code", "said", "complaint", "told"),
    [
        (0, "of an older run", "", ""),
        (1, "Nothing was backed up: no.\n", "See journalctl.", "Nothing was backed up: no."),
        (5, "", "Unit x.service\nnot found.", "Unit x.service not found."),
    ],
)
def test_the_sentence_of_the_program_goes_before_that_of_systemd(
    code: int, said: str, complaint: str, told: str
) -> None:
    answers = {"systemctl": (code, "", complaint), "journalctl": (0, said, "")}
    assert _backup_run.start(lambda command: answers[command[0]], "x.service") == told
