# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Also runs outside Ansible, where no run_command is. pylint: disable=ansible-bad-function
"""Holds the lock on an application's migrations, and tells what they are about to do.

This text runs inside a release, where nothing of the collection is: only the standard library, and
what the application itself brings. It reads one word a line and answers with a line of JSON. The
lock is its session's: it ends with this process, and no sooner than a migration that runs.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import typing as t

MARK = "@slipway-migrations "
LOCK = 0x511D3A11
Answer = dict[str, t.Any]
Pending = list[dict[str, str]]
_HELD = f"SELECT pg_try_advisory_lock({LOCK})"
_LIMITS = """
SELECT name, setting FROM pg_settings WHERE name IN ('lock_timeout', 'statement_timeout')
"""
_INVALID = """
SELECT i.indexrelid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE NOT i.indisvalid AND c.relkind = 'i' ORDER BY 1
"""
_MAY_RESTORE = """
SELECT current_setting('archive_mode') <> 'off' AND NOT pg_is_in_recovery()
   AND has_function_privilege('pg_create_restore_point(text)', 'EXECUTE')
"""
_STEP = re.compile(r"^-- Running upgrade \S* ?-> (\S+)$", re.MULTILINE)


class Database(t.Protocol):
    """The application's own connection, and what its framework knows."""

    vendor: str

    def ask(self, sql: str) -> list[t.Any]: ...

    def revision(self) -> str: ...

    def pending(self) -> Pending: ...

    def ahead(self) -> list[str]: ...


class Django:
    """Migrations as Django finds them; manage.py knows which settings it wants."""

    def __init__(self) -> None:
        import runpy

        import django
        from django.core import management

        management.execute_from_command_line = lambda *_: None
        sys.argv = ["manage.py"]
        runpy.run_path("manage.py", run_name="__main__")
        django.setup()
        from django.db import connection

        self.connection = connection
        self.vendor = connection.vendor

    def ask(self, sql: str) -> list[t.Any]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def revision(self) -> str:
        """The last migration of each application."""
        from django.db.migrations.recorder import MigrationRecorder

        applied = MigrationRecorder(self.connection).applied_migrations()
        last = dict(sorted(applied))
        return " ".join(f"{app}.{name}" for app, name in last.items())

    def pending(self) -> Pending:
        from django.db.migrations.executor import MigrationExecutor
        from django.db.migrations.loader import MigrationLoader

        executor = MigrationExecutor(self.connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
        loader = MigrationLoader(self.connection, replace_migrations=False)
        found = []
        for migration, _backwards in plan:
            one = {"name": f"{migration.app_label}.{migration.name}", "sql": "", "error": ""}
            try:
                one["sql"] = "\n".join(loader.collect_sql([(migration, False)]))
            except Exception as error:
                one["error"] = f"{type(error).__name__}: {error}"
            found.append(one)
        return found

    def ahead(self) -> list[str]:
        """What has run and is not in this code; what one of its squashed ones replaces, is."""
        from django.db.migrations.loader import MigrationLoader
        from django.db.migrations.recorder import MigrationRecorder

        loader = MigrationLoader(self.connection, replace_migrations=False)
        own = loader.disk_migrations
        known = {*own, *(old for migration in own.values() for old in migration.replaces)}
        applied = MigrationRecorder(self.connection).applied_migrations()
        return [f"{app}.{name}" for app, name in sorted(set(applied) - known)]


class Alembic:
    """Migrations as Alembic finds them, over the connection that env.py makes."""

    def __init__(self, script: t.Any, context: t.Any) -> None:
        self.script = script
        self.vendor = context.dialect.name
        names = (context.version_table_schema, context.version_table)
        self.table = ".".join(f'"{name}"' for name in names if name)
        # env.py may have a transaction open, which could be ended for doing nothing.
        engine = context.connection.engine
        self.connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")

    def ask(self, sql: str) -> list[t.Any]:
        return [tuple(row) for row in self.connection.exec_driver_sql(sql)]

    def revision(self) -> str:
        """The revisions that the database stands at; one, unless branches are not merged."""
        if not self.ask(f"SELECT to_regclass('{self.table}') IS NOT NULL")[0][0]:
            return ""
        return " ".join(sorted(row[0] for row in self.ask(f"TABLE {self.table}")))

    def pending(self) -> Pending:
        heads = tuple(self.revision().split())
        walk = self.script.walk_revisions
        done = {step.revision for head in heads for step in walk("base", head)}
        every = reversed(list(walk()))
        names = [step.revision for step in every if step.revision not in done]
        if not names:
            return []
        command = [sys.executable, "-m", "alembic", "upgrade"]
        command += [f"{heads[0]}:heads" if heads else "heads", "--sql"]
        shown = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = shown.stderr.strip().splitlines() or ["Alembic tells nothing"]
        error = lines[-1] if shown.returncode or len(heads) > 1 else ""
        texts = _STEP.split(shown.stdout)[1:]
        sql = dict(zip(texts[::2], texts[1::2], strict=True))
        return [{"name": name, "sql": sql.get(name, ""), "error": error} for name in names]

    def ahead(self) -> list[str]:
        """Nothing: Alembic refuses a database at a revision that it has not, when asked above."""
        return []


class Guard:
    """What can be asked, a word each."""

    def __init__(self, database: Database, request: Answer) -> None:
        self.database = database
        self.request = request

    def begin(self) -> Answer:
        vendor = self.database.vendor
        limits = dict(self.database.ask(_LIMITS)) if vendor == "postgresql" else {}
        return {"vendor": vendor, "limits": limits}

    def lock(self) -> Answer:
        return {"locked": self.database.ask(_HELD)[0][0]}

    def plan(self) -> Answer:
        database = self.database
        pending, ahead = database.pending(), database.ahead()
        return {"revision": database.revision(), "pending": pending, "ahead": ahead}

    def point(self) -> Answer:
        if not self.database.ask(_MAY_RESTORE)[0][0]:
            return {"point": ""}
        name = self.request["point"].replace("'", "''")
        return {"point": str(self.database.ask(f"SELECT pg_create_restore_point('{name}')")[0][0])}

    def run(self) -> Answer:
        done = subprocess.run(
            shlex.split(self.request["command"]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        answer = {"code": done.returncode, "output": done.stdout[-20_000:]}
        if self.database.vendor != "postgresql":
            return answer
        invalid = [row[0] for row in self.database.ask(_INVALID)]
        return {**answer, "revision": self.database.revision(), "invalid": invalid}


def tell(answer: Answer) -> None:
    sys.stdout.write(f"{MARK}{json.dumps(answer)}\n")
    sys.stdout.flush()


def converse(guard: Guard, words: t.Iterable[str]) -> None:
    for word in words:
        tell(getattr(guard, word.strip())())


def over_alembic(request: Answer) -> None:
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    config = Config(os.environ.get("ALEMBIC_CONFIG", "alembic.ini"))
    script = ScriptDirectory.from_config(config)

    def steps(_revision: t.Any, context: t.Any) -> list[t.Any]:
        converse(Guard(Alembic(script, context), request), iter(sys.stdin.readline, ""))
        return []

    with EnvironmentContext(config, script, fn=steps, dont_mutate=True):
        script.run_env()


def main(request: Answer) -> None:
    try:
        if request["framework"] == "django":
            converse(Guard(Django(), request), iter(sys.stdin.readline, ""))
        else:
            over_alembic(request)
    except Exception as error:
        tell({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    sys.path.insert(0, os.getcwd())
    main(json.loads(sys.argv[1]))
