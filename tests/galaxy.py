# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""python3 -m tests.galaxy CHECKOUT: what Galaxy and the community package find in the collection.

CHECKOUT ends with ansible_collections/slipway/stack, as these tools insist.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from tests.lab import shell, venv

# Warnings are told to whoever uploads an archive, and to nobody afterwards.
COMPLAINT = re.compile(r"^(WARNING|ERROR): .*", re.MULTILINE)


def main(checkout: str) -> int:
    tools = venv.tools("galaxy")
    os.environ["PATH"] = f"{tools}:{os.environ['PATH']}"
    os.environ["ANSIBLE_COLLECTIONS_PATH"] = str(Path(checkout).parents[2])
    os.chdir(checkout)
    wrong = []
    for look in (_changelog, _documentation, _archive):
        try:
            look(Path(checkout))
        except shell.LabError as error:
            wrong.append(str(error))
    print("\n".join(wrong), flush=True)
    return 1 if wrong else 0


def _changelog(_checkout: Path) -> None:
    shell.stream("antsibull-changelog", "lint")


def _documentation(_checkout: Path) -> None:
    shell.stream("antsibull-docs", "lint-collection-docs", "--plugin-docs", ".")


def _archive(checkout: Path) -> None:
    """Build the archive and import it, as Galaxy does once it was uploaded."""
    room = checkout.parents[2] / "archive"
    shutil.rmtree(room, ignore_errors=True)
    room.mkdir()
    os.chdir(room)
    shell.output("ansible-galaxy", "collection", "build", str(checkout))
    (archive,) = room.glob("*.tar.gz")
    # `make lint` runs ansible-lint itself.
    os.environ["GALAXY_IMPORTER_RUN_ANSIBLE_LINT"] = "no"
    os.environ["GALAXY_IMPORTER_CHECK_REQUIRED_TAGS"] = "yes"
    said = shell.output("python", "-m", "galaxy_importer.main", archive.name)
    complaints = [found[0] for found in COMPLAINT.finditer(said)]
    if complaints:
        raise shell.LabError(f"galaxy-importer: {' / '.join(complaints)}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
