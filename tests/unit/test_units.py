"""What follows for a unit from what it was last started with."""

from __future__ import annotations

import dataclasses
import typing as t
from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _commands, _units
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError

RUNNING = _units.Shown("loaded", "active", "running", "enabled", can_reload=True, kind="notify")
STOPPED = _units.Shown("loaded", "inactive", "dead", "enabled")
FAILED = _units.Shown("loaded", "failed", "failed", "enabled", result="start-limit-hit")
LOOPING = _units.Shown("loaded", "activating", "auto-restart", "enabled", result="exit-code")
FIXED = _units.Shown("loaded", "active", "running", "enabled", can_reload=False)
JOB = _units.Shown("loaded", "inactive", "dead", "static", kind="oneshot", remains=False)
UNKNOWN = _units.Shown()
NOW = {"/conf": "2", "/tls": "2"}
SAME = dict(NOW)


def unit(state: str = "started", enabled: bool = True) -> _units.Unit:
    return _units.Unit("x.service", enabled, state, ("/conf",), ("/tls",))


@pytest.mark.parametrize(
    ("shown", "recorded", "action"),
    [
        (RUNNING, SAME, ""),
        (RUNNING, None, "restart"),
        (RUNNING, {"/conf": "1", "/tls": "2"}, "restart"),
        (RUNNING, {"/conf": "2", "/tls": "1"}, "reload"),
        (RUNNING, {"/conf": "1", "/tls": "1"}, "restart"),
        (RUNNING, {"/conf": "pending", "/tls": "2"}, "restart"),
        (RUNNING, {"/conf": "2", "/tls": "pending"}, "reload"),
        (RUNNING, {"/conf": "2"}, "reload"),
        (RUNNING, {**SAME, "/of another call": "1"}, ""),
        (FIXED, {"/conf": "2", "/tls": "1"}, "restart"),
        (STOPPED, SAME, "start"),
        (STOPPED, None, "start"),
        (FAILED, SAME, "start"),
        (LOOPING, SAME, "start"),
        (JOB, SAME, ""),
        (JOB, None, "start"),
        (JOB, {"/conf": "1", "/tls": "2"}, "start"),
        (UNKNOWN, None, "start"),
    ],
)
def test_what_is_done_with_a_unit(
    shown: _units.Shown, recorded: dict[str, str] | None, action: str
) -> None:
    decision = _units.decide(unit(), shown, recorded, NOW, ready=True)
    assert decision.action == action
    assert bool(decision.reasons) == bool(action)


@pytest.mark.parametrize(
    ("restart_on", "reload_on", "action"),
    [(["/a"], ["/b"], "restart"), ([], ["/b"], "reload"), ([], [], "")],
)
def test_a_running_unit_without_a_record_may_run_on_older_files(
    restart_on: list[str], reload_on: list[str], action: str
) -> None:
    watching = _units.Unit("x.service", True, "started", tuple(restart_on), tuple(reload_on))
    removed_just_now = {"/a": "absent", "/b": "absent"}
    assert _units.decide(watching, RUNNING, None, removed_just_now, True).action == action


def test_a_path_that_is_not_there_and_never_was_is_no_change() -> None:
    digests = {"/conf": "2", "/tls": "absent"}
    assert _units.decide(unit(), RUNNING, {"/conf": "2"}, digests, ready=True).action == ""


@pytest.mark.parametrize("shown", [RUNNING, STOPPED, FAILED, UNKNOWN])
def test_a_unit_is_left_alone_until_its_path_exists(shown: _units.Shown) -> None:
    assert _units.decide(unit(), shown, None, NOW, ready=False).action == ""


@pytest.mark.parametrize(
    ("shown", "action"), [(RUNNING, "stop"), (LOOPING, "stop"), (STOPPED, ""), (UNKNOWN, "")]
)
def test_a_unit_that_is_declared_stopped(shown: _units.Shown, action: str) -> None:
    assert _units.decide(unit("stopped"), shown, SAME, NOW, ready=True).action == action


@pytest.mark.parametrize(
    ("state", "comes", "enabled", "enabling"),
    [
        ("disabled", True, True, True),
        ("enabled", True, True, None),
        ("enabled-runtime", True, True, None),
        ("static", True, True, None),
        ("indirect", True, True, None),
        ("", True, True, None),
        ("enabled", True, False, False),
        ("disabled", True, False, None),
        ("static", True, False, None),
    ],
)
def test_enabling(state: str, comes: bool, enabled: bool, enabling: bool | None) -> None:
    shown = _units.Shown("loaded", "active", "running", state)
    decision = _units.decide(unit(enabled=enabled), shown, SAME, NOW, True, comes)
    assert decision.enabling is enabling


@pytest.mark.parametrize(("comes", "enabling"), [(True, True), (False, None)])
def test_an_unknown_unit_is_enabled_only_if_it_comes(comes: bool, enabling: bool | None) -> None:
    assert _units.decide(unit(), UNKNOWN, None, NOW, True, comes).enabling is enabling


def test_without_a_list_everything_that_does_not_reload_restarts() -> None:
    params = {
        "name": "redis-server@broker",
        "enabled": True,
        "state": "started",
        "restart_on": None,
        "reload_on": ["/etc/tls"],
        "requires_path": None,
        "settle_seconds": 1,
    }
    made = _units.from_params(params, ["/etc/a", "/etc/tls/key", "/etc/tlsx"])
    assert made.name == "redis-server@broker.service"
    assert made.restart_on == ("/etc/a", "/etc/tlsx")
    assert _units.from_params({**params, "restart_on": []}, ["/etc/a"]).restart_on == ()


@pytest.mark.parametrize("name", ["x@.service", "x@", "/etc/systemd/system/x.service"])
def test_a_template_unit_is_refused(name: str) -> None:
    with pytest.raises(StackError, match="name an instance"):
        _units.full_name(name)


@pytest.mark.parametrize(
    ("path", "name", "is_own"),
    [
        ("/etc/systemd/system/x.service", "x.service", True),
        ("/etc/systemd/system/x@.service", "x@one.service", True),
        ("/etc/systemd/system/x.service", "x.socket", False),
        ("/etc/systemd/system/x.service.d/50-x.conf", "x.service", False),
        ("/etc/x.service", "x.service", False),
    ],
)
def test_the_file_of_a_unit(path: str, name: str, is_own: bool) -> None:
    assert _units.is_file_of(path, name) is is_own


def test_what_systemd_says_is_understood() -> None:
    said = "Type=oneshot\nRemainAfterExit=no\nNRestarts=3\nResult=success\nLoadState=loaded\n"
    said += (
        "ActiveState=inactive\nSubState=dead\nNeedDaemonReload=yes\nTriggers=a.service b.service"
    )
    shown = _units.parse(said)
    assert shown.is_known and shown.is_finished and shown.need_daemon_reload
    assert (shown.restarts, shown.triggers) == (3, ("a.service", "b.service"))


@pytest.fixture
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(_units, "RECORDS", str(tmp_path / "units"))
    return tmp_path / "units"


def test_a_record_is_closed_to_others_and_a_broken_one_counts_as_none(records: Path) -> None:
    assert _units.recall("x.service") is None
    _units.remember("x.service", SAME)
    assert _units.recall("x.service") == SAME
    assert (records / "x.service.json").stat().st_mode & 0o777 == 0o600
    (records / "x.service.json").write_text("{")
    assert _units.recall("x.service") is None


def test_before_files_are_written_their_units_are_marked(records: Path) -> None:
    _units.remember("x.service", SAME)
    _units.announce(unit(), ["/elsewhere"])
    assert _units.recall("x.service") == SAME
    _units.announce(unit(), ["/tls/cert.pem"])
    assert _units.recall("x.service") == {"/conf": "2", "/tls": "pending"}


def test_a_reload_does_not_hide_what_another_call_watches(records: Path) -> None:
    recorded = {"/conf": "1", "/tls": "1", "/another": "pending"}
    _units.remember_all("x.service", recorded, NOW, fresh=False)
    assert _units.recall("x.service") == {**NOW, "/another": "pending"}
    _units.remember_all("x.service", recorded, NOW, fresh=True)
    assert _units.recall("x.service") == {**NOW, "/another": "absent"}


def test_what_matches_and_is_not_declared_is_to_be_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_units, "UNIT_FOLDERS", (f"{tmp_path}/",))
    for name in ("shop-worker-mail", "shop-worker-old", "shop-beat", "shop-web", "blog-beat"):
        (tmp_path / f"{name}.service").touch()
    (tmp_path / "shop-worker-old.service.d").mkdir()
    owned = ["shop-worker-*.service", "shop-beat.service"]
    strays = _units.strays(owned, {"shop-worker-mail.service"})
    assert [unit.name for unit in strays] == ["shop-beat.service", "shop-worker-old.service"]
    assert {(unit.state, unit.enabled) for unit in strays} == {("stopped", False)}


def test_a_socket_is_stopped_before_what_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_units, "UNIT_FOLDERS", (f"{tmp_path}/",))
    for name in ("shop-web.service", "shop-web.socket"):
        (tmp_path / name).touch()
    strays = _units.strays(["shop-web.*"], set())
    assert [unit.name for unit in strays] == ["shop-web.socket", "shop-web.service"]


def answers(*said: str, code: int = 0) -> tuple[list[str], t.Callable[..., _commands.Completed]]:
    """A fake of systemctl that gives these answers in turn, the last one for ever."""
    told: list[str] = []
    left = list(said)

    def run(argv: Sequence[str], timeout: float = 0) -> _commands.Completed:
        told.append(" ".join(argv))
        return _commands.Completed(code, left.pop(0) if len(left) > 1 else left[0])

    return told, run


def shown(state: str = "active", kind: str = "notify", restarts: int = 0, **more: str) -> str:
    more = {"LoadState": "loaded", "SubState": "x", "Result": "exit-code", **more}
    lines = [f"{key}={value}" for key, value in more.items()]
    return "\n".join([f"ActiveState={state}", f"Type={kind}", f"NRestarts={restarts}", *lines])


def test_what_was_never_remembered_can_be_forgotten(records: Path) -> None:
    _units.forget("x.service")
    _units.remember("x.service", SAME)
    _units.forget("x.service")
    assert _units.recall("x.service") is None


def test_a_record_is_written_only_if_it_changes(records: Path) -> None:
    _units.remember("x.service", SAME)
    before = (records / "x.service.json").stat().st_ino
    _units.remember_all("x.service", SAME, SAME, fresh=False)
    assert (records / "x.service.json").stat().st_ino == before


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (_units.reload_manager, "systemctl daemon-reload failed: no bus"),
        (lambda run: _units.enable(["x"], True, run), "systemctl enable x failed: no bus"),
        (lambda run: _units.enable(["x"], False, run), "systemctl disable x failed: no bus"),
        (lambda run: _units.show(["x"], run), "systemd does not answer on this machine: no bus"),
    ],
)
def test_what_systemd_refuses_is_a_sentence(
    call: t.Callable[[t.Any], t.Any], sentence: str
) -> None:
    _told, run = answers("no bus\n", code=1)
    with pytest.raises(StackError, match=sentence):
        call(run)


def test_an_answer_about_fewer_units_is_none() -> None:
    _told, run = answers(shown())
    with pytest.raises(StackError, match="systemd does not answer"):
        _units.show(["x.service", "y.service"], run)


@pytest.mark.parametrize("action", ["start", "stop"])
def test_a_masked_unit_can_only_be_stopped(action: str) -> None:
    told, run = answers("")
    masked = _units.Shown("masked", "active")
    said = _units.act(unit(), action, masked, run)
    assert said == (
        "" if action == "stop" else "it is masked; unmask it with: systemctl unmask x.service"
    )
    assert told == (["systemctl stop -- x.service"] if action == "stop" else [])


def test_a_unit_that_systemd_restarts_by_itself_is_restarted_at_once() -> None:
    told, run = answers("", "", shown())
    assert _units.act(unit(), "start", LOOPING, run) == ""
    assert told[:2] == [
        "systemctl reset-failed -- x.service",
        "systemctl restart -- x.service",
    ]


def test_a_socket_takes_its_running_services_along() -> None:
    socket = _units.Unit("x.socket", True, "started", (), ())
    triggers = ("a.service", "b.service")
    told, run = answers(f"{shown()}\n\n{shown('inactive')}", "", "", "", shown())
    assert _units.act(socket, "restart", _units.Shown("loaded", triggers=triggers), run) == ""
    assert told[1:4] == [
        "systemctl stop -- x.socket a.service",
        "systemctl reset-failed -- x.socket a.service",
        "systemctl start -- x.socket a.service",
    ]


def test_systemds_advice_is_left_out() -> None:
    _told, run = answers('Job for x.service failed.\nSee "systemctl status x.service"', code=1)
    assert _units.act(unit(), "restart", RUNNING, run) == "Job for x.service failed."


@pytest.mark.parametrize(
    ("said", "pauses", "trouble"),
    [
        ([shown(kind="notify")], 0, ""),
        ([shown(kind="simple")], 4, ""),
        ([shown(kind="exec"), shown("failed", "exec")], 1, "it is failed (x) afterwards"),
        ([shown(kind="simple"), shown(kind="simple", restarts=1)], 1, "it is active (x)"),
        ([shown("inactive", "oneshot", RemainAfterExit="no", Result="success")], 0, ""),
        ([shown("inactive", "oneshot", RemainAfterExit="no")], 0, "it is inactive (x)"),
    ],
    ids=["tells itself", "stays", "ends", "is restarted", "job done", "job failed"],
)
def test_a_unit_that_cannot_say_that_it_is_ready_is_watched(
    said: list[str], pauses: int, trouble: str
) -> None:
    _told, run = answers(*said)
    slept: list[float] = []
    found = _units.watch(unit(), 0, run, slept.append)
    assert found.startswith(trouble) and bool(found) == bool(trouble)
    assert slept == [0.25] * pauses


@pytest.mark.parametrize(("restarts", "trouble"), [(3, False), (4, True)])
def test_a_reload_counts_restarts_from_where_they_were(restarts: int, trouble: bool) -> None:
    before = dataclasses.replace(RUNNING, restarts=3)
    _told, run = answers("", shown(kind="simple", restarts=restarts))
    assert bool(_units.act(unit(), "reload", before, run, lambda _: None)) == trouble


@pytest.mark.parametrize(
    ("said", "code", "told"),
    [("two\none\n", 0, "one\ntwo"), ("\n", 0, "(its journal is empty)"), ("no journal", 1, "(its")],
)
def test_the_last_words_of_a_unit(said: str, code: int, told: str) -> None:
    _told, run = answers(said, code=code)
    assert _units.journal("x.service", 7.9, run).startswith(told)
    assert "--since=@7" in _told[0]
