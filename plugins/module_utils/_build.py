# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Also runs outside Ansible, where no run_command is. pylint: disable=ansible-bad-function
"""Build a release beside the live one, or find the one that was built already."""

from __future__ import annotations

import dataclasses
import datetime
import os
import subprocess
import tempfile
import typing as t
from pathlib import Path

from ansible_collections.slipway.stack.plugins.module_utils import (
    _application_commands,
    _artefact,
    _dependencies,
    _frontend,
    _installed,
    _releases,
    _sources,
)
from ansible_collections.slipway.stack.plugins.module_utils._commands import run
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError

UV_HOME = Path("/opt/slipway/uv")
SYSTEM_PYTHON = "/usr/bin/python3"
PYTHON, NODE, STATIC = "python", "node", "static"
RUNTIMES = (PYTHON, NODE, STATIC)
# Logs, uploads and the database may share the disk.
_RESERVE_BYTES = 200 << 20
_RESERVE_FILES = 20_000


@dataclasses.dataclass(frozen=True)
class Order:
    """What to build."""

    name: str
    home: Path
    revision: str
    version: str
    repository: str
    archive: str
    bundle: str
    subdirectory: str
    deploy_key: str
    python: str
    uv_version: str
    uv_hashes: tuple[str, ...]
    runtime: str
    build: str
    served: str
    packed: str
    release: str
    dependencies: str


def existing(order: Order) -> _releases.Release | None:
    """A complete release of the same revision and interpreter that has not failed."""
    for release in _releases.Releases(order.home).all():
        same = release.revision == order.revision and release.python == order.python
        if same and release.result != _releases.FAILED:
            return release
    return None


def build(order: Order, now: datetime.datetime) -> str:
    """Build a release and return its name; a failed build leaves nothing behind.

    What another machine has built has its name there, and is unpacked only.
    """
    releases = _releases.Releases(order.home)
    name = order.release or _releases.new_name(order.revision, now)
    path = releases.path(name)
    for leftover in releases.leftovers():
        releases.remove(leftover)
    _require_room(order, releases)
    if order.runtime == PYTHON:
        _require_interpreter(order)
    try:
        # What a build runs may write into source and environment, and root never writes there.
        _application_commands.own(path, "root", order.name)
        _application_commands.own(path / "source", order.name, order.name)
        if order.packed:
            _unpack(order, path)
        else:
            _fetch(order, path / "source")
        _make(order, path)
        releases.finish(name, order.revision, order.python, order.version)
    except BaseException:
        releases.remove(name)
        raise
    return name


def _require_interpreter(order: Order) -> None:
    if not os.access(order.python, os.X_OK):
        raise StackError(
            f"{order.name} wants {order.python}, which this machine does not have: install it, or"
            " leave python at /usr/bin/python3."
        )


def _require_room(order: Order, releases: _releases.Releases) -> None:
    """Refuse before the first byte what could fill the disk that the live release writes to."""
    newest = [releases.path(one.name) for one in releases.all()[:2]]
    installed = _installed.Installed(order.home)
    # The environment lies elsewhere, or within.
    sizes = [_installed.size(path) for path in newest] + list(map(installed.taken, newest))
    largest = max(sizes, default=0)
    needed = _RESERVE_BYTES + 2 * largest
    disk = os.statvfs(releases.directory)
    free = disk.f_bavail * disk.f_frsize
    if free < needed or (disk.f_files and disk.f_favail < _RESERVE_FILES):
        raise StackError(
            f"{releases.directory} has {free >> 20} MB and {disk.f_favail} files free, but a"
            f" release of {order.name} may take {needed >> 20} MB: free space, or keep fewer"
            " releases (app_releases_kept)."
        )


def _unpack(order: Order, path: Path) -> None:
    folders = [path / "source"]
    installed = _installed.Installed(order.home)
    venv = None
    if order.runtime == PYTHON:
        venv = installed.provide(path, order.dependencies, order.name)
    if venv:
        folders.append(venv)
    _artefact.unpack(order.name, order.home, folders, Path(order.packed))
    if venv and order.dependencies:
        installed.finish(order.dependencies)


def pack(order: Order, name: str, present: t.Sequence[str], target: Path) -> None:
    """Write what the application owns of a release into a file, but not what is there already."""
    path, installed = order.home / "releases" / name, _installed.Installed(order.home)
    digest, folders = installed.of(path), [path / "source"]
    if digest and digest not in present:
        folders.append(installed.venv(digest))
    if not digest and order.runtime == PYTHON:
        folders.append(path / "venv")
    _artefact.pack(order.name, order.home, folders, target)


def _fetch(order: Order, source: Path) -> None:
    if order.repository:
        key = Path(order.deploy_key) if order.deploy_key else None
        git = _sources.Git(order.name, order.home, order.repository, key)
        git.check_out(order.revision, order.version, source)
        return
    with tempfile.TemporaryDirectory(prefix="slipway-") as folder:
        archive = Path(order.bundle or Path(folder) / "source")
        if not order.bundle:
            _sources.download(order.archive, archive)
        if order.archive:
            _require_digest(order, archive)
        # A folder of the operator's is released as it stands.
        cache = order.home / "cache"
        _sources.unpack(archive, source, order.name, cache, lift=bool(order.archive))


def _require_digest(order: Order, archive: Path) -> None:
    found = _sources.digest(archive)
    if found != order.revision:
        raise StackError(
            f"{order.archive} has the SHA-256 {found}, and source.sha256 of {order.name} is"
            f" {order.revision}: do not use it before you know why."
        )


def _make(order: Order, path: Path) -> None:
    project = path / "source" / order.subdirectory
    if not project.is_dir():
        raise StackError(
            f"The source of {order.name} has no folder {order.subdirectory!r}: correct"
            " source.subdirectory."
        )
    # Units name this link, so that they do not change with the source's layout.
    (path / "project").symlink_to(Path("source") / order.subdirectory)
    if order.packed:
        pass  # made where it was built
    elif order.runtime == PYTHON:
        _install(order, path, project)
    elif order.build:
        cache, keep = order.home / "cache", order.runtime == NODE
        _frontend.build(order.name, project, order.build, cache=cache, keep_packages=keep)
    if order.runtime == STATIC:
        _frontend.open_to_nginx(order.name, path, Path(order.subdirectory) / order.served)
    (path / "REVISION").write_text(order.revision + "\n", encoding="utf-8")
    (path / "release.env").write_text(f'RELEASE_REVISION="{order.revision}"\n', encoding="utf-8")


def _install(order: Order, path: Path, project: Path) -> None:
    _dependencies.find_lock(project, order.name)
    about = (order.python, _interpreter(order), _artefact.kind_of_machine(), order.uv_version)
    digest = _dependencies.digest(project, path / "source", *about)
    installed = _installed.Installed(order.home)
    if venv := installed.provide(path, digest, order.name):
        ensure_uv(order)
        _dependencies.install(
            order.name,
            project,
            venv,
            uv=UV_HOME / "bin" / "uv",
            python=order.python,
            cache=order.home / "cache",
        )
        if digest:
            installed.finish(digest)
    compile_all = [str(path / "venv/bin/python"), "-m", "compileall", "-q", str(path / "source")]
    # A file that is no valid Python may be a template: only what is imported must compile.
    _application_commands.as_user(order.name, compile_all, home=order.home / "cache")


def _interpreter(order: Order) -> str:
    """Its version and how it was built: what was compiled for another may not run on it."""
    return run([order.python, "-c", "import sys; print(sys.version)"]).output


def ensure_uv(order: Order) -> None:
    """Install the pinned uv when the machine has another one or none."""
    program = UV_HOME / "bin" / "uv"
    if program.exists() and f"uv {order.uv_version}" in run([str(program), "--version"]).output:
        return
    if not order.uv_hashes:
        raise StackError(
            f"app_uv_version is {order.uv_version!r}, whose hashes are not known here: use the"
            " default."
        )
    UV_HOME.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    hashes = " ".join(f"--hash=sha256:{digest}" for digest in order.uv_hashes)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
        requirements.write(f"uv=={order.uv_version} {hashes}\n")
        requirements.flush()
        install = ["--require-hashes", "--only-binary=:all:", "--no-deps", "-r", requirements.name]
        quiet = ["--quiet", "--disable-pip-version-check", "--no-cache-dir"]
        _as_root([SYSTEM_PYTHON, "-m", "venv", "--clear", str(UV_HOME)])
        _as_root([str(UV_HOME / "bin/python"), "-m", "pip", "install", *quiet, *install])


def _as_root(command: list[str]) -> None:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        umask=0o022,
        check=False,
    )
    if done.returncode:
        raise StackError(f"uv cannot be installed from the package index: {done.stdout.strip()}")
