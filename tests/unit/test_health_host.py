"""The machine is judged by what its own files and programs say; most of them are given."""

from __future__ import annotations

import glob
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
    _health_clock,
    _health_host,
    _health_unit,
    _health_uploads,
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
FAILED = """\
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 ro,errors=remount-ro
23 22 8:2 / /srv ro - xfs /dev/sda2 ro
24 22 8:3 / /usr ro - ext4 /dev/sda3 ro
25 22 7:0 / /snap ro - squashfs /dev/loop0 ro
26 22 0:9 / /tmp ro - tmpfs tmpfs ro
27 22 8:5 / /opt ro - ext4 /dev/sda5 rw
"""
FSTAB = "# /dev/x /srv xfs ro\n/dev/sda3 /usr ext4 defaults,ro 0 2\nbroken\n"
MEMINFO = "MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 500 kB\nOdd\n"


def numbers(free: float = 0.5, files: float = 0.5, all_files: int = 100) -> t.Any:
    return types.SimpleNamespace(
        f_bavail=free * 100, f_blocks=100, f_favail=files * 100, f_files=all_files, f_frsize=4096
    )


@pytest.fixture
def machine(tmp_path: Path) -> t.Callable[..., _health_host.Machine]:
    for folder in ("proc/self", "run/systemd/timesync", "boot"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text(MOUNTINFO)
    (tmp_path / "proc/meminfo").write_text(MEMINFO)
    (tmp_path / "proc/loadavg").write_text("9 1.5 9 1/1 1\n")

    def output(command: list[str], *_: t.Any, **__: t.Any) -> str:
        if command[0] == "systemctl":
            return ""
        raise _health.CannotCheck(f"{command[0]} is not installed", "install it")

    def build(**given: t.Any) -> _health_host.Machine:
        roots = {name: tmp_path / name for name in ("proc", "run", "boot", "fstab")}
        settings = {"output": output, "space": lambda _: numbers(), "clock": lambda: 1000.0}
        return _health_host.Machine(**{**roots, **settings, "processors": 2, **given})

    return build


def examined(
    machine: _health_host.Machine, seconds: float = 5, **options: t.Any
) -> dict[str, _health.Finding]:
    values = {name: option.get("default") for name, option in _health_host.OPTIONS.items()}
    check = {"label": "x", **values, "reference_time": 995.0, "directories": [], **options}
    found = _health_host.probe(check, _health.Deadline(seconds), machine)
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
    # What containers see is a view of a disk that is there already.
    layers = "99 1 0:99 / /var/lib/docker/overlay2/a/merged rw - overlay overlay rw\n"
    found = _host_figures.mounts(MOUNTINFO + layers)
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
    assert "/run space" not in examined(machine())
    assert "/run space" in examined(machine(), mounts=["/run"])


def test_a_disk_that_became_read_only_is_critical(machine: Build, tmp_path: Path) -> None:
    built = machine()
    (tmp_path / "proc/self/mountinfo").write_text(FAILED)
    failed = {"/ writable": "critical", "/srv writable": "critical"}
    assert states(examined(built)) == {**failed, "/usr writable": "critical"}
    (tmp_path / "fstab").write_text(FSTAB)
    rows = examined(built)
    assert states(rows) == failed
    assert "remount,rw /srv" in rows["/srv writable"].advice
    assert "/srv space" in rows
    assert states(examined(built, mounts=["/srv", "/a"])) == {"/srv writable": "critical"}


def test_a_mount_that_is_not_there_is_unknown(machine: Build) -> None:
    rows = examined(machine(space=_host_figures.space), mounts=["/no/such"])
    assert states(rows) == {"/no/such space": "unknown"}
    assert _host_figures.space("/") is not None


def test_a_file_system_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(os, "statvfs", lambda _: go_on.wait(20))
    assert _host_figures.space("/gone", 0.05) is None
    # Already to ask whether it is a directory is to wait for it.
    monkeypatch.setattr(os.path, "isdir", lambda _: go_on.wait(20))
    monkeypatch.setattr(_host_figures, "MOUNT_SECONDS", 0.05)
    assert [mount.path for mount in _host_figures.mounts(MOUNTINFO)][:2] == ["/", "/run"]
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


TRACKING = "C0000201,ntp,2,{2},{0},0,0,0,0,0,0,0,{3},{1}\n"
STATUS = (
    "  Server: 192.0.2.1\nPoll interval: {1} (min: 32s; max 34min 8s)\n  Offset: {0}\n  Delay: 1s\n"
)


def tracking(offset: str, leap: str = "Normal", last: float = 990, interval: float = 64) -> str:
    return TRACKING.format(offset, leap, last, interval)


@pytest.mark.parametrize(
    ("said", "offset", "stale"),
    [
        (tracking("-0.5"), -0.5, False),
        (tracking("-0.5", last=-10_000), -0.5, True),
        (tracking("-0.5", last=11_000), -0.5, True),
        (tracking("-0.5", last=-3000, interval=1024), -0.5, False),
        (tracking("-0.5", "Not synchronised"), -0.5, True),
        (tracking("0").replace(",2,", ",0,", 1), 0, True),
        ("506 Cannot talk to daemon", None, False),
    ],
)
def test_chrony_is_read(said: str, offset: float | None, stale: bool) -> None:
    found = _health_clock.chrony(said, 1000)
    assert (found and found.offset, bool(found and found.stale)) == (offset, stale)


@pytest.mark.parametrize(
    ("said", "offset", "touched", "stale"),
    [
        (STATUS.format("+1.5ms", "32s"), 0.0015, 990, False),
        (STATUS.format("-1min 30s", "32s"), -90, 990, False),
        (STATUS.format("+12us", "32s"), 0.000012, 990, False),
        (STATUS.format("+1s", "34min 8s"), 1, 8000, False),
        (STATUS.format("+1s", "34min 8s"), 1, 9999, True),
        (STATUS.format("+1s", "32s"), 1, 3000, True),
        (STATUS.format("+1s", "32s"), 1, None, True),
        ("  Offset: +1s", 1, 3000, True),
        ("Server: n/a", None, 990, False),
    ],
)
def test_timesyncd_is_read(
    tmp_path: Path, said: str, offset: float | None, touched: float | None, stale: bool
) -> None:
    if touched is not None:
        (tmp_path / "synchronized").touch()
        os.utime(tmp_path / "synchronized", (touched, touched))
    found = _health_clock.timesyncd(said, tmp_path / "synchronized", 1000)
    assert (found and found.offset) == (None if offset is None else pytest.approx(offset))
    assert bool(found and found.stale) is stale


@pytest.mark.parametrize(
    ("answers", "reference", "state", "value"),
    [
        ({"chronyc": tracking("2")}, 995, "warning", "+2.000 s by chrony"),
        ({"chronyc": "", "timedatectl": STATUS.format("-31s", "32s")}, 995, "critical",
         "-31.000 s by timesyncd"),
        ({"chronyc": tracking("0", last=-9000)}, 995, "warning",
         "+0.000 s by chrony, whose last answer is 10000 s old"),
        ({"chronyc": tracking("0", last=-9000)}, None, "unknown",
         "+0.000 s by chrony, whose last answer is 10000 s old"),
        ({"chronyc": tracking("0", "Not synchronised")}, 995, "warning",
         "+0.000 s by chrony, which had no answer yet"),
        ({"chronyc": tracking("0", "Not synchronised")}, None, "unknown",
         "+0.000 s by chrony, which had no answer yet"),
        ({"chronyc": tracking("0")}, 956, "ok", "+0.000 s by chrony"),
        ({"chronyc": tracking("0")}, 954, "critical",
         "+0.000 s by chrony; +31 s by the controller"),
        ({"chronyc": tracking("0")}, 4600, "critical",
         "+0.000 s by chrony; -3600 s by the controller"),
    ],
)  # fmt: skip
def test_who_keeps_the_clock_tells_its_offset(
    machine: Build,
    tmp_path: Path,
    answers: dict[str, str],
    reference: float | None,
    state: str,
    value: str,
) -> None:
    def output(command: list[str], *_: t.Any, **__: t.Any) -> str:
        return answers.get(command[0], "")

    built, touched = machine(output=output), tmp_path / "run/systemd/timesync/synchronized"
    touched.touch()
    os.utime(touched, (990, 990))
    row = examined(built, reference_time=reference)["clock"]
    assert (row.state, row.value) == (state, value)


def test_a_time_service_without_an_answer_yet_is_told(machine: Build) -> None:
    def output(command: list[str], *_: t.Any, **__: t.Any) -> str:
        return STATUS.format("+1ms", "32s") if command[0] == "timedatectl" else ""

    row = examined(machine(output=output))["clock"]
    assert (row.state, row.value) == ("warning", "+0.001 s by timesyncd, which had no answer yet")


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


def serve_time(ahead: float, stratum: int = 1, cut: int = 99, leap: int = 0) -> str:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))

    def answer() -> None:
        _data, who = server.recvfrom(99)
        now = int((1000 + ahead + 2_208_988_800) * 2**32)
        said = bytes([leap << 6 | 0x24, stratum]) + 30 * b"\0" + struct.pack("!2Q", now, now)
        server.sendto(said[:cut], who)
        server.close()

    threading.Thread(target=answer, daemon=True).start()
    return f"127.0.0.1:{server.getsockname()[1]}"


def test_a_time_server_is_asked_directly(machine: Build) -> None:
    row = examined(machine(), clock_server=serve_time(5))["clock"]
    assert (row.state, row.value.split()[0]) == ("warning", "-5.000")
    assert examined(machine(), clock_server=serve_time(0))["clock"].state == "ok"
    assert examined(machine(), clock_server=serve_time(40))["clock"].state == "critical"


@pytest.mark.parametrize("given", [{"stratum": 0}, {"stratum": 16}, {"leap": 3}, {"cut": 9}])
def test_a_time_server_that_does_not_know_the_time_is_unknown(
    machine: Build, given: dict[str, int]
) -> None:
    row = examined(machine(), clock_server=serve_time(0, **given))["clock"]
    assert (row.state, "does not know the time itself" in row.value) == ("unknown", True)


def test_a_silent_time_server_takes_nothing_else_along(
    machine: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_health_clock, "SNTP_SECONDS", 0.1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        rows = examined(machine(), clock_server=f"127.0.0.1:{silent.getsockname()[1]}")
    assert states(rows) == {"clock": "unknown"}
    assert "does not tell the time within 0.1 s" in rows["clock"].value
    assert "UDP port 123" in rows["clock"].advice
    assert "failed units" in rows


def test_failed_units_are_named_and_counted(machine: Build) -> None:
    def output(command: list[str], *_: t.Any, **__: t.Any) -> str:
        return "".join(f"u{number}.service loaded failed\n" for number in range(6)) + "\n"

    rows = examined(machine(output=output), reference_time=1000)
    assert (rows["failed units"].state, rows["failed units"].value[-3:]) == ("critical", "...")
    most = [f"u{number}.service" for number in range(5)]
    rows = examined(machine(output=output), failed_units_ignored=most)
    assert (rows["failed units"].state, rows["failed units"].value) == ("warning", "u5.service")


def test_without_systemd_failed_units_are_unknown(machine: Build) -> None:
    def output(command: list[str], *_: t.Any, **__: t.Any) -> str:
        raise _health.Unhealthy("System has not been booted with systemd as init system")

    row = examined(machine(output=output))["failed units"]
    assert (row.state, row.value[:44]) == (
        "unknown",
        "systemd does not answer: System has not been",
    )


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
    size = _host_figures.size(str(tree), 5)
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
    assert _host_figures.size(str(tmp_path), 0) is None
    check = {"directories": [str(tmp_path)], **dict.fromkeys(_directory_limits(), 1)}
    with monkeypatch.context() as given:
        given.setattr(_host_figures, "size", lambda *_: None)
        (row,) = _health_host.directories("x", check, _health.Deadline(5), machine())
    assert (row.state, row.value) == ("unknown", "not counted in time")

    def refuse(*_: t.Any) -> int:
        raise PermissionError

    monkeypatch.setattr(_host_figures, "size", refuse)
    rows = examined(machine(), directories=[str(tmp_path)])
    assert (rows[str(tmp_path)].state, rows[str(tmp_path)].value) == ("unknown", "may not be read")


def test_a_directory_that_does_not_answer_takes_nothing_with_it(
    machine: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As below a mount whose server is gone; here a system call is made to wait."""
    gone, over = tmp_path / "gone", threading.Event()
    gone.mkdir()
    real: dict[str, t.Callable[..., t.Any]] = {"lstat": os.lstat, "glob": glob.glob}

    def waiting(name: str) -> t.Callable[..., t.Any]:
        def wait(path: t.Any, *rest: t.Any, **options: t.Any) -> t.Any:
            if str(path) == str(gone):
                over.wait(60)
            return real[name](path, *rest, **options)

        return wait

    built = machine()
    try:
        with monkeypatch.context() as given:
            given.setattr(os, "lstat", waiting("lstat"))
            rows = examined(built, directories=[f"{gone}*"], seconds=1)
        assert (rows[str(gone)].state, rows[str(gone)].value) == ("unknown", "not counted in time")
        assert rows["memory"].state == "ok"
        monkeypatch.setattr(_host_figures, "MOUNT_SECONDS", 0.2)
        monkeypatch.setattr(glob, "glob", waiting("glob"))
        rows = examined(built, directories=[str(gone)])
        assert rows[str(gone)].value == "its file system does not answer"
    finally:
        over.set()


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
    assert _host_figures.size(str(tmp_path), 5) == 0


def test_the_deadline_is_never_lost_among_the_parts(machine: Build) -> None:
    def output(*_: t.Any, **__: t.Any) -> str:
        raise _health.Expired("late")

    with pytest.raises(_health.Expired):
        examined(machine(output=output))


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("LoadState=loaded\nActiveState=active\nSubState=running\n", "ok"),
        ("LoadState=loaded\nActiveState=reloading\nSubState=reload\n", "ok"),
        ("LoadState=loaded\nActiveState=activating\nSubState=auto-restart\n", "critical"),
        ("LoadState=loaded\nActiveState=failed\nSubState=failed\n", "critical"),
        ("LoadState=not-found\nActiveState=inactive\n", "unknown"),
    ],
)
def test_a_unit_is_what_systemd_says(said: str, state: str) -> None:
    check = {"label": "unit x", "unit": "x.service", "absent": False}
    (row,) = _health_unit.probe(check, _health.Deadline(5), lambda *_: said)
    assert row.state == state


@pytest.mark.parametrize(
    ("said", "state", "value"),
    [
        ("", "ok", "none runs"),
        (
            "shop-beat.service loaded active running Scheduler of shop\n"
            "shop-worker-mail.service loaded activating auto-restart Worker mail of shop\n",
            "critical",
            "shop-beat.service, shop-worker-mail.service runs here",
        ),
    ],
)
def test_units_of_other_machines_may_not_run(said: str, state: str, value: str) -> None:
    asked: list[list[str]] = []

    def output(command: list[str], *_: t.Any) -> str:
        asked.append(command)
        return said

    check = {"label": "x", "unit": "shop-worker-*.service shop-beat.service", "absent": True}
    (row,) = _health_unit.probe(check, _health.Deadline(5), output)
    assert (row.state, row.value) == (state, value)
    assert asked[0][-2:] == ["shop-worker-*.service", "shop-beat.service"]


def test_without_systemd_nothing_is_known_of_a_unit() -> None:
    def output(*_: t.Any) -> str:
        raise _health.Unhealthy("System has not been booted with systemd")

    check = {"label": "unit x", "unit": "x.service", "absent": False}
    with pytest.raises(_health.CannotCheck, match="systemd does not answer: System has not"):
        _health_unit.probe(check, _health.Deadline(5), output)


def test_uploads_of_one_machine_of_several_are_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check, deadline = (
        {"label": "uploads shop", "path": str(tmp_path / "media")},
        _health.Deadline(5),
    )

    def examined() -> tuple[str, str]:
        (row,) = _health_uploads.probe(check, deadline)
        return row.state, row.value

    assert examined() == ("ok", "none")
    (tmp_path / "media/avatars").mkdir(parents=True)
    assert examined() == ("ok", "none")
    (tmp_path / "media/avatars/one.png").touch()
    state, value = examined()
    assert (state, value.endswith("media holds files of this machine alone")) == ("warning", True)
    monkeypatch.setattr("os.path.ismount", lambda path: path == check["path"])
    assert examined()[0] == "ok"
