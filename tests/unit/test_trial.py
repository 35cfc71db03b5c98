# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A release on trial: on a real socket of its own, started by a fake of systemd-run."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _probe, _trial
from fakes import SECRET, Shop

STOP = "stop shop-web-trial.service"


def test_a_good_release_is_proved_without_touching_the_live_one(shop: Shop) -> None:
    trouble, seconds = _trial.run_all(shop.application, "2", shop.systemd)
    assert trouble == ""
    assert 0 < seconds < 10
    assert shop.systemd.told == [STOP, STOP]
    assert shop.systemd.unwaited == [2], "one before it has its name, and nobody needs its end"


def test_a_release_that_does_not_start_is_told_with_its_journal(shop: Shop) -> None:
    shop.starts = False
    trouble, _seconds = _trial.run_all(shop.application, "2", shop.systemd)
    assert trouble == "it does not start.\nTraceback: ******** is not good"
    assert shop.systemd.told == [STOP, STOP]


def test_a_release_that_is_not_well_ends_the_trial_and_is_told_without_secrets(shop: Shop) -> None:
    shop.sick_on_trial = {"2"}
    second = dataclasses.replace(shop.server, kind="asgi")
    both = dataclasses.replace(shop.application, servers=(shop.server, second))
    trouble, _seconds = _trial.run_all(both, "2", shop.systemd)
    assert trouble.startswith("/health/ said HTTP 503 no database at ********.\nTraceback: ")
    assert SECRET not in trouble
    assert len(shop.tried) == 1, "the second server need not be tried any more"
    assert shop.systemd.told[-1] == STOP


def test_a_trial_runs_as_the_application_and_ends_by_itself(shop: Shop) -> None:
    _trial.run_all(shop.application, "2", shop.systemd)
    (argv,) = shop.tried
    options = set(argv[: argv.index(next(word for word in argv if word.endswith("/gunicorn")))])
    release = shop.releases.path("2")
    assert {"User=shop", "Group=shop", "NoNewPrivileges=yes", "ProtectSystem=strict"} < options
    assert {"RuntimeMaxSec=61", f"WorkingDirectory={release}/project"} < options
    # To load the application it has as long as it then has to answer.
    assert {
        "--service-type=notify",
        "NotifyAccess=all",
        "CPUWeight=20",
        "TimeoutStartSec=1",
    } < options
    assert f"EnvironmentFile={shop.application.environment_file}" in options
    assert SECRET not in " ".join(argv)
    assert argv[-5:-2] == ["--workers", "1", "--bind"]
    assert shop.server.endpoint.address not in " ".join(argv)


@pytest.mark.parametrize("kinds", [[], ["web", "asgi"]])
def test_trials_that_nobody_watches_are_ended(shop: Shop, kinds: list[str]) -> None:
    endpoint = _probe.Endpoint("/x", "/", "shop")
    servers = tuple(dataclasses.replace(shop.server, kind=k, endpoint=endpoint) for k in kinds)
    _trial.stop(dataclasses.replace(shop.application, servers=servers), shop.systemd)
    names = " ".join(f"shop-{kind}-trial.service" for kind in kinds)
    assert shop.systemd.told == ([f"stop {names}"] if kinds else [])


def test_node_is_told_of_its_socket(shop: Shop) -> None:
    server = dataclasses.replace(shop.server, kind="node", configuration="/c.cjs", module="a.js")
    argv = _trial._command(shop.application, "2", server, "shop-node-trial.service", "/run/x.sock")
    assert argv[-4:] == ["/usr/bin/node", "--require", "/c.cjs", "a.js"]
    assert "SLIPWAY_SOCKET=/run/x.sock" in argv
