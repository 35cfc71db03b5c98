# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a rehearsal found: as a state for machines, as Markdown and as a page with its history."""

from __future__ import annotations

import html
import json
import statistics
import typing as t
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from . import _backup_state, _backups

KEPT = 260  # five years of weeks
STATE = "rehearsal.json"
PLACES = ("", "first", "second")  # the number of each is that of its repository
# Of the last so many of a place the median is what is usual. So a lasting change is told twice, and
# is usual from then on. A restore of seconds varies more than that.
USUAL = 4
TIMES_SLOWER = 2
SECONDS_SLOWER = 60
SLOWER = "the restore is not much slower than it was"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; the detail says what is wrong with it, or remarkable."""

    check: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class Rehearsal:
    started: str
    finished: str = ""
    rto_seconds: float | None = None
    rpo_seconds: float | None = None
    size: int = 0
    reached: dict[str, t.Any] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    restores: tuple[str, ...] = ()  # what was really put back since the last rehearsal
    place: str = ""  # where the backup was, of several

    @property
    def ok(self) -> bool:
        return bool(self.findings) and all(each.ok for each in self.findings)

    def found(self, check: str, wrong: str, remark: str = "") -> Rehearsal:
        """With what is wrong, or a remark that is no reason to fail."""
        said = "; ".join(filter(None, (wrong, remark)))
        return replace(self, findings=(*self.findings, Finding(check, not wrong, said)))

    def summary(self) -> str:
        if self.rto_seconds is None or self.rpo_seconds is None:
            return f"The rehearsal of {self.started} FAILED before anything was restored."
        verdict = "succeeded" if self.ok else "FAILED"
        where = f" from the {self.place} place" if self.place else ""
        return (
            f"The rehearsal of {self.started} {verdict}: {_backups.human_size(self.size)} restored"
            f"{where} in {self.rto_seconds:.0f} s (RTO),"
            f" a commit was safe after {self.rpo_seconds:.0f} s (RPO)."
        )

    def verdict(self) -> list[str]:
        wrong = [f"{each.check}: {each.detail}" for each in self.findings if not each.ok]
        return [self.summary(), *wrong]

    def remarks(self) -> list[str]:
        """What is no reason to fail, and yet to be known by whoever believes the verdict."""
        return [f"{each.check}: {each.detail}" for each in self.findings if each.ok and each.detail]

    def as_dict(self) -> dict[str, t.Any]:
        told = {"detail": " ".join(self.verdict()), "lines": [*self.verdict(), *self.remarks()]}
        return {**asdict(self), "ok": self.ok, **told}


def turn(state: Path) -> str:
    """The place whose turn it is. One that failed is tried again until it does not: a success of
    the other must not hide it."""
    last = [{}, *(_backup_state.read(state / STATE).get("history") or [])][-1]
    _none, first, second = PLACES
    was = last.get("place") or second
    return was if last.get("ok") is False else first if was == second else second


def begin(state: Path) -> None:
    """What is told of a run that never comes to its end: not what the one before has proven.

    That it had failed is still so.
    """
    earlier = _backup_state.read(state / STATE)
    failed = earlier.get("ok") is False or earlier.get("failed", False)
    pending = {"ok": None, "failed": failed, "detail": "this run did not come to its end"}
    _backup_state.write(state / STATE, _json({**earlier, **pending}))


def keep(state: Path, done: Rehearsal) -> None:
    """The reports of this rehearsal, the page of all of them, and the state for whoever watches."""
    reports = state / "reports"
    reports.mkdir(mode=0o750, exist_ok=True)
    earlier = _backup_state.read(state / STATE)
    done = replace(done, restores=tuple(_restores(reports, earlier.get("started") or "")))
    stamp = done.started.replace(":", "").replace("+0000", "Z")
    history = [*(earlier.get("history") or []), _point(done)][-KEPT:]
    _backup_state.write(reports / f"rehearsal-{stamp}.json", _json(done.as_dict()))
    _backup_state.write(reports / f"rehearsal-{stamp}.md", markdown(done))
    _backup_state.write(reports / "rehearsals.html", page(done, history))
    last = done.finished if done.ok else earlier.get("last_success")
    _backup_state.write(
        state / STATE, _json({**done.as_dict(), "last_success": last, "history": history})
    )


def _restores(reports: Path, since: str) -> list[str]:
    """What the reports of restores tell, of those that ended since the last rehearsal."""
    found = [_backup_state.read(path) for path in sorted(reports.glob("restore-*.json"))]
    return [
        f"{told['database']} was put back at {told['swapped']} as it was at {told['source']}; what"
        f" was there before is kept as {told['safety_copy'] or 'nothing'}.{told.get('took', '')}"
        for told in found
        if told and told["swapped"] >= since
    ]


def slower(
    history: t.Sequence[t.Mapping[str, t.Any]], place: str, seconds: float, size: int
) -> str:
    """What is wrong with how long a restore took, for its size, beside those before it from there.

    Where there is one place, it is the first.
    """
    here = place or PLACES[1]
    rates = [
        point["rto_seconds"] / point["size"]
        for point in history
        if (point["ok"] or point.get("only_slow"))
        and (point.get("place") or PLACES[1]) == here
        and point["size"]
        and point["rto_seconds"]
    ][-USUAL:]
    if len(rates) < USUAL:
        return ""
    usual = statistics.median(rates) * size
    if seconds <= max(usual * TIMES_SLOWER, usual + SECONDS_SLOWER):
        return ""
    return (
        f"it took {seconds:.0f} s, and {usual:.0f} s are usual for its size: see what kept the disk"
        " or the line to the bucket busy; where it stays so, the third is usual again"
    )


def markdown(done: Rehearsal) -> str:
    rows = [
        f"| {each.check} | {'ok' if each.ok else '**failed**'} | {_cell(each.detail)} |"
        for each in done.findings
    ]
    head = ["# Rehearsal of a restore", "", done.summary(), ""]
    reached = [f"- {name}: {value}" for name, value in done.reached.items()]
    table = ["", "| check | result | what was found |", "|---|---|---|", *rows]
    restores = ["", "## Restores since the last one", "", *(f"- {each}" for each in done.restores)]
    shown = [*head, *reached, *table, *(restores if done.restores else [])]
    return "\n".join(shown) + "\n"


def page(done: Rehearsal, history: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    """Nothing in it is fetched from anywhere."""
    rows = "".join(
        f"<tr class={'ok' if each.ok else 'bad'}><td>{html.escape(each.check)}"
        f"<td>{'ok' if each.ok else 'failed'}<td>{html.escape(each.detail)}"
        for each in done.findings
    )
    restores = "".join(f"<p>{html.escape(each)}" for each in done.restores)
    plots = "".join(
        _plot(title, unit, [(point["started"], point.get(name)) for point in history])
        for title, name, unit in (
            ("RTO", "rto_seconds", "s"),
            ("RPO", "rpo_seconds", "s"),
            ("Size", "size", "bytes"),
        )
    )
    return _PAGE.format(
        summary=html.escape(done.summary()), rows=rows, restores=restores, plots=plots
    )


_PAGE = """<!doctype html>
<html lang=en><meta charset=utf-8><title>Rehearsals of restores</title>
<style>
body {{ font: 16px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em }}
td {{ padding: .2em 1em .2em 0; vertical-align: top }}
.bad {{ color: #b00020; font-weight: bold }}
svg {{ width: 100%; height: 9em }} polyline {{ fill: none; stroke: #0b57d0; stroke-width: 2 }}
</style>
<h1>Rehearsals of restores</h1>
<p>{summary}</p>
<table>{rows}</table>
{restores}
{plots}
</html>
"""


def _plot(title: str, unit: str, points: t.Sequence[tuple[str, float | None]]) -> str:
    known = [(when, value) for when, value in points if value is not None]
    if not known:
        return ""
    most = max(value for _when, value in known) or 1
    step = 600 / max(len(known) - 1, 1)
    line = " ".join(
        f"{number * step:.1f},{100 - 90 * value / most:.1f}"
        for number, (_when, value) in enumerate(known)
    )
    dots = "".join(
        f"<circle cx={number * step:.1f} cy={100 - 90 * value / most:.1f} r=3>"
        f"<title>{html.escape(when)}: {value:.0f} {unit}</title></circle>"
        for number, (when, value) in enumerate(known)
    )
    return (
        f"<h2>{title}: {known[-1][1]:.0f} {unit}, at most {most:.0f} so far</h2>"
        f"<svg viewBox='-5 0 610 105' preserveAspectRatio=none><polyline points='{line}'/>"
        f"{dots}</svg>"
    )


def _point(done: Rehearsal) -> dict[str, t.Any]:
    told = done.as_dict()
    names = ("started", "ok", "rto_seconds", "rpo_seconds", "size", "place")
    point = {**{name: told[name] for name in names}, "backup": done.reached.get("backup")}
    wrong = [each.check for each in done.findings if not each.ok]
    return {**point, "only_slow": True} if wrong == [SLOWER] else point


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _json(value: t.Mapping[str, t.Any]) -> str:
    return json.dumps(value, indent=2) + "\n"
