"""Whether an application connects as a transaction pooler needs it: asked, read, and judged."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import json
import subprocess
import sys
import types
import typing as t
from pathlib import Path

import pytest
import sqlalchemy
from ansible_collections.slipway.stack.plugins.module_utils import (
    _health,
    _health_pooling,
    _pooling_question,
)

GOOD = {"name": "shop", "port": "6432", "prepares": False, "kept": False}
GOOD |= {"max_age": 0, "cursors": False, "pool": 0}
SETTINGS = """
from django.conf import settings
settings.configure(DATABASES={{
    "default": {{"ENGINE": "django.db.backends.postgresql", "NAME": "shop", "PORT": "6432"{more}}},
    "cache": {{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
}})
"""


def judged(*found: dict[str, t.Any], **options: t.Any) -> list[_health.Finding]:
    check = {
        **{name: spec.get("default") for name, spec in _health_pooling.OPTIONS.items()},
        **{"application": "shop", "module": "shop.wsgi", "label": "pooling shop"},
        **options,
    }
    said = f"warning\n{_pooling_question.MARK}{json.dumps(found)}\nmore"
    return _health_pooling.probe(check, _health.Deadline(5), lambda *_: said)


def test_what_a_pooler_needs_is_well() -> None:
    (finding,) = judged(GOOD)
    assert (finding.state, finding.check) == ("ok", "pooling shop shop")


@pytest.mark.parametrize(
    ("change", "state", "value", "advice"),
    [
        ({"prepares": True}, "critical", "prepares statements", "OPTIONS['prepare_threshold']"),
        ({"cursors": True}, "warning", "server-side cursors", "DISABLE_SERVER_SIDE_CURSORS = True"),
        ({"max_age": 60}, "warning", "keeps connections for 60 s", "CONN_MAX_AGE = 0"),
        ({"max_age": None}, "warning", "keeps connections for ever", "CONN_MAX_AGE = 0"),
        ({"prepares": True, "max_age": 1}, "critical", "keeps", "= None, CONN_MAX_AGE = 0"),
    ],
)
def test_what_a_pooler_cannot_carry_is_told_with_its_remedy(
    change: dict[str, t.Any], state: str, value: str, advice: str
) -> None:
    (finding,) = judged({**GOOD, **change})
    assert finding.state == state
    assert value in finding.value
    assert advice in finding.advice


@pytest.mark.parametrize(
    ("pool", "given", "value"),
    [
        (0, 35, ""),
        (35, 35, ""),
        (100, 0, ""),
        (-1, 0, ""),
        (36, 35, "each process keeps up to 36 connections, more than the 35 that the pooler gives"),
        (-1, 35, "each process keeps any number of connections, more than the 35 that the pooler"),
    ],
)
def test_a_pool_that_is_larger_than_that_of_the_pooler_is_told(
    pool: int, given: int, value: str
) -> None:
    (finding,) = judged({**GOOD, "pool": pool}, pool_size=given)
    assert finding.state == ("warning" if value else "ok")
    assert value in finding.value
    assert ("a pool of at most 35" in finding.advice) == bool(value)


@pytest.mark.parametrize(
    ("told", "pool"),
    [
        (None, 0),
        (False, 0),
        (True, 4),
        ({"min_size": 20}, 20),
        ({"min_size": 20, "max_size": 50}, 50),
        ({"max_size": None}, 4),
    ],
)
def test_djangos_pool_is_as_large_as_psycopg_makes_it(told: t.Any, pool: int) -> None:
    assert _pooling_question.django_pool(told) == pool


@pytest.mark.parametrize(
    ("options", "pool"),
    [
        ({}, 15),
        ({"pool_size": 50, "max_overflow": 50}, 100),
        ({"max_overflow": -1}, -1),
        ({"pool_size": 0}, -1),
        ({"poolclass": sqlalchemy.pool.NullPool}, 0),
    ],
)
def test_an_engines_pool_is_counted_with_its_overflow(options: dict[str, t.Any], pool: int) -> None:
    engine = sqlalchemy.create_engine("postgresql+psycopg://db:6432/shop", **options)
    assert _pooling_question.pool(engine.pool) == pool


def test_only_connections_through_the_pool_are_judged() -> None:
    (finding,) = judged(GOOD, {**GOOD, "name": "other", "port": "5432", "prepares": True})
    assert (finding.state, finding.check) == ("ok", "pooling shop shop")


@pytest.mark.parametrize(
    ("found", "framework", "value", "advice"),
    [
        ([], "django", "its settings have no database of PostgreSQL", "let DATABASES follow"),
        ([], "fastapi", "importing shop.wsgi makes no engine of SQLAlchemy", "make the engine"),
        ([], "none", "importing shop.wsgi makes no engine of SQLAlchemy", "make the engine"),
        (
            [{**GOOD, "port": "5432"}, {**GOOD, "name": "old", "port": "None"}],
            "django",
            "no connection leads to port 6432, but shop to 5432, old to None",
            "let DATABASES follow",
        ),
    ],
)
def test_where_nothing_could_be_looked_at_nothing_is_said_to_be_well(
    found: list[dict[str, t.Any]], framework: str, value: str, advice: str
) -> None:
    (finding,) = judged(*found, framework=framework)
    assert (finding.state, finding.check, finding.value) == ("unknown", "pooling shop", value)
    assert advice in finding.advice
    assert "stack_health" in finding.advice
    (allowed,) = judged(*found, framework=framework, unseen_allowed=True)
    assert (allowed.state, allowed.value) == ("ok", f"{value}; that is allowed")


def test_a_pooler_that_keeps_prepared_statements_may_be_sent_them() -> None:
    (finding,) = judged({**GOOD, "prepares": True, "kept": True})
    assert finding.state == "ok"


def test_engines_have_a_remedy_of_their_own() -> None:
    (finding,) = judged(
        {"name": "shop", "port": "6432", "prepares": True, "kept": False},
        framework="fastapi",
        home="/srv/shop",
    )
    assert "statement_cache_size=0" in finding.advice
    assert "before 0.31 also prepared_statement_cache_size=0" in finding.advice


def test_an_application_that_cannot_be_imported_is_unknown() -> None:
    check = {"application": "shop", "home": None, "module": "shop.wsgi", "framework": "django"}
    (finding,) = _health_pooling.probe(
        {**check, "label": "pooling shop"}, _health.Deadline(5), lambda *_: "ImportError: no shop"
    )
    assert (finding.state, finding.value) == ("unknown", "ImportError: no shop")


def asked(tmp_path: Path, body: str, framework: str) -> list[dict[str, t.Any]]:
    """The program as it runs in a release, with the real Django and the real SQLAlchemy."""
    (tmp_path / "shop.py").write_text(body)
    command = [sys.executable, "-c", inspect.getsource(_pooling_question), "shop", framework]
    environment = {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return t.cast("list[dict[str, t.Any]]", json.loads(done.stdout.split(" ", 1)[1]))


def test_django_as_it_is_by_default_and_told_otherwise(tmp_path: Path) -> None:
    (plain,) = asked(tmp_path, SETTINGS.format(more=""), "django")
    assert plain == {
        "name": "default",
        "port": "6432",
        "prepares": False,
        "kept": False,
        "max_age": 0,
        "cursors": True,
        "pool": 0,
    }
    more = """, "CONN_MAX_AGE": None, "DISABLE_SERVER_SIDE_CURSORS": True,
        "OPTIONS": {"prepare_threshold": 5}"""
    (told,) = asked(tmp_path, SETTINGS.format(more=more), "django")
    assert (told["prepares"], told["max_age"], told["cursors"]) == (True, None, False)


def test_engines_as_they_are_by_default_and_told_otherwise(tmp_path: Path) -> None:
    made = "import sqlalchemy; engine = sqlalchemy.create_engine('postgresql+{}://db:6432/shop'{})"
    arguments = ", connect_args={'prepare_threshold': None}"
    for driver, told, prepares in (
        ("psycopg", "", True),
        ("psycopg", arguments, False),
        ("psycopg2", "", False),
    ):
        (found,) = asked(tmp_path, made.format(driver, told), "fastapi")
        wanted = {"name": "shop", "port": "6432", "prepares": prepares, "kept": False}
        assert found == {**wanted, "pool": 15}


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib, "import_module", lambda name: None)


def test_without_sqlalchemy_there_is_nothing_to_see(
    shop: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy.engine", None)
    _pooling_question.main("shop", "none")
    assert capsys.readouterr().out == f"{_pooling_question.MARK}[]\n"


def test_an_engine_of_this_process_is_seen(shop: None, capsys: pytest.CaptureFixture[str]) -> None:
    engine = sqlalchemy.create_engine("postgresql+psycopg://db:6432/seen")
    _pooling_question.main("shop", "fastapi")
    (found,) = [
        each
        for each in json.loads(capsys.readouterr().out.removeprefix(_pooling_question.MARK))
        if each["name"] == "seen"
    ]
    assert found["prepares"] is True
    assert engine.url.port == 6432


@pytest.mark.parametrize(("said", "kept"), [("true", True), ("false", False), ("", False)])
def test_the_environment_says_what_the_pooler_keeps(
    said: str,
    kept: bool,
    shop: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DATABASE_PREPARED_STATEMENTS", said)
    engine = sqlalchemy.create_engine("postgresql+psycopg://db:6432/kept")
    _pooling_question.main("shop", "fastapi")
    found = json.loads(capsys.readouterr().out.removeprefix(_pooling_question.MARK))
    assert {each["kept"] for each in found} == {kept}
    assert engine.url.database == "kept"


def test_djangos_databases_of_this_process_are_seen(
    shop: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = {"ENGINE": "django.db.backends.postgresql", "PORT": 6432, "OPTIONS": {}}
    known |= {"CONN_MAX_AGE": 0, "DISABLE_SERVER_SIDE_CURSORS": True}
    other = {"ENGINE": "django.db.backends.sqlite3"}
    database = types.ModuleType("django.db")
    database.connections = {  # type: ignore[attr-defined]
        "default": types.SimpleNamespace(settings_dict=known),
        "other": types.SimpleNamespace(settings_dict=other),
    }
    monkeypatch.setitem(sys.modules, "django.db", database)
    _pooling_question.main("shop", "django")
    (found,) = json.loads(capsys.readouterr().out.removeprefix(_pooling_question.MARK))
    assert found == {**GOOD, "name": "default"}


NAMELESS = {"prepared_statement_name_func": lambda: ""}


@pytest.mark.parametrize(
    ("version", "query", "arguments", "prepares"),
    [
        ("0.31.0", {}, {}, True),
        ("0.31.0", {}, {"statement_cache_size": 0}, False),
        ("1.0", {"statement_cache_size": "0"}, {}, False),
        ("0.31.0", {}, {"statement_cache_size": 50}, True),
        ("0.30.0", {}, {"statement_cache_size": 0}, True),
        ("0.30.0", {}, {"statement_cache_size": 0, "prepared_statement_cache_size": 0}, True),
        ("0.30.0", {}, {"statement_cache_size": 0, **NAMELESS}, True),
        (
            "0.30.0",
            {"prepared_statement_cache_size": "0"},
            {"statement_cache_size": 0, **NAMELESS},
            False,
        ),
        ("0.30.0", {}, {"prepared_statement_cache_size": 0, **NAMELESS}, True),
        ("", {}, {"statement_cache_size": 0}, True),
    ],
)
def test_asyncpg_keeps_statements_unless_its_caches_are_off(
    version: str,
    query: dict[str, str],
    arguments: dict[str, t.Any],
    prepares: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A mock of an engine: asyncpg itself is not among the dependencies of these tests."""

    def installed(name: str) -> str:
        if not version:
            raise importlib.metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(importlib.metadata, "version", installed)

    def creator(cparams: dict[str, t.Any]) -> t.Callable[[], t.Any]:
        return lambda: cparams

    engine = types.SimpleNamespace(
        dialect=types.SimpleNamespace(driver="asyncpg"),
        url=types.SimpleNamespace(query=query),
        pool=types.SimpleNamespace(_creator=creator(arguments)),
    )
    assert _pooling_question.prepares(engine) is prepares
