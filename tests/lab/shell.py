# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Commands of this machine, its packages, and the one error of the lab."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.lab.stages import minutes

# Whoever waits longer wonders whether anything still moves.
SILENCE_SECONDS = 20


class LabError(Exception):
    """What is missing or wrong, as one sentence."""


def say(text: str) -> None:
    """Tell the person who waits what happens now."""
    print(f"==> {text}", flush=True)


def output(*command: str, stdin: bytes | None = None, timeout: float | None = None) -> str:
    """Return what a command prints; a failing command is a LabError with its last words."""
    done = attempt(*command, stdin=stdin, timeout=timeout)
    if done.returncode != 0:
        words = (done.stderr.strip() or done.stdout.strip()).splitlines()[-5:]
        raise LabError(f"'{' '.join(command)}' failed with {done.returncode}: {' / '.join(words)}")
    return done.stdout.strip()


def attempt(
    *command: str, stdin: bytes | None = None, timeout: float | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command that may fail."""
    try:
        done = subprocess.run(
            command,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError:
        return subprocess.CompletedProcess(command, 127, "", f"{command[0]} is not installed")
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"no answer within {timeout} s")
    return subprocess.CompletedProcess(
        command, done.returncode, _text(done.stdout), _text(done.stderr)
    )


def stream(*command: str, environment: dict[str, str] | None = None) -> None:
    """Run a command and let the person see all it says while it says it, and that it goes on."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **(environment or {})},
    )
    assert process.stdout
    try:
        _relay(process, process.stdout.fileno())
    except BaseException:
        process.kill()
        raise
    finally:
        process.stdout.close()
        code = process.wait()
    if code != 0:
        raise LabError(f"'{' '.join(command)}' failed with {code}; its output is above.")


def _relay(process: subprocess.Popen[bytes], source: int) -> None:
    """Show what a process writes until it ends; a service that it started may hold the pipe."""
    started = said = time.monotonic()
    while True:
        ready = select.select([source], [], [], 1)[0]
        if ready:
            chunk = os.read(source, 65_536)
            if not chunk:
                return
            sys.stdout.buffer.write(chunk)
            sys.stdout.flush()
            said = time.monotonic()
        elif process.poll() is not None:
            return
        elif time.monotonic() - said > SILENCE_SECONDS:
            said = time.monotonic()
            print(f"    ... {minutes(said - started)}, and it goes on", flush=True)


def is_root() -> bool:
    return os.geteuid() == 0


def is_debian() -> bool:
    """Whether apt may be used here: Debian, Ubuntu and what calls itself like them."""
    release = Path("/etc/os-release")
    return bool(shutil.which("apt-get")) and release.exists() and "debian" in release.read_text()


def require(programs: dict[str, str], *, purpose: str) -> None:
    """Install the packages of those programs that are missing, or say which one is.

    A program is a name on PATH, a package what brings it on Debian and Ubuntu.
    """
    missing = [program for program in programs if not shutil.which(program)]
    if missing:
        install(
            [programs[program] for program in missing], wanted=", ".join(missing), purpose=purpose
        )


def install(packages: list[str], *, wanted: str, purpose: str) -> None:
    """Install packages with apt where that is possible, else refuse in one sentence."""
    names = " ".join(dict.fromkeys(packages))
    if not is_debian():
        raise LabError(f"{wanted} is missing ({purpose}); install it with your package manager.")
    if not is_root():
        raise LabError(f"{wanted} is missing ({purpose}); run: sudo apt-get install {names}")
    say(f"installing {names} ({purpose})")
    quiet = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_MODE": "l"}
    stream("apt-get", "update", "-q", environment=quiet)
    stream(
        *("apt-get", "install", "-y", "-q", "--no-install-recommends", *names.split()),
        environment=quiet,
    )


def _text(raw: bytes) -> str:
    return raw.decode(sys.stdout.encoding or "utf-8", errors="replace")
