# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Work that stands still in its middle until a fault has struck, however fast the machine is.

While the file GATE is there, whoever comes by waits, and says so in the file HELD.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import shlex
import typing as t

import operations
from testinfra.host import Host

GATE = "/run/postgresql/gate"
HELD = "/run/postgresql/held"
# Whoever loads rows into a table with this CHECK does so in a server that waits.
TABLE = f"""
CREATE OR REPLACE FUNCTION pass() RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
  WHILE (pg_stat_file('{GATE}', true)).size IS NOT NULL LOOP
    COPY (SELECT 1) TO '{HELD}';
    PERFORM pg_sleep(0.1);
  END LOOP;
  RETURN true;
END $$;
CREATE TABLE {{name}} (x int CHECK (public.pass()));
"""
# Whoever wants that table waits for this session, which stands still itself.
LOCK = f"""
DO $$ BEGIN
  LOCK TABLE {{name}};
  WHILE (pg_stat_file('{GATE}', true)).size IS NOT NULL LOOP
    IF EXISTS (SELECT FROM pg_locks WHERE NOT granted) THEN
      COPY (SELECT 1) TO '{HELD}';
    END IF;
    PERFORM pg_sleep(0.1);
  END LOOP;
END $$
"""
LOCKED = (
    "SELECT 1 FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation = '{name}'::regclass"
)
# The way to S3: what goes one way over it stands still after its first megabyte, which is more than
# what there is to look up, and less than a backup or a copy takes.
LINE = f"""
import contextlib, pathlib, socket, sys, threading, time

address, port, way = sys.argv[1], int(sys.argv[2]), sys.argv[3]
gate, held, passed = pathlib.Path({GATE!r}), pathlib.Path({HELD!r}), 0

def carry(source, sink, counted):
    global passed
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            passed += len(data) if counted else 0
            while counted and passed > 2**20 and gate.exists():
                held.touch()
                time.sleep(0.05)
            sink.sendall(data)
    for each in (source, sink):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)

listener = socket.create_server(("127.0.0.1", port))
pathlib.Path("/root/line.open").touch()
while True:
    client = listener.accept()[0]
    store = socket.create_connection((address, port))
    threading.Thread(target=carry, args=(client, store, way == "sent")).start()
    threading.Thread(target=carry, args=(store, client, way == "received")).start()
"""
OPEN_LINE = (
    "rm -f /root/line.open"
    " && systemd-run --quiet --collect --unit=line"
    f" python3 -c {shlex.quote(LINE)} $(cat /root/line)"
    " && timeout 60 sh -c 'until test -e /root/line.open; do sleep 0.1; done'"
)
CUT_LINE = "systemctl stop line"


@contextlib.contextmanager
def line(host: Host, way: str) -> t.Iterator[None]:
    """Everything between the machine and S3 goes over it; `way` is sent or received."""
    address = "getent hosts s3.services.test | cut -d' ' -f1"
    port = "sed -n s/^repo1-storage-port=//p /etc/pgbackrest/pgbackrest.conf"
    # The file is mounted into the container, so it can be written and not be replaced.
    begin = f"echo $({address}) $({port}) {way} >/root/line && cp /etc/hosts /root/hosts"
    begin += f" && {OPEN_LINE} && echo 127.0.0.1 s3.services.test >>/etc/hosts"
    with operations.broken(host, begin, f"cat /root/hosts >/etc/hosts; {CUT_LINE} || true"):
        yield


def rebooted(host: Host) -> None:
    """A machine that is shut down meanwhile; what it archives then finds its way to S3."""
    host.run("test -e /root/hosts && cat /root/hosts >/etc/hosts")
    operations.reboot(host)


# The server goes at once, but its last segment may have to wait behind the gate.
STOP_SERVER = (
    "systemctl stop --no-block postgresql@17-main"
    " && while runuser -u postgres -- psql -XAtqc 'SELECT 1'; do sleep 0.1; done"
)
START_SERVER = "systemctl start postgresql@17-main"

Ended = t.TypeVar("Ended")


def locked(host: Host, database: str, table: str, run: t.Callable[[], Ended]) -> Ended:
    """What becomes of a run that meets a locked table; only where the gate is closed."""
    psql = f"runuser -u postgres -- psql -XAtq -d {database} -c"
    # systemd reads two dollars as one.
    lock = shlex.quote(LOCK.format(name=table).replace("$$", "$$$$"))
    host.check_output(f"systemd-run --quiet --collect {psql} {lock}")
    asked = f"{psql} {shlex.quote(LOCKED.format(name=table))}"
    until = f"until {asked} | grep -q 1; do sleep 0.1; done"
    host.check_output(f"timeout 60 sh -c {shlex.quote(until)}")
    return run()


def struck(
    host: Host, program: str, fault: str | t.Callable[[], object], run: t.Callable[[], Ended]
) -> Ended:
    """What becomes of a run when the fault strikes as soon as that program is held."""
    wait = f"""
    while test -e {GATE}; do
      test -e {HELD} && pgrep -f '{program}' >/dev/null && exit 0
      sleep 0.1
    done
    exit 1
    """

    def strike() -> None:
        held = host.run(wait)
        assert held.rc == 0, "nothing struck: the program was never held"
        if isinstance(fault, str):
            host.check_output(fault)
        else:
            fault()
        host.check_output(f"rm -f {GATE}")

    host.check_output(f"rm -f {HELD}; touch {GATE}")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        outcome = pool.submit(strike)
        try:
            ended = run()
        finally:
            # Otherwise whoever waits would do so for ever.
            host.run(f"rm -f {GATE}")
        outcome.result()
    return ended
