"""A copy of a cluster, with a machine that answers as told."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import (
    _errors,
    _psql,
    _recovery,
    _scratch,
)
from restore_fakes import Machine

TIME = _recovery.target("2026-11-28T21:14:05Z")
POINT = _recovery.target("point:x")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def scratch(machine: Machine, **options: t.Any) -> _scratch.Scratch:
    defaults: dict[str, t.Any] = {"free": lambda _: 10**9, "sleep": lambda _: None}
    return _scratch.Scratch(machine.base, 5499, run=machine, **{**defaults, **options})


def restores(machine: Machine) -> list[str]:
    return [said for said in machine.commands if said.endswith(" restore")]


def test_a_copy_is_made_of_the_backup_before_the_moment_and_archives_nothing(
    machine: Machine,
) -> None:
    reached, changed = _scratch.bring_up(scratch(machine), TIME)
    assert changed
    assert reached.backup == "20261128-030000F"
    (restore,) = restores(machine)
    assert "--archive-mode=off" in restore
    assert f"--pg1-path={machine.base}/data" in restore
    written = (machine.base / "data/postgresql.conf").read_text()
    assert (
        "archive_mode = 'off'" in written and "restore_command = 'pgbackrest archive-get" in written
    )
    assert (machine.base / "data/postgresql.auto.conf").read_text() == ""
    assert "systemctl start slipway-scratch.service" in machine.commands


def test_a_copy_of_one_repository_takes_nothing_of_the_other(machine: Machine) -> None:
    _scratch.bring_up(scratch(machine, repository=2), TIME)
    asked = [said for said in machine.commands if said.startswith("pgbackrest")]
    assert len(asked) == 2 and all(" --repo=2 " in said for said in asked)
    written = (machine.base / "data/postgresql.conf").read_text()
    assert "restore_command = 'pgbackrest --repo=2 archive-get %f \"%p\"'" in written


def test_a_copy_of_the_same_moment_is_kept_and_the_latest_is_not(machine: Machine) -> None:
    first, _changed = _scratch.bring_up(scratch(machine), TIME)
    assert _scratch.bring_up(scratch(machine), TIME) == (first, False)
    assert len(restores(machine)) == 1
    for _again in range(2):
        assert _scratch.bring_up(scratch(machine), _recovery.target("latest"))[1]
    assert len(restores(machine)) == 3


@pytest.mark.parametrize("left", ["", '{"target":', '{"target": ["time", "x"]}'])
def test_a_copy_that_was_cut_short_is_made_anew(machine: Machine, left: str) -> None:
    (machine.base / "restored.json").write_text(left)
    (machine.base / "data").mkdir()
    assert _scratch.bring_up(scratch(machine), TIME)[1]


def test_a_copy_that_does_not_answer_is_made_anew(machine: Machine) -> None:
    _scratch.bring_up(scratch(machine), TIME)
    machine.answers = False
    assert _scratch.present(scratch(machine), TIME) is None


def test_a_point_before_the_newest_backup_is_found_from_an_older_one(machine: Machine) -> None:
    machine.starts = [f"FATAL:  {_recovery.MISSED}\n", ""]
    reached, _changed = _scratch.bring_up(scratch(machine), POINT)
    assert reached.backup == "20261121-030000F"


def test_a_recovery_that_would_fill_the_disk_is_given_up(machine: Machine) -> None:
    left = iter([10**9, 10, -1])
    machine.recovering = 5
    with pytest.raises(_errors.BackupError, match="too little free for the recovery to go on"):
        _scratch.bring_up(scratch(machine, free=lambda _: next(left)), TIME)


def test_a_recovery_is_waited_for_until_it_ends_or_its_server_does(machine: Machine) -> None:
    machine.recovering = 40
    assert _scratch.bring_up(scratch(machine), TIME)[1]
    machine.recovering = 10**6
    machine.dies = f"FATAL:  {_recovery.MISSED}\n"
    with pytest.raises(_errors.BackupError, match="no backup leads to point x"):
        _scratch.bring_up(scratch(machine), POINT)


def test_a_point_that_is_nowhere_is_a_sentence(machine: Machine) -> None:
    machine.starts = [f"FATAL:  {_recovery.MISSED}\n"] * 2
    with pytest.raises(_errors.BackupError, match="no backup leads to point x: it is not in the"):
        _scratch.bring_up(scratch(machine), POINT)


@pytest.mark.parametrize(
    ("log", "said"),
    [("FATAL:  out of memory.\n", "start: out of memory"), ("LOG:  x\n", "start: Job failed")],
)
def test_a_copy_that_does_not_start_says_why(machine: Machine, log: str, said: str) -> None:
    machine.starts = [log]
    with pytest.raises(_errors.BackupError, match=rf"{said}\.$"):
        _scratch.bring_up(scratch(machine), TIME)


def test_a_full_disk_is_found_beforehand(machine: Machine) -> None:
    with pytest.raises(_errors.BackupError, match=r"has 30.0 kB free, but .* takes 33.6 kB: free"):
        _scratch.bring_up(scratch(machine, free=lambda _: 30_000), TIME)
    assert restores(machine) == []


def test_what_fails_is_named(machine: Machine) -> None:
    machine.fails = "--output=json"
    with pytest.raises(_errors.BackupError, match=r"^pgbackrest --output=json failed: no\.$"):
        _scratch.bring_up(scratch(machine), TIME)


def test_nothing_is_left_of_a_copy(machine: Machine) -> None:
    _scratch.bring_up(scratch(machine), TIME)
    assert _scratch.remove(scratch(machine))
    assert list(machine.base.iterdir()) == []
    assert not _scratch.remove(scratch(machine))
    assert not _scratch.remove(scratch(Machine(machine.base / "never")))


def test_a_rehearsal_starts_and_ends_its_copy_within_its_own_unit(machine: Machine) -> None:
    own = scratch(machine, unit="")
    _scratch.bring_up(own, TIME)
    (machine.base / "data/postmaster.pid").write_text("1")
    _scratch.remove(own)
    programs = [said for said in machine.commands if "/17/bin/pg_ctl" in said]
    assert ["start" in programs[0], "stop" in programs[1]] == [True, True]
    assert not [said for said in machine.commands if said.startswith("systemctl")]


def test_what_is_committed_is_archived_before_a_restore(machine: Machine) -> None:
    waited: list[float] = []
    live = _psql.Psql(5432, machine)
    assert _scratch.archive_now(live, waited.append)
    assert waited == []
    machine.archived = "000000010000000000000001"
    with pytest.raises(_errors.BackupError, match="000000002 was not archived within 120 s: see"):
        _scratch.archive_now(live, waited.append)
    waited.clear()
    asked: list[str] = []

    def elsewhere(segment: str) -> bool:
        asked.append(segment)
        return True

    segment = _scratch.archive_now(live, waited.append, elsewhere)
    assert (asked, len(waited)) == ([segment], 60)
    machine.answers = False
    assert not _scratch.archive_now(live, waited.append)


@pytest.mark.parametrize("code", [0, 1])
def test_a_segment_is_looked_for_in_every_repository(code: int) -> None:
    asked: list[list[str]] = []

    def run(command: t.Sequence[str], _stdin: str) -> tuple[int, str, str]:
        asked.append(list(command))
        return code, "", ""

    assert _scratch.in_a_repository(run, "000000010000000000000002") == (code == 0)
    get, remove = (" ".join(command) for command in asked)
    assert get.endswith(f"archive-get 000000010000000000000002 {_scratch.SEEN}")
    assert remove.endswith(f"rm -f {_scratch.SEEN}")


def test_room_is_asked_of_the_disk(tmp_path: Path) -> None:
    assert _scratch.Scratch(tmp_path, 1).free(tmp_path) > 0
