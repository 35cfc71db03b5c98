# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Locks: found, required, and every line of them hashed."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _dependencies
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError

HASHED = """\
--index-url https://pypi.example.com/simple
# by uv
django==5.2.1 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
    # via shop
redis==6.4.0 --hash=sha256:cc  # via shop
"""


def test_a_lock_of_uv_comes_first(tmp_path: Path) -> None:
    (tmp_path / "uv.lock").touch()
    (tmp_path / "requirements.txt").write_text("django")
    assert _dependencies.find_lock(tmp_path, "shop").name == "uv.lock"


def test_hashed_requirements_are_a_lock(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(HASHED)
    assert _dependencies.find_lock(tmp_path, "shop").name == "requirements.txt"


@pytest.mark.parametrize(
    "line", ["django==5.2", "-r other.txt", "-e .", "git+https://x/y", "./local"]
)
def test_a_line_without_a_hash_is_refused_by_name(tmp_path: Path, line: str) -> None:
    (tmp_path / "requirements.txt").write_text(f"{HASHED}{line}\n")
    with pytest.raises(StackError, match=r"names '.*' without a hash: write it with"):
        _dependencies.find_lock(tmp_path, "shop")


def test_no_lock_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(
        StackError, match=r"shop has neither uv\.lock nor requirements\.txt: run 'uv lock'"
    ):
        _dependencies.find_lock(tmp_path, "shop")


@pytest.mark.parametrize("name", ["uv.lock", "requirements.txt"])
def test_nothing_is_resolved_or_downloaded_that_is_not_locked(name: str) -> None:
    create, sync = _dependencies.commands(Path("/uv"), Path("/x") / name, Path("/venv"), "/py")
    assert "--no-python-downloads" in create
    assert {"--no-python-downloads", "--compile-bytecode"} <= set(sync)
    assert "--frozen" in sync if name == "uv.lock" else "--require-hashes" in sync
