# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What tests of several roles do to a machine. Importable because conftest.py lies beside it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import typing as t
from pathlib import Path

from testinfra.host import Host

Rows = dict[str, dict[str, str]]


def apply(host: Host, **variables: t.Any) -> subprocess.CompletedProcess[str]:
    """Run the role again on one machine, as an operator who changed a variable."""
    shared = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"]) / "molecule/shared"
    command = ["ansible-playbook", f"--inventory={shared}/inventory.yml", f"{shared}/converge.yml"]
    command += [f"--limit={host.backend.get_hostname()}", f"--extra-vars={json.dumps(variables)}"]
    quiet = {**os.environ, "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1"}
    return subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env=quiet,
    )


@contextlib.contextmanager
def broken(host: Host, begin: str, end: str) -> t.Iterator[None]:
    """Something is wrong with the machine for as long as the block runs."""
    host.check_output(begin)
    try:
        yield
    finally:
        host.check_output(end)


def unwell(rows: Rows) -> dict[str, str]:
    """The findings of a health module that are not ok, with their states."""
    return {name: row["state"] for name, row in rows.items() if row["state"] != "ok"}
