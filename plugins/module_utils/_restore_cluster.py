# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The whole cluster out of its repository, into its own place on a machine that has none.

Every step may be repeated: the journal says how far an earlier run came. What was in that place
before is moved aside, never removed.
"""

from __future__ import annotations

import json
import shutil
import time
import typing as t
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from . import _backup_state, _clusters, _errors, _psql, _recovery, _scratch

# Of root alone, because on an empty machine there is nobody else yet.
JOURNAL = Path("/var/lib/slipway/restore_cluster.json")
# Whoever comes later has a cluster in use there, and is asked for the machine's name again.
ABANDONED = 24 * 3600
# What is promised of a whole site; its last step is the last of the playbook but the examination.
SITE_MINUTES = 240
# They would dump what is empty still, and take it for the newest state of things.
TIMERS = ("slipway-backup.timer", "slipway-backup-physical.timer", "slipway-rehearsal.timer")
# What pgBackRest writes for the recovery, and what is asked of it besides.
_TARGETS = ("inclusive", "lsn", "name", "time", "timeline", "xid", "action")
RECOVERY = (
    "hot_standby",
    "restore_command",
    "recovery_target",
    *(f"recovery_target_{each}" for each in _TARGETS),
)


@dataclass(frozen=True)
class Restore:
    """The journal: what was asked for, and how far it came."""

    target: str
    started: str
    aside: str = ""  # where that is kept which was in the way
    cleared: bool = False  # nothing is in the way any more
    prepared: bool = False  # the empty cluster, whose place it takes, has been there
    backup: str = ""  # whose files are there, all of them
    reached: dict[str, t.Any] = field(default_factory=dict)
    finished: str = ""


@dataclass(frozen=True)
class Means:
    """What a restore works with; tests hand in their own."""

    cluster: _clusters.Cluster
    live: _psql.Psql
    journal: Path = JOURNAL
    clock: t.Callable[[], datetime] = _backup_state.now
    sleep: t.Callable[[float], None] = time.sleep
    free: t.Callable[[Path], int] = field(default=lambda path: shutil.disk_usage(path).free)
    reports: Path = Path("/var/lib/slipway/backup/reports")
    configuration: str = ""  # of pgBackRest, where the backups are not where this one archives to

    @property
    def data(self) -> Path:
        root, major, name = self.cluster.root, self.cluster.major, self.cluster.name
        return root / f"var/lib/postgresql/{major}/{name}"

    @property
    def unit(self) -> str:
        return f"postgresql@{self.cluster.major}-{self.cluster.name}.service"


def begin(target: str, machine: str, confirmed: str, means: Means) -> Restore:
    """Nothing is in the way of the cluster; what was there needs the machine's name to be moved."""
    _recovery.target(target)
    restore = _begun(target, means)
    if restore.cleared:
        return restore
    if not restore.aside:
        there = _entries(means.data)
        if there and confirmed != machine:
            raise _errors.BackupError(
                f"{machine} has a cluster already, in {means.data}, and {confirmed or 'nothing'!r}"
                " was confirmed: to have it moved aside and replaced, add"
                f" -e restore_confirmed_machine={machine}."
            )
        if there or means.cluster.exists():
            aside = f"{means.data.parent}/before_{_stamp(restore.started)}"
            restore = _keep(replace(restore, aside=aside), means)
    if restore.aside:
        _put_aside(restore, means)
    return _keep(replace(restore, cleared=True), means)


def recover(restore: Restore, means: Means) -> Restore:
    """The server runs, and is what it was at the target."""
    if restore.reached:
        return restore
    restore = _keep(replace(restore, prepared=True), means)
    wanted = _recovery.target(restore.target)
    found = _recovery.backups(_pgbackrest(means, ["info", "--output=json"]))
    chosen = _recovery.candidates(wanted, found)
    labels = [each.label for each in chosen]
    for backup in chosen[labels.index(restore.backup) if restore.backup in labels else 0 :]:
        if restore.backup != backup.label:
            restore = _lay(restore, wanted, backup, means)
        if _start(means):
            break
    else:
        raise _errors.BackupError(
            f"no backup leads to {wanted.kind} {wanted.value}: it is not in the archived WAL. Name"
            " another restore_to; latest is what the WAL ends with."
        )
    reached = _recovery.reached(wanted, backup, means.live.ask(_recovery.REACHED))
    means.live.ask("".join(f"ALTER SYSTEM RESET {name};\n" for name in RECOVERY))
    _call(means, ["systemctl", "restart", means.unit], "cannot restart PostgreSQL")
    return _keep(replace(restore, reached=reached.as_dict()), means)


def finish(restore: Restore, means: Means) -> tuple[Restore, list[str]]:
    """Archiving works, which is proven by a segment of its own; what a person is told."""
    if not restore.reached:
        raise _errors.BackupError("the cluster was not recovered: there is nothing to finish.")
    segment = _scratch.archive_now(means.live, means.sleep)
    if not segment:
        raise _errors.BackupError(f"the restored cluster does not answer: see {means.unit}.")
    told = [
        f"The cluster is as it was at {restore.target}; last transaction:"
        f" {restore.reached['last_commit'] or 'none since its backup'}, from the backup"
        f" {restore.reached['backup']}.{_took(restore, means)}",
        _scratch.archives(segment),
    ]
    if restore.aside:
        told.append(
            f"What was in its place is kept in {restore.aside}; remove it when nobody needs it."
        )
    restore = replace(restore, finished=_now(means))
    _report(restore, means)
    return _keep(restore, means), told


def _report(restore: Restore, means: Means) -> None:
    """For the next rehearsal's report, beside those of databases that were put back."""
    told = {
        "database": "the whole cluster",
        "source": restore.target,
        "reached": restore.reached,
        "started": restore.started,
        "swapped": restore.finished,
        "safety_copy": restore.aside,
        "took": _took(restore, means),
    }
    _as_postgres(means, ["mkdir", "-p", str(means.reports)], "cannot keep the report")
    stamp = _stamp(restore.finished)
    keep = _psql.as_user("postgres", ["tee", str(means.reports / f"restore-cluster-{stamp}.json")])
    text = json.dumps(told, indent=2) + "\n"
    _psql.call(means.live.run, keep, "cannot keep the report", text)


def _took(restore: Restore, means: Means) -> str:
    """Against the target of a whole site, which is up by then; whole minutes, at least one."""
    took = means.clock() - datetime.fromisoformat(restore.started)
    minutes = -(-int(took.total_seconds()) // 60) or 1
    missed = ", which is MISSED" if minutes > SITE_MINUTES else ""
    return f" It took {minutes} min; the target is {SITE_MINUTES} min{missed}."


def _stamp(moment: str) -> str:
    return moment.replace("-", "").replace(":", "").replace("+0000", "z").lower()


def _begun(target: str, means: Means) -> Restore:
    """What an interrupted run of the same request began, or a new one."""
    found = read(means)
    new = Restore(target, _now(means))
    if found and means.clock().timestamp() - means.journal.stat().st_mtime > ABANDONED:
        return _keep(new, means)
    if found and (found.target, found.finished) == (target, ""):
        return found
    if found and not found.reached:
        # Nobody has used what is there, so another target may replace it.
        return _keep(replace(found, target=target, backup=""), means)
    return _keep(new, means)


def _put_aside(restore: Restore, means: Means) -> None:
    """The data and the configuration, or what is left of them."""
    if _entries(means.data):
        size = _call(means, ["du", "-sxB1", str(means.data)], "cannot measure the old cluster")
        _scratch.require_room(means.data.parent, int(size.split()[0]), means.free)
    _call(means, ["systemctl", "stop", *TIMERS], "")
    _call(means, ["systemctl", "stop", means.unit], "")
    _as_postgres(means, ["mkdir", "-p", "-m", "0700", restore.aside], "cannot begin")
    for source, name in ((means.data, "data"), (means.cluster.configuration.parent, "etc")):
        if _entries(source):
            move = ["mv", "-T", str(source), f"{restore.aside}/{name}"]
            _as_postgres(means, move, f"cannot move {source} aside")


def _lay(
    restore: Restore, wanted: _recovery.Target, backup: _recovery.Backup, means: Means
) -> Restore:
    """The files of the backup in their place; a restore that was killed is gone on with."""
    if int(backup.version) != means.cluster.major:
        raise _errors.BackupError(
            f"the backup {backup.label} is of PostgreSQL {backup.version}, and this machine has"
            f" {means.cluster.major}: write postgres_version: {backup.version}."
        )
    _call(means, ["systemctl", "stop", means.unit], "cannot stop PostgreSQL")
    _as_postgres(means, ["rm", "-f", f"{means.data}/postmaster.pid"], "cannot begin")
    taken = _call(means, ["du", "-sxB1", str(means.data)], "cannot measure what is there")
    _scratch.require_room(means.data, backup.size - int(taken.split()[0]), means.free)
    # With fewer connections than the original had, the server would not recover otherwise.
    how = ["--delta", f"--set={backup.label}", "--recovery-option=hot_standby=off"]
    _pgbackrest(means, [*how, *wanted.options(), "restore"])
    return _keep(replace(restore, backup=backup.label), means)


def _start(means: Means) -> bool:
    """Start and wait for the end of the recovery; False if the WAL ended without the target."""
    log = f"/var/log/postgresql/postgresql-{means.cluster.major}-{means.cluster.name}.log"
    size = ["stat", "-c", "%s", log]
    begins = int(means.live.run(_psql.as_user("postgres", size), "")[1] or 0)
    # In vain for as long as a server that has failed is counted as started too often.
    _call(means, ["systemctl", "reset-failed", means.unit], "")
    _call(means, ["systemctl", "start", means.unit], "")
    running = [str(means.cluster.programs / "pg_ctl"), "status", "-D", str(means.data)]
    while means.live.run(_psql.as_user("postgres", running), "")[0] == 0:
        if means.live.reachable():
            return True
        means.sleep(1)
    tail = ["tail", "-c", f"+{begins + 1}", log]
    said = means.live.run(_psql.as_user("postgres", tail), "")[1]
    if _recovery.MISSED in said:
        return False
    why = _recovery.complaint(said) or f"see journalctl -u {means.unit}"
    raise _errors.BackupError(f"the restored cluster did not start: {why.rstrip('.')}.")


def _entries(directory: Path) -> list[Path]:
    return list(directory.iterdir()) if directory.is_dir() else []


def _pgbackrest(means: Means, arguments: list[str]) -> str:
    command = ["pgbackrest", "--stanza=main", "--log-level-console=off", "--log-level-stderr=error"]
    # It repeats this in the restore_command, and archive_command knows nothing of it.
    command += [f"--config={means.configuration}"] if means.configuration else []
    return _as_postgres(means, [*command, *arguments], f"pgbackrest {arguments[-1]} failed")


def _as_postgres(means: Means, command: list[str], failed: str) -> str:
    return _call(means, _psql.as_user("postgres", command), failed)


def _call(means: Means, command: list[str], failed: str) -> str:
    return _psql.call(means.live.run, command, failed)


def _keep(restore: Restore, means: Means) -> Restore:
    means.journal.parent.mkdir(parents=True, exist_ok=True)
    _backup_state.write(means.journal, json.dumps(asdict(restore), indent=2) + "\n")
    return restore


def read(means: Means) -> Restore | None:
    found = _backup_state.read(means.journal)
    return Restore(**found) if found else None


def _now(means: Means) -> str:
    return means.clock().astimezone(UTC).isoformat(timespec="seconds")
