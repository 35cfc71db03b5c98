# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A whole cluster put back, killed wherever one likes, on a machine that answers as told."""

from __future__ import annotations

import json
import os
import typing as t
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import (
    _clusters,
    _errors,
    _psql,
    _recovery,
    _restore_cluster,
)
from ansible_collections.slipway.stack.plugins.modules import restore_cluster
from fakes import run_module
from restore_fakes import Machine

MISSED = f"FATAL:  {_recovery.MISSED}\n"


class Empty(Machine):  # type: ignore[misc]
    """A machine without a cluster; its log is where Debian's is, though not in the fake's root."""

    def __init__(self, base: Path) -> None:
        super().__init__(base)
        self.logs: list[str] = []  # what each server says that does not come up

    def __call__(self, command: t.Sequence[str], text: str) -> tuple[int, str, str]:
        words = list(command)
        words = words[words.index("--") + 1 :] if words[0] == "setpriv" else words
        said = " ".join(words)
        refused = self.fails and self.fails in said
        if words[0] in ("mv", "du") and not refused:
            self.commands.append(said)
            return _psql.run(words, text)
        if words[-1] == "restore" and not refused:
            self.commands.append(said)
            return 0, "", ""
        if words[0] == "stat":
            return 0, "7\n", ""
        if words[0] == "tail":
            return 0, self.logs.pop(0), ""
        if " status " in said:
            return (3 if self.logs else 0), "", ""
        return super().__call__(command, text)

    def restores(self) -> list[str]:
        return [said for said in self.commands if said.endswith(" restore")]


@pytest.fixture
def machine(tmp_path: Path) -> Empty:
    return Empty(tmp_path)


@pytest.fixture
def means(machine: Empty) -> _restore_cluster.Means:
    root = machine.base
    return _restore_cluster.Means(
        _clusters.Cluster(17, "main", root),
        _psql.Psql(5432, machine),
        root / "state/journal.json",
        lambda: datetime.now(UTC),
        lambda _seconds: None,
        lambda _path: 10**12,
        root / "reports",
    )


def set_up(means: _restore_cluster.Means, text: str = "17\n") -> None:
    """As the role postgres does."""
    means.data.mkdir(parents=True, exist_ok=True)
    (means.data / "PG_VERSION").write_text(text)
    means.cluster.configuration.parent.mkdir(parents=True, exist_ok=True)
    means.cluster.configuration.write_text("port = 5432\n")


def begun(
    means: _restore_cluster.Means, target: str = "latest", confirmed: str = ""
) -> _restore_cluster.Restore:
    return _restore_cluster.begin(target, "db1", confirmed, means)


def test_an_empty_machine_gets_the_cluster_and_is_told_what_it_has(
    machine: Empty, means: _restore_cluster.Means
) -> None:
    restore = begun(means)
    assert machine.commands == []
    assert not restore.prepared
    set_up(means)
    restore = _restore_cluster.recover(restore, means)
    (asked,) = machine.restores()
    assert "--delta --set=20261128-030000F --recovery-option=hot_standby=off" in asked
    assert "ALTER SYSTEM RESET recovery_target_time;" in machine.statements[-1]
    assert machine.commands[-1] == "systemctl restart postgresql@17-main.service"
    restore, told = _restore_cluster.finish(restore, means)
    assert restore.finished
    (report,) = means.reports.iterdir()
    assert json.loads(report.read_text())["database"] == "the whole cluster"
    assert told == [
        "The cluster is as it was at latest; last transaction: 2026-11-28T21:14:04.5+00:00, from"
        " the backup 20261128-030000F. It took 1 min; the target is 240 min.",
        "Archiving works: the segment 000000010000000000000002 has arrived; the cluster is on"
        " timeline 1.",
    ]


def test_a_cluster_that_is_there_is_moved_aside_when_its_machine_is_named(
    machine: Empty, means: _restore_cluster.Means
) -> None:
    set_up(means, "precious")
    with pytest.raises(_errors.BackupError, match=r"add -e restore_confirmed_machine=db1\.$"):
        begun(means)
    restore = begun(means, confirmed="db1")
    aside = Path(restore.aside)
    assert (aside / "data/PG_VERSION").read_text() == "precious"
    assert (aside / "etc/postgresql.conf").exists()
    assert not means.data.exists() and not means.cluster.exists()
    stop = machine.commands.index("systemctl stop postgresql@17-main.service")
    assert stop < next(n for n, said in enumerate(machine.commands) if said.startswith("mv"))
    restore = _restore_cluster.recover(_after(means, restore), means)
    _restore, told = _restore_cluster.finish(restore, means)
    assert told[-1].startswith(f"What was in its place is kept in {aside};")


def _after(
    means: _restore_cluster.Means, restore: _restore_cluster.Restore
) -> _restore_cluster.Restore:
    set_up(means)
    return begun(means, restore.target)


def test_the_backups_of_another_site_are_only_read(
    machine: Empty, means: _restore_cluster.Means
) -> None:
    means = replace(means, configuration="/etc/pgbackrest/source.conf")
    restore = begun(means)
    set_up(means)
    _restore_cluster.recover(restore, means)
    (asked,) = machine.restores()
    assert "--config=/etc/pgbackrest/source.conf" in asked


def test_a_configuration_without_data_needs_no_name(means: _restore_cluster.Means) -> None:
    set_up(means)
    (means.data / "PG_VERSION").unlink()
    restore = begun(means)
    assert (Path(restore.aside) / "etc/postgresql.conf").exists()


def test_moving_is_gone_on_with_after_it_was_killed(
    machine: Empty, means: _restore_cluster.Means
) -> None:
    set_up(means, "precious")
    machine.fails = f"mv -T {means.cluster.configuration.parent}"
    with pytest.raises(_errors.BackupError, match=r"^cannot move .*/17/main aside: no\.$"):
        begun(means, confirmed="db1")
    machine.fails = ""
    restore = begun(means)
    assert (Path(restore.aside) / "data/PG_VERSION").read_text() == "precious"
    set_up(means)
    assert begun(means) == restore
    assert means.data.exists()


def test_a_restore_that_was_killed_is_gone_on_with(
    machine: Empty, means: _restore_cluster.Means
) -> None:
    begun(means)
    set_up(means)
    machine.fails = "hot_standby=off"
    with pytest.raises(_errors.BackupError, match=r"^pgbackrest restore failed: no\.$"):
        _restore_cluster.recover(begun(means), means)
    machine.fails = ""
    assert begun(means).prepared
    assert _restore_cluster.recover(begun(means), means).reached
    # Killed before it was written down that the server answers: nothing is restored again.
    _restore_cluster._keep(replace(begun(means), reached={}), means)
    assert _restore_cluster.recover(begun(means), means).reached
    assert len(machine.restores()) == 2  # the one that was killed, and the one after it
    assert _restore_cluster.recover(begun(means), means) == begun(means)


def test_another_target_may_take_the_place_of_one_that_nobody_used(
    machine: Empty, means: _restore_cluster.Means
) -> None:
    set_up(means)
    restore = begun(means, "point:x", "db1")
    set_up(means)
    machine.logs = [MISSED, MISSED]
    with pytest.raises(_errors.BackupError, match=r"^no backup leads to point x: .* latest is"):
        _restore_cluster.recover(restore, means)
    again = begun(means)
    assert (again.target, again.prepared, again.aside) == ("latest", True, restore.aside)
    machine.logs = []
    assert _restore_cluster.recover(again, means).reached
    assert len(machine.restores()) == 3
    # Now somebody may use it.
    with pytest.raises(_errors.BackupError, match="'nothing' was confirmed"):
        begun(means, "point:x")


def test_a_point_is_looked_for_in_older_backups_and_not_again_in_newer_ones(
    machine: Empty, means: _restore_cluster.Means
) -> None:
    restore = begun(means, "point:x")
    set_up(means)
    machine.logs = [MISSED]
    restore = _restore_cluster.recover(restore, means)
    assert restore.backup == restore.reached["backup"] == "20261121-030000F"
    _restore_cluster._keep(replace(restore, reached={}), means)
    assert _restore_cluster.recover(begun(means, "point:x"), means).reached
    assert len(machine.restores()) == 2


def test_a_restore_that_was_given_up_is_no_leave_to_replace_what_came_since(
    means: _restore_cluster.Means,
) -> None:
    begun(means)
    set_up(means)
    os.utime(means.journal, (0, 0))
    with pytest.raises(_errors.BackupError, match="restore_confirmed_machine"):
        begun(means)


def test_a_server_is_waited_for_and_says_why_it_does_not_come(
    machine: Empty, means: _restore_cluster.Means
) -> None:
    restore = begun(means)
    set_up(means)
    machine.recovering = 3
    assert _restore_cluster.recover(restore, means).reached
    for said, why in (("FATAL:  no room", "no room"), ("", "see journalctl -u postgresql@17-main")):
        machine.answers, machine.logs = False, [said]
        with pytest.raises(_errors.BackupError, match=f"cluster did not start: {why}"):
            _restore_cluster.recover(restore, means)


def test_what_does_not_fit_is_refused(machine: Empty, means: _restore_cluster.Means) -> None:
    restore = begun(means)
    set_up(means)
    with pytest.raises(_errors.BackupError, match="free, but a copy of the cluster takes"):
        _restore_cluster.recover(restore, replace(means, free=lambda _path: 10))
    old = replace(means, cluster=replace(means.cluster, major=15))
    with pytest.raises(_errors.BackupError, match=r"and this machine has 15: write postgres_versi"):
        _restore_cluster.recover(restore, old)
    assert machine.restores() == []
    with pytest.raises(_errors.BackupError, match="was not recovered: there is nothing to finish"):
        _restore_cluster.finish(restore, means)
    machine.answers = False
    with pytest.raises(_errors.BackupError, match="does not answer: see postgresql@17-main"):
        _restore_cluster.finish(replace(restore, reached={"backup": "x"}), means)


def test_an_old_cluster_without_room_for_another_is_left_alone(
    means: _restore_cluster.Means,
) -> None:
    set_up(means)
    with pytest.raises(_errors.BackupError, match="free, but a copy of the cluster takes"):
        _restore_cluster.begin("latest", "db1", "db1", replace(means, free=lambda _path: 10))
    assert means.data.exists()


def test_room_is_asked_of_the_disk(tmp_path: Path) -> None:
    means = _restore_cluster.Means(_clusters.Cluster(17, "main"), _psql.Psql(5432))
    assert means.free(tmp_path) > 0


def test_the_module_takes_the_steps(
    means: _restore_cluster.Means,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: dict[str, t.Any] = {"to": "latest", "machine": "db1", "version": 17}
    predicted = run_module("restore_cluster", capsys, True, step="recover", **asked)
    assert (predicted["changed"], means.journal.exists()) == (True, False)

    def step(name: str) -> dict[str, t.Any]:
        return restore_cluster.step({**asked, "confirmed": "", "step": name}, means)

    assert step("begin") == {"changed": True, "prepared": False, "reached": {}}
    set_up(means)
    assert step("recover")["reached"]["backup"] == "20261128-030000F"
    assert not step("recover")["changed"]
    assert len(step("finish")["lines"]) == 2

    def steps(_asked: dict[str, t.Any], _means: _restore_cluster.Means) -> dict[str, t.Any]:
        return {"changed": True}

    monkeypatch.setattr(restore_cluster, "step", steps)
    assert run_module("restore_cluster", capsys, step="finish", **asked)["changed"]

    def refuse(_asked: dict[str, t.Any], _means: _restore_cluster.Means) -> dict[str, t.Any]:
        raise _errors.BackupError("no.")

    monkeypatch.setattr(restore_cluster, "step", refuse)
    assert run_module("restore_cluster", capsys, step="finish", **asked)["msg"] == "no."
