# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Letting a service judge new files in a copy of its tree before any of them goes live."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.slipway.stack.plugins.module_utils import _files
from ansible_collections.slipway.stack.plugins.module_utils._commands import Run, is_installed
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError

_STAGED = "{staged}"
_REWRITE_LIMIT = 1_000_000
_MESSAGE_LIMIT = 2_000

# Judges a set of changes: the message of the refusal, or nothing when they are good.
Judge = Callable[[Sequence[_files.Change]], "str | None"]


@dataclass(frozen=True)
class Validator:
    tree: str
    command: tuple[str, ...]
    timeout: float


@dataclass(frozen=True)
class Verdict:
    """Which changes may go live, and why the others may not (path: message)."""

    accepted: tuple[_files.Change, ...]
    refused: Mapping[str, str]
    all_refused_because: str = ""


def options() -> dict[str, Any]:
    return {
        "tree": {"type": "path", "required": True},
        "command": {"type": "str", "required": True},
        "timeout": {"type": "int", "default": 30},
    }


def from_params(params: Mapping[str, Any]) -> Validator:
    try:
        command = tuple(shlex.split(params["command"]))
    except ValueError as error:
        raise StackError(f"validate.command {params['command']}: {error}") from error
    if not any(_STAGED in word for word in command):
        raise StackError(
            f"validate.command {params['command']} does not mention {_STAGED},"
            " so it would judge the live files; point it at the copy"
        )
    return Validator(params["tree"].rstrip("/"), command, params["timeout"])


def concerns(validator: Validator, change: _files.Change) -> bool:
    return change.of_content and change.path.startswith(validator.tree + "/")


def can_run(validator: Validator) -> bool:
    return is_installed(validator.command[0])


def judge_all(
    validators: Sequence[Validator], changes: Sequence[_files.Change], run: Run
) -> Verdict:
    """Ask each validator whose tree changes, one after the other."""
    accepted = tuple(changes)
    refused: dict[str, str] = {}
    for validator in validators:
        concerned = [change for change in accepted if concerns(validator, change)]
        if not concerned:
            continue
        verdict = sift(concerned, functools.partial(judge, validator, run=run))
        if verdict.all_refused_because:
            return Verdict((), {}, verdict.all_refused_because)
        refused.update(verdict.refused)
        accepted = tuple(change for change in accepted if change.path not in refused)
    return Verdict(accepted, refused)


def sift(changes: Sequence[_files.Change], judge: Judge) -> Verdict:
    """Find the largest set that is good; only independent files may be left out of it."""
    message = judge(changes)
    if message is None:
        return Verdict(tuple(changes), {})
    base = [change for change in changes if not change.wanted.independent]
    independent = [change for change in changes if change.wanted.independent]
    if not independent:
        return Verdict((), {}, message)
    if judge(base) is not None:  # the old version of an independent file may itself be bad
        return _leave_one_out(changes, independent, judge) or Verdict((), {}, message)
    good = list(base)
    refused: dict[str, str] = {}
    _add(independent, good, refused, judge)
    return Verdict(tuple(good), refused)


def _add(
    group: Sequence[_files.Change],
    good: list[_files.Change],
    refused: dict[str, str],
    judge: Judge,
) -> None:
    message = judge([*good, *group])
    if message is None:
        good.extend(group)
    elif len(group) == 1:
        refused[group[0].path] = message
    else:
        middle = len(group) // 2
        _add(group[:middle], good, refused, judge)
        _add(group[middle:], good, refused, judge)


def _leave_one_out(
    changes: Sequence[_files.Change], independent: Sequence[_files.Change], judge: Judge
) -> Verdict | None:
    for candidate in independent:
        rest = [change for change in changes if change is not candidate]
        if judge(rest) is None:
            message = judge(changes) or ""
            return Verdict(tuple(rest), {candidate.path: message})
    return None


def judge(validator: Validator, changes: Sequence[_files.Change], run: Run) -> str | None:
    with staged(validator.tree, changes) as copy:
        argv = [word.replace(_STAGED, copy) for word in validator.command]
        done = run(argv, timeout=validator.timeout)
    if done.ok:
        return None
    said = done.output.replace(copy, validator.tree).strip()[-_MESSAGE_LIMIT:]
    return said or f"{validator.command[0]} ended with {done.rc} and said nothing"


@contextlib.contextmanager
def staged(tree: str, changes: Sequence[_files.Change]) -> Iterator[str]:
    """A copy of the tree with the changes laid over it, whose files refer to the copy."""
    room = tempfile.mkdtemp(prefix="slipway-", dir="/run" if os.access("/run", os.W_OK) else None)
    os.chmod(room, 0o711)  # noqa: S103  a validator may run as the service's own user
    copy = os.path.join(room, os.path.basename(tree) or "tree")
    try:
        _copy_tree(tree, copy)
        for change in changes:
            _lay_over(change, copy + change.path[len(tree) :])
        _refer_to_copy(tree, copy)
        yield copy
    except OSError as error:
        raise StackError(f"cannot copy {tree} to judge it: {error}") from error
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _copy_tree(source: str, copy: str) -> None:
    os.mkdir(copy)
    if not os.path.isdir(source):
        return
    _copy_attributes(source, copy)
    for entry in os.scandir(source):
        target = os.path.join(copy, entry.name)
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), target)
        elif entry.is_dir():
            _copy_tree(entry.path, target)
        elif entry.is_file():
            shutil.copyfile(entry.path, target)
            _copy_attributes(entry.path, target)


def _copy_attributes(source: str, target: str) -> None:
    status = os.stat(source)
    os.chown(target, status.st_uid, status.st_gid)
    os.chmod(target, status.st_mode & 0o7777)


def _lay_over(change: _files.Change, target: str) -> None:
    if change.wanted.content is None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(target)
        return
    _files.make_parents(target)
    try:
        _files.write(target, change.wanted.content, change.wanted.attributes)
    except StackError:  # in check mode the owner may not be there yet
        safe = _files.own(change.wanted.attributes.mode)
        _files.write(target, change.wanted.content, safe)


def _refer_to_copy(tree: str, copy: str) -> None:
    """Absolute references from inside the tree to inside the tree must lead to the copy."""
    pattern = re.compile(rb"(?<![\w/.-])" + re.escape(tree.encode()) + rb"(?![\w.-])")
    for folder, folders, names in os.walk(copy):
        for path in (os.path.join(folder, name) for name in names + folders):
            if os.path.islink(path):
                _redirect(path, tree, copy)
            elif os.path.isfile(path) and os.path.getsize(path) <= _REWRITE_LIMIT:
                content = _files.read_bytes(path)
                changed = pattern.sub(copy.encode(), content)
                if changed != content:
                    with open(path, "wb") as stream:
                        stream.write(changed)


def _redirect(link: str, tree: str, copy: str) -> None:
    target = os.readlink(link)
    if target == tree or target.startswith(tree + "/"):
        os.unlink(link)
        os.symlink(copy + target[len(tree) :], link)
