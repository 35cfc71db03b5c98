# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The variables of every machine: which of them nobody reads, and which cannot be right."""

from __future__ import annotations

import difflib
import functools
import typing as t
from pathlib import Path

import yaml
from ansible_collections.slipway.stack.plugins.plugin_utils import _rules, _specification
from jinja2.exceptions import UndefinedError

Machines = t.Mapping[str, t.Mapping[str, t.Any]]
_WIRING = Path(__file__).resolve().parents[2] / "playbooks" / "group_vars" / "all.yml"
_ROLES = ("postgres", "pgbouncer", "redis", "nginx_certbot", "app", "celery", "backup")
# A variable of the operator's own may well be called so; only a slip of the finger is refused.
_COMMON_WORDS = ("app_", "celery_", "backup_")
# How alike such a variable must be to an option to be taken for one.
_LIKENESS = 0.9
# What differs from machine to machine by its nature.
_OF_A_MACHINE = ("stack_address", "stack_health", "stack_backup_paths")
_VAULT = tuple(
    f"vault_stack_{name}"
    for name in (
        *("applications", "backup_s3", "backup_s3_second", "backup_cipher_pass"),
        *("backup_s3_prune", "backup_s3_second_prune"),
        *("pgbouncer_password", "redis_admin_password", "postgres_password"),
    )
)


@functools.cache
def wires() -> frozenset[str]:
    """What the wiring tells the roles, whatever an inventory says."""
    return frozenset(yaml.safe_load(_WIRING.read_text(encoding="utf-8")))


@functools.cache
def _options() -> dict[str, tuple[str, t.Any]]:
    """Every option of the roles, with its role and what its specification says."""
    of_all = _specification.options("common", "validate_inventory")
    return {
        "stack_backup_paths": ("common", of_all["stack_backup_paths"]),
        **{
            name: (role, option)
            for role in _ROLES
            for name, option in _specification.options(role, "main").items()
        },
    }


def is_option(name: str) -> bool:
    """Whether a role is told something by a variable of this name."""
    return name in _options()


def problems(machines: Machines) -> list[str]:
    """A sentence for each variable that is unknown, of the wrong type, or not alike everywhere."""
    found = [
        sentence
        for name in sorted({name for variables in machines.values() for name in variables})
        if (sentence := _unknown(name))
    ]
    for name, variables in machines.items():
        found += _wrong(name, variables)
    return [*found, *_different(machines)]


def _unknown(name: str) -> str:
    declared = _specification.options("common", "validate_inventory")
    if name in wires() or name in _OF_A_MACHINE or name in _options():
        return ""
    if name.startswith("vault_stack_"):
        return "" if name in _VAULT else _specification.unknown("", name, _VAULT)
    if name.startswith("stack_"):
        known = [*declared, *_OF_A_MACHINE]
        return "" if name in declared else _specification.unknown("", name, known)
    role = next((role for role in _ROLES if name.startswith(f"{role}_")), "")
    common = name.startswith(_COMMON_WORDS)
    near = difflib.get_close_matches(name, _options(), n=1, cutoff=_LIKENESS if common else 0.85)
    if not role or (common and not near):
        return ""
    write = f"write {near[0]}" if near else f"see ansible-doc -t role slipway.stack.{role}"
    return f"{name} is not an option; {write}, or give a variable of your own another name."


def _wrong(machine: str, variables: t.Mapping[str, t.Any]) -> list[str]:
    """What a role's own specification would refuse once the machine was touched."""
    given = {
        name: _value(variables, name)
        for name in variables
        if name in _options() and name not in wires()
    }
    # What follows from facts cannot be known before the machine was asked.
    known = {name: value for name, value in given.items() if not _is_open(value)}
    specification = {name: {**_options()[name][1], "required": False} for name in known}
    rules = {**_rules.BACKUP, **_rules.ROLES}
    found = _specification.read(specification, known, rules=rules)[1]
    return [f"{sentence.removesuffix('.')} (of {machine})." for sentence in found]


def _is_open(value: t.Any) -> bool:
    if isinstance(value, t.Mapping):
        return any(_is_open(each) for each in value.values())
    if isinstance(value, list):
        return any(_is_open(each) for each in value)
    return isinstance(value, _specification.Undefined) and "vault" not in value.reason.lower()


def _value(variables: t.Mapping[str, t.Any], name: str) -> t.Any:
    try:
        return _specification.plain(variables[name])
    except UndefinedError as error:
        return _specification.Undefined(str(error))


def _different(machines: Machines) -> list[str]:
    """What is declared once for the whole site, and said in two ways."""
    declared = {*_specification.options("common", "validate_inventory"), *_VAULT}
    found = []
    for name in sorted(declared.difference(_OF_A_MACHINE)):
        values = {
            machine: _value(given, name) for machine, given in machines.items() if name in given
        }
        first = next(iter(values), "")
        other = next((each for each in values if values[each] != values[first]), "")
        missing = next((each for each in machines if values and each not in values), "")
        if other or missing:
            second = f"{other} has another" if other else f"{missing} has none"
            found.append(
                f"{name} is one for the whole site, but {first} has one and {second};"
                " write it into group_vars/all only."
            )
    return found
