# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Repositories that a real pgBackRest made of a real PostgreSQL, once for all their attackers."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

from .database import NOBODY, Database

STANZA = "shop"
Sections = dict[str, dict[str, t.Any]]
SERVER = """
[shop]
pg1-path={place}/data
pg1-socket-path={place}
pg1-user=postgres
pg1-database=template1
"""
CONFIGURATION = """
[global]
repo1-path={place}/repositories/plain
repo2-path={place}/repositories/encrypted
repo2-cipher-type=aes-256-cbc
repo2-cipher-pass=correct horse
repo2-bundle=y
repo3-path={place}/repositories/bundled
repo3-bundle=y
repo1-retention-full=9
repo2-retention-full=9
repo3-retention-full=9
log-level-file=off
log-level-console=off
log-level-stderr=error
lock-path={place}/lock
spool-path={place}/spool
process-max=2
compress-level=1
start-fast=y
"""

# Each attack reads every file of the newest backup, and a database has three hundred.
FEWER_FILES = (
    "ALTER DATABASE template0 IS_TEMPLATE false",
    "DROP DATABASE template0",
    "DROP DATABASE postgres",
)


@dataclass(frozen=True)
class Repositories:
    """Folders by their kind, and what the server said it archived last."""

    place: Path
    last_wal: str

    def folder(self, kind: str) -> Path:
        return self.place / "repositories" / kind


class Archiving(Database):
    """A server that archives to the repositories, by the pgBackRest that Debian has."""

    def __init__(self, place: Path, home: Path) -> None:
        super().__init__(place, home)
        self.configuration = place / "pgbackrest.conf"
        self.configuration.write_text((CONFIGURATION + SERVER).format(place=place))

    def begin(self) -> None:
        program = f"pgbackrest --config={self.configuration} --stanza={STANZA}"
        command = f"{program} --compress-type=zst archive-push %p"
        self.initialize("archive_mode = on", f"archive_command = '{command}'", "autovacuum = off")
        self.start()
        for text in (*FEWER_FILES, "CREATE TABLE bids (id int)"):
            self.sql("template1", text)
        self.pgbackrest("stanza-create")

    def pgbackrest(self, command: str, *options: str) -> str:
        done = subprocess.run(
            [
                *("pgbackrest", f"--config={self.configuration}", f"--stanza={STANZA}"),
                *(*options, command),
            ],
            cwd=self.place,
            user=NOBODY if self.root else None,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def back_up(self, kind: str, repository: int = 1, *options: str) -> None:
        self.pgbackrest("backup", f"--type={kind}", f"--repo={repository}", *options)

    def work(self) -> None:
        """A segment with rows, archived."""
        self.sql("template1", "INSERT INTO bids SELECT generate_series(1, 1000)")
        self.sql("template1", "SELECT pg_switch_wal()")

    def fail_over(self) -> None:
        """Go on in a new timeline, as a replica does that becomes the primary."""
        self.stop("fast")
        (self.place / "data" / "standby.signal").touch()
        self.start()
        self.program("pg_ctl", "-D", "data", "-w", "promote")

    def archived(self) -> str:
        """What was archived last, once everything is."""
        wanted = self.sql("template1", "SELECT pg_walfile_name(pg_switch_wal())")
        last = ""
        while last[:24] < wanted:
            time.sleep(0.1)
            last = self.sql("template1", "SELECT last_archived_wal FROM pg_stat_archiver")
        return last


def make() -> tuple[Archiving, Repositories]:
    """A full, a differential and an incremental backup; before the last the server fails over.

    The bundled repository holds a full one; the encrypted one is as the role `backup` makes it,
    with bundles, and holds an incremental one too.
    """
    place = Path(tempfile.mkdtemp(prefix="slipway-pgbackrest-"))
    server = Archiving(place, home())
    server.begin()
    server.back_up("full")
    server.back_up("diff")
    server.work()
    server.fail_over()
    server.work()
    server.back_up("incr")
    server.back_up("full", 2, "--compress-type=zst")
    server.back_up("full", 3)
    server.work()
    server.back_up("incr", 2, "--compress-type=zst")
    server.work()
    return server, Repositories(place, server.archived())


def home() -> Path:
    """Debian's own server: its pgBackRest knows no newer one."""
    found = [path.parents[1] for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    if not found:
        raise AssertionError("Debian's postgresql is missing; `make unit` installs it")
    return max(found, key=lambda path: int(path.name))


def resigned(path: Path, change: t.Callable[[Sections], object]) -> None:
    """Change an info file and its copy, and sign it as pgBackRest would have."""
    sections: Sections = {}
    for line in path.read_text().splitlines():
        if line.startswith("["):
            section = sections.setdefault(line[1:-1], {})
        elif line:
            key, _equal, value = line.partition("=")
            section[key] = json.loads(value)
    del sections["backrest"]["backrest-checksum"]
    change(sections)
    text = json.dumps(sections, separators=(",", ":"), sort_keys=True)
    digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    sections["backrest"]["backrest-checksum"] = digest
    lines = []
    for name, section in sections.items():
        lines += [f"[{name}]", *(f"{key}={_compact(value)}" for key, value in section.items()), ""]
    for each in (path, path.with_name(f"{path.name}.copy")):
        each.write_text("\n".join(lines))


def _compact(value: t.Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)
