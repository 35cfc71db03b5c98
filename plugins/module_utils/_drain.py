# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Also runs outside Ansible, where no run_command is. pylint: disable=ansible-bad-function
"""python3 _drain.py PID PORT SECONDS: a server takes no more clients and ends those it has.

For PgBouncer: up to 1.22 it cannot be told to, and a newer one that was told breaks off whom it has
accepted meanwhile when it is told the next thing. Somebody else must listen on the same sockets.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import select
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

PROC = Path("/proc")
_ESTABLISHED = "01"
_WATCHER = "anon_inode:[eventpoll]"
_PIDFD_GETFD = 438  # on every processor; Python has no name for it
_PAUSE = 0.05


def clients(pid: int, port: int, proc: Path = PROC) -> int:
    """How many connections to this port the process holds."""
    home = proc / str(pid)
    if not home.exists():
        return 0
    held = {target for _number, target in _descriptors(home / "fd")}
    rows = [row.split() for name in ("tcp", "tcp6") for row in _rows(home / "net" / name)]
    return sum(
        state == _ESTABLISHED
        and int(local.rpartition(":")[2], 16) == port
        and f"socket:[{inode}]" in held
        for _number, local, _peer, state, *_counters, inode in (row[:10] for row in rows)
    )


def _descriptors(folder: Path) -> Iterator[tuple[int, str]]:
    for name in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            yield int(name), os.readlink(folder / name)


def _rows(path: Path) -> list[str]:
    return path.read_text(encoding="ascii").splitlines()[1:] if path.exists() else []


def stop_accepting(pid: int) -> None:
    """Take the sockets on which it listens from those that it watches, which are in an epoll.

    Who comes then waits in them until the other server accepts. Everything else goes on: it may
    still open connections to the database for those whom it has accepted.
    """
    found = dict(_descriptors(PROC / str(pid) / "fd"))
    # What is watched is a file by its number, which therefore must be free here.
    above = max(found) + 1
    process = _moved(os.pidfd_open(pid), above)
    watchers = [
        select.epoll.fromfd(_moved(_copied(process, number), above))
        for number, target in found.items()
        if target == _WATCHER
    ]
    for number, target in found.items():
        if not target.startswith("socket:"):
            continue
        with socket.socket(fileno=_moved(_copied(process, number), above)) as door:
            if not door.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                continue
            os.dup2(door.fileno(), number)
        for watcher in watchers:
            with contextlib.suppress(FileNotFoundError):
                watcher.unregister(number)
    os.close(process)


def _copied(process: int, number: int) -> int:
    """A file that the process has open, as one of our own."""
    libc = ctypes.CDLL(None, use_errno=True)
    copy = int(libc.syscall(_PIDFD_GETFD, process, number, 0))
    if copy < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return copy


def _moved(number: int, above: int) -> int:
    moved = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, above)
    os.close(number)
    return moved


def is_busy(pid: int) -> bool:
    """Whether it may still be at what it has seen before, for example somebody who knocks."""
    try:
        said = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return said.rpartition(")")[2].split()[0] != "S"


def drain(
    count: Callable[[], int],
    seconds: float,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Wait until nothing is left; how much is when the time is over."""
    until = now() + seconds
    while (left := count()) and now() < until:
        sleep(_PAUSE)
    return left


def main(arguments: Sequence[str]) -> int:
    pid, port, seconds = int(arguments[0]), int(arguments[1]), float(arguments[2])
    try:
        stop_accepting(pid)
    except OSError as error:
        sys.stderr.write(f"It cannot be kept from accepting clients: {error}\n")
        return 1
    drain(lambda: is_busy(pid), seconds)
    left = drain(lambda: clients(pid, port), seconds)
    if left:
        # Idle ones for the most part: what they have begun, the server still ends.
        sys.stderr.write(f"{left} clients stayed for {seconds:g} s and have to come again.\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
