# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Sources of an application: real repositories and archives, fetched as somebody else."""

from __future__ import annotations

import hashlib
import subprocess
import tarfile
import typing as t
import zipfile
from pathlib import Path

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _application_commands, _sources
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError
from fakes import needs_root
from health_fakes import Fake, answer, says

pytestmark = needs_root
USER = "daemon"


class Repository:
    """A repository on this machine with a branch, a tag of each kind and two commits."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")
        self.commits = [self.commit(f"{number}\n") for number in (1, 2)]
        self.git("tag", "light")
        self.git("tag", "-m", "x", "heavy", "HEAD~1")

    def git(self, *words: str) -> str:
        identity = ["-c", "user.name=ada", "-c", "user.email=ada@example.com"]
        return subprocess.run(
            ["git", *identity, *words], cwd=self.path, check=True, capture_output=True, text=True
        ).stdout.strip()

    def commit(self, text: str, name: str = "app.py") -> str:
        (self.path / name).write_text(text)
        self.git("add", ".")
        self.git("commit", "--quiet", "-m", "x")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(room: Path) -> Repository:
    return Repository(room / "shop.git")


@pytest.fixture
def home(room: Path) -> Path:
    """Where the user has its cache and a release's empty folder."""
    home = room / "home"
    home.mkdir()
    for name in ("cache", "target"):
        _application_commands.own(home / name, USER, USER)
    return home


def source(home: Path, repository: str, key: Path | None = None) -> _sources.Git:
    return _sources.Git(USER, home, repository, key)


def test_a_version_is_a_tag_a_branch_or_a_commit(home: Path, repository: Repository) -> None:
    git = source(home, str(repository.path))
    first, second = repository.commits
    found = {"main": second, "light": second, "heavy": first, first: first}
    # Whole references, for a survey turns a tag such as 1.10 into a number.
    found |= {"refs/tags/light": second, "refs/tags/heavy": first, "refs/heads/main": second}
    for version, commit in found.items():
        assert git.resolve(version) == commit
    with pytest.raises(StackError, match=r"has neither a tag nor a branch 'v9': correct source\."):
        git.resolve("v9")


def test_what_is_approved_does_not_move(home: Path, repository: Repository) -> None:
    git = source(home, str(repository.path))
    first, second = repository.commits
    repository.git("branch", "light", first)
    found = {"light": second, "refs/tags/heavy": first, first: first}
    assert {version: git.resolve(version, fixed=True) for version in found} == found
    repository.git("update-ref", "refs/pull/1", second)
    for version in ("main", "refs/heads/main", "refs/pull/1"):
        git.resolve(version)
        with pytest.raises(StackError) as no:
            git.resolve(version, fixed=True)
        assert str(no.value) == (
            f"{version} of {USER} is no tag and may hold something else tomorrow, so that nobody"
            f" can approve it: approve and deploy a tag, or the commit {second}."
        )


def test_a_repository_that_cannot_be_read_is_told_without_its_token(home: Path) -> None:
    git = source(home, "http://ada:hunter22@127.0.0.1:1/shop.git")
    with pytest.raises(StackError, match=r"\(http://127\.0\.0\.1:1/shop\.git\) cannot be re") as no:
        git.resolve("main")
    assert "hunter22" not in str(no.value)


def test_the_tree_of_a_commit_is_put_into_the_release(home: Path, repository: Repository) -> None:
    git = source(home, str(repository.path))
    for commit, text in zip(repository.commits, ("1\n", "2\n"), strict=True):
        git.check_out(commit, "main", home / "target")
        assert (home / "target" / "app.py").read_text() == text
        assert [path.name for path in (home / "target").iterdir()] == ["app.py"]
    assert (home / "target" / "app.py").owner() == USER
    assert not (home / "cache" / "index").exists()


def test_a_commit_that_is_nowhere_is_told(home: Path, repository: Repository) -> None:
    git = source(home, str(repository.path))
    with pytest.raises(StackError, match=f"^The source of {USER} cannot be fetched from "):
        git.check_out("0" * 40, "main", home / "target")
    assert list((home / "target").iterdir()) == []


def test_submodules_are_refused_for_they_would_be_missing(
    home: Path, repository: Repository
) -> None:
    commit = repository.commit("[submodule]\n", ".gitmodules")
    git = source(home, str(repository.path))
    with pytest.raises(StackError, match="uses git submodules at main, which are not fetched"):
        git.check_out(commit, "main", home / "target")


@pytest.mark.parametrize("key", [None, Path("/etc/slipway/shop/deploy_key")])
def test_ssh_uses_the_key_of_the_application_alone(tmp_path: Path, key: Path | None) -> None:
    command = source(tmp_path, "git@example.com:shop.git", key)._ssh()
    assert f"UserKnownHostsFile={tmp_path}/cache/known_hosts" in command
    assert (f"-i {key} -o IdentitiesOnly=yes" in command) == (key is not None)


def test_an_address_cannot_write_settings_of_its_own() -> None:
    assert _sources._quote('a"b\\c') == '"a\\"b\\\\c"'


def test_an_archive_is_downloaded_whole(tmp_path: Path) -> None:
    body = b"archive" * 100_000
    fake = Fake(says(answer(body)))
    _sources.download(f"http://127.0.0.1:{fake.port}/x.tar", tmp_path / "x")
    fake.close()
    assert _sources.digest(tmp_path / "x") == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x.tar", "no address"])
def test_an_archive_that_cannot_be_had_is_told(tmp_path: Path, url: str) -> None:
    with pytest.raises(StackError, match=f"^{url} cannot be downloaded: "):
        _sources.download(url, tmp_path / "x")


def tar(path: Path, files: t.Mapping[str, str]) -> None:
    with tarfile.open(path, "w:gz") as bundle:
        for name, text in files.items():
            (path.parent / "member").write_text(text)
            bundle.add(path.parent / "member", arcname=name)


def zipped(path: Path, files: t.Mapping[str, str]) -> None:
    with zipfile.ZipFile(path, "w") as bundle:
        for name, text in files.items():
            bundle.writestr(name, text)


@pytest.mark.parametrize("pack", [tar, zipped])
@pytest.mark.parametrize(
    ("packed", "unpacked"),
    [
        ({"shop-1/app.py": "1", "shop-1/x/y": "2"}, ["app.py", "x", "x/y"]),
        ({"app.py": "1", "x/y": "2"}, ["app.py", "x", "x/y"]),
        ({"app.py": "1"}, ["app.py"]),
    ],
    ids=["one folder around all", "none", "one file"],
)
def test_one_folder_around_everything_is_left_out(
    home: Path,
    tmp_path: Path,
    pack: t.Callable[[Path, t.Mapping[str, str]], None],
    packed: dict[str, str],
    unpacked: list[str],
) -> None:
    target = home / "target"
    pack(tmp_path / "archive", packed)
    _sources.unpack(tmp_path / "archive", target, USER, home / "cache")
    assert sorted(str(path.relative_to(target)) for path in target.rglob("*")) == unpacked
    assert {path.owner() for path in target.rglob("*")} == {USER}
    assert list((home / "cache").iterdir()) == []


def test_a_folder_of_the_operators_keeps_its_only_folder(home: Path, tmp_path: Path) -> None:
    tar(tmp_path / "archive", {"dist/index.html": "1"})
    _sources.unpack(tmp_path / "archive", home / "target", USER, home / "cache", lift=False)
    assert (home / "target/dist/index.html").read_text() == "1"


def test_what_is_no_archive_is_told(home: Path, tmp_path: Path) -> None:
    (tmp_path / "archive").write_text("<html>not found</html>")
    with pytest.raises(StackError, match=f"^The archive of {USER} cannot be unpacked: "):
        _sources.unpack(tmp_path / "archive", home / "target", USER, home / "cache")
    assert list((home / "cache").iterdir()) == []
