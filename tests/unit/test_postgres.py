"""What the plan holds for a server that is new, as declared, or almost as declared."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _errors, _postgres, _scram

POOLER = {"user": "pooler", "password": "pool"}


def entry(name: str = "shop", **differences: t.Any) -> dict[str, t.Any]:
    plain: dict[str, t.Any] = {
        "name": name,
        "owner": None,
        "password": "secret",
        "extensions": ["pg_trgm"],
        "statement_timeout_seconds": 30,
        "connections": 35,
    }
    return {**plain, **differences}


def declare(*entries: dict[str, t.Any]) -> _postgres.Declared:
    return _postgres.declare(list(entries or (entry(),)), POOLER, ["pg_stat_statements"])


def role(password: str, **differences: t.Any) -> dict[str, t.Any]:
    verifier = _scram.verifier(password, iterations=1)
    return {"plain": True, "connections": -1, "verifier": verifier, **differences}


def database(owner: str, *grants: str, settings: t.Any = None) -> dict[str, t.Any]:
    return {"owner": owner, "grants": [owner, *grants], "settings": settings or {}}


def content(*extensions: str, lookup: t.Any = None, schemas: t.Any = None) -> dict[str, t.Any]:
    public = {"owner": "pg_database_owner", "grants": ["public=USAGE"]}
    slipway = {"owner": "postgres", "grants": ["pooler=USAGE"]}
    return {
        "extensions": ["plpgsql", *extensions],
        "available": ["plpgsql", "pg_trgm", "pg_stat_statements"],
        "schemas": {"public": public, "slipway": slipway} if schemas is None else schemas,
        "lookup": lookup or good_lookup(),
        "point_setters": ["postgres", "pg_database_owner"],
    }


def good_lookup(**differences: t.Any) -> dict[str, t.Any]:
    plain: dict[str, t.Any] = {
        "source": _postgres.LOOKUP_BODY,
        "definer": True,
        "settings": ['search_path=""'],
        "result": "TABLE(username text, password text)",
        "privileged": True,
        "grants": ["pooler"],
    }
    return {**plain, **differences}


def settled() -> dict[str, dict[str, t.Any]]:
    timeout = {"shop": ["statement_timeout=30s"]}
    return {
        "roles": {"shop": role("secret", connections=35), "pooler": role("pool")},
        "databases": {
            "postgres": database("postgres"),
            "template1": database("postgres"),
            "shop": database("shop", "pooler", settings=timeout),
        },
        "contents": {
            "postgres": content("pg_stat_statements"),
            "shop": content("pg_trgm"),
        },
    }


def plan(found: dict[str, t.Any], declared: _postgres.Declared | None = None) -> list[str]:
    steps = _postgres.plan(declared or declare(), _postgres.Found(version=170000, **found))
    return [step.sql for step in steps]


def test_a_settled_server_needs_nothing() -> None:
    assert plan(settled()) == []


def test_a_new_server_gets_everything_in_an_order_that_works() -> None:
    steps = _postgres.plan(declare(), _postgres.Found())
    assert [step.what for step in steps] == [
        "role shop: create it, limit it to 35 connections, set its password",
        "role pooler: create it, set its password",
        "database postgres: close it to everybody who was not named",
        "database template1: close it to everybody who was not named",
        "database postgres: create extension pg_stat_statements",
        "database shop: create it, owned by shop",
        "database shop: close it to everybody who was not named",
        "database shop: let pooler connect",
        "database shop: cancel statements after 30s",
        "database shop: create extension pg_trgm",
        "database shop: create slipway.user_lookup for pooler",
        "database shop: let its owner set restore points",
    ]


def test_no_step_carries_a_password() -> None:
    steps = _postgres.plan(declare(entry(password="canary-1")), _postgres.Found())
    assert "canary-1" not in _postgres.script(steps) + "".join(step.what for step in steps)
    assert not any("SCRAM" in step.what for step in steps)


@pytest.mark.parametrize(
    ("change", "sql"),
    [
        (
            lambda found: found["roles"].update(shop=role("secret", connections=35, plain=False)),
            f'ALTER ROLE "shop" {_postgres.ATTRIBUTES}',
        ),
        (
            lambda found: found["roles"]["shop"].update(connections=-1),
            'ALTER ROLE "shop" CONNECTION LIMIT 35',
        ),
        (
            lambda found: found["databases"]["shop"].update(owner="old"),
            'ALTER DATABASE "shop" OWNER TO "shop"',
        ),
        (
            lambda found: found["databases"]["shop"]["grants"].append("public"),
            'REVOKE ALL ON DATABASE "shop" FROM PUBLIC',
        ),
        (
            lambda found: found["databases"]["postgres"]["grants"].append("public"),
            'REVOKE ALL ON DATABASE "postgres" FROM PUBLIC',
        ),
        (
            lambda found: found["databases"]["shop"]["grants"].remove("pooler"),
            'GRANT CONNECT ON DATABASE "shop" TO "pooler"',
        ),
        (
            lambda found: found["databases"]["shop"].update(settings={"shop": ["a=b"]}),
            'ALTER ROLE "shop" IN DATABASE "shop" SET statement_timeout = \'30s\'',
        ),
        (
            lambda found: found["contents"]["shop"]["extensions"].remove("pg_trgm"),
            'CREATE EXTENSION IF NOT EXISTS "pg_trgm" CASCADE',
        ),
        (
            lambda found: found["contents"]["shop"]["schemas"]["public"].update(owner="postgres"),
            'ALTER SCHEMA public OWNER TO "pg_database_owner"',
        ),
        (
            lambda found: found["contents"]["shop"]["schemas"]["public"]["grants"].append(
                "public=CREATE"
            ),
            "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        ),
        (
            lambda found: found["contents"]["shop"]["point_setters"].remove("pg_database_owner"),
            "GRANT EXECUTE ON FUNCTION pg_catalog.pg_create_restore_point(text)"
            ' TO "pg_database_owner"',
        ),
    ],
)
def test_one_difference_needs_one_statement(change: t.Callable[[t.Any], None], sql: str) -> None:
    found = settled()
    change(found)
    assert plan(found) == [sql]


def test_another_password_is_set_as_a_verifier() -> None:
    found = settled()
    found["roles"]["shop"] = role("older", connections=35)
    (sql,) = plan(found)
    assert sql.startswith('ALTER ROLE "shop" PASSWORD \'SCRAM-SHA-256$4096:')
    assert _scram.matches("secret", sql.split("'")[1])


@pytest.mark.parametrize(
    "difference",
    [
        {"source": "SELECT 1"},
        {"definer": False},
        {"settings": None},
        {"result": "text"},
        {"privileged": False},
        {"grants": ["pooler", "public"]},
        {"grants": []},
    ],
)
def test_a_look_up_that_differs_is_made_anew(difference: dict[str, t.Any]) -> None:
    found = settled()
    found["contents"]["shop"]["lookup"] = good_lookup(**difference)
    (sql,) = plan(found)
    assert "REVOKE ALL ON FUNCTION slipway.user_lookup(text) FROM PUBLIC" in sql


def test_an_earlier_pooler_loses_the_look_up() -> None:
    found = settled()
    found["contents"]["shop"]["schemas"]["slipway"]["grants"] = ["old=USAGE", "pooler=USAGE"]
    assert 'REVOKE ALL ON SCHEMA slipway FROM "old"' in plan(found)[0]


def test_one_owner_is_shut_out_of_the_database_of_another() -> None:
    found = settled()
    found["databases"]["shop"]["grants"].append("blog")
    statements = plan(found, declare(entry(), entry("blog")))
    assert 'REVOKE ALL ON DATABASE "shop" FROM "blog"' in statements


def test_schema_public_of_an_old_version_goes_to_the_owner() -> None:
    steps = _postgres.plan(declare(), _postgres.Found(version=130000))
    assert 'ALTER SCHEMA public OWNER TO "shop"' in [step.sql for step in steps]
    assert "REVOKE CREATE ON SCHEMA public FROM PUBLIC" in [step.sql for step in steps]
    assert steps[-1].sql.endswith('pg_create_restore_point(text) TO "shop"')


def test_an_owner_of_two_databases_may_use_the_connections_of_both() -> None:
    declared = declare(entry(), entry("blog", owner="shop", connections=5))
    steps = _postgres.plan(declared, _postgres.Found())
    assert "CONNECTION LIMIT 40" in steps[0].sql


def test_an_extension_that_is_not_installed_is_refused() -> None:
    with pytest.raises(_errors.StackError, match="extension vector of database shop is not inst"):
        plan(settled(), declare(entry(extensions=["vector"])))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([entry("Shop")], "'Shop' cannot name a database"),
        ([entry("a" * 64)], "cannot name a database"),
        ([entry('x"; DROP DATABASE y; --')], "cannot name a database"),
        ([entry("postgres")], "belongs to PostgreSQL itself"),
        ([entry(owner="pg_monitor")], "belongs to PostgreSQL itself"),
        ([entry(), entry()], "shop is declared twice"),
        ([entry(owner="pooler")], "both the pooler and the owner of shop"),
        ([entry(), entry("blog", owner="shop", password="other")], "a role has one password"),
    ],
)
def test_what_cannot_be_is_refused(entries: list[dict[str, t.Any]], message: str) -> None:
    with pytest.raises(_errors.StackError, match=message) as refusal:
        declare(*entries)
    assert "secret" not in str(refusal.value)


def test_the_script_visits_each_database_and_numbers_its_steps() -> None:
    steps = [_postgres.Step("one", "SELECT 1"), _postgres.Step("two", "SELECT 2", "shop")]
    assert _postgres.script(steps) == (
        '\\echo 0\nSELECT 1;\n\\connect "shop"\n\\echo 1\nSELECT 2;\n'
    )


def test_names_and_words_are_quoted() -> None:
    assert _postgres.identifier('a"b') == '"a""b"'
    assert _postgres.literal("it's") == "'it''s'"


def test_a_role_that_owns_two_databases_is_made_once_and_needs_no_pooler() -> None:
    blog = entry("blog", owner="shop", connections=-1)
    declared = _postgres.declare([entry(), blog], None, [])
    assert declared.roles() == ("shop",)
    steps = [step.what for step in _postgres.plan(declared, _postgres.Found())]
    assert [step for step in steps if step.startswith("role")] == [
        "role shop: create it, set its password"
    ]
    assert not any("pooler" in step for step in steps)
