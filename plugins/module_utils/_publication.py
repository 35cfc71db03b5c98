# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Let a release serve: try it beside the live one, switch, prove it, or go back."""

from __future__ import annotations

import dataclasses
import datetime
import time
import typing as t

from ansible_collections.slipway.stack.plugins.module_utils import (
    _application_commands,
    _celery,
    _commands,
    _deployments,
    _following,
    _releases,
    _serving,
    _trial,
    _units,
)
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError
from ansible_collections.slipway.stack.plugins.module_utils._serving import Application

ALL = "all"
TRY = "try"
QUIET = "quiet"
WORKERS = "workers"
SERVERS = "servers"
NEXT = "next"
PARTS = (ALL, TRY, QUIET, WORKERS, SERVERS)
# What `current` names only for as long as a switch or the way back from it takes.
_UNPROVED = (_releases.BUILT, _releases.FAILED)
# Visitors have a bad release for as long as the one before collects its files.
_COLLECT_SECONDS = 120


@dataclasses.dataclass(frozen=True)
class Switch:
    """A release that is to serve, and what becomes of the one that does.

    Several machines do one part after the other, each when all have done the one before; the last
    five are then what was found, done and missed. Together means that workers wait on the way back
    until the servers of all machines are back.
    """

    release: str
    withdraw: bool = False
    reason: str = ""
    part: str = ALL
    together: bool = False
    before: str = ""
    previous: str = ""
    boot_seconds: float = 0
    switched: bool = False
    missed: str = ""


def publish(application: Application, switch: Switch, run: _commands.Run = _commands.run) -> Switch:
    """Let a release serve that proves itself; otherwise everything is as before, and an error."""
    releases, name = application.releases, switch.release
    current, previous = releases.linked("current"), releases.linked("previous")
    again = current is not None and current.name == name
    if switch.part in (ALL, TRY):
        # A switch that nobody proved, because the run was killed, is not what to go back to.
        unproved = again and current is not None and current.result != _releases.GOOD
        before = previous if unproved else current
        # What goes has put its own files there; a disk that is full must not keep it from going.
        missed = collect(application, name) if switch.withdraw else ""
        boot_seconds = _try(application, name, again, run, missed)
        found = before.name if before else ""
        switch = dataclasses.replace(
            switch,
            before=found,
            previous=previous.name if previous else "",
            boot_seconds=boot_seconds,
            missed=missed,
        )
    if switch.part == TRY:
        if not application.servers:
            # Pages of a machine that switches first may ask this one for their files.
            releases.point(NEXT, name)
        return switch
    switch = dataclasses.replace(switch, switched=True)
    if not again:
        releases.mark(name, _releases.BUILT)
        releases.point("current", name)
    trouble = _steps(application, switch, run)
    if trouble and again and current and current.result == _releases.GOOD:
        _serving.dismiss(application, application.servers, run)
        raise StackError(f"{application.name} is not well after a restart: {trouble}.")
    if trouble:
        _go_back(application, switch, trouble, run)
    if is_last(application, switch):
        _settle(releases, switch)
    return switch


def is_last(application: Application, switch: Switch) -> bool:
    """Whether a part, once it is done, makes the whole."""
    last = WORKERS if switch.withdraw and application.workers else SERVERS
    return switch.part in (ALL, last)


def undo(
    application: Application, switch: Switch, own: bool, run: _commands.Run = _commands.run
) -> str:
    """Go back although all was well here, or for trouble that was found later and is its own.

    Returns what the release before may miss, though it serves.
    """
    releases = application.releases
    if switch.before == switch.release:
        return ""  # a restart
    before = releases.read(switch.before) if switch.before else None
    # Unproved until it is restored, so that a run that is killed here is put right as well.
    if own:
        releases.fail(switch.release, switch.reason)
    else:
        releases.judge(switch.release, _releases.BUILT, switch.reason)
    trouble, missed = _return(application, before, run, switch.together)
    releases.point("previous", switch.previous or None)
    if trouble:
        raise StackError(f"{application.name} cannot go back to {switch.before}: {trouble}.")
    return missed


def _settle(releases: _releases.Releases, switch: Switch) -> None:
    """What served before is what to go back to, unless it goes for good."""
    if switch.before and switch.before != switch.release:
        releases.point("previous", switch.before)
        if switch.withdraw:
            releases.mark(switch.before, _releases.WITHDRAWN, switch.reason)
    releases.judge(switch.release, _releases.GOOD, now=_now())


def _try(
    application: Application, name: str, again: bool, run: _commands.Run, missed: str
) -> float:
    trouble, boot_seconds = _trial.run_all(application, name, run)
    if trouble:
        _refuse(application, name, again, "; ".join(filter(None, [missed, trouble])))
    return boot_seconds


def _steps(application: Application, switch: Switch, run: _commands.Run) -> str:
    """Who does tasks is never older than who creates them.

    Tasks create tasks as well: no worker takes any while there are newer ones.
    """

    def servers() -> str:
        return _serving.replace(
            application, switch.release, run, switch.boot_seconds
        ) or _following.beat(application.beat, _current(application), run)

    def quiet() -> str:
        return _following.quiet(application.workers, application.health_timeout, run, back)

    def workers() -> str:
        return _following.workers(application.workers, application.health_timeout, run)

    back = switch.withdraw
    follow = {QUIET: quiet, WORKERS: workers}
    steps = {SERVERS: servers, **follow} if back else {**follow, SERVERS: servers}
    chosen = steps.values() if switch.part == ALL else [steps[switch.part]]
    return next((trouble for step in chosen if (trouble := step())), "")


def behind(application: Application, run: _commands.Run = _commands.run) -> list[_celery.Worker]:
    """Workers that do not run what serves, or that somebody stopped and did not start again."""
    current, names = _current(application), [worker.unit for worker in application.workers]
    late = {*_units.lagging(names, current, run), *_units.announced(names, current)}
    return [worker for worker in application.workers if worker.unit in late]


def follow(application: Application, part: str, run: _commands.Run = _commands.run) -> str:
    """Let workers run what serves, once all servers are back; empty is success."""
    late, timeout = behind(application, run), application.health_timeout
    if part == QUIET:
        return _following.quiet(late, timeout, run, going_back=True)
    return _following.workers(late, timeout, run)


def collect(application: Application, release: str = "") -> str:
    """Let a release, or what serves, put its files where all have theirs; empty is success.

    Another one has put its own there, and with them a list that does not name all of these.
    """
    releases = application.releases
    current = releases.linked("current")
    release = release or (current.name if current else "")
    if not release:
        return ""
    path = releases.path(release)
    timeout = max(_COLLECT_SECONDS, application.health_timeout)
    try:
        for name, command in application.commands:
            outcome = _application_commands.at_home(
                application.name, command, releases.home, path, {}, timeout
            )
            if outcome.code:
                return f"{name} failed: {outcome.tail()}"
    except (StackError, OSError) as error:
        return str(error)
    return ""


def _return(
    application: Application, before: _releases.Release | None, run: _commands.Run, together: bool
) -> tuple[str, str]:
    """Let the release before serve again, or nothing where there was none.

    Returns what keeps it from serving, and what it may miss although it does.
    """
    application.releases.point("current", before.name if before else None)
    application.releases.restore()
    # Before they start, for a server reads the list of its files when it does.
    missed = collect(application)
    trouble = ""
    if before:
        part = SERVERS if together else ALL
        trouble = _steps(application, Switch(before.name, withdraw=True, part=part), run)
    elif application.units:
        run(["systemctl", "stop", *(unit.name for unit in application.units)])
    _serving.dismiss(application, application.servers, run)
    return trouble, missed


def _current(application: Application) -> str:
    return str(application.releases.home / "current")


def recover(
    application: Application,
    before: str = "",
    run: _commands.Run = _commands.run,
    together: bool = False,
) -> tuple[str, str]:
    """Put right what a killed publication left.

    Returns the release that was left, if any, and what the one that serves may miss. `before` is
    what served when the killed one began, as far as it is known. Together with other machines,
    workers are left to `follow`.
    """
    releases = application.releases
    releases.restore()
    current = releases.linked("current")
    good = releases.read(before) if before else releases.linked("previous")
    _trial.stop(application, run)
    # Who served when it began can only be withdrawn by the run that was killed.
    results = (_releases.GOOD, _releases.WITHDRAWN) if before else (_releases.GOOD,)
    target = good if good and good.result in results else None
    if current and current.result in _UNPROVED and target and target.name != current.name:
        # Nobody knows which unit runs what: the release that was good gets all of them.
        trouble, missed = _return(application, target, run, together)
        if trouble:
            raise StackError(
                f"{application.name} was left half-way between {target.name} and {current.name},"
                f" and {target.name} does not serve either: {trouble}."
            )
        return current.name, missed
    if current and current.result == _releases.GOOD and _lags(application, run):
        # It was on its way back. Should what serves be ill, that keeps no good release away.
        return "", _return(application, current, run, together)[1]
    _serving.dismiss(application, application.servers, run)
    return "", ""


def _lags(application: Application, run: _commands.Run) -> bool:
    """Whether something still runs another release."""
    names = [*(unit.name for unit in application.units), *filter(None, [application.beat])]
    return bool(_units.lagging(names, _current(application), run) or behind(application, run))


def _refuse(application: Application, name: str, again: bool, trouble: str) -> t.NoReturn:
    serving = application.releases.linked("current")
    if not again:
        application.releases.discard(name)
    raise StackError(
        f"Release {name} of {application.name} was refused, {_shown(serving)}: {trouble}"
    )


def _go_back(
    application: Application, switch: Switch, trouble: str, run: _commands.Run
) -> t.NoReturn:
    releases, name = application.releases, switch.release
    before = releases.read(switch.before) if switch.before else None
    started = time.time() - application.health_timeout - 30
    units = [unit for one in application.servers for unit in (one.standin, one.service) if unit]
    # The old server's journal says nothing of a stand-in that failed.
    heard = [unit for unit in units if unit in trouble] or units
    said = "\n".join(_serving.words(application, unit, started, run) for unit in heard)
    releases.fail(name, trouble)
    again, missed = _return(application, before, run, switch.together)
    more = f" Nor does the old one serve: {again}." if again else but(missed)
    raise StackError(
        f"Release {name} of {application.name} was taken back, {_shown(before)}:"
        f" {trouble}.{more}\n{said}"
    )


def but(missed: str) -> str:
    """What to say of a release that serves again and may miss its files."""
    return f" It serves, but: {missed}." if missed else ""


def _shown(serving: _releases.Release | None) -> str:
    return f"{serving.name} goes on serving" if serving else "there is none to go on with"


def _now() -> str:
    return _deployments.shown(datetime.datetime.now(datetime.UTC))
