# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What came of a playbook, for the next job of a workflow and for programs."""

from __future__ import annotations

import typing as t

# Under this name AWX hands it to the jobs that follow.
NAME = "slipway_result"
FAILED = "The message of the first task that failed names the remedy."


def begun(playbooks: t.Sequence[str], variables: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What stays when the run does not come to its end."""
    return {
        "playbook": ", ".join(name(each) for each in playbooks),
        "environment": str(variables.get("stack_environment") or ""),
        "application": str(variables.get("app") or ""),
        "machines": list(variables.get("ansible_play_hosts_all") or []),
        "check": bool(variables.get("ansible_check_mode")),
        "released": _handed(variables),
        "state": "begun",
        "seconds": None,
        "next": FAILED,
    }


def ended(
    first: t.Mapping[str, t.Any],
    left: t.Sequence[str],
    seconds: float,
    then: str,
    found: t.Mapping[str, t.Any] | None = None,
) -> dict[str, t.Any]:
    """What came of it, where `left` are the machines on which nothing failed."""
    more = found or {}
    well = more.get("healthy", True) and not more.get("breaches")
    whole = set(first["machines"]) <= set(left) and well
    return {
        **first,
        **more,
        "state": "done" if whole else "failed",
        "seconds": round(seconds, 1),
        "next": then if whole else FAILED,
    }


def _handed(variables: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What an earlier job of the workflow released of the same application in the same place."""
    earlier = variables.get(NAME) or {}
    same = str(variables.get("stack_environment")), str(variables.get("app"))
    if (earlier.get("environment"), earlier.get("application")) != same:
        return {}
    return dict(earlier.get("released") or {})


def name(playbook: str) -> str:
    """A playbook's name, whether it was given as a file or as part of a collection."""
    file = playbook.rpartition("/")[2]
    return file.removesuffix(".yml").removesuffix(".yaml").rpartition(".")[2]
