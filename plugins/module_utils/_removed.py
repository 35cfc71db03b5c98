# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which transaction removed the rows of a table, as the WAL of the live cluster tells."""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass

from . import _psql

FILES = """
SELECT coalesce(json_object_agg(pg_relation_filepath(c.oid),
                                format('%s.%s', n.nspname, c.relname)), '{}')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_';
"""
WHERE = """
SELECT json_build_array(current_setting('data_directory') || '/pg_wal',
                        ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int);
"""
# Few transactions remove a file: those that drop, truncate or rewrite a table.
SEARCH = '"$1" --path="$2" --timeline="$3" --start="$4" --rmgr=Transaction | grep "rels: "'
_COMMIT = re.compile(r"tx: +(\d+),.* desc: COMMIT (\S+ \S+ \S+);.*rels: ([^;]+)")


@dataclass(frozen=True)
class Removal:
    """A restore to just before this transaction has the rows."""

    xid: int
    at: str


def find(program: str, since: str, copy: _psql.Psql, live: _psql.Psql) -> dict[str, Removal]:
    """By table of the copy, which ends at `since`; nothing of what is not in the live WAL any more.

    A file of the copy has the name that it had in the live cluster at that position.
    """
    names = dict(json.loads(copy.ask(FILES)))
    folder, timeline = json.loads(live.ask(WHERE))
    search = ["sh", "-c", SEARCH, "sh", program, folder, str(timeline), since]
    _code, output, _said = live.run(_psql.as_user(live.user, search), "")
    return removals(output, names)


def removals(output: str, names: t.Mapping[str, str]) -> dict[str, Removal]:
    """The first that removed each file, as pg_waldump lists them."""
    found: dict[str, Removal] = {}
    for xid, at, files in _COMMIT.findall(output):
        for name in filter(None, map(names.get, files.split())):
            found.setdefault(name, Removal(int(xid), at))
    return found
