# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a PostgreSQL server refuses an application while it answers the one who examines it."""

from __future__ import annotations

import re
import typing as t

from . import _health_limits as _limits
from ._health import CRITICAL, OK, WARNING, Finding

OPTIONS: dict[str, t.Any] = {
    "role": {"type": "str", "default": "any", "choices": ["any", "primary", "replica"]},
    "databases": {"type": "list", "elements": "str", "default": []},
}
# Commands that call every segment archived.
_VOID = re.compile(r"((/usr)?/bin/)?true|:|exit")

Figures = dict[str, t.Any]


def findings(name: str, check: dict[str, t.Any], figures: Figures) -> list[Finding]:
    """The role of the server, then what it refuses to databases and to roles."""
    return [
        *role(name, check, figures),
        *writes(name, check, figures),
        *databases(name, check, figures["databases"]),
        *role_limits(name, check, figures["roles"]),
    ]


def role(name: str, check: dict[str, t.Any], figures: Figures) -> list[Finding]:
    """A replica refuses every write, and a second primary takes those that get lost."""
    expected, found = check["role"], "replica" if figures["recovery"] else "primary"
    if expected == "any":
        return []
    if found == expected:
        return [Finding(f"{name} role", OK, found, expected)]
    advice = "find the primary and lead the applications there, or SELECT pg_promote()"
    if expected == "replica":
        advice = "stop it before anybody writes to it, and make it a replica again: pg_rewind"
    return [Finding(f"{name} role", CRITICAL, found, expected, advice)]


def writes(name: str, check: dict[str, t.Any], figures: Figures) -> list[Finding]:
    """Sessions that begin read-only, on the whole server or in a declared database."""
    places = ["the server"] if figures["read_only"] else []
    places += [
        row["name"]
        for row in figures["databases"]
        if row["read_only"] and row["name"] in check["databases"]
    ]
    if not places:
        return [Finding(f"{name} writes", OK, "allowed", "allowed")]
    value = f"default_transaction_read_only is on for {', '.join(places)}"
    advice = "ALTER SYSTEM, or ALTER DATABASE <name>, RESET default_transaction_read_only; reload"
    return [Finding(f"{name} writes", CRITICAL, value, "allowed", advice)]


def databases(name: str, check: dict[str, t.Any], rows: list[Figures]) -> list[Finding]:
    """Whether each declared database is there and takes connections."""
    if not check["databases"]:
        return []
    there, label = {row["name"]: row["open"] for row in rows}, f"{name} databases"
    wrong = [f"{each} is missing" for each in check["databases"] if each not in there]
    wrong += [f"{each} is closed" for each in check["databases"] if there.get(each) is False]
    if not wrong:
        return [Finding(label, OK, f"open: {', '.join(check['databases'])}", "open")]
    advice = "ALTER DATABASE <name> ALLOW_CONNECTIONS true; one that is missing: site.yml"
    return [Finding(label, CRITICAL, "; ".join(wrong), "open", advice)]


def role_limits(name: str, check: dict[str, t.Any], rows: list[Figures]) -> list[Finding]:
    """Roles with a CONNECTION LIMIT; at it the server has room, and not for them."""
    if not rows:
        return []
    full = [row for row in rows if row["used"] >= row["limit"]]
    most = max(rows, key=lambda row: row["used"] / row["limit"])
    _warning, high = _limits.pair(check, "connections", "percent")
    state = CRITICAL if full else WARNING if 100 * most["used"] > high * most["limit"] else OK
    value = ", ".join(f"{row['name']} {row['used']} of {row['limit']}" for row in full or [most])
    advice = "find who holds them in pg_stat_activity; ALTER ROLE <name> CONNECTION LIMIT"
    limit = f"at most {high:g} % of each role's"
    return [Finding(f"{name} role limits", state, f"{value} used", limit, advice)]


def archives_nothing(figures: Figures) -> bool:
    """Whether WAL is thrown away under the name of an archive."""
    if figures["archive_library"]:
        return False
    words = figures["archive_command"].split()
    return not words or _VOID.fullmatch(words[0]) is not None
