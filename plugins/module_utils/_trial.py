# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Try a release on a socket of its own; the one that serves does not notice."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

from ansible_collections.slipway.stack.plugins.module_utils import (
    _commands,
    _probe,
    _serving,
    _units,
)
from ansible_collections.slipway.stack.plugins.module_utils._serving import (
    Application,
    Server,
    masked,
    words,
)

_SANDBOX = ("NoNewPrivileges=yes", "PrivateTmp=yes", "ProtectHome=yes", "UMask=0027")
_LONGEST_BOOT = 10.0
RUNTIME = "/run"  # systemd's own, for RuntimeDirectory=


def run_all(application: Application, name: str, run: _commands.Run) -> tuple[str, float]:
    """Start every server of a release apart; what went wrong, and the longest time one took."""
    longest = 0.0
    for server in application.servers:
        trouble, seconds = _trial(application, name, server, run)
        if trouble:
            return trouble, 0.0
        longest = max(longest, seconds)
    return "", min(longest, _LONGEST_BOOT)


def stop(application: Application, run: _commands.Run) -> None:
    """End trials that nobody watches any more."""
    names = [unit_of(application, server) for server in application.servers]
    if names:
        run(["systemctl", "stop", "--", *names])


def unit_of(application: Application, server: Server) -> str:
    return f"{application.name}-{server.kind}-trial.service"


def _trial(
    application: Application, name: str, server: Server, run: _commands.Run
) -> tuple[str, float]:
    unit = unit_of(application, server)
    socket = f"{RUNTIME}/slipway-trial-{application.name}-{server.kind}/http.sock"
    started = time.time()
    run(["systemctl", "stop", unit])
    done = run(_command(application, name, server, unit, socket))
    try:
        if not done.ok:
            return f"it does not start.\n{words(application, unit, started, run)}", 0.0
        endpoint = dataclasses.replace(server.endpoint, address=socket)
        answer = _probe.wait(
            endpoint, application.health_timeout, alive=lambda: _is_alive(unit, run)
        )
        if answer.healthy:
            return "", time.time() - started
        said = words(application, unit, started, run)
        return f"{endpoint.path} said {masked(application, answer.detail)}.\n{said}", 0.0
    finally:
        # Nobody needs its end, and whoever tries again waits for it.
        run(["systemctl", "stop", "--no-block", unit])


def _command(
    application: Application, name: str, server: Server, unit: str, socket: str
) -> list[str]:
    home, path = application.releases.home, application.releases.path(name)
    properties = [
        f"User={application.name}",
        f"Group={application.name}",
        f"WorkingDirectory={path}/project",
        f"EnvironmentFile={application.environment_file}",
        f"EnvironmentFile=-{path}/release.env",
        f"RuntimeDirectory=slipway-trial-{application.name}-{server.kind}",
        "RuntimeDirectoryMode=0750",
        "ProtectSystem=strict",
        f"ReadWritePaths=-{home}/static -{home}/media",
        "KillMode=mixed",
        "NotifyAccess=all",
        "CPUWeight=20",  # what serves goes first
        f"TimeoutStartSec={application.health_timeout:.0f}",
        # It owes nobody an answer, and may end beside what starts next.
        "TimeoutStopSec=5",
        # Should whoever started it be killed.
        f"RuntimeMaxSec={application.health_timeout + 60:.0f}",
        *_SANDBOX,
    ]
    return [
        *["systemd-run", "--quiet", "--collect", "--service-type=notify", f"--unit={unit}"],
        *[word for setting in properties for word in ("-p", setting)],
        *["-E", "PYTHONDONTWRITEBYTECODE=1", "-E", f"PATH={path}/venv/bin:/usr/bin:/bin"],
        *_program(server, path, socket),
    ]


def _program(server: Server, path: Path, socket: str) -> list[str]:
    if server.kind == _serving.NODE:
        program = ["/usr/bin/node", "--require", server.configuration, server.module]
        return ["-E", f"SLIPWAY_SOCKET={socket}", "-E", "NODE_ENV=production", *program]
    gunicorn = [f"{path}/venv/bin/gunicorn", "--config", server.configuration, "--workers", "1"]
    return [*gunicorn, "--bind", f"unix:{socket}", server.module]


def _is_alive(unit: str, run: _commands.Run) -> bool:
    return _units.show([unit], run)[unit].is_running
