# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Releases are built whole or not at all: real archives and environments, uv is a fake."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import os
import platform
import tarfile
import types
import typing as t
from pathlib import Path

import pytest
from ansible_collections.slipway.stack.plugins.action import app_build as action_plugin
from ansible_collections.slipway.stack.plugins.module_utils import (
    _application_commands,
    _artefact,
    _build,
    _dependencies,
    _deployments,
    _installed,
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


def archive(path: Path, lock: str = LOCK, code: str = "x = 1\n") -> dict[str, str]:
    """An archive of a small application, and its revision."""
    with tarfile.open(path, "w") as bundle:
        for name, text in {"requirements.txt": lock, "app.py": code, "t.py": "{{"}.items():
            (path.parent / "member").write_text(text)
            bundle.add(path.parent / "member", arcname=name)
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


# A fake of npm: `ci` brings packages, `run build` writes what it sees, `prune` is remembered.
NPM = """
case "$1" in
ci) mkdir node_modules;;
run)
    mkdir -p dist; env > dist/index.html
    test "$2" != standalone || rm -r node_modules
    test "$2" != fail || { echo "no such script"; exit 1; };;
prune) echo "$2" > pruned;;
esac
"""


@pytest.fixture
def page(
    shop: dict[str, t.Any], room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> t.Any:
    """The options of an order of a project for npm, which sees no secret of the application."""
    values = {"VITE_API": "https://api.test", "SECRET_KEY": "canary"}
    monkeypatch.setattr(_application_commands, "read_environment", lambda _path: values)
    program(room / "bin", "npm", NPM)
    monkeypatch.setattr(_application_commands, "_PATH", f"{room}/bin:/usr/bin:/bin")

    def ordered(lock: bool = True, **given: t.Any) -> dict[str, t.Any]:
        path = tmp_path / "page.tar"
        names = ["package.json", "server.js", *(["package-lock.json"] if lock else [])]
        with tarfile.open(path, "w") as bundle:
            for name in names:
                (tmp_path / "member").write_text("{}")
                bundle.add(tmp_path / "member", arcname=name)
        revision = hashlib.sha256(path.read_bytes()).hexdigest()
        return {**shop, "bundle": str(path), "revision": revision, **given}

    return ordered


def test_files_are_built_and_open_to_nginx_alone(page: t.Any) -> None:
    given = page(runtime="static", build="npm run build", served="dist")
    path = Path(given["home"]) / "releases" / _build.build(order(given), NOW)
    assert "VITE_API=https://api.test" in (path / "public/index.html").read_text()
    assert "canary" not in (path / "public/index.html").read_text()
    modes = [path, path / "source", path / "public", path / "public/index.html"]
    assert [oct(each.stat().st_mode & 0o777) for each in modes] == [
        "0o751",
        "0o751",
        "0o755",
        "0o644",
    ]
    assert (path / "source/server.js").stat().st_mode & 0o007 == 0
    assert not (path / "source/node_modules").exists()
    assert not (path / "venv").exists()


def test_files_that_another_machine_has_built_are_the_same_and_need_no_npm(
    page: t.Any, room: Path, tmp_path: Path
) -> None:
    given = page(runtime="static", build="npm run build", served="dist")
    name = _build.build(order(given), NOW)
    path = Path(given["home"]) / "releases" / name
    built = (path / "public/index.html").read_bytes()
    _build.pack(order(given), name, [], tmp_path / "packed")
    _releases.Releases(Path(given["home"])).remove(name)
    (room / "bin/npm").unlink()
    _build.build(order({**given, "packed": str(tmp_path / "packed"), "release": name}), NOW)
    assert (path / "public/index.html").read_bytes() == built
    assert (path / "public/index.html").stat().st_mode & 0o777 == 0o644


def test_a_server_keeps_the_packages_that_it_runs_on(page: t.Any) -> None:
    given = page(runtime="node", build="npm run build")
    path = Path(given["home"]) / "releases" / _build.build(order(given), NOW)
    assert (path / "project/node_modules").is_dir()
    assert (path / "project/pruned").read_text() == "--omit=dev\n"
    assert path.stat().st_mode & 0o007 == 0
    assert _build.build(order(page(runtime="node")), NOW)


def test_a_server_that_has_what_it_needs_gets_no_packages_back(page: t.Any) -> None:
    given = page(runtime="node", build="npm run standalone")
    path = Path(given["home"]) / "releases" / _build.build(order(given), NOW)
    assert not (path / "project/node_modules").exists()
    assert not (path / "project/pruned").exists()


def test_a_server_is_packed_without_any_environment(page: t.Any, tmp_path: Path) -> None:
    given = page(runtime="node")
    name = _build.build(order(given), NOW)
    _build.pack(order(given), name, [], tmp_path / "packed")
    _releases.Releases(Path(given["home"])).remove(name)
    _build.build(order({**given, "packed": str(tmp_path / "packed"), "release": name}), NOW)
    path = Path(given["home"]) / "releases" / name
    assert (path / "project/server.js").exists() and not (path / "venv").exists()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"lock": False}, "has a build command and no package-lock.json: run 'npm install'"),
        ({"build": "npm run fail"}, "cannot be built, npm run fail failed: no such script"),
        ({"served": "out"}, "has no out/index.html: correct static.directory"),
    ],
)
def test_a_bad_project_is_refused(page: t.Any, given: dict[str, t.Any], sentence: str) -> None:
    given = page(**{"runtime": "static", "build": "npm run build", "served": "dist", **given})
    with pytest.raises(StackError, match=sentence):
        _build.build(order(given), NOW)
    assert releases(given) == []


def entries(home: Path) -> dict[str, tuple[int, int]]:
    """What an application has on the disk: of each its mode and its owner."""
    found = [each for name in ("releases", "dependencies") for each in (home / name).rglob("*")]
    return {
        str(each.relative_to(home)): (each.lstat().st_mode, each.lstat().st_uid) for each in found
    }


@pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
def test_what_one_machine_has_built_is_the_same_on_another(
    shop: dict[str, t.Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    own: bool,
) -> None:
    if own:
        monkeypatch.setattr(_dependencies, "digest", lambda *_about: "")
    given = archive(tmp_path / "shop.tar")
    packed = tmp_path / "packed.tar.gz"
    first = run_module("app_build", capsys, **shop | given | {"pack": str(packed)})
    assert packed.stat().st_mode & 0o777 == 0o600
    assert bool(first["dependencies"]) is not own
    home = Path(shop["home"])
    path = home / "releases" / first["release"]
    before = entries(home)
    _releases.Releases(home).remove(first["release"])
    assert not list(home.glob("dependencies/*"))
    # Nothing is fetched and nothing installed: there is not even an index or a uv.
    other = {**shop, "revision": given["revision"], "uv_version": "none"}
    told = {key: first[key] for key in ("release", "dependencies")}
    second = run_module("app_build", capsys, **other | told | {"packed": str(packed)})
    assert (second["changed"], second["release"]) == (True, first["release"])
    assert entries(home) == before
    assert (path / "venv/bin/python").exists()
    packed.unlink()
    again = run_module("app_build", capsys, **shop | given | {"pack": str(packed)})
    assert (again["changed"], packed.exists()) == (False, True)


def test_releases_of_one_lock_share_what_is_installed(
    shop: dict[str, t.Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def built(name: str, **given: t.Any) -> tuple[Path, dict[str, t.Any]]:
        said = run_module("app_build", capsys, **shop | archive(tmp_path / name, **given))
        return Path(shop["home"]) / "releases" / said["release"], said

    first, said = built("first.tar")
    shop["uv_hashes"] = []
    (_build.UV_HOME / "bin/uv").unlink()  # nothing more can be installed
    second, again = built("second.tar", code="x = 2\n")
    assert again["dependencies"] == said["dependencies"]
    environment = (first / "venv").resolve()
    assert (second / "venv").resolve() == environment
    kept = _releases.Releases(Path(shop["home"]))
    kept.remove(first.name)
    assert (second / "venv/bin/python").exists()
    assert _installed.Installed(kept.home).complete() == [said["dependencies"]]
    packed = tmp_path / "packed.tar.gz"
    given = {"pack": str(packed), "present": [said["dependencies"]]}
    run_module(
        "app_build", capsys, **shop | archive(tmp_path / "second.tar", code="x = 2\n") | given
    )
    with tarfile.open(packed) as file:
        assert {name.split("/")[0] for name in file.getnames()} == {"releases"}
    kept.remove(second.name)
    # Where it is, it is not unpacked again; where it is not, the one who packed was told otherwise.
    lost = {**shop, "revision": "r", "packed": str(packed), "release": second.name}
    refused = run_module("app_build", capsys, **lost | {"dependencies": said["dependencies"]})
    assert "cannot be unpacked" in refused["msg"]


def test_what_a_killed_build_has_left_is_installed_anew(
    shop: dict[str, t.Any], tmp_path: Path
) -> None:
    wanted = order(shop, **archive(tmp_path / "shop.tar"))
    path = Path(shop["home"]) / "releases" / _build.build(wanted, NOW)
    digest = _installed.Installed(wanted.home).of(path)
    place = wanted.home / "dependencies" / digest
    (place / "complete").unlink()
    (place / "venv/half").touch()
    (path / "release.json").unlink()
    built = _build.build(wanted, NOW + datetime.timedelta(hours=1))
    assert _installed.Installed(wanted.home).complete() == [digest]
    assert not (place / "venv/half").exists()
    # A link to something incomplete, of a release that is no leftover.
    (place / "complete").unlink()
    (place / "venv/half").touch()
    other = order(shop, **archive(tmp_path / "other.tar", code="x = 3\n"))
    _build.build(other, NOW + datetime.timedelta(hours=2))
    assert not (place / "venv/half").exists()
    assert (wanted.home / "releases" / built / "venv/bin/python").exists()


def test_what_cannot_be_packed_or_unpacked_is_told(shop: dict[str, t.Any], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(StackError, match="built of daemon cannot be packed for other machines"):
        _artefact.pack(USER, tmp_path, [tmp_path / "none"], tmp_path / "packed")
    (tmp_path / "bad").write_text("x")
    bad = order(shop, packed=str(tmp_path / "bad"), release="1-x", revision="x")
    with pytest.raises(StackError, match="has built of daemon cannot be unpacked"):
        _build.build(bad, NOW)
    assert releases(shop) == []


def test_machines_are_alike_with_the_same_debian_and_processor(tmp_path: Path) -> None:
    system = tmp_path / "os-release"
    system.write_text('NAME="Debian GNU/Linux"\n\nID=debian\nVERSION_ID="13"\n')
    machine = platform.machine()
    assert _artefact.kind_of_machine(system) == f"debian 13 {machine}"


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
    assert 100_000 <= _installed.size(tmp_path) < 200_000


def test_what_an_environment_takes_is_noted(tmp_path: Path) -> None:
    installed = _installed.Installed(tmp_path)
    release, venv = tmp_path / "releases" / "1", installed.venv("abc")
    venv.mkdir(parents=True)
    (venv / "x").write_bytes(b"x" * 100_000)
    release.mkdir(parents=True)
    (release / "venv").symlink_to("../../dependencies/abc/venv")
    assert 100_000 <= installed.taken(release) < 200_000, "nobody has noted it"
    installed.finish("abc")
    (venv / "x").rename(tmp_path / "x")
    assert 100_000 <= installed.taken(release) < 200_000, "its files are not counted again"
    (tmp_path / "x").rename(venv / "x")
    for unreadable in ("", "\0\0", "12x"):
        (venv.parent / "complete").write_text(unreadable)
        assert 100_000 <= installed.taken(release) < 200_000
    (release / "venv").unlink()
    (release / "venv").mkdir()
    assert installed.taken(release) == 0, "it is the release's own"


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
        self.fetched: list[str] = []
        plugin._connection.fetch_file = self.fetch
        plugin._make_tmp_path = self.make
        plugin._transfer_file = self.transfer
        plugin._execute_module = lambda name, module_args, task_vars: {"arguments": module_args}
        plugin._remove_tmp_path = self.remove

    def make(self) -> None:
        self.plugin._connection._shell.tmpdir = "/there"

    def transfer(self, local: str, remote: str) -> str:
        self.sent = Path(local).read_bytes()
        return remote

    def fetch(self, remote: str, local: str) -> None:
        self.fetched.append(remote)
        Path(local).write_bytes(b"release")

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
    plugin = action(action_plugin, {"name": "shop", **given}, check_mode)
    connection = Connection(plugin)
    assert plugin.run(task_vars={})["arguments"].get("bundle") == bundle
    assert (bool(connection.sent), connection.removed) == (bool(bundle), True)


def world(**machines: tuple[str, bool, bool]) -> dict[str, t.Any]:
    """Of each machine its kind, and whether it needs and has built the revision."""
    return {
        name: {
            "__app_info": {
                "machine": kind,
                "applications": {"shop": {"needed": needed, "built": built}},
            }
        }
        for name, (kind, needed, built) in machines.items()
    }


def build_on(host: str, every: dict[str, t.Any], **given: t.Any) -> tuple[t.Any, Connection]:
    """What the action comes to on one of the machines, and what crossed its connection."""
    plugin = action(action_plugin, {"name": "shop", "peers": list(every), **given})
    connection = Connection(plugin)
    variables = {"inventory_hostname": host, "hostvars": every}
    return plugin.run(task_vars=variables), connection


def test_one_machine_of_each_kind_builds_for_those_that_need_it() -> None:
    every = world(
        a=("12", False, True), b=("13", True, False), c=("12", True, False), d=("12", True, False)
    )
    first, connection = build_on("c", every)
    assert first["arguments"]["pack"] == connection.fetched[0] == "/there/release.tar.gz"
    alone, connection = build_on("b", every)
    assert "pack" not in alone["arguments"] and not connection.fetched
    waits, connection = build_on("d", every)
    assert (waits["release"], connection.sent) == ("", b"")
    every["c"]["__app_build"] = {**first, "release": "1-x"}
    got, connection = build_on("d", every, built=waits)
    assert got["arguments"]["release"] == "1-x"
    assert got["arguments"]["packed"] == "/there/release.tar.gz"
    own, connection = build_on("c", every, built=every["c"]["__app_build"])
    assert own["release"] == "1-x" and not connection.removed


def test_all_release_what_the_first_has_found_also_when_somebody_pushes_meanwhile() -> None:
    every = world(a=("12", True, False), b=("12", True, False), c=("13", True, False))
    for name, wanted in {"a": "c1", "b": "c2", "c": "c2"}.items():
        every[name]["__app_info"]["applications"]["shop"]["wanted"] = wanted
    first, _connection = build_on("a", every, revision="c1")
    every["a"]["__app_build"] = {**first, "release": "1-c1"}
    got, _connection = build_on("b", every, revision="c2", built={"changed": False})
    other, _connection = build_on("c", every, revision="c2")
    told = [one["arguments"]["revision"] for one in (first, got, other)]
    assert told == ["c1", "c1", "c1"]


def test_files_are_built_once_whatever_the_machines_are() -> None:
    every = world(a=("12", True, False), b=("13", True, False))
    first, connection = build_on("a", every, runtime="static")
    assert connection.fetched
    every["a"]["__app_build"] = {**first, "release": "1-x"}
    waits, _connection = build_on("b", every, runtime="static")
    got, _connection = build_on("b", every, runtime="static", built=waits)
    assert (waits["release"], got["arguments"]["release"]) == ("", "1-x")
    assert got["arguments"]["packed"] == "/there/release.tar.gz"


def test_what_every_machine_has_installed_need_not_be_packed() -> None:
    every = world(a=("12", True, False), b=("12", True, False), c=("12", True, False))
    for name, present in {"b": ["one", "two"], "c": ["two", "three"]}.items():
        every[name]["__app_info"]["applications"]["shop"]["dependencies"] = present
    first, _connection = build_on("a", every)
    assert first["arguments"]["present"] == ["two"]
    every["a"]["__app_build"] = {**first, "release": "1-x", "dependencies": "three"}
    got, _connection = build_on("b", every, built={"changed": False})
    assert got["arguments"]["dependencies"] == "three"


def test_what_every_machine_has_built_before_is_sent_to_none() -> None:
    every = world(a=("12", True, True), b=("12", True, True))
    first, connection = build_on("a", every)
    assert not connection.fetched
    every["a"]["__app_build"] = {**first, "release": "1-x"}
    got, connection = build_on("b", every, built={"release": ""} | {"changed": False})
    assert (got["arguments"]["release"], connection.sent) == ("1-x", b"")


@pytest.mark.parametrize("theirs", [{}, {"failed": True}, {"application": "stall", "release": "1"}])
def test_where_the_builder_failed_nothing_is_built(theirs: dict[str, t.Any]) -> None:
    every = world(a=("12", True, False), b=("12", True, False))
    every["a"]["__app_build"] = theirs
    got, _connection = build_on("b", every, built={"changed": False})
    assert (got["failed"], got["msg"]) == (True, "a failed, nothing is built here.")


def test_a_build_that_fails_is_not_fetched() -> None:
    every = world(a=("12", True, False), b=("12", True, False))
    plugin = action(action_plugin, {"name": "shop", "peers": ["a", "b"]})
    connection = Connection(plugin)
    plugin._execute_module = lambda *_, **__: {"failed": True}
    done = plugin.run(task_vars={"inventory_hostname": "a", "hostvars": every})
    assert done["failed"] and not connection.fetched


def test_a_folder_is_made_on_the_machine_only_once(tmp_path: Path) -> None:
    given = {"name": "shop", "archive": archive(tmp_path / "shop.tar")["bundle"]}
    plugin = action(action_plugin, given)
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
