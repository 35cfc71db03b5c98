"""Visitors that Locust sends, from a machine and to an environment that are named."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from conftest import LAB, SCENARIO, playbook

pytestmark = pytest.mark.skipif(SCENARIO != "default", reason="one is like the other")
TOLD = ("app=auction", "load_environment=test", f"load_from={LAB}-one", "load_users=4")


def load(paths: str, reports: Path) -> subprocess.CompletedProcess[str]:
    options = (*TOLD, "load_seconds=5", f"load_paths={paths}", f"load_reports={reports}")
    return playbook("load_test", *(word for option in options for word in ("-e", option)))


def test_answers_that_are_good_enough_pass(tmp_path: Path) -> None:
    done = load("/,/api/auctions/", tmp_path)
    # On a busy computer they are too slow, and nothing else.
    slow = "p95 is" in done.stdout or "p99 is" in done.stdout
    assert done.returncode == 0 or slow, done.stdout + done.stderr
    assert "requests failed" not in done.stdout
    assert "/api/auctions/" in done.stdout and "requests a second" in done.stdout
    (page,) = tmp_path.glob("auction-smoke_*.html")
    assert "Locust" in page.read_text()
    (table,) = tmp_path.glob("auction-smoke_*_stats.csv")
    assert "/api/auctions/" in table.read_text()


def test_answers_that_fail_do_not(tmp_path: Path) -> None:
    done = load("/nowhere/", tmp_path)
    assert done.returncode != 0
    assert "100.0 % of all requests failed, less than 1 % may." in done.stdout
    assert list(tmp_path.glob("auction-smoke_*_failures.csv"))
