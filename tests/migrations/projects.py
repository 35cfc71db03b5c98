# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Two small projects, one of Django and one of Alembic, whose migrations a test writes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import psycopg
from ansible_collections.slipway.stack.plugins.module_utils import _migration_talk, _migrations

MANAGE = """
import os, sys
if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
    from django.core.management import execute_from_command_line
    execute_from_command_line(sys.argv)
"""
SETTINGS = """
import os
from psycopg.conninfo import conninfo_to_dict
given = conninfo_to_dict(os.environ["DATABASE_URL"])
options = {"options": given["options"]} if "options" in given else {}
DATABASES = {"default": {
    "ENGINE": "django.db.backends.postgresql", "NAME": given["dbname"], "USER": given["user"],
    "HOST": given["host"], "OPTIONS": options,
}}
INSTALLED_APPS = ["shop"]
SECRET_KEY = "x"
USE_TZ = True
"""
DJANGO = """
from django.db import migrations, models
class Migration(migrations.Migration):
    atomic = {atomic}
    dependencies = [{before}]
    operations = [{operation}]
"""
ENVIRONMENT = """
import os
from alembic import context
from sqlalchemy import create_engine
url = os.environ["DATABASE_URL"]
if context.is_offline_mode():
    context.configure(url=url, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    with create_engine(url).connect() as connection:
        context.configure(connection=connection, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()
"""
ALEMBIC = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = {name!r}, {before}
def upgrade():
    {operation}
"""


class Project:
    """A release of sorts, and the database that it migrates."""

    framework = ""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.names: list[str] = []
        self.noted: list[_migrations.Done] = []

    def write(self, path: str, text: str) -> None:
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_text(text)

    def add(self, name: str, sql: str, atomic: bool = True) -> str:
        """Write one more migration; returns what messages call it."""
        raise NotImplementedError

    def sql(self, text: str) -> list[t.Any]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(t.cast(t.Any, text))
            return cursor.fetchall() if cursor.description else []

    @contextlib.contextmanager
    def guard(self, order: _migrations.Order, url: str = "") -> t.Iterator[_migrations.Ask]:
        with self.started(order, url) as process:
            yield lambda word: _migration_talk.answer(process, word, {})

    def started(
        self, order: _migrations.Order, url: str = ""
    ) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "DATABASE_URL": url or self.url,
            "PGOPTIONS": order.options,
        }
        command = _migration_talk.program(order, "20261121T080000Z-3f2c5d0e8a1b")
        return _migration_talk.started(command, cwd=self.folder, env=environment)

    def order(self, **given: t.Any) -> _migrations.Order:
        command = _migrations.OWN[self.framework]
        given = {"lock_timeout_seconds": 1, "attempts": 2, **given}
        return _migrations.Order("shop", self.framework, command, **given)

    def migrate(
        self, sleep: t.Callable[[float], None] = lambda _: None, url: str = "", **given: t.Any
    ) -> _migrations.Done:
        order = self.order(**given)
        with self.guard(order, url) as ask:
            return _migrations.migrate(order, ask, self.noted.append, sleep)


class Django(Project):
    framework = "django"

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(folder, url)
        self.write("manage.py", MANAGE)
        self.write("settings.py", SETTINGS)
        self.write("shop/__init__.py", "")
        self.write("shop/migrations/__init__.py", "")

    def add(self, name: str, sql: str, atomic: bool = True) -> str:
        return self.operation(name, f"migrations.RunSQL({sql!r})", atomic)

    def operation(self, name: str, operation: str, atomic: bool = True) -> str:
        before = f"('shop', {self.names[-1]!r})" if self.names else ""
        name = f"{len(self.names) + 1:04}_{name}"
        self.names.append(name)
        text = DJANGO.format(atomic=atomic, before=before, operation=operation)
        self.write(f"shop/migrations/{name}.py", text)
        return f"shop.{name}"


class Alembic(Project):
    framework = "fastapi"

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(folder, url.replace("postgresql:", "postgresql+psycopg:"))
        self.write("alembic.ini", "[alembic]\nscript_location = steps\nprepend_sys_path = .\n")
        self.write("steps/env.py", ENVIRONMENT)
        self.write("steps/versions/.keep", "")

    def sql(self, text: str) -> list[t.Any]:
        with psycopg.connect(self.url.replace("+psycopg", ""), autocommit=True) as connection:
            cursor = connection.execute(t.cast(t.Any, text))
            return cursor.fetchall() if cursor.description else []

    def add(self, name: str, sql: str, atomic: bool = True) -> str:
        run = f"op.execute({sql!r})"
        apart = f"with op.get_context().autocommit_block():\n        {run}"
        return self.operation(name, run if atomic else apart)

    def operation(self, name: str, operation: str) -> str:
        before = repr(self.names[-1]) if self.names else "None"
        self.names.append(name)
        text = ALEMBIC.format(name=name, before=before, operation=operation)
        self.write(f"steps/versions/{name}.py", text)
        return name
