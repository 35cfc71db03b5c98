# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What every scenario's tests share: the scenario's own facts, and the journal of a failure."""

from __future__ import annotations

import json
import os
import typing as t
import zlib
from collections.abc import Generator
from pathlib import Path

import pytest
import yaml

TOLD = {
    "journal": "journalctl --no-pager --lines=80 --output=short-precise",
    "logs": "tail --lines=15 /var/log/nginx/*.log /var/log/postgresql/*.log /var/log/redis/*.log",
}


@pytest.fixture(scope="session")
def scenario() -> dict[str, t.Any]:
    """Return the scenario's vars.yml as it is written, so without templates being rendered."""
    path = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"]) / "vars.yml"
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave to each machine its share of the tests that are marked `either`, always the same."""
    if config.option.markexpr != "not long":  # `make test-long` runs all of them everywhere
        return
    names = sorted({name for item in items if (name := _machine(item))})
    left_out = [
        item
        for item in items
        if item.get_closest_marker("either")
        and names.index(_machine(item)) != zlib.crc32(_test(item)) % len(names)
    ]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def _machine(item: t.Any) -> str:
    """Return the name of the machine that a test is for, or nothing."""
    host = getattr(item, "callspec", None) and item.callspec.params.get("_testinfra_host")
    return str(host.backend.get_hostname()) if host else ""


def _test(item: t.Any) -> bytes:
    """Return what a test is called on every machine."""
    return item.name.replace(_machine(item), "").encode()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Print what the machines have said with each failure."""
    report = yield
    if report.failed:
        for host in _machines(getattr(item, "funcargs", {})):
            name = host.backend.get_hostname()
            report.sections += [(f"{name}: {what}", host.run(c).stdout) for what, c in TOLD.items()]
    return report


def _machines(funcargs: dict[str, t.Any]) -> list[t.Any]:
    """Return the testinfra hosts that a test has used, whichever way its scenario names them."""
    machines = funcargs.get("machines", [])
    groups = machines.values() if isinstance(machines, dict) else [machines]
    hosts = [funcargs.get("host"), *(host for group in groups for host in group)]
    return list({host.backend.get_hostname(): host for host in hosts if host}.values())


Rows = dict[str, dict[str, str]]
Examine = t.Callable[..., Rows]


@pytest.fixture
def examine(host: t.Any) -> Examine:
    """Return what a health module finds on the machine, by what it examined."""

    def examine(kind: str, **options: t.Any) -> Rows:
        arguments = {"name": "x", "fail_when_unhealthy": False, **options}
        done = host.ansible(f"slipway.stack.{kind}_health", json.dumps(arguments), check=False)
        assert "findings" in done, done
        assert not done["changed"]
        return {row["check"].removeprefix(f"{kind} x").strip(): row for row in done["findings"]}

    return examine
