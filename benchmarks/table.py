# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ratios within rounds, and the tables that show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from benchmarks.contenders import Run

OURS = "slipway"
Rounds = Sequence[Mapping[str, Run]]  # in each round, every contender once


def ratios(rounds: Rounds, name: str, other: str) -> list[float]:
    """Return how often longer one took than the other, in each round in which both ran."""
    both = [each for each in rounds if name in each and other in each]
    return [each[name].seconds / each[other].seconds for each in both]


def spread(values: Sequence[float], form: str = ".1f") -> str:
    """Return the median, and from where to where the values go."""
    if not values:
        return "-"
    return f"{median(values):{form}} [{min(values):{form}}-{max(values):{form}}]"


def by_contender(rounds: Rounds, limit: str, peer: str) -> str:
    """Return a table with a line for each contender of some rounds."""
    if not rounds:
        return "(not measured)"
    names = dict.fromkeys(name for each in rounds for name in sorted(each, key=_place))
    lines = [
        f"| | seconds | x {limit} | x {peer} | remote executions | controller CPU s |",
        "|---|---|---|---|---|---|",
    ]
    for name in names:
        runs = [each[name] for each in rounds if name in each]
        executions = median(run.executions for run in runs)
        cells = [
            name,
            spread([run.seconds for run in runs]),
            "1" if name == limit else spread(ratios(rounds, name, limit), ".2f"),
            "1" if name == peer else spread(ratios(rounds, name, peer), ".2f"),
            f"{executions:.0f}",
            f"{median(run.controller_seconds for run in runs):.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def by_machines(rounds: Sequence[Mapping[int, Mapping[str, Run]]], limit: str, peer: str) -> str:
    """Return a table with a line for each number of machines; rounds hold all of them."""
    if not rounds:
        return "(not measured)"
    counts = sorted({count for each in rounds for count in each})
    names = sorted(rounds[0][counts[-1]], key=_place)
    heads = [f"{name} s | x one machine" for name in names]
    lines = [
        f"| machines | {' | '.join(heads)} | {names[0]} x {limit} | {names[0]} x {peer} |",
        "|---" * (2 * len(names) + 3) + "|",
    ]
    for count in counts:
        cells = [str(count)]
        for name in names:
            pairs = [(e[count][name], e[counts[0]][name]) for e in rounds]
            cells.append(spread([run.seconds for run, _unused in pairs]))
            cells.append(spread([run.seconds / one.seconds for run, one in pairs]))
        here = [each[count] for each in rounds]
        cells += [spread(ratios(here, names[0], other)) for other in (limit, peer)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def aims(
    cold: Rounds,
    alone: Rounds,
    growth: Sequence[Mapping[int, Mapping[str, Run]]],
    limit: str,
    peer: str,
) -> str:
    """Return what was aimed at beside what was measured."""
    executions = [each[OURS].executions for each in alone]
    found = [
        _aim("remote executions per machine, no-change", executions, 25, ".0f"),
        _aim(f"no-change run x {peer}", ratios(alone, OURS, peer), 1),
        _aim(f"cold run x {limit}", ratios(cold, OURS, limit), 1.25),
    ]
    if growth:
        one, most = min(growth[0]), max(growth[0])
        grown = [each[most][OURS].seconds / each[one][OURS].seconds for each in growth]
        found.append(_aim(f"no-change run of {most} machines x {one}", grown, 2))
    lines = ["| aim | at most | measured | |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {bound:g} | {shown} | {'reached' if value <= bound else 'missed'} |"
        for name, value, bound, shown in found
        if shown != "-"
    ]
    return "\n".join(lines)


def _aim(
    name: str, values: Sequence[float], bound: float, form: str = ".2f"
) -> tuple[str, float, float, str]:
    return name, median(values) if values else 0.0, bound, spread(values, form)


def _place(name: str) -> tuple[bool, str]:
    """Ours first, whoever began the round."""
    return name != OURS, name
