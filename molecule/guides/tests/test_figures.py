# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What docs/from-the-guides.md says of a machine, asked of the machine."""

from __future__ import annotations

import re
import shlex
import subprocess

import pytest
from conftest import ROOT, STORING
from testinfra.host import Host

FIGURE = re.compile(r"^\| .+ \| `([^`]+)` \| .+ \| `([^`]+)` \|$", re.MULTILINE)
FIGURES = FIGURE.findall((ROOT / "docs/from-the-guides.md").read_text(encoding="utf-8"))


def test_the_page_has_figures() -> None:
    assert len(FIGURES) > 60


@pytest.mark.parametrize(("figure", "command"), FIGURES)
def test_a_machine_has_the_figures_of_the_guides(machine: Host, figure: str, command: str) -> None:
    if "inventories/" in command:  # of the provider's services, or of a second machine
        words = shlex.split(command)
        said = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    else:
        said = machine.check_output(command.replace("%", "%%"))
    assert figure in said


@pytest.mark.parametrize("app", STORING)
def test_applications_are_told_not_to_keep_connections(machine: Host, app: str) -> None:
    environment = machine.file(f"/etc/slipway/{app}/environment")
    django = environment.contains("^DJANGO_SECRET_KEY=")
    assert environment.contains('^CONN_MAX_AGE="0"$') == django
