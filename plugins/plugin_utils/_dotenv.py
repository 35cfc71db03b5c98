# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads a .env file as shells, Docker and python-dotenv agree on it; no value is in a complaint."""

from __future__ import annotations

import re
import typing as t

_NAME = r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*"
# A value in quotes may go over lines; without them it ends at the line, or at a comment.
_VALUE = r"""'([^']*)'|"((?:[^"\\]|\\.)*)"|((?:(?![ \t]#)[^\r\n])*)"""
_ENTRY = re.compile(rf"[ \t]*{_NAME}(?:{_VALUE})[ \t]*(?:#[^\n]*)?(?:\r?\n|$)", re.DOTALL)
_NOTHING = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\r?\n|$)")
_OTHER = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::?-([^}]*))?\}|\$([A-Za-z_][A-Za-z0-9_]*)")
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t"}


class Read(t.NamedTuple):
    """The values by name, and a sentence for each line that says something else."""

    values: dict[str, str]
    complaints: list[str]


def read(text: str) -> Read:
    """The last of two lines with one name counts, as it does everywhere."""
    text, place, found = text.removeprefix("\ufeff"), 0, Read({}, [])
    while place < len(text):
        line = text.count("\n", 0, place) + 1
        nothing, entry = _NOTHING.match(text, place), _ENTRY.match(text, place)
        if entry and not nothing:
            _take(entry, line, found)
        elif not nothing:
            found.complaints.append(f"line {line} is no NAME=value; correct it, or remove it")
        step = nothing or entry
        place = max(place + 1, step.end() if step else _end_of_line(text, place))
    return found


def _take(entry: re.Match[str], line: int, found: Read) -> None:
    name, single, double, plain = entry.groups()
    if name in found.values:
        found.complaints.append(f"{name} is there twice; the one of line {line} was taken")
    if single is not None:
        found.values[name] = single
        return
    value = _unescaped(double) if double is not None else (plain or "").strip()
    found.values[name] = _OTHER.sub(lambda other: _other(other, name, found), value)


def _other(other: re.Match[str], name: str, found: Read) -> str:
    """The value of the variable that another one uses, or its default, or the words themselves."""
    asked = other[1] or other[3]
    if asked in found.values:
        return found.values[asked]
    if other[2] is not None:
        return other[2]
    found.complaints.append(f"{name} uses {asked}, which is not in the file; write its value")
    return other[0]


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda found: _ESCAPED.get(found[1], found[1]), text, flags=re.DOTALL)


def _end_of_line(text: str, place: int) -> int:
    end = text.find("\n", place)
    return len(text) if end < 0 else end + 1
