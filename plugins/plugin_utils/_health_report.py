# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The findings of all machines as one report: for a terminal, and for programs."""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import textwrap
import typing as t

from ansible_collections.slipway.stack.plugins.module_utils import _health

SCHEMA = 1
_TITLES = ("state", "machine", "check", "value", "limit")
# Together with the gaps they stay below 130 columns, whatever is found.
_WIDEST = {"machine": 20, "check": 34, "value": 42, "limit": 16}
_GAP = "  "
_LONGEST = 1000


@dataclasses.dataclass(frozen=True)
class Row:
    """A finding and the machine that it is of."""

    machine: str
    finding: _health.Finding

    @property
    def order(self) -> int:
        return _health.STATES.index(self.finding.state)


@dataclasses.dataclass(frozen=True)
class Report:
    """Everything found, machine by machine in the inventory's order."""

    environment: str
    moment: datetime.datetime
    machines: dict[str, list[_health.Finding]]

    @property
    def rows(self) -> list[Row]:
        """The worst first; among equals as they were found."""
        found = [Row(name, each) for name, all_ in self.machines.items() for each in all_]
        return sorted(found, key=lambda row: row.order)

    @property
    def counts(self) -> dict[str, int]:
        found = [row.finding.state for row in self.rows]
        return {state: found.count(state) for state in _health.STATES}

    @property
    def state(self) -> str:
        return _health.worst(row.finding for row in self.rows)

    @property
    def healthy(self) -> bool:
        return self.state in (_health.OK, _health.WARNING)

    @property
    def stamp(self) -> str:
        return self.moment.strftime("%Y-%m-%d %H:%M:%S UTC")

    @property
    def summary(self) -> str:
        said = [f"{count} {state}" for state, count in self.counts.items() if count]
        machines = f"{len(self.machines)} machine{'' if len(self.machines) == 1 else 's'}"
        return f"{', '.join(said) or 'nothing was examined'} on {machines}"


def report(
    results: collections.abc.Mapping[str, t.Any], environment: str, moment: datetime.datetime
) -> Report:
    """From what each machine's stack_health answered, if it answered."""
    machines = {str(name): _findings(str(name), result or {}) for name, result in results.items()}
    return Report(environment, moment, machines)


def _findings(machine: str, result: collections.abc.Mapping[str, t.Any]) -> list[_health.Finding]:
    if "findings" in result:
        names = [field.name for field in dataclasses.fields(_health.Finding)]
        return [
            _health.Finding(**{name: _health.brief(row.get(name, ""), _LONGEST) for name in names})
            for row in result["findings"]
        ] or [_health.Finding("machine", _health.UNKNOWN, "nothing was examined on it")]
    # A machine that could not be examined must not look healthy by being absent.
    said = _health.brief(result.get("msg") or "it gave no answer")
    if result.get("unreachable"):
        advice = f"does it run, is it on the network: ansible -m ping {machine}"
        value = f"could not be reached: {said}"
        return [_health.Finding("machine", _health.CRITICAL, value, "", advice)]
    advice = f"run again with -vvv --limit {machine}"
    return [
        _health.Finding("machine", _health.UNKNOWN, f"could not be examined: {said}", "", advice)
    ]


def as_data(whole: Report) -> dict[str, t.Any]:
    """For programs; SCHEMA changes when a field does."""
    return {
        "schema": SCHEMA,
        "environment": whole.environment,
        "examined": whole.moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "state": whole.state,
        "healthy": whole.healthy,
        "counts": whole.counts,
        "machines": {
            name: {
                "state": _health.worst(findings),
                "findings": [dataclasses.asdict(each) for each in findings],
            }
            for name, findings in whole.machines.items()
        },
    }


def table(whole: Report) -> list[tuple[str, str]]:
    """Lines, each with the state that it is about, or with none."""
    rows = whole.rows
    widths = _widths(rows)
    lines = [("", f"Health of {whole.environment}, {whole.stamp}"), ("", "")]
    head = _GAP.join(title.ljust(widths[title]) for title in _TITLES)
    lines += [("", head.rstrip()), ("", _GAP.join("─" * widths[title] for title in _TITLES))]
    for row in rows:
        lines += [(row.finding.state, line) for line in _lines(row, widths)]
        if row.finding.state != _health.OK:
            lines += _advice(row, widths)
    return [*lines, ("", ""), (whole.state, f"{whole.summary}.")]


def _cells(row: Row) -> dict[str, str]:
    state = row.finding.state
    shown = state if state == _health.OK else state.upper()
    finding = row.finding
    values = (shown, row.machine, finding.check, finding.value, finding.limit)
    return dict(zip(_TITLES, values, strict=True))


def _widths(rows: list[Row]) -> dict[str, int]:
    widths = {}
    for title in _TITLES:
        longest = max([len(title), *(len(_cells(row)[title]) for row in rows)])
        widths[title] = min(longest, _WIDEST.get(title, longest))
    return widths


def _lines(row: Row, widths: dict[str, int]) -> list[str]:
    """One line, or as many as the longest cell needs: nothing is cut off."""
    cells = {
        title: textwrap.wrap(text, widths[title]) or [""] for title, text in _cells(row).items()
    }
    height = max(len(cell) for cell in cells.values())
    return [
        _GAP.join(
            (cells[title][number] if number < len(cells[title]) else "").ljust(widths[title])
            for title in _TITLES
        ).rstrip()
        for number in range(height)
    ]


def _advice(row: Row, widths: dict[str, int]) -> list[tuple[str, str]]:
    indent = " " * (widths["state"] + len(_GAP))
    room = sum(widths.values()) + len(_GAP) * (len(_TITLES) - 1) - len(indent)
    wrapped = textwrap.wrap(
        row.finding.advice,
        max(60, room),
        initial_indent=f"{indent}→ ",
        subsequent_indent=f"{indent}  ",
        break_on_hyphens=False,
    )
    return [*((row.finding.state, line) for line in wrapped), ("", "")]
