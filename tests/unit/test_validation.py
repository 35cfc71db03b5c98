"""Judging files in a copy of their tree, and sifting out the bad independent ones."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _files, _validation
from ansible_collections.slipway.stack.plugins.module_utils._commands import run
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError


def change(path: str, content: str = "x", independent: bool = False) -> _files.Change:
    file = _files.File(path, content.encode(), _files.own(0o644), False, independent)
    return _files.Change(file, _files.Found(_files.ABSENT))


class Judge:
    """Refuses every set that contains something bad; remembers how often it was asked."""

    def __init__(self, *bad: str, live_is_bad: bool = False) -> None:
        self.bad, self.live_is_bad, self.asked = set(bad), live_is_bad, 0

    def __call__(self, changes: Sequence[_files.Change]) -> str | None:
        self.asked += 1
        paths = {each.path for each in changes}
        if self.live_is_bad and "/i1" not in paths:
            return "the old /i1 is bad"
        return f"bad: {sorted(paths & self.bad)}" if paths & self.bad else None


@pytest.mark.parametrize(
    ("judge", "accepted", "refused", "at_most"),
    [
        (Judge(), 10, [], 1),
        (Judge("/i3"), 9, ["/i3"], 12),
        (Judge("/i0", "/i7"), 8, ["/i0", "/i7"], 16),
        (Judge("/base"), 0, [], 12),
        (Judge("/i2", live_is_bad=True), 9, ["/i2"], 8),
    ],
    ids=["all good", "one bad", "two bad", "base bad", "live one bad"],
)
def test_only_bad_independent_files_are_left_out(
    judge: Judge, accepted: int, refused: list[str], at_most: int
) -> None:
    changes = [change("/base"), change("/base2")]
    changes += [change(f"/i{number}", independent=True) for number in range(8)]
    verdict = _validation.sift(changes, judge)
    assert len(verdict.accepted) == accepted
    assert sorted(verdict.refused) == refused
    assert bool(verdict.all_refused_because) == (accepted == 0)
    assert judge.asked <= at_most


def test_the_copy_holds_the_new_files_and_refers_to_itself(tmp_path: Path) -> None:
    tree = tmp_path / "nginx"
    (tree / "enabled").mkdir(parents=True)
    (tree / "main.conf").write_text(f"include {tree}/enabled/*; log {tree}-logs/x; {tree};")
    (tree / "old.conf").write_text("old")
    (tree / "inside").symlink_to(tree / "main.conf")
    (tree / "outside").symlink_to("/etc/passwd")
    gone = _files.Change(
        _files.File(f"{tree}/old.conf", None, _files.own(0o644)), _files.observe(f"{tree}/old.conf")
    )
    new = change(f"{tree}/enabled/deep/new.conf", f"ssl {tree}/key")
    with _validation.staged(str(tree), [new, gone]) as copy:
        assert Path(copy, "main.conf").read_text() == (
            f"include {copy}/enabled/*; log {tree}-logs/x; {copy};"
        )
        assert Path(copy, "enabled/deep/new.conf").read_text() == f"ssl {copy}/key"
        assert Path(copy, "inside").readlink() == Path(copy, "main.conf")
        assert Path(copy, "outside").readlink() == Path("/etc/passwd")
        assert not Path(copy, "old.conf").exists()
    assert not Path(copy).exists()
    assert (tree / "old.conf").read_text() == "old"


def validator(tree: Path, code: str, timeout: float = 20) -> _validation.Validator:
    command = (sys.executable, "-c", code, "{staged}")
    return _validation.Validator(str(tree), command, timeout)


def test_a_refusal_names_the_live_path(tmp_path: Path) -> None:
    code = "import sys; sys.exit(f'{sys.argv[1]}/x.conf:1: no')"
    said = _validation.judge(validator(tmp_path, code), [change(f"{tmp_path}/x.conf")], run)
    assert said == f"{tmp_path}/x.conf:1: no"


def test_a_validator_that_hangs_refuses(tmp_path: Path) -> None:
    slow = validator(tmp_path, "import time; time.sleep(60)", timeout=0.2)
    said = _validation.judge(slow, [change(f"{tmp_path}/x")], run)
    assert said is not None and "did not end within 0.2 s" in said


def test_a_validator_is_asked_only_about_changes_in_its_tree(tmp_path: Path) -> None:
    never = validator(tmp_path / "a", "import sys; sys.exit('asked')")
    verdict = _validation.judge_all([never], [change(f"{tmp_path}/ab/x")], run)
    assert len(verdict.accepted) == 1
    verdict = _validation.judge_all([never], [change(f"{tmp_path}/a/x")], run)
    assert verdict.all_refused_because == "asked"


@pytest.mark.parametrize("command", ["nginx -t", 'nginx -t "{staged}'])
def test_a_command_that_would_judge_live_files_is_refused(command: str) -> None:
    with pytest.raises(StackError, match=r"validate\.command nginx -t"):
        _validation.from_params({"tree": "/etc/nginx", "command": command, "timeout": 1})


def test_a_validator_that_says_nothing_is_quoted_by_its_code(tmp_path: Path) -> None:
    new = change(f"{tmp_path}/x")
    said = _validation.judge(validator(tmp_path, "raise SystemExit(7)"), [new], run)
    assert said == f"{sys.executable} ended with 7 and said nothing"


def test_a_file_whose_owner_is_not_there_yet_is_judged_all_the_same(tmp_path: Path) -> None:
    later = _files.Attributes("nobody-at-all", "nobody-at-all", 0o640)
    new = _files.Change(_files.File(f"{tmp_path}/x", b"new", later), _files.Found(_files.ABSENT))
    with _validation.staged(str(tmp_path), [new]) as copy:
        assert Path(copy, "x").read_text() == "new"


def test_what_is_no_file_is_left_out_of_the_copy_and_what_is_gone_already_stays_gone(
    tmp_path: Path,
) -> None:
    os.mkfifo(tmp_path / "pipe")
    gone = _files.Change(
        _files.File(f"{tmp_path}/x", None, _files.own(0o644)), _files.Found("file")
    )
    with _validation.staged(str(tmp_path), [gone]) as copy:
        assert list(Path(copy).iterdir()) == []


def test_a_tree_that_cannot_be_copied_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    inside = change(f"{tmp_path}/file/x")
    with (
        pytest.raises(StackError, match=f"^cannot copy {tmp_path} to judge it: "),
        _validation.staged(str(tmp_path), [inside]),
    ):
        pytest.fail("there is no copy")


def test_nothing_better_is_found_where_every_file_is_bad() -> None:
    changes = [change(f"/i{number}", independent=True) for number in range(3)]
    verdict = _validation.sift(changes, lambda _changes: "no")
    assert (verdict.accepted, verdict.all_refused_because) == ((), "no")
