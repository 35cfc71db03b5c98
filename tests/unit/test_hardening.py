"""The drop-ins of slipway.stack.unit_hardening, judged by systemd where it is installed."""

from __future__ import annotations

import json
import shutil
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.slipway.stack.plugins.filter.unit_hardening import unit_hardening

LIMIT = 1.5

SERVICES: dict[str, tuple[str, dict[str, t.Any]]] = {
    "redis": ("daemon", {}),
    "pgbouncer": ("daemon", {}),
    "postgresql": ("daemon", {"MemoryDenyWriteExecute": False, "PrivateUsers": False}),
    "nginx": (
        "daemon",
        {
            "User": "www-data",
            "PrivateUsers": False,
            "AmbientCapabilities": "CAP_NET_BIND_SERVICE",
            "CapabilityBoundingSet": "CAP_NET_BIND_SERVICE",
        },
    ),
    "gunicorn": ("web", {}),
    "celery": ("worker", {}),
    "backup": ("oneshot", {}),
}


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
@pytest.mark.parametrize("service", SERVICES)
def test_exposure_stays_below_the_limit(service: str, tmp_path: Path) -> None:
    profile, exceptions = SERVICES[service]
    unit = tmp_path / f"{service}.service"
    drop_in = unit_hardening(profile, ["/var/lib/x"], exceptions)
    unit.write_text(f"[Service]\nUser=daemon\nExecStart=/bin/true\n{drop_in}")
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={LIMIT * 10:.0f}", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert judged.returncode == 0, judged.stdout[-2000:] + judged.stderr
    assert "Unknown" not in judged.stderr, judged.stderr


@pytest.mark.parametrize(
    ("exceptions", "present", "absent"),
    [
        (
            {},
            ["UMask=0077", "SystemCallFilter=\nSystemCallFilter=@system-service\n"],
            ["Exception"],
        ),
        ({"UMask": None}, ["UMask is left to the unit"], ["UMask="]),
        ({"UMask": ""}, ["UMask=\n", "UMask is nothing, otherwise 0077"], ["UMask=0077"]),
        ({"PrivateTmp": False}, ["PrivateTmp=false\n"], ["PrivateTmp=true"]),
        ({"Restart": "always"}, ["Restart=always\n", "Added for this unit: Restart"], []),
        (
            {"CapabilityBoundingSet": "CAP_CHOWN"},
            ["CapabilityBoundingSet=\nCapabilityBoundingSet=CAP_CHOWN\n"],
            [],
        ),
        (
            {"SystemCallFilter": ["@system-service", "@chown"]},
            ["SystemCallFilter=\nSystemCallFilter=@system-service\nSystemCallFilter=@chown\n"],
            ["~@privileged @resources\n"[:-1] + "\nU"],
        ),
    ],
)
def test_exceptions_override_single_directives(
    exceptions: dict[str, object], present: list[str], absent: list[str]
) -> None:
    text = unit_hardening("daemon", exceptions=exceptions)  # type: ignore[arg-type]
    assert all(each in text for each in present), text
    assert not any(each in text for each in absent), text


def test_gunicorn_may_change_owner_after_privileged_calls_are_taken_away() -> None:
    text = unit_hardening("web")
    assert text.index("~@privileged") < text.index("SystemCallFilter=@chown @setuid")


def test_the_text_does_not_depend_on_the_order_of_the_exceptions() -> None:
    exceptions: dict[str, t.Any] = {"UMask": "0027", "PrivateTmp": False, "Restart": "always"}
    backwards = json.loads(json.dumps(dict(reversed(exceptions.items()))))
    assert unit_hardening("web", exceptions=exceptions) == unit_hardening(
        "web", exceptions=backwards
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("deamon",), "deamon is no hardening profile; use one of daemon, web, worker, oneshot"),
        (("web", ["var/lib"]), "writable path var/lib is not an absolute path"),
        (("web", [], {"umask": "1"}), "umask is not the name of a systemd directive"),
        (("web", [], {"UMask": "1\nUser=root"}), "has more than one line"),
    ],
)
def test_mistakes_are_refused_with_a_sentence(arguments: tuple[t.Any, ...], sentence: str) -> None:
    with pytest.raises(AnsibleFilterError, match=sentence):
        unit_hardening(*arguments)
