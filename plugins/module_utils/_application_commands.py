# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Also runs outside Ansible, where no run_command is. pylint: disable=ansible-bad-function
"""Run commands as an application's user."""

from __future__ import annotations

import dataclasses
import grp
import os
import pwd
import shlex
import subprocess
import tempfile
import time
import typing as t
from pathlib import Path

from ansible_collections.slipway.stack.plugins.module_utils import _environment
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError

LONGEST = 3600.0
_PATH = "/usr/local/bin:/usr/bin:/bin"
# The release that serves shares the processor with the one that is built. Among units, systemd
# gives each its share, and niceness counts within one only.
_AFTER_VISITORS = ("nice", "-n", "10")
_LOW_PRIORITY = ("CPUWeight=20", "IOWeight=20")
_SANDBOX = (
    "NoNewPrivileges=yes",
    "PrivateTmp=yes",
    "ProtectSystem=strict",
    "ProtectHome=yes",
    "UMask=0027",
)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    output: str

    def tail(self, lines: int = 15) -> str:
        return "\n".join(self.output.strip().splitlines()[-lines:])


def as_user(
    user: str,
    command: t.Sequence[str],
    *,
    home: Path,
    directory: Path | None = None,
    environment: t.Mapping[str, str] | None = None,
    timeout: float = 900,
    reads: t.IO[bytes] | None = None,
    writes: t.IO[bytes] | None = None,
) -> Outcome:
    """Run a command as the user, in a clean environment, without any secret of the application.

    `reads` and `writes` are files that whoever calls has opened, and the user need not reach.
    """
    entry = pwd.getpwnam(user)
    values = {"HOME": str(home), "PATH": _PATH, "LANG": "C.UTF-8", "USER": user}
    try:
        done = subprocess.run(
            [*_AFTER_VISITORS, *command],
            cwd=str(directory or home),
            env=dict(values, **(environment or {})),
            user=entry.pw_uid,
            group=entry.pw_gid,
            extra_groups=[],
            umask=0o027,
            stdin=reads or subprocess.DEVNULL,
            stdout=writes or subprocess.PIPE,
            stderr=subprocess.PIPE if writes else subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise StackError(f"{command[0]} did not end within {timeout:.0f} s.") from None
    return Outcome(done.returncode, done.stdout or done.stderr or "")


def in_release(
    user: str,
    command: str,
    *,
    release: Path,
    writable: t.Sequence[Path],
    environment_file: Path,
    environment: t.Mapping[str, str],
    timeout: float = LONGEST,
    low_priority: bool = False,
) -> Outcome:
    """Run a command as the service would: same environment, same user, in a sandbox.

    The values travel in files that only root can read, never in arguments.
    """
    properties = _LOW_PRIORITY if low_priority else ()
    began = time.monotonic()
    values = dict(read_environment(environment_file), **environment)
    with tempfile.NamedTemporaryFile("w", dir="/run", prefix="slipway-", suffix=".env") as extra:
        extra.write(_environment.render(environment))
        extra.flush()
        files = [str(environment_file), extra.name]
        done = subprocess.run(
            sandboxed(user, shlex.split(command), release, writable, files, timeout, properties),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    said = _environment.mask(done.stdout, values)
    # systemd ends it, and does not say why.
    if done.returncode and time.monotonic() - began >= timeout:
        said = f"{said.rstrip()}\nIt did not end within {timeout:.0f} s"
    return Outcome(done.returncode, said)


def at_home(
    user: str,
    command: str,
    home: Path,
    release: Path,
    environment: t.Mapping[str, t.Any],
    timeout: float = LONGEST,
    low_priority: bool = False,
) -> Outcome:
    """Run a command in a release of the application, which may write what all releases share.

    What visitors need not wait for, they are served before.
    """
    return in_release(
        user,
        command,
        release=release,
        writable=[home / "static", home / "media"],
        environment_file=Path(f"/etc/slipway/{user}/environment"),
        environment={key: str(value) for key, value in environment.items()},
        timeout=timeout,
        low_priority=low_priority,
    )


def sandboxed(
    user: str,
    argv: list[str],
    release: Path,
    writable: t.Sequence[Path],
    files: t.Sequence[str],
    timeout: float,
    properties: t.Sequence[str] = (),
) -> list[str]:
    """The command as a unit that exists as long as it runs, with the values of these files."""
    settings = [
        *(f"EnvironmentFile={file}" for file in (*files, f"-{release}/release.env")),
        *(f"ReadWritePaths=-{path}" for path in writable),
        f"RuntimeMaxSec={timeout:.0f}",
        *properties,
    ]
    program = release / "venv" / "bin" / argv[0]
    argv = [str(program) if program.exists() else argv[0], *argv[1:]]
    group = grp.getgrgid(pwd.getpwnam(user).pw_gid).gr_name
    identity = [f"User={user}", f"Group={group}", f"WorkingDirectory={release}/project"]
    variables = [
        f"PATH={release}/venv/bin:{_PATH}",
        "PYTHONDONTWRITEBYTECODE=1",
        "LANG=C.UTF-8",
    ]
    return [
        *["systemd-run", "--quiet", "--wait", "--pipe", "--collect"],
        *[word for setting in (*identity, *settings, *_SANDBOX) for word in ("-p", setting)],
        *[word for variable in variables for word in ("-E", variable)],
        *argv,
    ]


def read_environment(path: Path) -> dict[str, str]:
    return _environment.parse(path.read_text(encoding="utf-8")) if path.exists() else {}


def own(path: Path, user: str, group: str) -> None:
    """Create a directory that nobody but its user and its group can enter."""
    path.mkdir()
    os.chown(path, pwd.getpwnam(user).pw_uid, grp.getgrnam(group).gr_gid)
    path.chmod(0o750)
