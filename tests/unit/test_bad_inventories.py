# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an operator at work gets wrong, and the sentence that says what to write instead."""

from __future__ import annotations

import copy
import datetime
import re
import typing as t

import fakes
import pytest
from ansible_collections.slipway.stack.plugins.plugin_utils import (
    _inventory,
    _rules,
    _specification,
)

SECRET = "5f2c0b9e4d7a1c3f"
GOOD: dict[str, t.Any] = {
    "environment": "production",
    "applications": [
        {
            "name": "shop",
            "domain": "shop.example.com",
            "redirects": ["www.shop.example.com"],
            "source": {"repository": "https://git.example.com/shop.git", "version": "v1.0.0"},
            "web": {"wsgi": "shop.wsgi:application", "asgi": "shop.asgi:application"},
            "celery": {"application": "shop", "workers": [{"name": "mail"}], "beat_enabled": True},
            "database": {"extensions": ["pg_trgm", "uuid-ossp"]},
        }
    ],
    "secrets": {
        "shop": {"database_password": SECRET, "redis_password": SECRET, "secret_key": SECRET}
    },
    "pgbouncer_password": SECRET,
    "redis_admin_password": SECRET,
    "acme": {"directory": "https://services.test:14000/dir", "email": "operations@example.com"},
    "backup_s3": {"bucket": "example-backups", "prefix": "production/", "region": "eu-central-1"},
    "backup_s3_secrets": {"access_key": "AKIAEXAMPLE", "secret_key": SECRET},
    "backup_s3_second": {},
    "backup_s3_second_secrets": {"access_key": "AKIAOTHER", "secret_key": SECRET},
    "backup_cipher_pass": SECRET,
}
SECOND = {"bucket": "backups-elsewhere", "endpoint_url": "https://s3.example.net"}
GROUPS = {group: ["one"] for group in ("database", "cache", "application", "worker", "web")}
ONE = {"one": "one"}
TWO = {"one": "10.0.0.1", "two": "10.0.0.2"}
PEM = "-----BEGIN {0}-----\nMIIB\n-----END {0}-----\n"


def problems(changes: dict[str, t.Any], addresses: dict[str, str] | None = None) -> list[str]:
    """What is found after `changes`: a dotted path in the inputs, and the value to write there.

    The first application is `app`, its twin is `twin`.
    """
    inputs = copy.deepcopy(GOOD)
    inputs["app"], inputs["twin"] = inputs["applications"][0], inputs["secrets"]["shop"]
    for path, value in changes.items():
        *parents, last = path.split(".")
        target = inputs
        for parent in parents:
            target = target.setdefault(parent, {})
        target[last] = value
    return _inventory.problems(inputs, GROUPS, addresses or ONE)


def test_what_is_right_is_accepted() -> None:
    assert problems({}) == []
    assert problems({}, TWO) == []


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("app.source.repository", "git@git.example.com:team/shop.git"),
        ("app.source.repository", "ssh://git@git.example.com:2222/shop.git"),
        ("app.source.repository", "https://token:x@git.example.com/shop.git"),
        ("app.source.repository", "file:///srv/git/shop.git"),
        ("app.source.repository", "/srv/git/shop.git"),
        ("app.source.version", "release/2026-11"),
        ("app.source.version", "a" * 40),
        ("app.source.subdirectory", "backend/site"),
        ("app.python", "3.12"),
        ("app.python", "/usr/local/bin/python3.12"),
        ("app.web.wsgi", "shop.wsgi:create_app()"),
        (
            "app.web.headers",
            {"X-Frame-Options": "", "Content-Security-Policy": "default-src 'self'"},
        ),
        ("app.web.health_path", "/-/health"),
        ("app.web.api_paths", []),
        ("app.celery.application", "shop.celery:app"),
        ("app.celery.workers", [{"name": "a", "queues": ["high", "low.priority"]}, {"name": "b"}]),
        ("app.redis_keys", ["shop:*", "asgi:*", "cache-?:[ab]"]),
        ("app.database.statement_timeout_seconds", 0),
        ("app.environment", {"NODE_OPTIONS": "--max-old-space-size=512"}),
        ("app.environment", {"DEBUG": "off", "LEVEL": 3, "EMPTY": ""}),
        ("twin.deploy_key", PEM.format("OPENSSH PRIVATE KEY")),
        ("acme", None),
        ("backup_s3", None),
        ("backup_s3_second", SECOND),
        ("backup_s3.storage_class", "GLACIER_IR"),
        ("backup_s3.endpoint_url", "https://s3.services.test:9000"),
        ("postgres_settings", {"max_connections": "200", "shared_buffers": "1GB"}),
        ("ports", {"postgres_port": 5432}),
        ("redis_instances", [{"name": "broker", "port": 6379}, {"name": "cache", "port": 6380}]),
    ],
)
def test_what_looks_unusual_but_works_is_accepted(option: str, value: t.Any) -> None:
    assert problems({option: value}) == []


WRONG: list[tuple[str, t.Any, str]] = [
    (
        "app.secret_key",
        "x",
        "shop.secret_key is not an option; a secret belongs into vault_stack_applications.shop,",
    ),
    ("health", {"htpp": {}}, "stack_health.htpp is not an option; write http."),
    ("health", {"http": {"sample": 3}}, "stack_health.http.sample is not an option; write samples"),
    ("health", {"http": {"samples": "many"}}, "stack_health.http.samples is 'many'; write a whole"),
    ("health", [], "stack_health is an empty list; write a dictionary."),
    ("app.database.password", "x", "not an option; a secret belongs into vault_stack_applicat"),
    ("app.environment", {"DEBUG": False}, "environment.DEBUG was read by YAML as true or false;"),
    ("app.environment", {"RATE": 1.10}, "environment.RATE was read by YAML as a number; write it"),
    ("app.environment", {"PATH": "/x"}, "environment.PATH decides how the application's processes"),
    ("twin.environment", {"LD_PRELOAD": "/x"}, "shop.environment.LD_PRELOAD decides how"),
    ("app.environment", {"GUNICORN_CMD_ARGS": "-w 9"}, "environment.GUNICORN_CMD_ARGS decides how"),
    ("app.environment", {"NODE_OPTIONS": "--inspect=0.0.0.0"}, "NODE_OPTIONS has --inspect, thr"),
    ("redis_admin_password", "<your-secret-here>", "redis_admin_password is a placeholder; write"),
    ("app.python", "3.6", "shop.python is '3.6'; write an interpreter's path, or a version from"),
    ("app.source.version", datetime.date(2026, 11, 21), "is the date 2026-11-21; write it in quot"),
    ("environment", "Production", "stack_environment is 'Production'; write its name in lower"),
    (
        "backup_s3.endpoint_url",
        "http://s3.example.com",
        "write https, or what it holds would cross",
    ),
    (
        "app.domain",
        _specification.Undefined("Syntax error in template: unexpected '}'"),
        "shop.domain is no valid Jinja (Syntax error in template: unexpected '}'); correct it,",
    ),
    ("app.celry", {}, "stack_applications.shop.celry is not an option; write celery."),
    ("app.web.worker", 2, "stack_applications.shop.web.worker is not an option; write workers."),
    # Values of the wrong kind.
    ("app.source.version", 1.1, "shop.source.version is 1.1; write it in quotes."),
    ("app.web.workers", "four", "shop.web.workers is 'four'; write a whole number."),
    ("app.redirects", "www.shop.example.com", "is 'www.shop.example.com'; write a list."),
    ("app.framework", "djang", "shop.framework is 'djang'; write one of django, fastapi, none."),
    ("applications", [], "stack_applications is an empty list; write at least one application"),
    ("applications", {"shop": {}}, "stack_applications is a dictionary; write a list."),
    # Values that cannot work.
    ("app.web.workers", 4000, "shop.web.workers is 4000; write 1 to 512"),
    ("app.web.timeout_seconds", -1, "shop.web.timeout_seconds is -1; write 1 to 86400."),
    ("app.web.memory_limit_megabytes", 0, "memory_limit_megabytes is 0; write 64 to"),
    ("app.web.port", 6432, "shop.web.port is 6432; it or the next one is a port of"),
    ("app.web.port", 6378, "6378; it or the next one is a port of PostgreSQL (5432)"),
    ("app.web.wsgi", "shop wsgi:application", "write module and object, 'shop.wsgi:application'."),
    ("app.web.asgi", "shop.asgi:", "write module and object, 'shop.asgi:application'."),
    ("app.celery.application", "", "shop.celery.application is ''; write the module that holds it"),
    ("app.celery.application", "shop-app", "is 'shop-app'; write the module that holds it"),
    ("app.celery.workers", [], "shop.celery.workers is an empty list; write at least one"),
    ("app.celery.workers", [{"name": "a b"}], "[entry 1].name is 'a b'; write up to 31"),
    ("app.celery.workers", [{"name": "../x"}], "name is '../x'; write up to 31"),
    ("app.celery.workers", [{"name": "a", "queues": ["x,y"]}], "queues[entry 1] is 'x,y'"),
    ("app.celery.workers", [{"name": "a", "queues": [""]}], "queues[entry 1] is ''; write letters"),
    ("app.celery.workers", [{"name": "a", "queues": []}], "a.queues is an empty list"),
    (
        "app.celery.workers",
        [{"name": "a", "concurrency": 0}],
        "workers.a.concurrency is 0; write 1",
    ),
    ("app.celery.workers", [{"name": "a", "max_tasks_per_child": -1}], "is -1; write 1 to"),
    ("app.celery.stop_timeout_seconds", 0, "stop_timeout_seconds is 0; write 1 to 86400."),
    ("app.celery.beat_scheduler", "my scheduler", "write module and class"),
    ("app.source.repository", "-u x", "shop.source.repository is '-u x'; write a git URL"),
    ("app.source.repository", "ext::sh -c id", "is 'ext::sh -c id'; write a git URL"),
    ("app.source.version", "v1..v2", "is 'v1..v2'; write a tag, branch or commit."),
    ("app.source.sha256", "abc", "shop.source.sha256 is 'abc'; write the 64 hex digits"),
    ("app.source.sha256", "a" * 64, "sha256 is given, but no archive; remove it"),
    ("app.source.subdirectory", "../etc", "is '../etc'; write a folder within the source"),
    ("app.source", {"directory": "../shop"}, "is '../shop'; write the whole path, from /."),
    ("app.python", "python 3", "shop.python is 'python 3'; write an interpreter's path"),
    ("app.python", 3.12, "shop.python is 3.12; write it in quotes."),
    ("app.database.extensions", ["pg trgm"], "write an extension's name like 'pg_trgm'."),
    ("app.database.extensions", ["citext", "citext"], "is a list; write each once."),
    ("app.database.hashed_tables", ["bids"], "write schema and table, 'public.payments'."),
    ("app.database.pool_size", 95, "reserve_pool_size are 105 together; write at most 100"),
    ("app.redis_keys", ["shop *"], "redis_keys[entry 1] is 'shop *'; write a pattern"),
    ("app.environment", {"A": None}, "shop.environment.A is empty; write '' if that is meant."),
    ("app.environment", {1: "x"}, "shop.environment has the name '1'; write letters"),
    # Sites that nginx would refuse.
    ("app.web.headers", {"X A": "1"}, "headers: 'X A' is not a header's name; write letters"),
    ("app.web.headers", {"X-A": 'a"b'}, "headers: 'X-A' has a value with a line break, a quot"),
    ("app.web.headers", {"X-A": "a\nb"}, "headers: 'X-A' has a value with a line break"),
    ("app.web.headers", {"X-A": "$foo"}, "headers: 'X-A' has a value with a line break"),
    (
        "app.web.headers",
        {"X-XSS-Protection": 0},
        "has a value that is not text; write it in quotes",
    ),
    ("app.web.headers", {"x-frame-options": "DENY"}, "two ways; write 'X-Frame-Options'."),
    ("app.web.headers", {"Content-Length": "1"}, "'Content-Length' is written by nginx"),
    ("app.web.headers", {1: "x"}, "headers: 1 is not a header's name"),
    ("app.web.api_paths", ["/"], "api_paths is or has '/', which belongs to the site itself"),
    ("app.web.api_paths", ["/a/", "/a/"], "has '/a/', which belongs to"),
    ("app.web.api_paths", ["/ws/"], "websocket_paths is or has '/ws/', which belongs to stack_app"),
    ("app.web.api_paths", ["/static/"], "has '/static/', which belongs to static files"),
    ("app.web.health_path", "/media/", "health_path is or has '/media/', which belongs to upload"),
    ("app.web.websocket_health_path", "/ws/{x}", "websocket_health_path is '/ws/{x}'; wr"),
    (
        "app.web.websocket_health_path",
        "/live/",
        "websocket_health_path is '/live/'; write one below one of stack_app",
    ),
    ("app.web.health_path", "/", "health_path is or has '/', which belongs to the site itself"),
    (
        "app.web.api_paths",
        ["/.well-known/acme-challenge/x"],
        "belongs to the certificate authority; write another path.",
    ),
    ("app.web.api_paths", ["/a//b"], "is '/a//b'; write a path that begins with '/'"),
    ("app.web.api_paths", ["/a/../b"], "is '/a/../b'; write a path that begins with '/'"),
    (
        "app.web",
        {"wsgi": "shop.wsgi:application", "websocket_paths": ["/live/"]},
        "websocket_paths is given, but nothing answers WebSockets; write",
    ),
    # Certificates and where they come from.
    ("app.certificate", fakes.CERTIFICATE, "certificate_source is 'acme', but a certif"),
    ("acme.directory", "http://ca.test/dir", "stack_acme.directory is 'http://ca.test/dir'; write"),
    ("acme.email", "operations", "stack_acme.email is 'operations'; write one address"),
    ("acme", "letsencrypt", "stack_acme is 'letsencrypt'; write a dictionary."),
    # Backups.
    ("backup_s3.bucket", "", "stack_backup_s3.bucket is ''; write 3 to 63 lower-case letters"),
    ("backup_s3.bucket", "My_Backups", "stack_backup_s3.bucket is 'My_Backups'; write 3 to 63"),
    ("backup_s3.endpoint_url", "s3.example.com", "is 's3.example.com'; write a URL like"),
    ("backup_s3.prefix", "/production", "is '/production'; write a folder in the bucket"),
    ("backup_s3.addressing_style", "paths", "is 'paths'; write one of auto, path, virtual."),
    ("backup_s3_secrets", ["x"], "vault_stack_backup_s3 is not right (its value is not shown)"),
    ("backup_s3_secrets.secret_key", 12345678, "secret_key is not right (its value is not shown)"),
    ("backup_s3_secrets.acces_key", "x", "vault_stack_backup_s3.acces_key is not an option; write"),
    ("backup_s3.retention_days", 0, "stack_backup_s3.retention_days is 0; write 1 to 36500."),
    ("backup_s3.storage_class", "GLACIER", "is 'GLACIER'; write one that can be read at once,"),
    ("backup_s3.storage_class", "DEEP_ARCHIVE", "is 'DEEP_ARCHIVE'; write one that can be read"),
    ("backup_s3_second", {"bucket": "My"}, "stack_backup_s3_second.bucket is 'My'; write 3 to"),
    # Secrets.
    ("backup_cipher_pass", None, "vault_stack_backup_cipher_pass is missing; add it to"),
    ("backup_cipher_pass", "changeme", "backup_cipher_pass is a placeholder; write a random value"),
    ("secrets.shop", None, "vault_stack_applications.shop is missing; write a dictionary with"),
    ("secrets.shop", "x", "vault_stack_applications.shop is a text; write a dictionary with"),
    ("twin.database_password", 123456789012, "database_password is a number; write it in quotes."),
    ("twin.databse_password", "x", "shop.databse_password is not an option; write database_passw"),
    ("twin.deploy_key", "ssh-ed25519 AAAA", "deploy_key is not a private key; write its PEM"),
    ("secrets.shop", {1: "x"}, "vault_stack_applications.shop.1 is not an option; write one of"),
    ("secrets.1", {}, "vault_stack_applications.1 belongs to no application"),
    # What roles are told by the inventory itself.
    ("environment", "Production!", "stack_environment is 'Production!'; write its name"),
    ("ports", {"postgres_port": 5433}, "postgres_port is 5433; remove it, the stack is wired"),
    ("postgres_settings", {"max_connections": 10}, "is 10, but the pools take 40 and"),
    ("postgres_settings", {"max_connections": True}, "is true; write a number."),
    (
        "redis_instances",
        [{"name": "a", "port": 6379}, {"name": "a", "port": 6380}],
        "redis_instances: 2 entries have the name a; give each its own.",
    ),
    (
        "redis_instances",
        [{"name": "a", "port": 6379}, {"name": "b", "port": 6379}],
        "redis_instances: 2 entries have the port 6379; give each its own.",
    ),
    ("redis_instances", [{"name": "a", "port": 5432}], "redis_instances.a.port is 5432; write one"),
    ("redis_instances", [{"name": "a", "port": 6379}], "has no instance with the port 6380; add"),
    ("redis_instances", "broker", "redis_instances is 'broker'; write a list."),
]


@pytest.mark.parametrize(("option", "value", "sentence"), WRONG)
def test_a_bad_inventory_is_refused_in_one_sentence(
    option: str, value: t.Any, sentence: str
) -> None:
    found = problems({option: value})
    assert len(found) == 1, found
    assert sentence in found[0]
    assert re.search(r"[;,] .*[a-z')]\.$|\.$", found[0]) and "\n" not in found[0]


def test_a_second_place_has_a_first_and_keys_of_its_own() -> None:
    (said,) = problems({"backup_s3_second": SECOND, "backup_s3": {}})
    assert said.startswith("stack_backup_s3_second is declared without stack_backup_s3; call it")
    (said,) = problems({"backup_s3_second": SECOND, "backup_s3_second_secrets": {}})
    assert said.startswith("vault_stack_backup_s3_second.access_key is missing; add it to")


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ({}, {}, True),
        ({}, {"prefix": "production"}, True),
        ({}, {"prefix": "elsewhere/"}, False),
        ({}, {"bucket": "other"}, False),
        ({"prefix": ""}, {"prefix": "demo/"}, True),
        ({"prefix": "", "region": "eu-west-1"}, {"region": "us-east-1"}, True),
        ({}, {"endpoint_url": "https://s3.eu-central-1.amazonaws.com"}, True),
        ({}, {"endpoint_url": "https://s3.example.net"}, False),
        (
            {"endpoint_url": "https://s3.example.net/"},
            {"endpoint_url": "https://s3.example.net"},
            True,
        ),
    ],
)
def test_a_second_place_is_another(
    first: dict[str, t.Any], second: dict[str, t.Any], same: bool
) -> None:
    there = {**GOOD["backup_s3"], **first}
    found = problems(
        {
            "environment": "demo",
            "backup_s3": there,
            "backup_s3_second": {"bucket": there["bucket"], **second},
        }
    )
    assert bool(found) == same
    assert all("stack_backup_s3_second is the same bucket and prefix" in each for each in found)


def test_everything_that_is_wrong_is_said_at_once() -> None:
    found = problems({"app.web.workers": 0, "app.domain": "x", "backup_s3.bucket": "", "acme": 1})
    assert len(found) == 4


def _options(specification: t.Mapping[str, t.Any], path: str) -> t.Iterator[str]:
    for name, option in specification.items():
        here = f"{path}.{name}" if path else name
        yield here
        inner = f"{here}[]" if option.get("type") == "list" else here
        yield inner
        yield from _options(option.get("options", {}), inner)


def test_every_rule_is_about_an_option_that_exists() -> None:
    declared = _specification.options("common", "validate_inventory")
    instances = {"redis_instances": _specification.options("redis", "main")["redis_instances"]}
    backup = _specification.options("backup", "main")
    known = {*_options(declared, ""), *_options(instances, ""), *_options(backup, "")}
    assert set(_rules.RULES) - known == set()


def test_every_number_has_a_range() -> None:
    declared = _specification.options("common", "validate_inventory")

    def numbers(specification: t.Mapping[str, t.Any], path: str) -> t.Iterator[str]:
        for name, option in specification.items():
            here = f"{path}.{name}".lstrip(".")
            if option.get("type") == "int":
                yield here
            inner = f"{here}[]" if option.get("type") == "list" else here
            yield from numbers(option.get("options", {}), inner)

    assert [path for path in numbers(declared, "") if path not in _rules.RULES] == []


def test_every_default_keeps_the_rules() -> None:
    """A default is not looked at when an operator leaves it; so it is looked at here."""
    declared = _specification.options("common", "validate_inventory")

    def wrong(specification: t.Mapping[str, t.Any], path: str) -> t.Iterator[str]:
        for name, option in specification.items():
            here = f"{path}.{name}".lstrip(".")
            default = option.get("default")
            if default not in (None, "", [], {}):
                values = default if isinstance(default, list) else [default]
                rules = [*_rules.RULES.get(here, ())] if not isinstance(default, list) else []
                rules += _rules.RULES.get(f"{here}[]", ()) if isinstance(default, list) else ()
                yield from (here for rule in rules for value in values if not rule.holds(value))
            inner = f"{here}[]" if option.get("type") == "list" else here
            yield from wrong(option.get("options", {}), inner)

    assert list(wrong(declared, "")) == []


@pytest.mark.parametrize(
    ("takes", "request_", "sentence"),
    [
        (["app", "command"], {}, "app is missing; write -e app=shop (declared are shop)."),
        (
            ["app", "command"],
            {"app": "blog", "command": "x"},
            "'blog', which is not declared; write",
        ),
        (["app", "command"], {"app": ["shop"], "command": "x"}, "app is a list; write -e app=shop"),
        (["app", "command"], {"app": "shop"}, 'command is missing; write -e \'{"command": "python'),
        (["app", "command"], {"app": "shop", "command": " "}, "command is ' '; write -e"),
        ([], {"app": "shop"}, "app is 'shop', but this playbook serves every application; leave"),
        (None, {"app": "blog"}, "app is 'blog', which is not declared; write one of shop."),
        (
            [],
            {"version": "v9"},
            "version is 'v9', which this playbook does not heed; use playbooks",
        ),
        (["app", "version"], {"app": "shop", "version": "--x"}, "version is '--x'; write a tag"),
        (
            ["app", "version"],
            {"app": "shop", "version": 1.1},
            "version is 1.1, which is not text",
        ),
    ],
)
def test_a_request_is_honest(
    takes: list[str] | None, request_: dict[str, t.Any], sentence: str
) -> None:
    (problem,) = problems({"takes": takes, "request": request_})
    assert sentence in problem


def test_a_request_that_can_be_served_is_accepted() -> None:
    wanted = {"app": "shop", "command": "python manage.py check"}
    assert problems({"takes": ["app", "command"], "request": wanted}) == []
    assert problems({"takes": [], "request": {}}) == []
    deploy = {"app": "shop", "version": "v1.4.2"}
    assert problems({"takes": ["app", "version"], "request": deploy}) == []
    assert problems({"takes": ["app", "version"], "request": {"app": "shop"}}) == []
    # A variable of the operator's own may be called command.
    assert problems({"takes": [], "request": {"command": "x"}}) == []


@pytest.mark.parametrize(
    ("certificate", "key", "sentence"),
    [
        ("CERT", PEM.format("PRIVATE KEY"), "certificate is not right (its value is not shown)"),
        (fakes.CERTIFICATE, "KEY", "shop.private_key is not a private key; write its PEM"),
        (fakes.CERTIFICATE, "", "shop.private_key is missing; add it to"),
        (
            fakes.CERTIFICATE + PEM.format("PRIVATE KEY"),
            PEM.format("PRIVATE KEY"),
            "it holds a private key, move that to private_key of the vault twin.",
        ),
    ],
)
def test_a_pair_of_ones_own_is_pem(certificate: str, key: str, sentence: str) -> None:
    found = problems(
        {
            "app.certificate_source": "files",
            "app.certificate": certificate,
            "twin.private_key": key,
        }
    )
    assert len(found) == 1 and sentence in found[0]
    assert "MIIB" not in found[0]


@pytest.mark.parametrize("address", ["127.0.0.1", "224.0.0.1", "app1.internal"])
def test_an_address_that_others_cannot_reach_is_refused(address: str) -> None:
    (problem,) = problems({}, {"one": "10.0.0.1", "two": address})
    assert problem.startswith(f"stack_address of two is '{address}'; set it to the IP address")


@pytest.mark.parametrize("place", ["app", "app.web", "app.source", "app.celery", "app.database"])
@pytest.mark.parametrize("key", [1, None, True, 1.5, ("a", "b")])
def test_a_key_that_is_no_text_is_a_sentence(place: str, key: t.Any) -> None:
    inputs = copy.deepcopy(GOOD)
    target = inputs["applications"][0]
    for part in place.split(".")[1:]:
        target = target[part]
    target[key] = "x"
    (problem,) = _inventory.problems(inputs, GROUPS, ONE)
    assert f"{key} is not an option; write" in problem


BLOG = {
    "name": "blog",
    "domain": "blog.example.com",
    "source": {"repository": "https://git.example.com/blog.git"},
    "web": {"wsgi": "blog.wsgi:application", "port": 8002},
}


@pytest.mark.parametrize(
    ("ours", "theirs", "refused"),
    [
        (["shop:*"], ["blog:*"], ""),
        (["shop:*"], ["shop2:*"], ""),
        (["*"], ["blog:*"], "shop.redis_keys has '*', which may meet 'blog:*' of blog; let each"),
        (["shop:*", "asgi:*"], ["asgi:*"], "has 'asgi:*', which may meet 'asgi:*' of blog; let"),
        (["shop:*"], ["shop:cache:*"], "'shop:*', which may meet 'shop:cache:*' of blog; let"),
        (["b[l]og:*"], ["blog:*"], "shop.redis_keys has 'b[l]og:*', which may meet 'blog:*'"),
    ],
)
def test_no_application_can_reach_the_keys_of_another(
    ours: list[str], theirs: list[str], refused: str
) -> None:
    inputs = copy.deepcopy(GOOD)
    inputs["applications"][0]["redis_keys"] = ours
    inputs["applications"].append({**BLOG, "redis_keys": theirs})
    inputs["secrets"]["blog"] = inputs["secrets"]["shop"]
    found = _inventory.problems(inputs, GROUPS, ONE)
    assert len(found) == bool(refused)
    assert refused in "".join(found)


def test_a_variable_is_plain_or_secret() -> None:
    found = problems({"app.environment": {"DSN": "x"}, "twin.environment": {"DSN": "y"}})
    assert found == [
        "DSN is in stack_applications.shop.environment and in the vault twin's; remove one of them."
    ]


def test_workers_may_have_machines_of_their_own() -> None:
    assert _inventory.problems(GOOD, {**GROUPS, "worker": ["two"]}, TWO) == []


PAGES = {
    "name": "pages",
    "domain": "pages.example.com",
    "source": {"repository": "https://git.example.com/pages.git"},
    "static": {},
}
DASHBOARD = {**PAGES, "name": "dashboard", "domain": "dashboard.example.com", "static": None}
DASHBOARD["web"] = {"node": "server.js"}


@pytest.mark.parametrize(
    ("applications", "groups", "missing"),
    [
        ([PAGES], {"web": ["one"]}, ""),
        ([PAGES], {"web": []}, "no machine in the group 'web'"),
        ([DASHBOARD], {"web": ["one"], "application": ["one"]}, ""),
        ([PAGES, DASHBOARD], {"web": ["one"]}, "no machine in the group 'application'"),
        # A machine that is there is set up, and then it has passwords.
        ([PAGES], {"web": ["one"], "database": ["one"]}, "vault_stack_pgbouncer_password is"),
        ([PAGES], {"web": ["one"], "cache": ["one"]}, "vault_stack_redis_admin_password is"),
    ],
)
def test_frontends_alone_need_no_database(
    applications: list[dict[str, t.Any]], groups: dict[str, list[str]], missing: str
) -> None:
    given = {"environment": "test", "applications": applications, "secrets": {}}
    found = _inventory.problems(given, groups, ONE)
    assert missing in "".join(found)
    assert len(found) == bool(missing)


def test_one_web_machine_answers_the_authority() -> None:
    groups = {**GROUPS, "web": ["one", "two"]}
    (found,) = _inventory.problems(GOOD, groups, TWO)
    assert found.startswith("the group 'web' has 2 machines, and the authority that issues the")
    own = copy.deepcopy(GOOD)
    own["applications"][0]["certificate_source"] = "self_signed"
    assert _inventory.problems(own, groups, TWO) == []


@pytest.mark.parametrize(
    ("source", "refused"),
    [
        ({"directory": "/nowhere"}, "source.directory is '/nowhere'; write a folder of this comp"),
        ({"archive": "/nowhere.tar"}, "source.archive is '/nowhere.tar'; write a file of this c"),
        ({"directory": "/"}, ""),
        ({"archive": "/proc/version"}, ""),
        ({"archive": "https://example.com/shop.tar", "sha256": "0" * 64}, ""),
    ],
)
def test_what_is_sent_from_here_must_be_here(source: dict[str, str], refused: str) -> None:
    assert problems({"app.source": source}) == []
    found = problems({"app.source": source, "sources_needed": True})
    assert len(found) == bool(refused)
    assert refused in "".join(found)
