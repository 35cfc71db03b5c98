# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The figures of docs/from-the-guides.md, and whether an answer says one of them. Pure."""

from __future__ import annotations

import re
import shlex
import typing as t
from pathlib import Path

_SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
_FIGURE = re.compile(r"^\| .+ \| `([^`]+)` \| .+ \| `([^`]+)` \|$", re.MULTILINE)
# What goes on with a word, a number, a version or an address: 4 is not said by 48, 4.5 or 14, nor
# 60s by 160s, nor 02:00 by 02:00:30; what ends a sentence or a name goes on with nothing.
_BEFORE, _AFTER = r"(?<![\w.:-])", r"(?!\w|[.:-]\w)"


class Figure(t.NamedTuple):
    """A row of the page: what the command has to say."""

    section: str
    figure: str
    command: str

    def file(self, root: Path) -> bool:
        """Whether a file of this repository is asked, and no machine."""
        words = [word for word in shlex.split(self.command) if not word.startswith("/")]
        return any("/" in word and (root / word).is_file() for word in words)


def figures(page: str) -> list[Figure]:
    """Every row of the page that names a figure and a command."""
    _before, *sections = _SECTION.split(page)
    return [
        Figure(title, *found)
        for title, text in zip(sections[::2], sections[1::2], strict=True)
        for found in _FIGURE.findall(text)
    ]


def says(answer: str, figure: str) -> bool:
    """Whether the figure stands in the answer whole."""
    begins = _BEFORE if re.match(r"\w", figure[0]) else ""
    ends = _AFTER if re.match(r"\w", figure[-1]) else ""
    return re.search(f"{begins}{re.escape(figure)}{ends}", answer) is not None
