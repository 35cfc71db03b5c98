# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which groups need machines, and whether those machines could reach each other."""

from __future__ import annotations

import ipaddress
import typing as t
from collections import Counter

from ansible_collections.slipway.stack.plugins.plugin_utils import _applications
from ansible_collections.slipway.stack.plugins.plugin_utils._applications import (
    Application,
    InventoryError,
)

# In the order in which they are asked for; `worker` is for those that have Celery.
ALL_GROUPS = ("database", "cache", "application", "web")


def groups_of(applications: list[Application]) -> set[str]:
    """Which groups the applications have to have machines in."""
    stores = any(each["database"] for each in applications)
    serves = any(not each["static"] for each in applications)
    return {
        *(("database", "cache") if stores else ()),
        *(("application",) if serves else ()),
        "web",
    }


def check_groups(
    groups: dict[str, list[str]], needed: t.Container[str], *, redis_provided: bool = False
) -> None:
    """Refuses groups without machines, and with more than they can have."""
    if redis_provided and groups.get("cache"):
        raise InventoryError(
            f"stack_redis is given, but the group 'cache' has {groups['cache'][0]}; keep one of the"
            " two."
        )
    for group in ALL_GROUPS:
        given = groups.get(group) or (redis_provided and group == "cache")
        if group in needed and not given:
            raise InventoryError(
                f"the inventory has no machine in the group {group!r}; add one to hosts.yml."
            )
    for group in ("database", "cache"):
        machines = groups.get(group, [])
        if len(machines) > 1:
            raise InventoryError(
                f"the group {group!r} has {len(machines)} machines; it takes exactly one."
            )


def check_topology(
    applications: list[Application],
    groups: dict[str, list[str]],
    addresses: dict[str, str],
    *,
    redis_provided: bool = False,
) -> None:
    """Refuses groups without machines, and machines or ports that the others could not reach."""
    check_groups(groups, groups_of(applications), redis_provided=redis_provided)
    if len(addresses) < 2:
        return
    served = [each["web"] for each in applications if not each["static"]]
    _applications.refuse_duplicates(
        "web.port (each application takes two)",
        [port for web in served for port in (web["port"], web["port"] + 1)],
        remedy="write ports two apart, for example 8000, 8002, 8004",
    )
    for host, address in sorted(addresses.items()):
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            parsed = None
        if not parsed or parsed.is_loopback or parsed.is_unspecified or parsed.is_multicast:
            raise InventoryError(
                f"stack_address of {host} is {address!r}; set it to the IP address at which the "
                "other machines reach it."
            )
    for address, count in Counter(addresses.values()).items():
        if count > 1:
            raise InventoryError(
                f"{count} machines have the stack_address {address}; give each its own."
            )
