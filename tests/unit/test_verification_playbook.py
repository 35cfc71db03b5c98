# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The report of verify_backups.yml, on verdicts that are given to it."""

from __future__ import annotations

import json
import os
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


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"backup_verified": verdict(True), "backup_verified_physical": verdict(True)}, 0),
        ({"backup_verified": verdict(True), "backup_verified_physical": verdict(False)}, 2),
        ({"backup_verified": verdict(True, "warning")}, 0),
        ({"backup_verified": verdict(False, "critical")}, 2),
        ({"backup_verified": verdict(False, "unsupported")}, 2),
        ({"backup_verified": verdict(False)}, 2),
        ({}, 2),
    ],
)
def test_a_database_that_was_not_verified_fails(
    tmp_path: Path, facts: dict[str, t.Any], code: int
) -> None:
    plays = yaml.safe_load((ROOT / "playbooks/verify_backups.yml").read_text())
    play = tmp_path / "report.yml"
    play.write_text(yaml.safe_dump([one for one in plays if one["name"] == "Report"]))
    hosts = {"database1": {"ansible_connection": "local", **facts}}
    (tmp_path / "hosts.json").write_text(json.dumps({"database": {"hosts": hosts}}))
    program = Path(sys.executable).parent / "ansible-playbook"
    done = subprocess.run(
        [program, "-i", tmp_path / "hosts.json", play],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_LOCALHOST_WARNING": "false"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    judged = 2 if "backup_verified_physical" in facts else 1
    assert (f"1 of {judged} databases" in done.stdout) == bool(code)
