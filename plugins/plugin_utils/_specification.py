# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Validate a value by a part of a role's argument specification, at the price of plain data."""

from __future__ import annotations

import copy
import functools
import typing as t
from pathlib import Path

import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator, ValidationResult

_ROLES = Path(__file__).resolve().parents[2] / "roles"
# libyaml reads a specification ten times as fast, where PyYAML was built with it.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@functools.cache
def options(role: str, entry: str) -> dict[str, t.Any]:
    """The options of one entry point of a role; not to be changed."""
    path = _ROLES / role / "meta" / "argument_specs.yml"
    with path.open(encoding="utf-8") as stream:
        whole = yaml.load(stream, Loader=_Loader)  # noqa: S506 - safe, see above
    found: dict[str, t.Any] = whole["argument_specs"][entry]["options"]
    return found


def plain(value: t.Any) -> t.Any:
    """The same value in ordinary dictionaries and lists.

    Ansible's own are lazy, and a deep copy of one, as the validator makes it, copies its template
    engine with all variables: three quarters of a run's time on the controller.
    """
    if isinstance(value, t.Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return value


def validate(specification: dict[str, t.Any], value: t.Mapping[str, t.Any]) -> ValidationResult:
    """What Ansible's validator says; it fills default dictionaries of the specification it gets."""
    return ArgumentSpecValidator(copy.deepcopy(specification)).validate(plain(value))
