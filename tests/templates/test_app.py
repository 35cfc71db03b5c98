# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the files of an application's servers say, rendered as the role renders them."""

from __future__ import annotations

import os
import runpy
import socket
import typing as t
from pathlib import Path

import pytest
from test_redis_pgbouncer import render

SERVICE = {
    "application": "shop",
    "kind": "web",
    "socket": "shop-web.socket",
    "release": "/srv/shop/current",
    "stands_in": False,
    "module": "shop:application",
    "trusted": "*",
    "workers": 2,
    "threads": 1,
    "timeout": 30,
    "grace": 30,
    "memory": 512,
    "home": "/srv/shop",
    "settings": "/etc/slipway/shop",
    "configuration": "/etc/slipway/shop/gunicorn.conf.py",
}


def rendered(template: str, **service: t.Any) -> str:
    return "\n".join(render("app", template, service={**SERVICE, **service}))


def configuration(folder: Path) -> dict[str, t.Any]:
    """What gunicorn gets when it loads the file."""
    path = folder / "gunicorn.conf.py"
    path.write_text(rendered("gunicorn.conf.py.j2"))
    return runpy.run_path(str(path))


def test_a_server_is_ready_when_a_worker_has_loaded_the_application(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        loaded = configuration(tmp_path)
        assert "NOTIFY_SOCKET" not in os.environ, "gunicorn would use it before there is a worker"
        loaded["post_worker_init"](None)
        assert systemd.recv(100) == b"READY=1"


def test_a_server_that_systemd_did_not_start_tells_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    configuration(tmp_path)["post_worker_init"](None)


@pytest.mark.parametrize("kind", ["web", "asgi", "node"])
@pytest.mark.parametrize(("timeout", "patience"), [(30, 60), (120, 150)])
def test_systemd_waits_for_whoever_says_that_a_server_is_ready(
    kind: str, timeout: int, patience: int
) -> None:
    unit = rendered("web.service.j2", kind=kind, timeout=timeout).splitlines()
    assert {"Type=notify", "NotifyAccess=all", f"TimeoutStartSec={patience}"} <= set(unit)
