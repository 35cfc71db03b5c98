# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The options of a verification, as Ansible hands them over, and its result as one sentence."""

from __future__ import annotations

import pathlib
import typing as t
from datetime import UTC, datetime, timedelta

from . import _errors, _findings, _read_dump, _retention, _s3, _verification, _verify_request, _wal


def argument_spec() -> dict[str, dict[str, t.Any]]:
    """Documented in the module."""
    names = {"type": "list", "elements": "str", "default": []}
    return {
        "databases": names,
        "engine": {"type": "str", "choices": ["dump", "pgbackrest"], "default": "dump"},
        "level": {"type": "str", "choices": list(_findings.LEVELS), "default": "kept"},
        "max_age": {"type": "int", "default": 90_000},
        "clock_skew": {"type": "int", "default": 300},
        "min_size": {"type": "int", "default": 200},
        "min_ratio": {"type": "float", "default": 0.5},
        "max_ratio": {"type": "float", "default": 4.0},
        "require_record": {"type": "bool", "default": True},
        "expected_tables": {"type": "dict", "default": {}},
        "decrypt_command": names,
        "encryption": {"type": "str", "choices": ["none", "server", "client"], "default": "none"},
        "required": {**names, "choices": ["versioning", "object_lock", "encryption"]},
        "daily": {"type": "int", "default": 30},
        "weekly": {"type": "int", "default": 4},
        "monthly": {"type": "int", "default": 12},
        "since": {"type": "str"},
        "last_wal": {"type": "str"},
        "cipher_pass": {"type": "str", "no_log": True},
        "parallel": {"type": "int", "default": 2},
        "scratch": {"type": "path", "default": "/var/tmp"},  # noqa: S108
        "fail_when_unverified": {"type": "bool", "default": True},
    }


def request(params: t.Mapping[str, t.Any], now: datetime) -> _verify_request.Request:
    """What the options ask for."""
    _refuse(params)
    return _verify_request.Request(
        target=_s3.target(params),
        databases=params["databases"],
        engine=params["engine"],
        level=params["level"],
        promise=_verification.Promise(
            max_age=timedelta(seconds=params["max_age"]),
            clock_skew=timedelta(seconds=params["clock_skew"]),
            min_size=params["min_size"],
            min_ratio=params["min_ratio"],
            max_ratio=params["max_ratio"],
            require_record=params["require_record"],
            tables=_tables(params["expected_tables"], params["databases"]),
        ),
        ladder=_retention.Ladder(
            params["daily"], params["weekly"], params["monthly"], _day(params["since"], now)
        ),
        required=params["required"],
        encryption=params["encryption"],
        parallel=params["parallel"],
        last_wal=params["last_wal"],
        cipher_pass=params["cipher_pass"],
        tools=_read_dump.Tools(
            decrypt=params["decrypt_command"], scratch=pathlib.Path(params["scratch"])
        ),
    )


def _refuse(params: t.Mapping[str, t.Any]) -> None:
    if params["parallel"] < 1:
        raise _errors.StackError(f"parallel is {params['parallel']}: set it to 1 or more.")
    if not 0 <= params["min_ratio"] <= 1:
        raise _errors.StackError(
            f"min_ratio is {params['min_ratio']}: set it to a share between 0 and 1, such as 0.5."
        )
    if params["max_ratio"] < 1:
        raise _errors.StackError(
            f"max_ratio is {params['max_ratio']}: set it to 1 or more, such as 4."
        )
    if params["last_wal"] and not _wal.LAST.match(params["last_wal"]):
        raise _errors.StackError(
            f"last_wal is {params['last_wal']!r}: write last_archived_wal of pg_stat_archiver."
        )


def _tables(value: t.Mapping[str, t.Any], databases: t.Collection[str]) -> dict[str, list[str]]:
    for database, names in value.items():
        if databases and database not in databases:
            raise _errors.StackError(
                f"expected_tables.{database} is of no database that is verified: correct the name, "
                "or add it to databases."
            )
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise _errors.StackError(
                f"expected_tables.{database} is {names!r}: write a list of schema.table."
            )
    return dict(value)


def _day(text: str | None, now: datetime) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise _errors.StackError(f"since is {text!r}: write a day, 2026-01-31.") from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if moment > now:
        raise _errors.StackError(f"since is {text!r}, which is to come: write a day of the past.")
    return moment


def sentence(verdicts: t.Iterable[_verify_request.Verdict], level: str) -> str:
    """The worst of what keeps databases from the level, for the operator."""
    short = [verdict for verdict in verdicts if verdict.reached != level]
    worst = _findings.ordered(
        {one for verdict in short for one in verdict.findings if one.severity != "warning"}
    )[0]
    names = ", ".join(verdict.database for verdict in short)
    return (
        f"Backups of {names} do not reach the level {level}: {worst.object}: expected "
        f"{worst.expected}, found {worst.found}; {worst.remedy}."
    )
