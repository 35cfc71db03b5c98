# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One database out of a copy or a dump, put in the place of the live one, which is kept.

Every step may be repeated: the names say how far an earlier run came, and the journal of the
restore, a small file on the machine, says which names are its own.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import typing as t
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from . import _backups, _dump, _errors, _psql, _recovery, _removed, _scratch

Tables = dict[str, int]

_LONGEST = 63  # bytes of a name in PostgreSQL

# A list is stored as it is to be written; anything else is one value.
_LISTS = (
    "('search_path', 'session_preload_libraries', 'local_preload_libraries', 'temp_tablespaces')"
)
# What `pg_dump` leaves to --create: who may connect, and what is set for the database. Asked where
# the database comes from, said where it goes to; only roles that are there can be told of.
PROPERTIES = """
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC;', :'fresh')
UNION ALL
SELECT format('GRANT %s ON DATABASE %I TO %s;', a.privilege_type, :'fresh',
              CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END)
FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
WHERE d.datname = :'source'
UNION ALL
SELECT format(CASE s.setrole WHEN 0 THEN 'ALTER DATABASE %2$I SET %3$s TO %4$s;'
                             ELSE 'ALTER ROLE %1$I IN DATABASE %2$I SET %3$s TO %4$s;' END,
              CASE s.setrole WHEN 0 THEN '' ELSE pg_get_userbyid(s.setrole)::text END, :'fresh',
              split_part(c, '=', 1),
              CASE WHEN split_part(c, '=', 1) IN {lists} THEN substr(c, strpos(c, '=') + 1)
                   ELSE quote_literal(substr(c, strpos(c, '=') + 1)) END)
FROM pg_database d JOIN pg_db_role_setting s ON s.setdatabase = d.oid, unnest(s.setconfig) c
WHERE d.datname = :'source';
"""
CREATE = """
SELECT format('CREATE DATABASE %I TEMPLATE template0 OWNER %I ENCODING %L'
              ' LC_COLLATE %L LC_CTYPE %L',
              :'fresh', pg_get_userbyid(datdba), pg_encoding_to_char(encoding),
              datcollate, datctype)
FROM pg_database WHERE datname = :'source';
"""
# Each table in a statement of its own, because it and its indexes stay locked until the end of the
# transaction, and the server has only so many locks.
COUNTS = """
SELECT format('SELECT json_build_array(%L, (SELECT count(*) FROM ONLY %I.%I))',
              format('%s.%s', n.nspname, c.relname), n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't'
  AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                  AND d.objid = c.oid AND d.deptype = 'e') \\gexec
"""
NAMES = "SELECT coalesce(json_agg(datname), '[]') FROM pg_database;"
# In one transaction, so the name is never without a database.
SWAP = """
SELECT format('ALTER DATABASE %I ALLOW_CONNECTIONS false', :'name')
WHERE EXISTS (SELECT FROM pg_database WHERE datname = :'name') \\gexec
SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity
WHERE datname IN (:'name', :'fresh');
BEGIN;
SELECT format('ALTER DATABASE %I RENAME TO %I', :'name', :'safety')
WHERE EXISTS (SELECT FROM pg_database WHERE datname = :'name') \\gexec
SELECT format('ALTER DATABASE %I RENAME TO %I', :'fresh', :'name') \\gexec
COMMIT;
"""
# Whatever became of the swap, also of one that a killed run began: nobody else opens them again.
OPEN = """
SELECT format('ALTER DATABASE %I ALLOW_CONNECTIONS true', datname) FROM pg_database
WHERE datname IN (:'name', :'safety') AND NOT datallowconn \\gexec
"""


REMOVED = (
    "  What a table got until transaction {xid} dropped it, {at}, is in a copy of that later"
    " moment: the same playbook with -e restore_to=xid:{xid} and without a database."
)
DROPPED = (
    "  What a table got before it was dropped is in a copy of that later moment: the same playbook"
    " with that restore_to and without a database."
)


@dataclass(frozen=True)
class Restore:
    """The journal of one restore: what was asked for, what it is called, how far it came."""

    database: str
    source: str
    started: str
    loaded: bool = False
    swapped: str = ""
    finished: str = ""
    reached: dict[str, t.Any] = field(default_factory=dict)
    restored: Tables = field(default_factory=dict)

    @property
    def stamp(self) -> str:
        return self.started.replace("-", "").replace(":", "").replace("+0000", "z").lower()

    @property
    def fresh(self) -> str:
        return _named(self.database, f"_restored_{self.stamp}")

    @property
    def safety(self) -> str:
        return _named(self.database, f"_before_{self.stamp}")

    def names(self) -> dict[str, str]:
        return {"name": self.database, "fresh": self.fresh, "safety": self.safety}


@dataclass(frozen=True)
class Means:
    """What a restore works with; tests hand in their own."""

    live: _psql.Psql
    state: Path
    clock: t.Callable[[], datetime]
    free: t.Callable[[Path], int] = field(default=lambda path: shutil.disk_usage(path).free)
    settings: Path = Path("/etc/slipway/backup/backup.json")  # of the program that takes dumps


def begin(database: str, source: str, means: Means) -> Restore:
    """The restore that an interrupted run of the same request began, or a new one."""
    found = _read(means)
    if found and (found.database, found.source, found.finished) == (database, source, ""):
        return found
    if found and not found.finished and found.swapped:
        raise _errors.BackupError(
            f"the restore of {found.database} to {found.source} was interrupted after the swap:"
            " finish it with its own command first."
        )
    if found and not found.finished:
        _forget(found, means)
    return _keep(Restore(database, source, _now(means)), means)


def load_copy(restore: Restore, scratch: _scratch.Scratch, means: Means) -> Restore:
    """A fresh database beside the live one, as the scratch instance has it."""
    wanted = _recovery.target(restore.source)
    if restore.swapped or (restore.loaded and wanted.kind != "latest"):
        return restore
    reached = _scratch.present(scratch, wanted)
    if reached is None:
        raise _errors.BackupError(
            f"there is no scratch instance at {restore.source}: run playbooks/restore.yml from its"
            " beginning."
        )
    if wanted.kind == "latest":
        # That of an interrupted run, however long ago, is not the latest any more.
        _forget(restore, means)
        restore = _keep(Restore(restore.database, restore.source, _now(means)), means)
    restore = replace(restore, reached=reached.as_dict())
    source = scratch.psql(restore.database)
    if restore.database not in _databases(scratch.psql()):
        raise _errors.BackupError(
            f"{restore.database} was not in the cluster at {restore.source}: choose another moment."
        )
    told = {"source": restore.database, "fresh": restore.fresh}
    _create(restore, scratch.psql().ask(_with(told, CREATE)).strip(), source, means)
    dump = scratch.base / "database.dump"
    at = ["--host", source.socket, "--port", str(source.port), "--no-password"]
    how = ["--format=custom", "--compress=1", f"--file={dump}", f"--dbname={restore.database}"]
    _run(means.live, [_program(means.live, "pg_dump"), *at, *how], "pg_dump failed")
    _fill(restore, dump, means)
    _run(means.live, ["rm", "-f", str(dump)], "cannot remove the dump")
    _say(means.live, scratch.psql().ask(_with(told, PROPERTIES)))
    return _loaded(restore, tables(source), means)


def load_dump(restore: Restore, path: Path, means: Means) -> Restore:
    """A fresh database beside the live one, as a dump and its record have it."""
    if restore.loaded:
        return restore
    record = _record(path)
    if record.database != restore.database:
        raise _errors.BackupError(
            f"{path} is a dump of {record.database}, not of {restore.database}: name another one."
        )
    if restore.database not in _databases(means.live):
        raise _errors.BackupError(
            f"{restore.database} is not there, so nobody knows its owner: run site.yml first."
        )
    with _opened(path, means) as dump:
        with _readable():
            digest = _dump.sha256(dump)
        if digest != (record.plain_sha256 or record.sha256):
            raise _errors.BackupError(f"{path} is not what was dumped: its sha256 is {digest}.")
        told = {"source": restore.database, "fresh": restore.fresh}
        live = replace(means.live, database=restore.database)
        _create(restore, means.live.ask(_with(told, CREATE)).strip(), live, means)
        _fill(restore, dump, means)
    _say(means.live, means.live.ask(_with(told, PROPERTIES)))
    return _loaded(restore, record.tables, means)


def _record(path: Path) -> _backups.Record:
    """That beside the dump, or the one from the bucket, where an encrypted one was opened."""
    beside = path.with_name(_backups.record_name(path.name))
    encrypted = path.with_name(_backups.record_name(f"{path.name}{_backups.ENCRYPTED}"))
    if encrypted.exists() and not beside.exists():
        beside = encrypted
    with _readable():
        return _backups.record(beside.read_text(), str(beside))


@contextlib.contextmanager
def _opened(path: Path, means: Means) -> t.Iterator[Path]:
    """The dump itself; what is encrypted is decrypted first, for as long as it is read."""
    if path.suffix != _backups.ENCRYPTED:
        yield path
        return
    with _readable():
        settings = json.loads(means.settings.read_text())
        gpg, directory = settings.get("gpg"), Path(settings["directory"])
        size, room = path.stat().st_size, means.free(directory)
    if not gpg:
        raise _errors.BackupError(
            f"{path} is encrypted, and {means.settings} names no passphrase: decrypt it as"
            " docs/restore.md says, and name the result."
        )
    if room < size:
        shown = _backups.human_size
        raise _errors.BackupError(
            f"{directory} has {shown(room)} free, but {path} takes {shown(size)} there while it"
            " is read: free or add space; nothing was done."
        )
    plain = directory / "restore.dump"  # where nobody else may read either
    command = [*gpg, "--yes", f"--output={plain}", "--decrypt", str(path)]
    try:
        _run(means.live, command, f"gpg cannot decrypt {path}")
        yield plain
    finally:
        _run(means.live, ["rm", "-f", str(plain)], "cannot remove the decrypted dump")


@contextlib.contextmanager
def _readable() -> t.Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _errors.BackupError(f"{error.filename} cannot be read: {error.strerror}.") from error


def swap(restore: Restore, means: Means) -> Restore:
    """The fresh database under the name, the old one under that of the safety copy."""
    if not restore.loaded:
        raise _errors.BackupError(f"{restore.database} was not loaded: nothing was swapped.")
    try:
        if not restore.swapped:
            there = _databases(means.live)
            if restore.fresh in there:
                means.live.ask(_with(restore.names(), SWAP))
            elif restore.safety not in there:
                _keep(replace(restore, loaded=False), means)
                raise _errors.BackupError(
                    f"{restore.fresh} is gone, and nothing is kept as {restore.safety}: nothing was"
                    " swapped; the same command loads it anew."
                )
            restore = _keep(replace(restore, swapped=_now(means)), means)
    finally:
        means.live.ask(_with(restore.names(), OPEN))
    return restore


def report(
    restore: Restore, means: Means, removed: t.Mapping[str, _removed.Removal]
) -> dict[str, t.Any]:
    """What came after the target, counted in the safety copy, where nothing changes any more, and
    which transactions removed the tables that are not in it."""
    if not restore.swapped:
        raise _errors.BackupError(f"{restore.database} was not swapped: there is nothing to tell.")
    safety = replace(means.live, database=restore.safety)
    before = tables(safety) if restore.safety in _databases(means.live) else {}
    told = {
        "database": restore.database,
        "source": restore.source,
        "reached": restore.reached,
        "started": restore.started,
        "swapped": restore.swapped,
        "safety_copy": restore.safety if before else "",
        "tables": compare(before, restore.restored),
        "removed": {name: asdict(each) for name, each in removed.items() if name not in before},
    }
    path = means.state / "reports" / f"restore-{restore.database}-{restore.stamp}.json"
    _run(means.live, ["mkdir", "-p", str(path.parent)], "cannot keep the report")
    _write(means.live, path, json.dumps(told, indent=2) + "\n")
    return {"report": str(path), "lines": lines(told)}


def removed(
    restore: Restore, scratch: _scratch.Scratch, means: Means
) -> dict[str, _removed.Removal]:
    """By table of the copy; nothing where there is no copy any more."""
    if not restore.reached or _scratch.present(scratch, _recovery.target(restore.source)) is None:
        return {}
    copy = scratch.psql(restore.database)
    return _removed.find(
        _program(means.live, "pg_waldump"), restore.reached["lsn"], copy, means.live
    )


def finish(restore: Restore, means: Means) -> tuple[Restore, list[str]]:
    """Archiving works, or this is not the end; what a person is told of it.

    The same request is a new restore from now on; until here it would go on with this one.
    """
    if not restore.swapped:
        raise _errors.BackupError(f"{restore.database} was not swapped: it is not finished.")
    told = []
    if means.live.ask("SHOW archive_mode;").strip() != "off":
        told = [_scratch.archives(_scratch.archive_now(means.live, means.live.sleep))]
    return _keep(replace(restore, finished=_now(means)), means), told


def compare(before: Tables, restored: Tables) -> list[dict[str, t.Any]]:
    """Table by table: rows that the old database had, and rows that the restored one has."""
    return [
        {"table": name, "before": before.get(name), "restored": restored.get(name)}
        for name in sorted({*before, *restored})
    ]


def lines(told: t.Mapping[str, t.Any]) -> list[str]:
    """The report for a person: what is back, and where that is which is not in it."""
    last = told["reached"].get("last_commit")
    until = f"; last transaction: {last}." if last else "."
    head = [f"{told['database']} is as it was at {told['source']}{until}"]
    kept = told["safety_copy"]
    if kept:
        head += [
            f"The database as it was before is kept as {kept}; look for what came after there:"
        ]
    changed = [each for each in told["tables"] if each["before"] != each["restored"]]
    rows = [
        f"  {each['table']}: {_rows(each['before'])} there, {_rows(each['restored'])} restored"
        for each in changed
    ]
    gone = [each["table"] for each in changed if each["before"] is None]
    rows += sorted(
        {REMOVED.format(**told["removed"][name]) for name in gone if name in told["removed"]}
    )
    if not set(gone) <= set(told["removed"]):
        rows.append(DROPPED)
    same = len(told["tables"]) - len(changed)
    tail = [f"  {same} tables have as many rows as before."] if kept else []
    gone = [f'Remove it when it is not needed any more: DROP DATABASE "{kept}".'] if kept else []
    return [*head, *(rows if kept else []), *tail, *gone]


def _named(database: str, ending: str) -> str:
    """As much of the name as leaves room for the ending: the server cuts what is longer, silently,
    and nobody would find it again."""
    room = _LONGEST - len(ending)
    return database.encode()[:room].decode(errors="ignore") + ending


def _rows(count: int | None) -> str:
    return "no such table" if count is None else f"{count} rows"


def _forget(restore: Restore, means: Means) -> None:
    """Nothing is left of what it had loaded."""
    if restore.fresh in _databases(means.live):
        _say(means.live, "DROP DATABASE {fresh} WITH (FORCE);", fresh=restore.fresh)


def _create(restore: Restore, create: str, source: _psql.Psql, means: Means) -> None:
    """An empty database in the way of nobody, if there is room for all that goes into it."""
    size = int(source.ask("SELECT pg_database_size(current_database());"))
    where = Path(means.live.ask("SHOW data_directory;").strip())
    free = means.free(where)
    if free < 1.5 * size:
        shown = _backups.human_size
        raise _errors.BackupError(
            f"{where} has {shown(free)} free, but a second {restore.database} beside the first"
            f" takes up to {shown(1.5 * size)}: free or add space there; nothing was done."
        )
    # A program that was killed may have left a session in which the server still works for it.
    _say(means.live, "DROP DATABASE IF EXISTS {fresh} WITH (FORCE);", fresh=restore.fresh)
    means.live.ask(create + ";")


def _fill(restore: Restore, dump: Path, means: Means) -> None:
    into = ["--host", means.live.socket, "--port", str(means.live.port), "--no-password"]
    how = ["--exit-on-error", "--jobs=2", f"--dbname={restore.fresh}"]
    command = [_program(means.live, "pg_restore"), *into, *how, str(dump)]
    _run(means.live, command, "pg_restore failed")
    fresh = replace(means.live, database=restore.fresh)
    fresh.ask("ANALYZE;")


def _loaded(restore: Restore, expected: Tables, means: Means) -> Restore:
    """Believe it only if every table has the rows that it is to have."""
    found = tables(replace(means.live, database=restore.fresh))
    wrong = [each for each in compare(expected, found) if each["before"] != each["restored"]]
    if wrong:
        first = wrong[0]
        raise _errors.BackupError(
            f"{first['table']} has {_rows(first['restored'])} after loading, but"
            f" {_rows(first['before'])} where it comes from: nothing was swapped."
        )
    return _keep(replace(restore, loaded=True, restored=found), means)


def tables(psql: _psql.Psql) -> Tables:
    """The rows of each table of a database."""
    return dict(json.loads(line) for line in psql.ask(COUNTS).split("\n") if line)


def _databases(psql: _psql.Psql) -> list[str]:
    return list(json.loads(psql.ask(NAMES)))


def _with(values: t.Mapping[str, str], sql: str) -> str:
    """The statements with psql's variables set, which psql itself quotes."""
    sets = [f"\\set {name} '{_escaped(value)}'\n" for name, value in values.items()]
    return "".join(sets) + sql.replace("{lists}", _LISTS)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "''")


def _say(psql: _psql.Psql, sql: str, **names: str) -> None:
    """Statements with identifiers in them."""
    quoted = {name: '"' + value.replace('"', '""') + '"' for name, value in names.items()}
    psql.ask(sql.format(**quoted) if names else sql)


def _program(live: _psql.Psql, name: str) -> str:
    major = int(live.ask("SHOW server_version_num;")) // 10_000
    return _dump.client_for(major).program(name)


def _run(live: _psql.Psql, command: list[str], failed: str, text: str = "") -> str:
    return _psql.call(live.run, _psql.as_user(live.user, command), failed, text)


def _write(live: _psql.Psql, path: Path, text: str) -> None:
    """By the user whose directory it is, so root follows no link; whole or not at all."""
    command = ["sh", "-c", 'cat > "$1.new" && sync "$1.new" && mv "$1.new" "$1"', "sh", str(path)]
    _run(live, command, f"cannot write {path}", text)


def _keep(restore: Restore, means: Means) -> Restore:
    _write(means.live, means.state / "restore.json", json.dumps(asdict(restore), indent=2) + "\n")
    return restore


def _read(means: Means) -> Restore | None:
    try:
        return Restore(**json.loads((means.state / "restore.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _now(means: Means) -> str:
    return means.clock().astimezone(UTC).isoformat(timespec="seconds")
