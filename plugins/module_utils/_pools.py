# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The pools of PgBouncer, through its console on the Unix socket."""

from __future__ import annotations

from dataclasses import dataclass

from . import _errors, _psql

SOCKETS = "/run/pgbouncer"
TIMED_OUT = 124  # exit status of timeout(1)


@dataclass(frozen=True)
class Console:
    port: int
    run: _psql.Run = _psql.run

    def ask(self, statement: str, seconds: int = 10) -> tuple[int, str, str]:
        """With a header, because versions of PgBouncer differ in their columns."""
        # The console knows none of the options that other sessions of ours begin with.
        command = ["env", "--unset=PGOPTIONS", "timeout", str(seconds)]
        command += ["psql", "-XqA", "-F", "\t", "-P", "footer=off", "-h", SOCKETS]
        command += ["-p", str(self.port), "-U", "pgbouncer", "-d", "pgbouncer", "-c", statement]
        return self.run(_psql.as_user("postgres", command), "")


@dataclass(frozen=True)
class Done:
    known: bool
    changed: bool


def pause(console: Console, database: str, seconds: int) -> Done:
    """Paused, once every transaction has ended; resumed again if one does not."""
    state = _state(console, database)
    if state is None or state == "paused":
        return Done(state is not None, False)
    code, _out, said = console.ask(f"PAUSE {_quoted(database)};", seconds)
    if code == TIMED_OUT:
        console.ask(f"RESUME {_quoted(database)};")
        raise _errors.StackError(
            f"a client of {database} was still in a transaction after {seconds} s, so its pool was"
            " resumed: find it with SHOW CLIENTS in the console, and run this again."
        )
    _require(code, said, f"cannot pause {database}")
    return Done(True, True)


def resume(console: Console, database: str) -> Done:
    state = _state(console, database)
    if state != "paused":
        return Done(state is not None, False)
    code, _out, said = console.ask(f"RESUME {_quoted(database)};")
    _require(code, said, f"cannot resume {database}")
    return Done(True, True)


def _state(console: Console, database: str) -> str | None:
    """paused or active; None if there is no such pool."""
    code, output, said = console.ask("SHOW DATABASES;")
    _require(code, said, "the console of PgBouncer does not answer")
    header, *rows = [line.split("\t") for line in output.splitlines()]
    for row in rows:
        told = dict(zip(header, row, strict=False))
        if told["name"] == database:
            return "paused" if told["paused"] == "1" else "active"
    return None


def _require(code: int, said: str, failed: str) -> None:
    if code != 0:
        raise _errors.StackError(f"{failed}: {' '.join(said.split()).rstrip('.')}.")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
