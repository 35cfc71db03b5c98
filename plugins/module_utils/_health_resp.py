# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The little of the Redis protocol that a probe needs, so that no client has to be installed."""

from __future__ import annotations

import io
import typing as t

from . import _health, _health_net

LINE_LIMIT = 65_536
ANSWER_LIMIT = 1_048_576
LIST_LIMIT = 64
SEE = "see its journal"

Options = dict[str, t.Any]


def encode(words: t.Sequence[str]) -> bytes:
    """One command on the wire."""
    parts = [word.encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)


def answer(stream: io.BufferedReader, depth: int = 0) -> str:
    """One answer as text; an error keeps its minus, the items of a list are put on a line."""
    line = stream.readline(LINE_LIMIT).decode(errors="replace")
    if not line:
        raise _health.Unhealthy("it closed the connection without an answer")
    kind, rest = line[:1], line[1:].rstrip("\r\n")
    if kind in ("+", ":"):
        return rest
    if kind == "-":
        return f"-{rest}"
    if kind == "$" and rest.lstrip("-").isdigit():
        size = int(rest)
        if size > ANSWER_LIMIT:
            raise _health.Unhealthy(f"it announces {rest} bytes; at most {ANSWER_LIMIT} are read")
        return "" if size < 0 else stream.read(size + 2)[:-2].decode(errors="replace")
    if kind == "*" and rest.isdigit() and int(rest) <= LIST_LIMIT and depth < 2:
        return " ".join(answer(stream, depth + 1) for _item in range(int(rest)))
    said = f"it does not speak the Redis protocol but says {line[:60]!r}"
    raise _health.Unhealthy(said, "", "see who listens there: ss -ltnp")


def ask(check: Options, questions: list[list[str]], deadline: _health.Deadline) -> list[str]:
    """The answers to the questions, after a login where there is a password."""
    where = f"{check['host']}:{check['port']}"
    if check["user"] not in ("", "default") and not check["password"]:
        # Whoever does not log in is the default user, whatever name stands in the check.
        raise _health.CannotCheck(
            f"the user {check['user']} has no password here, so nobody can log in as it",
            f"set password, or in stack_health passwords.{check['user']}",
        )
    connection = _health_net.dial(check["host"], check["port"], deadline)
    if check["tls"]:
        context = _health_net.tls_context(check["ca_file"])
        connection = _health_net.secure(connection, context, check["host"], deadline)
    channel = _health_net.Channel(connection, deadline, ANSWER_LIMIT)
    with channel, channel.makefile("rb") as stream:
        deadline.stage(f"waiting for the first answer of {where}", SEE)
        if check["password"]:
            user = [check["user"]] if check["user"] else []
            channel.sendall(encode(["AUTH", *user, check["password"]]))
            _log_in(answer(stream), check["user"])
        channel.sendall(b"".join(map(encode, questions)))
        stream.peek(1)
        deadline.stage(f"reading the answers of {where}, too slow or endless", SEE)
        return [answer(stream) for _question in questions]


def _log_in(said: str, user: str) -> None:
    if said != "OK":
        name = user or "the default user"
        raise _health.Unhealthy(
            f"no login as {name}: {said.lstrip('-')}", "OK", "compare the password with the ACL"
        )
