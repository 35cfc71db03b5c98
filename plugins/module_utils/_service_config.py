# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Everything a service consists of, brought to its declared state in one go.

Plan, judge, write, then let the units follow. What is refused leaves the old files in place, and
what does not start gets them back.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.slipway.stack.plugins.module_utils import (
    _commands,
    _files,
    _redaction,
    _units,
    _users,
    _validation,
)
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError


@dataclass(frozen=True)
class Request:
    users: tuple[_users.User, ...] = ()
    directories: tuple[_files.Directory, ...] = ()
    files: tuple[_files.File, ...] = ()
    validators: tuple[_validation.Validator, ...] = ()
    units: tuple[_units.Unit, ...] = ()


@dataclass(frozen=True)
class World:
    """How the outside is reached."""

    check_mode: bool = False
    run: _commands.Run = _commands.run
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.time


@dataclass
class Outcome:
    """What was done (or in check mode would be), gathered on the way."""

    changes: list[str] = field(default_factory=list)
    diff: list[dict[str, str]] = field(default_factory=list)
    units: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    failure: str = ""

    def note(self, sentence: str, *entries: dict[str, str]) -> None:
        self.changes.append(sentence)
        self.diff.extend(entries)


@dataclass(frozen=True)
class Step:
    """One unit, what systemd says about it, and what is to be done."""

    unit: _units.Unit
    shown: _units.Shown
    recorded: Mapping[str, str] | None
    digests: Mapping[str, str]
    decision: _units.Decision


def argument_spec() -> dict[str, Any]:
    parts = {
        "users": _users.options(),
        "directories": _files.directory_options(),
        "files": _files.file_options(),
        "validate": _validation.options(),
        "units": _units.options(),
    }
    lists = {
        name: {"type": "list", "elements": "dict", "default": [], "options": options}
        for name, options in parts.items()
    }
    return {**lists, "owned_units": {"type": "list", "elements": "str", "default": []}}


def request_from(params: Mapping[str, Any]) -> Request:
    files = tuple(_files.file_from_params(each) for each in params["files"] or ())
    paths = [each.path for each in files]
    twice = sorted({path for path in paths if paths.count(path) > 1})
    if twice:
        raise StackError(f"{twice[0]} is declared twice under files; keep one of the two")
    units = tuple(_units.from_params(each, paths) for each in params["units"] or ())
    declared = {unit.name for unit in units}
    strays = _units.strays(params["owned_units"] or (), declared)
    return Request(
        users=tuple(_users.from_params(each) for each in params["users"] or ()),
        directories=tuple(
            _files.directory_from_params(each) for each in params["directories"] or ()
        ),
        files=files,
        validators=tuple(_validation.from_params(each) for each in params["validate"] or ()),
        # First, so that two schedulers never run at once.
        units=(*strays, *units),
    )


def converge(request: Request, world: World) -> Outcome:
    """Bring the machine to the declared state; the outcome tells, also of a failure."""
    outcome = Outcome()
    try:
        _require_owners(request, world)
        _keep_users(request, world, outcome)
        _keep_directories(request, world, outcome)
        changes = _judged(request, world, outcome)
        _write(request, changes, world, outcome)
        _keep_units(request, changes, world, outcome)
        outcome.failure = outcome.failure or _refusal(request, outcome)
    except StackError as error:
        outcome.failure = str(error)
    return outcome


def _require_owners(request: Request, world: World) -> None:
    if world.check_mode:
        return
    _users.require_groups(request.users)
    created = frozenset(user.name for user in request.users)
    wanted = [(each.path, each.attributes) for each in request.directories]
    wanted += [(each.path, each.attributes) for each in request.files if each.content is not None]
    for path, attributes in wanted:
        _files.require_owners(path, attributes, created)


def _keep_users(request: Request, world: World, outcome: Outcome) -> None:
    # All are planned before the first is made, so that a refusal leaves no trace.
    for user, steps in [(user, _users.plan(user)) for user in request.users]:
        for step in steps:
            if not world.check_mode:
                _users.apply(step, world.run)
            entry = _files.diff_of_state(f"user {user.name}", "", step.sentence)
            outcome.note(step.sentence, entry)


def _keep_directories(request: Request, world: World, outcome: Outcome) -> None:
    for wanted in request.directories:
        found = _files.plan_directory(wanted)
        if found is None:
            continue
        if not world.check_mode:
            _files.apply_directory(wanted, found)
        before = str(found.attributes or _files.ABSENT)
        entry = _files.diff_of_state(wanted.path, before, str(wanted.attributes))
        verb = "created" if found.kind == _files.ABSENT else "repaired"
        outcome.note(f"{verb} {wanted.path}", entry)


def _judged(request: Request, world: World, outcome: Outcome) -> list[_files.Change]:
    """The changes that may go live."""
    planned = [change for each in request.files if (change := _files.plan_file(each))]
    validators = request.validators
    if world.check_mode:
        validators = tuple(each for each in validators if _validation.can_run(each))
    verdict = _validation.judge_all(validators, planned, world.run)
    message = _redaction.redact(verdict.all_refused_because, request.files)
    refused = {
        path: _redaction.redact(said, request.files) for path, said in verdict.refused.items()
    }
    if world.check_mode:  # what the files need may itself be only predicted so far
        said = [message] if message else [f"{path}: {why}" for path, why in refused.items()]
        outcome.warnings += [f"would be refused as things are now: {each}" for each in said]
        return planned
    if message:
        raise StackError(f"The new files are refused and nothing was written: {message}")
    outcome.refused = refused
    return list(verdict.accepted)


def _refusal(request: Request, outcome: Outcome) -> str:
    if not outcome.refused:
        return ""
    said = "; ".join(f"{path} ({why})" for path, why in outcome.refused.items())
    return f"Refused and kept in their old version, while all else was applied: {said}"


def _write(
    request: Request, changes: Sequence[_files.Change], world: World, outcome: Outcome
) -> None:
    for change in changes:
        outcome.note(_files.describe(change), *_files.diff(change))
    if world.check_mode:
        return
    paths = [change.path for change in changes if change.of_content]
    for unit in request.units:
        _units.announce(unit, paths)
    for number, change in enumerate(changes):
        try:
            _files.apply_file(change)
        except StackError:
            for written in reversed(changes[:number]):
                _files.put_back(written)
            raise


def _keep_units(
    request: Request, changes: Sequence[_files.Change], world: World, outcome: Outcome
) -> None:
    steps = _steps(request, changes, world, outcome)
    enabling = _enable(steps, world, outcome)
    acted: list[Step] = []
    covered: set[str] = set()
    for step in steps:
        action = step.decision.action
        outcome.units[step.unit.name] = _units.STATUS[action]
        if action:
            _note_unit(step, outcome)
        if world.check_mode:
            continue
        began = world.now()
        problem = _follow(step, covered, world)
        if problem:
            outcome.units[step.unit.name] = "failed"
            failed = _Failed(step, problem, began, [*acted, step], enabling)
            outcome.failure = _fall_back(request, changes, failed, world)
            return
        if action:
            acted.append(step)


def _steps(
    request: Request, changes: Sequence[_files.Change], world: World, outcome: Outcome
) -> list[Step]:
    shown = _shown(request, changes, world)
    overlay = {each.path: each.content for each in request.files}
    for path in outcome.refused:
        found = _files.observe(path)
        overlay[path] = found.content
    steps = []
    for unit in request.units:
        recorded, digests = _units.recall(unit.name), _units.digests_of(unit, overlay)
        ready = _is_ready(unit, request, world)
        comes = _can_be_enabled(unit, request, ready)
        decision = _units.decide(unit, shown[unit.name], recorded, digests, ready, comes)
        steps.append(Step(unit, shown[unit.name], recorded, digests, decision))
    return steps


def _can_be_enabled(unit: _units.Unit, request: Request, ready: bool) -> bool:
    """Of a unit that systemd does not know yet: the files tell, or else a package brings it."""
    own = [each for each in request.files if _units.is_file_of(each.path, unit.name)]
    if own:
        return any(b"\n[Install]" in (each.content or b"") for each in own)
    return ready and unit.state == "started"


def _shown(
    request: Request, changes: Sequence[_files.Change], world: World
) -> Mapping[str, _units.Shown]:
    """What systemd says once it has read the unit files of this call."""
    names = [unit.name for unit in request.units]
    if world.check_mode:
        try:
            return _units.show(names, world.run)
        except StackError:  # no systemd yet: everything would be started
            return {name: _units.Shown() for name in names}
    reloaded = _touches_units(changes)
    if reloaded:
        _units.reload_manager(world.run)
    shown = _units.show(names, world.run)
    if not reloaded and any(each.need_daemon_reload for each in shown.values()):
        _units.reload_manager(world.run)
        shown = _units.show(names, world.run)
    return shown


def _touches_units(changes: Sequence[_files.Change]) -> bool:
    return any(
        change.of_content and change.path.startswith(_units.UNIT_FOLDERS) for change in changes
    )


def _is_ready(unit: _units.Unit, request: Request, world: World) -> bool:
    path = unit.requires_path
    if not path or os.path.exists(path):
        return True
    coming = {each.path for each in request.files if each.content is not None}
    coming |= {each.path for each in request.directories}
    return world.check_mode and path in coming


def _enable(steps: Sequence[Step], world: World, outcome: Outcome) -> list[str]:
    """Enable and disable in two commands; returns the units that this call enabled."""
    enabled: list[str] = []
    for enabling, verb in ((True, "enabled"), (False, "disabled")):
        names = [
            step.unit.name
            for step in steps
            if step.decision.enabling is enabling and (world.check_mode or step.shown.is_known)
        ]
        for name in names:
            outcome.note(f"{verb} {name}", _files.diff_of_state(f"unit {name}", "", verb))
        if not world.check_mode:
            _units.enable(names, enabling, world.run)
            enabled += names if enabling else []
    return enabled


def _note_unit(step: Step, outcome: Outcome) -> None:
    status, name = _units.STATUS[step.decision.action], step.unit.name
    entry = _files.diff_of_state(f"unit {name}", str(step.shown), status)
    outcome.note(f"{status} {name}: {', '.join(step.decision.reasons)}", entry)


def _follow(step: Step, covered: set[str], world: World) -> str:
    """Carry out one decision and remember what the unit runs on now."""
    unit, action = step.unit, step.decision.action
    problem = ""
    if unit.name in covered and action in ("restart", "reload"):
        problem = _units.watch(unit, 0, world.run, world.sleep)
    elif action:
        problem = _units.act(unit, action, step.shown, world.run, world.sleep)
    if problem:
        return problem
    if action in ("start", "restart") and unit.name.endswith(".socket"):
        covered.update(step.shown.triggers)
    if unit.state == "stopped":
        _units.forget(unit.name)
    elif action or step.recorded is not None:
        fresh = action in ("start", "restart")
        _units.remember_all(unit.name, step.recorded or {}, step.digests, fresh)
    return ""


@dataclass(frozen=True)
class _Failed:
    step: Step
    problem: str
    began: float
    acted: Sequence[Step]
    enabled: Sequence[str]


def _fall_back(
    request: Request, changes: Sequence[_files.Change], failed: _Failed, world: World
) -> str:
    """Put the old files back, let the units follow, and say what happened."""
    name, action = failed.step.unit.name, failed.step.decision.action
    lines = _units.journal(name, failed.began, world.run)
    what = f"{name} did not {action}: {failed.problem}"
    done = "this call had written nothing, so there was nothing to put back"
    if changes:
        done = _put_back(changes, failed, world)
    message = f"{what.rstrip('.')}; {done}. Its last words:\n{lines}"
    return _redaction.redact(message, request.files)


def _put_back(changes: Sequence[_files.Change], failed: _Failed, world: World) -> str:
    _units.enable(failed.enabled, False, world.run)
    for change in reversed(changes):
        _files.put_back(change)
    if _touches_units(changes):
        _units.reload_manager(world.run)
    overlay = {change.path: change.found.content for change in changes}
    shown = _units.show([step.unit.name for step in failed.acted], world.run)
    said = "the files of this call were put back"
    for step in failed.acted:
        problem = _return_to_old(step, shown[step.unit.name], overlay, world)
        if problem:
            said += f", but {step.unit.name} does not run on them either ({problem})"
    return said


def _return_to_old(
    step: Step,
    shown: _units.Shown,
    overlay: Mapping[str, bytes | None],
    world: World,
) -> str:
    unit = step.unit
    if not step.shown.is_running:  # nor was it before this call; this also ends a crash loop
        world.run(["systemctl", "stop", "--", unit.name])
        world.run(["systemctl", "reset-failed", "--", unit.name])
        _units.forget(unit.name)
        return ""
    digests = _units.digests_of(unit, overlay)
    decision = _units.decide(unit, shown, _units.recall(unit.name), digests, True)
    problem = ""
    if decision.action:
        problem = _units.act(unit, decision.action, shown, world.run, world.sleep)
    if not problem:
        _units.remember_all(unit.name, step.recorded or {}, digests, True)
    return problem
