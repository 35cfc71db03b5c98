"""A machine with physical backups that answers as told, for tests of restores and rehearsals."""

from __future__ import annotations

import json
import re
import typing as t
from datetime import UTC, datetime
from pathlib import Path

from ansible_collections.slipway.stack.plugins.module_utils import (
    _psql,
    _rehearsal_facts,
    _rehearsal_moment,
)

GET = "restore_command = 'pgbackrest archive-get %f \"%p\"'\n"


def info(*days: int) -> str:
    """What pgbackrest says of full backups that ended on these days of November."""
    backups = [
        {
            "label": f"202611{day:02}-030000F",
            "timestamp": {"stop": int(datetime(2026, 11, day, 3, tzinfo=UTC).timestamp())},
            "info": {"size": day * 1000},
            "database": {"id": 1},
        }
        for day in days
    ]
    return json.dumps([{"db": [{"id": 1, "version": "17"}], "backup": backups}])


def answer(**values: t.Any) -> str:
    told = {"in_recovery": False, "last_commit": "2026-11-28T21:14:04.5+00:00", "lsn": "0/1"}
    return json.dumps({**told, "timeline": 2, "checksums": True, **values})


class Machine:
    """Runs mkdir, tee, cat and rm for real, and answers for everything else."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.commands: list[str] = []
        self.days = [21, 28]
        self.starts: list[str] = []
        self.statements: list[str] = []
        self.fails = ""
        self.answers = True
        self.recovering = 0  # how often it does not answer yet
        self.dies = ""  # what its log says then
        self.archived = "000000010000000000000002"

    def __call__(self, command: t.Sequence[str], text: str) -> tuple[int, str, str]:
        words = list(command)
        if words[0] == "setpriv":
            words = words[words.index("--") + 1 :]
        said = " ".join(words)
        self.commands.append(said)
        if self.fails and self.fails in said:
            return 1, "", "no.\n"
        if words[0] in ("mkdir", "tee", "cat", "rm"):
            return _psql.run(words, text)
        if words[0] == "psql":
            return self.sql(text)
        if said.endswith("--output=json"):
            return 0, info(*self.days), ""
        if " status " in said and self.dies:
            (self.base / "log/server.log").write_text(self.dies)
            return 3, "", ""
        if words[-1] == "restore":
            (self.base / "data/postgresql.auto.conf").write_text(GET)
            (self.base / "data/PG_VERSION").write_text("17\n")
        if " start" in said and self.starts:
            log = self.starts.pop(0)
            (self.base / "log/server.log").write_text(log)
            return (1 if log else 0), "", "Job failed.\n"
        return 0, "", ""

    def sql(self, text: str) -> tuple[int, str, str]:
        self.statements.append(text)
        self.recovering -= self.recovering > 0
        if not self.answers or self.recovering:
            return 2, "", "no server"
        if "pg_stat_archiver" in text:
            return 0, self.archived, ""
        if "in_recovery" in text:
            return 0, answer(), ""
        return 0, "000000010000000000000002\n" if "pg_walfile_name" in text else "1", ""


class Cluster:
    """A live server as far as a restore sees it: its databases, each with the rows of its tables.

    A scratch instance answers on another socket, with `copy`.
    """

    def __init__(self, **databases: dict[str, int]) -> None:
        self.databases = databases
        self.copy: dict[str, dict[str, int]] = {}
        self.loads: dict[str, int] = {}
        self.asked: list[str] = []
        self.fails = ""
        self.archive_mode = "on"
        self.wal = ""  # what pg_waldump finds

    def __call__(self, command: t.Sequence[str], text: str) -> tuple[int, str, str]:
        words = list(command)
        if words[0] == "setpriv":
            words = words[words.index("--") + 1 :]
        self.asked.append(f"{' '.join(words)} {text}")
        if self.fails and self.fails in self.asked[-1]:
            return 1, "", "no.\n"
        name = Path(words[0]).name
        if name == "psql":
            return 0, self.sql(words, text), ""
        if name == "pg_restore":
            (fresh,) = [word.partition("=")[2] for word in words if word.startswith("--dbname=")]
            self.databases[fresh] = dict(self.loads)
        if "pg_waldump" in self.asked[-1]:
            return 1, self.wal, "invalid record length"
        if name in ("sh", "mkdir", "gpg", "rm"):
            return _psql.run(words, text)
        return 0, "", ""

    def sql(self, words: list[str], text: str) -> str:
        copied = "scratch" in words[words.index("-h") + 1]
        here = self.copy if copied else self.databases
        database = words[-1].removeprefix("dbname='").removesuffix("'")
        names = dict(re.findall(r"\\set (\w+) '(.*)'", text))
        if "pg_relation_filepath" in text:
            return json.dumps({f"base/1/{n}": name for n, name in enumerate(here[database])})
        if "/pg_wal" in text:
            return json.dumps(["/data/pg_wal", 1])
        if "archive_mode" in text:
            return self.archive_mode
        if "pg_walfile_name" in text or "pg_stat_archiver" in text:
            return "000000010000000000000002"
        if "json_agg(datname)" in text:
            return json.dumps(list(here))
        if "SELECT count(*)" in text:
            return rows(here[database])
        if "pg_database_size" in text:
            return "1000"
        if "DROP DATABASE" in text and "WITH (FORCE)" in text:
            here.pop(text.split('"')[1], None)
        if "RENAME" in text:
            if names["name"] in here:
                here[names["safety"]] = here.pop(names["name"])
            here[names["name"]] = here.pop(names["fresh"])
        return "170000" if "server_version_num" in text else "/var/lib/postgresql\n"


def rows(tables: t.Mapping[str, int]) -> str:
    """As the server tells them, a line for each table."""
    return "".join(f"{json.dumps(each)}\n" for each in tables.items())


def facts(**changes: t.Any) -> dict[str, t.Any]:
    """What a database says of itself."""
    return {
        "tables": {"public.bids": 10},
        "sequences": {"public.ids": 7},
        "schema": "abc",
        **changes,
    }


class Rehearsed(Machine):
    """A machine on which live server and copy say the same of themselves, until told otherwise.

    `moment` stands in for what is asked of the live server at a restore point.
    """

    def __init__(self, base: Path) -> None:
        super().__init__(base)
        self.live = _rehearsal_facts.Facts(**facts(), hashes={"public.bids": "aaa"})
        self.copy = facts()
        self.archives = True
        self.assertion = "t"
        self.last_commit = "2026-11-28T21:14:05+00:00"
        self.checksums = True
        self.digest = "aaa"

    def moment(self, databases: list[str], *wanted: t.Any) -> _rehearsal_moment.Moment:
        self.wanted = wanted
        point = f"{wanted[-1]}-0"
        return _rehearsal_moment.Moment(point, dict.fromkeys(databases, self.live))

    def sql(self, text: str) -> tuple[int, str, str]:
        if "in_recovery" in text:
            told = answer(last_commit=self.last_commit, checksums=self.checksums)
            return 0, told, ""
        if "md5(count(*)" in text:
            return 0, self.digest + "\n", ""
        if "pg_sequences" in text:
            rest = {name: value for name, value in self.copy.items() if name != "tables"}
            return 0, json.dumps(rest), ""
        if "SELECT count(*)" in text:
            return 0, rows(self.copy["tables"]), ""
        if "sum(pg_database_size" in text:
            return 0, "2500000\n", ""
        if "pg_stat_archiver" in text:
            return 0, "000000010000000000000002" if self.archives else "", ""
        if text.startswith("SELECT ours"):
            failed = (1, "", "psql: error: no such table")
            return failed if self.assertion == "error" else (0, self.assertion + "\n", "")
        return super().sql(text)
