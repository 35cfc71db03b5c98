# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A release's own virtual environment, made by uv from a lock with hashes."""

from __future__ import annotations

import hashlib
import tomllib
import typing as t
from pathlib import Path

from ansible_collections.slipway.stack.plugins.module_utils import (
    _application_commands as _commands,
)
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError

LOCK = "uv.lock"
REQUIREMENTS = "requirements.txt"
# What uv reads of a project, and of the folders around it.
_READ = (LOCK, REQUIREMENTS, "pyproject.toml", "uv.toml", ".python-version")
# They name another file, or what no hash is of; the other options say where packages are.
_ELSEWHERE = ("--requirement", "--constraint", "--editable")
# Packages that are not copied into the environment, or are not known by a hash of the lock.
_LOCAL = {"editable", "directory", "path"}


def find_lock(source: Path, application: str) -> Path:
    """The lock of a source tree, or one sentence that says why there is none."""
    if (source / LOCK).is_file():
        return source / LOCK
    requirements = source / REQUIREMENTS
    if not requirements.is_file():
        raise StackError(
            f"{application} has neither {LOCK} nor {REQUIREMENTS}: run 'uv lock' in the application"
            " and commit the file, so that every machine gets the same packages."
        )
    bare = without_hash(requirements.read_text(encoding="utf-8"))
    if bare:
        raise StackError(
            f"{REQUIREMENTS} of {application} names {bare[0]!r} without a hash: write it with"
            f" 'uv pip compile --generate-hashes -o {REQUIREMENTS}', or commit {LOCK}."
        )
    return requirements


def without_hash(text: str) -> list[str]:
    """Requirements that do not say which file they mean."""
    lines = text.replace("\\\n", " ").splitlines()
    requirements = (line.split(" #", 1)[0].strip() for line in lines)
    return [
        line.split()[0]
        for line in requirements
        if line.startswith(_ELSEWHERE)
        or (line and not line.startswith(("#", "-i", "--")) and "--hash=" not in line)
    ]


def digest(project: Path, source: Path, *about: str) -> str:
    """What an environment is made from; nothing where it depends on where the source lies as well.

    `about` is what else makes a difference: interpreter, machine, uv.
    """
    summed = hashlib.sha256(repr(about).encode())
    for folder in (each for each in (project, *project.parents) if each.is_relative_to(source)):
        for name in _READ:
            path = folder / name
            if not path.is_file():
                continue
            text = path.read_bytes()
            if name == LOCK and _has_local(text):
                return ""
            summed.update(repr((str(path.relative_to(source)), text)).encode())
    return summed.hexdigest()[:16]


def _has_local(lock: bytes) -> bool:
    try:
        packages = tomllib.loads(lock.decode()).get("package", [])
    except ValueError:
        return True  # uv says what is wrong with it
    return any(_LOCAL & set(package.get("source", {})) for package in packages)


def commands(uv: Path, lock: Path, venv: Path, python: str) -> list[list[str]]:
    """What to run, in the directory of the lock, for a complete environment."""
    shared = ["--no-python-downloads", "--compile-bytecode"]
    create = [str(uv), "venv", "--quiet", "--no-python-downloads", "--python", python, str(venv)]
    if lock.name == LOCK:
        sync = ["sync", "--quiet", "--frozen", "--no-dev", *shared, "--python", python]
        return [create, [str(uv), *sync]]
    sync = ["pip", "sync", "--quiet", "--require-hashes", *shared, "--python", str(venv)]
    return [create, [str(uv), *sync, lock.name]]


def install(
    application: str, source: Path, venv: Path, *, uv: Path, python: str, cache: Path
) -> None:
    """Make the virtual environment of one release."""
    lock = find_lock(source, application)
    environment: t.Mapping[str, str] = {
        "UV_CACHE_DIR": str(cache / "uv"),
        # It keeps a lock there, which other users of /tmp could hold.
        "TMPDIR": str(cache),
        "UV_PROJECT_ENVIRONMENT": str(venv),
        # Debian's certificates, to which an operator may have added the company's own.
        "UV_SYSTEM_CERTS": "1",
        "UV_NO_PROGRESS": "1",
    }
    for command in commands(uv, lock, venv, python):
        outcome = _commands.as_user(
            application, command, home=cache, directory=source, environment=environment
        )
        if outcome.code:
            raise StackError(
                f"The dependencies of {application} cannot be installed from {lock.name}:"
                f" {outcome.tail()}"
            )
    # uv lets everybody write its locks, for folders that users share; here none does.
    locks = ["find", str(cache), str(venv), "-name", "*.lock", "-perm", "/o+w"]
    _commands.as_user(application, [*locks, "-exec", "chmod", "o-w", "{}", "+"], home=cache)
