# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The moment to which a cluster is recovered, the backup for it, and the proof. Pure."""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from . import _errors

FORMS = (
    "latest, a time with its zone as 2026-11-28T21:14:05Z, point:<name>, xid:<number>,"
    " or backup:<label>"
)
NOTHING_THERE = 2
DIFFERENT = 4  # of several repositories, some can be used
# How PostgreSQL ends a recovery that has read all WAL and not seen its target.
MISSED = "recovery ended before configured recovery target was reached"


@dataclass(frozen=True)
class Target:
    """The last that is to be in the cluster; of an xid it is what came before."""

    kind: str
    value: str = ""

    def options(self) -> list[str]:
        """What pgBackRest is told."""
        if self.kind == "latest":
            return ["--type=default"]
        if self.kind == "backup":
            return ["--type=immediate", "--target-action=promote"]
        exclusive = ["--target-exclusive"] if self.kind == "xid" else []
        return [
            f"--type={'name' if self.kind == 'point' else self.kind}",
            f"--target={self.value}",
            "--target-action=promote",
            *exclusive,
        ]


@dataclass(frozen=True)
class Backup:
    """One physical backup as `pgbackrest info` lists it."""

    label: str
    finished: datetime
    size: int
    version: str


@dataclass(frozen=True)
class Reached:
    """Where the recovery ended, as the recovered server says."""

    backup: str
    last_commit: str
    lsn: str
    timeline: int
    checksums: bool

    def as_dict(self) -> dict[str, t.Any]:
        return asdict(self)


def target(text: str) -> Target:
    """What the operator wrote; never guessed, because the wrong moment is the mistake again."""
    kind, _colon, value = text.partition(":")
    if text == "latest":
        return Target("latest")
    if kind == "point" and re.fullmatch(r"[\w.-]{1,63}", value):
        return Target("point", value)
    if kind == "xid" and re.fullmatch(r"[1-9][0-9]{0,19}", value):
        return Target("xid", value)
    if kind == "backup" and re.fullmatch(r"[0-9]{8}-[0-9]{6}F(_[0-9]{8}-[0-9]{6}[DI])?", value):
        return Target("backup", value)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise _errors.BackupError(f"restore_to is {text!r}; write {FORMS}.")
    return Target("time", moment.astimezone(UTC).isoformat(sep=" "))


def backups(info: str) -> list[Backup]:
    """What `pgbackrest info --output=json` lists of the one stanza, newest first."""
    try:
        # Not strict: in a message may be any character.
        (stanza,) = json.loads(info, strict=False)
        _require_usable(stanza)
        versions = {_server(each): str(each["version"]) for each in stanza["db"]}
        found = [
            Backup(
                label=each["label"],
                finished=datetime.fromtimestamp(each["timestamp"]["stop"], UTC),
                size=int(each["info"]["size"]),
                version=versions[_server(each["database"])],
            )
            for each in stanza["backup"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise _errors.BackupError(f"pgbackrest info cannot be understood: {error!r}.") from error
    return sorted(found, key=lambda one: one.finished, reverse=True)


def _server(one: t.Mapping[str, t.Any]) -> tuple[t.Any, t.Any]:
    """Each repository counts for itself the servers that it has seen."""
    return one.get("repo-key"), one["id"]


def _require_usable(stanza: t.Mapping[str, t.Any]) -> None:
    code = stanza.get("status", {}).get("code", 0)
    if code == DIFFERENT and any(each["status"]["code"] == 0 for each in stanza["repo"]):
        return  # a restore passes over the one that cannot be used
    if code not in (0, NOTHING_THERE):
        raise _errors.BackupError(
            f"the repository of the physical backups cannot be used: {trouble(stanza)}. Look at"
            " stack_backup_s3 and its secrets, vault_stack_backup_cipher_pass too."
        )


def trouble(stanza: t.Mapping[str, t.Any]) -> str:
    """Why a repository cannot be used, in pgBackRest's words.

    What is wrong with the whole is only a word where the repository does not answer. Some lines may
    quote what the wrong passphrase makes of a file.
    """
    said = [each["status"] for each in stanza.get("repo", [])]
    told = [each["message"] for each in said if each.get("code") != NOTHING_THERE]
    text = str((told or [stanza["status"].get("message")])[0])
    lines = text.split("\n")
    refused = re.search(r"<Code>(\w+)</Code>", text)
    if refused:  # what an object store says; before it stands all that it was asked
        return f"{lines[0].rstrip(':')}: {refused[1]}"
    clear = [line for line in lines if line.isascii() and line.isprintable()]
    return " ".join(" ".join(clear or ["it does not say why"]).split()).rstrip(".:")


def candidates(wanted: Target, found: t.Sequence[Backup]) -> list[Backup]:
    """The backups from which the target can be reached, the quickest first.

    Only a time tells where it lies. A name or a transaction may lie before the newest backup, which
    shows when its WAL ends without it; then the next older one is tried.
    """
    if wanted.kind == "backup":
        chosen = [each for each in found if each.label == wanted.value]
        if not chosen:
            raise _errors.BackupError(
                f"no physical backup is called {wanted.value}; playbooks/list_backups.yml shows"
                " which there are."
            )
        return chosen
    if wanted.kind == "time":
        moment = datetime.fromisoformat(wanted.value)
        found = [each for each in found if each.finished <= moment]
    if not found:
        raise _errors.BackupError(
            f"no physical backup was finished before {wanted.value}; name a later moment."
            if wanted.kind == "time"
            else "there is no physical backup; take one with playbooks/back_up.yml."
        )
    return list(found) if wanted.kind in ("point", "xid") else [found[0]]


def configuration(directory: str, port: int, recovery: str, wal_from: t.Sequence[str] = ()) -> str:
    """The whole configuration of a scratch instance: nothing of the cluster that it is a copy of.

    `recovery` is the postgresql.auto.conf that pgBackRest wrote, where also stands whatever ALTER
    SYSTEM said; only how to recover is taken from it. `wal_from` are options of archive-get, unless
    pgBackRest has passed them on itself.
    """
    more = [each for each in wal_from if each not in recovery]
    kept = [
        line.replace("archive-get", " ".join([*more, "archive-get"]), 1)
        for line in recovery.splitlines()
        if re.match(r"(restore_command|recovery_)", line)
    ]
    own = {
        "listen_addresses": "",
        "unix_socket_directories": f"{directory}/socket",
        "port": str(port),
        # A copy that archived would write into the history of the original.
        "archive_mode": "off",
        # Otherwise a primary with more connections would refuse to be recovered here.
        "hot_standby": "off",
        "max_prepared_transactions": "64",
        # A dump of it locks each table until its end, and nobody else takes of them.
        "max_locks_per_transaction": "1024",
        "autovacuum": "off",
        "jit": "off",
        "logging_collector": "on",
        "log_directory": f"{directory}/log",
        "log_filename": "server.log",
        "lc_messages": "C",
    }
    lines = [f"{name} = '{value}'" for name, value in own.items()]
    return "\n".join([*lines, *kept]) + "\n"


ACCESS = "local all postgres peer\n"
REACHED = """
SELECT pg_catalog.json_build_object(
  'in_recovery', pg_is_in_recovery(),
  'last_commit', to_char(pg_last_xact_replay_timestamp() AT TIME ZONE 'UTC',
                         'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'),
  'lsn', coalesce(pg_last_wal_replay_lsn(), pg_current_wal_lsn())::text,
  -- The control file learns of a new timeline only with the checkpoint after the promotion.
  'timeline', CASE WHEN NOT pg_is_in_recovery() THEN
    ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END,
  'checksums', current_setting('data_checksums') = 'on')
"""


def reached(wanted: Target, backup: Backup, answer: str) -> Reached:
    """Where a recovered server stands, if that is no later than what was asked for."""
    value = json.loads(answer)
    if value["in_recovery"]:
        raise _errors.BackupError("the scratch instance is still in recovery: run it again.")
    last = value["last_commit"] or ""
    late = wanted.kind == "time" and last and _moment(last) > _moment(wanted.value)
    if late:
        raise _errors.BackupError(
            f"the scratch instance holds a transaction of {last}, after {wanted.value}: do not use"
            " it."
        )
    return Reached(backup.label, last, value["lsn"], value["timeline"], value["checksums"])


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def complaint(log: str) -> str:
    """The last that a server complained of."""
    found = re.findall(r"(?:FATAL|PANIC|ERROR): +(.*)", log)
    return found[-1] if found else ""
