# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Also runs outside Ansible, where no run_command is. pylint: disable=ansible-bad-function
"""Programs that a probe asks: ended at the deadline with all their children, output bounded."""

from __future__ import annotations

import collections.abc
import contextlib
import os
import selectors
import signal
import subprocess
import typing as t

from ansible_collections.slipway.stack.plugins.module_utils import _health

SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LIMIT = 1_048_576


def output(
    command: collections.abc.Sequence[str],
    deadline: _health.Deadline,
    environment: collections.abc.Mapping[str, str] | None = None,
    limit: int = LIMIT,
    pass_fds: collections.abc.Sequence[int] = (),
    quoted: int = 1,
) -> str:
    """What the program printed; one that is missing cannot be asked.

    Of one that fails the last lines are quoted, so many as its complaints have.
    """
    try:
        program = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            pass_fds=tuple(pass_fds),
            env={**os.environ, "PATH": SEARCH, "LC_ALL": "C.UTF-8", **(environment or {})},
        )
    except FileNotFoundError as error:
        raise _health.CannotCheck(
            f"{command[0]} is not installed", f"install {command[0]}"
        ) from error
    try:
        told = _read(program, deadline, limit)
        rc = program.wait(deadline.remaining())
    except subprocess.TimeoutExpired as error:
        raise _health.Expired(deadline.said()) from error
    finally:
        _end(program)
    said, complaint = (told[name].decode(errors="replace") for name in ("stdout", "stderr"))
    if rc != 0:
        lines = (complaint.strip() or said.strip()).splitlines()
        last = " ".join(lines[-quoted:])
        raise _health.Unhealthy(_health.brief(last or f"{command[0]} ended: {rc}"))
    return said


def systemd(
    command: collections.abc.Sequence[str],
    deadline: _health.Deadline,
    ask: t.Callable[..., str] = output,
) -> str:
    """What systemctl printed; where it fails, nothing is known of any unit."""
    try:
        return ask(command, deadline)
    except _health.Unhealthy as error:  # in a container without it, for one
        remedy = "is systemd running here? systemctl status"
        raise _health.CannotCheck(f"systemd does not answer: {error}", remedy) from None


def _read(
    program: subprocess.Popen[bytes], deadline: _health.Deadline, limit: int
) -> dict[str, bytearray]:
    told = {"stdout": bytearray(), "stderr": bytearray()}
    with selectors.DefaultSelector() as selector:
        for name in told:
            selector.register(t.cast(t.Any, getattr(program, name)), selectors.EVENT_READ, name)
        while selector.get_map():
            for key, _events in selector.select(deadline.remaining()):
                data = os.read(key.fd, 65_536)
                told[key.data] += data
                if not data:
                    selector.unregister(key.fileobj)
                if len(told[key.data]) > limit:
                    raise _health.Unhealthy(f"{deadline.doing}: more than {limit} bytes")
    return told


def _end(program: subprocess.Popen[bytes]) -> None:
    """Whatever is left of the program and its children; their group bears its number."""
    # Once it was waited for, the number may be somebody else's.
    if program.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(program.pid, signal.SIGKILL)
    # A process in an uninterruptible wait does not even die of SIGKILL.
    with contextlib.suppress(subprocess.TimeoutExpired):
        program.wait(1)
    for stream in (program.stdout, program.stderr):
        t.cast(t.IO[bytes], stream).close()
