# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""SQL as words: enough to tell statements apart, and far from a grammar."""

from __future__ import annotations

import re

_WORDS = re.compile(
    r"""
    (?P<comment> --[^\n]* | /\*.*?\*/ )
  | (?P<text> [eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ )
  | (?P<word> "(?:[^"]|"")*" | \w+ )
  | (?P<space> \s+ )
  | (?P<sign> . )
    """,
    re.VERBOSE | re.DOTALL,
)
# A word or a quoted name; both may follow a schema.
NAME = r'(?:"[^"]*"|\w+)'
TABLE = rf"(?P<table>{NAME}(?: \. {NAME})?)"


def split(sql: str) -> list[str]:
    """Statements without comments and without values, one space between words."""
    done: list[str] = []
    words: list[str] = []
    for match in _WORDS.finditer(sql + "\n;"):
        kind, word = match.lastgroup, match.group()
        if kind == "sign" and word == ";":
            done.append(" ".join(words))
            words = []
        elif kind == "text":
            words.append("''")
        elif kind not in ("comment", "space"):
            words.append(word)
    return [statement for statement in done if statement]


def parts(text: str) -> list[str]:
    """What commas separate that stand in no bracket."""
    found, depth = [""], 0
    for word in text.split(" "):
        depth += (word == "(") - (word == ")")
        if word == "," and not depth:
            found.append("")
        else:
            found[-1] = f"{found[-1]} {word}".strip()
    return found


def folded(name: str) -> str:
    """A name as PostgreSQL folds it; which schema one without is in, nobody knows here."""
    names = name.split(" . ")
    return ".".join(one[1:-1] if one.startswith('"') else one.lower() for one in names)
