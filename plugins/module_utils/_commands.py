# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Also runs outside Ansible, where no run_command is. pylint: disable=ansible-bad-function
"""Running other programs: one function, passed around so that tests can give another one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

_SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TIMED_OUT = 124


@dataclass(frozen=True)
class Completed:
    """How a program ended and everything that it said, standard output first."""

    rc: int
    output: str

    @property
    def ok(self) -> bool:
        return self.rc == 0


class Run(Protocol):
    def __call__(self, argv: Sequence[str], timeout: float = ...) -> Completed: ...


def run(argv: Sequence[str], timeout: float = 600) -> Completed:
    """Run argv without a shell; a program that is missing or too slow is a failed one."""
    environment = {**os.environ, "PATH": _SEARCH, "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
            env=environment,
        )
    except FileNotFoundError:
        return Completed(127, f"{argv[0]} is not installed")
    except subprocess.TimeoutExpired:
        return Completed(TIMED_OUT, f"{argv[0]} did not end within {timeout:g} s")
    except OSError as error:
        return Completed(126, f"{argv[0]} cannot be run: {error.strerror}")
    return Completed(done.returncode, done.stdout.decode("utf-8", "replace"))


def is_installed(program: str) -> bool:
    """Whether run() would find the program."""
    folders = [""] if program.startswith("/") else _SEARCH.split(":")
    return any(os.access(os.path.join(folder, program), os.X_OK) for folder in folders)
