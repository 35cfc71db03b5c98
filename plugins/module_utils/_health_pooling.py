# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether a live release connects as a transaction pooler needs it."""

from __future__ import annotations

import inspect
import json
import typing as t
from pathlib import Path

from . import _application_python, _health, _pooling_question
from ._health import CRITICAL, OK, UNKNOWN, WARNING, Finding

KIND = "pooling"
OPTIONS: dict[str, t.Any] = {
    "application": {"type": "str", "required": True},
    "module": {"type": "str", "required": True},
    "home": {"type": "path"},
    "framework": {"type": "str", "default": "django", "choices": ["django", "fastapi", "none"]},
    "port": {"type": "int", "default": 6432},
    "pool_size": {"type": "int", "default": 0},
    "unseen_allowed": {"type": "bool", "default": False},
}
DJANGO_PREPARES_NOT = "OPTIONS['prepare_threshold'] = None"
PREPARES_NOT = (
    "connect_args prepare_threshold=None (psycopg) or statement_cache_size=0 (asyncpg; before 0.31"
    " also prepared_statement_cache_size=0 and prepared_statement_name_func=lambda: '')"
)

Check = dict[str, t.Any]


def probe(
    check: Check,
    deadline: _health.Deadline,
    ask: t.Callable[..., str] = _application_python.ask,
) -> list[Finding]:
    """One finding for each connection of the application that leads through the pool."""
    home = Path(check["home"] or f"/srv/{check['application']}")
    text, words = inspect.getsource(_pooling_question), [check["module"], check["framework"]]
    said = ask(
        check["application"], home, lambda _seconds: ["python", "-c", text, *words], deadline
    )
    _before, mark, answer = said.partition(_pooling_question.MARK)
    if not mark:
        value = _health.brief(said or "no answer", 160)
        advice = f"import {check['module']} by hand, with playbooks/manage.yml"
        return [Finding(check["label"], UNKNOWN, value, "", advice)]
    found = json.loads(answer.splitlines()[0])
    pooled = [each for each in found if each["port"] == str(check["port"])]
    return [_connection(check, each) for each in pooled] or [_unseen(check, found)]


def _unseen(check: Check, found: list[dict[str, t.Any]]) -> Finding:
    """Nothing leads through the pool as far as one sees, so nothing could be judged."""
    django = check["framework"] == "django"
    if found:
        elsewhere = ", ".join(f"{each['name']} to {each['port']}" for each in found)
        value = f"no connection leads to port {check['port']}, but {elsewhere}"
    elif django:
        value = "its settings have no database of PostgreSQL"
    else:
        value = f"importing {check['module']} makes no engine of SQLAlchemy"
    if check["unseen_allowed"]:
        return Finding(check["label"], OK, f"{value}; that is allowed")
    place = f"make the engine where {check['module']} is imported"
    remedy = "let DATABASES follow DATABASE_URL" if django else place
    advice = f"{remedy}, or write 'stack_health: {{pooling: {{unseen_allowed: true}}}}'"
    return Finding(check["label"], UNKNOWN, value, "", advice)


def _connection(check: Check, found: dict[str, t.Any]) -> Finding:
    """What a client of a transaction pooler must not do, the worst of it first."""
    wrong = []
    if found["prepares"] and not found["kept"]:
        remedy = DJANGO_PREPARES_NOT if check["framework"] == "django" else PREPARES_NOT
        wrong.append((CRITICAL, "prepares statements, which this pooler forgets", remedy))
    if found.get("cursors"):
        remedy = "DISABLE_SERVER_SIDE_CURSORS = True"
        wrong.append((WARNING, "has server-side cursors, which end with a transaction", remedy))
    if found.get("max_age") not in (None, 0):
        remedy = "CONN_MAX_AGE = 0"
        wrong.append((WARNING, f"keeps connections for {found['max_age']} s", remedy))
    if found.get("max_age", 0) is None:
        wrong.append((WARNING, "keeps connections for ever", "CONN_MAX_AGE = 0"))
    pool, given = found.get("pool", 0), check["pool_size"]
    if given and not 0 <= pool <= given:
        many = "any number of" if pool < 0 else f"up to {pool}"
        remedy = f"a pool of at most {given}"
        said = f"each process keeps {many} connections, more than the {given} that the pooler gives"
        wrong.append((WARNING, said, remedy))
    label = f"{check['label']} {found['name']}"
    if not wrong:
        return Finding(label, OK, "made for a transaction pooler", "as the pooler needs it")
    values, remedies = [each[1] for each in wrong], [each[2] for each in wrong]
    advice = f"set {', '.join(remedies)} for this connection"
    return Finding(label, wrong[0][0], "; ".join(values), "as the pooler needs it", advice)
