# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the files of redis and pgbouncer say, rendered as the roles render them."""

from __future__ import annotations

import hashlib
import typing as t
from pathlib import Path

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROLES = Path(__file__).resolve().parents[2] / "roles"
OVERRIDES = {"trim_blocks": True, "lstrip_blocks": True}
FACTS = {"ansible_facts": {"memtotal_mb": 4000, "distribution_major_version": "13"}}


def render(role: str, template: str, **variables: t.Any) -> list[str]:
    """The lines of a template, from the role's defaults and the given variables."""
    loader = DataLoader()
    known: dict[str, t.Any] = {"ansible_managed": "managed", **FACTS}
    for folder in ("defaults", "vars"):
        path = str(ROLES / role / folder / "main.yml")
        known.update(loader.load_from_file(path, trusted_as_template=True))
    text = trust_as_template((ROLES / role / "templates" / template).read_text(encoding="utf-8"))
    templar = Templar(loader, variables={**known, **variables})
    rendered = templar.template(text, escape_backslashes=False, overrides=OVERRIDES)
    return str(rendered).splitlines()


def redis(**instance: t.Any) -> list[str]:
    defaults = {
        "name": "broker",
        "port": 6379,
        "memory_limit_megabytes": 0,
        "eviction_policy": "noeviction",
        "persistent": True,
        "settings": {},
    }
    return render("redis", "redis.conf.j2", __redis_instance={**defaults, **instance})


def test_ipv6_loopback_may_be_missing() -> None:
    assert "bind 127.0.0.1 -::1" in redis()


@pytest.mark.parametrize(
    ("limit", "machine", "expected"),
    [(0, 4000, "448mb"), (0, 400, "64mb"), (0, 4090, "448mb"), (100, 4000, "100mb")],
)
def test_memory_follows_the_machine_in_steps(
    limit: int, machine: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FACTS["ansible_facts"], "memtotal_mb", machine)
    assert f"maxmemory {expected}" in redis(memory_limit_megabytes=limit)


def test_only_a_persistent_instance_writes_to_disk() -> None:
    assert {"appendonly yes", "appendfsync everysec", "save 900 1 300 10 60 10000"} <= set(redis())
    assert {"appendonly no", 'save ""'} <= set(redis(persistent=False))


def test_settings_of_an_instance_come_last() -> None:
    lines = redis(settings={"lazyfree-lazy-eviction": True, "rename-command": ["A B", "C D"]})
    assert lines[-3:] == ["lazyfree-lazy-eviction yes", "rename-command A B", "rename-command C D"]


def test_users_are_written_with_the_sums_of_their_passwords() -> None:
    users = [
        {"name": "shop", "password": "clear"},
        {"name": "blog", "password": "clear", "keys": ["b:*"], "commands": ["+info"]},
    ]
    lines = render("redis", "users.acl.j2", redis_users=users, redis_admin_password="clear")
    digest = hashlib.sha256(b"clear").hexdigest()
    assert lines[0] == "user default off ~* &* +@all"
    assert lines[2].startswith(f"user shop on #{digest} resetchannels ~shop:* &shop:* &shop:/0.")
    assert f"user blog on #{digest} resetchannels ~b:* &blog:* " in lines[3]
    assert lines[3].endswith(" +info")
    assert "clear" not in "\n".join(lines)


def pgbouncer(**variables: t.Any) -> list[str]:
    return render("pgbouncer", "pgbouncer.ini.j2", **variables)


def test_a_pool_names_its_server_and_limits() -> None:
    lines = pgbouncer(pgbouncer_databases=[{"name": "shop", "pool_size": 5}])
    (shop,) = [line for line in lines if line.startswith("shop = ")]
    assert shop == (
        "shop = host=127.0.0.1 port=5432 auth_user=pgbouncer"
        " pool_size=5 reserve_pool=10 max_db_connections=100"
    )
    assert not any(line.startswith("*") for line in lines)


@pytest.mark.parametrize(("release", "there"), [("12", False), ("13", True)])
def test_prepared_statements_follow_the_release(
    release: str, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FACTS["ansible_facts"], "distribution_major_version", release)
    assert ("max_prepared_statements = 200" in pgbouncer()) is there


def test_settings_that_need_a_restart_are_in_a_file_of_their_own() -> None:
    settings = {"listen_backlog": 256, "server_lifetime": 600, "application_name_add_host": True}
    assert pgbouncer(pgbouncer_settings=settings)[-2:] == [
        "server_lifetime = 600",
        "application_name_add_host = 1",
    ]
    listen = render("pgbouncer", "listen.ini.j2", pgbouncer_settings=settings)
    assert listen[-1] == "listen_backlog = 256"


def test_clients_are_addresses_with_a_mask() -> None:
    lines = render(
        "pgbouncer",
        "clients.conf.j2",
        pgbouncer_databases=[{"name": "shop"}],
        pgbouncer_clients=["10.0.0.5", "10.1.0.0/16", "fd00::5"],
    )
    assert lines[1:] == [
        'hostssl "shop" all 10.0.0.5/32 scram-sha-256',
        'hostssl "shop" all 10.1.0.0/16 scram-sha-256',
        'hostssl "shop" all fd00::5/128 scram-sha-256',
    ]


def test_a_quote_in_the_password_is_doubled() -> None:
    lines = render("pgbouncer", "userlist.txt.j2", pgbouncer_auth_password='a"b')
    assert lines == ['"pgbouncer" "a""b"']


def test_a_providers_server_is_verified_and_asked_for_no_password_of_others() -> None:
    server = {"host": "db.example.com", "port": 25060, "ca_file": "/etc/ca.pem"}
    given = {
        "pgbouncer_server": server,
        "pgbouncer_databases": [{"name": "shop"}],
        "pgbouncer_users": [{"name": "shop", "password": 'quo"ted'}],
        "pgbouncer_auth_password": "",
    }
    lines = render("pgbouncer", "pgbouncer.ini.j2", **given)
    assert {"server_tls_sslmode = verify-full", "server_tls_ca_file = /etc/ca.pem"} <= set(lines)
    assert not any("auth_query" in line or "auth_user" in line for line in lines)
    pool = next(line for line in lines if line.startswith("shop = "))
    assert pool.startswith("shop = host=db.example.com port=25060 pool_size=")
    users = render("pgbouncer", "userlist.txt.j2", **given)
    assert [line for line in users if line] == ['"shop" "quo""ted"']
