# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the lab decides by itself, without an engine: mirrors, certificates, machines, subnets."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path

import pytest

from tests.lab import machines, mirror, shell

DEB822 = """# http://snapshot.debian.org/archive/debian/20250520T000000Z
Types: deb
URIs: {uri}
Suites: bookworm bookworm-updates
Components: main contrib

Types: deb
URIs: {uri}-security/
Suites: bookworm-security
Components: main
"""
DEFAULT = ("http://deb.debian.org/debian", "http://deb.debian.org/debian-security")
NEAR = ("http://near.example/debian", "http://near.example/debian-security")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("debian.sources", DEB822.format(uri="http://near.example/debian"), NEAR),
        ("a.list", "deb [signed-by=/k] http://near.example/debian trixie contrib main", NEAR),
        ("a.list", "# deb http://near.example/debian trixie main", DEFAULT),
        ("docker.list", "deb https://download.docker.com/linux/debian bookworm stable", DEFAULT),
        ("ubuntu.list", "deb http://archive.ubuntu.com/ubuntu noble main", DEFAULT),
        ("cloud.list", "deb mirror+file:///etc/apt/mirrors/debian.list trixie main", DEFAULT),
        (
            "off.sources",
            DEB822.format(uri="http://near.example/debian").replace("Types", "Enabled: no\nTypes"),
            DEFAULT,
        ),
    ],
)
def test_the_mirror_is_the_one_this_host_uses(
    name: str, text: str, expected: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / name).write_text(text)
    monkeypatch.setattr(mirror, "APT", tmp_path)
    assert mirror.mirrors() == expected


def test_only_certificates_that_the_distribution_does_not_bring_are_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, own = (
        f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n" for text in ("k", "o")
    )
    (tmp_path / "distributed").mkdir()
    (tmp_path / "distributed" / "known.crt").write_text(known)
    (tmp_path / "bundle.crt").write_text(f"# a comment\n{known}{own}{own}")
    monkeypatch.setattr(mirror, "DISTRIBUTED_CERTIFICATES", tmp_path / "distributed")
    for name in ("PIP_CERT", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "bundle.crt"))
    name = f"host-{hashlib.sha256(own.encode()).hexdigest()[:8]}.crt"
    assert mirror.extra_certificates() == {name: own}


def test_a_machine_is_what_was_asked_for() -> None:
    asked = "web=debian13,alias=a.test,alias=www.a.test,publish=127.0.0.1:8443:443"
    assert machines.Machine.parse(asked) == machines.Machine(
        "web", "slipway-machine:debian13", ("a.test", "www.a.test"), ("127.0.0.1:8443:443",)
    )


@pytest.mark.parametrize("asked", ["web", "web=debian11", "=debian12", "web=debian12,size=2"])
def test_a_machine_that_is_not_understood_is_refused_with_the_form(asked: str) -> None:
    with pytest.raises(shell.LabError, match="write NAME=RELEASE"):
        machines.Machine.parse(asked)


def test_a_lab_tries_every_subnet_and_always_in_the_same_order() -> None:
    first, again, other = (machines._candidates(name) for name in ("a", "a", "b"))
    assert first == again
    assert first != other
    assert sorted(first) == sorted(other) == sorted(machines.SPACE.subnets(new_prefix=24))


def test_a_command_that_fails_is_told_with_its_last_words() -> None:
    with pytest.raises(shell.LabError, match="failed with 3: no such machine"):
        shell.output("sh", "-c", "echo no such machine >&2; exit 3")


def test_a_program_that_is_missing_is_named() -> None:
    with pytest.raises(shell.LabError, match="slipway-nothing is not installed"):
        shell.output("slipway-nothing")


def test_what_a_command_says_is_shown_and_that_it_goes_on(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "SILENCE_SECONDS", 0)
    shell.stream("sh", "-c", "echo first; sleep 2.5; echo $WORD >&2", environment={"WORD": "last"})
    said = capfd.readouterr().out.splitlines()
    assert (said[0], said[-1]) == ("first", "last")
    assert "and it goes on" in said[1]


def test_a_command_that_fails_is_an_error() -> None:
    with pytest.raises(shell.LabError, match="'false' failed with 1; its output is above"):
        shell.stream("false")


def test_a_service_that_a_command_leaves_behind_is_not_waited_for(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    shell.stream("sh", "-c", f"sleep 300 & echo $! > {pid}")
    os.kill(int(pid.read_text()), signal.SIGKILL)  # it still runs, and held the pipe
