# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A real server whose administrator is no superuser, as a provider's is."""

from __future__ import annotations

import dataclasses
import os
import typing as t

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import (
    _errors,
    _postgres,
    _provided,
    _psql,
)
from ansible_collections.slipway.stack.plugins.modules import postgres_objects

from . import database as postgres

ADMIN = {"user": "doadmin", "password": "the-administrators-password"}
SHOP = {"name": "shop", "password": "the-password-of-the-shop", "extensions": ["pg_trgm"]}
BLOG = {"name": "blog", "password": "the-password-of-the-blog"}


class Provider(t.NamedTuple):
    database: postgres.Database
    server: _provided.Server

    def keep(self, *databases: dict[str, t.Any], predicting: bool = False) -> list[str]:
        declared = declare(*databases)
        steps, _found = postgres_objects.keep_provided(self.server, declared, predicting=predicting)
        return [step.what for step in steps]

    def login(self, user: dict[str, t.Any], database: str) -> None:
        self.server.psql(user["name"], user["password"], database).ask("SELECT 1", attempts=1)


def declare(*databases: dict[str, t.Any]) -> _postgres.Declared:
    plain = {"owner": "", "extensions": [], "statement_timeout_seconds": 30, "connections": 5}
    return _postgres.declare([{**plain, **each} for each in databases], None, [])


class Local(_provided.Server):
    """Over a socket, where there is no TLS: the server from PyPI is built without."""

    def environment(self, user: str, password: str) -> dict[str, str]:
        return {**super().environment(user, password), "PGSSLMODE": "disable"}


@pytest.fixture(scope="module")
def started() -> t.Iterator[Provider]:
    database = postgres.serve()
    place = database.place
    try:
        hba = "local all postgres trust\nlocal all all scram-sha-256\n"
        (place / "data" / "pg_hba.conf").write_text(hba)
        ask(database, "SELECT pg_reload_conf()")
        ask(
            database,
            f"CREATE ROLE doadmin LOGIN CREATEDB CREATEROLE PASSWORD '{ADMIN['password']}'",
        )
        server = Local(str(place), 5432, **ADMIN, database="postgres", ca_file="/nonexistent")
        yield Provider(database, server)
    finally:
        postgres.remove(database)


def ask(database: postgres.Database, sql: str) -> str:
    return database.sql("postgres", sql)


@pytest.fixture
def provider(started: Provider, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Provider]:
    programs = started.database.installed / postgres.MAJOR / "bin"
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    yield started
    for name in ("shop", "blog"):
        for sql in (f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", f"DROP ROLE IF EXISTS {name}"):
            ask(started.database, sql)


def test_an_administrator_who_is_no_superuser_keeps_databases(provider: Provider) -> None:
    foreseen = provider.keep(SHOP, BLOG, predicting=True)
    done = provider.keep(SHOP, BLOG)
    assert foreseen == done
    assert "role shop: let the administrator act as it" in done
    assert "database shop: create extension pg_trgm" in done
    assert provider.keep(SHOP, BLOG) == []
    provider.login(SHOP, "shop")
    with pytest.raises(_psql.PsqlError, match="permission denied for database"):
        provider.login(SHOP, "blog")
    sql = "SELECT setconfig FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = setrole"
    told = ask(provider.database, f"{sql} WHERE rolname = 'shop'")
    assert told == "{statement_timeout=30s}"


def test_a_password_is_set_only_when_the_old_one_does_not_fit(provider: Provider) -> None:
    provider.keep(SHOP)
    changed = {**SHOP, "password": "another-password-of-the-shop"}
    assert provider.keep(changed) == ["role shop: set its password"]
    provider.login(changed, "shop")
    assert provider.keep(changed) == []


def test_a_role_without_its_database_is_believed_where_it_may_not_connect(
    provider: Provider,
) -> None:
    provider.keep(SHOP)
    ask(provider.database, "DROP DATABASE shop")
    ask(provider.database, "REVOKE CONNECT ON DATABASE postgres FROM PUBLIC")
    ask(provider.database, "GRANT CONNECT ON DATABASE postgres TO doadmin")
    try:
        done = provider.keep(SHOP)
    finally:
        ask(provider.database, "GRANT CONNECT ON DATABASE postgres TO PUBLIC")
    assert "database shop: create it, owned by shop" in done
    assert not any("password" in what for what in done)


def test_a_database_of_an_owner_whom_the_administrator_cannot_be_is_not_looked_into(
    provider: Provider,
) -> None:
    ask(provider.database, f"CREATE ROLE blog LOGIN PASSWORD '{BLOG['password']}'")
    ask(provider.database, "GRANT blog TO doadmin WITH ADMIN TRUE, INHERIT FALSE, SET FALSE")
    ask(provider.database, "CREATE DATABASE blog OWNER blog")
    ask(provider.database, "REVOKE CONNECT ON DATABASE blog FROM PUBLIC")
    done = provider.keep(BLOG)
    assert "role blog: let the administrator act as it" in done
    assert provider.keep(BLOG) == []


@pytest.mark.parametrize("more", ["CREATEDB", "NOLOGIN"])
def test_what_only_the_provider_can_take_away_is_a_sentence(provider: Provider, more: str) -> None:
    provider.keep(SHOP)
    ask(provider.database, f"ALTER ROLE shop {more}")
    with pytest.raises(_errors.StackError, match="only the provider can change that"):
        provider.keep(SHOP)


def test_a_session_over_the_network_verifies_whom_it_tells_the_password() -> None:
    server = _provided.server({**ADMIN, "host": "db", "port": 1, "database": "d", "ca_file": "/ca"})
    told = server.environment("shop", "secret")
    assert (told["PGSSLMODE"], told["PGSSLROOTCERT"]) == ("verify-full", "/ca")
    assert (told["PGUSER"], told["PGPASSWORD"]) == ("shop", "secret")
    assert "log_statement" not in told["PGOPTIONS"]


def test_without_a_client_everything_is_foreseen_as_new(
    provider: Provider,
) -> None:
    away = dataclasses.replace(provider.server, port=1)
    foreseen = Provider(provider.database, away).keep(BLOG, predicting=True)
    assert "database blog: create it, owned by blog" in foreseen


def test_a_login_that_fails_otherwise_is_no_answer(provider: Provider) -> None:
    away = dataclasses.replace(provider.server, port=1)
    (database,) = declare(BLOG).databases
    with pytest.raises(_psql.PsqlError, match="No such file"):
        _provided.fits(away, database, exists=False)


def test_an_old_server_is_a_sentence() -> None:
    with pytest.raises(_errors.StackError, match="15 or newer"):
        _provided._require_recent(140012)


def test_an_older_release_has_no_options_of_membership() -> None:
    (step, *_rest) = _provided._held_steps("shop", None, 150004)
    assert step.sql == 'GRANT "shop" TO CURRENT_USER'
