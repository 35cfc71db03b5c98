# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How molecule/guides reads docs/from-the-guides.md, and the rows that need no machine."""

from __future__ import annotations

import runpy
import shlex
import subprocess
import typing as t
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
READER = runpy.run_path(str(ROOT / "molecule/guides/tests/figures.py"))
PAGE = (ROOT / "docs/from-the-guides.md").read_text(encoding="utf-8")
FIGURES: list[t.Any] = READER["figures"](PAGE)


@pytest.mark.parametrize(
    ("answer", "figure"),
    [
        ("workers = 4", "4"),
        ("workers = 4", "workers = 4"),
        ("    proxy_read_timeout 60s;", "proxy_read_timeout 60s;"),
        ("a\nworkers = 4\nb", "workers = 4"),
        ('    "retention_days": 30,', '"retention_days": 30'),
        ("save 900 1 300 10 60 10000", "900 1 300 10 60 10000"),
        ('DATABASE_URL="postgresql://a:b@c:6432/atlas?sslmode=require"', "/atlas?"),
        ("{statement_timeout=30s}", "statement_timeout=30s"),
        ("  app2.example.com: {}", "app2.example.com"),
    ],
)
def test_a_figure_is_said_whole(answer: str, figure: str) -> None:
    assert READER["says"](answer, figure)


@pytest.mark.parametrize(
    ("answer", "figure"),
    [
        ("workers = 48", "4"),
        ("workers = 48", "workers = 4"),
        ("workers = 14", "4"),
        ("load = 4.5", "4"),
        ("offset = -4", "4"),
        ("proxy_read_timeout 160s;", "60s;"),
        ("client_max_body_size 10ms;", "10m"),
        ('"retention_days": 300', '"retention_days": 30'),
        ("{statement_timeout=30s}", "statement_timeout=30"),
        ("OnCalendar=02:00:30", "OnCalendar=02:00"),
        ("127.0.0.1:64320", "127.0.0.1:6432"),
        ("off", "f"),
        ("", "4"),
    ],
)
def test_a_part_of_another_figure_is_not_it(answer: str, figure: str) -> None:
    assert not READER["says"](answer, figure)


def test_the_page_has_the_figures_of_every_guide() -> None:
    sections = {each.section for each in FIGURES}
    assert {"auction", "parkme", "propflow", "atlas", "ecommerce"} <= sections
    tables = PAGE.split("| see it |\n|---|---|---|---|\n")[1:]
    assert len(FIGURES) == sum(len(table.split("\n\n")[0].splitlines()) for table in tables) > 100


OURS = [each for each in FIGURES if each.file(ROOT)]


@pytest.mark.parametrize(("figure", "command"), [each[1:] for each in OURS])
def test_a_file_of_the_collection_says_its_figure(figure: str, command: str) -> None:
    done = subprocess.run(
        shlex.split(command), cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert READER["says"](done.stdout, figure), done.stdout
