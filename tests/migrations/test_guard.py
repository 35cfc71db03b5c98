# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Migrations good and bad, by Django and by Alembic themselves, on a real PostgreSQL."""

from __future__ import annotations

import dataclasses
import os
import typing as t

import psycopg
import pytest
from ansible_collections.slipway.stack.plugins.module_utils import (
    _migration_talk,
    _postgres,
    _psql,
)
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError
from ansible_collections.slipway.stack.plugins.modules import postgres_objects

from ..verification import database as postgres
from .conftest import BASE
from .projects import Alembic, Django, Project


def test_a_new_database_may_do_everything(new: Project) -> None:
    new.add("drop", "ALTER TABLE item DROP COLUMN title")
    assert new.migrate().trouble == ""
    noted, done = new.noted
    assert (noted.before, noted.after, len(done.applied)) == ("", "", 2)
    assert done.after.endswith("drop")
    assert new.sql("SELECT id, price FROM item") == []


def test_what_is_pending_runs_once(project: Project) -> None:
    name = project.add("note", "ALTER TABLE item ADD COLUMN note text")
    done = project.migrate()
    assert (done.applied, done.breaking, done.trouble) == ((name,), (), "")
    assert done.before.endswith("first")
    assert done.after == name
    again = project.migrate()
    assert (again.before, again.after, again.output) == (name, name, "")


def test_a_restore_point_is_set_where_there_is_an_archive(project: Project) -> None:
    project.add("note", "ALTER TABLE item ADD COLUMN note text")
    assert project.migrate().point.startswith("0/")


def test_who_owns_a_database_of_ours_sets_restore_points(
    new: Project, server: postgres.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{server.home / 'bin'}:{os.environ['PATH']}")
    name = new.url.partition("@/")[2].partition("?")[0]
    plain = {"extensions": [], "statement_timeout_seconds": 30, "connections": -1}
    entry = {"name": name, "owner": "seller", "password": "of the seller", **plain}
    declared = _postgres.declare([entry], None, [])

    def run(command: t.Sequence[str], sql: str) -> tuple[int, str, str]:
        return _psql.run(command, sql, {"PGUSER": "postgres"})

    ours = _psql.Psql(5432, run, user="root", socket=str(server.place))
    point = f"database {name}: let its owner set restore points"
    seller = new.url.replace("postgres@", "seller@")
    steps, _found = postgres_objects.keep_ours(ours, declared, predicting=False)
    assert point in [step.what for step in steps]
    assert postgres_objects.keep_ours(ours, declared, predicting=False)[0] == []
    assert new.migrate(url=seller).point.startswith("0/")


def test_one_that_fails_half_way_leaves_what_was_complete(project: Project) -> None:
    good = project.add("good", "ALTER TABLE item ADD COLUMN good text")
    project.add("bad", "ALTER TABLE item ADD COLUMN bad text; INSERT INTO item VALUES (1 / 0)")
    done = project.migrate()
    assert done.before.endswith("first")
    assert done.after == good
    assert f"failed. The schema stands at {good}, and was at {done.before}." in done.trouble
    assert "division by zero" in done.output
    columns = "SELECT column_name FROM information_schema.columns WHERE table_name = 'item'"
    assert ("good",) in project.sql(columns)
    assert ("bad",) not in project.sql(columns)


def test_one_that_waits_in_vain_lets_everybody_else_go_on(project: Project) -> None:
    name = project.add("note", "ALTER TABLE item ADD COLUMN note text")
    pauses: list[float] = []
    with psycopg.connect(project.url.replace("+psycopg", "")) as holder:
        holder.execute("SELECT * FROM item")
        done = project.migrate(pauses.append, attempts=3)
        assert "failed after 3 attempts. The schema stands where it was" in done.trouble
        assert pauses == [1, 2]

        def end(_seconds: float) -> None:
            holder.rollback()

        done = project.migrate(end)
    assert (done.trouble, done.after) == ("", name)


def test_one_that_blocks_runs_at_the_operators_word_alone(project: Project) -> None:
    name = project.add("quick", "CREATE INDEX quick ON item (price)")
    with pytest.raises(StackError) as refusal:
        project.migrate()
    said = str(refusal.value)
    assert said.startswith(f"Migration {name} of shop builds an index while nobody may write")
    assert "CREATE INDEX quick ON item ( price )" in said
    assert said.endswith(f"-e allow_migrations={name}.")
    assert project.sql("SELECT to_regclass('quick')") == [(None,)]
    done = project.migrate(allowed=frozenset({name}))
    # An index breaks nobody, but SET NOT NULL, which blocks as well, does.
    assert (done.trouble, done.breaking, done.after) == ("", (name,), name)


def test_one_that_breaks_is_remembered(project: Project) -> None:
    name = project.add("drop", "ALTER TABLE item DROP COLUMN title")
    with pytest.raises(StackError, match="drops what the serving release may use"):
        project.migrate()
    assert project.migrate(allowed=frozenset({name})).breaking == (name,)


def test_code_from_before_one_that_breaks_is_refused(django: Django) -> None:
    """Django itself runs happily on a database that has gone further than its code."""
    django.add("first", BASE)
    assert django.migrate().trouble == ""
    name = django.add("drop", "ALTER TABLE item DROP COLUMN price")
    assert django.migrate(allowed=frozenset({name})).breaking == (name,)
    assert django.migrate(broken=frozenset({name})).trouble == ""
    (django.folder / "shop/migrations/0002_drop.py").unlink()
    with pytest.raises(
        StackError, match=r"code is older than shop\.0002_drop, which has run"
    ) as no:
        django.migrate(broken=frozenset({name}))
    assert f"-e allow_migrations={name}." in str(no.value)
    assert django.migrate(broken=frozenset({name}), allowed=frozenset({name})).trouble == ""
    assert django.migrate().trouble == ""


def test_code_that_has_squashed_its_migrations_is_no_older(django: Django) -> None:
    django.add("first", BASE)
    name = django.add("drop", "ALTER TABLE item DROP COLUMN price")
    assert django.migrate().trouble == ""
    for each in django.names:
        (django.folder / f"shop/migrations/{each}.py").unlink()
    replaced = [("shop", each) for each in django.names]
    django.names = []
    django.operation("squashed", f"]\n    replaces = {replaced}\n    operations = [")
    assert django.migrate(broken=frozenset({name})).trouble == ""


def test_alembic_itself_refuses_a_database_that_has_gone_further(alembic: Alembic) -> None:
    alembic.add("first", BASE)
    alembic.add("second", "ALTER TABLE item ADD COLUMN note text")
    assert alembic.migrate().trouble == ""
    (step,) = alembic.folder.rglob("*second*.py")
    step.unlink()
    with pytest.raises(StackError, match="Can't locate revision identified by 'second'"):
        alembic.migrate()


def test_nobody_migrates_beside_another(project: Project) -> None:
    project.add("note", "ALTER TABLE item ADD COLUMN note text")
    with project.guard(project.order()) as first:
        assert first("lock") == {"locked": True}
        with pytest.raises(StackError, match="Somebody else migrates the database of shop"):
            project.migrate()
    assert project.migrate().trouble == ""


def test_who_is_killed_keeps_the_lock_until_the_migration_ends(project: Project) -> None:
    order = dataclasses.replace(project.order(), command="sleep 15")
    with project.started(order) as process:
        assert process.stdin and process.stdout
        assert _migration_talk.answer(process, "lock", {}) == {"locked": True}
        process.stdin.write("run\n")
        process.stdin.close()
        process.stdout.close()
        with pytest.raises(StackError, match="Somebody else"):
            project.migrate()
    assert project.migrate().trouble == ""


def test_half_of_an_index_is_reported(project: Project) -> None:
    project.sql("INSERT INTO item VALUES (1, 'a', 1), (2, 'a', 1)")
    sql = "CREATE UNIQUE INDEX CONCURRENTLY only_one ON item (title)"
    name = project.add("only_one", sql, atomic=False)
    done = project.migrate(allowed=frozenset({name}))
    assert "get rid of it with DROP INDEX CONCURRENTLY only_one;" in done.trouble
    assert "could not create unique index" in done.output


def test_limits_that_do_not_arrive_are_refused(project: Project) -> None:
    project.add("note", "ALTER TABLE item ADD COLUMN note text")
    with pytest.raises(StackError, match="run with lock_timeout=0, statement_timeout=0 in spite"):
        project.migrate(url=f"{project.url}&options=-c%20lock_timeout%3D0")


def test_an_application_that_cannot_start_says_why(django: Django, alembic: Alembic) -> None:
    django.write("settings.py", "import nothing_like_that")
    alembic.write("steps/env.py", "import nothing_like_that")
    for project in (django, alembic):
        with pytest.raises(StackError, match="No module named 'nothing_like_that'"):
            project.migrate()


def test_what_django_makes_of_its_own_operations(django: Django) -> None:
    fields = "[('id', models.BigAutoField(primary_key=True)), ('title', models.TextField())]"
    django.operation("first", f"migrations.CreateModel('Item', {fields})")
    assert django.migrate().trouble == ""
    index = "models.Index(fields=['title'], name='by_title')"
    default = "models.IntegerField(default=3)"
    python = "migrations.RunPython(lambda apps, editor: None)"
    named = [
        django.operation("filled", f"migrations.AddField('item', 'price', {default})"),
        django.operation("index", f"migrations.AddIndex('item', {index})"),
    ]
    django.operation("python", python)
    django.operation(
        "created",
        f"migrations.CreateModel('Bid', {fields}),"
        " migrations.AddField('bid', 'item', models.ForeignKey('shop.Item', models.CASCADE)),"
        " migrations.AddField('item', 'stays', models.IntegerField(db_default=3)),"
        " migrations.AddField('item', 'note', models.TextField(null=True))",
    )
    with pytest.raises(StackError, match="leaves a NOT NULL column without a default") as refusal:
        django.migrate()
    assert str(refusal.value).endswith(
        f"allow_migrations={','.join(named)}. 1 more of its kind are pending."
    )
    done = django.migrate(allowed=frozenset(named))
    assert (done.trouble, done.breaking) == ("", tuple(named))


def test_what_alembic_cannot_show_is_refused(alembic: Alembic) -> None:
    alembic.operation("first", "op.create_table('item', sa.Column('id', sa.Integer))")
    assert alembic.migrate().trouble == ""
    asks = "sa.inspect(op.get_bind()).get_table_names()"
    alembic.operation("asks", asks)
    with pytest.raises(StackError, match="does what cannot be shown as SQL"):
        alembic.migrate()
    done = alembic.migrate(allowed=frozenset({"asks"}))
    assert (done.trouble, done.breaking) == ("", ("asks",))
