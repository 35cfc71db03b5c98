# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The applications' own tests, in the release that serves, on servers of their own."""

from __future__ import annotations

import shlex

import pytest
from conftest import STORING, ours
from testinfra.host import Host

pytestmark = ours
DJANGO = "manage.py test --verbosity 0"
FASTAPI = "-m unittest --quiet"
TESTED = {
    "atlas": DJANGO,
    "ecommerce": DJANGO,
    "ecommerce_ai": FASTAPI,
    "parkme": DJANGO,
    "propflow": FASTAPI,
}
# A cluster and a Redis for as long as it takes, reached by nobody else; the live ones are not
# touched. What the application is told besides is what it is told when it serves.
SCRIPT = """
set -e
room=$(mktemp -d)
bin=$(echo /usr/lib/postgresql/*/bin)
end() {
  $bin/pg_ctl -D $room/data -m immediate stop >/dev/null
  kill $redis
  wait || true
  rm -r $room
}
trap end EXIT
redis-server --port 0 --unixsocket $room/redis --dir $room >$room/redis.log &
redis=$!
$bin/initdb --pgdata=$room/data --auth=trust --no-sync >/dev/null
$bin/pg_ctl -D $room/data -o "-k $room -h '' -F" -l $room/log -w start >/dev/null
export PGHOST=$room BROKER_URL=unix://$room/redis CACHE_URL=unix://$room/redis
[ APP != atlas ] || psql --quiet template1 --command 'CREATE EXTENSION postgis'
createdb replica
export DATABASE_URL=postgresql:///postgres?host=$room
export DATABASE_REPLICA_URL=postgresql:///replica?host=$room
if [ -e alembic.ini ]; then ../venv/bin/alembic upgrade head; fi
../venv/bin/python COMMAND
"""
AS_IT_SERVES = (
    "systemd-run --quiet --wait --pipe --collect --uid={app}"
    " -p EnvironmentFile=/etc/slipway/{app}/environment"
    " -p WorkingDirectory=/srv/{app}/current/source sh -c {script}"
)


@pytest.mark.parametrize("app", [app for app in STORING if app in TESTED])
def test_an_application_passes_its_own_tests(machine: Host, app: str) -> None:
    script = SCRIPT.replace("APP", app).replace("COMMAND", TESTED[app])
    done = machine.run(AS_IT_SERVES.format(app=app, script=shlex.quote(script)))
    assert done.rc == 0, done.stdout + done.stderr
    assert "OK" in done.stderr
