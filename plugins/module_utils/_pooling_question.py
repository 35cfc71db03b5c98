# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an application's own Python is asked about its connections; it opens none.

This text runs inside a release, where nothing of the collection is: only the standard library, and
what the application itself brings. The answer is a line of JSON.
"""

from __future__ import annotations

import gc
import importlib
import importlib.metadata
import inspect
import json
import os
import re
import sys
import typing as t

MARK = "@slipway-pooling "
# What a driver does unless it is told otherwise: whether it prepares statements.
PREPARES = {"asyncpg": True, "psycopg": True}


def django() -> list[dict[str, t.Any]]:
    """Each database of the settings, as Django itself has completed it."""
    from django.db import connections

    found = []
    for alias in connections:
        known = connections[alias].settings_dict
        if "postg" in known["ENGINE"]:
            # Django asks psycopg to prepare nothing unless the options say otherwise.
            threshold = known["OPTIONS"].get("prepare_threshold")
            found.append(
                {
                    "name": alias,
                    "port": str(known["PORT"]),
                    "prepares": threshold is not None,
                    "max_age": known["CONN_MAX_AGE"],
                    "cursors": not known.get("DISABLE_SERVER_SIDE_CURSORS", False),
                    "pool": django_pool(known["OPTIONS"].get("pool")),
                }
            )
    return found


def django_pool(told: t.Any) -> int:
    """How many connections a process may keep: psycopg's pool has four unless it is told so."""
    options = told if isinstance(told, dict) else {}
    return int(options.get("max_size") or options.get("min_size", 4)) if told else 0


def engines() -> list[dict[str, t.Any]]:
    """Each engine of SQLAlchemy that importing the application has made."""
    try:
        from sqlalchemy.engine import Engine
    except ImportError:
        return []
    made = [each for each in gc.get_objects() if isinstance(each, Engine)]
    return [
        {
            "name": str(each.url.database),
            "port": str(each.url.port),
            "prepares": prepares(each),
            "pool": pool(each.pool),
        }
        for each in made
        if each.dialect.name == "postgresql"
    ]


def pool(made: t.Any) -> int:
    """How many connections a process may keep and open besides; -1 is as many as it wants."""
    from sqlalchemy.pool import QueuePool

    if not isinstance(made, QueuePool):
        return 0
    size, more = int(made.size()), int(made._max_overflow)
    return -1 if size == 0 or more < 0 else size + more


def prepares(engine: t.Any) -> bool:
    """What create_engine was told goes nowhere but into the function that connects."""
    driver = str(engine.dialect.driver).removesuffix("_async")
    told = {**engine.url.query}
    told.update(inspect.getclosurevars(engine.pool._creator).nonlocals.get("cparams", {}))
    if driver == "asyncpg":
        return str(told.get("statement_cache_size", 100)) != "0" or names_statements(told)
    return PREPARES.get(driver, False) and told.get("prepare_threshold", 5) is not None


def names_statements(told: t.Mapping[str, t.Any]) -> bool:
    """Before 0.31 asyncpg names what SQLAlchemy prepares, also with its own cache off."""
    try:
        version = importlib.metadata.version("asyncpg")
    except importlib.metadata.PackageNotFoundError:
        version = "0"
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) >= (0, 31):
        return False
    kept = str(told.get("prepared_statement_cache_size", 100)) != "0"
    return kept or told.get("prepared_statement_name_func") is None


def main(module: str, framework: str) -> None:
    importlib.import_module(module)
    # What its environment says of the pooler; an application need not obey it.
    kept = os.environ.get("DATABASE_PREPARED_STATEMENTS", "").lower() == "true"
    found = [{**each, "kept": kept} for each in (django() if framework == "django" else engines())]
    sys.stdout.write(f"{MARK}{json.dumps(found)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:3])
