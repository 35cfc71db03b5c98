# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Everything that follows from the applications that have Celery workers."""

from __future__ import annotations

import typing as t

from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError

_SYSTEMD = "/etc/systemd/system"
_BEAT_STOP_SECONDS = 15
# What a worker has to give back the tasks that took longer than they may.
_RETURN_SECONDS = 30
Item = dict[str, t.Any]


def layout(applications: list[Item], beat_enabled: bool) -> Item:
    """The arguments of the role's modules for all applications at once."""
    for application in applications:
        if not application["application"] and application["workers"]:
            raise StackError(
                f"celery_applications: {application['name']} has workers but no application; write"
                " the Python module that holds it, or workers: []"
            )
    units = [
        unit
        for application in applications
        for unit in [
            *(_worker(application, worker) for worker in application["workers"]),
            *([_beat(application, beat_enabled)] if application["beat"]["enabled"] else []),
        ]
    ]
    return {
        "directories": [
            _state_directory(application["name"])
            for application in applications
            if application["application"]
        ],
        "files": [file for unit in units for file in _files(unit)],
        "units": [_unit(unit) for unit in units],
        "owned": [pattern for each in applications for pattern in owned(each["name"])],
        "workers": [_ping(unit) for unit in units if unit["runs"]],
    }


def owned(name: str) -> list[str]:
    """What a worker or beat of the application is called, also of one that is declared no more."""
    return [f"{name}-worker-*.service", f"{name}-beat.service"]


def _state(name: str) -> str:
    return f"/var/lib/slipway/{name}"


def _state_directory(name: str) -> Item:
    return {"path": _state(name), "owner": name, "group": name, "mode": "0750"}


def _shared(application: Item) -> Item:
    name = application["name"]
    return {
        "application": name,
        "module": application["application"],
        "home": f"/srv/{name}",
        "settings": f"/etc/slipway/{name}",
        "state": _state(name),
        "memory": application["memory_limit_megabytes"],
        "runs": True,
    }


def _worker(application: Item, worker: Item) -> Item:
    name = application["name"]
    node = f"{name}-{worker['name']}"
    words = [
        "worker",
        f"--hostname {node}@%H",
        f"--queues {','.join(worker['queues'])}",
        f"--concurrency {worker['concurrency']}",
        f"--max-tasks-per-child {worker['max_tasks_per_child']}",
        "--loglevel info",
    ]
    return {
        **_shared(application),
        "name": f"{name}-worker-{worker['name']}.service",
        "description": f"Worker {worker['name']} of {name}",
        "node": node,
        "command": " ".join(words),
        "stop_timeout": application["stop_timeout_seconds"],
        "return_timeout": _RETURN_SECONDS,
    }


def _beat(application: Item, runs: bool) -> Item:
    name, scheduler = application["name"], application["beat"]["scheduler"]
    where = f"--scheduler {scheduler}" if scheduler else f"--schedule {_state(name)}/beat-schedule"
    return {
        **_shared(application),
        "name": f"{name}-beat.service",
        "description": f"Scheduler of {name}",
        "node": "",
        # systemd sees to it that there is one; a file with a number would only be in its way.
        "command": f"beat --loglevel info --pidfile= {where}",
        "stop_timeout": _BEAT_STOP_SECONDS,
        "runs": runs,
    }


def _files(unit: Item) -> list[Item]:
    path = f"{_SYSTEMD}/{unit['name']}"
    return [
        {"path": path, "template": "celery.service.j2", "vars": {"unit": unit}},
        {
            "path": f"{path}.d/50-hardening.conf",
            "template": "hardening.conf.j2",
            "vars": {"unit": unit},
        },
    ]


def _unit(unit: Item) -> Item:
    path, current = f"{_SYSTEMD}/{unit['name']}", f"{unit['home']}/current"
    return {
        "name": unit["name"],
        "enabled": unit["runs"],
        "state": "started" if unit["runs"] else "stopped",
        "restart_on": [path, f"{path}.d", f"{unit['settings']}/environment", current],
        "requires_path": current,
    }


def _ping(unit: Item) -> Item:
    """What asks a worker whether it is there; nothing secret is in it."""
    return {
        "unit": unit["name"],
        "node": unit["node"],
        "application": unit["application"],
        "module": unit["module"],
        "home": unit["home"],
        "restart_on": _unit(unit)["restart_on"],
    }
