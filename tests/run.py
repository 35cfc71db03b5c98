# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""python3 -m tests.run [--long] [LAYER] [SCENARIO...]: what there is to test, from fast to slow.

Stops after the first layer that fails, removes its machines, and says how long each stage took.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.lab import applications, engine, images, machines, shell, venv
from tests.lab.stages import Stages, minutes

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache"
STEP = re.compile(r"^INFO +\[\S+ > (\w+)\] Executing$", re.MULTILINE)
COMPLAINT = re.compile(r"E  |FAILED |ERROR |fatal: |\[ERROR\]|tests/\S+:\d+: ")
SCENARIO_SECONDS = 60 * 60
LONG_SCENARIO_SECONDS = 3 * 60 * 60
LONG = "-m 'long or not long'"
# The product on other machines than one of the newer Debian, and the systems of the guides: with
# them `make test` would not end within 75 minutes.
LONG_SCENARIOS = frozenset({"bookworm", "four", "guides", "guides_apart", "guides_bookworm"})
NEWER_CORES = ("2.20", "2.21")
NEWER_PYTHON = "3.12"
MEMORY_OF_ONE_KIB = 3 * 1024 * 1024
# The pip that ansible-test of core 2.19 asks for, and that of 2.20 and 2.21, made from what Python
# brings: under these names in its cache they keep it from downloading what is not on PyPI.
GET_PIP_NAMES = ("get_pip_24_2.py", "get_pip_25_2.py")
GET_PIP = """import subprocess, sys
subprocess.check_call([sys.executable, "-m", "ensurepip", "--upgrade"])
packages = [word for word in sys.argv[1:] if "==" in word]
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", *packages]))
"""


def unit(stages: Stages, _names: list[str]) -> None:
    purpose = "backups in the tests are made with it"
    packages = {"zstd": "zstd", "lz4": "lz4", "gpg": "gnupg", "openssl": "openssl"}
    shell.require({**packages, "pgbackrest": "pgbackrest"}, purpose=purpose)
    # pgBackRest knows the servers of its own distribution, not every one from PyPI.
    if not list(Path("/usr/lib/postgresql").glob("*/bin/postgres")):
        shell.install(["postgresql"], wanted="a PostgreSQL server", purpose=purpose)
    with stages.stage("conventions, unit, templates"):
        # Lists the lines and branches of plugins/ that no test runs; pyproject.toml has the limit.
        command = ["pytest", "--quiet", "--numprocesses=auto"]
        command += ["--cov", "--cov-report=term-missing:skip-covered"]
        # Without root, commands that run as somebody else cannot be tried.
        shell.stream(*command, *([] if shell.is_root() else ["--cov-fail-under=0"]))
    with stages.stage("the applications' own tests"):
        applications.test()


def lint(stages: Stages, _names: list[str]) -> None:
    scripts = [name for name in _tracked() if _is_shell(ROOT / name)]
    wrong = []
    for name, *command in (
        ("ruff", "ruff", "check", "."),
        ("ruff format", "ruff", "format", "--check", "."),
        (
            "mypy",
            "mypy",
            *_with_python(
                *("demo", "docs", "benchmarks", "molecule"),
                *("tests/lab", "tests/mutants.py", "tests/run.py"),
            ),
        ),
        ("mypy of the collection", *_mypy_of_the_collection()),
        ("yamllint", "yamllint", "--strict", "."),
        ("shellcheck", "shellcheck", *scripts),
        ("ansible-lint", "ansible-lint"),
        ("Galaxy", sys.executable, "-m", "tests.galaxy", str(_export("galaxy"))),
    ):
        try:
            with stages.stage(name):
                shell.stream(*command)
        except shell.LabError:
            wrong.append(name)
    if wrong:
        raise shell.LabError(f"{', '.join(wrong)} found something; see above.")


def _mypy_of_the_collection() -> list[str]:
    """Return the command that checks what imports itself as ansible_collections.slipway.stack."""
    here = "ansible_collections/slipway/stack"
    folders = _with_python(
        *("plugins", "tests/unit", "tests/conventions", "tests/templates"),
        *("tests/verification", "tests/migrations"),
    )
    return [
        *("env", "--chdir=collections", "mypy", "--config-file=../pyproject.toml"),
        *("--cache-dir=../.mypy_cache", *(f"{here}/{folder}" for folder in folders)),
    ]


def _with_python(*names: str) -> list[str]:
    return [name for name in names if (ROOT / name).is_file() or list((ROOT / name).rglob("*.py"))]


def sanity(stages: Stages, _names: list[str]) -> None:
    _sanity(stages, Path(sys.executable).parent, f"{sys.version_info[0]}.{sys.version_info[1]}")


def cores(stages: Stages, names: list[str]) -> None:
    """Look at the collection as newer versions of ansible-core do, where their Python is."""
    python = _python_of_newer_cores()
    for version in names or NEWER_CORES:
        shell.say(f"ansible-core {version} with {python}")
        tools = venv.tools(f"core-{version}", python)
        _sanity(stages, tools, NEWER_PYTHON)


def _python_of_newer_cores() -> str:
    name = f"python{NEWER_PYTHON}"
    places = [name, *map(str, Path.home().glob(f".pyenv/versions/{NEWER_PYTHON}.*/bin/{name}"))]
    # pyenv's own command of that name may be there and do nothing.
    usable = [place for place in places if shell.attempt(place, "--version").returncode == 0]
    if not usable:
        raise shell.LabError(
            f"there is no Python {NEWER_PYTHON}, which ansible-core {NEWER_CORES[0]} needs; install"
            " it, or leave `make cores` to a computer that has it."
        )
    return usable[0]


def _sanity(stages: Stages, tools: Path, python: str) -> None:
    """Run every sanity test, with ansible-test of `tools`."""
    with stages.stage("ansible-test sanity"):
        home, checkout = CACHE / "sanity" / "home", _export("sanity")
        cache = home / ".ansible" / "test" / "cache"
        cache.mkdir(parents=True, exist_ok=True)
        for name in GET_PIP_NAMES:
            (cache / name).write_text(GET_PIP)
        # ansible-test keeps no variables, so pip learns of the host's certificates from a file.
        certificates = os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE")
        settings = ["[global]", "quiet = 2", *([f"cert = {certificates}"] if certificates else [])]
        (home / ".config" / "pip").mkdir(parents=True, exist_ok=True)
        (home / ".config" / "pip" / "pip.conf").write_text("\n".join([*settings, ""]))
        shell.stream(
            *("env", "--chdir", str(checkout), f"HOME={home}"),
            *(f"PATH={tools}:{os.environ['PATH']}", "ansible-test", "sanity"),
            *("--local", "--python", python, "--color", "no"),
        )


def _is_long() -> bool:
    return os.environ.get("PYTEST_ADDOPTS") == LONG


def molecule(stages: Stages, names: list[str]) -> None:
    every = sorted(path.parent.name for path in (ROOT / "molecule").glob("*/molecule.yml"))
    unknown = sorted(set(names) - set(every))
    if unknown:
        raise shell.LabError(f"no scenario is called {unknown[0]}; there are {', '.join(every)}.")
    # What takes longest begins first: begun last, it would be waited for alone.
    asked = names or [name for name in every if _is_long() or name not in LONG_SCENARIOS]
    chosen = sorted(asked, key=_turn)
    if any(_browses(name) for name in chosen):
        browser = {"chromium": "chromium", "chromedriver": "chromium-driver"}
        shell.require(browser, purpose="pages are tried in it")
    with stages.stage("machine images"):
        engine.ensure()
        images.ensure()
    with stages.stage(f"molecule ({len(chosen)} scenarios)"):
        started = _Scenarios(chosen)
        try:
            failed = started.run(_side_by_side())
        finally:
            started.clean_up()
        if failed:
            raise shell.LabError(f"molecule: {', '.join(failed)} failed; the log is above.")


LAYERS: dict[str, Callable[[Stages, list[str]], None]] = {
    "unit": unit,
    "lint": lint,
    "sanity": sanity,
    "molecule": molecule,
}
# What a computer may lack the Python for.
APART: dict[str, Callable[[Stages, list[str]], None]] = {"cores": cores}


class _Scenarios:
    """Scenarios of Molecule, each a process of its own with a log of its own."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.seconds: dict[str, float] = {}
        self.lock = threading.Lock()

    def run(self, at_once: int) -> list[str]:
        """Run them all and return those that failed."""
        shell.say(f"{at_once} at a time, logs in .cache/molecule: {' '.join(self.names)}")
        pool = concurrent.futures.ThreadPoolExecutor(at_once)
        try:
            codes = dict(zip(self.names, pool.map(self._run_one, self.names), strict=True))
        finally:
            # Interrupted, no further scenario begins, and those that run end.
            pool.shutdown(wait=False, cancel_futures=True)
            self._end()
        for name in self.names:
            verdict = "failed" if codes[name] else "passed"
            print(f"  {name:<24}{minutes(self.seconds[name]):>10}  {verdict}", flush=True)
        failed = [name for name, code in codes.items() if code]
        for name in failed:
            print(f"\n{name}, in short:\n{_complaints(_log(name))}", flush=True)
        return failed

    def clean_up(self) -> None:
        """Remove the machines of every scenario that was begun."""
        for name in self.processes:
            machines.down(f"molecule-{name}")

    def _end(self) -> None:
        """End what still runs."""
        for process in self.processes.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)

    def _run_one(self, name: str) -> int:
        log = _log(name)
        log.parent.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        shell.say(f"{name}: started")
        with log.open("wb") as sink:
            process = subprocess.Popen(
                ["molecule", "test", "--no-command-borders", "--scenario-name", name],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )
            self.processes[name] = process
            code = self._watch(name, process, log)
        # Molecule takes a scenario without tests for a success.
        code = code or int("no tests found" in log.read_text(errors="replace"))
        self.seconds[name] = time.monotonic() - started
        with self.lock:
            if code:
                print(f"\n######## log of {name}\n{log.read_text(errors='replace')}", flush=True)
            shell.say(f"{name}: {'FAILED' if code else 'passed'} {minutes(self.seconds[name])}")
        return code

    def _watch(self, name: str, process: subprocess.Popen[bytes], log: Path) -> int:
        """Say which step a scenario has come to until it ends; end it when it takes too long."""
        started, said = time.monotonic(), ""
        limit = LONG_SCENARIO_SECONDS if _is_long() else SCENARIO_SECONDS
        while (code := process.poll()) is None:
            steps = STEP.findall(log.read_text(errors="replace"))
            if steps and steps[-1] != said:
                said = steps[-1]
                shell.say(f"{name}: {said} ({minutes(time.monotonic() - started)} so far)")
            if time.monotonic() > started + limit:
                shell.say(f"{name}: ended after {minutes(limit)}")
                return _end_in_words(process) or 1
            time.sleep(1)
        return code


def _end_in_words(process: subprocess.Popen[bytes]) -> int:
    """Interrupted, pytest says what has failed until then; Molecule would not pass that on."""
    for pid in _of_pytest(process.pid):
        os.kill(pid, signal.SIGINT)
    try:
        return process.wait(60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.wait()


def _of_pytest(group: int) -> list[int]:
    """The processes of pytest in a group of processes."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        # Whoever has ended meanwhile is not meant.
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if os.getpgid(int(folder.name)) == group and any(
                word.endswith(b"/pytest") for word in words[:2]
            ):
                found.append(int(folder.name))
    return found


def _turn(name: str) -> tuple[bool, bool, str]:
    """Put releases first, then the whole product, then the other roles."""
    return name != "app", (ROOT / "roles" / name).is_dir(), name


def _browses(name: str) -> bool:
    """Whether a scenario's tests drive a browser."""
    return "molecule_browser: true" in (ROOT / "molecule" / name / "vars.yml").read_text()


def _log(name: str) -> Path:
    return CACHE / "molecule" / f"{name}.log"


def _complaints(log: Path, most: int = 60) -> str:
    """Return what pytest and Ansible complain of, for those who see only the end of the output."""
    lines = log.read_text(errors="replace").splitlines()
    return "\n".join([line[:300] for line in lines if COMPLAINT.match(line)][:most])


def _side_by_side() -> int:
    """Return how many scenarios this computer runs at once without swapping or crawling.

    One more than it has cores, for their tests wait about as long as they compute.
    """
    memory = Path("/proc/meminfo").read_text().split("MemAvailable:")[1].split()[0]
    cores = os.cpu_count() or 1
    by_cores = cores + 1 if cores > 1 else 1
    return max(1, min(by_cores, int(memory) // MEMORY_OF_ONE_KIB))


def _tracked() -> list[str]:
    listed = shell.output("git", "ls-files", "--cached", "--others", "--exclude-standard")
    return [name for name in listed.splitlines() if (ROOT / name).is_file()]


def _is_shell(path: Path) -> bool:
    if path.suffix == ".j2":  # what comes out of it is a script, not what goes in
        return False
    with path.open("rb") as file:
        first = file.readline()
    return first.startswith(b"#!") and (b"/sh" in first or b"bash" in first)


def _export(name: str) -> Path:
    """Copy the checkout to the path that ansible-test insists on, as a git repository."""
    checkout = CACHE / name / "ansible_collections" / "slipway" / "stack"
    shutil.rmtree(checkout, ignore_errors=True)
    for name in _tracked():
        target = checkout / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
    for command in (["init", "--quiet"], ["add", "--all", "--force"]):
        shell.output("git", "-C", str(checkout), *command)
    return checkout


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m tests.run", description=__doc__)
    parser.add_argument("layer", nargs="?", choices=LAYERS | APART, help="default: all")
    parser.add_argument("scenario", nargs="*", help="of Molecule, or core; default: all")
    parser.add_argument("--long", action="store_true", help="also what takes very long")
    options = parser.parse_args(arguments)
    _prepare_environment()
    if options.long:
        os.environ["PYTEST_ADDOPTS"] = LONG
    # Ended like interrupted: with the machines removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    stages, code = Stages(), 0
    try:
        shell.require({"git": "git", "shellcheck": "shellcheck"}, purpose="the tests use it")
        for name in [options.layer] if options.layer else LAYERS:
            (LAYERS | APART)[name](stages, options.scenario)
    except shell.LabError as error:
        print(f"\ntests: {error}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        code = 130
    verdict = "passed" if code == 0 else "failed"
    print(f"\n{stages.table()}\n\ntests: {verdict}", flush=True)
    return code


def _prepare_environment() -> None:
    """Let every tool be this checkout's, work on this checkout, and write plain text."""
    os.chdir(ROOT)
    for name in [name for name in os.environ if name.startswith(("ANSIBLE_", "MOLECULE_"))]:
        del os.environ[name]
    os.environ.update(
        PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        MOLECULE_GLOB="molecule/*/molecule.yml",
        NO_COLOR="1",
        PY_COLORS="0",
        ANSIBLE_NOCOLOR="1",
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
