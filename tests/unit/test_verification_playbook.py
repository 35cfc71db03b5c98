# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The report of verify_backups.yml, on verdicts that are given to it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


def verdict(verified: bool, *severities: str) -> dict[str, t.Any]:
    findings = [
        {"severity": one, "object": "b", "expected": "e", "found": "f", "remedy": "r"}
        for one in severities
    ]
    judged = {"database": "shop", "key": None, "age": None, "level": "none"}
    return {"databases": [{**judged, "verified": verified, "findings": findings}]}


def found(*places: dict[str, t.Any]) -> dict[str, t.Any]:
    """As a task registers it that asked each place."""
    return {"results": list(places)}


@pytest.mark.parametrize(
    ("dumps", "clusters", "wrong"),
    [
        ([verdict(True)], [verdict(True)], 0),
        ([verdict(True)], [verdict(False)], 1),
        ([verdict(True)] * 2, [verdict(True)] * 2, 0),
        ([verdict(True), verdict(False)], [verdict(True)] * 2, 1),
        ([verdict(True)] * 2, [verdict(True), verdict(False)], 1),
        ([verdict(True), {"msg": "no answer"}], [], 1),
        ([verdict(True, "warning")], [], 0),
        ([verdict(False, "critical")], [], 1),
        ([verdict(False, "unsupported")], [], 1),
        ([verdict(False)], [], 1),
        ([], [], 1),
        (None, None, 1),
    ],
)
def test_a_database_that_was_not_verified_fails(
    tmp_path: Path,
    dumps: list[dict[str, t.Any]] | None,
    clusters: list[dict[str, t.Any]] | None,
    wrong: int,
) -> None:
    told = {"backup_verified": dumps, "backup_verified_physical": clusters}
    facts = {name: found(*places) for name, places in told.items() if places is not None}
    done = report(tmp_path, {"database": {"database1": facts}})
    assert done.returncode == (2 if wrong else 0), done.stdout + done.stderr
    judged = len(dumps or [{}]) + len(clusters or [])
    assert (f"{wrong} of {judged} backups" in done.stdout) == bool(wrong)


@pytest.mark.parametrize("verified", [True, False])
def test_the_files_of_every_machine_are_judged(tmp_path: Path, verified: bool) -> None:
    (files,) = verdict(verified)["databases"]
    told = {"backup_verified_files": {"stdout": json.dumps({**files, "database": "files"})}}
    database = {"backup_verified": found(verdict(True))}
    done = report(tmp_path, {"database": {"database1": database}, "web": {"web1": told}})
    assert done.returncode == (0 if verified else 2), done.stdout + done.stderr
    assert re.search(r"web1 +files", done.stdout)
    assert ("1 of 2 backups" in done.stdout) != verified


def test_frontends_alone_have_files_and_no_database(tmp_path: Path) -> None:
    (files,) = verdict(True)["databases"]
    told = {"backup_verified_files": {"stdout": json.dumps({**files, "database": "files"})}}
    done = report(tmp_path, {"web": {"web1": told}})
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"web1 +files", done.stdout)


def report(tmp_path: Path, groups: dict[str, dict[str, t.Any]]) -> subprocess.CompletedProcess[str]:
    plays = yaml.safe_load((ROOT / "playbooks/verify_backups.yml").read_text())
    play = tmp_path / "report.yml"
    play.write_text(yaml.safe_dump([one for one in plays if one["name"] == "Report"]))
    local = {"ansible_connection": "local"}
    hosts = {
        group: {"hosts": {name: {**local, **facts} for name, facts in machines.items()}}
        for group, machines in groups.items()
    }
    (tmp_path / "hosts.json").write_text(json.dumps(hosts))
    program = Path(sys.executable).parent / "ansible-playbook"
    return subprocess.run(
        [program, "-i", tmp_path / "hosts.json", play],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_LOCALHOST_WARNING": "false"},
        capture_output=True,
        text=True,
        check=False,
    )
