# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""python3 -m tests.mutants [MODULE...]: turn the verifier's rules round, one at a time.

cosmic-ray changes one operator, number or condition after the other in a copy of the checkout, and
runs the tests of the rules. A change that no test notices has survived.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tests.lab import shell

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / ".cache" / "mutants"
MODULES = ("_findings", "_retention", "_wal", "_verification", "_evidence")
TESTS = ("test_retention.py", "test_wal.py", "test_rules.py")
CONFIGURATION = """
[cosmic-ray]
module-path = {modules}
timeout = 20.0
excluded-modules = []
test-command = "{python} -m pytest -x -q -p no:cacheprovider --rootdir=. {tests}"

[cosmic-ray.distributor]
name = "local"

[cosmic-ray.filters.operators-filter]
exclude-operators = ["core/ReplaceBinaryOperator_BitOr_.*"]  # in annotations, which nobody runs
"""


def main(names: list[str]) -> int:
    tools = PLACE / "venv" / "bin"
    if not tools.exists():
        shell.stream(sys.executable, "-m", "venv", str(PLACE / "venv"))
        wanted = str(ROOT / "tests" / "requirements-mutants.txt")
        shell.stream(str(tools / "pip"), "install", "--quiet", "--requirement", wanted)
    copy = PLACE / "checkout"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(ROOT / "plugins", copy / "plugins")
    (copy / "tests" / "unit").mkdir(parents=True)
    shutil.copy(ROOT / "tests" / "conftest.py", copy / "tests")
    for name in TESTS:
        shutil.copy(ROOT / "tests" / "unit" / name, copy / "tests" / "unit")
    modules = [f"plugins/module_utils/{name}.py" for name in names or MODULES]
    (copy / "mutants.toml").write_text(
        CONFIGURATION.format(modules=modules, python=tools / "python", tests="tests/unit")
    )
    run = ("env", "--chdir", str(copy), str(tools / "cosmic-ray"))
    shell.stream(*run, "init", "mutants.toml", "session.sqlite")
    filtering = str(tools / "cr-filter-operators")
    shell.stream("env", "--chdir", str(copy), filtering, "session.sqlite", "mutants.toml")
    shell.stream(*run, "exec", "mutants.toml", "session.sqlite")
    for report in (("cr-report", "--surviving-only"), ("cr-rate",)):
        shell.stream(
            "env", "--chdir", str(copy), str(tools / report[0]), *report[1:], "session.sqlite"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
