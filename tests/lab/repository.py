# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Real git repositories made from folders, served by a lab's services."""

from __future__ import annotations

import io
import re
import tarfile
from pathlib import Path

from tests.lab import machines, shell

ADDRESS = "https://git.services.test/{name}.git"
# Reads the files as an archive; arguments: name of the repository, tag or nothing.
SCRIPT = r"""
set -eu
bare=/srv/git/$1.git work=/var/tmp/$1
export GIT_AUTHOR_NAME=lab GIT_AUTHOR_EMAIL=lab@services.test
export GIT_COMMITTER_NAME=lab GIT_COMMITTER_EMAIL=lab@services.test
[ -d "$bare" ] || git init --quiet --bare "$bare"
rm -rf "$work"
git clone --quiet "$bare" "$work" 2>/dev/null
cd "$work"
find . -mindepth 1 -maxdepth 1 ! -name .git -exec rm -rf {} +
tar -x
git add --all --force
if [ -n "$(git status --porcelain)" ]; then
  git commit --quiet --message "Change $1"
fi
tag=${2:-v0.1.$(git rev-list --count HEAD)}
git rev-parse --quiet --verify "refs/tags/$tag" >/dev/null || git tag "$tag"
git push --quiet origin HEAD:main --tags
rm -rf "$work"
git -C "$bare" rev-parse "$tag^{commit}"
echo "$tag"
"""


def publish(lab: str, folder: Path, name: str, tag: str) -> dict[str, str]:
    """Put the content of a folder into a repository; the same content makes no new commit."""
    if not folder.is_dir():
        raise shell.LabError(f"{folder} is not a folder.")
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name):
        raise shell.LabError(f"{name} is no name of a repository; use a-z, 0-9, dot and hyphen.")
    services = machines.container(lab, machines.SERVICES)
    said = shell.output(
        *("docker", "exec", "--interactive", services, "sh", "-c", SCRIPT, "sh", name, tag),
        stdin=_archive(folder),
    )
    commit, version = said.split()
    return {"repository": ADDRESS.format(name=name), "version": version, "commit": commit}


def _archive(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in _files(folder):
            archive.add(path, arcname=str(path.relative_to(folder)), recursive=False)
    return buffer.getvalue()


def _files(folder: Path) -> list[Path]:
    """Return what git would take from this folder; where there is no git, all but leftovers."""
    listed = shell.attempt(
        *("git", "-C", str(folder), "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    )
    if listed.returncode == 0 and listed.stdout:
        found = [folder / name for name in listed.stdout.split("\0") if name]
    else:
        found = [
            p for p in folder.rglob("*") if not {"__pycache__", ".venv", ".git"} & set(p.parts)
        ]
    return sorted(path for path in found if path.is_file())
