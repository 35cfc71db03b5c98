# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Pairs of thresholds: their options, their values, and states that are put together."""

from __future__ import annotations

import collections.abc
import typing as t

from . import _health

Pair = tuple[float, float]


def options(kind: str, **defaults: Pair) -> dict[str, t.Any]:
    """For each `<what>_<unit>` the options `<what>_{warning,critical}_<unit>`."""
    found = {}
    for name, pair in defaults.items():
        what, _line, unit = name.partition("_")
        for level, default in zip(("warning", "critical"), pair, strict=True):
            found[f"{what}_{level}_{unit}"] = {"type": kind, "default": default}
    return found


def pair(check: dict[str, t.Any], what: str, unit: str) -> Pair:
    return check[f"{what}_warning_{unit}"], check[f"{what}_critical_{unit}"]


def worst(states: collections.abc.Iterable[str]) -> str:
    return min(states, key=_health.STATES.index)
