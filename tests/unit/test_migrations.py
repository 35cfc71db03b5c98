# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is decided about migrations, with a guard that answers what it is told to."""

from __future__ import annotations

import dataclasses
import sys
import typing as t

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _migration_talk, _migrations
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError

ORDER = _migrations.Order("shop", "django", _migrations.OWN["django"], attempts=3)
WELL = {"code": 0, "output": "OK", "revision": "shop.0002", "invalid": []}
WAITED = {**WELL, "code": 1, "output": "x\nLockNotAvailable: canceling", "revision": "shop.0001"}


class Guard:
    """Answers each question with the next of the answers prepared for it."""

    def __init__(self, **answers: t.Any) -> None:
        limits = dict(ORDER.limits)
        pending = [{"name": "shop.0002", "sql": "COMMENT ON TABLE x IS NULL", "error": ""}]
        self.answers: dict[str, list[t.Any]] = {
            "begin": [{"vendor": "postgresql", "limits": limits}],
            "lock": [{"locked": True}],
            "plan": [{"revision": "shop.0001", "pending": pending, "ahead": []}],
            "point": [{"point": "0/1"}],
            "run": [WELL],
            **answers,
        }
        self.asked: list[str] = []
        self.paused: list[float] = []
        self.noted: list[_migrations.Done] = []

    def __call__(self, word: str) -> dict[str, t.Any]:
        self.asked.append(word)
        answers = self.answers[word]
        return t.cast(dict[str, t.Any], answers.pop(0) if len(answers) > 1 else answers[0])

    def migrate(self, order: _migrations.Order = ORDER) -> _migrations.Done:
        return _migrations.migrate(order, self, self.noted.append, self.paused.append)


def test_questions_come_in_an_order_that_is_safe() -> None:
    guard = Guard()
    done = guard.migrate()
    assert guard.asked == ["begin", "lock", "plan", "point", "run"]
    assert (done.before, done.after, done.point) == ("shop.0001", "shop.0002", "0/1")
    assert [(one.before, one.after) for one in guard.noted] == [
        ("shop.0001", ""),
        ("shop.0001", "shop.0002"),
    ]


def test_nothing_pending_runs_nothing_but_a_command_of_the_operators_own() -> None:
    plan = [{"revision": "shop.0002", "pending": [], "ahead": []}]
    guard = Guard(plan=plan)
    assert guard.migrate().after == "shop.0002"
    assert guard.asked == ["begin", "lock", "plan"]
    own = Guard(plan=plan)
    own.migrate(_migrations.Order("shop", "django", "make it"))
    assert own.asked[-1] == "run"
    assert "point" not in own.asked


def test_other_databases_are_migrated_without_a_guard() -> None:
    ran = {"code": 1, "output": "no such table"}
    guard = Guard(begin=[{"vendor": "sqlite", "limits": {}}], run=[ran])
    assert guard.migrate().trouble == "failed."
    assert guard.asked == ["begin", "run"]


@pytest.mark.parametrize(
    ("answers", "pauses", "trouble"),
    [
        ([WAITED, WAITED, WELL], [1, 2], ""),
        ([WAITED], [1, 2], "failed after 3 attempts. The schema stands where it was, at shop"),
        ([{**WAITED, "output": "syntax"}], [], "failed. The schema stands where it was, at shop"),
        ([{**WAITED, "invalid": ["a"]}], [], "get rid of it with DROP INDEX CONCURRENTLY a;"),
    ],
)
def test_what_waited_in_vain_is_tried_again(
    answers: list[t.Any], pauses: list[float], trouble: str
) -> None:
    guard = Guard(run=answers)
    done = guard.migrate()
    assert guard.paused == pauses
    assert trouble in done.trouble
    assert bool(done.trouble) == bool(trouble)


def test_pauses_grow_and_then_do_not() -> None:
    guard = Guard(lock=[{"locked": False}])
    order = _migrations.Order("shop", "django", "x", attempts=7)
    with pytest.raises(StackError, match="Somebody else migrates the database of shop"):
        guard.migrate(order)
    assert guard.paused == [1, 2, 4, 8, 10, 10]
    later = Guard(lock=[{"locked": False}, {"locked": False}, {"locked": True}])
    assert later.migrate().trouble == ""


def test_where_a_failed_one_stands_can_be_nowhere() -> None:
    plan = [
        {
            "revision": "",
            "pending": [{"name": "a", "sql": "DROP TABLE x", "error": "no"}],
            "ahead": [],
        }
    ]
    failed = {**WAITED, "output": "no", "revision": ""}
    assert "where it was, at nothing" in Guard(plan=plan, run=[failed]).migrate().trouble
    moved = {**failed, "revision": "a"}
    assert "at a, and was at nothing" in Guard(plan=plan, run=[moved]).migrate().trouble


def test_limits_must_be_those_that_were_asked_for() -> None:
    begin = [{"vendor": "postgresql", "limits": {**ORDER.limits, "lock_timeout": "0"}}]
    with pytest.raises(StackError, match="lock_timeout=0 in spite of PGOPTIONS"):
        Guard(begin=begin).migrate()
    assert ORDER.options == "-c lock_timeout=2000 -c statement_timeout=900000"


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        ("FATAL: unsupported startup parameter in options: lock_timeout", True),
        ("no such host", False),
    ],
)
def test_a_pooler_that_is_in_the_way_is_named(words: str, remedy: bool) -> None:
    def ask(_word: str) -> dict[str, t.Any]:
        raise StackError(words)

    with pytest.raises(StackError, match=words) as refusal:
        _migrations.migrate(ORDER, ask, lambda _: None)
    assert ("Let migrate.environment of shop lead past" in str(refusal.value)) == remedy


def test_everything_that_is_refused_is_allowed_by_one_word() -> None:
    pending = [
        {"name": "a", "sql": "DROP TABLE x; DROP TABLE y", "error": ""},
        {"name": "b", "sql": "", "error": "KeyError: 'x'"},
    ]
    plan = [{"revision": "z", "pending": pending, "ahead": []}]
    guard = Guard(plan=plan)
    with pytest.raises(StackError) as refusal:
        guard.migrate()
    assert "run" not in guard.asked
    assert "Migration a of shop drops what the serving release may use: DROP TABLE x." in str(
        refusal.value
    )
    assert str(refusal.value).endswith("-e allow_migrations=a,b. 2 more of its kind are pending.")
    half = _migrations.Order("shop", "django", "x", frozenset({"a"}))
    with pytest.raises(StackError, match=r"b of shop does what cannot .*KeyError: 'x'\)\. Instead"):
        Guard(plan=plan).migrate(half)
    both = _migrations.Order("shop", "django", "x", frozenset({"a", "b"}))
    assert Guard(plan=plan).migrate(both).breaking == ("a", "b")


@pytest.mark.parametrize(
    ("ahead", "broken", "allowed", "refused"),
    [
        ([], {"a"}, set(), False),
        (["a", "b"], {"b", "c"}, set(), True),
        (["a", "b"], {"c"}, set(), False),
        (["a", "b"], {"b"}, {"b"}, False),
    ],
)
def test_code_from_before_what_breaks_is_refused(
    ahead: list[str], broken: set[str], allowed: set[str], refused: bool
) -> None:
    order = dataclasses.replace(ORDER, broken=frozenset(broken), allowed=frozenset(allowed))
    guard = Guard(plan=[{"revision": "z", "pending": [], "ahead": ahead}])
    if not refused:
        assert guard.migrate(order).trouble == ""
        return
    with pytest.raises(StackError) as refusal:
        guard.migrate(order)
    assert str(refusal.value) == (
        "The code is older than b, which has run on the database of shop and may be too much for"
        " it: deploy a version that has b; or, when you know that this one works, add"
        " -e allow_migrations=b."
    )
    assert guard.noted == []


def test_what_a_command_said_is_shown_from_its_end() -> None:
    assert _migrations.Done(output="a\nb\nc\n").tail(2) == "b\nc"


SAYS = "import sys; sys.stdin.readline(); print({!r})"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('a log\n@slipway-migrations {"x": ["s3cret!", 1]}', {"x": ["********", 1]}),
        ('@slipway-migrations {"error": "no s3cret!"}', "cannot tell .*: no \\*+"),
        ("Traceback s3cret!", r"ended instead of telling[^\n]*\nTraceback \*+"),
    ],
)
def test_answers_are_masked_and_errors_are_sentences(text: str, found: t.Any) -> None:
    secrets = {"PASSWORD": "s3cret!"}
    with _migration_talk.started([sys.executable, "-c", SAYS.format(text)]) as process:
        if isinstance(found, dict):
            assert _migration_talk.answer(process, "begin", secrets) == found
        else:
            with pytest.raises(StackError, match=found):
                _migration_talk.answer(process, "begin", secrets)


def test_a_guard_that_is_gone_has_no_answer() -> None:
    with _migration_talk.started([sys.executable, "-c", ""]) as process:
        process.wait()
        with pytest.raises(StackError, match="ended instead"):
            _migration_talk.answer(process, "begin", {})
