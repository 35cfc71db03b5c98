# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Migrate once, under a lock, with limits, and nothing that the serving release would notice.

The guard, inside the release, answers questions; every decision is made here.
"""

from __future__ import annotations

import dataclasses
import re
import time
import typing as t

from . import _migration_rules
from ._errors import StackError

OWN = {"django": "python manage.py migrate --noinput", "fastapi": "alembic upgrade head"}
Ask = t.Callable[[str], dict[str, t.Any]]
# What PostgreSQL says of a lock that did not come, and what drivers call it.
_WAITED = re.compile(r"lock timeout|LockNotAvailable|deadlock detected", re.IGNORECASE)
_LONGEST_PAUSE = 10.0
_FIX = "-e allow_migrations="


@dataclasses.dataclass(frozen=True)
class Order:
    """What is to be migrated, and within which limits."""

    name: str
    framework: str
    command: str
    allowed: frozenset[str] = frozenset()
    lock_timeout_seconds: int = 2
    statement_timeout_seconds: int = 900
    attempts: int = 8
    # Migrations that have run here and that an older release may not work with.
    broken: frozenset[str] = frozenset()

    @property
    def options(self) -> str:
        """What libpq reads from PGOPTIONS, so that no application has to be changed."""
        return " ".join(f"-c {name}={value}" for name, value in self.limits.items())

    @property
    def limits(self) -> dict[str, str]:
        """In milliseconds, as PostgreSQL shows them."""
        return {
            "lock_timeout": str(self.lock_timeout_seconds * 1000),
            "statement_timeout": str(self.statement_timeout_seconds * 1000),
        }


@dataclasses.dataclass(frozen=True)
class Done:
    """What a migration has done, or why it did not; `trouble` is empty when all is well."""

    trouble: str = ""
    before: str = ""
    after: str = ""
    applied: tuple[str, ...] = ()
    breaking: tuple[str, ...] = ()
    point: str = ""
    output: str = ""

    def tail(self, lines: int) -> str:
        return "\n".join(self.output.strip().splitlines()[-lines:])


def migrate(
    order: Order,
    ask: Ask,
    note: t.Callable[[Done], None],
    sleep: t.Callable[[float], None] = time.sleep,
) -> Done:
    """Take the lock, look at what is pending, and run it or refuse it.

    Where the schema stands is noted before it changes, so that a run that is killed tells it too.
    """
    begun = _begin(order, ask)
    if begun["vendor"] != "postgresql":
        return _settled(order, Done(), ask("run"))
    _require_limits(order, begun["limits"])
    _lock(order, ask, sleep)
    plan = ask("plan")
    _require_fitting(order, plan["ahead"])
    names = tuple(one["name"] for one in plan["pending"])
    if not names and order.command == OWN.get(order.framework):
        return _noted(Done(before=plan["revision"], after=plan["revision"]), note)
    # A new database has nobody who could notice, and nothing to lose.
    breaking = require_harmless(order, plan["pending"]) if plan["revision"] else ()
    point = str(ask("point")["point"]) if names else ""
    ready = _noted(Done("", plan["revision"], "", names, breaking, point), note)
    return _noted(_settled(order, ready, _attempts(order, ask, sleep)), note)


def _noted(done: Done, note: t.Callable[[Done], None]) -> Done:
    note(done)
    return done


def _lock(order: Order, ask: Ask, sleep: t.Callable[[float], None]) -> None:
    for pause in _pauses(order.attempts):
        if ask("lock")["locked"]:
            return
        sleep(pause)
    if not ask("lock")["locked"]:
        raise StackError(
            f"Somebody else migrates the database of {order.name} and has not ended; look for the"
            " holder of an advisory lock in pg_locks, and deploy again."
        )


def _attempts(order: Order, ask: Ask, sleep: t.Callable[[float], None]) -> dict[str, t.Any]:
    """Each migration is a transaction, so that one that waited in vain can be tried again."""
    for pause in _pauses(order.attempts):
        ran = ask("run")
        # What is not a transaction leaves its half, which the next attempt would stumble over.
        if not ran["code"] or ran["invalid"] or not _WAITED.search(ran["output"]):
            return ran
        sleep(pause)
    return ask("run")


def _pauses(attempts: int) -> t.Iterator[float]:
    """The pauses between so many attempts."""
    return (min(2.0**number, _LONGEST_PAUSE) for number in range(attempts - 1))


def _begin(order: Order, ask: Ask) -> dict[str, t.Any]:
    try:
        return ask("begin")
    except StackError as error:
        # PgBouncer's words for PGOPTIONS.
        if "startup parameter" in str(error):
            raise StackError(f"{error} {_past_the_pooler(order)}") from None
        raise


def _past_the_pooler(order: Order) -> str:
    return (
        f"Let migrate.environment of {order.name} lead past the pooler, with a driver that reads"
        " PGOPTIONS (psycopg), and set neither limit in the application."
    )


def _require_limits(order: Order, found: dict[str, str]) -> None:
    wrong = [f"{name}={value}" for name, value in found.items() if value != order.limits[name]]
    if wrong:
        raise StackError(
            f"Migrations of {order.name} run with {', '.join(wrong)} in spite of PGOPTIONS"
            f" ({order.options}). {_past_the_pooler(order)}"
        )


def _require_fitting(order: Order, ahead: t.Sequence[str]) -> None:
    """An error when the database has gone further than the code, and not harmlessly."""
    names = ",".join(name for name in ahead if name in order.broken - order.allowed)
    if names:
        raise StackError(
            f"The code is older than {names}, which has run on the database of {order.name} and"
            f" may be too much for it: deploy a version that has {names}; or, when you know that"
            f" this one works, add {_FIX}{names}."
        )


def require_harmless(order: Order, pending: t.Sequence[dict[str, str]]) -> tuple[str, ...]:
    """The names that the operator allowed although they are not harmless; an error for all others.

    What blocks may break an older release too (SET NOT NULL), and of the unknown nobody knows.
    """
    found = _migration_rules.findings((one["name"], one["sql"]) for one in pending)
    remedy = "make sure that it is harmless"
    for one in pending:
        if one["error"]:
            problem = f"does what cannot be shown as SQL ({one['error']})"
            unknown = _migration_rules.UNKNOWN
            found.append(_migration_rules.Finding(one["name"], "", unknown, problem, remedy))
    refused = [one for one in found if one.migration not in order.allowed]
    if refused:
        first = refused[0]
        names = ",".join(dict.fromkeys(one.migration for one in refused))
        shown = f": {first.statement}" if first.statement else ""
        rest = len(refused) - 1
        more = f" {rest} more of its kind are pending." if rest else ""
        raise StackError(
            f"Migration {first.migration} of {order.name} {first.problem}{shown}. Instead,"
            f" {first.remedy}; or take the risk with {_FIX}{names}.{more}"
        )
    return tuple(dict.fromkeys(one.migration for one in found))


def _settled(order: Order, ready: Done, ran: dict[str, t.Any]) -> Done:
    after = ran.get("revision", "")
    done = dataclasses.replace(ready, after=after, output=ran["output"])
    if not ran["code"]:
        return done
    where = f"where it was, at {after or 'nothing'}"
    if after != ready.before:
        where = f"at {after}, and was at {ready.before or 'nothing'}"
    invalid = "".join(
        f" An index is left invalid; get rid of it with DROP INDEX CONCURRENTLY {name};"
        for name in ran.get("invalid", [])
    )
    waited = f" after {order.attempts} attempts" if _WAITED.search(ran["output"]) else ""
    stands = f" The schema stands {where}." if "revision" in ran else ""
    return dataclasses.replace(done, trouble=f"failed{waited}.{stands}{invalid}")
