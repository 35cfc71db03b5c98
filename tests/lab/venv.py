# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The virtual environment of this checkout, with exactly the tools that it names."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import sys
import time
from pathlib import Path

from tests.lab import shell
from tests.lab.stages import minutes

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
REQUIREMENTS = ROOT / "requirements-dev.txt"
LINK = ROOT / "collections" / "ansible_collections" / "slipway" / "stack"
SUPPORTED = ((3, 11), (3, 12), (3, 13))


def ensure() -> None:
    """Create or renew .venv where it is not what requirements-dev.txt says, link the collection."""
    if sys.version_info[:2] not in SUPPORTED:
        raise shell.LabError(
            f"Python {sys.version_info[0]}.{sys.version_info[1]} cannot run ansible-core 2.19; "
            "use 3.11, 3.12 or 3.13: make PYTHON=python3.11 ..."
        )
    stamp = VENV / "made-from"
    wanted = hashlib.sha256(f"{sys.version}{REQUIREMENTS.read_text()}".encode()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        _create()
        stamp.write_text(wanted)
    _link()


def tools(name: str, python: str = sys.executable) -> Path:
    """Return the programs of tests/requirements-<name>.txt, in an environment of their own."""
    requirements = ROOT / "tests" / f"requirements-{name}.txt"
    home = ROOT / ".cache" / name / "venv"
    stamp, wanted = home / "made-from", f"{python}\n{requirements.read_text()}"
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(home, ignore_errors=True)
        shell.stream(python, "-m", "venv", str(home))
        pip = (str(home / "bin" / "pip"), "install", "--disable-pip-version-check", "--quiet")
        shell.stream(*pip, "--requirement", str(requirements))
        stamp.write_text(wanted)
    return home / "bin"


def _create() -> None:
    if not importlib.util.find_spec("ensurepip"):
        shell.install(["python3-venv"], wanted="python3-venv", purpose="tools live in .venv")
    shell.say("making .venv: ansible-core and the tools of the tests, from PyPI")
    started = time.monotonic()
    shutil.rmtree(VENV, ignore_errors=True)
    shell.stream(sys.executable, "-m", "venv", str(VENV))
    shell.stream(
        *(str(VENV / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check"),
        *("--quiet", "--requirement", str(REQUIREMENTS)),
    )
    shell.say(f".venv made in {minutes(time.monotonic() - started)}")


def _link() -> None:
    """Let Ansible find the checkout as slipway.stack, whatever its folder is called."""
    LINK.parent.mkdir(parents=True, exist_ok=True)
    if not LINK.is_symlink():
        LINK.symlink_to(Path("..", "..", ".."))
