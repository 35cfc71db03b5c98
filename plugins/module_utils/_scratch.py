# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A copy of the cluster beside the cluster, recovered to a moment: its own directory, port, socket.

Everything in its directory is made by the user postgres, so whoever is root follows no link in it.
"""

from __future__ import annotations

import json
import shutil
import time
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from . import _backups, _errors, _postgres, _psql, _recovery

UNIT = "slipway-scratch.service"
PROGRAMS = "/usr/lib/postgresql"
# What recovery adds to the files of the backup before it has made a checkpoint.
ROOM = 1.2
ARCHIVED_WITHIN = 120
# Where a segment is put that is only to be seen.
SEEN = "/var/lib/slipway/backup/segment"


@dataclass(frozen=True)
class Scratch:
    """Where the copy is, and what it is made with; a rehearsal has another place and start."""

    base: Path
    port: int
    stanza: str = "main"
    unit: str = UNIT  # empty: started here, as a part of this process' own unit
    run: _psql.Run = _psql.run
    sleep: t.Callable[[float], None] = time.sleep
    free: t.Callable[[Path], int] = field(default=lambda path: shutil.disk_usage(path).free)
    repository: int = 0  # the only one to read; 0: whichever gives something

    @property
    def data(self) -> Path:
        return self.base / "data"

    def psql(self, database: str = _postgres.MAINTENANCE) -> _psql.Psql:
        return _psql.Psql(self.port, self.run, socket=str(self.base / "socket"), database=database)


def bring_up(scratch: Scratch, wanted: _recovery.Target) -> tuple[_recovery.Reached, bool]:
    """The copy at that moment, and whether it had to be made; one that is there already is kept."""
    # The latest of an earlier run is not the latest any more.
    there = present(scratch, wanted) if wanted.kind != "latest" else None
    if there:
        return there, False
    chosen = candidates(scratch, wanted)
    remove(scratch)
    require_room(scratch.base, chosen[0].size, scratch.free)
    for backup in chosen:
        if _recover(scratch, wanted, backup):
            break
    else:
        raise _errors.BackupError(
            f"no backup leads to {wanted.kind} {wanted.value}: it is not in the archived WAL."
        )
    reached = _recovery.reached(wanted, backup, scratch.psql().ask(_recovery.REACHED))
    told = {"target": [wanted.kind, wanted.value], "reached": reached.as_dict()}
    _write(scratch, "restored.json", json.dumps(told, indent=2) + "\n")
    return reached, True


def candidates(scratch: Scratch, wanted: _recovery.Target) -> list[_recovery.Backup]:
    found = _recovery.backups(_pgbackrest(scratch, ["info", "--output=json"]))
    return _recovery.candidates(wanted, found)


def present(scratch: Scratch, wanted: _recovery.Target) -> _recovery.Reached | None:
    """Where the copy stands, if there is one that was made for this target and answers."""
    told = _read(scratch)
    if told.get("target") != [wanted.kind, wanted.value] or not scratch.psql().reachable():
        return None
    return _recovery.Reached(**told["reached"])


def remove(scratch: Scratch) -> bool:
    """Nothing is left of the copy; whether there was something."""
    if scratch.unit:
        stop = ["systemctl", "stop", scratch.unit]
        _psql.call(scratch.run, stop, "cannot stop the scratch instance")
        _psql.call(scratch.run, ["systemctl", "reset-failed", scratch.unit], "")
    elif (scratch.data / "postmaster.pid").exists():
        version = (scratch.data / "PG_VERSION").read_text().strip()
        stop = [
            f"{PROGRAMS}/{version}/bin/pg_ctl",
            "stop",
            "-D",
            str(scratch.data),
            "-m",
            "immediate",
        ]
        _as_postgres(scratch, stop, "")
    left = sorted(scratch.base.iterdir()) if scratch.base.is_dir() else []
    if left:
        _as_postgres(scratch, ["rm", "-rf", "--", *map(str, left)], "cannot remove the old copy")
    return bool(left)


def require_room(where: Path, size: int, free: t.Callable[[Path], int]) -> None:
    """Refuse before the first byte: the live server stops when its disk is full."""
    needed, there = int(size * ROOM), free(where)
    if there < needed:
        shown = _backups.human_size
        raise _errors.BackupError(
            f"{where} has {shown(there)} free, but a copy of the cluster takes"
            f" {shown(needed)}: free or add space there; nothing was done."
        )


def archive_now(
    live: _psql.Psql,
    wait: t.Callable[[float], None],
    elsewhere: t.Callable[[str], bool] = lambda _segment: False,
) -> str:
    """The segment with everything that is committed by now, archived; none where no server runs.

    A commit of its own ends it, because a time is only reached by a commit that comes after it. The
    server counts a segment once each repository has it; `elsewhere` tells whether one has.
    """
    if not live.reachable():
        return ""
    live.ask("SELECT pg_current_xact_id();")
    segment = live.ask("SELECT pg_walfile_name(pg_current_wal_insert_lsn());").strip()
    live.ask("SELECT pg_switch_wal();")
    for second in range(ARCHIVED_WITHIN):
        if live.ask("SELECT last_archived_wal FROM pg_stat_archiver;").strip() >= segment:
            return segment
        if second == ARCHIVED_WITHIN // 2 and elsewhere(segment):
            return segment
        wait(1)
    raise _errors.BackupError(
        f"WAL segment {segment} was not archived within {ARCHIVED_WITHIN} s: see pg_stat_archiver"
        " and repair archiving first, or the newest rows are not in the restored database."
    )


def in_a_repository(run: _psql.Run, segment: str) -> bool:
    """Whether a recovery would find it, in whichever repository."""
    get = ["pgbackrest", "--stanza=main", "--log-level-console=off", "archive-get", segment, SEEN]
    code, _out, _said = run(_psql.as_user("postgres", get), "")
    run(_psql.as_user("postgres", ["rm", "-f", SEEN]), "")
    return code == 0


def archives(segment: str) -> str:
    """What a segment that arrived proves; its name begins with the timeline."""
    return (
        f"Archiving works: the segment {segment} has arrived; the cluster is on timeline"
        f" {int(segment[:8], 16)}."
    )


def _recover(scratch: Scratch, wanted: _recovery.Target, backup: _recovery.Backup) -> bool:
    """Whether the target was reached from this backup."""
    remove(scratch)
    for name in ("data", "socket", "log"):
        _as_postgres(scratch, ["mkdir", "-m", "0700", str(scratch.base / name)], "cannot begin")
    where = [f"--pg1-path={scratch.data}", f"--lock-path={scratch.base}/lock", "--archive-mode=off"]
    _pgbackrest(scratch, [*where, f"--set={backup.label}", *wanted.options(), "restore"])
    written = f"{scratch.data}/postgresql.auto.conf"
    recovery = _as_postgres(scratch, ["cat", written], "cannot read what pgBackRest wrote")
    settings = _recovery.configuration(
        str(scratch.base), scratch.port, recovery, _repository(scratch)
    )
    _write(scratch, "data/postgresql.auto.conf", "")
    _write(scratch, "data/postgresql.conf", settings)
    _write(scratch, "data/pg_hba.conf", _recovery.ACCESS)
    _write(scratch, "data/pg_ident.conf", "")
    programs = f"{PROGRAMS}/{backup.version}/bin"
    return _start(scratch, programs)


def _start(scratch: Scratch, programs: str) -> bool:
    """Start and wait for the end of the recovery; False if the WAL ended without the target."""
    if scratch.unit:
        code, _out, said = scratch.run(["systemctl", "start", scratch.unit], "")
    else:
        start = [f"{programs}/pg_ctl", "start", "-D", str(scratch.data), "-w", "-t", "86400", "-s"]
        start += ["-l", f"{scratch.base}/log/start.log"]
        code, _out, said = scratch.run(_psql.as_user("postgres", start), "")
    # A server that lets nobody read during recovery says that it is ready when that begins.
    running = [f"{programs}/pg_ctl", "status", "-D", str(scratch.data)]
    while code == 0:
        if scratch.psql().reachable():
            return True
        if scratch.free(scratch.base) < 0:
            raise _errors.BackupError(
                f"{scratch.base} has too little free for the recovery to go on: free or add space"
                " there."
            )
        scratch.sleep(1)
        code = scratch.run(_psql.as_user("postgres", running), "")[0]
    log = scratch.run(_psql.as_user("postgres", ["cat", f"{scratch.base}/log/server.log"]), "")[1]
    if _recovery.MISSED in log:
        return False
    why = _recovery.complaint(log) or " ".join(said.split())
    raise _errors.BackupError(f"the scratch instance did not start: {why.rstrip('.')}.")


def _pgbackrest(scratch: Scratch, arguments: list[str]) -> str:
    command = ["pgbackrest", f"--stanza={scratch.stanza}", "--log-level-console=off"]
    command += ["--log-level-stderr=error", *_repository(scratch), *arguments]
    return _as_postgres(scratch, command, f"pgbackrest {arguments[-1]} failed")


def _repository(scratch: Scratch) -> list[str]:
    return [f"--repo={scratch.repository}"] if scratch.repository else []


def _write(scratch: Scratch, name: str, text: str) -> None:
    path = str(scratch.base / name)
    command = _psql.as_user("postgres", ["tee", path])
    _psql.call(scratch.run, command, f"cannot write {path}", text)


def _read(scratch: Scratch) -> dict[str, t.Any]:
    command = _psql.as_user("postgres", ["cat", str(scratch.base / "restored.json")])
    code, text, _said = scratch.run(command, "")
    try:
        return dict(json.loads(text)) if code == 0 else {}
    except ValueError:  # cut short: as if it had not been restored
        return {}


def _as_postgres(scratch: Scratch, command: list[str], failed: str) -> str:
    return _psql.call(scratch.run, _psql.as_user("postgres", command), failed)
