# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""When each kind of backup last succeeded, for whoever watches: silence is an alarm.

The state files of the programs are read as they lie; Prometheus' textfile collector reads the same.
"""

from __future__ import annotations

import pathlib
import typing as t
import urllib.request
from dataclasses import dataclass
from datetime import datetime

from . import _backup_state

# Beside the states, for all programs of the machine: each writes a file with the name of its own.
METRICS = "metrics"
STATES = {
    "dump": "state.json",
    "physical": "physical.json",
    "rehearsal": "rehearsal.json",
    "files": "files.json",
}
PING_SECONDS = 10
HELP = {
    "last_success_timestamp_seconds": "When it last succeeded and was read back; 0 is never.",
    "last_run_ok": "Whether the last run succeeded.",
    "size_bytes": "Bytes of the last one.",
    "duration_seconds": "How long the last run took.",
    "rto_seconds": "How long the last rehearsed restore took.",
    "rpo_seconds": "What the last rehearsed restore would have lost.",
}


@dataclass(frozen=True)
class Age:
    """What is known of one kind of backup, of one database."""

    kind: str
    name: str
    succeeded: datetime | None
    ok: bool
    detail: str
    figures: dict[str, float]
    failed: bool = False  # it came to its end, and to that one
    pending: bool = False  # it has not come to its end: under way, or killed


def ages(directory: pathlib.Path) -> list[Age]:
    """What the state files tell; a kind that never ran has none."""
    found = []
    for kind, file in STATES.items():
        state = _backup_state.read(directory / file)
        each = state.get("databases", {"": state} if state else {})
        found += [_age(kind, name, value) for name, value in each.items()]
    return found


def undeclared(directory: pathlib.Path) -> list[str]:
    """Databases that the last run of dumps has found and nobody declares."""
    return list(_backup_state.read(directory / STATES["dump"]).get("undeclared") or [])


def _age(kind: str, name: str, value: t.Mapping[str, t.Any]) -> Age:
    return Age(
        kind,
        name,
        moment(value.get("last_success")),
        value.get("ok") is True,
        str(value.get("detail", "")),
        {
            metric: float(value[key])
            for metric, key in (
                ("size_bytes", "size"),
                ("duration_seconds", "seconds"),
                ("rto_seconds", "rto_seconds"),
                ("rpo_seconds", "rpo_seconds"),
            )
            if isinstance(value.get(key), (int, float))
        },
        value.get("ok") is False or value.get("failed") is True,
        value.get("ok") is None,
    )


def moment(text: t.Any) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None


def metrics(found: t.Sequence[Age]) -> str:
    """The text that Prometheus' textfile collector reads; ages are for it to reckon."""
    lines = []
    for metric, words in HELP.items():
        samples = [(one, value) for one in found if (value := _value(one, metric)) is not None]
        if samples:
            lines += [f"# HELP slipway_backup_{metric} {words}"]
            lines += [f"# TYPE slipway_backup_{metric} gauge"]
        for one, value in samples:
            labels = f'kind="{one.kind}",name="{_label(one.name)}"'
            lines.append(f"slipway_backup_{metric}{{{labels}}} {value:.15g}")
    return "".join(f"{line}\n" for line in lines)


def _value(one: Age, metric: str) -> float | None:
    if metric == "last_success_timestamp_seconds":
        return one.succeeded.timestamp() if one.succeeded else 0
    if metric == "last_run_ok":  # of one that is under way nobody knows
        return None if one.pending else float(one.ok)
    return one.figures.get(metric)


def _label(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def tell(directory: pathlib.Path, url: str, say: t.Callable[[str], None]) -> None:
    """After a run: figures for Prometheus, and after a success a word to a dead man's switch."""
    path = directory.parent / METRICS / f"{directory.name}.prom"
    path.parent.mkdir(exist_ok=True)
    _backup_state.write(path, metrics(ages(directory)))
    path.chmod(0o644)  # whoever collects metrics may read them
    if not url:
        return
    try:
        urllib.request.build_opener().open(url, timeout=PING_SECONDS).close()
    except (OSError, ValueError) as error:
        say(
            f"{_backup_state.WARNING}backup_ping_url did not answer ({error}): it will raise alarm."
        )
