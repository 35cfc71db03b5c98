# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether PgBouncer's pools have room, and whether the databases behind them can be reached."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

from . import _health, _health_psql
from . import _health_limits as _limits
from ._health import CRITICAL, OK, UNKNOWN, Finding, judge

CONSOLE = "pgbouncer"
# In use or about to be; sv_idle and sv_used wait to be taken.
BUSY = ("sv_active", "sv_active_cancel", "sv_being_canceled", "sv_tested", "sv_login")

KIND = "pgbouncer"
OPTIONS: dict[str, t.Any] = {
    **_health_psql.login(host="/run/pgbouncer", port=6432, user="pgbouncer"),
    "databases": {"type": "list", "elements": "str", "default": []},
    "login_host": {"type": "str", "default": "127.0.0.1"},
    "login_user": {"type": "str", "default": "pgbouncer"},
    "login_password": {"type": "str", "default": "", "no_log": True},
    "userlist": {"type": "path", "default": "/etc/pgbouncer/userlist.txt"},
    **_limits.options("int", waiting_clients=(0, 50)),
    **_limits.options(
        "float", maxwait_seconds=(1, 10), pool_percent=(80, 95), clients_percent=(80, 95)
    ),
}

Row = dict[str, str]
Ask = t.Callable[..., list[str]]


SCRIPT = "\\t off\n\\pset footer off\n" + "".join(
    f"\\echo @{name}\nSHOW {name};\n" for name in ("POOLS", "DATABASES", "LISTS", "CONFIG")
)


def probe(
    check: dict[str, t.Any],
    deadline: _health.Deadline,
    ask: Ask = _health_psql.ask,
) -> list[Finding]:
    """The findings of one pooler, then of each database behind it."""
    name = check["label"]
    shown = tables(ask(SCRIPT, check, CONSOLE, deadline))
    known = {row["name"]: row for row in shown["DATABASES"] if row["name"] != CONSOLE}
    found = [clients(name, check, shown)]
    for database in check["databases"] or sorted(known):
        if database not in known:
            value, advice = "the pooler does not know it", "add it to [databases] and reload"
            found.append(Finding(f"{name} {database}", CRITICAL, value, "known", advice))
            continue
        pools = [row for row in shown["POOLS"] if row["database"] == database]
        found += [waiting(name, check, database, pools), use(name, check, known[database], pools)]
    names = [database for database in check["databases"] or sorted(known) if database in known]
    return found + reach(name, check, {each: known[each] for each in names}, deadline, ask)


def tables(lines: list[str]) -> dict[str, list[Row]]:
    """What psql printed, by the name that stands before each table's header."""
    found: dict[str, list[list[str]]] = {}
    for line in lines:
        if line.startswith("@"):
            rows = found.setdefault(line[1:], [])
        elif found:
            rows.append(line.split("\t"))
    return {
        name: [dict(zip(rows[0], row, strict=False)) for row in rows[1:]]
        for name, rows in found.items()
    }


def clients(name: str, check: dict[str, t.Any], shown: dict[str, list[Row]]) -> Finding:
    """The share of the places for clients; a client too many is turned away."""
    places = max(1, int(_value(shown["CONFIG"], "key", "max_client_conn", "value")))
    used = int(_value(shown["LISTS"], "list", "used_clients", "items"))
    warning, critical = _limits.pair(check, "clients", "percent")
    return Finding(
        f"{name} clients",
        judge(100 * used / places, warning, critical),
        f"{used} of {places} places taken",
        f"at most {warning:g} %",
        "find who holds them: SHOW CLIENTS; then raise max_client_conn",
    )


def waiting(name: str, check: dict[str, t.Any], database: str, pools: list[Row]) -> Finding:
    """Clients that have no server connection yet, and how long the first has waited."""
    count = sum(int(row["cl_waiting"]) for row in pools)
    longest = max((float(row["maxwait"]) + _micro(row) for row in pools), default=0.0)
    number, seconds = (
        _limits.pair(check, "waiting", "clients"),
        _limits.pair(check, "maxwait", "seconds"),
    )
    return Finding(
        f"{name} {database} waiting",
        _limits.worst([judge(count, *number), judge(longest, *seconds)]),
        f"{count} clients wait, the first {longest:.1f} s",
        f"at most {number[0]:g} clients and {seconds[0]:g} s",
        "find long transactions in pg_stat_activity, then raise pool_size",
    )


def use(name: str, check: dict[str, t.Any], database: Row, pools: list[Row]) -> Finding:
    """The fullest pool of a database; all is taken when its reserve is taken as well."""
    reserve = database.get("reserve_pool_size") or database.get("reserve_pool") or "0"
    places = max(1, int(database["pool_size"]) + int(reserve))
    most = max((sum(int(row.get(key) or 0) for key in BUSY) for row in pools), default=0)
    warning, critical = _limits.pair(check, "pool", "percent")
    return Finding(
        f"{name} {database['name']} pool",
        judge(100 * most / places, warning, critical),
        f"{most} of {places} server connections busy, reserve included",
        f"at most {warning:g} %",
        "raise pool_size, or shorten the transactions",
    )


def reach(
    name: str,
    check: dict[str, t.Any],
    databases: dict[str, Row],
    deadline: _health.Deadline,
    ask: Ask,
) -> list[Finding]:
    """A login through the pooler to the server behind it, for each database."""
    found, left = [], len(databases)
    password = check["login_password"] or _password(check)
    for database, row in databases.items():
        label = f"{name} {database} reachable"
        stopped = next((word for word in ("paused", "disabled") if row[word] != "0"), "")
        if stopped:
            advice = f"{'RESUME' if stopped == 'paused' else 'ENABLE'} {database} in the console"
            found.append(Finding(label, CRITICAL, stopped, "in service", advice))
        elif not password:
            value = f"no password for {check['login_user']} in {check['userlist']}"
            advice = "run it as root (become), or set login_user and login_password"
            found.append(Finding(label, UNKNOWN, value, "SELECT 1", advice))
        else:
            # One that hangs must not take the others' time.
            share = _health.Deadline(deadline.remaining() / (left + 1))
            found.append(_login(label, {**check, "password": password}, database, share, ask))
        left -= 1
    return found


def _login(
    label: str, check: dict[str, t.Any], database: str, share: _health.Deadline, ask: Ask
) -> Finding:
    client = {**check, "host": check["login_host"], "user": check["login_user"]}
    limit, advice = "SELECT 1", "see the journals of pgbouncer and of the server behind it"
    try:
        ask("SELECT 1;", client, database, share)
    except _health.Expired as late:
        return Finding(label, CRITICAL, str(late), limit, advice)
    except _health.Unhealthy as refusal:
        return Finding(label, CRITICAL, str(refusal), limit, advice)
    except _health.CannotCheck as refusal:
        return Finding(label, UNKNOWN, str(refusal), limit, _health_psql.REMEDY)
    # The way is open; the application's own password was not tried.
    return Finding(label, OK, f"SELECT 1 answered to the user {check['login_user']}", limit)


def _password(check: dict[str, t.Any]) -> str:
    """The user's password where the pooler has it in plain words; a hash lets nobody in."""
    try:
        text = Path(check["userlist"]).read_text(encoding="utf-8")
    except OSError:
        return ""
    entries = re.findall(r'^"((?:[^"]|"")*)" "((?:[^"]|"")*)"', text, re.MULTILINE)
    kept = {user.replace('""', '"'): secret.replace('""', '"') for user, secret in entries}
    secret: str = kept.get(check["login_user"], "")
    return "" if secret.startswith(("SCRAM-SHA-256$", "md5")) else secret


def _value(rows: list[Row], key: str, name: str, column: str) -> str:
    return next((row[column] for row in rows if row[key] == name), "0")


def _micro(row: Row) -> float:
    return float(row.get("maxwait_us") or 0) / 1_000_000
