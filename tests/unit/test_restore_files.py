# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Files that come back beside or into their place, by a stand-in that has the words of restic."""

from __future__ import annotations

import json
import os
import shutil
import typing as t
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _errors, _restore_files
from ansible_collections.slipway.stack.plugins.modules import restore_files as module
from fakes import run_module

NOW = datetime(2026, 11, 29, 9, 0, tzinfo=UTC)
BEFORE = "_before_20261129t090000z"


class Site:
    """A machine with media, and what was saved of them: three files in two snapshots."""

    def __init__(self, root: Path) -> None:
        self.media = root / "srv/shop/media"
        self.saved = root / "saved"
        self.asked: list[tuple[str, ...]] = []
        self.ends: dict[str, tuple[int, str, str]] = {}
        self.moments = ["2026-11-27T02:30:00.123456789+01:00", "2026-11-28T02:30:00Z"]
        kept = Path(f"{self.saved}{self.media}")
        (kept / "2026").mkdir(parents=True)
        (kept / "a b.jpg").write_text("old")
        (kept / "2026/b.jpg").write_text("old b")
        (kept / "link").symlink_to("a b.jpg")
        shutil.copytree(kept, self.media, symlinks=True)
        self.means = _restore_files.Means(
            self, root / "restored", root / "restore.json", lambda: NOW, lambda _: 10**9
        )

    def __call__(self, *words: str) -> tuple[int, str, str]:
        self.asked.append(words)
        if words[0] in self.ends:
            return self.ends[words[0]]
        if words[0] == "snapshots":
            paths = [str(self.media)]
            shown = [
                {"short_id": f"s{n}", "time": each, "paths": paths}
                for n, each in enumerate(self.moments)
            ]
            return 0, json.dumps(shown), ""
        if words[0] == "ls":
            return 0, "".join(f"{json.dumps(line)}\n" for line in self.listed()), ""
        for each in self.saved.iterdir():
            shutil.copytree(each, f"{words[3]}/{each.name}", symlinks=True)
        return 0, "", ""

    def listed(self) -> t.Iterator[dict[str, t.Any]]:
        yield {"struct_type": "snapshot"}
        for each in sorted(self.saved.rglob("*")):
            kind = "symlink" if each.is_symlink() else "dir" if each.is_dir() else "file"
            path = str(each).removeprefix(str(self.saved))
            yield {"path": path, "type": kind, **({"size": 3} if kind == "file" else {})}

    def beside(self) -> list[str]:
        return sorted(each.name for each in self.media.parent.iterdir())

    def text(self) -> dict[str, str]:
        found = self.media.rglob("*")
        return {
            str(each.relative_to(self.media)): each.read_text() for each in found if each.is_file()
        }


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path.resolve())


OLD = {"a b.jpg": "old", "link": "old", "2026/b.jpg": "old b"}


def test_files_come_back_beside_and_the_live_ones_stay(site: Site) -> None:
    (site.media / "a b.jpg").write_text("new")
    for _again in range(2):
        lines = _restore_files.lay_beside("latest", str(site.media), site.means)
    assert "2 files, 6 B, as of 2026-11-28T02:30:00+00:00" in lines[0]
    assert "It took 0.0 min; the target is 60 min." in lines[0]
    assert (site.means.beside.stat().st_mode & 0o777) == 0o700
    assert Path(f"{site.means.beside}{site.media}/a b.jpg").read_text() == "old"
    assert site.text()["a b.jpg"] == "new"
    assert _restore_files.remove(site.means)
    assert not _restore_files.remove(site.means)


def test_all_that_was_saved_comes_back_where_no_path_is_named(site: Site) -> None:
    lines = _restore_files.lay_beside("latest", "", site.means)
    assert lines[0].startswith("Everything saved, 2 files")
    assert "--include" not in site.asked[-1]
    assert "-e restore_path='<path>'" in lines[2]
    assert site.asked[1] == ("ls", "--json", "s1")


def test_a_name_is_not_a_pattern(site: Site) -> None:
    site.saved.joinpath("x[1]*").mkdir()
    _restore_files.lay_beside("latest", "/x[1]*", site.means)
    assert r"/x\[1]\*" in site.asked[-1]


@pytest.mark.parametrize(
    ("to", "name"),
    [("latest", "s1"), ("2026-11-28T02:30:00Z", "s1"), ("2026-11-28T02:29:59Z", "s0")],
)
def test_the_newest_snapshot_up_to_the_moment_is_taken(site: Site, to: str, name: str) -> None:
    assert _restore_files.choose(to, site.means).name == name


@pytest.mark.parametrize(
    ("to", "moments", "said"),
    [
        ("point:x", 2, r"restore_to is 'point:x'; of files write latest or a time"),
        ("2026-11-01T00:00:00Z", 2, r"saved up to 2026-11-01.*oldest snapshot is of 2026-11-27T01"),
        ("latest", 0, "no files of this machine were ever saved"),
    ],
)
def test_a_moment_without_a_snapshot_is_told(site: Site, to: str, moments: int, said: str) -> None:
    del site.moments[moments:]
    with pytest.raises(_errors.BackupError, match=said):
        _restore_files.choose(to, site.means)


@pytest.mark.parametrize("act", [_restore_files.lay_beside, _restore_files.put_in_place])
def test_nothing_is_begun_that_cannot_be_done(site: Site, act: t.Any, tmp_path: Path) -> None:
    with pytest.raises(_errors.BackupError, match="/srv/other is not among what was saved"):
        act("latest", "/srv/other", site.means)
    site.means.journal.unlink(missing_ok=True)
    small = replace(site.means, free=lambda _: 6)
    with pytest.raises(_errors.BackupError, match="6 B free, but these files take 6 B: free or"):
        act("latest", str(site.media), small)
    site.ends["restore"] = (1, "", "Fatal: no space\nx")
    with pytest.raises(_errors.BackupError, match="restic restore ended with 1: no space"):
        act("latest", str(site.media), site.means)
    assert site.text() == OLD


def test_what_was_there_before_is_kept_and_the_directory_stays(site: Site) -> None:
    (site.media / "a b.jpg").write_text("new")
    (site.media / "more").write_text("more")
    (site.media / "2026/b.jpg").unlink()
    number = site.media.stat().st_ino
    lines = _restore_files.put_in_place("latest", str(site.media), site.means)
    assert site.text() == OLD
    assert site.media.stat().st_ino == number
    before = Path(f"{site.media}{BEFORE}")
    assert (before / "more").read_text() == "more"
    assert (before / "a b.jpg").read_text() == "new"
    assert f"kept in {before}" in lines[1]
    assert site.beside() == ["media", before.name]


def test_a_file_and_what_is_gone_altogether_come_back_too(site: Site) -> None:
    file = site.media / "a b.jpg"
    file.write_text("new")
    lines = _restore_files.put_in_place("latest", str(file), site.means)
    assert file.read_text() == "old"
    assert lines[0].startswith(f"{file}, 1 file, 3 B, as of")
    assert Path(f"{file}{BEFORE}").read_text() == "new"
    shutil.rmtree(site.media.parent)
    lines = _restore_files.put_in_place("latest", str(site.media), site.means)
    assert site.text() == OLD
    assert len(lines) == 1


@pytest.mark.parametrize("killed", ["_lay", "_clear", "_fill", "_adopt"])
def test_the_same_request_goes_on_wherever_it_was_killed(
    site: Site, killed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (site.media / "a b.jpg").write_text("new")
    real = getattr(_restore_files, killed)

    def die(*arguments: t.Any) -> None:
        real(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_restore_files, killed, die)
        with pytest.raises(KeyboardInterrupt):
            _restore_files.put_in_place("latest", str(site.media), site.means)
    # Meanwhile somebody goes on to upload.
    (site.media / "2026").mkdir(exist_ok=True)
    later = replace(site.means, clock=lambda: NOW + timedelta(hours=2))
    lines = _restore_files.put_in_place("latest", str(site.media), later)
    assert site.text() == OLD
    assert (Path(f"{site.media}{BEFORE}") / "a b.jpg").read_text() == "new"
    assert len(lines) == 2
    assert "It took 120.0 min; the target is 60 min, which is MISSED." in lines[0]
    assert site.beside() == ["media", f"media{BEFORE}"]


@pytest.mark.parametrize("removed", [False, True])
def test_no_copy_is_left_where_it_was_killed_at_its_end(
    site: Site, monkeypatch: pytest.MonkeyPatch, removed: bool
) -> None:
    real = shutil.rmtree

    def die(path: Path, **how: t.Any) -> None:
        if removed or how:
            real(path, **how)
        if not how:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", die)
        with pytest.raises(KeyboardInterrupt):
            _restore_files.put_in_place("latest", str(site.media), site.means)
    # Meanwhile somebody goes on to upload.
    (site.media / "new").write_text("new")
    _restore_files.put_in_place("latest", str(site.media), site.means)
    assert site.beside() == ["media", f"media{BEFORE}"]
    assert site.text() == {**OLD, "new": "new"}
    assert json.loads(site.means.journal.read_text())["stage"] == "finished"


def test_a_file_that_was_renamed_before_it_was_killed_is_finished(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = site.media / "a b.jpg"
    for killed in ("_clear", "_fill"):
        real = getattr(_restore_files, killed)

        def die(restore: t.Any, real: t.Any = real) -> None:
            real(restore)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(_restore_files, killed, die)
            with pytest.raises(KeyboardInterrupt):
                _restore_files.put_in_place("latest", str(file), site.means)
    _restore_files.put_in_place("latest", str(file), site.means)
    assert file.read_text() == "old"


def test_another_request_waits_for_what_is_half_done(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: t.Any) -> None:
        raise KeyboardInterrupt

    for killed, refused in (("_lay", False), ("_clear", True)):
        with monkeypatch.context() as patch:
            patch.setattr(_restore_files, killed, die)
            with pytest.raises(KeyboardInterrupt):
                _restore_files.put_in_place("latest", str(site.media), site.means)
        other = str(site.media / "a b.jpg")
        if refused:
            with pytest.raises(_errors.BackupError, match="interrupted: finish it with its own"):
                _restore_files.put_in_place("latest", other, site.means)
        else:
            _restore_files.put_in_place("latest", other, site.means)


def test_of_what_only_a_part_was_saved_nothing_is_replaced(site: Site) -> None:
    shop = site.media.parent
    (shop / "not saved").write_text("the only one")
    with pytest.raises(_errors.BackupError) as refused:
        _restore_files.put_in_place("latest", str(shop), site.means)
    assert str(refused.value) == (
        f"{shop} is not among what was saved of this machine as a whole, only {site.media}: name"
        " one of these or what is in it, or leave restore_confirmed_path out and take what you"
        " miss from beside."
    )
    assert site.beside() == ["media", "not saved"]
    assert not site.means.journal.exists()
    # Beside, nothing is in its way.
    assert "2 files" in _restore_files.lay_beside("latest", str(shop), site.means)[0]


def test_a_journal_that_was_cut_short_is_none(site: Site) -> None:
    site.means.journal.write_text('{"path":')
    _restore_files.put_in_place("latest", str(site.media), site.means)
    assert json.loads(site.means.journal.read_text())["stage"] == "finished"


def test_a_link_and_a_mount_are_not_replaced(site: Site, tmp_path: Path) -> None:
    link = site.media.parent / "other"
    link.symlink_to(site.media)
    with pytest.raises(_errors.BackupError, match=r"other leads to .*media: name that one"):
        _restore_files.put_in_place("latest", str(link), site.means)
    with pytest.raises(_errors.BackupError, match="/proc is a file system of its own"):
        _restore_files.put_in_place("latest", "/proc", site.means)
    assert site.asked == []


def test_owners_follow_those_of_the_directory(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    changed: dict[str, tuple[int, int]] = {}

    def chown(path: str, user: int, group: int) -> None:
        changed[Path(path).name] = (user, group)

    monkeypatch.setattr(os, "lchown", chown)
    source = Path(f"{site.saved}{site.media}")
    source.joinpath("a b.jpg").chmod(0o2640)
    here = source.stat()
    _restore_files._adopt(source, os.stat_result((*here[:4], here.st_uid + 1, *here[5:])))
    assert changed["a b.jpg"] == (here.st_uid + 1, here.st_gid)
    assert set(changed) == {"a b.jpg", "link", "2026", "b.jpg"}
    assert source.joinpath("a b.jpg").stat().st_mode & 0o7777 == 0o2640
    changed.clear()
    _restore_files._adopt(source, os.stat_result((*here[:4], here.st_uid, 7, *here[6:])))
    assert changed["b.jpg"] == (here.st_uid, 7)
    foreign = os.stat_result((*here[:4], 7, 7, *here[6:]))
    real = os.lstat
    monkeypatch.setattr(
        os, "lstat", lambda path: os.stat_result((*real(path)[:4], 1, 1, *here[6:]))
    )
    _restore_files._adopt(source, foreign)
    assert changed["b.jpg"] == (-1, -1)


def test_a_target_that_was_missed_is_told(site: Site) -> None:
    moments = iter([NOW, NOW + timedelta(minutes=16)])
    slow = replace(site.means, clock=lambda: next(moments))
    assert _restore_files._took(next(moments), "/etc/slipway", slow) == (
        "It took 16.0 min; the target is 15 min, which is MISSED."
    )


def asked(**changes: t.Any) -> dict[str, t.Any]:
    defaults = {name: each.get("default") for name, each in module.ARGUMENTS.items()}
    return {**defaults, "to": "latest", **changes}


def test_the_module_takes_the_path_twice(tmp_path: Path) -> None:
    places = {"directory": str(tmp_path / "x"), "program": str(tmp_path / "none")}
    with pytest.raises(_errors.BackupError, match="/srv/a is to be restored, but /srv/b was"):
        module.bring_about(asked(path="/srv/a", confirmed="/srv/b", **places), predicting=False)
    for confirmed in ("", "/srv/a/"):
        request = asked(path="/srv/a", confirmed=confirmed, **places)
        assert module.bring_about(request, predicting=True) == {"changed": True}
        with pytest.raises(_errors.BackupError, match=r"none cannot be run \(No such file"):
            module.bring_about(request, predicting=False)
    absent = asked(state="absent", **places)
    for predicting in (True, False):
        assert module.bring_about(absent, predicting=predicting) == {"changed": False}


def test_the_module_tells_what_restic_says(tmp_path: Path) -> None:
    program = tmp_path / "files"
    program.write_text("#!/bin/sh\necho '[]'\n")
    program.chmod(0o755)
    with pytest.raises(_errors.BackupError, match="ever saved"):
        module.bring_about(asked(program=str(program)), predicting=False)


def test_the_module_fails_in_one_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    places = {"directory": str(tmp_path / "x"), "program": str(tmp_path / "none")}
    said = run_module("restore_files", capsys, to="latest", **places)
    assert "run it first" in said["msg"]
    assert run_module("restore_files", capsys, True, to="latest", **places)["changed"]
