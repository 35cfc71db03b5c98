# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The weekly proof that a restore works: done, timed, compared with the live cluster, removed.

Installed on the database machine as a program, whose unit caps all that it starts.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
import typing as t
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from . import (
    _backup_ages,
    _backup_state,
    _backups,
    _errors,
    _psql,
    _recovery,
    _rehearsal_facts,
    _rehearsal_moment,
    _rehearsal_report,
    _scratch,
)

ARCHIVED_WITHIN = 600


@dataclass(frozen=True)
class Assertion:
    """A question of the operator's own whose answer must be true."""

    name: str
    database: str
    sql: str


@dataclass(frozen=True)
class Settings:
    databases: list[str]
    dumps: Path
    state: Path
    scratch: Path
    port: int
    live_port: int
    rto_seconds: int
    rpo_seconds: int
    assertions: list[Assertion]
    hashed_tables: dict[str, list[str]] = field(default_factory=dict)
    reserve_percent: int = 0
    ping_url: str = ""
    places: int = 1  # where backups are; each is rehearsed in turn


@dataclass(frozen=True)
class Means:
    """What a rehearsal works with besides its settings; tests hand in their own."""

    run: _psql.Run = _psql.run
    clock: t.Callable[[], datetime] = _backup_state.now
    wait: t.Callable[[float], None] = time.sleep
    say: t.Callable[[str], None] = _backup_state.say
    moment: t.Callable[..., _rehearsal_moment.Moment] = _rehearsal_moment.take
    usage: t.Callable[[Path], t.Any] = shutil.disk_usage


def settings(path: Path) -> Settings:
    try:
        value = json.loads(path.read_text())
        folders = {name: Path(value[name]) for name in ("dumps", "state", "scratch")}
        assertions = [Assertion(**each) for each in value["assertions"]]
        return Settings(**{**value, **folders, "assertions": assertions})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _errors.BackupError(
            f"{path} cannot be used: {error!r}. Run site.yml to write it anew."
        ) from error


def rehearse(options: Settings, means: Means) -> _rehearsal_report.Rehearsal:
    """One rehearsal, whatever becomes of it; a copy that cannot be removed takes nothing back."""

    def free(path: Path) -> int:
        """What may be taken: the live server stops when its disk is full."""
        usage = means.usage(path)
        return int(usage.free - usage.total * options.reserve_percent / 100)

    place = _rehearsal_report.turn(options.state) if options.places > 1 else ""
    scratch = _scratch.Scratch(
        *(options.scratch, options.port),
        unit="",
        run=means.run,
        free=free,
        repository=_rehearsal_report.PLACES.index(place),
    )
    done = _rehearsal_report.Rehearsal(started=_utc(means.clock()), place=place)
    try:
        done = _checked(options, means, scratch, done)
    except (_errors.StackError, OSError, ValueError, TypeError) as error:
        done = done.found("the rehearsal comes to its end", str(error))
    try:
        _scratch.remove(scratch)
    except (_errors.StackError, OSError) as error:
        done = done.found("nothing of the copy is left", str(error))
    return replace(done, finished=_utc(means.clock()))


def _checked(
    options: Settings,
    means: Means,
    scratch: _scratch.Scratch,
    done: _rehearsal_report.Rehearsal,
) -> _rehearsal_report.Rehearsal:
    live = _psql.Psql(options.live_port, means.run)
    committed, rpo = canary(live, means)
    # Not "latest", of which nobody can say what must be in it: a point that is younger than the
    # canary, and of which the live server has told what it had there.
    name = f"rehearsal-{int(committed.timestamp())}"
    moment = means.moment(options.databases, options.live_port, options.hashed_tables, name)
    _scratch.archive_now(live, means.wait)
    begun = means.clock()
    reached, _changed = _scratch.bring_up(scratch, _recovery.Target("point", moment.point))
    rto = (means.clock() - begun).total_seconds()
    size = int(scratch.psql().ask(_rehearsal_facts.SIZE))
    done = replace(done, rto_seconds=rto, rpo_seconds=rpo, size=size, reached=reached.as_dict())
    done = done.found("pages carry checksums", "" if reached.checksums else _NO_CHECKSUMS)
    done = done.found("the newest commit is there", _newest(reached, committed))
    for name, there in moment.databases.items():
        hashed = options.hashed_tables.get(name, ())
        found = _rehearsal_facts.facts(scratch.psql(name), hashed)
        wrong = _rehearsal_facts.compare(there, found)
        wrong += _rehearsal_facts.unproven(there, hashed)
        remark = _rehearsal_facts.remark(there)
        done = done.found(f"{name} is what the live database was", "; ".join(wrong), remark)
        done = done.found(f"{name} beside its newest dump", "", _gone(options, name, found))
    for assertion in options.assertions:
        done = done.found(assertion.name, _answer(assertion, scratch))
    done = done.found("pg_amcheck finds every index and heap sound", _amcheck(scratch, reached))
    return _timely(options, done, rto, rpo)


def _timely(
    options: Settings, done: _rehearsal_report.Rehearsal, rto: float, rpo: float
) -> _rehearsal_report.Rehearsal:
    """Within what was promised, and no slower than it has become usual."""
    for what, took, limit in (
        ("RTO", rto, options.rto_seconds),
        ("RPO", rpo, options.rpo_seconds),
    ):
        late = f"{took:.0f} s, but at most {limit} s are promised" if took > limit else ""
        within = "" if late else f"{took:.0f} s of {limit} s"
        done = done.found(f"{what} is within its target", late, within)
    history = _backup_state.read(options.state / _rehearsal_report.STATE).get("history") or []
    slower = _rehearsal_report.slower(history, done.place, rto, done.size)
    return done.found(_rehearsal_report.SLOWER, slower)


_NO_CHECKSUMS = "a flipped bit would pass unseen: enable them with pg_checksums"


def canary(live: _psql.Psql, means: Means) -> tuple[datetime, float]:
    """A commit, and the seconds until it was in the repository: what a lost machine would cost."""
    committed = means.clock()  # or a moment later, so the figure is no better than the truth
    live.ask("SELECT pg_current_xact_id();")
    segment = live.ask("SELECT pg_walfile_name(pg_current_wal_insert_lsn());").strip()
    for _second in range(ARCHIVED_WITHIN):
        if live.ask("SELECT last_archived_wal FROM pg_stat_archiver;").strip() >= segment:
            return committed, (means.clock() - committed).total_seconds()
        means.wait(1)
    raise _errors.BackupError(
        f"WAL segment {segment} was not archived within {ARCHIVED_WITHIN} s: see pg_stat_archiver."
    )


def _newest(reached: _recovery.Reached, committed: datetime) -> str:
    if reached.last_commit and datetime.fromisoformat(reached.last_commit) >= committed.replace(
        microsecond=0
    ):
        return ""
    return f"the copy ends at {reached.last_commit or 'no commit'}, before {_utc(committed)}"


def _gone(options: Settings, database: str, found: _rehearsal_facts.Facts) -> str:
    """Tables that were dumped with rows and are gone or empty: a remark, because whoever uses the
    database may have emptied them, as the live server has confirmed by then."""
    records = sorted((options.dumps / database).glob(f"*{_backups.RECORD}"))
    if not records:
        return ""
    record = _backups.record(records[-1].read_text(), str(records[-1]))
    now = {name: f"{rows} rows" for name, rows in found.tables.items()}
    return "; ".join(
        f"{name} had {rows} rows in {record.file}, and {now.get(name, 'no such table')} now"
        for name, rows in record.tables.items()
        if rows and not found.tables.get(name)
    )


def _answer(assertion: Assertion, scratch: _scratch.Scratch) -> str:
    try:
        answer = scratch.psql(assertion.database).ask(assertion.sql.rstrip("; \n") + ";", 1).strip()
    except _psql.PsqlError as error:
        return str(error)
    return "" if answer == "t" else f"the answer is {answer or 'empty'}, not t"


def _amcheck(scratch: _scratch.Scratch, reached: _recovery.Reached) -> str:
    version = (scratch.data / "PG_VERSION").read_text().strip()
    command = [f"{_scratch.PROGRAMS}/{version}/bin/pg_amcheck", "--all", "--install-missing"]
    command += ["--no-password", "-h", f"{scratch.base}/socket", "-p", str(scratch.port)]
    code, output, said = scratch.run(_psql.as_user("postgres", command), "")
    return "" if code == 0 else " ".join((output + said).split())[:500]


def main(arguments: list[str], means: Means | None = None) -> int:
    """The configuration file is the only argument."""
    os.umask(0o027)
    means = means or Means()
    try:
        options = settings(Path(arguments[1]))
        _rehearsal_report.begin(options.state)
        done = rehearse(options, means)
        _rehearsal_report.keep(options.state, done)
        _backup_ages.tell(options.state, options.ping_url if done.ok else "", means.say)
    except (_errors.StackError, OSError) as error:
        means.say(f"{_backup_state.ERROR}Nothing was rehearsed: {error}")
        return 1
    for line in done.verdict():
        means.say(line if done.ok else f"{_backup_state.ERROR}{line}")
    for line in done.remarks():
        means.say(line)
    return 0 if done.ok else 1


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv))
