# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read a value by a part of a role's argument specification, and word whatever is wrong with it.

The types are Ansible's; the sentences are ours, because Ansible's name neither the value nor the
remedy. Ranges and patterns, which a specification cannot hold, come as a table of rules.
"""

from __future__ import annotations

import dataclasses
import datetime
import difflib
import functools
import re
import typing as t
from pathlib import Path

import yaml
from jinja2.exceptions import UndefinedError

_ROLES = Path(__file__).resolve().parents[2] / "roles"
# libyaml reads a specification ten times as fast, where PyYAML was built with it.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SHOWN_LENGTH = 80
# Their values are never shown, nor what lies in them.
_SECRETS = re.compile(r"^vault_|password|secret|_key\b|token|\.environment\b|\.certificate\b")
# What is looked for beside the application and belongs into its vault twin.
_MISPLACED = re.compile(r"password|secret|private_key|deploy_key")
_BOOLEANS = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}

Options = t.Mapping[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Rule:
    """What a value must be, beyond its type, and what to write otherwise."""

    holds: t.Callable[[t.Any], bool]
    remedy: str


Rules = t.Mapping[str, tuple[Rule, ...]]


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a value stands: in the operator's words, and in the specification."""

    path: str
    key: str

    def option(self, name: str) -> Place:
        dot = "." if self.path else ""
        return Place(f"{self.path}{dot}{name}", f"{self.key}{dot}{name}")

    def element(self, position: int, value: t.Any) -> Place:
        """An element of a list is called by its name, if it has one."""
        name = value.get("name") if isinstance(value, t.Mapping) else None
        if isinstance(name, str) and re.fullmatch(r"[\w.-]+", name):
            return Place(f"{self.path}.{name}", self.key)
        return Place(f"{self.path}[entry {position + 1}]", self.key)


@functools.cache
def options(role: str, entry: str) -> dict[str, t.Any]:
    """The options of one entry point of a role; not to be changed."""
    path = _ROLES / role / "meta" / "argument_specs.yml"
    with path.open(encoding="utf-8") as stream:
        whole = yaml.load(stream, Loader=_Loader)  # noqa: S506 - safe, see above
    found: dict[str, t.Any] = whole["argument_specs"][entry]["options"]
    return found


@dataclasses.dataclass(frozen=True)
class Undefined:
    """Stands for a value whose template uses a variable that does not exist."""

    reason: str


def plain(value: t.Any) -> t.Any:
    """The same value in ordinary dictionaries and lists; Ansible's own are lazy and dear."""
    if isinstance(value, t.Mapping):
        return {key: _element(value, key) for key in value}
    if isinstance(value, (list, tuple)):
        return [_element(value, position) for position in range(len(value))]
    return value


def _element(container: t.Any, key: t.Any) -> t.Any:
    try:
        return plain(container[key])
    except UndefinedError as error:
        return Undefined(str(error))


def shown(value: t.Any) -> str:
    """A value as an operator would write it, cut short, without credentials of a URL."""
    if value is None or isinstance(value, bool):
        return {None: "empty", True: "true", False: "false"}[value]
    if isinstance(value, Undefined):
        return f"not defined ({value.reason})"
    if isinstance(value, datetime.date):
        return f"the date {value}"
    if isinstance(value, (t.Mapping, list, tuple)):
        kind = "dictionary" if isinstance(value, t.Mapping) else "list"
        return f"a {kind}" if value else f"an empty {kind}"
    text = re.sub(r"//[^/@\s]*@", "//***@", repr(value))
    return text if len(text) <= _SHOWN_LENGTH else f"{text[: _SHOWN_LENGTH - 1]}…"


def complaint(path: str, value: t.Any, remedy: str, secret: bool = False) -> str:
    """One sentence: option, value, remedy."""
    if isinstance(value, Undefined) and "vault" in value.reason.lower():
        return f"{path} cannot be decrypted; add --ask-vault-pass or --vault-password-file."
    if isinstance(value, Undefined) and "template" in value.reason.lower():
        return f"{path} is no valid Jinja ({value.reason}); correct it, or quote the braces."
    if isinstance(value, Undefined):
        remedy = "define that variable, or write the value itself"
    elif secret or _SECRETS.search(path):
        return f"{path} is not right (its value is not shown); {remedy}."
    return f"{path} is {shown(value)}; {remedy}."


def unknown(path: str, name: t.Any, supported: t.Iterable[str]) -> str:
    """The sentence about an option that does not exist, with the one that was probably meant."""
    supported = sorted(supported)
    dot = "." if path else ""
    if path.startswith("stack_applications.") and _MISPLACED.search(str(name)):
        twin = f"vault_stack_applications.{path.split('.')[1]}"
        return f"{path}.{name} is not an option; a secret belongs into {twin}, in the vault."
    near = difflib.get_close_matches(str(name), supported, n=1)
    write = f"write {near[0]}" if near else f"write one of {', '.join(supported)}"
    return f"{path}{dot}{name} is not an option; {write}."


def read(
    specification: Options, value: t.Any, place: Place = Place("", ""), rules: Rules | None = None
) -> tuple[dict[str, t.Any], list[str]]:
    """The dictionary `value`, typed and defaulted, and one sentence for each thing wrong in it."""
    found: list[str] = []
    option = {"type": "dict", "options": specification}
    return _Reader(rules or {}, found).value(option, plain(value), place) or {}, found


class _Wrong(Exception):
    """A value of the wrong type; the message is the remedy."""


def _text(value: t.Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (t.Mapping, list, tuple)):
        raise _Wrong("write a single text")
    # YAML reads 1.10 as 1.1, 0123 as 83 and no as false: what was meant cannot be known.
    raise _Wrong("write it in quotes")


def _number(value: t.Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value.strip()):
        return int(value)
    raise _Wrong("write a whole number")


def _decimal(value: t.Any) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}(\.[0-9]{1,9})?", value.strip()):
        return float(value)
    raise _Wrong("write a number")


def _boolean(value: t.Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _BOOLEANS:
        return _BOOLEANS[value.lower()]
    raise _Wrong("write true or false")


def _dictionary(value: t.Any) -> dict[t.Any, t.Any]:
    if isinstance(value, t.Mapping):
        return dict(value)
    raise _Wrong("write a dictionary")


def _list(value: t.Any) -> list[t.Any]:
    if isinstance(value, (list, tuple)):
        return list(value)
    raise _Wrong("write a list")


_TYPES: dict[str, t.Callable[[t.Any], t.Any]] = {
    "str": _text,
    "path": _text,
    "int": _number,
    "float": _decimal,
    "bool": _boolean,
    "dict": _dictionary,
    "list": _list,
    "raw": lambda value: value,
}


class _Reader:
    """One reading: the rules it follows and what it found wrong."""

    def __init__(self, rules: Rules, found: list[str]) -> None:
        self.rules, self.found = rules, found

    def value(self, option: Options, value: t.Any, place: Place) -> t.Any:
        kind = option.get("type", "str")
        secret = bool(option.get("no_log"))
        try:
            converted = _TYPES[kind](value)
        except _Wrong as wrong:
            self.found.append(complaint(place.path, value, str(wrong), secret))
            return None
        if kind != "list" and option.get("choices") and converted not in option["choices"]:
            remedy = f"write one of {', '.join(map(str, option['choices']))}"
            self.found.append(complaint(place.path, value, remedy, secret))
        elif not self._follows(place.key, converted, place.path, secret):
            return None
        if kind == "list":
            return self._elements(option, converted, place)
        return self._inner(option, converted, place) if kind == "dict" else converted

    def _follows(self, key: str, value: t.Any, path: str, secret: bool) -> bool:
        for rule in self.rules.get(key, ()):
            if not rule.holds(value):
                self.found.append(complaint(path, value, rule.remedy, secret))
                return False
        return True

    def _elements(self, option: Options, values: list[t.Any], place: Place) -> list[t.Any]:
        kind = option.get("elements")
        if not kind:
            return values
        element = {**option, "type": kind, "choices": option.get("choices")}
        place = Place(place.path, f"{place.key}[]")
        return [
            self.value(element, value, place.element(position, value))
            for position, value in enumerate(values)
        ]

    def _inner(self, option: Options, given: dict[t.Any, t.Any], place: Place) -> dict[str, t.Any]:
        specification = option.get("options")
        if specification is None:
            return given
        self.found += [
            unknown(place.path, name, specification) for name in given if name not in specification
        ]
        return {
            name: self._option(inner, given.get(name), place.option(name))
            for name, inner in specification.items()
        }

    def _option(self, option: Options, given: t.Any, place: Place) -> t.Any:
        """An option that is left empty is not given, and a default needs no rule."""
        if given is None and option.get("required"):
            rules = self.rules.get(place.key)
            remedy = rules[0].remedy if rules else "add it"
            self.found.append(f"{place.path} is missing; {remedy}.")
            return None
        default = option.get("default")
        if given is None or (given == default and type(given) is type(default)):
            return None if default is None else _Reader({}, []).value(option, default, place)
        return self.value(option, given, place)
