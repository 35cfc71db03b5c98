"""New secrets, last of what changes the product: the inventory's own do not fit afterwards."""

from __future__ import annotations

import json
import re
import threading
import time
import typing as t
from collections.abc import Callable

from conftest import Visitor, eventually, playbook

Machines = dict[str, list[t.Any]]


def sample_processes(machine: t.Any, stop: threading.Event, seen: set[str]) -> None:
    while not stop.is_set():
        seen.add(machine.run("cat /proc/*/cmdline 2>/dev/null | tr '\\0' ' '").stdout)
        time.sleep(0.2)


def test_new_secrets_take_effect_and_appear_nowhere(
    machines: Machines, visitor: Visitor, healthy: Callable[[], bool]
) -> None:
    """Every secret is replaced in a run that tells all it can; then everything told is searched."""
    names = ("database_password", "redis_password", "secret_key")
    canaries = {name: f"canary-{name.replace('_', '-')}-7d1f9c2e8a" for name in names}
    others = {
        "vault_stack_pgbouncer_password": "canary-pgbouncer-7d1f9c2e8a",
        "vault_stack_redis_admin_password": "canary-admin-7d1f9c2e8a",
    }
    environment = {"PAYMENT_TOKEN": "canary-payment-token-7d1f9c2e8a"}
    secrets = {
        "vault_stack_applications": {"auction": {**canaries, "environment": environment}},
        **others,
    }
    every = [machine for group in machines.values() for machine in group]
    seen: set[str] = set()
    stop = threading.Event()
    sampler = threading.Thread(target=sample_processes, args=(every[0], stop, seen))
    sampler.start()
    try:
        result = playbook("site", "-vvv", "--diff", "--extra-vars", json.dumps(secrets))
    finally:
        stop.set()
        sampler.join()
    assert result.returncode == 0, result.stdout[-3000:]
    eventually(healthy, "the site is healthy on its new secrets")
    told = [result.stdout, result.stderr, *seen]
    told += [machine.check_output("journalctl --no-pager") for machine in every]
    told += [machine.run("cat /var/log/*.log /var/log/*/*.log").stdout for machine in every]
    for text in told:
        assert re.findall(r"canary-[a-z-]+7d1f9c2e8a", text) == []
    for machine in every:
        readable = machine.run(
            "grep -rlsE 'canary-[a-z-]+7d1f9c2e8a' /etc /srv /var/lib /opt /run /usr/local"
        ).stdout.split()
        assert readable or machine is not machines["application"][0]
        for path in readable:
            mode = machine.file(path).mode
            assert mode & 0o007 == 0, f"{path} can be read by anyone ({mode:o})"
    again = playbook("site", "--extra-vars", json.dumps(secrets))
    assert again.returncode == 0
    assert re.findall(r"changed=[1-9]\d*", again.stdout) == [], again.stdout
