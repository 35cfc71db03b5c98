# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter slipway.stack.backup_list."""

from __future__ import annotations

import json
import typing as t
from datetime import UTC, datetime

from ansible_collections.slipway.stack.plugins.module_utils import _backups

DOCUMENTATION = r"""
name: backup_list
short_description: The backups of a machine, of both kinds, as a table
version_added: 0.1.0
description:
  - One line for each backup, the newest first. A last column says when it was read back and when
    a restore of it was rehearsed, or what is known against it.
author: The Slipway authors (@slipway)
positional: _input, info, snapshots, proofs
options:
  _input:
    description: What M(slipway.stack.s3_backup_info) returns for each place, the first one first.
    type: list
    elements: dict
    required: true
  info:
    description: What C(pgbackrest info --output=json) tells; empty if there is no pgBackRest.
    type: str
    default: ""
  snapshots:
    description:
      - What C(restic snapshots --json) tells of each place, one behind the other; empty if no files
        are saved.
    type: str
    default: ""
  proofs:
    description:
      - The JSON files that the programs of the role keep, one behind the other, C(rehearsal.json),
        C(files.json) and those in C(verifications).
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Show the backups
  ansible.builtin.debug:
    msg: "{{ [dumps] | slipway.stack.backup_list(info.stdout) }}"
"""

RETURN = r"""
_value:
  description: The table, one text.
  type: str
"""

HEAD = ("taken", "of", "kind", "place", "size", "WAL", "backup", "verdict")
PLACES = ("first", "second")
KINDS = {"full": "full", "diff": "differential", "incr": "incremental"}


def backup_list(
    dumps: list[dict[str, t.Any]], info: str = "", snapshots: str = "", proofs: str = ""
) -> str:
    stanzas = json.loads(info) if info else []
    known = list(_documents(proofs))
    rows = [
        _dump(one, place)
        for place, found in zip(PLACES, dumps, strict=False)
        for one in found.get("backups", [])  # it may not have answered
    ]
    rows += [_physical(one, known) for stanza in stanzas for one in stanza.get("backup", [])]
    rows += [
        _files(one, place, known)
        for place, found in zip(PLACES, _documents(snapshots), strict=False)
        for one in found or []
    ]
    table = [HEAD, *sorted(rows, reverse=True)]
    widths = [max(len(row[column]) for row in table) for column in range(len(HEAD))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    )


def _dump(one: dict[str, t.Any], place: str) -> tuple[str, ...]:
    return (
        _moment(datetime.fromisoformat(one["taken"])),
        one["database"],
        "dump",
        place,
        _backups.human_size(one["size"]),
        "-",
        one["key"].rpartition("/")[2],
        one["problem"] or f"read back {_moment(datetime.fromisoformat(one['verified']))}",
    )


def _physical(one: dict[str, t.Any], known: list[dict[str, t.Any]]) -> tuple[str, ...]:
    wal = one["archive"]
    return (
        _moment(datetime.fromtimestamp(one["timestamp"]["start"], UTC)),
        "cluster",
        KINDS[one["type"]],
        PLACES[one["database"]["repo-key"] - 1],
        _backups.human_size(one["info"]["repository"]["delta"]),
        f"{wal['start']} to {wal['stop']}",
        one["label"],
        "has page errors" if one["error"] else _proven(one["label"], known),
    )


def _proven(label: str, known: list[dict[str, t.Any]]) -> str:
    """What was found when it was read back, and by the last rehearsal that restored it."""
    said = "not known whether it was read back: another machine took it"
    for each in known:
        if each.get("label") == label:
            said = f"read back {each.get('verified_at') or ''}".rstrip()
        if each.get("label") == label and not each["verified"]:
            first = each["verdict"]["findings"][0]
            said = f"{first['object']}: {first['found']}"
    rehearsals = [point for each in known for point in each.get("history", [])]
    for point in [point for point in rehearsals if point.get("backup") == label][-1:]:
        said += f", {'rehearsed' if point['ok'] else 'rehearsal FAILED'} {point['started']}"
    return said


def _files(one: dict[str, t.Any], place: str, known: list[dict[str, t.Any]]) -> tuple[str, ...]:
    size = one.get("summary", {}).get("total_bytes_processed")  # not told by older ones of restic
    return (
        _moment(datetime.fromisoformat(one["time"])),
        "files",
        "snapshot",
        place,
        "-" if size is None else _backups.human_size(size),
        "-",
        one["short_id"],
        _saved(one["short_id"], known),
    )


def _saved(snapshot: str, known: list[dict[str, t.Any]]) -> str:
    """Of the last run alone it is known when it was read back."""
    for last in [last for each in known for last in each.get("databases", {}).values()]:
        if last.get("verified") and last["snapshot"].startswith(snapshot):
            return f"read back {last['last_success']}"
    return ""


def _documents(text: str) -> t.Iterator[t.Any]:
    decoder = json.JSONDecoder()
    while text := text.lstrip():
        document, end = decoder.raw_decode(text)
        text = text[end:]
        yield document


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%F %T}Z"


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"backup_list": backup_list}
