# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Servers of a provider, and the names under which an application is told of its services."""

from __future__ import annotations

import typing as t
from pathlib import Path

import fakes
import pytest
import yaml
from ansible_collections.slipway.stack.plugins.filter.health_checks import health_checks
from ansible_collections.slipway.stack.plugins.filter.resolve_applications import (
    resolve_applications,
)
from ansible_collections.slipway.stack.plugins.filter.topology import topology
from ansible_collections.slipway.stack.plugins.plugin_utils import (
    _application_environment,
    _inventory,
)
from test_applications import GOOD, GROUPS, ONE, SHOP, SHOP_SECRETS, changed

PLAYBOOKS = Path(__file__).parents[2] / "playbooks"
SECRET = "5f2c0b9e4d7a1c3f"
CA = fakes.CERTIFICATE
GARBAGE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
POSTGRES = {"host": "db.example.com", "port": 25060, "admin": "doadmin", "ca": CA}
REDIS = {"broker_url": "rediss://redis.example.com:25061/0", "user": "default", "ca": CA}
STORE = {"bucket": "shop-media", "endpoint_url": "https://s3.example.com", "holds": ["static"]}
STORE_SECRETS = {"s3_access_key": "AKIA", "s3_secret_key": "c2VjcmV0c2VjcmV0"}
HERE = {group: ["one"] for group in ("database", "application", "worker", "web")}


def resolved(
    application: dict[str, t.Any] | None = None,
    secrets: dict[str, t.Any] | None = None,
    **provided: dict[str, t.Any],
) -> dict[str, t.Any]:
    groups = HERE if provided.get("redis") else GROUPS
    placed = topology(groups, {"one": {"stack_address": "10.0.0.1"}}, "one", provided)
    declared = [application or SHOP]
    (found,) = resolve_applications(declared, {"shop": secrets or SHOP_SECRETS}, placed)
    return dict(found)


def test_migrations_go_to_the_providers_server_and_everything_else_through_the_pool() -> None:
    release = resolved(postgres=POSTGRES)["release"]
    assert "@127.0.0.1:6432/shop?sslmode=require" in release["environment"]["DATABASE_URL"]
    direct = release["migrate"]["environment"]["DATABASE_URL"]
    assert direct.endswith(
        "@db.example.com:25060/shop?sslmode=verify-full"
        "&sslrootcert=/etc/slipway/shop/authorities.pem"
    )
    assert release["authorities"] == CA


def test_what_debian_trusts_needs_no_file_of_ours() -> None:
    release = resolved(postgres=changed(POSTGRES, ca=""))["release"]
    assert release["authorities"] == ""
    url = release["migrate"]["environment"]["DATABASE_URL"]
    assert url.endswith("sslrootcert=/etc/ssl/certs/ca-certificates.crt")


def test_a_providers_redis_is_reached_over_tls_as_its_user() -> None:
    shop = resolved(changed(SHOP, celery__application="shop"), redis=REDIS)
    told = shop["release"]["environment"]
    tail = "ssl_cert_reqs=required&ssl_ca_certs=/etc/slipway/shop/authorities.pem"
    for name in ("BROKER_URL", "CELERY_BROKER_URL", "CACHE_URL", "REDIS_URL"):
        assert told[name].startswith("rediss://default:")
        assert told[name].endswith(f"@redis.example.com:25061/0?{tail}")
    assert told["REDIS_KEY_PREFIX"] == "shop:"
    # There is nobody to whom we could tell it.
    assert shop["redis_user"] == {}


def test_a_provider_with_users_and_databases_has_one_for_each_application() -> None:
    redis = {"broker_url": "redis://10.1.1.1:7000/2", "cache_url": "redis://10.1.1.1/3"}
    told = resolved(redis={**redis, "tls_required": False})["release"]
    assert told["environment"]["BROKER_URL"].startswith("redis://shop:")
    assert told["environment"]["BROKER_URL"].endswith("@10.1.1.1:7000/2")
    assert told["environment"]["CACHE_URL"].endswith("@10.1.1.1/3")


def test_an_application_reads_its_services_under_names_of_its_own() -> None:
    names = {
        "DB_HOST": "database_host",
        "DB_PORT": "database_port",
        "REDIS_HOST": "redis_host",
        "CELERY_RESULT_BACKEND": "broker_url",
        "CSRF_TRUSTED_ORIGINS": "",
    }
    release = resolved(changed(SHOP, environment_names=names), postgres=POSTGRES)["release"]
    told, direct = release["environment"], release["migrate"]["environment"]
    assert (told["DB_HOST"], told["DB_PORT"]) == ("127.0.0.1", "6432")
    assert (direct["DB_HOST"], direct["DB_PORT"]) == ("db.example.com", "25060")
    assert told["REDIS_HOST"] == "127.0.0.1"
    assert told["CELERY_RESULT_BACKEND"] == told["BROKER_URL"]
    assert "CSRF_TRUSTED_ORIGINS" not in told
    # What is the same both ways is not said twice.
    assert "REDIS_HOST" not in direct


@pytest.mark.parametrize(
    ("framework", "expected", "absent"),
    [
        ("django", "AWS_STORAGE_BUCKET_NAME", "S3_BUCKET"),
        ("fastapi", "S3_BUCKET", "AWS_STORAGE_BUCKET_NAME"),
        ("none", "S3_BUCKET", "CONN_MAX_AGE"),
    ],
)
def test_each_framework_has_its_names(framework: str, expected: str, absent: str) -> None:
    shop = changed(SHOP, framework=framework, s3=STORE)
    told = resolved(shop, {**SHOP_SECRETS, **STORE_SECRETS})["release"]["environment"]
    assert told[expected] == "shop-media"
    assert told["AWS_ACCESS_KEY_ID"] == "AKIA"
    assert absent not in told


def test_what_a_pooler_needs_is_told_to_each_framework() -> None:
    told = resolved()["release"]["environment"]
    assert (told["CONN_MAX_AGE"], told["DISABLE_SERVER_SIDE_CURSORS"]) == ("0", "true")
    told = resolved(changed(SHOP, framework="fastapi"))["release"]["environment"]
    assert (told["STATEMENT_CACHE_SIZE"], told["PREPARE_THRESHOLD"]) == ("0", "none")


def test_what_s3_holds_has_no_directory_and_nginx_does_not_serve_it() -> None:
    shop = resolved(changed(SHOP, s3=STORE), {**SHOP_SECRETS, **STORE_SECRETS})
    assert "STATIC_ROOT" not in shop["release"]["environment"]
    assert shop["release"]["environment"]["MEDIA_ROOT"] == "/srv/shop/media"
    assert [entry["path"] for entry in shop["site"]["static"]] == ["/media/"]


def test_a_server_for_node_has_files_in_s3_and_nothing_else() -> None:
    door = {key: SHOP[key] for key in ("name", "domain", "source")}
    door.update(web={"node": "server.js"}, s3=STORE)
    release = resolved(door, STORE_SECRETS, postgres=POSTGRES)["release"]
    assert release["environment"]["AWS_ENDPOINT_URL_S3"] == "https://s3.example.com"
    assert "DATABASE_URL" not in release["environment"]
    assert release["authorities"] == ""


def test_every_name_holds_a_fact_that_there_is() -> None:
    for names in _application_environment.NAMES.values():
        assert set(names.values()) <= set(_application_environment.FACTS)


ARCHIVED = {
    "backup_s3": {"bucket": "backups"},
    "backup_s3_secrets": {"access_key": "key", "secret_key": SECRET},
    "backup_cipher_pass": SECRET,
}
PROVIDED = {
    **GOOD,
    "postgres": POSTGRES,
    "postgres_password": SECRET,
    "redis": REDIS,
    "pgbouncer_password": None,
    "redis_admin_password": None,
    **ARCHIVED,
    # A provider decides them.
    "postgres_settings": {"max_connections": 1},
}


def test_authorities_may_be_several_and_have_remarks() -> None:
    ca = f"# Do fornecedor, até 2030.\n{CA}\n# Next.\n{CA}"
    given = {**PROVIDED, "postgres": {**POSTGRES, "ca": ca}}
    assert _inventory.problems(given, HERE, ONE) == []


def test_a_providers_servers_need_none_of_the_secrets_of_ours() -> None:
    assert _inventory.problems(PROVIDED, HERE, ONE) == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"postgres_password": ""}, "vault_stack_postgres_password is missing"),
        ({"backup_cipher_pass": ""}, "vault_stack_backup_cipher_pass is missing"),
        ({"postgres": {"admin": "postgres"}}, "stack_postgres.host is missing"),
        ({"postgres": {**POSTGRES, "host": "https://db"}}, "stack_postgres.host is 'https://db'"),
        ({"postgres": {**POSTGRES, "ca": "rds.pem"}}, "stack_postgres.ca is 'rds.pem'; write cert"),
        (
            {"postgres": {**POSTGRES, "ca": GARBAGE}},
            "block (|), from '-----BEGIN CERTIFICATE-----'",
        ),
        ({"postgres": {**POSTGRES, "ca": CA + GARBAGE}}, "stack_postgres.ca is '-----BEGIN CERT"),
        ({"postgres": {**POSTGRES, "ca": CA[:-30]}}, "stack_postgres.ca is '-----BEGIN CERT"),
        ({"redis": {**REDIS, "ca": CA.replace("\n", " ")}}, "stack_redis.ca is '-----BEGIN CERT"),
        ({"redis": {"broker_url": "rediss://u:p@host"}}, "credentials belong into the vault"),
        ({"redis": {"broker_url": "host:6379"}}, "stack_redis.broker_url is 'host:6379'"),
    ],
)
def test_a_wrong_server_of_a_provider_is_one_sentence(
    changes: dict[str, t.Any], sentence: str
) -> None:
    (problem,) = _inventory.problems({**PROVIDED, **changes}, HERE, ONE)
    assert sentence in problem
    assert "u:p@" not in problem


@pytest.mark.parametrize(
    ("redis", "sentence"),
    [
        (
            {"broker_url": "redis://redis.example.com:6379/0"},
            "stack_redis.broker_url is 'redis://redis.example.com:6379/0', which sends passwords"
            " and data in clear text; write rediss://, or add stack_redis.tls_required: false where"
            " nothing but a private network lies between.",
        ),
        ({"broker_url": "redis://10.1.1.1/0"}, "stack_redis.broker_url is 'redis://10.1.1.1/0'"),
        (
            {"broker_url": REDIS["broker_url"], "cache_url": "redis://redis.example.com/1"},
            "stack_redis.cache_url is 'redis://redis.example.com/1', which sends",
        ),
        (
            {"broker_url": "redis://8.8.8.8/0", "tls_required": False},
            "stack_redis.broker_url is 'redis://8.8.8.8/0', which sends passwords and data in clear"
            " text over the internet; write rediss://.",
        ),
        ({"broker_url": "redis://redis.internal/0", "tls_required": False}, ""),
        ({"broker_url": "redis://10.1.1.1/0", "tls_required": False}, ""),
        ({"broker_url": REDIS["broker_url"], "tls_required": False}, ""),
        # A tunnel that ends on each machine.
        ({"broker_url": "redis://localhost:6379/0", "cache_url": "redis://127.0.0.1:6380"}, ""),
    ],
)
def test_a_providers_redis_is_not_asked_in_clear_text(
    redis: dict[str, t.Any], sentence: str
) -> None:
    found = _inventory.problems({**PROVIDED, "redis": redis}, HERE, ONE)
    assert len(found) == bool(sentence)
    assert "".join(found).startswith(sentence)


@pytest.mark.parametrize("mode", ["disable", "prefer", "require", "verify-ca"])
def test_a_providers_postgresql_is_always_verified(mode: str) -> None:
    health = {"health": {"postgres": {"sslmode": mode}}}
    (problem,) = _inventory.problems({**PROVIDED, **health}, HERE, ONE)
    assert problem == (
        f"stack_health.postgres.sslmode is '{mode}', but the server of stack_postgres always"
        " has to prove who it is; remove it, or write verify-full."
    )
    # What has no network between may be asked as one likes.
    assert _inventory.problems({**GOOD, **health}, GROUPS, ONE) == []
    same = {"health": {"postgres": {"sslmode": "verify-full"}}}
    assert _inventory.problems({**PROVIDED, **same}, HERE, ONE) == []


def test_a_providers_files_are_not_fetched_in_clear_text() -> None:
    store = {**STORE, "endpoint_url": "http://s3.example.com"}
    secrets = {"shop": {**SHOP_SECRETS, **STORE_SECRETS}}
    given = {**GOOD, "applications": [changed(SHOP, s3=store)], "secrets": secrets}
    (problem,) = _inventory.problems(given, GROUPS, ONE)
    assert problem.endswith("; write https, or what it holds would cross the network readable.")
    local = {**STORE, "endpoint_url": "http://127.0.0.1:9000"}
    given["applications"] = [changed(SHOP, s3=local)]
    assert _inventory.problems(given, GROUPS, ONE) == []


BLOG = {**SHOP, "name": "blog", "domain": "blog.example.com", "redirects": []}


def both(**blog: t.Any) -> dict[str, t.Any]:
    """The shop and a blog, whose secrets are the shop's but for what is said here."""
    secrets = {"shop": SHOP_SECRETS, "blog": {**SHOP_SECRETS, **blog}}
    return {**PROVIDED, "applications": [SHOP, BLOG], "secrets": secrets}


def test_who_shares_a_user_of_redis_shares_its_password() -> None:
    assert _inventory.problems(both(), HERE, ONE) == []
    (problem,) = _inventory.problems(both(redis_password="another" * 3), HERE, ONE)
    assert problem == (
        "vault_stack_applications.blog.redis_password is not that of shop, but stack_redis.user"
        " 'default' has one password; write the same, or leave user out where the provider has a"
        " user for each."
    )
    own = {**REDIS, "user": ""}
    apart = {**both(redis_password="another" * 3), "redis": own}
    assert _inventory.problems(apart, HERE, ONE) == []


@pytest.mark.parametrize(
    ("database", "changes", "sentence"),
    [
        ("", {"admin": "shop"}, "stack_postgres.admin is 'shop', which is the owner of a database"),
        ("main", {"admin": "main"}, "stack_postgres.admin is 'main', which is the owner of a"),
        ("main", {"admin": "shop"}, ""),
        ("", {"database": "shop"}, "stack_postgres.database is 'shop', which is an application's"),
        ("main", {"database": "main"}, "stack_postgres.database is 'main', which is an applic"),
        (
            "",
            {"database": "template1"},
            "stack_postgres.database is 'template1'; write the database that",
        ),
        (
            "",
            {"database": "template0"},
            "stack_postgres.database is 'template0'; write the database that",
        ),
        ("", {"database": "defaultdb"}, ""),
    ],
)
def test_a_providers_administrator_is_none_of_the_applications(
    database: str, changes: dict[str, str], sentence: str
) -> None:
    shop = changed(SHOP, database__name=database)
    given = {**PROVIDED, "applications": [shop], "postgres": {**POSTGRES, **changes}}
    found = _inventory.problems(given, HERE, ONE)
    assert len(found) == bool(sentence)
    assert sentence in "".join(found)


@pytest.mark.parametrize("given", [None, {}])
def test_what_is_empty_is_not_a_providers(given: t.Any) -> None:
    assert _inventory.problems({**GOOD, "postgres": given, "redis": given}, GROUPS, ONE) == []
    placed = topology(GROUPS, {"one": {}}, "one", {"postgres": given, "redis": given})
    assert (placed["postgres"], placed["redis"]) == ({}, {})


@pytest.mark.parametrize("given", [False, "", []])
def test_what_is_no_dictionary_is_no_server_of_a_provider(given: t.Any) -> None:
    found = _inventory.problems({**GOOD, "postgres": given, "redis": given}, GROUPS, ONE)
    assert [each.partition(" ")[0] for each in found] == ["stack_postgres", "stack_redis"]
    assert all(each.endswith("; write a dictionary.") for each in found)


def test_broker_and_cache_are_ours_or_a_providers() -> None:
    (problem,) = _inventory.problems(PROVIDED, GROUPS, ONE)
    assert problem == ("stack_redis is given, but the group 'cache' has one; keep one of the two.")


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("environment_names", {"DB_HOST": "databse_host"}, "write database_host, or '' for none"),
        ("environment_names", {"DB HOST": "database_host"}, "has the name 'DB HOST'"),
        ("environment_names", {"DB_HOST": "zzzz"}, "write allowed_hosts, broker_url"),
        ("environment_names", {"PATH": "database_host"}, "how the application's processes start"),
        ("s3", {"bucket": "B"}, "s3.bucket is 'B'"),
        ("s3", {"bucket": "shop", "holds": ["all"]}, "write one of static, media"),
    ],
)
def test_a_wrong_name_or_bucket_is_one_sentence(option: str, value: t.Any, sentence: str) -> None:
    secrets = {"shop": {**SHOP_SECRETS, **STORE_SECRETS}}
    given = {**GOOD, "applications": [{**SHOP, option: value}], "secrets": secrets}
    (problem,) = _inventory.problems(given, GROUPS, ONE)
    assert sentence in problem


def test_a_bucket_needs_its_keys() -> None:
    given = {**GOOD, "applications": [changed(SHOP, s3=STORE)]}
    found = _inventory.problems(given, GROUPS, ONE)
    assert ["s3_secret_key is missing" in found[0], "s3_access_key is missing" in found[1]] == [
        True,
        True,
    ]


def test_what_is_wrong_with_a_provided_server_is_not_the_topologys_to_say() -> None:
    placed = topology(HERE, {"one": {}}, "one", {"redis": {"broker": "x"}, "postgres": {}})
    assert (placed["redis"], placed["postgres"]) == ({}, {})


def checks(**provided: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    groups = HERE if provided.get("redis") else GROUPS
    placed = topology(groups, {"one": {"stack_address": "10.0.0.1"}}, "one", provided)
    found = resolve_applications([SHOP], {"shop": SHOP_SECRETS}, placed)
    return list(health_checks(found, placed, "https://acme.example.com"))


def test_what_a_release_answers_for_is_neither_a_service_nor_a_certificate() -> None:
    placed = topology(GROUPS, {"one": {"stack_address": "10.0.0.1"}}, "one", {})
    found = resolve_applications([SHOP], {"shop": SHOP_SECRETS}, placed)
    every = health_checks(found, placed, "https://acme.example.com")
    its = health_checks(found, placed, "https://acme.example.com", {}, "shop")
    kinds = {check["kind"] for check in its}
    assert {"unit", "http"} <= kinds <= {"unit", "http", "pooling", "celery", "websocket"}
    assert all(check in every for check in its)
    assert "slipway-backup.timer" not in {check["name"] for check in its}


def test_a_providers_servers_are_examined_over_the_network() -> None:
    found = {check["name"]: check for check in checks(postgres=POSTGRES, redis=REDIS)}
    server = found["db.example.com"]
    assert (server["user"], server["sslmode"]) == ("doadmin", "verify-full")
    assert server["ca_file"] == "/etc/slipway/postgres/authorities.pem"
    assert "5432" not in found
    assert (found["6432"]["login_user"], found["6432"]["databases"]) == ("shop", ["shop"])
    for name, evicts in (("broker", False), ("cache", True)):
        assert found[name]["host"] == "redis.example.com"
        assert (found[name]["tls"], found[name]["user"]) == (True, "default")
        assert found[name]["evictions_allowed"] is evicts
    plain = {check["name"]: check for check in checks(redis={"broker_url": "redis://10.1.1.1"})}
    assert (plain["broker"]["user"], plain["broker"]["port"]) == ("shop", 6379)
    assert "ca_file" not in plain["broker"]


def test_a_site_without_databases_has_no_redis_to_examine() -> None:
    placed = topology(HERE, {"one": {}}, "one", {"redis": REDIS})
    door = {**{key: SHOP[key] for key in ("name", "domain", "source")}, "web": {"node": "s.js"}}
    found = resolve_applications([door], {}, placed)
    kinds = [check["kind"] for check in health_checks(found, placed, "https://acme.example.com")]
    assert "redis" not in kinds


def test_the_pooler_knows_passwords_where_nobody_may_look_them_up() -> None:
    assert resolved()["pool_user"] == {}
    told = resolved(postgres=POSTGRES)["pool_user"]
    assert told == {"name": "shop", "password": SHOP_SECRETS["database_password"]}


@pytest.mark.parametrize(
    "asked",
    [{"cluster_needed": True}, {"extra": {"restore_point": "x"}, "takes": ["restore_point"]}],
)
def test_only_the_provider_goes_back_to_a_moment(asked: dict[str, t.Any]) -> None:
    (problem,) = _inventory.problems({**PROVIDED, **asked}, HERE, ONE)
    assert problem.startswith("stack_postgres.host is 'db.example.com', whose provider alone can")
    assert _inventory.problems({**GOOD, **ARCHIVED, **asked}, GROUPS, ONE) == []


@pytest.mark.parametrize(
    ("playbook", "extra"),
    [
        ("restore", {}),
        ("restore", {"restore_database": "shop"}),
        ("restore", {"restore_database": "none", "restore_to": "yesterday"}),
        ("restore", {"restore_remove": "true"}),
        ("restore_cluster", {}),
        ("restore_cluster", {"restore_dump": "/var/backups/slipway/shop/x.dump"}),
        ("rehearse_restore", {"restore_to": "latest"}),
        ("back_up", {"restore_point": "ö"}),
    ],
)
def test_what_the_provider_must_do_is_said_before_anything_else_is_asked_for(
    playbook: str, extra: dict[str, str]
) -> None:
    plays = yaml.safe_load((PLAYBOOKS / f"{playbook}.yml").read_text())
    told = plays[0]["vars"]
    asked = {"extra": extra, "takes": told["common_takes"]}
    asked["cluster_needed"] = told.get("common_cluster_needed", False)
    (problem,) = _inventory.problems({**PROVIDED, **asked}, HERE, ONE)
    assert problem == (
        "stack_postgres.host is 'db.example.com', whose provider alone can go back to a moment or"
        " name one: restore there into a new server and write its address into stack_postgres.host,"
        " or fill a database from a dump as docs/external.md says."
    )


def test_a_dump_for_a_provider_is_filled_in_by_hand() -> None:
    told = yaml.safe_load((PLAYBOOKS / "restore.yml").read_text())[0]["vars"]
    asked = {
        "extra": {"restore_dump": "/var/backups/slipway/shop/x.dump", "restore_database": "shop"},
        "takes": told["common_takes"],
        "cluster_needed": told["common_cluster_needed"],
    }
    (problem,) = _inventory.problems({**PROVIDED, **asked}, HERE, ONE)
    assert problem == (
        "stack_postgres.host is 'db.example.com', and this playbook fills only a database of our"
        " own server; fill the provider's from restore_dump with the commands of docs/external.md,"
        ' section "PostgreSQL".'
    )


def test_a_playbook_that_names_no_moment_says_so_of_a_provider_too() -> None:
    asked = {"extra": {"restore_point": "x"}, "takes": []}
    (problem,) = _inventory.problems({**PROVIDED, **asked}, HERE, ONE)
    assert problem == "restore_point is 'x', which this playbook does not heed; leave it out."


def test_a_cluster_comes_back_from_a_bucket_or_a_dump() -> None:
    """Where no bucket is declared, no backup of a cluster can be."""
    (problem,) = _inventory.problems({**GOOD, "cluster_needed": True}, GROUPS, ONE)
    assert problem.startswith("stack_backup_s3 is missing, and with it every backup")
    dump = {"extra": {"restore_dump": "/x.dump"}, "cluster_needed": True}
    assert _inventory.problems({**GOOD, **dump}, GROUPS, ONE) == []


def test_a_provider_without_an_address_is_still_one_that_goes_back_alone() -> None:
    found = _inventory.problems({**PROVIDED, "postgres": "x", "cluster_needed": True}, HERE, ONE)
    assert any("stack_postgres.host is empty, whose provider" in each for each in found)
