# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""PostgreSQL and Redis of somebody else: what of them is ours, and what is said of the rest."""

from __future__ import annotations

import json
import re
import shlex

import pytest
from conftest import PAGE, PROVIDER, ROOT, STORING, playbook, provided
from figures import figures, says
from testinfra.host import Host

pytestmark = provided
DATABASES = {app: {"atlas": "atlas_investor"}.get(app, app) for app in STORING}
HOST, PORT = PROVIDER.split(":")


def ask(provider: Host, sql: str, database: str = "postgres") -> str:
    """An answer of the provider's own superuser, whom no inventory knows."""
    command = f"runuser -u postgres -- psql -p {PORT} -AtX {database} -c {shlex.quote(sql)}"
    answer: str = provider.check_output(command)
    return answer


@pytest.mark.parametrize(
    ("figure", "command"),
    [(each.figure, each.command) for each in figures(PAGE) if each.section == "Of a provider"],
)
def test_a_machine_has_the_figures_of_the_provider(
    machine: Host, figure: str, command: str
) -> None:
    said = machine.check_output(command.replace("%", "%%"))
    assert says(said, figure), said


def test_no_server_is_installed_beside_the_providers(machine: Host) -> None:
    for package in ("postgresql-15", "redis-server"):
        assert not machine.package(package).is_installed
    assert machine.package("pgbouncer").is_installed


def test_each_database_is_its_owners_and_no_owner_may_more(provider: Host) -> None:
    sql = "SELECT datname, pg_get_userbyid(datdba) FROM pg_database ORDER BY 1"
    owned = dict(line.split("|") for line in ask(provider, sql).splitlines())
    assert {name: owned.get(name) for name in DATABASES.values()} == {
        name: name for name in DATABASES.values()
    }
    may = "SELECT count(*) FROM pg_roles WHERE (rolsuper OR rolcreatedb) AND rolname IN ({})"
    assert ask(provider, may.format(", ".join(f"'{name}'" for name in owned))) == "1"  # postgres
    extensions = "SELECT extname FROM pg_extension"
    assert "postgis" in ask(provider, extensions, "atlas_investor").splitlines()


def test_everybody_comes_over_tls_and_knows_the_server(machine: Host, provider: Host) -> None:
    told = machine.file("/etc/slipway/atlas/environment").content_string
    (pool,) = re.findall(r'^DATABASE_URL="(.+)"$', told, re.MULTILINE)
    assert machine.check_output(f"psql -AtX {shlex.quote(pool)} -c 'SELECT 1'") == "1"
    sql = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
    assert ask(provider, f"{sql} WHERE client_addr IS NOT NULL") == "t"
    pooler = machine.file("/etc/pgbouncer/pgbouncer.ini")
    assert pooler.contains("^server_tls_sslmode = verify-full$")
    # The same name with the lab's authority in place of the provider's is not believed.
    login = f"host={HOST} port={PORT} user=doadmin dbname=defaultdb sslmode=verify-full"
    stranger = f"PGPASSWORD=x psql -X '{login} sslrootcert=/etc/ssl/certs/ca-certificates.crt'"
    assert "certificate verify failed" in machine.run(f"{stranger} -c 'SELECT 1'").stderr


def test_backups_are_taken_listed_and_verified() -> None:
    for name in ("back_up", "list_backups", "verify_backups"):
        done = playbook(name)
        assert done.returncode == 0, done.stdout + done.stderr
        if name != "back_up":
            assert [each for each in DATABASES.values() if each not in done.stdout] == []


def test_a_command_is_run_in_the_live_release() -> None:
    command = json.dumps({"app": "atlas", "command": "python manage.py migrate --check"})
    done = playbook("manage", "-e", command)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("restore", "-e", "restore_to=latest"),
        ("restore_cluster", "-e", "restore_to=latest"),
        ("rehearse_restore",),
        ("back_up", "-e", "restore_point=before"),
        ("restart_service", "-e", "service=postgres"),
        ("restart_service", "-e", "service=redis"),
    ],
    ids=" ".join,
)
def test_what_only_the_provider_can_do_is_said(arguments: tuple[str, ...]) -> None:
    done = playbook(*arguments)
    assert done.returncode != 0
    said = " ".join((done.stdout + done.stderr).split())
    assert "whose provider alone can go back to" in said or "whoever runs it for you" in said
    assert "TASK [Reach the machine]" not in said


@pytest.mark.parametrize(
    ("app", "unit", "count"),
    [
        ("atlas", "atlas-web", "SELECT count(*) FROM atlas_place"),
        ("propflow", "propflow-asgi", "SELECT count(*) FROM properties"),
    ],
)
def test_a_database_is_filled_from_a_dump_as_the_page_says(
    machine: Host, provider: Host, app: str, unit: str, count: str
) -> None:
    database = DATABASES[app]
    page = (ROOT / "docs/external.md").read_text(encoding="utf-8")
    (written,) = re.findall(r"^```\n(set -a;.+?)^```", page, re.MULTILINE | re.DOTALL)
    dump = machine.check_output(f"ls -t /var/backups/slipway/{database}/*.dump").split()[0]
    commands = written.replace("/var/backups/slipway/shop/<file>.dump", dump)
    commands = commands.replace("shop", database)
    machine.check_output(f"systemctl stop '{app}-*.socket' '{app}-*.service'")
    before = ask(provider, count, database)
    ask(provider, "CREATE TABLE written_since (x int)", database)
    machine.check_output(f"sh -ec {shlex.quote(commands)}")
    assert ask(provider, count, database) == before
    assert ask(provider, "SELECT to_regclass('written_since')", database) == ""
    again = playbook("site")
    assert again.returncode == 0, again.stdout + again.stderr
    closed = f"SELECT has_database_privilege('public', '{database}', 'CONNECT')"
    assert ask(provider, closed) == "f"
    limits = "SELECT r.rolname, s.setconfig FROM pg_db_role_setting s"
    told = ask(provider, f"{limits} JOIN pg_roles r ON r.oid = s.setrole").splitlines()
    assert any(line.startswith(f"{database}|") and "timeout=30" in line for line in told), told
    assert machine.service(unit).is_running
