# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""python3 -m tests.mutants [MODULE...]: turn the verifier's rules round, one at a time.

cosmic-ray changes one operator, number or condition after the other in a copy of the checkout, and
runs the tests of the rules. A change that no test notices has survived.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tests.lab import shell, venv

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / ".cache" / "mutants"
RULES = ("test_retention", "test_wal", "test_rules")
# Each module with the tests that know it.
MODULES = {
    **dict.fromkeys(("_findings", "_retention", "_wal", "_verification", "_evidence"), RULES),
    "_plain_sql": ("test_plain_sql",),
    "_openpgp": ("test_openpgp",),
    "_archive": ("test_archive",),
    "_pgbackrest": ("test_repository_files", "test_wal"),
    "_s3_sums": ("test_s3_sums",),
    "_bucket": ("test_s3_sums",),
}
CONFIGURATION = """
[cosmic-ray]
module-path = ["plugins/module_utils/{module}.py"]
timeout = 20.0
excluded-modules = []
test-command = "{python} -m pytest -x -q -p no:cacheprovider --rootdir=. {tests}"

[cosmic-ray.distributor]
name = "local"

[cosmic-ray.filters.operators-filter]
exclude-operators = ["core/ReplaceBinaryOperator_BitOr_.*"]  # in annotations, which nobody runs
"""


def main(names: list[str]) -> int:
    tools = venv.tools("mutants")
    copy = PLACE / "checkout"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(ROOT / "plugins", copy / "plugins")
    (copy / "tests" / "unit").mkdir(parents=True)
    shutil.copy(ROOT / "tests" / "conftest.py", copy / "tests")
    for name in {test for tests in MODULES.values() for test in tests}:
        shutil.copy(ROOT / "tests" / "unit" / f"{name}.py", copy / "tests" / "unit")
    for module in names or MODULES:
        _try(module, copy, tools)
    return 0


def _try(module: str, copy: Path, tools: Path) -> None:
    """All changes of one module; what survived is printed, and which share of all it is."""
    tests = " ".join(f"tests/unit/{name}.py" for name in MODULES[module])
    session, configuration = f"{module}.sqlite", f"{module}.toml"
    (copy / configuration).write_text(
        CONFIGURATION.format(module=module, python=sys.executable, tests=tests)
    )
    for program, *words in (
        ("cosmic-ray", "init", configuration, session),
        ("cr-filter-operators", session, configuration),
        ("cosmic-ray", "exec", configuration, session),
        ("cr-report", "--surviving-only", "--show-diff", session),
        ("cr-rate", session),
    ):
        shell.stream("env", "--chdir", str(copy), str(tools / program), *words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
