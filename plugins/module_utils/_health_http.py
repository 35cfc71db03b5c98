# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Requests as a visitor sends them: status, headers, JSON and latency, certificate verified."""

from __future__ import annotations

import collections.abc
import math
import typing as t

from ansible_collections.slipway.stack.plugins.module_utils import (
    _health,
    _health_answer,
    _health_request,
)

KIND = "http"
TIMED = True
OPTIONS: dict[str, t.Any] = {
    **_health_request.OPTIONS,
    "status": {"type": "list", "elements": "int", "default": [200]},
    "json": {"type": "dict", "default": {}},
    "components": {"type": "list", "elements": "str", "default": []},
    "expected_headers": {"type": "dict", "default": {}},
    "samples": {"type": "int", "default": 5},
    "latency_warning_milliseconds": {"type": "float", "default": 1000.0},
    "latency_critical_milliseconds": {"type": "float", "default": 5000.0},
    "redirect_limit": {"type": "int", "default": 5},
    "body_limit_bytes": {"type": "int", "default": 1_048_576},
}


def probe(check: _health.Check, deadline: _health.Deadline) -> list[_health.Finding]:
    """What several visitors in a row were answered, and how long it took."""
    took: list[float] = []
    complaints: list[_health_answer.Doubtful] = []
    said = ""
    for number in range(max(1, check["samples"])):
        # A request that cannot end in time would be called hanging though it is merely slow.
        if number and deadline.remaining() < 2 * max(took):
            break
        started = deadline.clock()
        answer = _health_request.visit(check, deadline)
        took.append(deadline.clock() - started)
        said = str(answer.status)
        try:
            said = _health_answer.accept(check, answer)
        except _health_answer.Doubtful as doubt:
            complaints.append(doubt)
        except _health.Unhealthy as error:
            complaints.append(_health_answer.Doubtful(_health.CRITICAL, str(error), ""))
    return [_answer(check, said, complaints, len(took)), _latency(check, took)]


def _answer(
    check: _health.Check, said: str, complaints: list[_health_answer.Doubtful], requests: int
) -> _health.Finding:
    limit = "/".join(str(status) for status in check["status"])
    if not complaints:
        return _health.Finding(check["label"], _health.OK, said, limit)
    share = "" if len(complaints) == requests else f"{len(complaints)} of {requests} requests: "
    worst = min(complaints, key=lambda each: _health.STATES.index(each.state))
    curl = f"curl -v {check['url']}, and the application's journal"
    advice, value = worst.advice or check["advice"] or curl, _health.brief(f"{share}{worst}")
    return _health.Finding(check["label"], worst.state, value, limit, advice)


def _latency(check: _health.Check, took: list[float]) -> _health.Finding:
    milliseconds = {share: percentile(took, share) * 1000 for share in (50, 95, 99)}
    warning, critical = (check[f"latency_{name}_milliseconds"] for name in ("warning", "critical"))
    count = f"{len(took)}" if len(took) == check["samples"] else f"{len(took)} (then out of time)"
    figures = ", ".join(f"p{share} {value:.0f}" for share, value in milliseconds.items())
    return _health.Finding(
        f"{check['label']} latency",
        _health.judge(milliseconds[95], warning, critical),
        f"{figures} ms; requests: {count}",
        f"p95 {warning:g} ms",
        check["advice"] or "load, slow queries, workers: top, pg_stat_activity",
    )


def percentile(values: collections.abc.Sequence[float], share: float) -> float:
    """A value that was measured (nearest rank), not one between two."""
    return sorted(values)[max(0, math.ceil(len(values) * share / 100) - 1)]
