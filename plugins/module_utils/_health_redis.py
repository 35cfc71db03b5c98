# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether a Redis or Valkey server is well: its own answers over its own protocol."""

from __future__ import annotations

import time
import typing as t

from . import _health, _health_redis_writes, _health_resp
from . import _health_limits as _limits
from ._health import CRITICAL, OK, UNKNOWN, WARNING, Finding, judge

MEGABYTE = 2**20

KIND = "redis"
OPTIONS: dict[str, t.Any] = {
    "host": {"type": "str", "default": "127.0.0.1"},
    "port": {"type": "int", "default": 6379},
    "user": {"type": "str", "default": ""},
    "password": {"type": "str", "default": "", "no_log": True},
    "tls": {"type": "bool", "default": False},
    "ca_file": {"type": "path"},
    "evictions_allowed": {"type": "bool", "default": True},
    "persistent": {"type": "bool", "default": False},
    "replicas": {"type": "int", "default": 0},
    "role": {"type": "str", "default": "any", "choices": ["any", "primary", "replica"]},
    **_limits.options(
        "float",
        memory_percent=(85, 95),
        clients_percent=(80, 95),
        save_seconds=(1800, 7200),
        link_seconds=(15, 60),
    ),
    **_limits.options("int", evictions_count=(0, 100), rejected_connections=(0, 100)),
}

Info = dict[str, str]
Ask = t.Callable[..., list[str]]


def probe(
    check: dict[str, t.Any],
    deadline: _health.Deadline,
    ask: Ask = _health_resp.ask,
) -> list[Finding]:
    """The findings of one server."""
    name = check["label"]
    questions = [["PING"], ["INFO"], ["CONFIG", "GET", "save"], _health_redis_writes.NEEDED]
    pong, said, saves, needed = ask(check, questions, deadline)
    # A server that cannot save its data answers even PING with an error, but tells its figures.
    found = [_ping(name, check, pong)]
    if "used_memory:" not in said:
        if found[0].state != OK:
            return found
        user = check["user"] or "default"
        advice = f"let the user {user} ask for it: ACL SETUSER {user} +info"
        return [*found, Finding(f"{name} figures", UNKNOWN, said[:120] or "nothing", "", advice)]
    info = parse(said)
    found += [memory(name, check, info), evictions(name, check, info), clients(name, check, info)]
    found += [rejected(name, check, info), *persistence(name, check, info, saves)]
    found += _health_redis_writes.role(name, check, info)
    found += _health_redis_writes.good_replicas(name, info, needed)
    found += _health_redis_writes.cluster(name, check, info, deadline, ask)
    return found + link(name, check, info)


def _ping(name: str, check: dict[str, t.Any], pong: str) -> Finding:
    if pong == "PONG":
        return Finding(f"{name} ping", OK, f"PONG for {check['user'] or 'the default user'}")
    advice = "see its journal"
    if pong.startswith("-LOADING"):
        advice = "it reads its data from disk: wait, and see why it was restarted"
    if pong.startswith("-NOPERM"):
        advice = "ACL SETUSER <user> +ping"
    return Finding(f"{name} ping", CRITICAL, _health.brief(pong.lstrip("-"), 160), "PONG", advice)


def parse(said: str) -> Info:
    """The figures of INFO by name."""
    return dict(line.split(":", 1) for line in said.splitlines() if ":" in line)


def memory(name: str, check: dict[str, t.Any], info: Info) -> Finding:
    """Full is what a cache should be; a server that evicts nothing then refuses every write."""
    used, limit = int(info["used_memory"]), int(info["maxmemory"])
    total = int(info.get("total_system_memory") or 0)
    policy = info.get("maxmemory_policy", "noeviction")
    warning, critical = _limits.pair(check, "memory", "percent")
    label, value = f"{name} memory", f"{used / MEGABYTE:.0f} of {limit / MEGABYTE:.0f} MB, {policy}"
    limits, advice = f"at most {warning:g} %", "raise maxmemory, or find what fills it: --bigkeys"
    refused = info.get("errorstat_OOM", "").removeprefix("count=")
    states = [WARNING] if refused else [OK]
    if refused:
        value += f", {refused} commands refused since its start"
        advice += "; once seen to: CONFIG RESETSTAT"
    # volatile-* evicts only keys that expire by themselves, and there may be none.
    if limit and policy.startswith("allkeys-"):
        return Finding(label, states[0], value, "evicts when full", advice if refused else "")
    if limit:
        states.append(judge(100 * used / limit, warning, critical))
        return Finding(label, _limits.worst(states), value, limits, advice)
    value, advice = f"{used / MEGABYTE:.0f} MB without a limit", "set maxmemory"
    if not total:
        return Finding(label, UNKNOWN, value, limits, advice)
    states = [WARNING, judge(100 * used / total, warning, critical)]
    value += f", {total / MEGABYTE:.0f} MB in the machine"
    return Finding(label, _limits.worst(states), value, limits, advice)


def evictions(name: str, check: dict[str, t.Any], info: Info) -> Finding:
    """Keys thrown away: normal in a cache, lost tasks and sessions elsewhere."""
    count, policy = int(info["evicted_keys"]), info.get("maxmemory_policy", "noeviction")
    label, value = f"{name} evictions", f"{count} keys since its start, {policy}"
    if check["evictions_allowed"]:
        return Finding(label, OK, value, "allowed")
    states = [judge(count, *_limits.pair(check, "evictions", "count"))]
    if policy != "noeviction":
        states.append(CRITICAL)
    advice = "set maxmemory-policy noeviction and raise maxmemory; then CONFIG RESETSTAT"
    return Finding(label, _limits.worst(states), value, "none, noeviction", advice)


def clients(name: str, check: dict[str, t.Any], info: Info) -> Finding:
    """The share of maxclients, beyond which connections are rejected."""
    label, (warning, critical) = f"{name} clients", _limits.pair(check, "clients", "percent")
    used, places = int(info["connected_clients"]), int(info.get("maxclients") or 0)
    limit, advice = f"at most {warning:g} %", "find who holds them: CLIENT LIST"
    if not places:
        return Finding(label, UNKNOWN, f"{used}, of an unknown number", limit, "Redis 6.2 says it")
    state = judge(100 * used / places, warning, critical)
    return Finding(label, state, f"{used} of {places} connected", limit, advice)


def rejected(name: str, check: dict[str, t.Any], info: Info) -> Finding:
    """Connections that found no place since the server's start."""
    count = int(info["rejected_connections"])
    warning, critical = _limits.pair(check, "rejected", "connections")
    return Finding(
        f"{name} rejected connections",
        judge(count, warning, critical),
        f"{count} since its start",
        f"at most {warning}",
        "raise maxclients or its file limit; once seen to: CONFIG RESETSTAT",
    )


def persistence(name: str, check: dict[str, t.Any], info: Info, saves: str) -> list[Finding]:
    """Whether what was written would be there after a crash."""
    log, dump = info["aof_enabled"] == "1", saves.removeprefix("save").strip()
    found = []
    if log:
        found.append(_append_only(name, info))
    if dump.startswith("-ERR unknown command") and not check["persistent"]:
        value = "the provider, who took CONFIG away, knows of snapshots"
        found.append(Finding(f"{name} snapshot", OK, value, "not persistent, as declared"))
    elif dump.startswith("-"):
        value, advice = dump[1:120], "let the user ask for it: ACL SETUSER <user> +config|get"
        found.append(Finding(f"{name} snapshot", UNKNOWN, value, "", advice))
    elif dump:
        found.append(_snapshot(name, check, info))
    elif not log:
        state = CRITICAL if check["persistent"] else OK
        value, advice = "neither log nor snapshots", "set appendonly yes and save"
        limit = "persistent" if check["persistent"] else "not persistent, as declared"
        found.append(Finding(f"{name} persistence", state, value, limit, advice))
    return found


def _append_only(name: str, info: Info) -> Finding:
    writes, rewrite = info["aof_last_write_status"], info["aof_last_bgrewrite_status"]
    # A rewrite that failed only leaves the old, longer log.
    state = CRITICAL if writes != "ok" else WARNING if rewrite != "ok" else OK
    value, advice = f"last write {writes}, last rewrite {rewrite}", "free its disk, see its journal"
    return Finding(f"{name} append-only file", state, value, "ok, ok", advice)


def _snapshot(name: str, check: dict[str, t.Any], info: Info) -> Finding:
    status, changes = info["rdb_last_bgsave_status"], int(info["rdb_changes_since_last_save"])
    now = float(info.get("server_time_usec") or time.time() * 1e6) / 1e6
    age = max(0.0, now - int(info["rdb_last_save_time"])) if changes else 0.0
    warning, critical = _limits.pair(check, "save", "seconds")
    # With a failed snapshot the server refuses writes, unless told otherwise.
    states = [judge(age, warning, critical), OK if status == "ok" else CRITICAL]
    return Finding(
        f"{name} snapshot",
        _limits.worst(states),
        f"last {status}, {changes} changes not in it for {age:.0f} s",
        f"ok, at most {warning:g} s",
        "free its disk and memory, see its journal",
    )


def link(name: str, check: dict[str, t.Any], info: Info) -> list[Finding]:
    """A replica's link to its primary, or a primary's to its replicas."""
    if info["role"] != "master":
        return [_upstream(name, check, info)]
    warning, critical = _limits.pair(check, "link", "seconds")
    rows = [
        dict(pair.split("=", 1) for pair in value.split(",") if "=" in pair)
        for key, value in info.items()
        if key.startswith("slave") and key[5:].isdigit()
    ]
    online = [row for row in rows if row.get("state") == "online"]
    if not rows and not check["replicas"]:
        return []
    lag = max((float(row.get("lag") or 0) for row in online), default=0.0)
    states = [judge(lag, warning, critical), OK if len(online) == len(rows) else WARNING]
    if len(online) < check["replicas"]:
        states.append(CRITICAL)
    value = f"{len(online)} online, the slowest answered {lag:.0f} s ago"
    limit = f"at least {check['replicas']}, at most {warning:g} s"
    advice = "start the missing replica, see its journal"
    return [Finding(f"{name} replicas", _limits.worst(states), value, limit, advice)]


def _upstream(name: str, check: dict[str, t.Any], info: Info) -> Finding:
    warning, critical = _limits.pair(check, "link", "seconds")
    up = info.get("master_link_status") == "up"
    key = "master_last_io_seconds_ago" if up else "master_link_down_since_seconds"
    silence = float(info.get(key) or -1)
    # Never linked since its start: as bad as it gets.
    silence = critical if silence < 0 and not up else max(0.0, silence)
    states = [judge(silence, warning, critical), OK if up else WARNING]
    primary = f"{info.get('master_host')}:{info.get('master_port')}"
    value = f"{'up' if up else 'down'} to {primary}, silent for {silence:.0f} s"
    advice = "see masterauth, the network and the primary's journal"
    limit = f"up, at most {warning:g} s"
    return Finding(f"{name} replica link", _limits.worst(states), value, limit, advice)
