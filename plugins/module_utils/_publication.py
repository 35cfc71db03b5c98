# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Let a release serve: try it beside the live one, switch, prove it, or go back."""

from __future__ import annotations

import dataclasses
import time
import typing as t
from pathlib import Path

from ansible_collections.slipway.stack.plugins.module_utils import (
    _commands,
    _environment,
    _probe,
    _releases,
    _units,
)
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError

_TRIAL_SANDBOX = ("NoNewPrivileges=yes", "PrivateTmp=yes", "ProtectHome=yes", "UMask=0027")


@dataclasses.dataclass(frozen=True)
class Server:
    """One gunicorn of an application, as its unit runs it and as it can be tried."""

    service: str
    kind: str
    module: str
    configuration: str
    endpoint: _probe.Endpoint


@dataclasses.dataclass(frozen=True)
class Application:
    """What publication needs to know about an application."""

    name: str
    releases: _releases.Releases
    environment_file: Path
    servers: tuple[Server, ...]
    units: tuple[_units.Unit, ...]
    health_timeout: float


def publish(
    application: Application, name: str, keep: int, run: _commands.Run = _commands.run
) -> list[str]:
    """Publish a release and return the names of those that were pruned."""
    releases = application.releases
    current, previous = releases.linked("current"), releases.linked("previous")
    again = current is not None and current.name == name
    # A switch that nobody proved, because the run was killed, is not what to go back to.
    before = previous if again else current
    if not again:
        _try_beside(application, name, run)
    releases.point("current", name)
    trouble = _restart_and_prove(application, run)
    if trouble and again and current and current.result == _releases.GOOD:
        raise StackError(f"{application.name} is not well after a restart: {trouble}.")
    if trouble:
        _go_back(application, name, before, trouble, run)
    if before and not again:
        releases.point("previous", before.name)
    releases.judge(name, _releases.GOOD)
    return releases.prune(keep)


def _try_beside(application: Application, name: str, run: _commands.Run) -> None:
    """Start the release on a socket of its own; the live one does not notice."""
    for server in application.servers:
        trouble = _trial(application, name, server, run)
        if trouble:
            serving = application.releases.linked("current")
            application.releases.discard(name)
            raise StackError(
                f"Release {name} of {application.name} was refused, {_shown(serving)}: {trouble}"
            )


def _trial(application: Application, name: str, server: Server, run: _commands.Run) -> str:
    unit = f"{application.name}-{server.kind}-trial.service"
    socket = f"/run/slipway-trial-{application.name}-{server.kind}/http.sock"
    started = time.time()
    run(["systemctl", "stop", unit])
    done = run(_trial_command(application, name, server, unit, socket))
    try:
        if not done.ok:
            return f"it does not start.\n{_words(application, unit, started, run)}"
        endpoint = dataclasses.replace(server.endpoint, address=socket)
        answer = _probe.wait(
            endpoint, application.health_timeout, alive=lambda: _is_alive(unit, run)
        )
        if answer.healthy:
            return ""
        words = _words(application, unit, started, run)
        return f"{endpoint.path} said {_masked(application, answer.detail)}.\n{words}"
    finally:
        run(["systemctl", "stop", unit])


def _trial_command(
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
        "TimeoutStopSec=15",
        *_TRIAL_SANDBOX,
    ]
    return [
        *["systemd-run", "--quiet", "--collect", "--service-type=notify", f"--unit={unit}"],
        *[word for setting in properties for word in ("-p", setting)],
        *["-E", "PYTHONDONTWRITEBYTECODE=1", "-E", f"PATH={path}/venv/bin:/usr/bin:/bin"],
        *[f"{path}/venv/bin/gunicorn", "--config", server.configuration],
        *["--workers", "1", "--bind", f"unix:{socket}", server.module],
    ]


def _is_alive(unit: str, run: _commands.Run) -> bool:
    return _units.show([unit], run)[unit].is_running


def _restart_and_prove(application: Application, run: _commands.Run) -> str:
    """An empty answer is success, otherwise what went wrong with which service."""
    for unit in application.units:
        trouble = _restart(unit, run)
        if trouble:
            return f"{unit.name} does not start: {trouble}"
    return prove(application)


def _restart(unit: _units.Unit, run: _commands.Run) -> str:
    """Restart through the socket, which keeps listening, and note what the unit now runs on."""
    shown = _units.show([unit.name], run)[unit.name]
    digests = _units.digests_of(unit, {})
    is_socket = unit.name.endswith(".socket")
    if is_socket and shown.is_running:
        return ""
    trouble = _units.act(unit, "start" if is_socket else "restart", shown, run)
    if not trouble:
        _units.remember(unit.name, digests)
    return trouble


def prove(application: Application) -> str:
    """Ask every server until it is healthy; an empty answer is success."""
    end = time.monotonic() + application.health_timeout
    for server in application.servers:
        answer = _probe.wait(server.endpoint, max(1.0, end - time.monotonic()))
        if not answer.healthy:
            detail = _masked(application, answer.detail)
            return (
                f"{server.service} is not healthy after {application.health_timeout:.0f} s:"
                f" {server.endpoint.path} said {detail}"
            )
    return ""


def _go_back(
    application: Application,
    name: str,
    before: _releases.Release | None,
    trouble: str,
    run: _commands.Run,
) -> t.NoReturn:
    releases = application.releases
    started = time.time() - application.health_timeout - 30
    words = "\n".join(
        _words(application, server.service, started, run) for server in application.servers
    )
    releases.judge(name, _releases.FAILED)
    releases.point("current", before.name if before else None)
    again = ""
    if before:
        again = _restart_and_prove(application, run)
    else:
        run(["systemctl", "stop", *(unit.name for unit in application.units)])
    more = f" Nor does the old one serve: {again}." if again else ""
    raise StackError(
        f"Release {name} of {application.name} was taken back, {_shown(before)}:"
        f" {trouble}.{more}\n{words}"
    )


def _shown(serving: _releases.Release | None) -> str:
    return f"{serving.name} goes on serving" if serving else "there is none to go on with"


def _words(application: Application, unit: str, since: float, run: _commands.Run) -> str:
    return _masked(application, _units.journal(unit, since, run))


def _masked(application: Application, text: str) -> str:
    path = application.environment_file
    values = _environment.parse(path.read_text(encoding="utf-8")) if path.exists() else {}
    return _environment.mask(text, values)
