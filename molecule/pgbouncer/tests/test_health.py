# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Faults of a real pooler and the server behind it, and what pgbouncer_health says of them."""

from __future__ import annotations

import shlex
import typing as t

import pytest
from operations import broken, unwell
from testinfra.host import Host

# The faults are answered by our own code.
pytestmark = pytest.mark.either

Rows = dict[str, dict[str, str]]
Examine = t.Callable[..., Rows]
CONSOLE = "runuser -u postgres -- psql -XAt -h /run/pgbouncer -p 6432 -U pgbouncer pgbouncer -c"


@pytest.fixture
def pools(examine: Examine, scenario: dict[str, t.Any]) -> t.Callable[..., Rows]:
    user = scenario["pgbouncer_auth_user"]
    return lambda **options: examine("pgbouncer", **{"login_user": user, **options})


def test_pools_and_the_databases_behind_them_are_well(pools: t.Callable[..., Rows]) -> None:
    rows = pools()
    assert unwell(rows) == {}
    assert rows["shop reachable"]["value"].startswith("SELECT 1 answered to the user ")
    assert unwell(pools(databases=["blog"])) == {}


def test_a_pooler_that_is_stopped_or_hangs_is_critical_in_time(
    host: Host, pools: t.Callable[..., Rows]
) -> None:
    # Who asks at its socket would start it again.
    both = "pgbouncer.socket pgbouncer.service"
    with broken(host, f"systemctl stop {both}", f"systemctl start {both}"):
        (row,) = pools().values()
    assert row["state"] == "critical"
    kill = "systemctl kill --kill-who=main pgbouncer --signal="
    with broken(host, f"{kill}STOP", f"{kill}CONT"):
        (row,) = pools(timeout=6).values()
    assert row["state"] == "critical"
    assert "no login is answered" in row["value"]


def test_clients_that_wait_for_a_full_pool_are_told(
    host: Host, pools: t.Callable[..., Rows], scenario: dict[str, t.Any]
) -> None:
    password = shlex.quote(f"PGPASSWORD={scenario['postgres_databases'][0]['password']}")
    target = "host=127.0.0.1 port=6432 dbname=shop user=shop sslmode=require"
    names = [f"health-{number}" for number in range(4)]
    for name in names:
        host.check_output(
            f"systemd-run --collect --quiet --unit={name} -E {password}"
            f" psql -X -d '{target}' -c 'SELECT pg_sleep(600)'"
        )
    try:
        host.check_output("sleep 3")
        rows = pools(maxwait_warning_seconds=600, maxwait_critical_seconds=900)
        assert rows["shop waiting"]["state"] == "warning"
        assert rows["shop waiting"]["value"].startswith("2 clients wait")
        assert rows["shop pool"]["state"] == "critical"
        assert rows["blog pool"]["state"] == "ok"
        late = pools(maxwait_warning_seconds=1, maxwait_critical_seconds=2)
        assert late["shop waiting"]["state"] == "critical"
        few = pools(clients_warning_percent=0.1, clients_critical_percent=0.2)
        assert few["clients"]["state"] == "critical"
    finally:
        host.run(f"systemctl stop {' '.join(names)}")
        host.check_output("systemctl restart pgbouncer 'postgresql@*'")


def test_databases_behind_a_stopped_or_hanging_server_are_critical_in_time(
    host: Host, pools: t.Callable[..., Rows]
) -> None:
    with broken(host, "systemctl stop 'postgresql@*'", "systemctl start --all postgresql"):
        rows = pools(timeout=12)
    assert rows["shop reachable"]["state"] == "critical"
    assert rows["blog reachable"]["state"] == "critical"
    assert rows["clients"]["state"] == "ok"
    host.check_output("systemctl restart pgbouncer")
    stop, go = (f"pkill -{name} -x postgres -o" for name in ("STOP", "CONT"))
    with broken(host, stop, go):
        rows = pools(timeout=12)
    assert rows["shop reachable"]["state"] == "critical"
    assert rows["blog reachable"]["state"] == "critical"


def test_a_paused_or_missing_database_is_critical(host: Host, pools: t.Callable[..., Rows]) -> None:
    with broken(host, f"{CONSOLE} 'PAUSE blog'", f"{CONSOLE} 'RESUME blog'"):
        rows = pools()
    assert unwell(rows) == {"blog reachable": "critical"}
    assert unwell(pools(databases=["shop", "hidden"])) == {"hidden": "critical"}


def test_what_cannot_be_logged_in_to_is_unknown(pools: t.Callable[..., Rows]) -> None:
    rows = pools(login_user="somebody")
    assert unwell(rows) == {"shop reachable": "unknown", "blog reachable": "unknown"}
    assert "login_password" in rows["shop reachable"]["advice"]
    (row,) = pools(system_user="nobody").values()
    assert row["state"] in ("critical", "unknown")
