# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""System users with a group of their own and no login."""

from __future__ import annotations

import grp
import pwd
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.slipway.stack.plugins.module_utils._commands import Run
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError

_NO_LOGIN = "/usr/sbin/nologin"
_NO_HOME = "/nonexistent"


@dataclass(frozen=True)
class User:
    name: str
    home: str
    groups: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """One command that brings a user closer to what is declared."""

    argv: tuple[str, ...]
    sentence: str


def options() -> dict[str, Any]:
    return {
        "name": {"type": "str", "required": True},
        "home": {"type": "str"},
        "groups": {"type": "list", "elements": "str", "default": []},
    }


def from_params(params: Mapping[str, Any]) -> User:
    return User(params["name"], params["home"] or _NO_HOME, tuple(params["groups"] or ()))


def group_exists(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def user_exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def memberships(name: str) -> frozenset[str]:
    """The groups that list the user as a member, and its primary group."""
    try:
        primary = pwd.getpwnam(name).pw_gid
    except KeyError:
        return frozenset()
    return frozenset(
        group.gr_name for group in grp.getgrall() if group.gr_gid == primary or name in group.gr_mem
    )


# Debian gives its own users and groups (shadow, disk, sudo) numbers below it.
FIRST_DYNAMIC_ID = 100


def plan(user: User) -> list[Step]:
    """What is missing. A user with a home is ours alone; any other keeps its home and shell."""
    if user_exists(user.name):
        _require_own(user)
        missing = sorted(set(user.groups) - memberships(user.name)) if user.groups else []
        return [_join(user.name, group) for group in missing]
    steps = []
    if group_exists(user.name) and grp.getgrnam(user.name).gr_gid < FIRST_DYNAMIC_ID:
        raise StackError(
            f"{user.name} is a group of the system itself, whose rights the new user would get;"
            " choose another name"
        )
    if not group_exists(user.name):
        steps.append(Step(("groupadd", "--system", user.name), f"created group {user.name}"))
    argv = ["useradd", "--system", "--no-create-home", "--gid", user.name]
    argv += ["--home-dir", user.home, "--shell", _NO_LOGIN, user.name]
    steps.append(Step(tuple(argv), f"created user {user.name}"))
    return steps + [_join(user.name, group) for group in user.groups]


def _require_own(user: User) -> None:
    """Refuse to take over a user whom Debian, another program or a person has made."""
    home = pwd.getpwnam(user.name).pw_dir
    if user.home not in (_NO_HOME, home):
        raise StackError(
            f"{user.name} is already a user of this machine, with the home {home} instead of"
            f" {user.home}; choose another name, or remove that user if it is nobody's"
        )


def _join(name: str, group: str) -> Step:
    return Step(
        ("usermod", "--append", "--groups", group, name), f"added user {name} to group {group}"
    )


def require_groups(users: Sequence[User]) -> None:
    """Refuse a supplementary group that neither exists nor is created by this call."""
    created = {user.name for user in users}
    for user in users:
        for group in user.groups:
            if group not in created and not group_exists(group):
                raise StackError(
                    f"group {group} of user {user.name} does not exist on this machine;"
                    " install what brings it, or leave it out of the user's groups"
                )


def apply(step: Step, run: Run) -> None:
    done = run(step.argv)
    if not done.ok:
        raise StackError(f"{' '.join(step.argv)} failed: {done.output.strip()}")
