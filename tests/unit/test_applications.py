"""What an operator may write, and the sentence that refuses the rest."""

from __future__ import annotations

import copy
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.slipway.stack.plugins.filter import resolve_applications
from ansible_collections.slipway.stack.plugins.filter.app_layout import app_layout
from ansible_collections.slipway.stack.plugins.filter.celery_layout import celery_layout
from ansible_collections.slipway.stack.plugins.plugin_utils import (
    _applications,
    _derive,
    _inventory,
    _placement,
    _specification,
)

ROOT = Path(__file__).parents[2]
SECRET = "0123456789abcdef"
SHOP = {
    "name": "shop",
    "domain": "shop.example.com",
    "source": {"repository": "https://git.example.com/shop.git", "version": "v1"},
    "web": {"wsgi": "shop.wsgi:application"},
}
SHOP_SECRETS = {"database_password": SECRET, "redis_password": SECRET, "secret_key": SECRET}
MISSING = _specification.Undefined("'x' is undefined")
GROUPS = {group: ["one"] for group in ("database", "cache", "application", "worker", "web")}
ONE = {"one": "one"}


def changed(base: dict[str, t.Any], **changes: t.Any) -> dict[str, t.Any]:
    """A copy of `base` with dotted keys (as a__b) replaced."""
    result = copy.deepcopy(base)
    for path, value in changes.items():
        *parents, last = path.split("__")
        target = result
        for parent in parents:
            target = target.setdefault(parent, {})
        target[last] = value
    return result


def second(**changes: t.Any) -> dict[str, t.Any]:
    return changed(SHOP, name="blog", domain="blog.example.com", **changes)


def resolve(*applications: t.Any, secrets: t.Any = None) -> list[dict[str, t.Any]]:
    given = {a["name"]: SHOP_SECRETS for a in applications if isinstance(a, dict) and "name" in a}
    return _applications.resolve(list(applications), given if secrets is None else secrets)


def test_defaults_are_the_guides_strictest_figures() -> None:
    (shop,) = resolve(SHOP)
    assert shop["web"]["workers"] == 4
    assert shop["web"]["threads"] == 2
    assert shop["web"]["timeout_seconds"] == 60
    assert shop["web"]["body_limit_megabytes"] == 10
    assert shop["database"] == {
        "name": "shop",
        "extensions": [],
        "hashed_tables": [],
        "statement_timeout_seconds": 30,
        "pool_size": 25,
        "reserve_pool_size": 10,
    }
    assert shop["redis_keys"] == ["shop:*"]
    assert shop["celery"] is None


def test_values_are_typed() -> None:
    (shop,) = resolve(changed(SHOP, web__workers="7"))
    assert shop["web"]["workers"] == 7


def test_nginx_asks_a_node_server_where_it_listens() -> None:
    (pages,) = _applications.resolve([FRONTENDS["node"]], {})
    found = _derive.derive(pages, _derive.Topology(GROUPS, ONE, "one"))
    (upstream,) = found["site"]["upstreams"]
    assert upstream["servers"] == [found["release"]["web"]["listen"]]


@pytest.mark.parametrize(
    ("application", "sentence"),
    [
        (changed(SHOP, web__wrkers=2), "web.wrkers is not an option; write workers"),
        (changed(SHOP, zzz=2), "zzz is not an option; write one of"),
        (changed(SHOP, web__workers="many"), "workers"),
        (changed(SHOP, web__workers=0), "web.workers is 0; write 1 to 512"),
        (changed(SHOP, name="Shop"), "name is 'Shop'; write 2 to 31 lower-case letters"),
        (changed(SHOP, name="postgres"), "name is 'postgres'; the system uses that name itself"),
        (changed(SHOP, domain="https://shop.example.com"), "write a host name like"),
        (changed(SHOP, domain="Shop.example.com"), "'Shop.example.com'; write a host name"),
        (changed(SHOP, redirects=["shop"]), "redirects[entry 1] is 'shop'; write a host name"),
        (
            changed(SHOP, source={}),
            "source is an empty dictionary; write exactly one of repository",
        ),
        (
            changed(SHOP, source__archive="/a.tar"),
            "source has repository and archive; write exactly",
        ),
        (changed(SHOP, source={"archive": "https://x/a.tar"}), "add the sha256"),
        (changed(SHOP, source__version="--upload-pack=x"), "write a tag, branch or commit"),
        (changed(SHOP, web={}), "web has neither wsgi, asgi nor node; write 'wsgi: shop.wsgi"),
        (changed(SHOP, web={"workers": 2}), "web has neither wsgi, asgi nor node"),
        (changed(SHOP, web__wsgi="shop.wsgi"), "write module and object"),
        (changed(SHOP, web__port=80), "web.port is 80; write one from 1024"),
        (
            changed(SHOP, web__health_path="health"),
            "web.health_path is 'health'; write a path that begins",
        ),
        (
            changed(SHOP, web__api_paths=["/a; b"]),
            "web.api_paths[entry 1] is '/a; b'; write a path",
        ),
        (
            changed(SHOP, database__name="template1"),
            "database.name is 'template1', which the system uses",
        ),
        (changed(SHOP, database__pool_size=0), "database.pool_size is 0"),
        (changed(SHOP, certificate_source="files"), "certificate is empty"),
        (changed(SHOP, environment={"A B": "1"}), "has the name 'A B'"),
        (changed(SHOP, environment={"A": [1]}), "environment.A is not a single value"),
        (changed(SHOP, environment={"A": "1\n2"}), "environment.A contains a line break"),
        ("shop", "stack_applications[entry 1] is 'shop'; write a dictionary"),
        ({}, "stack_applications[entry 1].domain is missing; write a host name like"),
    ],
)
def test_a_wrong_application_is_refused_in_one_sentence(application: t.Any, sentence: str) -> None:
    with pytest.raises(_applications.InventoryError) as refusal:
        resolve(application, secrets={"shop": SHOP_SECRETS})
    assert sentence in str(refusal.value)
    assert str(refusal.value).endswith(".")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (SHOP, "2 entries have the name shop"),
        (second(redirects=["shop.example.com"]), "2 entries have the domain or redirect"),
        (second(database__name="shop"), "2 entries have the database.name shop"),
        (
            second(celery={"application": "b", "workers": [{"name": "w"}, {"name": "w"}]}),
            "blog.celery.workers has 2 with the name w; give each its own",
        ),
    ],
)
def test_duplicates_are_refused(other: dict[str, t.Any], sentence: str) -> None:
    with pytest.raises(_applications.InventoryError, match=sentence):
        resolve(SHOP, other)


@pytest.mark.parametrize(
    ("secrets", "sentence"),
    [
        ({}, "vault_stack_applications.shop is missing"),
        ({"shop": changed(SHOP_SECRETS, secret_key="")}, "shop.secret_key is missing"),
        ({"shop": changed(SHOP_SECRETS, secret_key="changeme")}, "secret_key is a placeholder"),
        ({"shop": changed(SHOP_SECRETS, redis_password="short")}, "fewer than 12 characters"),
        (
            {"shop": changed(SHOP_SECRETS, token="x")},
            "shop.token is not an option; write one of .* or put it into",
        ),
        ({"shop": SHOP_SECRETS, "blog": SHOP_SECRETS}, "blog belongs to no application"),
        ([], "is a list; write a dictionary that maps"),
        ({"shop": MISSING}, r"shop is not defined \('x' is undefined\); write a dictionary with"),
        (
            {"shop": changed(SHOP_SECRETS, environment=["A"])},
            "shop.environment is a list; write a dictionary of names and values",
        ),
        (
            {"shop": changed(SHOP_SECRETS, environment={"A": MISSING})},
            r"shop.environment.A is not defined .*; define that variable, or write",
        ),
        (
            {"shop": changed(SHOP_SECRETS, secret_key=MISSING)},
            "shop.secret_key is not defined .*; define that variable, or write the value itself",
        ),
        (
            {"shop": changed(SHOP_SECRETS, secret_key="0123456789\nabcdef")},
            "shop.secret_key contains a line break or another control character",
        ),
    ],
)
def test_wrong_secrets_are_refused(secrets: t.Any, sentence: str) -> None:
    with pytest.raises(_applications.InventoryError, match=sentence):
        resolve(SHOP, secrets=secrets)


def test_a_secret_is_never_quoted() -> None:
    canary = "canary\nwith-a-line-break"
    with pytest.raises(_applications.InventoryError) as refusal:
        resolve(SHOP, secrets={"shop": changed(SHOP_SECRETS, environment={"KEY": canary})})
    assert "canary" not in str(refusal.value)


@pytest.mark.parametrize(
    ("groups", "addresses", "sentence"),
    [
        ({**GROUPS, "cache": []}, ONE, "no machine in the group 'cache'"),
        ({**GROUPS, "database": ["one", "two"]}, ONE, "has 2 machines; it takes exactly one"),
        (
            GROUPS,
            {"one": "10.0.0.1", "two": "db.internal"},
            "stack_address of two is 'db.internal'",
        ),
        (GROUPS, {"one": "10.0.0.1", "two": "10.0.0.1"}, "2 machines have the stack_address"),
    ],
)
def test_a_topology_that_cannot_work_is_refused(
    groups: dict[str, list[str]], addresses: dict[str, str], sentence: str
) -> None:
    with pytest.raises(_applications.InventoryError, match=sentence):
        _placement.check_topology(resolve(SHOP), groups, addresses)


def test_duplicate_ports_matter_only_between_machines() -> None:
    both = resolve(SHOP, second(web__port=8001))
    _placement.check_topology(both, GROUPS, ONE)
    with pytest.raises(_applications.InventoryError, match=r"web.port .* 8001"):
        _placement.check_topology(both, GROUPS, {"one": "10.0.0.1", "two": "10.0.0.2"})


@pytest.mark.parametrize(("others", "least"), [([], 63), ([second(web__port=8001)], 107)])
def test_pools_and_backups_must_fit_into_max_connections(
    others: list[dict[str, t.Any]], least: int
) -> None:
    resolved = resolve(SHOP, *others)
    _inventory.check_connections(resolved, {"max_connections": least})
    with pytest.raises(_applications.InventoryError, match=f"write at least {least} or"):
        _inventory.check_connections(resolved, {"max_connections": least - 1})


def test_postgres_takes_no_more_connections_than_it_can() -> None:
    with pytest.raises(_applications.InventoryError, match=r"is 300000; write at most 262143"):
        _inventory.check_connections(resolve(SHOP), {"max_connections": 300_000})


GOOD: dict[str, t.Any] = {
    "environment": "demo",
    "applications": [SHOP],
    "secrets": {"shop": SHOP_SECRETS},
    "pgbouncer_password": SECRET,
    "redis_admin_password": SECRET,
    "backup_cipher_pass": SECRET,
}


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        ({"environment": None}, "stack_environment is missing; write its name"),
        ({"applications": None, "secrets": {}}, "stack_applications is missing; write a list of"),
        ({"request": {"app": "blog"}}, "app is 'blog', which is not declared; write one of shop"),
        ({"pgbouncer_password": None}, "vault_stack_pgbouncer_password is missing"),
        ({"acme": {"mail": "x"}}, "stack_acme.mail is not an option; write email"),
        ({"backup_s3": {"bucket": "backups"}}, "vault_stack_backup_s3.access_key is missing"),
        ({"backup_s3": {"bucket": "B"}}, "stack_backup_s3.bucket is 'B'; write 3 to 63"),
    ],
)
def test_every_input_is_looked_at(inputs: dict[str, t.Any], sentence: str) -> None:
    assert _inventory.problems(GOOD, GROUPS, ONE) == []
    (problem,) = _inventory.problems({**GOOD, **inputs}, GROUPS, ONE)
    assert sentence in problem


def test_what_goes_to_a_bucket_needs_a_passphrase() -> None:
    keys = {"access_key": "key", "secret_key": "secret"}
    given = {**GOOD, "backup_s3": {"bucket": "backups"}, "backup_s3_secrets": keys}
    assert _inventory.problems(given, GROUPS, ONE) == []
    given["backup_cipher_pass"] = None
    for said in ({}, {"backup_physical": {"enabled": False}}):
        (problem,) = _inventory.problems({**given, **said}, GROUPS, ONE)
        assert "vault_stack_backup_cipher_pass is missing" in problem
    assert _inventory.problems({**given, "backup_s3": {}}, GROUPS, ONE) == []


def test_celery_needs_a_worker_machine() -> None:
    inputs = {**GOOD, "applications": [changed(SHOP, celery__application="shop")]}
    (problem,) = _inventory.problems(inputs, {**GROUPS, "worker": []}, ONE)
    assert "the group 'worker' has no machine" in problem


def derive(declared: dict[str, t.Any], host: str = "one", **groups: list[str]) -> dict[str, t.Any]:
    addresses = {"one": "10.0.0.1"} if not groups else {"one": "10.0.0.1", "two": "10.0.0.2"}
    topology = _derive.Topology(groups={**GROUPS, **groups}, addresses=addresses, host=host)
    return _derive.derive(resolve(declared)[0], topology)


def test_a_single_machine_talks_over_loopback_and_unix_sockets() -> None:
    shop = derive(SHOP)
    assert shop["site"]["upstreams"] == [
        {"name": "web", "servers": ["unix:/run/slipway/shop/web.sock"]}
    ]
    assert "@127.0.0.1:6432/shop?sslmode=require" in shop["release"]["environment"]["DATABASE_URL"]
    assert "@127.0.0.1:5432/" in shop["release"]["migrate"]["environment"]["DATABASE_URL"]
    assert {entry["path"] for entry in shop["site"]["static"]} == {"/static/", "/media/"}


def test_several_machines_talk_over_their_addresses() -> None:
    shop = derive(SHOP, host="two", application=["one", "two"])
    assert shop["site"]["upstreams"][0]["servers"] == ["10.0.0.1:8000", "10.0.0.2:8000"]
    assert shop["release"]["web"]["listen"] == "10.0.0.2:8000"
    assert "@10.0.0.1:6379/0" in shop["release"]["environment"]["BROKER_URL"]


def test_a_web_machine_without_the_application_serves_no_files_itself() -> None:
    assert derive(SHOP, application=["two"])["site"]["static"] == []


def test_an_application_without_celery_is_told_to_the_workers_machines_all_the_same() -> None:
    assert derive(SHOP)["celery"] == {"name": "shop", "workers": []}


def test_what_ran_on_a_machine_that_has_left_its_group_is_ended_there() -> None:
    celery = {"application": "shop", "workers": [{"name": "mail"}], "beat_enabled": True}
    both = {"application": ["one", "two"], "worker": ["one", "two"]}
    declared = changed(SHOP, celery=celery)
    stayed = derive(declared, host="two", **both)
    assert (stayed["departed"], len(stayed["celery"]["workers"])) == ([], 1)
    served = derive(declared, host="two", **{**both, "application": ["one"]})
    assert {"shop-web.socket", "shop-web.service", "shop-asgi.service"} <= {*served["departed"]}
    worked = derive(declared, host="two", **{**both, "worker": ["one"]})
    assert (worked["departed"], worked["celery"]) == ([], {"name": "shop", "workers": []})
    layout = celery_layout([worked["celery"]])
    assert (layout["units"], layout["files"], layout["workers"]) == ([], [], [])
    assert layout["owned"] == ["shop-worker-*.service", "shop-beat.service"]


@pytest.mark.parametrize(
    ("changes", "groups", "apart"),
    [
        ({}, {"application": ["one"]}, False),
        ({}, {"application": ["one", "two"]}, True),
        ({}, {"worker": ["two"]}, False),
        ({"celery": {"application": "x"}}, {"worker": ["two"]}, True),
        ({"s3": {"bucket": "media", "region": "x"}}, {"application": ["one", "two"]}, False),
        (
            {"s3": {"bucket": "media", "region": "x", "holds": ["static"]}},
            {"application": ["one", "two"]},
            True,
        ),
    ],
)
def test_uploads_of_several_machines_are_apart_unless_a_bucket_holds_them(
    changes: dict[str, t.Any], groups: dict[str, list[str]], apart: bool
) -> None:
    secrets = {**SHOP_SECRETS, "s3_access_key": SECRET, "s3_secret_key": SECRET}
    declared, told = {**SHOP, **changes}, secrets if "s3" in changes else SHOP_SECRETS
    (shop,) = resolve(declared, secrets={"shop": told})
    topology = _derive.Topology({**GROUPS, **groups}, {"one": "10.0.0.1", "two": "10.0.0.2"}, "one")
    assert _derive.derive(shop, topology)["uploads_apart"] is apart


def test_every_machine_is_told_of_workers_and_servers_after_the_sites() -> None:
    plays = {
        play["name"]: play
        for play in yaml.safe_load((ROOT / "playbooks/site.yml").read_text())
        if "hosts" in play
    }
    told = plays["Run the workers"]
    assert told["roles"] == ["slipway.stack.celery"]
    assert {*told["hosts"].split(":")} == {*GROUPS}
    ended = "End the servers of machines that serve no more"
    assert [*plays].index(ended) > [*plays].index("Open the sites")
    assert {*plays[ended]["hosts"].split(":")} == {*GROUPS, "!application"} - {"application"}
    # Nor does the role end them before.
    assert "owned_units" not in (ROOT / "roles/app/tasks/run.yml").read_text()


def test_websockets_go_to_the_asgi_server() -> None:
    shop = derive(changed(SHOP, web__asgi="shop.asgi:application"))
    assert {"path": "/ws/", "upstream": "asgi", "websocket": True, "rate": "general"} in shop[
        "site"
    ]["locations"]
    assert {"path": "/", "upstream": "web", "rate": "general"} in shop["site"]["locations"]


def test_an_asgi_only_application_answers_everything_there() -> None:
    shop = derive(changed(SHOP, web={"asgi": "shop.asgi:application"}))
    assert {location["upstream"] for location in shop["site"]["locations"]} == {"asgi"}


def test_the_operators_environment_wins() -> None:
    application = changed(SHOP, environment={"ALLOWED_HOSTS": "x", "DEBUG": 0})
    (resolved,) = resolve(
        application, secrets={"shop": changed(SHOP_SECRETS, environment={"TOKEN": "hidden"})}
    )
    topology = _derive.Topology(groups=GROUPS, addresses=ONE, host="one")
    environment = _derive.environment(resolved, topology)
    assert environment["ALLOWED_HOSTS"] == "x"
    assert environment["DEBUG"] == "0"
    assert environment["TOKEN"] == "hidden"


@pytest.mark.parametrize("kept", [True, False])
def test_the_application_is_told_whether_the_pooler_keeps_prepared_statements(kept: bool) -> None:
    topology = {"groups": GROUPS, "addresses": ONE, "host": "one"}
    secrets = {"shop": SHOP_SECRETS}
    (shop,) = resolve_applications.resolve_applications([SHOP], secrets, topology, kept)
    told = shop["release"]["environment"]["DATABASE_PREPARED_STATEMENTS"]
    assert told == str(kept).lower()


def test_ipv6_addresses_are_bracketed_in_urls() -> None:
    assert _derive.server_at("10.0.0.1", 5432) == "10.0.0.1:5432"
    assert _derive.server_at("fd00::1", 5432) == "[fd00::1]:5432"


def test_passwords_are_quoted_in_urls() -> None:
    (resolved,) = resolve(
        SHOP, secrets={"shop": changed(SHOP_SECRETS, database_password="p@ss:w/rd#0123")}
    )
    assert (
        "p%40ss%3Aw%2Frd%230123@"
        in _derive.environment(resolved, _derive.Topology(GROUPS, ONE, "one"))["DATABASE_URL"]
    )


def test_django_beat_keeps_its_schedule_in_the_database() -> None:
    shop = derive(changed(SHOP, celery={"application": "shop", "beat_enabled": True}))
    assert shop["celery"]["beat"] == {
        "enabled": True,
        "scheduler": "django_celery_beat.schedulers:DatabaseScheduler",
    }
    assert shop["celery"]["workers"][0]["concurrency"] == 4
    assert shop["celery"]["workers"][0]["max_tasks_per_child"] == 1000


@pytest.mark.parametrize("wrong", [5, True, [None], "x y"])
@pytest.mark.parametrize("option", ["source", "web", "celery", "database"])
def test_a_value_of_the_wrong_type_is_a_sentence_too(option: str, wrong: t.Any) -> None:
    found = _inventory.problems({**GOOD, "applications": [{**SHOP, option: wrong}]}, GROUPS, ONE)
    assert len(found) == 1
    assert "shop" in found[0]


@pytest.mark.parametrize("settings", [5, {"max_connections": "lots"}, {"max_connections": None}])
def test_settings_of_the_wrong_type_are_a_sentence_too(settings: t.Any) -> None:
    (problem,) = _inventory.problems({**GOOD, "postgres_settings": settings}, GROUPS, ONE)
    assert problem.startswith("postgres_settings")


@pytest.mark.parametrize("name", ["shadow", "pg_shop", "all", "docker"])
def test_names_of_the_systems_own_users_and_groups_are_refused(name: str) -> None:
    with pytest.raises(_applications.InventoryError, match="the system uses that name itself"):
        resolve({**SHOP, "name": name})


def test_beat_of_another_framework_keeps_its_schedule_in_a_file() -> None:
    celery = {"application": "shop", "beat_enabled": True}
    shop = derive(changed(SHOP, framework="none", celery=celery))
    assert shop["celery"]["beat"] == {"enabled": True, "scheduler": ""}


PAGES = {"name": "pages", "domain": "pages.example.com", "source": {"archive": "/pages.tar"}}
FRONTENDS = {
    "static": {**PAGES, "static": {"directory": "out"}, "environment": {"VITE_API": "https://a"}},
    "node": {**PAGES, "web": {"node": "server.js"}, "build": "npm run build"},
}


@pytest.mark.parametrize("kind", FRONTENDS)
def test_a_frontend_stores_nothing_and_needs_no_secrets(kind: str) -> None:
    (pages,) = _applications.resolve([FRONTENDS[kind]], {})
    found = _derive.derive(pages, _derive.Topology(GROUPS, ONE, "one"))
    assert [found[key] for key in ("database", "pool", "redis_user", "backup")] == [{}, {}, {}, {}]
    assert found["celery"] == {"name": "pages", "workers": []}
    assert found["release"]["environment"] == FRONTENDS[kind].get("environment", {})
    assert found["release"]["migrate"] == {}
    assert _derive.connections(pages) == 0
    checks = {(c["kind"], c["name"]): c for c in _checks(found)}
    assert checks["http", "pages.example.com"]["components"] == []
    assert (("unit", "pages-node.service") in checks) == (kind == "node")


def _checks(found: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    topology = _derive.Topology(GROUPS, ONE, "one")
    return _derive.health_checks([{**found, "acme_directory": ""}], topology)


def test_files_are_served_by_nginx_and_released_where_it_is() -> None:
    (pages,) = _applications.resolve([FRONTENDS["static"]], {})
    groups = {**GROUPS, "web": ["front"], "application": ["back"]}
    addresses = {"one": "10.0.0.1", "front": "10.0.0.2", "back": "10.0.0.3"}
    front, back = (
        _derive.derive(pages, _derive.Topology(groups, addresses, host))
        for host in ("front", "back")
    )
    assert front["release"]["static"] == {"directory": "out"}
    assert back["release"] == {}
    site = front["site"]
    assert (site["upstreams"], site["locations"], site["static"]) == ([], [], [])
    assert site["pages"] == {
        "directory": "/srv/pages/current/public",
        "previous_directory": "/srv/pages/previous/public",
        "next_directory": "/srv/pages/next/public",
        "hashed_paths": ["/assets/"],
        "fallback": "/index.html",
    }


def test_pages_that_ask_another_domain_say_so_in_their_headers() -> None:
    headers = {"Content-Security-Policy": "connect-src https://api.example.com"}
    (pages,) = _applications.resolve([changed(FRONTENDS["static"], static__headers=headers)], {})
    found = _derive.derive(pages, _derive.Topology(GROUPS, ONE, "one"))
    assert found["site"]["headers"] == headers


def test_a_node_server_gets_everything_that_nginx_lets_through() -> None:
    given = changed(FRONTENDS["node"], web__websocket_paths=["/live/"])
    (pages,) = _applications.resolve([given], {})
    addresses = {"one": "10.0.0.1", "two": "10.0.0.2"}
    groups = {**GROUPS, "application": ["one", "two"]}
    site = _derive.derive(pages, _derive.Topology(groups, addresses, "one"))["site"]
    servers = ["10.0.0.1:8000", "10.0.0.2:8000"]
    assert site["upstreams"] == [{"name": "node", "servers": servers}]
    assert {location["upstream"] for location in site["locations"]} == {"node"}
    (channel,) = [location for location in site["locations"] if location.get("websocket")]
    assert channel["path"] == "/live/"
    assert site["pages"] is None


@pytest.mark.parametrize(
    "application",
    [
        changed(FRONTENDS["static"], framework="none"),
        changed(FRONTENDS["static"], static__hashed_paths=["/assets", "/_next/static/"]),
        changed(FRONTENDS["static"], static__hashed_paths=[]),
    ],
)
def test_a_frontend_may_say_what_it_is(application: dict[str, t.Any]) -> None:
    (pages,) = _applications.resolve([application], {})
    assert pages["framework"] == "none"


@pytest.mark.parametrize(
    ("application", "sentence"),
    [
        (changed(FRONTENDS["static"], web__workers=2), "has static and web; make an application"),
        (changed(FRONTENDS["node"], web__asgi="a:b"), "web has asgi and node; make an application"),
        (changed(SHOP, build="npm run build"), "build is given, but uv builds what wsgi and asgi"),
        (
            changed(FRONTENDS["static"], celery__application="x"),
            "celery is given, but static has none",
        ),
        (
            changed(FRONTENDS["node"], database__name="xx"),
            "database is given, but web.node has none; remove it, or declare it of the",
        ),
        (
            changed(FRONTENDS["static"], static__headers={"X A": "1"}),
            "static.headers: 'X A' is not a header's name",
        ),
        (
            changed(FRONTENDS["static"], framework="django"),
            "framework is 'django', but static is served by nginx alone; remove it",
        ),
        (
            changed(FRONTENDS["node"], framework="fastapi"),
            "framework is 'fastapi', but web.node is run by Node; remove it",
        ),
        (
            changed(FRONTENDS["static"], static__hashed_paths=["/assets/", "/"]),
            "static.hashed_paths has '/', which is the whole site, and its pages change; write",
        ),
        *(
            (
                changed(FRONTENDS["static"], static__hashed_paths=[path]),
                f"static.hashed_paths has '{path}', which belongs to the certificate authority;",
            )
            for path in ("/.well-known/", "/.well-known", "/.well-known/acme-challenge/x", "/.w")
        ),
        (changed(FRONTENDS["static"], static__directory="/dist"), "write a folder of the project"),
        (changed(FRONTENDS["node"], web__node="node a.js"), "write a script of the project"),
    ],
)
def test_a_wrong_frontend_is_refused(application: dict[str, t.Any], sentence: str) -> None:
    with pytest.raises(_applications.InventoryError, match=sentence):
        _applications.resolve([application], {})


def test_machines_take_turns_because_their_releases_are_the_same() -> None:
    """Ansible includes tasks for one machine after the other where an item differs."""
    (shop,) = resolve(changed(SHOP, celery={"application": "shop", "beat_enabled": True}))
    hosts = ["one", "two"]
    groups = {**GROUPS, "application": hosts, "worker": hosts}
    addresses = {"one": "10.0.0.1", "two": "10.0.0.2"}
    one, two = (
        app_layout([_derive.derive(shop, _derive.Topology(groups, addresses, host))["release"]])
        for host in hosts
    )
    assert one["releases"] == two["releases"]
    assert one["own"] != two["own"]


def test_a_machine_for_workers_alone_has_the_release_and_no_server() -> None:
    celery = {"application": "shop", "workers": [{"name": "mail"}]}
    (shop,) = resolve(changed(SHOP, celery=celery))
    groups = {**GROUPS, "worker": ["two"]}
    addresses = {"one": "10.0.0.1", "two": "10.0.0.2"}
    derived = {
        host: _derive.derive(shop, _derive.Topology(groups, addresses, host)) for host in addresses
    }
    one, two = (app_layout([derived[host]["release"]]) for host in addresses)
    assert two["releases"] == one["releases"]
    assert one["releases"][0]["machines"] == ["one", "two"]
    assert two["questions"] == [{**one["questions"][0], "servers": []}]
    own = two["own"]["shop"]
    assert (own["units"], own["endpoints"], two["units"]) == ([], [], [])
    assert [worker["unit"] for worker in own["workers"]] == ["shop-worker-mail.service"]
    assert one["own"]["shop"]["workers"] == []
    assert not [file for file in two["files"] if "gunicorn" in file["path"] + str(file)]
    environment = "/etc/slipway/shop/environment"
    assert environment in {file["path"] for file in two["files"]}
    assert derived["two"]["site"]["upstreams"][0]["servers"] == ["10.0.0.1:8000"]


def test_a_machine_for_workers_needs_no_release_that_has_none() -> None:
    groups = {**GROUPS, "worker": ["two"]}
    addresses = {"one": "10.0.0.1", "two": "10.0.0.2"}
    (shop,) = resolve(SHOP)
    one, two = (
        _derive.derive(shop, _derive.Topology(groups, addresses, host)) for host in addresses
    )
    assert (one["release"]["machines"], two["release"]) == (["one"], {})
    # What ran here before its machine was for workers alone.
    assert {"shop-web.service", "shop-web.socket"} <= {*two["departed"]}


def test_files_take_no_port_from_an_application_with_a_server() -> None:
    secrets = {"shop": SHOP_SECRETS}
    resolved = _applications.resolve([SHOP, FRONTENDS["static"]], secrets)
    addresses = {"one": "10.0.0.1", "two": "10.0.0.2"}
    _placement.check_topology(resolved, GROUPS, addresses)
    resolved = _applications.resolve([SHOP, FRONTENDS["node"]], secrets)
    with pytest.raises(_applications.InventoryError, match=r"2 entries have the web\.port"):
        _placement.check_topology(resolved, GROUPS, addresses)
