# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The module app_migrate; systemd-run is a fake that plays the guard, see tests/migrations for it.

What the guard asks of Django, Alembic and PostgreSQL is tried there on the real ones.
"""

from __future__ import annotations

import dataclasses
import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _deployments, _migration_guard
from ansible_collections.slipway.stack.plugins.modules import app_migrate
from fakes import SECRET, Shop, needs_root, program, run_module

USER = "daemon"
ADA = {"who": "ada", "controller": "laptop", "process": "1:2:3"}
NOTE = {"name": "shop.0002_b", "sql": "ALTER TABLE item ADD COLUMN note text", "error": ""}
ANSWERS: dict[str, dict[str, t.Any]] = {
    "begin": {
        "vendor": "postgresql",
        "limits": {"lock_timeout": "2000", "statement_timeout": "900000"},
    },
    "lock": {"locked": True},
    "plan": {"revision": "shop.0001_a", "pending": [NOTE], "ahead": []},
    "point": {"point": "0/1"},
    "run": {
        "code": 0,
        "revision": "shop.0002_b",
        "output": f"applied with {SECRET}",
        "invalid": [],
    },
}
# Tells its arguments, then answers each word that it reads with the next line.
GUARD = """
echo "$@" >> {folder}/asked
for word; do case $word in EnvironmentFile=/run/*) . ${{word#EnvironmentFile=}};; esac; done
echo "$PGOPTIONS" > {folder}/options
while read word; do
    echo $word >> {folder}/words; sed -n 1p {folder}/answers; sed -i 1d {folder}/answers
done
"""

pytestmark = needs_root


@pytest.fixture
def release(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setattr(_deployments, "DIRECTORY", tmp_path / "deployments")
    for name in "12":
        shop.add(name, "built")
    shop.releases.point("current", "1")
    return shop


def systemd_run(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    found = program(folder / "bin", "systemd-run", text).parent
    monkeypatch.setenv("PATH", f"{found}:/usr/bin:/bin")


def migrate(
    shop: Shop, capsys: pytest.CaptureFixture[str], check_mode: bool = False, **given: t.Any
) -> dict[str, t.Any]:
    options = {
        "name": USER,
        "home": str(shop.releases.home),
        "release": "2",
        "command": "python manage.py migrate",
        "environment": {"DATABASE_URL": f"postgres://shop:{SECRET}@db/shop"},
    }
    return run_module("app_migrate", capsys, check_mode, **{**options, **given})


def test_a_command_of_no_framework_runs_without_a_guard(
    release: Shop,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    systemd_run(tmp_path, monkeypatch, "echo done; exit ${CODE:-0}")
    said = migrate(release, capsys, framework="none")
    assert (said["rc"], said["changed"], said["output"]) == (0, True, "done")
    monkeypatch.setenv("CODE", "3")
    said = migrate(release, capsys, framework="none")
    assert said["msg"] == (
        f"Release 2 does not go live, 1 goes on serving: migrate of {USER} failed.\ndone"
    )
    assert not release.releases.path("2").exists()


def test_the_guard_is_asked_and_the_history_told(
    release: Shop,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    systemd_run(tmp_path, monkeypatch, GUARD.format(folder=tmp_path))
    answers = [_migration_guard.MARK + json.dumps(one) for one in ANSWERS.values()]
    (tmp_path / "answers").write_text("\n".join(answers) + "\n")
    home = str(release.releases.home)
    begun = run_module(
        "app_deployment", capsys, name=USER, home=home, state="begun", holder=ADA, version="v2"
    )
    said = migrate(release, capsys, deployment=begun["deployment"])
    assert (said["rc"], said["changed"], said["applied"]) == (0, True, ["shop.0002_b"])
    assert SECRET not in said["output"]
    assert SECRET not in (tmp_path / "asked").read_text()
    assert (tmp_path / "words").read_text().split() == list(ANSWERS)
    assert "statement_timeout=900000" in (tmp_path / "options").read_text()
    told = (tmp_path / "deployments" / USER / "history.json").read_text()
    line = json.loads(told)[-1]
    assert (line["schema_before"], line["schema_after"]) == ("shop.0001_a", "shop.0002_b")
    assert said["broken"] == []
    # Outside a deployment there is no line to add to.
    history = _deployments.History(tmp_path / "deployments" / USER)
    history.note(begun["deployment"], breaking="shop.0002_b")
    told = history.path.read_text()
    (tmp_path / "answers").write_text("\n".join(answers) + "\n")
    said = migrate(release, capsys)
    assert (said["applied"], said["broken"]) == (["shop.0002_b"], ["shop.0002_b"])
    assert history.path.read_text() == told


def test_what_an_earlier_deployment_broke_keeps_older_code_out(
    release: Shop,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    systemd_run(tmp_path, monkeypatch, GUARD.format(folder=tmp_path))
    folder = tmp_path / "deployments" / USER
    folder.mkdir(parents=True)
    line = _deployments.Deployment("1", "deploy", "ada", "2026-11-21T08:00:00Z")
    moved = {"schema_before": "1", "schema_after": "2", "breaking": "shop.0002_b"}
    _deployments.History(folder).begin(dataclasses.replace(line, **moved), "")
    plan = {"revision": "shop.0002_b", "pending": [], "ahead": ["shop.0002_b"]}
    answers = [_migration_guard.MARK + json.dumps(one) for one in (*ANSWERS.values(),)]
    answers[2] = _migration_guard.MARK + json.dumps(plan)
    (tmp_path / "answers").write_text("\n".join(answers) + "\n")
    said = migrate(release, capsys)
    wanted = "Release 2 does not go live, 1 goes on serving: The code is older than shop.0002_b,"
    assert said["msg"].startswith(wanted)
    assert (tmp_path / "words").read_text().split() == ["begin", "lock", "plan"]


def test_check_mode_asks_nothing(release: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    assert migrate(release, capsys, True)["changed"] is True
    assert app_migrate.DOCUMENTATION
