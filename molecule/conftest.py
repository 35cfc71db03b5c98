# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What every scenario's tests share: the scenario's own facts, and the journal of a failure."""

from __future__ import annotations

import os
import typing as t
from collections.abc import Generator
from pathlib import Path

import pytest
import yaml


@pytest.fixture(scope="session")
def scenario() -> dict[str, t.Any]:
    """Return the scenario's vars.yml as it is written, so without templates being rendered."""
    path = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"]) / "vars.yml"
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Print what the machine's units have said with each failure."""
    report = yield
    host = getattr(item, "funcargs", {}).get("host")
    if report.failed and host:
        journal = host.run("journalctl --no-pager --lines=60 --output=short-precise")
        report.sections.append(("journal", journal.stdout))
    return report
