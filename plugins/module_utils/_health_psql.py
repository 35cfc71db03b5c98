# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""psql for the probes of PostgreSQL and PgBouncer: bounded, and with no secret in a command."""

from __future__ import annotations

import os
import pwd
import re
import typing as t

from . import _health, _health_process

Options = dict[str, t.Any]
# Words of psql that tell of the one who asks, and not of the server.
OURS = re.compile(
    r"[Pp]eer authentication failed|Permission denied|no password supplied"
    r"|unsupported startup parameter"
)
_PREFIX = re.compile(r"^psql(:\S+:\d+)?: (error: )?(connection to server .*? failed: )?")
_NOBODY = re.compile(r"^(No such file or directory|Connection refused)\s+Is the server running")
MISSING = re.compile(r"failed to execute psql|psql is not installed")
REMEDY = "run it as root (become), or set host, user and password"


def login(host: str, port: int, user: str) -> Options:
    """The options with which a server is reached."""
    return {
        "host": {"type": "str", "default": host},
        "port": {"type": "int", "default": port},
        "user": {"type": "str", "default": user},
        "password": {"type": "str", "default": "", "no_log": True},
        "sslmode": {
            "type": "str",
            "default": "require",
            "choices": ["disable", "prefer", "require", "verify-ca", "verify-full"],
        },
        "ca_file": {"type": "path"},
        "system_user": {"type": "str", "default": "postgres"},
    }


def command(
    check: Options,
    database: str,
    root: bool,
    look_up: t.Callable[[str], pwd.struct_passwd] = pwd.getpwnam,
) -> list[str]:
    """psql over TCP, or by peer over a socket as the system user that the server trusts."""
    words = ["psql", "-XqAtw", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=terse"]
    words += ["-h", check["host"], "-p", str(check["port"]), "-U", check["user"], "-d", database]
    if not root or not check["host"].startswith("/"):
        return words
    try:
        user = look_up(check["system_user"])
    except KeyError:
        sentence = f"there is no system user {check['system_user']}"
        raise _health.CannotCheck(sentence, "set system_user, or host and password") from None
    identity = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--init-groups"]
    return ["setpriv", *identity, "--", *words]


def environment(check: Options, seconds: float) -> dict[str, str]:
    """What libpq reads; it takes a time limit under two seconds for two."""
    return {
        "PGCONNECT_TIMEOUT": str(max(2, int(seconds))),
        "PGSSLMODE": check["sslmode"],
        **({"PGSSLROOTCERT": check["ca_file"]} if check.get("ca_file") else {}),
        "PGAPPNAME": "slipway health",
        # No prompt, which nobody would answer, and nobody's own file of passwords.
        "PGPASSFILE": "/nonexistent",
        **({"PGPASSWORD": check["password"]} if check["password"] else {}),
    }


def ask(
    script: str,
    check: Options,
    database: str,
    deadline: _health.Deadline,
    output: t.Callable[..., str] = _health_process.output,
    root: bool | None = None,
) -> list[str]:
    """The lines that a script answers, or the server's own words as an error."""
    root = os.geteuid() == 0 if root is None else root
    seconds = deadline.remaining()
    where = f"{check['host']}:{check['port']}"
    deadline.stage(f"asking {where}, database {database}", "see its journal")
    argv = [*command(check, database, root), "-v", f"milliseconds={max(1, int(seconds * 1000))}"]
    # A file without a name: psql may be another user, and what is asked is in no process list.
    with os.fdopen(os.memfd_create("script"), "wb", buffering=0) as file:
        file.write(script.encode())
        try:
            said = output(
                [*argv, "-f", f"/proc/self/fd/{file.fileno()}"],
                deadline,
                # A login that hangs is to be told from a query that does.
                environment=environment(check, seconds * 2 / 3),
                pass_fds=[file.fileno()],
                quoted=2,
            )
        except (_health.Unhealthy, _health.CannotCheck) as refusal:
            raise explain(str(refusal), where) from None
    return said.splitlines()


def explain(complaint: str, where: str) -> Exception:
    """What psql complains of: the server, or the one who asks."""
    said = _PREFIX.sub("", complaint)
    if MISSING.search(said):  # in the words of setpriv, or in ours
        return _health.CannotCheck("psql is not installed", "install postgresql-client")
    if OURS.search(said):
        return _health.CannotCheck(said, REMEDY)
    if nobody := _NOBODY.search(said):
        return _health.Unhealthy(
            f"nobody listens on {where}: {nobody[1]}",
            "",
            "is it running: systemctl list-units --all '*postgres*' '*pgbouncer*', its journal",
        )
    if "timeout expired" in said:
        return _health.Unhealthy(f"{where} takes the connection, but no login is answered")
    return _health.Unhealthy(said)
