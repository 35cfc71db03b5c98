# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Let a release serve: try it beside the live one, switch, prove it, or go back."""

from __future__ import annotations

import dataclasses
import datetime
import time
import typing as t

from ansible_collections.slipway.stack.plugins.module_utils import (
    _commands,
    _deployments,
    _following,
    _releases,
    _serving,
    _trial,
)
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError
from ansible_collections.slipway.stack.plugins.module_utils._serving import Application


@dataclasses.dataclass(frozen=True)
class Switch:
    """A release that is to serve, and what becomes of the one that does."""

    release: str
    withdraw: bool = False
    reason: str = ""


def publish(application: Application, switch: Switch, run: _commands.Run = _commands.run) -> None:
    """Let a release serve that proves itself; otherwise everything is as before, and an error."""
    releases, name = application.releases, switch.release
    current, previous = releases.linked("current"), releases.linked("previous")
    again = current is not None and current.name == name
    # A switch that nobody proved, because the run was killed, is not what to go back to.
    before = previous if again else current
    trouble, boot_seconds = _trial.run_all(application, name, run)
    if trouble:
        _refuse(application, name, again, trouble)
    releases.point("current", name)
    if switch.withdraw:
        trouble = _backward(application, name, run, boot_seconds)
    else:
        trouble = _forward(application, name, run, boot_seconds)
    if trouble and again and current and current.result == _releases.GOOD:
        _serving.dismiss(application, application.servers, run)
        raise StackError(f"{application.name} is not well after a restart: {trouble}.")
    if trouble:
        _go_back(application, name, before, trouble, run)
    if before and not again:
        releases.point("previous", before.name)
    if before and not again and switch.withdraw:
        releases.judge(before.name, _releases.WITHDRAWN, switch.reason)
    releases.judge(name, _releases.GOOD, now=_now())


def _forward(application: Application, name: str, run: _commands.Run, boot_seconds: float) -> str:
    """Who does tasks is never older than who creates them."""
    return (
        _following.workers(application.workers, application.health_timeout, run, going_back=False)
        or _serving.replace(application, name, run, boot_seconds)
        or _following.beat(application.beat, _current(application), run)
    )


def _backward(
    application: Application, name: str, run: _commands.Run, boot_seconds: float = 0
) -> str:
    """The same the other way round: those who create tasks go first."""
    return (
        _serving.replace(application, name, run, boot_seconds)
        or _following.beat(application.beat, _current(application), run)
        or _following.workers(application.workers, application.health_timeout, run, going_back=True)
    )


def _current(application: Application) -> str:
    return str(application.releases.home / "current")


def recover(application: Application, run: _commands.Run = _commands.run) -> str:
    """Put right what a killed publication left; returns the release that was left, if any."""
    releases = application.releases
    current, previous = releases.linked("current"), releases.linked("previous")
    if current is None or current.result != _releases.BUILT or previous is None:
        _serving.dismiss(application, application.servers, run)
        return ""
    if previous.result != _releases.GOOD:
        return ""
    # Nobody knows which unit runs what: the release that was good gets all of them.
    releases.point("current", previous.name)
    trouble = _backward(application, previous.name, run)
    _serving.dismiss(application, application.servers, run)
    if trouble:
        raise StackError(
            f"{application.name} was left half-way between {previous.name} and {current.name}, and"
            f" {previous.name} does not serve either: {trouble}."
        )
    return current.name


def _refuse(application: Application, name: str, again: bool, trouble: str) -> t.NoReturn:
    serving = application.releases.linked("current")
    if not again:
        application.releases.discard(name)
    raise StackError(
        f"Release {name} of {application.name} was refused, {_shown(serving)}: {trouble}"
    )


def _go_back(
    application: Application,
    name: str,
    before: _releases.Release | None,
    trouble: str,
    run: _commands.Run,
) -> t.NoReturn:
    releases = application.releases
    started = time.time() - application.health_timeout - 30
    said = "\n".join(
        _serving.words(application, server.service, started, run) for server in application.servers
    )
    releases.judge(name, _releases.FAILED, trouble)
    releases.point("current", before.name if before else None)
    again = ""
    if before:
        again = _backward(application, before.name, run)
    else:
        run(["systemctl", "stop", *(unit.name for unit in application.units)])
    _serving.dismiss(application, application.servers, run)
    more = f" Nor does the old one serve: {again}." if again else ""
    raise StackError(
        f"Release {name} of {application.name} was taken back, {_shown(before)}:"
        f" {trouble}.{more}\n{said}"
    )


def _shown(serving: _releases.Release | None) -> str:
    return f"{serving.name} goes on serving" if serving else "there is none to go on with"


def _now() -> str:
    return _deployments.shown(datetime.datetime.now(datetime.UTC))
