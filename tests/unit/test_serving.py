# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How one server takes over from another: real sockets, systemd as a fake."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml
from ansible_collections.slipway.stack.plugins.doc_fragments import _serving as _fragment
from ansible_collections.slipway.stack.plugins.module_utils import (
    _celery,
    _probe,
    _releases,
    _serving,
    _units,
)
from fakes import SECRET, SERVICE, SOCKET, STANDIN, Shop

BEGUN = [f"reset-failed {STANDIN}", f"start {STANDIN}"]
RESTARTED = [f"reset-failed {SERVICE}", f"restart {SERVICE}"]
DISMISSED = [f"stop {STANDIN}", f"reset-failed {STANDIN}"]


@pytest.fixture(autouse=True)
def releases(shop: Shop) -> None:
    for name in "12":
        shop.add(name, _releases.GOOD)
    shop.releases.point("current", "2")


def test_options_become_an_application() -> None:
    endpoint = {
        "service": SERVICE,
        "kind": "web",
        "module": "shop.wsgi",
        "configuration": "/etc/slipway/shop/gunicorn.conf.py",
        "address": "/run/web.sock",
        "path": "/health/",
        "host": "shop.test",
        "strict": False,
    }
    worker = {"unit": "w.service", "node": "shop-w", "module": "shop.tasks"}
    made = _serving.from_params(
        {
            "name": "shop",
            "home": "/srv/shop",
            "units": [{"name": SOCKET}, {"name": SERVICE, "restart_on": ["/srv/shop/current"]}],
            "endpoints": [endpoint],
            "workers": [worker],
            "beat": "b.service",
            "health_timeout": 7,
            "commands": [{"name": "static files", "command": "manage.py collectstatic"}],
        }
    )
    documented = yaml.safe_load(_fragment.ModuleDocFragment.DOCUMENTATION)["options"]
    assert {*_serving.argument_spec()} <= {*documented}
    assert made.commands == (("static files", "manage.py collectstatic"),)
    assert made.environment_file == Path("/etc/slipway/shop/environment")
    assert made.releases.home == Path("/srv/shop")
    assert made.unit(SERVICE).watched == ("/srv/shop/current",)
    assert made.unit(SOCKET).watched == ()
    (server,) = made.servers
    assert server.endpoint == _probe.Endpoint("/run/web.sock", "/health/", "shop.test", False)
    assert (server.service, server.standin) == (SERVICE, "")
    assert made.workers == (
        _celery.Worker("w.service", "shop-w", "shop", "shop.tasks", Path("/srv/shop")),
    )
    assert (made.beat, made.health_timeout) == ("b.service", 7)


@pytest.mark.parametrize(
    ("refuses", "statuses", "told", "trouble"),
    [
        ({}, [], BEGUN + RESTARTED + DISMISSED, ""),
        ({BEGUN[1]: "no memory"}, [], BEGUN, f"{STANDIN} does not start: no memory"),
        ({}, [200, 200, 503], BEGUN, f"{SERVICE} is not healthy"),
        (
            {RESTARTED[1]: "no memory"},
            [],
            BEGUN + RESTARTED,
            f"{SERVICE} does not start: no memory",
        ),
        ({}, [200] * 8 + [503], BEGUN + RESTARTED, f"{SERVICE} is not healthy"),
    ],
    ids=["goes well", "no stand-in", "a sick stand-in", "no restart", "sick after the restart"],
)
def test_a_stand_in_serves_until_the_server_is_proved(
    shop: Shop, refuses: dict[str, str], statuses: list[int], told: list[str], trouble: str
) -> None:
    shop.systemd.refuses, shop.statuses = refuses, statuses
    said = _serving.replace(shop.application, "2", shop.systemd)
    assert said.startswith(trouble) and bool(said) == bool(trouble)
    assert shop.systemd.told == told
    # Whoever goes back needs the stand-in, and what it runs on, until the old one serves.
    assert shop.linked(_serving.STANDIN) == ("2" if trouble else "")
    assert (_units.recall(SERVICE) is None) == (RESTARTED[1] not in told or bool(refuses))


@pytest.mark.parametrize("missing", ["unit", "name", "server"])
def test_where_nobody_can_stand_in_the_server_restarts_alone(shop: Shop, missing: str) -> None:
    application = shop.application
    if missing == "unit":
        shop.systemd.known.remove(STANDIN)
    if missing == "name":
        server = dataclasses.replace(shop.server, standin="")
        application = dataclasses.replace(application, servers=(server,))
    if missing == "server":
        shop.systemd.running.remove(SERVICE)
    assert _serving.replace(application, "2", shop.systemd) == ""
    assert shop.systemd.told == RESTARTED


def test_a_server_that_is_ill_is_replaced_at_once(shop: Shop) -> None:
    shop.statuses = [503]
    assert _serving.replace(shop.application, "2", shop.systemd) == ""
    assert shop.systemd.told == RESTARTED + DISMISSED


def test_a_stand_in_of_a_failed_release_serves_until_the_good_one_is_back(shop: Shop) -> None:
    shop.systemd.running.add(STANDIN)
    assert _serving.replace(shop.application, "1", shop.systemd) == ""
    assert shop.systemd.told == RESTARTED + DISMISSED


@pytest.mark.parametrize("trouble", ["", "address in use"])
def test_a_socket_that_does_not_listen_is_started_first(shop: Shop, trouble: str) -> None:
    shop.systemd.running.remove(SOCKET)
    if trouble:
        shop.systemd.refuses = {f"start {SOCKET}": trouble}
    said = _serving.replace(shop.application, "2", shop.systemd)
    assert said == (f"{SOCKET} does not start: {trouble}" if trouble else "")
    assert (_units.recall(SOCKET) is None) == bool(trouble)
    assert (RESTARTED[1] in shop.systemd.told) == (not trouble)


def test_without_stand_ins_none_is_dismissed(shop: Shop) -> None:
    _serving.dismiss(shop.application, [], shop.systemd)
    assert shop.systemd.told == []


def test_an_answer_of_no_health_is_told_without_secrets(shop: Shop) -> None:
    shop.sick = {"2"}
    assert _serving.prove(shop.application) == (
        f"{SERVICE} is not healthy after 1 s: /health/ said HTTP 503 no database at ********"
    )


def test_the_journal_is_told_without_secrets(shop: Shop) -> None:
    said = _serving.words(shop.application, SERVICE, 0, shop.systemd)
    assert said == "Traceback: ******** is not good"
    shop.application.environment_file.unlink()
    assert SECRET in _serving.words(shop.application, SERVICE, 0, shop.systemd)
