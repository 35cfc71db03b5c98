# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Repositories of a real pgBackRest in a real S3 server: whole ones, and attacked ones."""

from __future__ import annotations

import pathlib
import re
import shutil
import typing as t
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _s3, _verify_request, _wal

from .injector import Faults, injected
from .repository import Repositories, Sections, resigned
from .store import Store, said

REMEMBERED = "0"  # seconds that rclone may answer from memory


@dataclass
class Attacked:
    """A copy of a repository, what lies where in it, and the verdict on it."""

    store: Store
    folder: pathlib.Path
    last_wal: str

    def __post_init__(self) -> None:
        self.backups = self.folder / "backup" / "shop"
        self.info = self.backups / "backup.info"

    def label(self, kind: str) -> pathlib.Path:
        (found,) = (path for path in self.backups.glob(f"2*{kind}") if path.is_dir())
        return found

    def segments(self, timeline: int = 1) -> list[pathlib.Path]:
        """The segments of a timeline, in order, that are needed."""
        return [
            path
            for path in sorted(self.folder.glob(f"archive/shop/*/{timeline:08X}*/*.zst"))
            if ".partial" not in path.name and path.name[16:24] >= self.start
        ]

    @property
    def start(self) -> str:
        """The end of the name of the first segment that the full backup needs."""
        assert list((self.label("F") / "pg_data").glob("backup_label.*"))
        (noted,) = sorted(self.folder.glob("archive/shop/*/00000001*/*.backup"))[:1]
        return noted.name[16:24]

    def verdict(self, level: str = "present", **options: t.Any) -> _verify_request.Verdict:
        options.setdefault("last_wal", self.last_wal)
        return self.store.verdict(level, engine="pgbackrest", **options)

    def caught(self, level: str, words: str, **options: t.Any) -> None:
        """The verdict stops below this level, and says why."""
        verdict = self.verdict(level, **options)
        assert verdict.reached == {"present": None, "intact": "present"}[level]
        assert words in said(verdict), said(verdict)


def attacked(rclone: Store, tmp_path: pathlib.Path, made: Repositories, kind: str) -> Attacked:
    folder = tmp_path / "backups"
    shutil.copytree(made.folder(kind), folder, dirs_exist_ok=True, symlinks=True)
    return Attacked(rclone, folder, made.last_wal)


@pytest.fixture
def plain(rclone: Store, tmp_path: pathlib.Path, repositories: Repositories) -> Attacked:
    return attacked(rclone, tmp_path, repositories, "plain")


def flip(path: pathlib.Path, place: int | None = None) -> None:
    body = bytearray(path.read_bytes())
    body[len(body) // 2 if place is None else place] ^= 1
    path.write_bytes(body)


def spoil(path: pathlib.Path) -> None:
    """One letter in a text that pgBackRest signed."""
    text = path.read_text()
    path.write_text(text.replace("backrest-format=5", "backrest-format=4"))


def test_a_repository_that_is_whole_passes(plain: Attacked) -> None:
    """Full, differential, incremental, and a new timeline before the last."""
    verdict = plain.verdict("readable")
    assert (verdict.reached, verdict.findings) == ("readable", [])
    assert str(verdict.key).endswith(plain.label("I").name)
    assert plain.last_wal.startswith("00000002")
    assert verdict.bytes_read > verdict.size > 0


def test_a_repository_below_a_prefix_passes(plain: Attacked) -> None:
    (plain.folder / "night").mkdir()
    for name in ("archive", "backup"):
        (plain.folder / name).rename(plain.folder / "night" / name)
    (plain.folder / "night" / "notes.txt").write_text("passed over")
    plain.store.target = replace(plain.store.target, prefix="night")
    assert plain.verdict("intact").findings == []


def test_segments_of_another_size_are_unknown(
    plain: Attacked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_wal, "SEGMENT_BYTES", 64 * 1024 * 1024)
    verdict = plain.verdict("intact")
    assert (verdict.reached, said(verdict)) == (None, "")
    assert "segments of 64 MiB / of 16 MiB" in said(verdict, "unknown")


def test_a_first_segment_that_cannot_be_read_is_damaged_and_nothing_else(plain: Attacked) -> None:
    plain.segments()[0].write_bytes(b"no frame of zstd")
    assert plain.verdict().findings == []
    plain.caught("intact", "a file that can be unpacked / zstd ended with 1")


@pytest.mark.parametrize("last_wal", ["", None, "00000002.history"])
def test_a_repository_passes_without_a_last_segment(plain: Attacked, last_wal: str | None) -> None:
    assert plain.verdict(last_wal=last_wal).findings == []


@pytest.mark.parametrize("which", [0, 1, -1])
def test_a_segment_that_is_missing(plain: Attacked, which: int) -> None:
    """The first that the full backup needs, one in the middle, the last before the switch."""
    gone = plain.segments()[which]
    gone.unlink()
    plain.caught("present", f"{gone.name[:24]} to {gone.name[:24]} missing")


def test_segments_that_are_missing_after_the_switch(plain: Attacked) -> None:
    first, second = plain.segments(timeline=2)[:2]
    first.unlink()
    second.unlink()
    plain.caught("present", f"{first.name[:24]} to {second.name[:24]} missing")


def test_a_tail_that_is_missing(plain: Attacked) -> None:
    plain.segments(timeline=2)[-1].unlink()
    assert plain.verdict(last_wal=None).reached == "present"
    plain.caught("present", f"{plain.last_wal} missing")


def test_a_last_segment_ahead_of_the_archive(plain: Attacked) -> None:
    ahead = f"{int(plain.last_wal, 16) + 2:024X}"
    plain.caught("present", f"to {ahead} missing", last_wal=ahead)
    plain.caught("present", f"to {ahead} missing", last_wal=f"{ahead}.00000028.backup")


def test_a_segment_of_an_older_server_does_not_fill_a_gap(plain: Attacked) -> None:
    gone = plain.segments()[1]
    before = gone.parents[1].with_name("14-9") / gone.parent.name
    before.mkdir(parents=True)
    gone.rename(before / gone.name)
    plain.caught("present", f"{gone.name[:24]} missing")


def test_an_empty_segment(plain: Attacked) -> None:
    plain.segments()[1].write_bytes(b"")
    plain.caught("present", "a segment / an empty object")


def test_two_servers_that_archive_to_one_stanza(plain: Attacked) -> None:
    segment = plain.segments()[1]
    shutil.copy(segment, segment.with_name(f"{segment.name[:25]}{'ab' * 20}.zst"))
    plain.caught("present", "one segment of its name / several")


def named(attack: Attacked, level: str, expected: dict[pathlib.Path, str]) -> None:
    """One reading names each of these, and nothing else; reading all takes seconds."""
    verdict = attack.verdict("intact")
    found = {
        attack.folder / one.object: f"{one.expected} / {one.found}" for one in verdict.findings
    }
    assert {one.level for one in verdict.findings} == {level}
    assert found.keys() == expected.keys()
    for path, words in expected.items():
        assert words in found[path], found[path]


def test_damaged_segments(plain: Attacked) -> None:
    early, late = plain.segments(), plain.segments(timeline=2)
    content = early[1].read_bytes()
    flip(early[0])
    flip(early[2], -30)
    flip(late[0], 2)
    shutil.copy(early[1], late[1])
    late[2].write_bytes(content[:-1])
    named(
        *(plain, "intact"),
        {
            early[0]: "",
            early[2]: "",
            late[0]: "a file that can be unpacked",
            late[1]: f"sha1 {late[1].name[25:65]} inside / {early[1].name[25:65]} in 16777216",
            late[2]: "a file that can be unpacked",
        },
    )


def test_a_history_that_is_missing(plain: Attacked) -> None:
    next(plain.folder.glob("archive/shop/*/00000002.history")).unlink()
    plain.caught("present", "the history of its timeline / none")


def test_a_history_that_is_damaged(plain: Attacked) -> None:
    next(plain.folder.glob("archive/shop/*/00000002.history")).write_bytes(b"\xff\n")
    plain.caught("present", "WAL without a gap")


@pytest.mark.parametrize("kind", ["F", "D", "I"])
def test_a_label_without_its_files(plain: Attacked, kind: str) -> None:
    shutil.rmtree(plain.label(kind))
    plain.caught("present", "its files / none")


def test_all_backups_gone_and_the_archive_left(plain: Attacked) -> None:
    for kind in "FDI":
        shutil.rmtree(plain.label(kind))
    plain.caught("present", "its files / none")
    shutil.rmtree(plain.backups)
    plain.caught("present", "backup.info is missing")


def test_an_incremental_backup_whose_full_one_is_not_listed(plain: Attacked) -> None:
    full = plain.label("F").name

    def forget(sections: Sections) -> None:
        del sections["backup:current"][full]

    resigned(plain.info, forget)
    plain.caught("present", f"its base {full} / not in backup.info")


def test_a_list_without_a_backup(plain: Attacked) -> None:
    resigned(plain.info, lambda sections: sections.pop("backup:current"))
    plain.caught("present", "a backup / none")


def largest(label: pathlib.Path) -> list[pathlib.Path]:
    """Files of a backup, the largest first."""
    every = sorted((label / "pg_data").rglob("*.gz"))
    return sorted(every, key=lambda path: path.stat().st_size, reverse=True)


def test_damaged_files(plain: Attacked) -> None:
    """The incremental backup takes most of its files from the full one."""
    full, new = largest(plain.label("F")), largest(plain.label("I"))
    flipped, cut, emptied, longer = full[1:5]
    short, swapped = new[:2]
    flip(flipped)
    for path, size in ((cut, 1), (emptied, 0), (short, -1)):
        path.write_bytes(path.read_bytes()[:size])
    longer.write_bytes(longer.read_bytes() + b"garbage")
    shutil.copy(new[2], swapped)
    named(
        *(plain, "intact"),
        {
            flipped: "",
            cut: "it breaks off",
            emptied: "it breaks off",
            short: "it breaks off",
            longer: "something follows its end",
            swapped: "sha1",
        },
    )


def test_files_that_are_missing(plain: Attacked) -> None:
    full, new = largest(plain.label("F"))[1], largest(plain.label("I"))[0]
    full.unlink()
    new.unlink()
    missing = "a file of the backup / none"
    named(plain, "present", {path.with_suffix(""): missing for path in (full, new)})


@pytest.mark.parametrize("name", ["backup", "archive", "manifest"])
@pytest.mark.parametrize("damage", [spoil, pathlib.Path.unlink])
def test_one_damaged_copy_is_a_warning_and_two_are_none(
    plain: Attacked, name: str, damage: t.Callable[[pathlib.Path], None]
) -> None:
    info = {
        "backup": plain.info,
        "archive": plain.folder / "archive" / "shop" / "archive.info",
        "manifest": plain.label("I") / "backup.manifest",
    }[name]
    damage(info)
    verdict = plain.verdict()
    assert verdict.reached == "present"
    assert "two good copies" in said(verdict, "warning")
    damage(info.with_name(f"{info.name}.copy"))
    plain.caught("present", "a good copy of it")


def test_a_stale_backup(plain: Attacked) -> None:
    plain.store.now += timedelta(hours=26)
    plain.caught("present", "at most 25.0 h old / 26.")


def test_a_server_whose_clock_is_ahead(plain: Attacked) -> None:
    plain.store.now -= timedelta(hours=2)
    plain.caught("present", "begun in the past")


def test_a_backup_with_page_errors(plain: Attacked) -> None:
    newest = plain.label("I").name

    def tell(sections: Sections) -> None:
        sections["backup:current"][newest]["backup-error"] = True

    resigned(plain.info, tell)
    plain.caught("present", "sound pages / page errors")


def test_a_backup_that_names_no_segment_is_unknown(plain: Attacked) -> None:
    newest = plain.label("I").name

    def forget(sections: Sections) -> None:
        del sections["backup:current"][newest]["backup-archive-stop"]

    resigned(plain.info, forget)
    verdict = plain.verdict()
    assert verdict.reached is None
    assert "the WAL that it needs" in said(verdict, "unknown")


def test_a_stanza_that_is_not_there(plain: Attacked) -> None:
    found = plain.store.verdicts(engine="pgbackrest", level="present", databases=["blog"])
    assert "backup.info is missing" in said(found["blog"])


def test_gaps_between_backups(plain: Attacked) -> None:
    full = plain.label("F").name

    def age(sections: Sections) -> None:
        sections["backup:current"][full]["backup-timestamp-start"] -= 3 * 86400

    resigned(plain.info, age)
    assert "daily backups / none between" in said(plain.verdict("kept"))


PASSPHRASE = "correct horse"


@pytest.fixture
def encrypted(rclone: Store, tmp_path: pathlib.Path, repositories: Repositories) -> Attacked:
    return attacked(rclone, tmp_path, repositories, "encrypted")


@pytest.fixture
def bundled(rclone: Store, tmp_path: pathlib.Path, repositories: Repositories) -> Attacked:
    return attacked(rclone, tmp_path, repositories, "bundled")


def test_an_encrypted_repository_is_unknown_without_its_passphrase(encrypted: Attacked) -> None:
    verdict = encrypted.verdict("intact")
    assert verdict.reached is None
    assert "is encrypted: give cipher_pass" in said(verdict, "unknown")
    assert said(verdict) == ""


@pytest.mark.parametrize("own", [False, True])
def test_an_encrypted_repository_passes_with_it(encrypted: Attacked, own: bool) -> None:
    verdict = encrypted.verdict("intact", cipher_pass=PASSPHRASE, own_files_only=own)
    assert verdict.reached == "intact", verdict.findings
    assert verdict.bytes_read > 0


def test_what_an_earlier_backup_holds_is_not_read_again_unless_asked(encrypted: Attacked) -> None:
    flip(max((encrypted.label("F") / "bundle").iterdir(), key=lambda path: path.stat().st_size))
    asked = {"cipher_pass": PASSPHRASE}
    assert encrypted.verdict("intact", own_files_only=True, **asked).reached == "intact"
    # The key is another one each time, so the garbled block may unpack or not.
    verdict = encrypted.verdict("intact", **asked)
    assert verdict.reached == "present"
    assert re.search("sha1|a file that can be unpacked", said(verdict)), said(verdict)


@pytest.mark.parametrize("given", ["wrong horse", "correct hors"])
def test_another_passphrase(encrypted: Attacked, given: str) -> None:
    encrypted.caught("present", "it is damaged, or of another passphrase", cipher_pass=given)


def test_a_passphrase_for_what_is_in_clear(plain: Attacked) -> None:
    plain.caught("present", "it is not encrypted, as it should be", cipher_pass=PASSPHRASE)


@pytest.mark.parametrize("place", [0, 20, -1])
def test_an_encrypted_segment_that_is_damaged(encrypted: Attacked, place: int) -> None:
    last = encrypted.segments(2)[-1]
    flip(last, place)
    encrypted.caught("intact", "a file that can be unpacked", cipher_pass=PASSPHRASE)


def test_a_bundled_repository_passes(bundled: Attacked) -> None:
    assert bundled.verdict("intact").reached == "intact", bundled.verdict("intact").findings


@pytest.mark.parametrize("place", [0, None, -1])
def test_a_bundle_with_a_flipped_bit(bundled: Attacked, place: int | None) -> None:
    flip(bundled.label("F") / "bundle" / "1", place)
    verdict = bundled.verdict("intact")
    assert verdict.reached == "present"
    assert len(said(verdict).splitlines()) == 1, "the first bad file of a bundle is told"


def test_a_bundle_that_breaks_off(bundled: Attacked) -> None:
    bundle = bundled.label("F") / "bundle" / "1"
    bundle.write_bytes(bundle.read_bytes()[:-1])
    bundled.caught("intact", "a file that can be unpacked")
    bundle.unlink()
    assert "a file of the backup / none" in said(bundled.verdict("intact"))


@pytest.mark.parametrize(
    ("hidden", "reached"),
    [("backup.info", None), ("00000002.history", None), ("backup_label", "present")],
)
def test_what_the_server_does_not_give_is_unknown(
    plain: Attacked, monkeypatch: pytest.MonkeyPatch, hidden: str, reached: str | None
) -> None:
    monkeypatch.setattr("random.uniform", lambda low, _high: low)
    faults = Faults(refusals=99, only=hidden)
    with injected(str(plain.store.target.endpoint_url), faults) as endpoint:
        client = _s3.client(replace(plain.store.target, endpoint_url=endpoint))
        verdict = plain.verdict("intact", client=client)
    assert verdict.reached == reached
    assert "SlowDown" in said(verdict, "unknown")
    assert said(verdict) == ""
