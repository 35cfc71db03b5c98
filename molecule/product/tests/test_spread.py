"""What holds where several machines share the work."""

from __future__ import annotations

import typing as t

import pytest
from conftest import SCENARIO, Visitor, address_of, eventually

Machines = dict[str, list[t.Any]]
pytestmark = pytest.mark.skipif(SCENARIO != "four", reason="one machine does everything")


def test_both_application_machines_answer(visitor: Visitor, machines: Machines) -> None:
    def served(machine: t.Any) -> int:
        log = machine.run("journalctl -u auction-web --no-pager | grep -c 'GET /api/auctions/'")
        return int(log.stdout.strip() or 0)

    before = [served(machine) for machine in machines["application"]]
    for _attempt in range(12):
        assert visitor.get("/api/auctions/").status == 200
    eventually(
        lambda: all(
            served(machine) > count
            for machine, count in zip(machines["application"], before, strict=True)
        ),
        "both application machines answer",
    )


def test_one_beat_runs_in_the_whole_environment(machines: Machines) -> None:
    running = [
        machine
        for machine in machines["worker"]
        if machine.run("systemctl is-active auction-beat").stdout.strip() == "active"
    ]
    assert len(running) == 1


def test_the_database_admits_only_the_machines_that_use_it(machines: Machines) -> None:
    rules = machines["database"][0].check_output("cat /etc/postgresql/*/main/pg_hba.conf")
    users = {address_of(machine.backend.name) for machine in machines["application"]}
    admitted = {word[:-3] for word in rules.split() if word.endswith("/32")}
    assert admitted == {"127.0.0.1", *users}
