# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A PostgreSQL that archives, and in it a database for each test."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ..verification import database as postgres
from . import projects

KINDS = {"django": projects.Django, "alembic": projects.Alembic}
BASE = "CREATE TABLE item (id int PRIMARY KEY, title text, price int)"


@pytest.fixture(scope="session")
def server() -> t.Iterator[postgres.Database]:
    server = postgres.serve("archive_mode = on", "archive_command = 'true'")
    try:
        yield server
    finally:
        postgres.remove(server)


@pytest.fixture
def url(server: postgres.Database, request: pytest.FixtureRequest) -> str:
    name = f"d{abs(hash(request.node.nodeid)):x}"
    server.sql("postgres", f"CREATE DATABASE {name}")
    return f"postgresql://postgres@/{name}?host={server.place}"


@pytest.fixture(params=sorted(KINDS))
def new(request: pytest.FixtureRequest, url: str, tmp_path: Path) -> projects.Project:
    """A project with one migration, and a database that has none."""
    made: projects.Project = KINDS[request.param](tmp_path, url)
    made.add("first", BASE)
    return made


@pytest.fixture
def project(new: projects.Project) -> projects.Project:
    """A project whose first migration has run."""
    new.sql(f"{BASE}; {new.noted_first}")
    return new


@pytest.fixture
def django(url: str, tmp_path: Path) -> projects.Django:
    return projects.Django(tmp_path, url)


@pytest.fixture
def alembic(url: str, tmp_path: Path) -> projects.Alembic:
    return projects.Alembic(tmp_path, url)
