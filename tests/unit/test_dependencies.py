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
    "line",
    [
        *["django==5.2", "-r other.txt", "-e .", "git+https://x/y", "./local", "-c other.txt"],
        *["--requirement base.txt", "--requirement=base.txt", "--constraint c.txt", "--editable ."],
    ],
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


VIRTUAL = """
[[package]]
name = "shop"
source = { virtual = "." }
[[package]]
name = "django"
source = { registry = "https://pypi.example.com/simple" }
"""


def project(source: Path, lock: str = VIRTUAL) -> Path:
    folder = source / "web"
    folder.mkdir(parents=True)
    (folder / "uv.lock").write_text(lock)
    return folder


def test_the_same_lock_is_the_same_environment_wherever_it_lies(tmp_path: Path) -> None:
    first, second = tmp_path / "one", tmp_path / "two"
    digests = {
        _dependencies.digest(project(source), source, "3.13", "debian 13")
        for source in (first, second)
    }
    assert len(digests) == 1 and len(digests.pop()) == 16


@pytest.mark.parametrize("name", ["web/uv.lock", "web/pyproject.toml", "uv.toml", "../about"])
def test_another_lock_setting_or_interpreter_is_another_environment(
    tmp_path: Path, name: str
) -> None:
    source = tmp_path / "source"
    folder = project(source)
    before = _dependencies.digest(folder, source, "3.13")
    (tmp_path / "pyproject.toml").touch()  # not the release's own
    assert _dependencies.digest(folder, source, "3.13") == before
    with (source / name).open("a") as file:
        file.write("# more")
    about = "3.14" if name == "../about" else "3.13"
    assert _dependencies.digest(folder, source, about) != before


@pytest.mark.parametrize(
    "lock",
    [
        VIRTUAL.replace("virtual", "editable"),
        VIRTUAL.replace('registry = "https://pypi.example.com/simple"', 'directory = "libs/x"'),
        "[[",
    ],
)
def test_what_depends_on_the_place_of_the_source_is_not_shared(tmp_path: Path, lock: str) -> None:
    assert _dependencies.digest(project(tmp_path, lock), tmp_path) == ""
