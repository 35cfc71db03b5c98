# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The report as one HTML file that needs nothing else: no script, no font, no address."""

from __future__ import annotations

import html

from ansible_collections.slipway.stack.plugins.module_utils import _health
from ansible_collections.slipway.stack.plugins.plugin_utils._health_report import Report, Row

_STYLE = """
:root {
  color-scheme: light dark;
  --page: #f5f6f8; --card: #fff; --text: #1b1f24; --dim: #5c6672; --line: #e3e6ea;
  --critical: #c9252d; --unknown: #7a3fc4; --warning: #a65b00; --ok: #1a7f43;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #101317; --card: #181c22; --text: #e6e9ee; --dim: #98a2ae; --line: #2a3038;
    --critical: #ff7b78; --unknown: #c4a0ff; --warning: #f2b04a; --ok: #5fce8a;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 76rem; background: var(--page);
  color: var(--text); font: 16px/1.5 system-ui, sans-serif; font-variant-numeric: tabular-nums;
}
header {
  padding: 1.25rem 1.5rem; border-radius: .75rem; background: var(--card);
  border-left: .6rem solid var(--state);
}
h1 { margin: 0; font-size: 1.9rem; line-height: 1.25; color: var(--state); }
h2 { margin: 2.25rem 0 .75rem; font-size: 1.15rem; }
h2 small { margin-left: .5rem; font-weight: 400; color: var(--dim); }
p { margin: .25rem 0 0; color: var(--dim); }
ul { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1rem 0 0; padding: 0; list-style: none; }
li { padding: .6rem 1rem; border-radius: .6rem; background: var(--card); min-width: 7.5rem; }
li b { display: block; font-size: 1.6rem; line-height: 1.2; color: var(--state); }
li.none b { color: var(--dim); }
article {
  margin: .75rem 0; padding: .9rem 1.25rem; border-radius: .6rem; background: var(--card);
  border-left: .35rem solid var(--state);
}
article b { font-size: 1.05rem; }
article i, td i { color: var(--dim); font-style: normal; }
article pre {
  margin: .6rem 0 0; padding: .5rem .8rem; border-radius: .4rem; background: var(--page);
  white-space: pre-wrap; overflow-wrap: anywhere; font: .9rem/1.5 ui-monospace, monospace;
}
.value { margin-top: .2rem; color: var(--text); overflow-wrap: anywhere; }
.state {
  display: inline-block; min-width: 5.2rem; margin-right: .5rem; font-size: .8rem;
  font-weight: 700; letter-spacing: .04em; text-transform: uppercase; color: var(--state);
}
.critical { --state: var(--critical); } .unknown { --state: var(--unknown); }
.warning { --state: var(--warning); } .ok { --state: var(--ok); }
.table { overflow-x: auto; border-radius: .6rem; background: var(--card); }
table { width: 100%; min-width: 44rem; table-layout: fixed; border-collapse: collapse; }
table { font-size: .94rem; }
th { color: var(--dim); font-weight: 500; }
th, td { padding: .5rem 1rem; text-align: left; vertical-align: top; }
td { border-top: 1px solid var(--line); overflow-wrap: anywhere; }
th:nth-child(1) { width: 8rem; } th:nth-child(2) { width: 32%; } th:nth-child(4) { width: 18%; }
@media print { body { background: none; } header, article, .table { break-inside: avoid; } }
"""
_HEADLINES = {
    _health.CRITICAL: "Something is broken",
    _health.UNKNOWN: "Something could not be examined",
    _health.WARNING: "Working, with warnings",
    _health.OK: "Everything is well",
}


def page(whole: Report) -> str:
    """The whole document."""
    title = html.escape(f"{_HEADLINES[whole.state]}: {whole.environment}")
    wrong = [row for row in whole.rows if row.finding.state != _health.OK]
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>",
        _header(whole),
        *(["<h2>What needs you</h2>"] if wrong else []),
        *(_card(row) for row in wrong),
        *(_machine(name, findings) for name, findings in whole.machines.items()),
        "</body>\n</html>",
    ]
    return "\n".join(parts) + "\n"


def _header(whole: Report) -> str:
    counts = "".join(
        f'<li class="{state if count else "none"}"><b>{count}</b>{state}</li>'
        for state, count in whole.counts.items()
    )
    return (
        f'<header class="{whole.state}"><h1>{_HEADLINES[whole.state]}</h1>'
        f"<p>{html.escape(whole.environment)} · {whole.stamp} · "
        f"{html.escape(whole.summary)}</p></header>\n<ul>{counts}</ul>"
    )


def _card(row: Row) -> str:
    finding = row.finding
    limit = f" <i>(limit: {html.escape(finding.limit)})</i>" if finding.limit else ""
    advice = f"<pre>{html.escape(finding.advice)}</pre>" if finding.advice else ""
    return (
        f'<article class="{finding.state}"><span class="state">{finding.state}</span>'
        f"<b>{html.escape(finding.check)}</b> <i>on {html.escape(row.machine)}</i>"
        f'<div class="value">{html.escape(finding.value)}{limit}</div>{advice}</article>'
    )


def _machine(name: str, findings: list[_health.Finding]) -> str:
    rows = "\n".join(
        f'<tr class="{each.state}"><td><span class="state">{each.state}</span></td>'
        f"<td>{html.escape(each.check)}</td><td>{html.escape(each.value)}</td>"
        f"<td><i>{html.escape(each.limit)}</i></td></tr>"
        for each in findings
    )
    noun = "check" if len(findings) == 1 else "checks"
    head = "".join(f"<th>{title}</th>" for title in ("state", "check", "value", "limit"))
    return (
        f"<h2>{html.escape(name)}<small>{len(findings)} {noun}</small></h2>\n"
        f'<div class="table"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody>\n</table></div>"
    )
