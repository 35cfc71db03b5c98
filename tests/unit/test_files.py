"""Looking at files, replacing them in one step, and digests of what a unit runs on."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _files
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError

OWNER = pwd.getpwuid(os.geteuid()).pw_name
GROUP = grp.getgrgid(os.getegid()).gr_name
PARAMS = {
    "path": "/etc/x",
    "owner": "root",
    "group": "root",
    "mode": None,
    "state": "present",
    "template": None,
    "content": "x",
    "secret": False,
    "encoded_content": None,
    "independent": False,
}


def wanted(path: Path, content: str | None, mode: int = 0o640, secret: bool = False) -> _files.File:
    data = None if content is None else content.encode()
    return _files.File(str(path), data, _files.Attributes(OWNER, GROUP, mode), secret)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"mode": "416"}, "mode 416 of /etc/x is not an octal mode"),
        ({"mode": "640x"}, 'mode 640x of /etc/x is not an octal mode; .* like "0640"'),
        ({"mode": "0999"}, "mode 0999 of /etc/x is not an octal mode"),
        ({"path": "etc/x"}, "etc/x is not an absolute, plain path"),
        ({"path": "/etc/../x"}, "/etc/../x is not an absolute, plain path"),
        ({"content": None}, "/etc/x has neither a template nor a content"),
        ({"template": "x.j2", "content": None}, "reached the machine unrendered"),
    ],
)
def test_mistakes_are_refused_with_a_sentence(given: dict[str, str], sentence: str) -> None:
    with pytest.raises(StackError, match=sentence):
        _files.file_from_params({**PARAMS, **given})


def test_a_secret_file_is_closed_to_others_unless_said_otherwise() -> None:
    given = {**PARAMS, "content": None, "secret": True, "encoded_content": "aHVzaA=="}
    secret = _files.file_from_params(given)
    assert (secret.content, secret.secret, secret.attributes.mode) == (b"hush", True, 0o600)
    assert _files.file_from_params(PARAMS).attributes.mode == 0o644


def test_a_file_is_created_with_its_parents_and_then_left_alone(tmp_path: Path) -> None:
    file = wanted(tmp_path / "a/b/c.conf", "hello\n")
    change = _files.plan_file(file)
    assert change is not None and _files.describe(change) == f"created {file.path}"
    _files.apply_file(change)
    assert (tmp_path / "a/b/c.conf").read_text() == "hello\n"
    assert (tmp_path / "a/b/c.conf").stat().st_mode & 0o7777 == 0o640
    assert (tmp_path / "a").stat().st_mode & 0o7777 == 0o755
    assert names(tmp_path / "a/b") == ["c.conf"]
    assert _files.plan_file(file) is None


def test_a_drifted_mode_is_repaired_without_touching_the_contents(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("same")
    path.chmod(0o666)
    before = path.stat().st_ino
    change = _files.plan_file(wanted(path, "same"))
    assert change is not None and not change.of_content
    assert "(was " in _files.describe(change)
    _files.apply_file(change)
    assert (path.stat().st_mode & 0o777, path.stat().st_ino) == (0o640, before)


def test_a_symbolic_link_is_replaced_and_put_back(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("same")
    link.symlink_to("target")
    change = _files.plan_file(wanted(link, "same"))
    assert change is not None
    _files.apply_file(change)
    assert not link.is_symlink() and link.read_text() == "same"
    _files.put_back(change)
    assert link.readlink() == Path("target")


@pytest.mark.parametrize("old", [None, "old"])
@pytest.mark.parametrize("new", [None, "new"])
def test_putting_back_undoes_every_change(tmp_path: Path, old: str | None, new: str | None) -> None:
    path = tmp_path / "x"
    if old is not None:
        path.write_text(old)
        path.chmod(0o604)
    change = _files.plan_file(wanted(path, new))
    if change is None:
        assert old is None and new is None
        return
    _files.apply_file(change)
    assert path.exists() == (new is not None)
    _files.put_back(change)
    assert path.exists() == (old is not None)
    if old is not None:
        assert (path.read_text(), path.stat().st_mode & 0o777) == (old, 0o604)


def test_what_a_killed_run_left_behind_is_cleared(tmp_path: Path) -> None:
    (tmp_path / ".x.abc.slipway").write_text("half a secr")
    (tmp_path / ".y.abc.slipway").write_text("of another file")
    _files.write(str(tmp_path / "x"), b"whole", _files.own(0o600))
    assert names(tmp_path) == [".y.abc.slipway", "x"]


def test_a_directory_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="is a directory and not a file"):
        _files.plan_file(wanted(tmp_path, "x"))


def test_an_unknown_owner_is_refused_and_named(tmp_path: Path) -> None:
    attributes = _files.Attributes("nobody-at-all", GROUP, 0o640)
    with pytest.raises(StackError, match="belongs to nobody-at-all, which does not exist"):
        _files.require_owners("/etc/x", attributes, frozenset())
    _files.require_owners("/etc/x", attributes, frozenset({"nobody-at-all"}))


def test_the_difference_of_a_secret_file_hides_its_contents(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old canary")
    change = _files.plan_file(wanted(path, "new canary", secret=True))
    assert change is not None
    text = str(_files.diff(change))
    assert "canary" not in text and "contents hidden" in text
    open_change = _files.plan_file(wanted(path, "new canary"))
    assert open_change is not None and "new canary" in str(_files.diff(open_change))


def test_a_digest_foresees_what_the_disk_will_say(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/keep").write_text("1")
    (tmp_path / "d/gone").write_text("2")
    new = {f"{tmp_path}/d/new": b"3", f"{tmp_path}/d/gone": None}
    watched = [str(tmp_path / "d"), str(tmp_path / "d/new"), str(tmp_path / "d/gone")]
    foreseen = [_files.digest(path, new) for path in watched]
    assert foreseen != [_files.digest(path, {}) for path in watched]
    (tmp_path / "d/new").write_text("3")
    (tmp_path / "d/gone").unlink()
    assert foreseen == [_files.digest(path, {}) for path in watched]


def test_a_digest_sees_where_a_link_leads_and_what_a_linked_file_says(tmp_path: Path) -> None:
    seen = set()
    for release in ("one", "two"):
        (tmp_path / release).mkdir()
    link = tmp_path / "current"
    for release in ("one", "two"):
        link.unlink(missing_ok=True)
        link.symlink_to(release)
        seen.add(_files.digest(str(link), {}))
    (tmp_path / "two/x").write_text("within the release")
    seen.add(_files.digest(str(link), {}))
    assert len(seen) == 2
    link.unlink()
    link.symlink_to("two/x")
    before = _files.digest(str(link), {})
    (tmp_path / "two/x").write_text("renewed")
    assert _files.digest(str(link), {}) != before
    assert _files.digest(str(tmp_path / "nowhere"), {}) == _files.ABSENT


def test_an_absent_file_is_not_there() -> None:
    assert _files.file_from_params({**PARAMS, "state": "absent", "content": None}).content is None
    assert _files.directory_from_params({**PARAMS}) == _files.Directory(
        "/etc/x", _files.Attributes("root", "root", 0o755)
    )


def test_an_owner_without_a_name_is_a_number() -> None:
    assert (_files._owner(4_000_000), _files._group(4_000_000)) == ("4000000", "4000000")


def test_what_is_no_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StackError, match="pipe is a device, socket or pipe and not a file;"):
        _files.plan_file(wanted(tmp_path / "pipe", "x"))
    (tmp_path / "file").write_text("x")
    directory = _files.Directory(str(tmp_path / "file"), _files.own(0o755))
    with pytest.raises(StackError, match="file is a file and not a directory; move it away"):
        _files.plan_directory(directory)


def test_a_link_to_a_directory_does_for_one(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("elsewhere")
    (tmp_path / "dangling").symlink_to("nowhere")
    attributes = _files.own(0o755)
    assert _files.plan_directory(_files.Directory(str(tmp_path / "link"), attributes)) is None
    with pytest.raises(StackError, match="dangling is a link and not a directory"):
        _files.plan_directory(_files.Directory(str(tmp_path / "dangling"), attributes))


def test_a_directory_is_repaired_where_it_is(tmp_path: Path) -> None:
    place = tmp_path / "d"
    place.mkdir(0o700)
    (place / "inside").touch()
    directory = _files.Directory(str(place), _files.Attributes(OWNER, GROUP, 0o750))
    found = _files.plan_directory(directory)
    assert found is not None
    _files.apply_directory(directory, found)
    assert (place.stat().st_mode & 0o777, names(place)) == (0o750, ["inside"])
    assert _files.plan_directory(directory) is None


def test_what_the_disk_refuses_is_a_sentence_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "in-the-way").write_text("a file")
    change = _files.plan_file(wanted(tmp_path / "in-the-way" / "x", "1"))
    assert change is not None
    with pytest.raises(StackError, match=r"^cannot write .*/in-the-way/x: File exists$"):
        _files.apply_file(change)
    (tmp_path / "full").mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        _files.write(str(tmp_path / "full"), b"1", _files.own(0o600))
    assert names(tmp_path) == ["full", "in-the-way"]


@pytest.mark.parametrize("removed_meanwhile", [True, False])
@pytest.mark.parametrize("was_link", [True, False])
def test_what_somebody_removed_meanwhile_is_put_back_all_the_same(
    tmp_path: Path, was_link: bool, removed_meanwhile: bool
) -> None:
    path = tmp_path / "x"
    if was_link:
        path.symlink_to("nowhere")
    change = _files.plan_file(wanted(path, "new"))
    assert change is not None
    _files.apply_file(change)
    if removed_meanwhile:
        path.unlink()
    _files.put_back(change)
    assert (path.is_symlink(), path.exists()) == (was_link, False)


def test_a_digest_knows_nothing_of_unfinished_files(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("1")
    before = _files.digest(str(tmp_path), {})
    (tmp_path / ".y.abc.slipway").write_text("half")
    assert _files.digest(str(tmp_path), {}) == before
    (tmp_path / "link").symlink_to("x")
    assert _files.digest(str(tmp_path), {}) != before


@pytest.mark.parametrize(
    ("old", "new", "before", "after"),
    [
        (b"old\n", b"new\n", "old\n", "new\n"),
        (b"old\n", None, "old\n", ""),
        (b"\xff\x00", b"new\n", "2 bytes that are not text\n", "new\n"),
        (b"x" * 100_001, b"new\n", "100001 bytes\n", "new\n"),
        (None, b"new\n", "symbolic link to elsewhere\n", "new\n"),
    ],
    ids=["text", "removed", "no text", "long", "link"],
)
def test_the_difference_is_told_so_that_it_can_be_read(
    tmp_path: Path, old: bytes | None, new: bytes | None, before: str, after: str
) -> None:
    path = tmp_path / "x"
    if old is None:
        path.symlink_to("elsewhere")
    else:
        path.write_bytes(old)
    text = None if new is None else new.decode()
    change = _files.plan_file(wanted(path, text))
    assert change is not None
    first = _files.diff(change)[0]
    assert (first["before"], first["after"]) == (before, after)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [("1", None, "removed"), (None, "2", "created"), ("1", "2", "wrote")],
)
def test_a_change_is_told_in_one_word(
    tmp_path: Path, old: str | None, new: str | None, said: str
) -> None:
    if old:
        (tmp_path / "x").write_text(old)
    change = _files.plan_file(wanted(tmp_path / "x", new))
    assert change is not None
    assert _files.describe(change) == f"{said} {tmp_path}/x"


def test_a_mode_alone_is_the_whole_difference(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("same")
    (tmp_path / "x").chmod(0o600)
    change = _files.plan_file(wanted(tmp_path / "x", "same", mode=0o644))
    assert change is not None
    (entry,) = _files.diff(change)
    assert entry["before"].endswith(" 0600\n") and entry["after"].endswith(" 0644\n")
