# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What docs/from-the-guides.md says of a machine, asked of the machine."""

from __future__ import annotations

import re
import shlex

import pytest
from conftest import APPS, PAGE, ROOT, STORING
from figures import figures, says
from testinfra.host import Host

# What a file of the collection says, the unit tests ask; what is a provider's, test_provider.py.
FIGURES = [
    (each.figure, each.command)
    for each in figures(PAGE)
    if not each.file(ROOT) and each.section != "Of a provider"
]
VARIABLES = re.compile(r"^\| (\w+) \| ((?:`[A-Z0-9_]+`(?:, )?)+) \| .+ \|$", re.MULTILINE)


def test_the_page_has_figures() -> None:
    assert len(FIGURES) > 60


@pytest.mark.parametrize(("figure", "command"), FIGURES)
def test_a_machine_has_the_figures_of_the_guides(machine: Host, figure: str, command: str) -> None:
    said = machine.check_output(command.replace("%", "%%"))
    assert says(said, figure), said


@pytest.mark.parametrize("app", APPS)
def test_applications_are_told_what_the_guides_files_hold(machine: Host, app: str) -> None:
    environment = machine.file(f"/etc/slipway/{app}/environment").content_string
    told = {line.partition("=")[0] for line in environment.splitlines()}
    rows = [names for name, names in VARIABLES.findall(PAGE) if name == app]
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) - told == set()


@pytest.mark.parametrize("app", STORING)
def test_applications_are_told_not_to_keep_connections(machine: Host, app: str) -> None:
    environment = machine.file(f"/etc/slipway/{app}/environment")
    django = environment.contains("^DJANGO_SECRET_KEY=")
    assert environment.contains('^CONN_MAX_AGE="0"$') == django


@pytest.mark.parametrize(
    ("guides", "ours", "said"),
    [
        pytest.param(
            "CREATE INDEX ON parkme_booking (plate) WHERE created_at > NOW() - INTERVAL '30 days'",
            "CREATE INDEX ON parkme_booking (plate) WHERE status = 'ACTIVE'",
            "functions in index predicate must be marked IMMUTABLE",
            id="an index of what is recent",
        ),
        pytest.param(
            "SELECT mean_time FROM pg_stat_statements",
            "SELECT mean_exec_time FROM pg_stat_statements",
            'column "mean_time" does not exist',
            id="the time of statements",
        ),
    ],
)
def test_what_a_guide_asks_of_postgresql_is_refused(
    machine: Host, guides: str, ours: str, said: str
) -> None:
    def ask(sql: str) -> str:
        """Undone again, and in the database that has the table and the view both."""
        words = f"BEGIN; CREATE EXTENSION IF NOT EXISTS pg_stat_statements; {sql}; ROLLBACK"
        command = f"psql -X parkme -v ON_ERROR_STOP=1 -c {shlex.quote(words)}"
        return str(machine.run(f"runuser -u postgres -- {command}").stderr)

    assert said in ask(guides)
    assert "ERROR" not in ask(ours)


def test_the_pooler_keeps_the_limit_of_the_role(machine: Host) -> None:
    environment = machine.file("/etc/slipway/parkme/environment").content_string
    (url,) = re.findall(r'^DATABASE_URL="(.+)"$', environment, re.MULTILINE)
    ask = f"psql -AtX {shlex.quote(url)} -c 'SHOW statement_timeout'"
    refused = machine.run(f"PGOPTIONS='-c statement_timeout=30000' {ask}")
    assert "unsupported startup parameter" in refused.stderr
    assert machine.check_output(ask) == "30s"
