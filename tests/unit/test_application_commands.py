# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Commands as an application's user, whose part a user that every Debian has plays."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _application_commands as commands
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError
from ansible_collections.slipway.stack.plugins.modules import app_command
from fakes import SECRET, Shop, needs_root, program, run_module, systemd_run

USER = "daemon"
# A fake of systemd-run: tells its properties, and that it was given the values of the files.
SYSTEMD_RUN = """
for word; do case $word in EnvironmentFile=/run/*) . ${{word#EnvironmentFile=}};; esac; done
echo "$@" >> {asked}
echo "one"; echo "$DATABASE_URL"; exit ${{CODE:-0}}
"""


@needs_root
def test_a_command_has_its_user_and_no_secret_of_root(
    room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    done = commands.as_user(
        USER,
        ["sh", "-c", "id -un; id -Gn; pwd; umask; env; cat; exit 3"],
        home=room,
        environment={"GIVEN": "1"},
    )
    assert done.code == 3
    lines = done.output.splitlines()
    assert lines[:4] == [USER, USER, str(room), "0027"]
    assert {f"HOME={room}", f"USER={USER}", "GIVEN=1", "LANG=C.UTF-8"} < set(lines)
    assert SECRET not in done.output


@needs_root
def test_a_command_that_does_not_end_is_ended(room: Path) -> None:
    with pytest.raises(StackError, match=r"^sleep did not end within 0 s\.$"):
        commands.as_user(USER, ["sleep", "60"], home=room, timeout=0.2)


@needs_root
def test_a_command_that_systemd_ended_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    systemd_run(monkeypatch, tmp_path, "echo half of it; sleep 0.3; exit 1")
    said = [
        commands.at_home(USER, "collect", tmp_path, tmp_path, {}, timeout).output
        for timeout in (0.2, 60)
    ]
    assert said == ["half of it\nIt did not end within 0 s", "half of it\n"]


@needs_root
@pytest.mark.parametrize("low_priority", [True, False])
def test_visitors_go_before_what_they_need_not_wait_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, low_priority: bool
) -> None:
    systemd_run(monkeypatch, tmp_path, 'echo "$@"')
    said = commands.at_home(USER, "x", tmp_path, tmp_path, {}, low_priority=low_priority).output
    assert ("CPUWeight=20" in said) is low_priority


def test_the_end_of_what_was_said_is_told() -> None:
    outcome = commands.Outcome(1, "\n".join(map(str, range(40))) + "\n\n")
    assert outcome.tail(2) == "38\n39"
    assert len(outcome.tail().splitlines()) == 15


@needs_root
def test_who_builds_lets_visitors_go_first(room: Path) -> None:
    here = os.nice(0)
    outcome = commands.as_user(USER, ["nice"], home=room)
    assert int(outcome.output) == min(here + 10, 19)


@needs_root
def test_a_folder_is_closed_to_others(room: Path) -> None:
    commands.own(room / "folder", USER, USER)
    found = (room / "folder").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o750, pwd.getpwnam(USER).pw_uid)


@pytest.mark.parametrize("ours", [True, False])
def test_a_program_of_the_release_goes_before_one_of_the_system(tmp_path: Path, ours: bool) -> None:
    if ours:
        program(tmp_path / "venv" / "bin", "celery", "")
    user = pwd.getpwuid(os.geteuid()).pw_name
    argv = commands.sandboxed(user, ["celery", "-x"], tmp_path, [Path("/media")], ["/env"], 9)
    assert argv[-2:] == [f"{tmp_path}/venv/bin/celery" if ours else "celery", "-x"]
    assert {"RuntimeMaxSec=9", "ReadWritePaths=-/media", "EnvironmentFile=/env"} < set(argv)


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "asked"
    systemd_run(monkeypatch, tmp_path, SYSTEMD_RUN.format(asked=path))
    return path


def params(shop: Shop, **given: str) -> dict[str, object]:
    return {
        "name": USER,
        "home": str(shop.releases.home),
        "release": "2",
        "commands": [{"name": "migrations", "command": "manage.py 'migrate now'"}],
        "environment": {"DATABASE_URL": f"postgres://shop:{SECRET}@db/shop", **given},
    }


@needs_root
def test_values_reach_a_command_by_files_and_never_by_arguments(
    shop: Shop, asked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.add("2", "built")
    said = run_module("app_command", capsys, **params(shop))
    assert (said["rc"], said["changed"]) == (0, True)
    assert said["output"] == {"migrations": "one\n********"}
    (argv,) = asked.read_text().splitlines()
    assert SECRET not in argv
    assert argv.endswith(" manage.py migrate now")
    assert f"ReadWritePaths=-{shop.releases.home}/media" in argv
    assert not list(Path("/run").glob("slipway-*.env")), "the file went with the command"


@needs_root
@pytest.mark.parametrize(
    ("current", "told", "kept"),
    [
        ("", "there is none to go on with", False),
        ("1", "1 goes on serving", False),
        ("2", "2 goes on serving", True),
    ],
)
def test_a_command_that_fails_keeps_its_release_from_going_live(
    shop: Shop,
    asked: Path,
    capsys: pytest.CaptureFixture[str],
    current: str,
    told: str,
    kept: bool,
) -> None:
    for name in "12":
        shop.add(name, "built")
    if current:
        shop.releases.point("current", current)
    said = run_module("app_command", capsys, **params(shop, CODE="4"))
    assert said["rc"] == 1
    head = f"migrations of {USER} failed in release 2, which does not go live; {told}.\none\n***"
    assert said["msg"].startswith(head)
    assert shop.releases.path("2").exists() == kept


def test_check_mode_runs_no_command(
    shop: Shop, asked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = run_module("app_command", capsys, True, **params(shop))
    assert (said["changed"], said["output"], asked.exists()) == (True, {}, False)
    assert app_command.DOCUMENTATION


def test_an_application_without_an_environment_has_none(tmp_path: Path) -> None:
    assert commands.read_environment(tmp_path / "none") == {}
    (tmp_path / "environment").write_text('A="1"\n')
    assert commands.read_environment(tmp_path / "environment") == {"A": "1"}
