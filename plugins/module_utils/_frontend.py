# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A release of JavaScript: packages by npm from the lock, then the operator's own command."""

from __future__ import annotations

import shlex
from pathlib import Path

from ansible_collections.slipway.stack.plugins.module_utils import (
    _application_commands as _commands,
)
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError

LOCK = "package-lock.json"
# What bundlers write into files that anybody may read; packages' scripts see nothing else.
PUBLISHED = ("VITE_", "NEXT_PUBLIC_", "REACT_APP_")
_NPM = {"npm_config_audit": "false", "npm_config_fund": "false", "npm_config_progress": "false"}
_NPM |= {"npm_config_update_notifier": "false"}


def build(
    application: str, project: Path, command: str, *, cache: Path, keep_packages: bool
) -> None:
    """Make of a project what is served; a server keeps the packages that it needs to run.

    Unless the command has removed them: Next.js copies what its standalone server needs.
    """
    if not (project / LOCK).is_file():
        raise StackError(
            f"{application} has a build command and no {LOCK}: run 'npm install' in the application"
            " and commit the file, so that every build gets the same packages."
        )
    given = _commands.read_environment(Path(f"/etc/slipway/{application}/environment"))
    public = {name: value for name, value in given.items() if name.startswith(PUBLISHED)}
    environment = {**_NPM, "npm_config_cache": str(cache / "npm"), **public}

    def run(words: list[str]) -> None:
        outcome = _commands.as_user(
            application, words, home=cache, directory=project, environment=environment
        )
        if outcome.code:
            raise StackError(
                f"{application} cannot be built, {shlex.join(words)} failed: {outcome.tail()}"
            )

    run(["npm", "ci"])
    run(shlex.split(command))
    if (project / "node_modules").exists():
        run(["npm", "prune", "--omit=dev"] if keep_packages else ["rm", "-rf", "node_modules"])


def open_to_nginx(application: str, release: Path, served: Path) -> None:
    """Let everybody read what is served, by its name, and pass through to it; no more."""
    public = release / "source" / served
    if not (public / "index.html").is_file():
        raise StackError(
            f"The release of {application} has no {served}/index.html: correct static.directory,"
            " or write the build command that makes it."
        )
    (release / "public").symlink_to(Path("source") / served)
    for folder in (release, release / "source"):
        folder.chmod(0o751)
    # As the owner, who can open nothing that is somebody else's.
    between = [
        str(folder) for folder in public.parents if folder.is_relative_to(release / "source")
    ]
    for words in (["chmod", "o+x", *between], ["chmod", "-R", "o+rX", str(public)]):
        _commands.as_user(application, words, home=release.parent.parent / "cache")
