"""Fixtures of several files."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

import fakes
import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _trial, _units

room = fakes.room


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """Programs set theirs when they begin; the next test begins with its own."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def shop(tmp_path: Path, room: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[fakes.Shop]:
    monkeypatch.setattr(_units, "RECORDS", str(tmp_path / "records"))
    monkeypatch.setattr(_trial, "RUNTIME", str(room))
    made = fakes.Shop(tmp_path, room)
    yield made
    made.close()


@pytest.fixture
def gpg(tmp_path: Path) -> list[str]:
    """The command that the role writes, with a passphrase of its own."""
    (tmp_path / "passphrase").write_text("correct horse\n")
    role = Path(__file__).parents[2] / "roles/backup/vars/main.yml"
    (words,) = re.findall(r"\['gpg',.*?\]", role.read_text(), re.DOTALL)
    command: list[str] = ast.literal_eval(words.replace(" ~ __backup_passphrase", ""))
    return [*command[:-1], f"{command[-1]}{tmp_path / 'passphrase'}"]
