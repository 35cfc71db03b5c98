"""A program that cannot be run is one that failed."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _commands
from fakes import program


@pytest.mark.parametrize(
    ("text", "mode", "code", "output"),
    [
        ("echo out; echo err >&2; exit 3", 0o755, 3, "out\nerr\n"),
        ("cat; echo $LC_ALL", 0o755, 0, "C.UTF-8\n"),
        ("printf '\\377'", 0o755, 0, "\ufffd"),
        ("sleep 9", 0o755, _commands.TIMED_OUT, "{path} did not end within 0.3 s"),
        ("", 0o644, 126, "{path} cannot be run: Permission denied"),
        (None, 0, 127, "{path} is not installed"),
    ],
    ids=["fails", "reads nothing", "is no text", "is too slow", "is no program", "is missing"],
)
def test_however_it_ends_there_is_an_answer(
    tmp_path: Path, text: str | None, mode: int, code: int, output: str
) -> None:
    path = tmp_path / "program"
    if text is not None:
        program(tmp_path, "program", text).chmod(mode)
    done = _commands.run([str(path)], timeout=0.3 if text == "sleep 9" else 60)
    assert (done.rc, done.output, done.ok) == (code, output.format(path=path), code == 0)
    assert _commands.is_installed(str(path)) == (mode == 0o755)


def test_programs_are_found_where_debian_has_them() -> None:
    assert _commands.is_installed("sh")
    assert not _commands.is_installed("no-such-program")
