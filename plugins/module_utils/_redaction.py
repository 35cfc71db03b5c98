# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Taking secrets out of what foreign programs say about files that hold them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from urllib.parse import unquote

from ansible_collections.slipway.stack.plugins.module_utils import _files

_MASK = "********"
# What is shorter is found in any sentence.
_SHORTEST_SECRET = 6
_SHORTEST_VALUE = 8
# Nothing of this length is a keyword.
_LONGEST_KEYWORD = 20
_ASSIGNMENT = re.compile(r"^\s*(?:export\s+)?([A-Za-z_][\w.]*)\s*=\s*(.*?)\s*$")
_SECRET_NAME = re.compile(r"pass|secret|token|key|auth|cred|dsn|url|private|salt", re.IGNORECASE)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.|"")*)"')
_SEPARATORS = re.compile(r"[\s\"'=;,:#(){}]+")
_PASSWORD_OF_URL = re.compile(r"://[^/\s:@]*:([^/\s]+)@")
_HOSTS_OR_PATH = re.compile(
    r"(?:https?://)?[a-z0-9-]+(?:\.[a-z0-9-]+)+(?:,(?:https?://)?[a-z0-9-]+(?:\.[a-z0-9-]+)+)*"
    r"|(?:/[a-z_.-]+){2,}/?"
)


def redact(message: str, files: Sequence[_files.File]) -> str:
    """The message without the secrets of the files; keywords and names of options stay."""
    found: set[str] = set()
    for wanted in files:
        if wanted.secret and wanted.content:
            for line in wanted.content.decode("utf-8", "replace").splitlines():
                found.update(_secrets(line))
    for secret in sorted(found, key=len, reverse=True):
        message = message.replace(secret, _MASK)
    return message


def _secrets(line: str) -> Iterator[str]:
    assigned = _ASSIGNMENT.match(line)
    if assigned:
        yield from _of_value(_unquoted(assigned[2]), bool(_SECRET_NAME.search(assigned[1])))
        return
    if len(line.split()) == 1:
        yield from _of_value(_unquoted(line.strip()), True)
    # A user's name, or the word of the language that says what follows.
    rest = re.sub(r'^\s*(?:"[^"]*"|\S+)\s+(?=\S)', "", line, count=1)
    for quoted in _QUOTED.findall(rest):
        yield from _of_value(quoted, True)
    for word in _SEPARATORS.split(_QUOTED.sub(" ", rest)):
        if _looks_random(word):
            yield word


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value


def _of_value(value: str, is_secret: bool) -> Iterator[str]:
    """The value, as it is written and as it is meant, and what a program may cut out of it."""
    shortest = _SHORTEST_SECRET if is_secret else _SHORTEST_VALUE
    if not is_secret and _HOSTS_OR_PATH.fullmatch(value):
        return
    meant = re.sub(r"\\(.)", r"\1", value)
    for form in (value, meant, value.replace('""', '"')):
        if len(form) >= shortest:
            yield form
        for password in _PASSWORD_OF_URL.findall(form):
            yield from {password, unquote(password)}
        words = [word for word in _SEPARATORS.split(form) if len(word) >= _SHORTEST_SECRET]
        passphrase = " " in form
        yield from (word for word in words if passphrase or _looks_random(word))


def _looks_random(word: str) -> bool:
    letters = [character for character in word if character.isalpha()]
    mixed = any(c.islower() for c in letters) and any(c.isupper() for c in letters[1:])
    numbered = bool(letters) and any(character.isdigit() for character in word)
    return len(word) >= _LONGEST_KEYWORD or (len(word) >= _SHORTEST_SECRET and (mixed or numbered))
