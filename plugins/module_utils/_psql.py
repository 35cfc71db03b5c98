# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Also runs outside Ansible, where no run_command is. pylint: disable=ansible-bad-function
"""psql as the server's own user over its local socket; SQL goes in by stdin alone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
import typing as t
from dataclasses import dataclass

from . import _errors, _postgres

SOCKETS = "/var/run/postgresql"
# No statement of ours may reach the server's log or its statistics: some carry verifiers.
SILENCE = {
    "log_statement": "none",
    "log_duration": "off",
    "log_min_duration_statement": "-1",
    "log_min_duration_sample": "-1",
    "log_transaction_sample_rate": "0",
    "log_min_error_statement": "panic",
    "pg_stat_statements.track_utility": "off",
    "pgaudit.log": "none",
    "client_min_messages": "warning",
    "statement_timeout": "0",
}
UNREACHABLE = 2  # psql's exit status when there is no connection
_VERIFIER = re.compile(r"SCRAM-SHA-256\$\S+")

Run = t.Callable[[t.Sequence[str], str], "tuple[int, str, str]"]


def run(
    command: t.Sequence[str], sql: str, environment: t.Mapping[str, str] | None = None
) -> tuple[int, str, str]:
    """Status, output and errors; a psql that ends before it reads is not an error of its own."""
    options = " ".join(f"-c {name}={value}" for name, value in SILENCE.items())
    done = subprocess.run(
        list(command),
        input=sql.encode(),
        capture_output=True,
        cwd="/",
        env={
            **os.environ,
            "PGOPTIONS": options,
            "LC_ALL": "C.UTF-8",
            "PGCONNECT_TIMEOUT": "10",
            **(environment or {}),
        },
        check=False,
    )
    # pgBackRest tells what the wrong passphrase makes of a file as it is.
    output, errors = (each.decode("utf-8", "replace") for each in (done.stdout, done.stderr))
    return done.returncode, output, errors


@dataclass(frozen=True)
class Psql:
    port: int
    run: Run = run
    user: str = "postgres"
    sleep: t.Callable[[float], None] = time.sleep
    socket: str = SOCKETS
    database: str = _postgres.MAINTENANCE

    def reachable(self) -> bool:
        return self._once("SELECT 1;\n")[0] == 0

    def ask(self, sql: str, attempts: int = 30) -> str:
        """The answer; waits while a server that was just started does not listen yet."""
        while True:
            attempts -= 1
            status, output, errors = self._once(sql)
            if status == 0:
                return output
            if status != UNREACHABLE or attempts < 1:
                raise PsqlError(_sentence(errors), output)
            self.sleep(1)

    def _once(self, sql: str) -> tuple[int, str, str]:
        command = ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=terse"]
        command += ["-h", self.socket, "-p", str(self.port)]
        # libpq would parse a name with = in it.
        command += ["-d", f"dbname={_quoted(self.database)}"]
        return self.run(as_user(self.user, command), sql)


def as_user(user: str, command: list[str]) -> list[str]:
    """As that user; not by runuser, which would write a PAM session into the journal."""
    if os.geteuid() != 0:
        return command
    return ["setpriv", f"--reuid={user}", "--init-groups", f"--regid={user}", "--", *command]


def call(run: Run, command: t.Sequence[str], failed: str, text: str = "") -> str:
    """What a command says; a sentence that begins with `failed`, unless it may fail."""
    code, output, said = run(command, text)
    if code != 0 and failed:
        why = " ".join((said or output).split()).rstrip(".")
        raise _errors.BackupError(f"{failed}: {why or f'it ended with {code}'}.")
    return output


def _quoted(name: str) -> str:
    return "'" + name.replace("\\", "\\\\").replace("'", "\\'") + "'"


class PsqlError(_errors.StackError):
    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message)
        self.output = output


def read(psql: Psql, declared: _postgres.Declared) -> _postgres.Found:
    """Two executions of psql, however many databases there are."""
    cluster = json.loads(psql.ask(_postgres.cluster_query(declared)))
    wanted = [_postgres.MAINTENANCE] + [database.name for database in declared.databases]
    present = [name for name in wanted if name in cluster["databases"]]
    answers = psql.ask(_postgres.content_query(present)).splitlines()
    contents = {content["name"]: content for content in map(json.loads, filter(None, answers))}
    return _postgres.Found(
        version=cluster["version"],
        roles=cluster["roles"],
        databases=cluster["databases"],
        contents=contents,
        pending_restart=tuple(cluster["pending_restart"]),
        hba_errors=tuple(cluster["hba_errors"]),
    )


def apply(psql: Psql, steps: list[_postgres.Step], database: str = _postgres.MAINTENANCE) -> None:
    """Each step in its database; psql begins in `database`."""
    try:
        psql.ask(_postgres.script(steps, database), attempts=1)  # a step is not repeated
    except PsqlError as refusal:
        reached = refusal.output.split()
        at = f" at '{steps[int(reached[-1])].what}'" if reached else ""
        raise _errors.StackError(f"PostgreSQL refused{at}: {refusal}") from None


def _sentence(errors: str) -> str:
    """psql's words without its prefix, and without any verifier that it quotes."""
    lines = [re.sub(r"^psql(:\S+:\d+)?: (error: )?", "", line) for line in errors.splitlines()]
    text = " ".join(line.strip() for line in lines if line.strip())
    return _VERIFIER.sub("SCRAM-SHA-256$...", text) or "psql ended without a message."
