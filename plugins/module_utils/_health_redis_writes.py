# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether a Redis or Valkey server takes writes at all: one that takes none still says PONG."""

from __future__ import annotations

import typing as t

from . import _health, _health_resp
from ._health import CRITICAL, OK, UNKNOWN, Finding

ROLES = {"master": "primary", "slave": "replica"}
NEEDED = ["CONFIG", "GET", "min-replicas-to-write"]

Info = dict[str, str]


def role(name: str, check: dict[str, t.Any], info: Info) -> list[Finding]:
    """A primary that became a replica refuses every write, and forgets what it had."""
    if check["role"] == "any":
        return []
    found, expected = ROLES.get(info["role"], info["role"]), check["role"]
    of = f" of {info.get('master_host')}:{info.get('master_port')}" if found == "replica" else ""
    if found == expected:
        return [Finding(f"{name} role", OK, f"{found}{of}", expected)]
    advice = "see who sent REPLICAOF, and its configuration file; a primary again: REPLICAOF NO ONE"
    if expected == "replica":
        advice = "let it follow its primary again: REPLICAOF <host> <port>"
    return [Finding(f"{name} role", CRITICAL, f"{found}{of}", expected, advice)]


def good_replicas(name: str, info: Info, needed: str) -> list[Finding]:
    """With too few replicas at hand a primary refuses writes, where it was told to."""
    if "min_slaves_good_slaves" not in info:
        return []  # it was told nothing of the kind
    count, label = int(info["min_slaves_good_slaves"]), f"{name} replicas for writes"
    number = needed.rpartition(" ")[2]
    if not number.isdigit() and count:
        advice = "let the user ask for it: ACL SETUSER <user> +config|get"
        return [Finding(label, UNKNOWN, f"{count} in time, of {needed[:100]}", "", advice)]
    least = int(number) if number.isdigit() else 1
    state = OK if count >= least else CRITICAL
    advice = "start its replicas, or lower min-replicas-to-write: it refuses writes meanwhile"
    return [Finding(label, state, f"{count} in time", f"at least {least}", advice)]


def cluster(
    name: str,
    check: dict[str, t.Any],
    info: Info,
    deadline: _health.Deadline,
    ask: t.Callable[..., list[str]] = _health_resp.ask,
) -> list[Finding]:
    """A cluster that lacks slots refuses everything."""
    if info.get("cluster_enabled", "0") == "0":
        return []
    (said,) = ask(check, [["CLUSTER", "INFO"]], deadline)
    label, limit = f"{name} cluster", "cluster_state ok"
    if "cluster_state:" not in said:
        advice = "let the user ask for it: ACL SETUSER <user> +cluster|info"
        return [Finding(label, UNKNOWN, _health.brief(said, 120) or "nothing", limit, advice)]
    figures = dict(line.split(":", 1) for line in said.splitlines() if ":" in line)
    state = figures["cluster_state"]
    value = f"{state}, {figures.get('cluster_slots_ok')} of 16384 slots served"
    advice = "start the missing nodes: CLUSTER NODES, valkey-cli --cluster check <address>"
    return [Finding(label, OK if state == "ok" else CRITICAL, value, limit, advice)]
