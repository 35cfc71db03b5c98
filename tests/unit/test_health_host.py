"""The machine is judged by what its own files and programs say; most of them are given."""

from __future__ import annotations

import os
import socket
import struct
import threading
import types
import typing as t
from pathlib import Path

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import (
    _health,
    _health_host,
    _health_unit,
    _host_figures,
)

MOUNTINFO = """\
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
23 22 0:5 / /proc rw - proc proc rw
24 22 0:6 / /run rw - tmpfs tmpfs rw
25 22 8:1 /srv /srv rw - ext4 /dev/sda1 rw
26 22 8:2 / /usr ro - ext4 /dev/sda2 rw
27 22 8:3 / /no\\040such rw - ext4 /dev/sda3 rw
broken line
28 22 8:4 / /x rw -
"""
MEMINFO = "MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 500 kB\nOdd\n"


def numbers(free: float = 0.5, files: float = 0.5, all_files: int = 100) -> t.Any:
    return types.SimpleNamespace(
        f_bavail=free * 100, f_blocks=100, f_favail=files * 100, f_files=all_files, f_frsize=4096
    )


@pytest.fixture
def machine(tmp_path: Path) -> t.Callable[..., _health_host.Machine]:
    for folder in ("proc/self", "run", "boot"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text(MOUNTINFO)
    (tmp_path / "proc/meminfo").write_text(MEMINFO)
    (tmp_path / "proc/loadavg").write_text("9 1.5 9 1/1 1\n")

    def output(command: list[str], *_: t.Any, **__: t.Any) -> str:
        if command[0] == "systemctl":
            return ""
        raise _health.CannotCheck(f"{command[0]} is not installed", "install it")

    def build(**given: t.Any) -> _health_host.Machine:
        roots = {name: tmp_path / name for name in ("proc", "run", "boot")}
        settings = {"output": output, "space": lambda _: numbers(), "clock": lambda: 1000.0}
        return _health_host.Machine(**{**roots, **settings, "processors": 2, **given})

    return build


def examined(machine: _health_host.Machine, **options: t.Any) -> dict[str, _health.Finding]:
    values = {name: option.get("default") for name, option in _health_host.OPTIONS.items()}
    check = {"label": "x", **values, "reference_time": 995.0, "directories": [], **options}
    found = _health_host.probe(check, _health.Deadline(5), machine)
    return {row.check.removeprefix("x "): row for row in found}


def states(rows: dict[str, _health.Finding]) -> dict[str, str]:
    return {name: row.state for name, row in rows.items() if row.state != "ok"}


Build = t.Callable[..., _health_host.Machine]


def test_a_quiet_machine_is_well(machine: Build) -> None:
    rows = examined(machine())
    assert states(rows) == {}
    assert set(rows) == {
        "/ space", "/ inodes", "memory", "load", "clock", "failed units", "reboot",
    }  # fmt: skip


def test_mounts_are_those_that_can_fill_up_each_once() -> None:
    found = _host_figures.mounts(MOUNTINFO)
    assert [(mount.path, mount.kind) for mount in found] == [("/", "ext4"), ("/run", "tmpfs")]


@pytest.mark.parametrize(
    ("figures", "found"),
    [
        (numbers(free=0.15), {}),
        (numbers(free=0.14), {"/a space": "warning"}),
        (numbers(free=0.09), {"/a space": "critical"}),
        (numbers(files=0.14), {"/a inodes": "warning"}),
        (numbers(files=0.09), {"/a inodes": "critical"}),
        (numbers(files=0, all_files=0), {}),
        (None, {"/a space": "critical"}),
    ],
)
def test_disks_are_judged(machine: Build, figures: t.Any, found: dict[str, str]) -> None:
    assert states(examined(machine(space=lambda _: figures), mounts=["/a"])) == found


def test_a_disk_in_memory_is_shown_when_it_is_not_well(machine: Build) -> None:
    rows = examined(machine(space=lambda path: numbers(0.01 if path == "/run" else 0.5)))
    assert states(rows) == {"/run space": "critical"}


def test_a_mount_that_is_not_there_is_unknown(machine: Build) -> None:
    rows = examined(machine(space=_host_figures.space), mounts=["/no/such"])
    assert states(rows) == {"/no/such space": "unknown"}
    assert _host_figures.space("/") is not None


def test_a_file_system_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(os, "statvfs", lambda _: go_on.wait(20))
    assert _host_figures.space("/gone", 0.05) is None
    go_on.set()


@pytest.mark.parametrize(
    ("file", "text", "found"),
    [
        ("meminfo", "MemTotal: 100 kB\nMemAvailable: 14 kB\n", {"memory": "warning"}),
        ("meminfo", "MemTotal: 100 kB\nMemAvailable: 4 kB\n", {"memory": "critical"}),
        ("loadavg", "0 1.7 0", {"load": "warning"}),
        ("loadavg", "0 20.1 0", {"load": "critical"}),
        ("loadavg", "", {"load": "unknown"}),
    ],
)
def test_memory_and_load_are_judged_each_for_itself(
    machine: Build, tmp_path: Path, file: str, text: str, found: dict[str, str]
) -> None:
    built = machine()
    (tmp_path / "proc" / file).write_text(text)
    assert states(examined(built)) == found


TRACKING = "C0000201,ntp,2,1.5,{},0,0,0,0,0,0,0,0,{}\n"
STATUS = "       Server: 192.0.2.1\n       Offset: {}\n        Delay: 1ms\n"


@pytest.mark.parametrize(
    ("said", "offset"),
    [
        (TRACKING.format("-0.5", "Normal"), -0.5),
        (TRACKING.format("-0.5", "Not synchronised"), None),
        (TRACKING.format("0", "Normal").replace(",2,", ",0,"), None),
        ("506 Cannot talk to daemon", None),
    ],
)
def test_chrony_is_read(said: str, offset: float | None) -> None:
    assert _host_figures.chrony(said) == offset


@pytest.mark.parametrize(
    ("said", "offset"),
    [
        (STATUS.format("+1.5ms"), 0.0015),
        (STATUS.format("-1min 30s"), -90),
        (STATUS.format("+12us"), 0.000012),
        ("Server: n/a", None),
    ],
)
def test_timesyncd_is_read(said: str, offset: float | None) -> None:
    found = _host_figures.timesyncd(said)
    assert found == (None if offset is None else pytest.approx(offset))


@pytest.mark.parametrize(
    ("answers", "state", "who"),
    [
        ({"chronyc": TRACKING.format("2", "Normal")}, "warning", "by chrony"),
        ({"chronyc": "", "timedatectl": STATUS.format("-31s")}, "critical", "by timesyncd"),
    ],
)
def test_who_keeps_the_clock_tells_its_offset(
    machine: Build, answers: dict[str, str], state: str, who: str
) -> None:
    def output(command: list[str], *_: t.Any, **__: t.Any) -> str:
        return answers.get(command[0], "")

    row = examined(machine(output=output))["clock"]
    assert (row.state, row.value.endswith(who)) == (state, True)


@pytest.mark.parametrize(
    ("reference", "state"),
    [
        (1000, "ok"),
        (985, "ok"),
        (983, "warning"),
        (950, "critical"),
        (1002, "warning"),
        (1031, "critical"),
        (None, "unknown"),
    ],
)
def test_without_a_time_service_the_controller_s_clock_is_compared(
    machine: Build, reference: float | None, state: str
) -> None:
    assert examined(machine(), reference_time=reference)["clock"].state == state


def serve_time(ahead: float, stratum: int = 1, cut: int = 99) -> str:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))

    def answer() -> None:
        _data, who = server.recvfrom(99)
        now = int((1000 + ahead + 2_208_988_800) * 2**32)
        said = bytes([0x24, stratum]) + 30 * b"\0" + struct.pack("!2Q", now, now)
        server.sendto(said[:cut], who)
        server.close()

    threading.Thread(target=answer, daemon=True).start()
    return f"127.0.0.1:{server.getsockname()[1]}"


def test_a_time_server_is_asked_directly(machine: Build) -> None:
    row = examined(machine(), clock_server=serve_time(5))["clock"]
    assert (row.state, row.value.split()[0]) == ("warning", "-5.000")
    assert examined(machine(), clock_server=serve_time(0))["clock"].state == "ok"
    assert examined(machine(), clock_server=serve_time(0, stratum=0))["clock"].state == "critical"
    assert examined(machine(), clock_server=serve_time(0, cut=9))["clock"].state == "critical"


def test_failed_units_are_named_and_counted(machine: Build) -> None:
    def output(command: list[str], *_: t.Any, **__: t.Any) -> str:
        return "".join(f"u{number}.service loaded failed\n" for number in range(6)) + "\n"

    rows = examined(machine(output=output), reference_time=1000)
    assert (rows["failed units"].state, rows["failed units"].value[-3:]) == ("critical", "...")
    most = [f"u{number}.service" for number in range(5)]
    rows = examined(machine(output=output), failed_units_ignored=most)
    assert (rows["failed units"].state, rows["failed units"].value) == ("warning", "u5.service")


def test_a_reboot_is_pending_for_a_package_or_a_kernel(machine: Build, tmp_path: Path) -> None:
    built = machine(kernel="6.1.0-9-amd64", clock=lambda: 40 * 86_400.0)
    for version in ("6.1.0-9-amd64", "6.1.0-10-amd64"):
        (tmp_path / "boot" / f"vmlinuz-{version}").touch()
        os.utime(tmp_path / "boot" / f"vmlinuz-{version}", (39 * 86_400, 39 * 86_400))
    rows = examined(built)
    assert rows["reboot"].state == "warning"
    assert "runs 6.1.0-9-amd64, has 6.1.0-10-amd64" in rows["reboot"].value
    (tmp_path / "run/reboot-required").touch()
    os.utime(tmp_path / "run/reboot-required", (0, 0))
    assert examined(built)["reboot"].state == "critical"
    current = built._replace(kernel="6.1.0-10-amd64", run=tmp_path)
    assert examined(current)["reboot"].state == "ok"


def test_directories_are_measured(machine: Build, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "a").mkdir(parents=True)
    (tree / "a/file").write_bytes(b"x" * 200_000)
    os.link(tree / "a/file", tree / "again")
    (tree / "link").symlink_to("/")
    size = _host_figures.size(str(tree), lambda: False)
    assert size is not None
    assert 200_000 < size < 300_000
    small = machine(space=lambda _: types.SimpleNamespace(**{**vars(numbers()), "f_frsize": 2048}))
    found = examined(small, directories=[f"{tmp_path}/tr*"])
    assert found[str(tree)].state == "critical"
    big = small._replace(
        space=lambda _: types.SimpleNamespace(**{**vars(numbers()), "f_frsize": 2**30})
    )
    assert examined(big, directories=[str(tree)])[str(tree)].state == "ok"


def test_a_directory_that_cannot_be_measured_is_unknown(
    machine: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _host_figures.size(str(tmp_path), lambda: True) is None
    times = iter([0.0, 0.0, 0.0, *[99.0] * 9])
    deadline = _health.Deadline(5, lambda: next(times))
    check = {"directories": [str(tmp_path)], **dict.fromkeys(_directory_limits(), 1)}
    (row,) = _health_host.directories("x", check, deadline, machine())
    assert (row.state, row.value) == ("unknown", "not counted in time")

    def refuse(*_: t.Any) -> int:
        raise PermissionError

    monkeypatch.setattr(_host_figures, "size", refuse)
    rows = examined(machine(), directories=[str(tmp_path)])
    assert (rows[str(tmp_path)].state, rows[str(tmp_path)].value) == ("unknown", "may not be read")


def _directory_limits() -> list[str]:
    return ["directory_warning_percent", "directory_critical_percent"]


def test_what_lies_on_another_file_system_is_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"x" * 100_000)
    real = os.lstat
    monkeypatch.setattr(
        os, "lstat", lambda path: types.SimpleNamespace(st_dev=real(path).st_dev + 1)
    )
    assert _host_figures.size(str(tmp_path), lambda: False) == 0


def test_the_deadline_is_never_lost_among_the_parts(machine: Build) -> None:
    def output(*_: t.Any, **__: t.Any) -> str:
        raise _health.Expired("late")

    with pytest.raises(_health.Expired):
        examined(machine(output=output))


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("LoadState=loaded\nActiveState=active\nSubState=running\n", "ok"),
        ("LoadState=loaded\nActiveState=failed\nSubState=failed\n", "critical"),
        ("LoadState=not-found\nActiveState=inactive\n", "unknown"),
    ],
)
def test_a_unit_is_what_systemd_says(said: str, state: str) -> None:
    check = {"label": "unit x", "unit": "x.service"}
    (row,) = _health_unit.probe(check, _health.Deadline(5), lambda *_: said)
    assert row.state == state
