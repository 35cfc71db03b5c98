# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What serves an application on this machine, and how one server takes over from another."""

from __future__ import annotations

import dataclasses
import time
import typing as t
from pathlib import Path

from ansible_collections.slipway.stack.plugins.module_utils import (
    _celery,
    _commands,
    _environment,
    _probe,
    _releases,
    _units,
)

# Two servers share the socket: one healthy answer says little about either.
STEADY_ANSWERS = 5
STANDIN = "standin"
NODE = "node"
_ASK_SECONDS = 10.0


@dataclasses.dataclass(frozen=True)
class Server:
    """One gunicorn or Node of an application, as its unit runs it and as it can be tried."""

    service: str
    kind: str
    module: str
    configuration: str
    endpoint: _probe.Endpoint
    standin: str = ""


@dataclasses.dataclass(frozen=True)
class Application:
    """What publication needs to know about an application."""

    name: str
    releases: _releases.Releases
    environment_file: Path
    servers: tuple[Server, ...]
    units: tuple[_units.Unit, ...]
    health_timeout: float
    workers: tuple[_celery.Worker, ...] = ()
    beat: str = ""
    # Their names, and what each release runs to put its files where all of them have theirs.
    commands: tuple[tuple[str, str], ...] = ()

    def unit(self, name: str) -> _units.Unit:
        return next(unit for unit in self.units if unit.name == name)


def argument_spec() -> dict[str, t.Any]:
    return {
        "name": {"type": "str", "required": True},
        "home": {"type": "path", "required": True},
        "units": {"type": "list", "elements": "dict", "default": []},
        "endpoints": {"type": "list", "elements": "dict", "default": []},
        "workers": {"type": "list", "elements": "dict", "default": []},
        "beat": {"type": "str", "default": ""},
        "commands": {"type": "list", "elements": "dict", "default": []},
        "together": {"type": "bool", "default": False},
        "health_timeout": {"type": "int", "default": 60},
    }


def from_params(params: t.Mapping[str, t.Any]) -> Application:
    return Application(
        name=params["name"],
        releases=_releases.Releases(Path(params["home"])),
        environment_file=Path(f"/etc/slipway/{params['name']}/environment"),
        servers=tuple(_server(endpoint) for endpoint in params["endpoints"]),
        units=tuple(_unit(unit) for unit in params["units"]),
        health_timeout=params["health_timeout"],
        workers=tuple(_worker(worker, params) for worker in params["workers"]),
        beat=params["beat"],
        commands=tuple((one["name"], one["command"]) for one in params["commands"]),
    )


def _worker(given: t.Mapping[str, t.Any], params: t.Mapping[str, t.Any]) -> _celery.Worker:
    return _celery.Worker(
        given["unit"], given["node"], params["name"], given["module"], Path(params["home"])
    )


def _server(given: t.Mapping[str, t.Any]) -> Server:
    endpoint = _probe.Endpoint(given["address"], given["path"], given["host"], given["strict"])
    names = ("service", "kind", "module", "configuration", "standin")
    return Server(**{name: given.get(name, "") for name in names}, endpoint=endpoint)


def _unit(given: t.Mapping[str, t.Any]) -> _units.Unit:
    watched = tuple(given.get("restart_on", ()))
    return _units.Unit(given["name"], True, "started", restart_on=watched, reload_on=())


def replace(
    application: Application, name: str, run: _commands.Run, boot_seconds: float = 0
) -> str:
    """Let every server run on what `current` names; empty, or what went wrong with which.

    The first worker is ready before the others are, and before what Next.js prepares and ASGI calls
    lifespan: boot_seconds is what these take at most.
    """
    for unit in application.units:
        if unit.name.endswith(".socket") and (trouble := _start_socket(unit, run)):
            return f"{unit.name} does not start: {trouble}"
    for server in application.servers:
        if trouble := _replace(application, server, name, run, boot_seconds):
            return trouble
    return ""


def _replace(
    application: Application, server: Server, name: str, run: _commands.Run, boot_seconds: float
) -> str:
    """Start a stand-in on the same socket, then restart the server behind it.

    One that stands in already is of a release that failed: it serves until the good one is back.
    """
    unit = application.unit(server.service)
    known = _has_standin(server, unit, run)
    failed = known and _units.show([server.standin], run)[server.standin].is_running
    # Nobody is lost with a server that is ill, and its answers would be taken for the new one's.
    stands_in = known and not failed and _probe.ask(server.endpoint, _ASK_SECONDS).healthy
    if stands_in:
        if trouble := _stand_in(application, server, name, run, boot_seconds):
            return f"{server.standin} does not start: {trouble}"
        if trouble := prove(application, [server], STEADY_ANSWERS):
            return trouble
    if trouble := _restart(unit, run):
        return f"{unit.name} does not start: {trouble}"
    if stands_in:
        time.sleep(boot_seconds)
        if trouble := prove(application, [server], STEADY_ANSWERS):
            return trouble
    if known:
        dismiss(application, [server], run)
    return prove(application, [server])


def _has_standin(server: Server, unit: _units.Unit, run: _commands.Run) -> bool:
    """Where nothing serves yet there is nothing to stand in for."""
    if not server.standin:
        return False
    shown = _units.show([server.standin, unit.name], run)
    return shown[server.standin].is_known and shown[unit.name].is_running


def _stand_in(
    application: Application, server: Server, name: str, run: _commands.Run, boot_seconds: float
) -> str:
    application.releases.point(STANDIN, name)
    wanted = _units.Unit(server.standin, False, "started", (), ())
    shown = _units.show([server.standin], run)[server.standin]
    if trouble := _units.act(wanted, "start", shown, run):
        return trouble
    time.sleep(boot_seconds)
    return _units.watch(wanted, 0, run, time.sleep)


def dismiss(application: Application, servers: t.Sequence[Server], run: _commands.Run) -> None:
    """Let stand-ins finish what they have begun, and stop."""
    names = [server.standin for server in servers if server.standin]
    if names:
        run(["systemctl", "stop", "--", *names])
        run(["systemctl", "reset-failed", "--", *names])
    application.releases.point(STANDIN, None)


def _start_socket(unit: _units.Unit, run: _commands.Run) -> str:
    shown = _units.show([unit.name], run)[unit.name]
    if shown.is_running:
        return ""
    digests = _units.digests_of(unit, {})
    trouble = _units.act(unit, "start", shown, run)
    if not trouble:
        _units.remember(unit.name, digests)
    return trouble


def _restart(unit: _units.Unit, run: _commands.Run) -> str:
    """Restart through the socket, which keeps listening, and note what the unit now runs on."""
    shown = _units.show([unit.name], run)[unit.name]
    digests = _units.digests_of(unit, {})
    # Whoever is killed in between does not know what it runs on.
    _units.announce(unit, unit.watched)
    trouble = _units.act(unit, "restart", shown, run)
    if not trouble:
        _units.remember(unit.name, digests)
    return trouble


def prove(
    application: Application, servers: t.Sequence[Server] | None = None, answers: int = 1
) -> str:
    """Ask every server until it is healthy, and some more; an empty answer is success."""
    end = time.monotonic() + application.health_timeout
    for server in application.servers if servers is None else servers:
        answer = _probe.wait(server.endpoint, max(1.0, end - time.monotonic()))
        for _number in range(answers - 1):
            answer = _probe.ask(server.endpoint, _ASK_SECONDS) if answer.healthy else answer
        if not answer.healthy:
            return (
                f"{server.service} is not healthy after {application.health_timeout:.0f} s:"
                f" {server.endpoint.path} said {masked(application, answer.detail)}"
            )
    return ""


def words(application: Application, unit: str, since: float, run: _commands.Run) -> str:
    """What a unit said lately, without the values of secrets."""
    return masked(application, _units.journal(unit, since, run))


def masked(application: Application, text: str) -> str:
    path = application.environment_file
    values = _environment.parse(path.read_text(encoding="utf-8")) if path.exists() else {}
    return _environment.mask(text, values)
