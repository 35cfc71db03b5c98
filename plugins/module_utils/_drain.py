# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""python3 _drain.py PID PORT SECONDS: a server takes no more clients and ends those it has.

For PgBouncer, which knows how to only from 1.23 on. Somebody else must listen on the same socket.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

PROC = Path("/proc")
_ESTABLISHED = "01"
_KNOWS_HOW = (1, 23)
_PAUSE = 0.05


def clients(pid: int, port: int, proc: Path = PROC) -> int:
    """How many connections to this port the process holds."""
    home = proc / str(pid)
    if not home.exists():
        return 0
    held = set(_sockets(home / "fd"))
    rows = [row.split() for name in ("tcp", "tcp6") for row in _rows(home / "net" / name)]
    return sum(
        state == _ESTABLISHED and int(local.rpartition(":")[2], 16) == port and inode in held
        for _number, local, _peer, state, *_counters, inode in (row[:10] for row in rows)
    )


def _sockets(folder: Path) -> Iterator[str]:
    for name in os.listdir(folder):
        try:
            target = os.readlink(folder / name)
        except FileNotFoundError:  # closed meanwhile
            continue
        if target.startswith("socket:["):
            yield target[len("socket:[") : -1]


def _rows(path: Path) -> list[str]:
    return path.read_text(encoding="ascii").splitlines()[1:] if path.exists() else []


def stop_accepting(pid: int, version: tuple[int, ...]) -> None:
    """Who waits in the socket then is another's to take."""
    if version >= _KNOWS_HOW:
        os.kill(pid, signal.SIGTERM)
        return
    # Without a free descriptor it cannot accept. Nor can it open a connection to the database for
    # one whom it has accepted just now, where none is open yet: that one fails.
    _soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (0, hard))


def version_of(pid: int) -> tuple[int, ...]:
    """Of the program that runs, which may have been replaced on the disk."""
    command = [f"/proc/{pid}/exe", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"(\d+)\.(\d+)", done.stdout)
    return tuple(map(int, found.groups())) if found else ()


def drain(
    count: Callable[[], int],
    seconds: float,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Wait until no client is left; how many are when the time is over."""
    until = now() + seconds
    while (left := count()) and now() < until:
        sleep(_PAUSE)
    return left


def main(arguments: Sequence[str]) -> int:
    pid, port, seconds = int(arguments[0]), int(arguments[1]), float(arguments[2])
    stop_accepting(pid, version_of(pid))
    left = drain(lambda: clients(pid, port), seconds)
    if left:
        # Idle ones for the most part: what they have begun, the server still ends.
        sys.stderr.write(f"{left} clients stayed for {seconds:g} s and have to come again.\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
