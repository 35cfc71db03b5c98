# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where an application's source comes from: a git repository or an archive."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import re
import shutil
import tempfile
import typing as t
import urllib.error
import zipfile
from pathlib import Path

from ansible.module_utils import urls
from ansible_collections.slipway.stack.plugins.module_utils import (
    _application_commands as _commands,
)
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError

_COMMIT = re.compile(r"^[0-9a-f]{40}$")
_CHUNK = 1 << 20


class Git:
    """One remote repository, read as an application's user.

    The address and the key travel in files of that user: an access token within the address is
    never seen in a process list.
    """

    def __init__(self, application: str, home: Path, repository: str, key: Path | None) -> None:
        self.application = application
        self.repository = repository
        self.home = home
        self.cache = home / "cache"
        self.key = key

    def resolve(self, version: str, *, fixed: bool = False) -> str:
        """The commit that a branch, a tag or a commit stands for at this moment.

        With `fixed` only for what is meant to stand for the same tomorrow.
        """
        if _COMMIT.match(version):
            return version
        wanted = [f"refs/tags/{version}^{{}}", f"refs/tags/{version}", f"refs/heads/{version}"]
        if version.startswith("refs/"):
            wanted = [f"{version}^{{}}", version]
        with self._configured() as environment:
            outcome = self._git(["ls-remote", "origin", *wanted], environment, self.cache, 60)
        if outcome.code:
            raise StackError(
                f"The repository of {self.application} ({self._shown()}) cannot be read:"
                f" {self._hidden(outcome.tail(3))}"
            )
        lines = [line.partition("\t") for line in outcome.output.splitlines() if "\t" in line]
        found = {reference: commit for commit, _tab, reference in lines}
        for reference in wanted:
            if reference in found:
                self._require_fixed(version, reference, found[reference], fixed)
                return found[reference]
        raise StackError(
            f"{self._shown()} has neither a tag nor a branch {version!r}: correct source.version of"
            f" {self.application}, or give a commit with all of its 40 digits."
        )

    def _require_fixed(self, version: str, reference: str, commit: str, fixed: bool) -> None:
        if fixed and not reference.startswith("refs/tags/"):
            raise StackError(
                f"{version} of {self.application} is no tag and may hold something else tomorrow,"
                f" so that nobody can approve it: approve and deploy a tag, or the commit {commit}."
            )

    def check_out(self, revision: str, version: str, target: Path) -> None:
        """Put the tree of one commit into an empty directory."""
        mirror = self.cache / "repository.git"
        with self._configured() as environment:
            if not (mirror / "HEAD").exists():
                self._must(["init", "--quiet", "--bare", str(mirror)], environment, self.cache)
            one = ["fetch", "--quiet", "--no-tags", "--depth=1", "origin", revision]
            if self._git(one, environment, mirror).code:
                # Older servers hand out named references only.
                everything = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]
                self._must(["fetch", "--quiet", "origin", *everything], environment, mirror)
            index = dict(environment, GIT_INDEX_FILE=str(self.cache / "index"))
            tree = [f"--git-dir={mirror}", f"--work-tree={target}"]
            self._must([*tree, "checkout", "--force", revision, "--", "."], index, target)
            (self.cache / "index").unlink()
        if (target / ".gitmodules").exists():
            raise StackError(
                f"{self.application} uses git submodules at {version}, which are not fetched:"
                " vendor them, or deploy an archive that contains them."
            )

    @contextlib.contextmanager
    def _configured(self) -> t.Iterator[dict[str, str]]:
        owner = pwd.getpwnam(self.application)
        with tempfile.TemporaryDirectory(prefix="slipway-git-") as directory:
            path = Path(directory)
            # Local repositories may belong to someone else; the operator has named this one.
            lines = [
                "[safe]",
                "\tdirectory = *",
                '[remote "origin"]',
                f"\turl = {_quote(self.repository)}",
            ]
            (path / "config").write_text("\n".join([*lines, ""]), encoding="utf-8")
            for entry in (path, path / "config"):
                os.chown(entry, owner.pw_uid, owner.pw_gid)
            yield {
                "GIT_CONFIG_GLOBAL": str(path / "config"),
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_TERMINAL_PROMPT": "0",
                "GIT_SSH_COMMAND": self._ssh(),
            }

    def _ssh(self) -> str:
        known_hosts = self.cache / "known_hosts"
        words = [
            "ssh",
            "-o BatchMode=yes",
            "-o ConnectTimeout=10",
            f"-o UserKnownHostsFile={known_hosts}",
        ]
        words.append("-o StrictHostKeyChecking=accept-new")
        if self.key:
            words += [f"-i {self.key}", "-o IdentitiesOnly=yes"]
        return " ".join(words)

    def _git(
        self,
        words: t.Sequence[str],
        environment: dict[str, str],
        directory: Path,
        timeout: float = 600,
    ) -> _commands.Outcome:
        return _commands.as_user(
            self.application,
            ["git", *words],
            home=self.cache,
            directory=directory,
            environment=environment,
            timeout=timeout,
        )

    def _must(self, words: t.Sequence[str], environment: dict[str, str], directory: Path) -> None:
        outcome = self._git(words, environment, directory)
        if outcome.code:
            raise StackError(
                f"The source of {self.application} cannot be fetched from {self._shown()}:"
                f" {self._hidden(outcome.tail(5))}"
            )

    def _shown(self) -> str:
        """The address without whatever stands before the @ of a web address."""
        return re.sub(r"^(https?://)[^/@]*@", r"\1", self.repository)

    def _hidden(self, text: str) -> str:
        return text.replace(self.repository, self._shown())


def _quote(value: str) -> str:
    return '"{}"'.format(value.replace("\\", "\\\\").replace('"', '\\"'))


def digest(path: Path) -> str:
    """The SHA-256 of one file."""
    summed = hashlib.sha256()
    with path.open("rb") as file:
        for chunk in iter(lambda: file.read(_CHUNK), b""):
            summed.update(chunk)
    return summed.hexdigest()


def download(url: str, target: Path) -> None:
    """Fetch an archive."""
    try:
        with urls.open_url(url, timeout=60) as answer, target.open("wb") as file:
            shutil.copyfileobj(answer, file, _CHUNK)
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise StackError(f"{url} cannot be downloaded: {error}") from None


def unpack(archive: Path, target: Path, user: str, cache: Path, *, lift: bool = True) -> None:
    """Unpack a tar or zip archive as the user, who can write nowhere else.

    With `lift` one directory around everything is left out, as archives of a release have it.
    """
    own = cache / "archive"
    own.unlink(missing_ok=True)
    shutil.copyfile(archive, own)
    owner = pwd.getpwnam(user)
    os.chown(own, owner.pw_uid, owner.pw_gid)
    if zipfile.is_zipfile(own):
        command = ["/usr/bin/python3", "-m", "zipfile", "-e", str(own), str(target)]
    else:
        command = ["tar", "--extract", "--no-same-owner", "--file", str(own)]
    outcome = _commands.as_user(user, command, home=cache, directory=target)
    own.unlink()
    if outcome.code:
        raise StackError(f"The archive of {user} cannot be unpacked: {outcome.tail(3)}")
    if lift:
        _lift(target)


def _lift(target: Path) -> None:
    entries = list(target.iterdir())
    if len(entries) != 1 or not entries[0].is_dir() or entries[0].is_symlink():
        return
    inner = entries[0].rename(target / ".slipway-lift")
    for entry in list(inner.iterdir()):
        entry.rename(target / entry.name)
    inner.rmdir()
