"""Generated pages are what their specification says."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.__main__ import ROOT, pages

PAGES = pages()


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_a_generated_page_is_current(page: Path) -> None:
    assert page.exists() and page.read_text() == PAGES[page], "run: make docs"
