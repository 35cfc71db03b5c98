# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What PostgreSQL is told, rendered as the role renders it."""

from __future__ import annotations

import typing as t

import pytest
from ansible.template import trust_as_template
from test_redis_pgbouncer import render

SETTINGS = trust_as_template("{{ {'max_connections': __postgres_max_connections} }}")


@pytest.mark.parametrize(
    ("given", "connections"),
    [
        ({"postgres_databases": []}, 23),
        ({"postgres_databases": [{"name": "shop"}]}, 58),
        # Both may be dumped at once, and a rehearsal may look at both meanwhile.
        ({"postgres_databases": [{"name": "shop"}, {"name": "blog"}]}, 97),
        ({"postgres_databases": [{"name": "shop"}], "postgres_backup_connections": 20}, 73),
    ],
)
def test_each_database_brings_the_connections_of_its_backups(
    given: dict[str, t.Any], connections: int
) -> None:
    lines = render("postgres", "settings.conf.j2", purpose="", settings=SETTINGS, **given)
    assert lines[-1] == f"max_connections = {connections}"
