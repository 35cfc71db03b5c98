# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether a PostgreSQL server is well: one login, its own figures, and nothing written."""

from __future__ import annotations

import json
import typing as t

from . import _health, _health_postgres_refusals, _health_psql
from . import _health_limits as _limits
from ._health import CRITICAL, OK, UNKNOWN, WARNING, Finding, judge
from ._health_postgres_query import QUERY

MEGABYTE = 2**20
GRANT = "GRANT pg_monitor TO the user that asks"

KIND = "postgres"
OPTIONS: dict[str, t.Any] = {
    **_health_psql.login(host="/var/run/postgresql", port=5432, user="postgres"),
    "database": {"type": "str", "default": "postgres"},
    **_limits.options(
        "float",
        connections_percent=(80, 95),
        transaction_seconds=(300, 3600),
        archive_seconds=(150, 300),
        lag_seconds=(30, 300),
        lag_megabytes=(64, 1024),
        slot_megabytes=(1024, 5120),
    ),
    **_limits.options("int", wraparound_age=(500_000_000, 1_500_000_000)),
    "archive_required": {"type": "bool", "default": False},
    "replicas": {"type": "int", "default": 0},
    **_health_postgres_refusals.OPTIONS,
}

Figures = dict[str, t.Any]


def probe(
    check: dict[str, t.Any],
    deadline: _health.Deadline,
    ask: t.Callable[..., list[str]] = _health_psql.ask,
) -> list[Finding]:
    """The findings of one server."""
    name = check["label"]
    lines = ask(QUERY, check, check["database"], deadline)
    if lines[:1] != ["1"] or len(lines) < 2:
        said = " ".join(lines) or "nothing"
        return [Finding(name, CRITICAL, f"SELECT 1 answered {said[:80]}", "1", "see its journal")]
    return findings(name, check, json.loads(lines[1]), [json.loads(line) for line in lines[2:3]])


def findings(
    name: str, check: dict[str, t.Any], all_see: Figures, monitor_sees: list[Figures]
) -> list[Finding]:
    """What follows from the figures; those for pg_monitor are a list of none or one."""
    found = [Finding(f"{name} login", OK, "SELECT 1 answered")]
    found += [connections(name, check, all_see), wraparound(name, check, all_see)]
    found.append(pages(name, all_see))
    found += slots(name, check, all_see["slots"])
    found += _health_postgres_refusals.findings(name, check, all_see)
    if not monitor_sees:
        parts = ["oldest transaction", "archiver", "replication"]
        value = f"{check['user']} may not see it"
        return found + [Finding(f"{name} {part}", UNKNOWN, value, "", GRANT) for part in parts]
    (more,) = monitor_sees
    found += [transaction(name, check, more), archiver(name, check, all_see, more["waiting"])]
    found += replicas(name, check, more["replicas"])
    return found + ([standby(name, check, more["standby"])] if more["standby"] else [])


def connections(name: str, check: dict[str, t.Any], figures: Figures) -> Finding:
    """The share of the connections that applications may open."""
    used, places = figures["used"], max(1, figures["places"])
    warning, critical = _limits.pair(check, "connections", "percent")
    state = judge(100 * used / places, warning, critical)
    return Finding(
        f"{name} connections",
        state,
        f"{used} of {places} used",
        f"at most {warning:g} %",
        "find who holds them: SELECT usename, state, count(*) FROM pg_stat_activity GROUP BY 1, 2",
    )


def transaction(name: str, check: dict[str, t.Any], figures: Figures) -> Finding:
    """A transaction that stays open keeps VACUUM from cleaning, and locks from being released."""
    seconds = float(figures["oldest"] or 0)
    warning, critical = _limits.pair(check, "transaction", "seconds")
    return Finding(
        f"{name} oldest transaction",
        judge(seconds, warning, critical),
        f"{seconds:.0f} s",
        f"at most {warning:g} s",
        "SELECT pid, usename, state, query FROM pg_stat_activity ORDER BY xact_start, then"
        " pg_terminate_backend(pid); a prepared one: ROLLBACK PREPARED",
    )


def wraparound(name: str, check: dict[str, t.Any], figures: Figures) -> Finding:
    """At an age of two thousand million the server refuses to write."""
    ages = {"transaction": figures["transaction_age"], "multixact": figures["multixact_age"]}
    kind = max(ages, key=lambda key: int(ages[key] or 0))
    age = int(ages[kind] or 0)
    warning, critical = _limits.pair(check, "wraparound", "age")
    return Finding(
        f"{name} wraparound",
        judge(age, warning, critical),
        f"{kind} age {age}",
        f"at most {warning}",
        "find what holds VACUUM back (old transactions, slots), then VACUUM (FREEZE)",
    )


def pages(name: str, figures: Figures) -> Finding:
    """A damaged page is found where somebody reads it; without checksums it goes into backups."""
    label, limit = f"{name} pages", "checksums, no damage"
    if figures["damaged"]:
        told = [f"{row['pages']} times in {row['name']}" for row in figures["damaged"]]
        advice = "see its log and dmesg; restore what pg_amcheck names; then SELECT pg_stat_reset()"
        return Finding(label, CRITICAL, f"damage was met {', '.join(told)}", limit, advice)
    if not figures["checksums"]:
        value, advice = (
            "without checksums",
            "stop the server in a quiet hour: pg_checksums --enable",
        )
        return Finding(label, WARNING, f"{value}, so damage goes unnoticed", limit, advice)
    return Finding(label, OK, "checksums are on, no damage was met", limit)


def archiver(name: str, check: dict[str, t.Any], figures: Figures, waiting: Figures) -> Finding:
    """WAL that is finished and not archived yet is what a lost disk would take."""
    label, (warning, critical) = (
        f"{name} archiver",
        _limits.pair(check, "archive", "seconds"),
    )
    if figures["archive_mode"] == "off":
        if check["archive_required"]:
            advice = "set archive_mode = on and restart"
            return Finding(label, CRITICAL, "archive_mode is off", "on", advice)
        return Finding(label, OK, "archive_mode is off, as declared")
    if check["archive_required"] and _health_postgres_refusals.archives_nothing(figures):
        value = f"archive_command is {figures['archive_command'][:80]!r}"
        return Finding(label, CRITICAL, value, "it archives", "set archive_command; a new backup")
    said, seconds = figures["archiver"], float(waiting["seconds"] or 0)
    state = judge(seconds, warning, critical)
    value = f"{waiting['files']} segments wait, the oldest {seconds:.0f} s"
    if said["failing"]:
        # Its first failure is no page yet: the archiver tries again until the lag tells.
        state = WARNING if state == OK else state
        value = f"fails at {said['last_failed_wal']} ({said['failed_count']} times); {value}"
    advice = "see the server's log for the words of archive_command"
    quiet = figures["archive_timeout"]
    if check["archive_required"] and not 0 < quiet <= critical:
        state = WARNING if state == OK else state
        value += f"; archive_timeout is {quiet} s, so what a quiet server wrote waits for longer"
        advice += "; set archive_timeout to 60 s"
    return Finding(label, state, value, f"at most {warning:g} s", advice)


def replicas(name: str, check: dict[str, t.Any], rows: list[Figures]) -> list[Finding]:
    """Each replica that streams, and whether as many do as were declared."""
    found = [_replica(name, check, row) for row in rows]
    streaming = sum(row["state"] == "streaming" for row in rows)
    state = OK if streaming >= check["replicas"] else CRITICAL
    if check["replicas"] or rows:
        advice = "start the missing replica, see its log"
        limit = f"at least {check['replicas']}"
        found.append(Finding(f"{name} replicas", state, f"{streaming} stream", limit, advice))
    return found


def _replica(name: str, check: dict[str, t.Any], row: Figures) -> Finding:
    # A replica that hangs reports no time any more; the bytes grow all the same.
    seconds, size = float(row["seconds"] or 0), float(row["bytes"] or 0) / MEGABYTE
    time, space = (
        _limits.pair(check, "lag", "seconds"),
        _limits.pair(check, "lag", "megabytes"),
    )
    states = [judge(seconds, *time), judge(size, *space)]
    if row["state"] != "streaming":
        states.append(WARNING)
    if row["bytes"] is None:
        states.append(UNKNOWN)
    return Finding(
        f"{name} replica {row['name']}",
        _limits.worst(states),
        f"{row['state']}, {seconds:.0f} s and {size:.0f} MB behind",
        f"at most {time[0]:g} s and {space[0]:g} MB",
        "see its log, its disk and the network",
    )


def standby(name: str, check: dict[str, t.Any], row: Figures) -> Finding:
    """This server is itself a replica: how far behind, and whether it receives at all."""
    warning, critical = _limits.pair(check, "lag", "seconds")
    label, advice = f"{name} replication", "see primary_conninfo and the primary's log"
    limit = f"streaming, at most {warning:g} s"
    if row["seconds"] is None:
        return Finding(label, UNKNOWN, "nothing replayed yet, so no lag", limit, advice)
    seconds = float(row["seconds"])
    states = [judge(seconds, warning, critical), OK if row["receiving"] else WARNING]
    how = "streaming" if row["receiving"] else "not connected to its primary"
    value = f"{how}, {seconds:.0f} s behind"
    return Finding(label, _limits.worst(states), value, limit, advice)


def slots(name: str, check: dict[str, t.Any], rows: list[Figures]) -> list[Finding]:
    """A slot that nobody reads holds WAL until the disk is full."""
    return [_slot(name, check, row) for row in rows]


def _slot(name: str, check: dict[str, t.Any], row: Figures) -> Finding:
    warning, critical = _limits.pair(check, "slot", "megabytes")
    size = float(row["bytes"] or 0) / MEGABYTE
    states = [judge(size, warning, critical), OK if row["active"] else WARNING]
    if row["status"] in ("unreserved", "lost"):
        states.append(CRITICAL)
    use = "active" if row["active"] else "nobody reads it"
    return Finding(
        f"{name} slot {row['name']}",
        _limits.worst(states),
        f"{use}, holds {size:.0f} MB of WAL ({row['status'] or 'none reserved'})",
        f"active, at most {warning:g} MB",
        f"start its reader, or SELECT pg_drop_replication_slot('{row['name']}')",
    )
