# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Asks an application's own Python, in its release, as its user and in its environment."""

from __future__ import annotations

import pwd
import typing as t
from pathlib import Path

from . import _application_commands, _environment, _health, _health_process

Output = t.Callable[..., str]


def ask(
    name: str,
    home: Path,
    words: t.Callable[[float], list[str]],
    deadline: _health.Deadline,
    output: Output = _health_process.output,
) -> str:
    """What it printed, secrets masked; `words` is the command for the seconds that it has."""
    file = Path(f"/etc/slipway/{name}/environment")
    try:
        pwd.getpwnam(name)
        values = _application_commands.read_environment(file)
        release = (home / "current").resolve(strict=True)
    except (KeyError, OSError) as error:
        raise _health.CannotCheck(
            f"{name} is not deployed here, or may not be looked at ({error})",
            "run it as root (become) on a machine with a release of it",
        ) from None
    seconds = deadline.remaining()
    deadline.stage(f"waiting for the Python of {name}", f"run it by hand in {release}/project")
    command = _application_commands.sandboxed(
        name,
        # What it can still say itself is better than what is said of it when it is ended.
        words(max(0.5, seconds - 1.5)),
        release,
        [home / "media"],
        [str(file)],
        seconds + 1,
    )
    return _environment.mask(output(command, deadline), values)
