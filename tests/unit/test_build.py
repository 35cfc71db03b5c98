# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Releases are built whole or not at all: real archives and environments, uv is a fake."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import os
import tarfile
import types
import typing as t
from pathlib import Path

import pytest
from ansible_collections.slipway.stack.plugins.action import app_build as action_plugin
from ansible_collections.slipway.stack.plugins.module_utils import (
    _application_commands,
    _build,
    _deployments,
    _releases,
)
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError
from ansible_collections.slipway.stack.plugins.modules import app_build
from fakes import action, needs_root, program, run_module
from health_fakes import Fake, answer, says
from test_sources import USER, Repository

pytestmark = needs_root
NOW = datetime.datetime(2026, 11, 21, 8, tzinfo=datetime.UTC)
LOCK = "django==5.2 --hash=sha256:aa\n"
# A fake of uv: makes a real environment, installs nothing, and fails where it is told to.
UV = """
case "$1" in
--version) echo "uv 0.9.1";;
venv) for last; do :; done; exec {python} -m venv --without-pip "$last";;
*) grep -q broken requirements.txt || exit 0; echo "no such package"; exit 2;;
esac
"""


@pytest.fixture
def shop(room: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, t.Any]:
    """The options of an order, on a machine with uv."""
    monkeypatch.setattr(_build, "UV_HOME", room / "uv")
    # As root of another machine: the interpreter of the tests may be closed to others.
    program(room / "uv" / "bin", "uv", UV.format(python="/usr/bin/python3"))
    home = room / "home"
    (home / "releases").mkdir(parents=True)
    _application_commands.own(home / "cache", USER, USER)
    return {
        "name": USER,
        "home": str(home),
        "revision": "",
        "uv_version": "0.9.1",
        "python": "/usr/bin/python3",
    }


def archive(path: Path, lock: str = LOCK) -> dict[str, str]:
    """An archive of a small application, and its revision."""
    with tarfile.open(path, "w") as bundle:
        for name, text in {"requirements.txt": lock, "app.py": "x = 1\n", "t.py": "{{"}.items():
            (path.parent / "member").write_text(text)
            bundle.add(path.parent / "member", arcname=f"shop/{name}")
    return {"bundle": str(path), "revision": hashlib.sha256(path.read_bytes()).hexdigest()}


def order(shop: dict[str, t.Any], **given: t.Any) -> _build.Order:
    specification = {key: one.get("default") for key, one in app_build.argument_spec().items()}
    made: _build.Order = app_build.order_from({**specification, **shop, **given})
    return made


def releases(shop: dict[str, t.Any]) -> list[str]:
    return [path.name for path in (Path(shop["home"]) / "releases").iterdir()]


def test_a_release_is_complete_and_belongs_to_root(
    shop: dict[str, t.Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = archive(tmp_path / "shop.tar")
    (Path(shop["home"]) / "releases" / "killed").mkdir()
    foreseen = run_module("app_build", capsys, True, **shop | given)
    assert (foreseen["changed"], foreseen["release"]) == (True, "")
    said = run_module("app_build", capsys, **shop | given | {"version": "v2"})
    assert said["changed"] and releases(shop) == [said["release"]]
    path = Path(shop["home"]) / "releases" / said["release"]
    assert (path.owner(), path.group(), path.stat().st_mode & 0o777) == ("root", USER, 0o750)
    assert (path / "project" / "app.py").read_text() == "x = 1\n"
    assert list((path / "source" / "__pycache__").glob("app.*.pyc"))
    assert (path / "venv" / "bin" / "python").exists()
    assert (path / "release.env").read_text() == f'RELEASE_REVISION="{given["revision"]}"\n'
    found = _releases.Releases(Path(shop["home"])).read(said["release"])
    assert found and (found.version, found.result) == ("v2", _releases.BUILT)
    again = run_module("app_build", capsys, **shop | given)
    assert (again["changed"], again["release"]) == (False, said["release"])


def test_a_failed_release_is_built_anew(shop: dict[str, t.Any], tmp_path: Path) -> None:
    wanted = order(shop, **archive(tmp_path / "shop.tar"))
    name = _build.build(wanted, NOW)
    built = _build.existing(wanted)
    assert built and built.name == name
    assert _build.existing(dataclasses.replace(wanted, python="/usr/bin/python3.99")) is None
    _releases.Releases(wanted.home).judge(name, _releases.FAILED)
    assert _build.existing(wanted) is None


@pytest.mark.parametrize(
    ("lock", "given", "sentence"),
    [
        (LOCK, {"subdirectory": "none"}, "has no folder 'none': correct source.subdirectory"),
        ("django==5.2\n", {}, "names 'django==5.2' without a hash"),
        (f"{LOCK}# broken\n", {}, "cannot be installed from requirements.txt: no such package"),
        (LOCK, {"python": "/usr/bin/python9"}, "wants /usr/bin/python9, which this machine does"),
        (LOCK, {"uv_version": "9.9.9"}, "app_uv_version is '9.9.9', whose hashes are not known"),
        (LOCK, {"archive": "https://x/y.tar", "revision": "ab"}, "do not use it before you know"),
    ],
)
def test_a_build_that_fails_is_told_and_leaves_nothing(
    shop: dict[str, t.Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    lock: str,
    given: dict[str, str],
    sentence: str,
) -> None:
    packed = archive(tmp_path / "shop.tar", lock)
    said = run_module("app_build", capsys, **shop | packed | given)
    assert said["rc"] == 1 and sentence in said["msg"]
    assert releases(shop) == []


def test_a_repository_is_checked_out(shop: dict[str, t.Any], room: Path) -> None:
    repository = Repository(room / "shop.git")
    revision = repository.commit(LOCK, "requirements.txt")
    name = _build.build(order(shop, repository=str(repository.path), revision=revision), NOW)
    assert (Path(shop["home"]) / "releases" / name / "project" / "app.py").exists()
    again = order(shop, repository=str(repository.path), revision=revision, deploy_key="/none")
    assert _build.build(again, NOW + datetime.timedelta(hours=1)) != name


def test_an_archive_is_fetched_and_checked(shop: dict[str, t.Any], tmp_path: Path) -> None:
    given = archive(tmp_path / "shop.tar")
    fake = Fake(says(answer(Path(given["bundle"]).read_bytes())))
    url = f"http://127.0.0.1:{fake.port}/shop.tar"
    _build.build(order(shop, archive=url, revision=given["revision"]), NOW)
    with pytest.raises(StackError, match=f"^{url} has the SHA-256 {given['revision']}, and source"):
        _build.build(order(shop, archive=url, revision="ab"), NOW)
    fake.close()


@pytest.mark.parametrize("reserve", ["_RESERVE_BYTES", "_RESERVE_FILES"])
def test_a_disk_that_could_fill_is_refused(
    shop: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch, reserve: str
) -> None:
    monkeypatch.setattr(_build, reserve, 1 << 60)
    kept = _releases.Releases(Path(shop["home"]))
    kept.path("1").mkdir()
    kept.finish("1", "r", "p")
    files = types.SimpleNamespace(f_bavail=9, f_frsize=1 << 30, f_files=9, f_favail=9)
    monkeypatch.setattr(os, "statvfs", lambda _path: files)
    with pytest.raises(StackError, match=r"9216 MB and 9 files free, .* keep fewer releases"):
        _build.build(order(shop), NOW)


def test_what_a_release_takes_is_counted(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "y").write_bytes(b"x" * 100_000)
    (tmp_path / "link").symlink_to("/etc/passwd")
    assert 100_000 <= _build._size(tmp_path) < 200_000


# Fakes of Debian's Python and of the pip in the environment that it makes. With the real ones it
# takes half a minute; Molecule's scenario app has those.
PYTHON = """
for place; do :; done
mkdir -p $place/bin
cat > $place/bin/python <<'PIP'
#!/bin/sh
for file; do :; done
echo "$@" > {asked}; cat $file >> {asked}; echo no such hash; exit {code}
PIP
chmod +x $place/bin/python
"""


@pytest.mark.parametrize("code", [0, 1])
def test_uv_is_installed_by_its_hashes_alone(
    shop: dict[str, t.Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    asked = tmp_path / "asked"
    python = program(tmp_path, "python", PYTHON.format(asked=asked, code=code))
    monkeypatch.setattr(_build, "SYSTEM_PYTHON", str(python))
    monkeypatch.setattr(_build, "UV_HOME", tmp_path / "opt" / "uv")
    wanted = order(shop, uv_version="0.9.2", uv_hashes=["aa", "bb"])
    refused = pytest.raises(StackError, match=r"from the package index: no such hash$")
    with refused if code else contextlib.nullcontext():
        _build.ensure_uv(wanted)
    command, requirement = asked.read_text().splitlines()
    assert requirement == "uv==0.9.2 --hash=sha256:aa --hash=sha256:bb"
    assert {"--require-hashes", "--only-binary=:all:", "--no-deps"} < set(command.split())


class Connection:
    """What an action sends to its machine; a fake that only notes it."""

    def __init__(self, plugin: t.Any) -> None:
        self.plugin, self.sent, self.removed = plugin, b"", False
        plugin._make_tmp_path = self.make
        plugin._transfer_file = self.transfer
        plugin._execute_module = lambda name, module_args, task_vars: {"arguments": module_args}
        plugin._remove_tmp_path = self.remove

    def make(self) -> None:
        self.plugin._connection._shell.tmpdir = "/there"

    def transfer(self, local: str, remote: str) -> str:
        self.sent = Path(local).read_bytes()
        return remote

    def remove(self, path: str | None) -> None:
        self.removed = True


@pytest.mark.parametrize(
    ("kind", "check_mode", "bundle"),
    [
        ("directory", False, "/there/source.tar.gz"),
        ("archive", False, "/there/shop.tar"),
        ("archive", True, None),
        ("url", False, None),
    ],
)
def test_what_the_machine_cannot_fetch_is_sent(
    tmp_path: Path, kind: str, check_mode: bool, bundle: str | None
) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "app.py").write_text("x = 1\n")
    given = {
        "directory": {"directory": str(tmp_path / "shop")},
        "archive": {"archive": archive(tmp_path / "shop.tar")["bundle"]},
        "url": {"archive": "https://x/shop.tar"},
    }[kind]
    plugin = action(action_plugin, given, check_mode)
    connection = Connection(plugin)
    assert plugin.run(task_vars={})["arguments"].get("bundle") == bundle
    assert (bool(connection.sent), connection.removed) == (bool(bundle), True)


def test_a_folder_is_made_on_the_machine_only_once(tmp_path: Path) -> None:
    plugin = action(action_plugin, {"archive": archive(tmp_path / "shop.tar")["bundle"]})
    Connection(plugin)
    plugin._connection._shell.tmpdir = "/made"
    assert plugin.run(task_vars={})["arguments"]["bundle"] == "/made/shop.tar"


def test_a_build_is_part_of_its_deployment(
    shop: dict[str, t.Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(_deployments, "DIRECTORY", tmp_path)
    (tmp_path / USER).mkdir()
    said = run_module("app_build", capsys, **shop, deployment="1")
    assert said["rc"] == 1 and "has lost its lock" in said["msg"]
