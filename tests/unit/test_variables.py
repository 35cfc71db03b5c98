# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Variables that nobody reads, of the wrong type, or said in two ways, on whichever machine."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.slipway.stack.plugins.plugin_utils import _rules, _variables
from jinja2.exceptions import UndefinedError

SCHEDULES = [
    *("02:00", "daily", "Sun 04:00", "03/6:00", "*:0/15", "*-*-* 04:00:00", "Mon..Fri 4:5:06"),
    *("Mon,Wed *-*-1..7 18:00", "2099-01-01", "*-*~1 02:00 Europe/Berlin", "Sat,Sun 0..23/2:30"),
]
SITE = {"stack_environment": "production", "stack_applications": [{"name": "shop"}]}


class Lazy(dict[str, t.Any]):
    """As Ansible's own: a template is rendered when it is asked for, and may fail then."""

    def __getitem__(self, name: str) -> t.Any:
        value = super().__getitem__(name)
        if isinstance(value, UndefinedError):
            raise value
        return value


def problems(**second: t.Any) -> list[str]:
    """Of two machines, the second of which has more variables."""
    return _variables.problems({"one": Lazy(SITE), "two": Lazy({**SITE, **second})})


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"stack_address": "10.0.0.2"},
        {"stack_health": {"host": {}}},
        {"postgres_settings": {"work_mem": "16MB"}, "backup_retention_days": "30"},
        {"app_of_mine": 1, "backup_window": 1, "shop_port": 1, "ansible_host": "x"},
        {"postgres_listen_addresses": "a wire's own affair"},
        {"redis_engine": UndefinedError("'ansible_facts' is undefined")},
        {"postgres_settings": Lazy(work_mem=UndefinedError("'ansible_facts' is undefined"))},
        {"redis_instances": [Lazy(name=UndefinedError("later"))]},
        {"stack_backup_paths": ["/srv/reports of 2026", "/var/lib/redis"]},
        {"backup_ping_url": ""},
        {"backup_ping_url": "http://switch.test:8080/{machine}-{kind}?x=1"},
        *({"backup_schedule": schedule} for schedule in SCHEDULES),
        {"backup_rehearsal": {"schedule": "Sat 23:59", "rto_minutes": 1}},
    ],
)
def test_what_is_right_or_not_ours_is_accepted(variables: dict[str, t.Any]) -> None:
    assert problems(**variables) == []


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        (
            {"stack_aplications": []},
            "stack_aplications is not an option; write stack_applications.",
        ),
        ({"vault_stack_backups_s3": {}}, "is not an option; write vault_stack_backup_s3."),
        ({"stack_adress": "x"}, "stack_adress is not an option; write stack_address."),
        (
            {"postgres_setings": {}},
            "postgres_setings is not an option; write postgres_settings, or",
        ),
        ({"app_releases_keeps": 3}, "app_releases_keeps is not an option; write app_releases_kept"),
        (
            {"pgbouncer_pool_size": 20},
            "pgbouncer_pool_size is not an option; see ansible-doc -t role slipway.stack.pgbouncer",
        ),
        ({"redis_engine": "memcached"}, "redis_engine is 'memcached'; write one of redis, valkey"),
        ({"redis_engine": "memcached"}, "(of two)."),
        (
            {"nginx_certbot_general_requests_per_second": "fast"},
            "nginx_certbot_general_requests_per_second is 'fast'; write a whole number (of two).",
        ),
        ({"backup_ping_url": "not a url"}, "backup_ping_url is 'not a url'; write a URL like"),
        ({"backup_ping_url": "switch/x"}, "backup_ping_url is 'switch/x'; write a URL like"),
        ({"backup_retention_days": -3}, "backup_retention_days is -3; write 1 to 36500 (of two)."),
        (
            {"backup_physical": {"retention_days": -3}},
            "backup_physical.retention_days is -3; write 1 to 36500 (of two).",
        ),
        ({"backup_physical": {"schedule": ""}}, "backup_physical.schedule is ''; write one that"),
        *(
            ({"backup_rehearsal": {"schedule": schedule}}, "systemd-analyze calendar accepts, like")
            for schedule in ("Sun 25:00", "Sun 4:60", "Someday 04:00", "04:00:61", "4", "soon", " ")
        ),
        (
            {"backup_rehearsal": {"rto_minutes": 0}},
            "backup_rehearsal.rto_minutes is 0; write 1 to 43200 (of two).",
        ),
        ({"stack_backup_paths": ["srv/x"]}, "is 'srv/x'; write the whole path, from / (of two)."),
        ({"stack_backup_paths": [5]}, "write "),
        ({"stack_backup_paths": "/srv/x"}, "stack_backup_paths is '/srv/x'; write a list (of two)"),
        (
            {"redis_engine": UndefinedError("A vault exception marker was tripped.")},
            "redis_engine cannot be decrypted; add --ask-vault-pass or --vault-password-file",
        ),
        (
            {"stack_environment": "staging"},
            "stack_environment is one for the whole site, but one has one and two has another;",
        ),
        (
            {"vault_stack_pgbouncer_password": "x"},
            "vault_stack_pgbouncer_password is one for the whole site, but two has one and one has"
            " none; write it into group_vars/all only.",
        ),
    ],
)
def test_what_is_wrong_is_a_sentence(variables: dict[str, t.Any], sentence: str) -> None:
    (problem,) = problems(**variables)
    assert sentence in problem


LIMITS = {"lock_timeout_seconds": 2, "statement_timeout_seconds": 0, "attempts": 1}


@pytest.mark.parametrize(
    ("name", "wrong", "remedy"),
    [
        ("app_lock_seconds", 0, "write 60 to 86400"),
        ("app_lock_seconds", 59, "write 60 to 86400"),
        ("app_watch_seconds", -3, "write 0 to 86400, 0 not to watch"),
        ("app_health_timeout_seconds", 0, "write 1 to 86400"),
        ("celery_health_timeout_seconds", 0, "write 1 to 86400"),
        ("app_releases_kept", -1, "write 0 to 1000"),
        ("app_migrate_limits.lock_timeout_seconds", 0, "write 1 to 3600"),
        ("app_migrate_limits.statement_timeout_seconds", -5, "write 0 to 86400, 0 for no limit"),
        ("app_migrate_limits.attempts", 0, "write 1 to 1000"),
        ("app_watch_limits.error_percent", -1.0, "write 0 to 100"),
        ("app_watch_limits.p95_milliseconds", 0.0, "write 1 to 3600000"),
    ],
)
def test_what_would_undo_a_release_is_out_of_range(name: str, wrong: t.Any, remedy: str) -> None:
    option, _dot, inner = name.partition(".")
    sentence = f"{name} is {wrong!r}; {remedy} (of two)."
    assert problems(**{option: {inner: wrong} if inner else wrong}) == [sentence]


def test_what_is_within_the_ranges_is_accepted() -> None:
    assert problems(app_migrate_limits=LIMITS, app_watch_seconds="0", app_lock_seconds="60") == []
    assert problems(app_watch_limits={"error_percent": 0.5, "p95_milliseconds": 1}) == []


def test_each_range_is_that_of_an_option() -> None:
    for name in _rules.ROLES:
        option, _dot, inner = name.partition(".")
        assert _variables.is_option(option)
        specification = _variables._options()[option][1]
        assert not inner or inner in specification["options"]


def test_the_wiring_is_no_option_of_an_operator() -> None:
    assert "postgres_databases" in _variables.wires()
    assert "stack_topology" in _variables.wires()
