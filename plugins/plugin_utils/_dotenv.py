# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads a .env file where shells, Docker Compose and python-dotenv agree, and refuses the rest.

Each of them has its own mind about backslashes, dollar signs and quotes. A guess would change a
password without a word, so a value that two of them read differently is refused by its name and
line. Only what nobody writes for a shell, as spaces around `=`, a `&` in a URL, or JSON without
quotes, is read as the other two do. No value, and no part of one, is in a sentence.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError

_NAME = r"(export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*=([ \t]*)"
# A value in quotes may go over lines; without them it ends at the line, or at a comment.
_VALUE = r"""'([^']*)'|"((?:[^"\\]|\\.)*)"|((?![ \t"'])(?:(?![ \t]#)[^\r\n])*)"""
_ENTRY = re.compile(rf"[ \t]*{_NAME}(?:{_VALUE})[ \t]*(?:[ \t]#[^\n]*)?(?:\r?\n|$)", re.DOTALL)
_OPENED = re.compile(rf"[ \t]*{_NAME}[\"']")
_NOTHING = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\r?\n|$)")
_OTHER = r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^${}\"'\\`]*))?\}"
# What stands for something else where no single quotes are.
_SPECIAL = re.compile(rf"{_OTHER}|\\([\"\\])|[\\$`]", re.DOTALL)
# Within single quotes python-dotenv alone reads these.
_SINGLE = re.compile(r"\\\\|\\\Z|\$\{")
# A pair of quotes within a value, which a shell drops; JSON is for those that keep it.
_PAIR = re.compile(r"([\"']).*\1")
_WORDS = re.compile(r"[ \t][A-Za-z_][A-Za-z0-9_]*=")
_NOT_PLAIN = {"\\": "a backslash", "$": "a $", "`": "a backtick"}


class Unclear(StackError):
    """Which variables cannot be read for certain, and why."""


class Read(t.NamedTuple):
    """The values by name, and a sentence for each line that says something else."""

    values: dict[str, str]
    complaints: list[str]


class _Differs(Exception):
    """What readers of a value take differently."""


def read(text: str) -> Read:
    """The last of two lines with one name counts, as it does everywhere."""
    text, place = text.removeprefix("\ufeff"), 0
    found = Read({}, [])
    refused: list[str] = []
    while place < len(text):
        line = text.count("\n", 0, place) + 1
        nothing, entry = _NOTHING.match(text, place), _ENTRY.match(text, place)
        opened = _OPENED.match(text, place)
        if nothing:
            pass
        elif entry:
            _take(entry, line, found, refused)
        elif opened:
            refused.append(
                f"{opened[2]} of line {line} has quotes that do not hold its whole value"
            )
        else:
            found.complaints.append(f"line {line} is no NAME=value; correct it, or remove it")
        step = nothing or entry
        place = max(place + 1, step.end() if step else _end_of_line(text, place))
    if refused:
        raise Unclear(
            f"{', '.join(refused)}, which readers of such files take differently; write the value"
            " itself in single quotes, or remove the line and add it to the result"
        )
    return found


def _take(entry: re.Match[str], line: int, found: Read, refused: list[str]) -> None:
    name = entry[2]
    if name in found.values:
        found.complaints.append(f"{name} is there twice; the one of line {line} was taken")
    try:
        found.values[name] = _value(entry, found.values)
    except _Differs as what:
        refused.append(f"{name} of line {line} has {what}")
        # So that nothing is said of others that use it.
        found.values[name] = "refused"


def _value(entry: re.Match[str], known: t.Mapping[str, str]) -> str:
    export, _name, space, single, double, plain = entry.groups()
    if single is not None:
        if _SINGLE.search(single):
            raise _Differs("a backslash or ${ within single quotes")
        return single
    text = double if double is not None else plain.strip()
    if double is None:
        _refuse_words(text, entry.string[entry.start(6) : entry.end()], bool(export), bool(space))
    return _SPECIAL.sub(lambda found: _meant(found, known, double is not None), text)


def _refuse_words(text: str, line: str, export: bool, space: bool) -> None:
    """With the line from the value on, as a quote may reach into what looks like a comment."""
    words = f" {text}" if space and text else text
    shell = export or not text.startswith(("{", "["))
    if space and text.startswith("#"):
        raise _Differs("only a comment behind its =")
    if text.startswith("~"):
        raise _Differs("a ~ in front")
    if text.startswith("-----BEGIN"):
        raise _Differs("several lines without quotes")
    if _WORDS.search(words) or (export and re.search(r"\s", words)):
        raise _Differs("several words without quotes")
    if shell and re.search("[\"']", text) and _PAIR.search(line):
        raise _Differs("quotes within its value")


def _meant(found: re.Match[str], known: t.Mapping[str, str], quoted: bool) -> str:
    """What an escaped character or the use of another variable stands for."""
    name, default, escaped = found.groups()
    if escaped and quoted:
        return escaped
    if not name:
        raise _Differs(_NOT_PLAIN[found[0][0]])
    if default is not None and known.get(name) == "":
        raise _Differs("a default for a variable that is empty")
    if name not in known and default is None:
        raise _Differs("the value of a variable that no line before sets")
    return known.get(name, default or "")


def _end_of_line(text: str, place: int) -> int:
    end = text.find("\n", place)
    return len(text) if end < 0 else end + 1
