"""The whole way of a call, on real files and an imitated systemd."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.slipway.stack.plugins.module_utils import (
    _commands,
    _service_config,
    _units,
    _users,
)
from ansible_collections.slipway.stack.plugins.modules import service_config
from fakes import run_module

OWNER = pwd.getpwuid(os.geteuid()).pw_name
GROUP = grp.getgrgid(os.getegid()).gr_name


@dataclass
class Systemd:
    """Knows units, notes what is asked of it, and fails where it is told to."""

    states: dict[str, str] = field(default_factory=dict)
    breaks_on: str = ""
    conf: Path = Path("/nonexistent")
    asked: list[str] = field(default_factory=list)
    needs_reload: bool = False
    starts: list[str] = field(default_factory=list)

    def __call__(self, argv: Sequence[str], timeout: float = 600) -> _commands.Completed:
        command = " ".join(argv)
        self.asked.append(command)
        names = [word for word in argv if word.endswith((".service", ".socket"))]
        if argv[0] == "judge":
            text = "".join(path.read_text() for path in sorted(Path(argv[1]).iterdir()))
            return _commands.Completed(int("bogus" in text), "bogus is not a directive")
        if argv[0] == "journalctl":
            return _commands.Completed(0, "a last word, and the password hunter22")
        if argv[1] == "show":
            return _commands.Completed(0, "\n\n".join(map(self.show, names)))
        if argv[1] in ("start", "restart", "reload"):
            return self.start(names[0])
        if argv[1] == "stop":
            self.states[names[0]] = "inactive"
        if argv[1] == "daemon-reload":
            self.needs_reload = False
        return _commands.Completed(0, "")

    def show(self, name: str) -> str:
        state = self.states.get(name)
        load = "loaded" if state else "not-found"
        need = "yes" if self.needs_reload else "no"
        said = f"LoadState={load}\nActiveState={state or 'inactive'}\nSubState=x\nType=notify\n"
        return f"{said}UnitFileState=enabled\nCanReload=yes\nNeedDaemonReload={need}"

    def start(self, name: str) -> _commands.Completed:
        broken = bool(self.breaks_on) and self.breaks_on in self.conf.read_text()
        self.states[name] = "failed" if broken else "active"
        self.starts.append(name)
        return _commands.Completed(int(broken), f'Job for {name} failed.\nSee "systemctl x"')

    @property
    def verbs(self) -> list[str]:
        return [command for command in self.asked if not command.startswith("systemctl show")]


@pytest.fixture(autouse=True)
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(_units, "RECORDS", str(tmp_path / "records"))
    return tmp_path / "records"


def defaults(options: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    return {name: given.get(name, option.get("default")) for name, option in options.items()}


def converge(
    systemd: Systemd, check_mode: bool = False, **parts: list[dict[str, Any]]
) -> _service_config.Outcome:
    spec = _service_config.argument_spec()
    mine = {"owner": OWNER, "group": GROUP}
    params = {
        part: [defaults(option["options"], {**mine, **each}) for each in parts.get(part, [])]
        for part, option in spec.items()
    }
    world = _service_config.World(check_mode, systemd, lambda seconds: None, lambda: 0.0)
    return _service_config.converge(_service_config.request_from(params), world)


def file(path: Path, content: str, **more: Any) -> dict[str, Any]:
    return {"path": str(path), "content": content, **more}


UNIT = {"name": "x.service"}


def test_the_first_run_changes_and_the_second_does_not(tmp_path: Path) -> None:
    systemd = Systemd({"x.service": "inactive"})
    parts: dict[str, Any] = {
        "directories": [{"path": str(tmp_path / "d"), "mode": "0750"}],
        "files": [file(tmp_path / "d/x.conf", "1")],
        "units": [UNIT],
    }
    first = converge(systemd, **parts)
    assert first.failure == ""
    assert first.units == {"x.service": "started"}
    assert len(first.changes) == 3 and len(first.diff) == 4
    systemd.asked.clear()
    second = converge(systemd, **parts)
    assert (second.changes, second.diff, second.units) == ([], [], {"x.service": "unchanged"})
    assert len(systemd.asked) == 1, "the steady state asks systemd once"


def test_a_changed_file_restarts_and_a_watched_one_reloads(tmp_path: Path) -> None:
    systemd = Systemd({"x.service": "active"})
    tls = tmp_path / "tls.pem"
    tls.write_text("1")
    unit = {**UNIT, "reload_on": [str(tls)]}
    conf = tmp_path / "x.conf"
    assert (
        converge(systemd, files=[file(conf, "1")], units=[unit]).units["x.service"] == "restarted"
    )
    tls.write_text("2, by someone else")
    reloaded = converge(systemd, files=[file(conf, "1")], units=[unit])
    assert reloaded.units == {"x.service": "reloaded"}
    assert reloaded.changes == [f"reloaded x.service: {tls} changed"]
    assert (
        converge(systemd, files=[file(conf, "2")], units=[unit]).units["x.service"] == "restarted"
    )
    assert converge(systemd, files=[file(conf, "2")], units=[unit]).changes == []


def test_a_run_killed_between_writing_and_restarting_is_finished_by_the_next(
    tmp_path: Path,
) -> None:
    systemd = Systemd({"x.service": "active"})
    conf = tmp_path / "x.conf"
    converge(systemd, files=[file(conf, "1")], units=[UNIT])

    class Killed(Exception):
        pass

    def killed(argv: Sequence[str], timeout: float = 600) -> _commands.Completed:
        raise Killed

    with pytest.raises(Killed):
        converge(killed, files=[file(conf, "2")], units=[UNIT])  # type: ignore[arg-type]
    assert conf.read_text() == "2"
    systemd.starts.clear()
    assert (
        converge(systemd, files=[file(conf, "2")], units=[UNIT]).units["x.service"] == "restarted"
    )
    assert systemd.starts == ["x.service"]


def test_a_repaired_file_restarts_although_the_record_knows_its_contents(tmp_path: Path) -> None:
    systemd = Systemd({"x.service": "active"})
    conf = tmp_path / "x.conf"
    converge(systemd, files=[file(conf, "1")], units=[UNIT])
    conf.write_text("edited by hand, and the unit restarted by hand")
    repaired = converge(systemd, files=[file(conf, "1")], units=[UNIT])
    assert repaired.units == {"x.service": "restarted"}


def test_a_unit_that_does_not_start_gets_its_old_files_back(tmp_path: Path) -> None:
    conf, other = tmp_path / "x.conf", tmp_path / "other.conf"
    systemd = Systemd({"x.service": "active"}, breaks_on="broken", conf=conf)
    files = [file(conf, "good"), file(other, "1")]
    converge(systemd, files=files, units=[UNIT])
    password = file(tmp_path / "env", "PASSWORD=hunter22", encoded_content=None, secret=True)
    bad = [file(conf, "broken"), file(other, "2"), password]
    failed = converge(systemd, files=bad, units=[UNIT])
    assert failed.failure.startswith(
        "x.service did not restart: Job for x.service failed; the files of this call were put back."
    )
    assert "a last word" in failed.failure and "hunter22" not in failed.failure
    assert failed.units == {"x.service": "failed"}
    assert (conf.read_text(), other.read_text()) == ("good", "1")
    assert not (tmp_path / "env").exists()
    assert systemd.states["x.service"] == "active"
    assert converge(systemd, files=files, units=[UNIT]).changes == []


def test_a_unit_started_before_the_failed_one_returns_to_the_old_files_too(tmp_path: Path) -> None:
    conf = tmp_path / "y.conf"
    systemd = Systemd({"x.service": "active", "y.service": "active"})
    units = [UNIT, {"name": "y.service"}]
    converge(systemd, files=[file(conf, "good")], units=units)
    systemd.starts.clear()

    def failing_y(argv: Sequence[str], timeout: float = 600) -> _commands.Completed:
        done = systemd(argv, timeout)
        fails = argv[1] == "restart" and argv[-1] == "y.service" and conf.read_text() == "bad"
        return _commands.Completed(1, "no") if fails else done

    failed = converge(failing_y, files=[file(conf, "bad")], units=units)  # type: ignore[arg-type]
    assert failed.failure and conf.read_text() == "good"
    assert systemd.starts == ["x.service", "y.service", "x.service", "y.service"]


def test_a_unit_that_never_ran_is_stopped_when_its_first_start_fails(tmp_path: Path) -> None:
    conf = tmp_path / "x.conf"
    systemd = Systemd({"x.service": "inactive"})

    def crashing(argv: Sequence[str], timeout: float = 600) -> _commands.Completed:
        done = systemd(argv, timeout)
        return _commands.Completed(1, "no") if argv[1] == "start" else done

    failed = converge(crashing, files=[file(conf, "bad")], units=[UNIT])  # type: ignore[arg-type]
    assert "x.service did not start: no; the files of this call were put back" in failed.failure
    assert not conf.exists() and systemd.states["x.service"] == "inactive"


def test_refused_files_leave_everything_as_it_was(tmp_path: Path) -> None:
    systemd = Systemd({"x.service": "active"})
    judge = [{"tree": str(tmp_path / "t"), "command": "judge {staged}"}]
    conf = tmp_path / "t/x.conf"
    converge(systemd, files=[file(conf, "good")], units=[UNIT], validate=judge)
    systemd.asked.clear()
    bad = [file(conf, "bogus"), file(tmp_path / "elsewhere", "1")]
    refused = converge(systemd, files=bad, units=[UNIT], validate=judge)
    assert refused.failure == (
        "The new files are refused and nothing was written: bogus is not a directive"
    )
    assert conf.read_text() == "good" and not (tmp_path / "elsewhere").exists()
    assert [command.split()[0] for command in systemd.asked] == ["judge"]


def test_a_refused_independent_file_does_not_hold_up_the_others(tmp_path: Path) -> None:
    systemd = Systemd({"x.service": "active"})
    judge = [{"tree": str(tmp_path / "t"), "command": "judge {staged}"}]
    names = ("a", "b", "c")

    def sites(*contents: str) -> list[dict[str, Any]]:
        return [
            file(tmp_path / "t" / name, content, independent=True)
            for name, content in zip(names, contents, strict=True)
        ]

    converge(systemd, files=sites("1", "1", "1"), units=[UNIT], validate=judge)
    outcome = converge(systemd, files=sites("2", "bogus", "2"), units=[UNIT], validate=judge)
    bad = tmp_path / "t/b"
    assert outcome.failure == (
        "Refused and kept in their old version, while all else was applied: "
        f"{bad} (bogus is not a directive)"
    )
    assert [(tmp_path / "t" / name).read_text() for name in names] == ["2", "1", "2"]
    assert outcome.units == {"x.service": "restarted"}
    again = converge(systemd, files=sites("2", "bogus", "2"), units=[UNIT], validate=judge)
    assert again.failure == outcome.failure and again.changes == []
    given_up = converge(systemd, files=sites("2", "1", "2"), units=[UNIT], validate=judge)
    assert given_up.changes == [], "the record says what the unit runs on, not what was refused"


def test_check_mode_predicts_on_an_untouched_machine(tmp_path: Path) -> None:
    def no_systemd(argv: Sequence[str], timeout: float = 600) -> _commands.Completed:
        assert argv[1] == "show", f"{argv} was run"
        return _commands.Completed(1, "System has not been booted with systemd")

    predicted = converge(
        no_systemd,  # type: ignore[arg-type]
        check_mode=True,
        users=[{"name": "nobody-at-all", "groups": ["no-such-group"]}],
        directories=[{"path": str(tmp_path / "d"), "owner": "nobody-at-all"}],
        files=[file(tmp_path / "d/x", "1", owner="nobody-at-all")],
        validate=[{"tree": str(tmp_path), "command": "no-such-program {staged}"}],
        units=[UNIT, {"name": "later", "requires_path": str(tmp_path / "current")}],
    )
    assert predicted.failure == ""
    assert predicted.units == {"x.service": "started", "later.service": "unchanged"}
    assert "created user nobody-at-all" in predicted.changes
    assert f"created {tmp_path}/d/x" in predicted.changes
    assert list(tmp_path.iterdir()) == []


def test_check_mode_warns_of_files_that_would_be_refused(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    program = tmp_path / "judge"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)

    def refusing(argv: Sequence[str], timeout: float = 600) -> _commands.Completed:
        return _commands.Completed(1, "no certificate")

    outcome = converge(
        refusing,  # type: ignore[arg-type]
        check_mode=True,
        files=[file(tmp_path / "t/x", "1")],
        validate=[{"tree": str(tmp_path / "t"), "command": f"{program} {{staged}}"}],
    )
    assert outcome.failure == ""
    assert outcome.warnings == ["would be refused as things are now: no certificate"]


def test_the_manager_reads_changed_unit_files_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_units, "UNIT_FOLDERS", (f"{tmp_path}/",))
    systemd = Systemd({"x.service": "active"})
    converge(systemd, files=[file(tmp_path / "x.service.d/a.conf", "1")], units=[UNIT])
    assert systemd.asked[0] == "systemctl daemon-reload"
    systemd.asked.clear()
    systemd.needs_reload = True
    outcome = converge(systemd, files=[file(tmp_path / "x.service.d/a.conf", "1")], units=[UNIT])
    assert systemd.verbs == ["systemctl daemon-reload"] and outcome.changes == []


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ({"files": [file(Path("/x"), "1", owner="nobody-at-all")]}, "/x belongs to nobody-at-all"),
        ({"users": [{"name": "root", "groups": ["no-such"]}]}, "group no-such of user root does"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_changed(
    parts: dict[str, Any], sentence: str
) -> None:
    outcome = converge(Systemd(), **parts)
    assert outcome.failure.startswith(sentence)
    assert outcome.changes == []


def test_a_user_is_created_only_if_missing() -> None:
    new = _users.plan(_users.User("nobody-at-all", "/srv/x", ("daemon",)))
    assert [step.argv[0] for step in new] == ["groupadd", "useradd", "usermod"]
    assert "--system" in new[1].argv and "/usr/sbin/nologin" in new[1].argv
    for home in ("/root", "/nonexistent"):
        assert _users.plan(_users.User("root", home, ())) == []
        assert _users.plan(_users.User("root", home, ("root",))) == []


def test_a_user_of_somebody_else_is_not_taken_over() -> None:
    users = [{"name": "nobody-at-all", "home": "/srv/x"}, {"name": "root", "home": "/srv/root"}]
    outcome = converge(Systemd(), users=users)
    assert outcome.failure.startswith("root is already a user of this machine, with the home /root")
    assert outcome.changes == []


def test_the_documentation_says_what_is_accepted() -> None:
    documented = yaml.safe_load(service_config.DOCUMENTATION)["options"]
    accepted = _service_config.argument_spec()
    assert list(documented) == list(accepted)
    for name, part in accepted.items():
        said = documented[name].get("suboptions", {})
        assert sorted(said) == sorted(part.get("options", {})), name
        for option, spec in part.get("options", {}).items():
            for key in ("type", "elements", "default", "required", "choices"):
                assert said[option].get(key) == spec.get(key), f"{name}.{option}.{key}"


def test_a_file_that_is_declared_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="is declared twice under files"):
        converge(Systemd(), files=[file(tmp_path / "x", "1"), file(tmp_path / "x", "2")])


def test_a_user_that_cannot_be_made_is_a_sentence() -> None:
    def refusing(argv: Sequence[str], timeout: float = 600) -> _commands.Completed:
        return _commands.Completed(9, "no room in /etc/passwd\n")

    users = [{"name": "nobody-at-all"}]
    outcome = converge(refusing, users=users)  # type: ignore[arg-type]
    assert outcome.failure == ("groupadd --system nobody-at-all failed: no room in /etc/passwd")
    assert outcome.changes == []


def test_a_user_of_ours_joins_the_groups_that_it_lacks() -> None:
    systemd = Systemd()
    outcome = converge(systemd, users=[{"name": OWNER, "groups": [GROUP, "nogroup"]}])
    assert systemd.asked == [f"usermod --append --groups nogroup {OWNER}"]
    assert outcome.changes == [f"added user {OWNER} to group nogroup"]


def test_groups_may_be_those_that_the_same_call_creates() -> None:
    _users.require_groups([_users.User("a", "/a", ("b", GROUP)), _users.User("b", "/b", ())])


def test_a_group_of_the_system_is_given_to_nobody() -> None:
    names = {group.gr_name for group in grp.getgrall() if group.gr_gid < _users.FIRST_DYNAMIC_ID}
    taken = {user.pw_name for user in pwd.getpwall()}
    name = min(names - taken)
    outcome = converge(Systemd(), users=[{"name": name}])
    assert outcome.failure.startswith(f"{name} is a group of the system itself, whose rights")


def test_a_user_may_get_a_group_that_is_there_already() -> None:
    taken = {user.pw_name for user in pwd.getpwall()}
    name = next(
        group.gr_name
        for group in grp.getgrall()
        if group.gr_gid >= _users.FIRST_DYNAMIC_ID and group.gr_name not in taken
    )
    assert [step.argv[0] for step in _users.plan(_users.User(name, "/x", ()))] == ["useradd"]


def test_nobody_belongs_to_no_group() -> None:
    assert _users.memberships("nobody-at-all") == frozenset()
    assert GROUP in _users.memberships(OWNER)


def test_a_drifted_directory_is_repaired_and_told(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir(0o700)
    directory = {"path": str(tmp_path / "d"), "mode": "0750"}
    repaired = converge(Systemd(), directories=[directory])
    assert repaired.changes == [f"repaired {tmp_path}/d"]
    assert converge(Systemd(), directories=[directory]).changes == []


def test_a_disk_that_refuses_the_second_file_gets_the_first_one_back(tmp_path: Path) -> None:
    good, blocked = tmp_path / "good", tmp_path / "in-the-way" / "x"
    good.write_text("old")
    blocked.parent.write_text("a file")
    outcome = converge(Systemd(), files=[file(good, "new"), file(blocked, "1")])
    assert outcome.failure.startswith(f"cannot write {blocked}: ")
    assert good.read_text() == "old"


@pytest.mark.parametrize(
    ("content", "exists", "enabled"),
    [
        ("[Service]\n[Install]\nWantedBy=x\n", True, True),
        ("[Service]\n", True, False),
        ("", False, True),
    ],
    ids=["a file that says so", "a file without [Install]", "of a package to come"],
)
def test_check_mode_foresees_what_will_be_enabled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, exists: bool, enabled: bool
) -> None:
    monkeypatch.setattr(_units, "UNIT_FOLDERS", (f"{tmp_path}/",))
    files = [file(tmp_path / "new.service", content)] if exists else []
    outcome = converge(Systemd(), check_mode=True, files=files, units=[{"name": "new"}])
    assert ("enabled new.service" in outcome.changes) == enabled
    assert outcome.units == {"new.service": "started"}


@pytest.mark.parametrize("check_mode", [True, False])
def test_a_unit_waits_for_the_path_that_it_needs(tmp_path: Path, check_mode: bool) -> None:
    systemd = Systemd({"x.service": "inactive"})
    unit = {**UNIT, "requires_path": str(tmp_path / "d")}
    assert converge(systemd, check_mode, units=[unit]).units == {"x.service": "unchanged"}
    directory = {"path": str(tmp_path / "d")}
    outcome = converge(systemd, check_mode, directories=[directory], units=[unit])
    assert outcome.units == {"x.service": "started"}


def test_a_unit_that_is_to_stop_is_stopped_and_forgotten(tmp_path: Path) -> None:
    systemd = Systemd({"x.service": "active"})
    conf = file(tmp_path / "x.conf", "1")
    converge(systemd, files=[conf], units=[UNIT])
    stopped = converge(
        systemd, files=[conf], units=[{**UNIT, "state": "stopped", "enabled": False}]
    )
    assert stopped.units == {"x.service": "stopped"}
    assert _units.recall("x.service") is None
    assert "disabled x.service" in stopped.changes


def test_a_service_that_its_socket_has_restarted_is_not_restarted_again(tmp_path: Path) -> None:
    class Activated(Systemd):
        """A fake whose socket starts its service, as socket activation does."""

        def show(self, name: str) -> str:
            more = "\nTriggers=x.service" if name == "x.socket" else ""
            return super().show(name) + more

    systemd = Activated({"x.service": "active", "x.socket": "active"})
    conf = tmp_path / "x.conf"
    units = [{"name": "x.socket"}, UNIT]
    converge(systemd, files=[file(conf, "1")], units=units)
    systemd.starts.clear()
    changed = converge(systemd, files=[file(conf, "2")], units=units)
    assert changed.units == {"x.socket": "restarted", "x.service": "restarted"}
    assert systemd.starts == ["x.socket"]
    assert converge(systemd, files=[file(conf, "2")], units=units).changes == []


def test_a_failure_without_new_files_says_that_nothing_was_put_back(tmp_path: Path) -> None:
    conf = tmp_path / "x.conf"
    conf.write_text("broken")
    systemd = Systemd({"x.service": "inactive"}, breaks_on="broken", conf=conf)
    failed = converge(systemd, units=[UNIT])
    assert "this call had written nothing, so there was nothing to put back" in failed.failure


def test_new_unit_files_are_taken_back_from_systemd_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_units, "UNIT_FOLDERS", (f"{tmp_path}/",))
    drop_in = tmp_path / "x.service.d/a.conf"
    systemd = Systemd({"x.service": "active"}, breaks_on="broken", conf=drop_in)
    converge(systemd, files=[file(drop_in, "good")], units=[UNIT])
    systemd.asked.clear()
    failed = converge(systemd, files=[file(drop_in, "broken")], units=[UNIT])
    assert failed.failure and drop_in.read_text() == "good"
    assert systemd.asked.count("systemctl daemon-reload") == 2


def test_a_unit_that_does_not_run_on_its_old_files_either_is_named(tmp_path: Path) -> None:
    conf = tmp_path / "x.conf"
    systemd = Systemd({"x.service": "active"}, conf=conf)
    converge(systemd, files=[file(conf, "1")], units=[UNIT])
    systemd.breaks_on = "1"
    failed = converge(systemd, files=[file(conf, "11")], units=[UNIT])
    assert "put back, but x.service does not run on them either (Job for x.serv" in failed.failure


def test_a_unit_that_runs_on_none_of_the_files_put_back_is_left_alone(tmp_path: Path) -> None:
    systemd = Systemd({"x.service": "active", "y.service": "active"})
    by_hand, conf = tmp_path / "x.conf", tmp_path / "y.conf"
    units = [
        {**UNIT, "restart_on": [str(by_hand)]},
        {"name": "y.service", "restart_on": [], "reload_on": [str(conf)]},
    ]
    by_hand.write_text("1")
    converge(systemd, files=[file(conf, "1")], units=units)

    def refusing(argv: Sequence[str], timeout: float = 600) -> _commands.Completed:
        done = systemd(argv, timeout)
        fails = argv[1] == "reload" and conf.read_text() == "2"
        return _commands.Completed(1, "no") if fails else done

    systemd.starts.clear()
    by_hand.write_text("2")
    failed = converge(refusing, files=[file(conf, "2")], units=units)  # type: ignore[arg-type]
    assert failed.failure.startswith("y.service did not reload: no; the files of this call were")
    assert systemd.starts.count("x.service") == 1
    assert converge(systemd, files=[file(conf, "1")], units=units).units["x.service"] == "unchanged"


# The module itself; no unit is declared, so that it asks no systemd.


def test_the_module_tells_what_it_did_and_repeats_no_contents(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "x")
    given = {"path": path, "content": "hunter22", "owner": OWNER, "group": GROUP, "secret": True}
    predicted = run_module("service_config", capsys, True, files=[given])
    assert (predicted["changed"], list(tmp_path.iterdir())) == (True, [])
    said = run_module("service_config", capsys, files=[given])
    assert (said["rc"], said["changes"], said["units"]) == (0, [f"created {path}"], {})
    assert "hunter22" not in str(said)
    assert run_module("service_config", capsys, files=[given])["changed"] is False


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"mode": "640"}, "mode 640 of "),
        ({"owner": "nobody-at-all"}, "/x belongs to nobody-at-all"),
    ],
)
def test_the_module_fails_with_the_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: dict[str, Any], sentence: str
) -> None:
    wanted = {"path": str(tmp_path / "x"), "content": "1", "group": GROUP, "owner": OWNER, **given}
    said = run_module("service_config", capsys, files=[wanted])
    assert said["rc"] == 1 and sentence in said["msg"]


def test_the_module_warns_of_what_it_foresees(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = {"path": str(tmp_path / "x"), "content": "1", "group": GROUP, "owner": OWNER}
    judge = {"tree": str(tmp_path), "command": "/bin/sh -c 'echo no; exit 1' {staged}"}
    said = run_module("service_config", capsys, True, files=[wanted], validate=[judge])
    assert "would be refused as things are now: no" in said["warned"]
