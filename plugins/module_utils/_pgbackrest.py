# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the info and manifest files of pgBackRest say, and whether they are whole. Pure."""

from __future__ import annotations

import hashlib
import json
import typing as t
from dataclasses import dataclass
from datetime import UTC, datetime

from . import _errors

EXTENSIONS = ("", ".gz", ".lz4", ".zst", ".bz2", ".pgbi")
BUNDLED = {"none": "", "gz": ".gz", "lz4": ".lz4", "zst": ".zst", "bz2": ".bz2"}
CHECKSUM = "backrest-checksum"

Sections = dict[str, dict[str, t.Any]]


@dataclass(frozen=True)
class Set:
    """One backup as backup.info lists it."""

    label: str
    archive: str
    prior: str | None
    started: datetime
    wal_start: str | None
    wal_stop: str | None
    repo_size: int
    failed_pages: bool

    def full(self) -> str:
        """The label of the full backup that it builds on, or is."""
        return self.label.partition("_")[0]


@dataclass(frozen=True)
class File:
    """One file of a backup: where it lies, and what its bytes are."""

    name: str
    label: str
    size: int
    sha1: str | None
    repo_sha1: str | None
    repo_size: int
    bundle: int | None
    offset: int
    in_blocks: bool


def parse(text: str, origin: str) -> Sections:
    """The sections of an info file, whose checksum of itself must be right."""
    sections: Sections = {}
    found: dict[str, t.Any] = {}
    raw: dict[str, list[str]] = {}
    name = ""
    try:
        for line in text.split("\n"):
            if line.startswith("["):
                name = line[1 : line.rindex("]")]
                found = sections.setdefault(name, {})
                raw.setdefault(name, [])
            elif line:
                key, value = _split(line)
                found[key] = json.loads(value)
                if key != CHECKSUM:
                    raw[name].append(f"{json.dumps(key, ensure_ascii=False)}:{value}")
        stated = sections["backrest"][CHECKSUM]
    except (ValueError, KeyError) as error:
        raise _errors.BackupError(f"{origin} is not an info file of pgBackRest: {error}") from error
    actual = hashlib.sha1(_canonical(raw).encode(), usedforsecurity=False).hexdigest()
    if stated != actual:
        raise _errors.BackupError(f"{origin} has checksum {actual}, but says {stated}")
    return sections


def _split(line: str) -> tuple[str, str]:
    """Names of files may hold a =, values are JSON: the first place where both fit."""
    begin = line.index("=")
    while True:
        try:
            json.loads(line[begin + 1 :])
        except ValueError:
            begin = line.index("=", begin + 1)
        else:
            return line[:begin], line[begin + 1 :]


def _canonical(raw: t.Mapping[str, list[str]]) -> str:
    """What pgBackRest takes the checksum of."""
    return "{" + ",".join(f'"{name}":{{{",".join(pairs)}}}' for name, pairs in raw.items()) + "}"


def sets(info: Sections) -> list[Set]:
    """The backups that backup.info lists, oldest first."""
    found = [
        Set(
            label=label,
            archive=_archive(info, value),
            prior=value.get("backup-prior"),
            started=datetime.fromtimestamp(value["backup-timestamp-start"], UTC),
            wal_start=value.get("backup-archive-start"),
            wal_stop=value.get("backup-archive-stop"),
            repo_size=int(value.get("backup-info-repo-size", 0)),
            failed_pages=bool(value.get("backup-error")),
        )
        for label, value in info.get("backup:current", {}).items()
    ]
    return sorted(found, key=lambda one: (one.started, one.label))


def _archive(info: Sections, value: t.Mapping[str, t.Any]) -> str:
    """The folder of its WAL: each major version of a database has its own."""
    number = value.get("db-id")
    version = info.get("db:history", {}).get(str(number), {}).get("db-version")
    return f"{version}-{number}"


def files(manifest: Sections, label: str) -> list[File]:
    """Every file that a restore of this backup reads."""
    common = manifest.get("target:file:default", {})
    found = []
    for name, own in manifest.get("target:file", {}).items():
        value = {**common, **own}
        found.append(
            File(
                name=name,
                label=value.get("reference") or label,
                size=int(value["size"]),
                sha1=value.get("checksum"),
                repo_sha1=value.get("rck"),
                repo_size=int(value.get("repo-size", value["size"])),
                bundle=value.get("bni"),
                offset=int(value.get("bno", 0)),
                in_blocks="bim" in value,
            )
        )
    return found


def passphrase(info: Sections | None) -> str | None:
    """What the files are encrypted with that an info file is about."""
    found = (info or {}).get("cipher", {}).get("cipher-pass")
    return str(found) if found else None


def compression(manifest: Sections) -> str:
    """The extension of the files in bundles, whose names have none."""
    return BUNDLED[str(manifest.get("backup:option", {}).get("option-compress-type", "none"))]


def place(file: File, root: str, there: t.Container[str]) -> str | None:
    """The key at which a file of a backup lies; None if it does not."""
    name = f"bundle/{file.bundle}" if file.bundle is not None else file.name
    for extension in EXTENSIONS:
        key = f"{root}/{file.label}/{name}{extension}"
        if key in there:
            return key
    return None
