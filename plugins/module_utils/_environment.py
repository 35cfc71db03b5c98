# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Environment files that systemd reads back exactly as they were meant.

systemd.exec(5) describes the format under EnvironmentFile=. Inside double quotes a backslash
protects the four characters below and nothing else; a dollar or a per cent sign is not expanded.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError

_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
_PROTECTED = re.compile(r'(["\\`$])')
_ESCAPED = re.compile(r'\\(["\\`$])')
_PASSWORD = re.compile(r"^[a-z0-9+.-]+://[^/@:]*:([^@]+)@", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_SHORTEST_SECRET = 6


def render(environment: t.Mapping[str, t.Any]) -> str:
    """The text of an environment file, one quoted assignment a line, sorted by name."""
    return "".join(f"{_line(name, environment[name])}\n" for name in sorted(environment))


def parse(text: str) -> dict[str, str]:
    """What render() wrote, back as a dictionary; unquoted values are taken as they stand."""
    values: dict[str, str] = {}
    for line in text.split("\n"):
        name, separator, value = line.partition("=")
        if not separator or line.lstrip().startswith(("#", ";")):
            continue
        if len(value) > 1 and value.startswith('"') and value.endswith('"'):
            value = _ESCAPED.sub(r"\1", value[1:-1])
        values[name.strip()] = value
    return values


def mask(text: str, environment: t.Mapping[str, str]) -> str:
    """The text without any value of the environment that could be a secret."""
    for secret in sorted(_secrets(environment), key=len, reverse=True):
        text = text.replace(secret, "********")
    return text


def _line(name: str, value: t.Any) -> str:
    if not _NAME.match(name):
        raise StackError(
            f"{name!r} cannot be the name of an environment variable: use letters, digits and"
            " underscores, and do not begin with a digit."
        )
    text = _text(value)
    if _CONTROL.search(text):
        raise StackError(
            f"The environment variable {name} contains a line break or another control character,"
            " which systemd does not pass on: encode the value, for example with base64."
        )
    return '{}="{}"'.format(name, _PROTECTED.sub(r"\\\1", text))


def _text(value: t.Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _secrets(environment: t.Mapping[str, str]) -> set[str]:
    """Values that are long enough to be secrets, and the passwords inside of addresses."""
    found: set[str] = set()
    for name, value in environment.items():
        password = _PASSWORD.match(value)
        if password:
            found.add(password.group(1))
        if password or re.search(r"SECRET|PASSWORD|TOKEN|KEY|_URL|_DSN", name):
            found.add(value)
    return {secret for secret in found if len(secret) >= _SHORTEST_SECRET}
