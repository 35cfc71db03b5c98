# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A .env file becomes a declaration and its secrets, and nobody sees a secret meanwhile."""

from __future__ import annotations

import subprocess
import typing as t
from pathlib import Path

import fakes
import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible.template import Templar, trust_as_template
from ansible_collections.slipway.stack.plugins.action import import_environment
from ansible_collections.slipway.stack.plugins.plugin_utils import (
    _dotenv,
    _import_environment,
    _inventory,
    _yaml_text,
)
from test_applications import GOOD, GROUPS, ONE

SECRET = "wq8Zk3vN0xTj5LrP2sYd"
# As the guides of five systems have them.
GUIDES = {
    "auction": f"""
DJANGO_DEBUG=False
DJANGO_SECRET_KEY={SECRET}
DJANGO_ALLOWED_HOSTS=auction.example.com
DATABASE_NAME=auction_platform
DATABASE_USER=auction
DATABASE_PASSWORD={SECRET}
DATABASE_URL="postgresql://${{DATABASE_USER}}:${{DATABASE_PASSWORD}}@postgres:5432/${{DATABASE_NAME}}"
REDIS_URL=redis://redis:6379/0
SECURE_SSL_REDIRECT=True
CORS_ALLOWED_ORIGINS=https://auction.example.com
""",
    "parkme": f"""
# Django
SECRET_KEY={SECRET}
DEBUG=False
DJANGO_ALLOWED_HOSTS=api.parkme.com,parkme.com

# Database
DATABASE_NAME=parkme_production
DATABASE_USER=parkme_user
DATABASE_PASSWORD={SECRET}
DATABASE_HOST=parkme-db.rds.amazonaws.com
DATABASE_PORT=5432

# Redis
REDIS_URL=redis://parkme-cache.cache.amazonaws.com:6379/1
CELERY_BROKER_URL=redis://parkme-cache.cache.amazonaws.com:6379/0
CELERY_RESULT_BACKEND=redis://parkme-cache.cache.amazonaws.com:6379/0

AWS_ACCESS_KEY_ID=AKIAEXAMPLE
AWS_SECRET_ACCESS_KEY={SECRET}
AWS_STORAGE_BUCKET_NAME=parkme-media
AWS_S3_REGION_NAME=us-east-1

EMAIL_HOST=smtp.sendgrid.net
EMAIL_PORT=587
EMAIL_USE_TLS=True
EMAIL_HOST_USER=apikey
EMAIL_HOST_PASSWORD={{sendgrid-api-key}}
DEFAULT_FROM_EMAIL=noreply@parkme.com
SENTRY_DSN={{your-sentry-dsn}}
SECURE_HSTS_SECONDS=31536000
""",
    "propflow": f"""
SECRET_KEY={SECRET}
DATABASE_URL=postgresql://propflow:{SECRET}@db:5432/propflow
REDIS_HOST=redis
S3_BUCKET=propflow-photos
AWS_ACCESS_KEY_ID=AKIAEXAMPLE
AWS_SECRET_ACCESS_KEY={SECRET}
TWILIO_ACCOUNT_SID=AC0123
GOOGLE_VISION_API_KEY={SECRET}
""",
    "atlas": f"""
DEBUG=False
SECRET_KEY={SECRET}
DATABASE_URL=postgresql://user:{SECRET}@db-host.example.com:5432/atlas_investor
REDIS_URL=redis://:{SECRET}@redis-host.example.com:6379/0
ALLOWED_HOSTS=staging.example.com
CORS_ALLOWED_ORIGINS=https://staging.example.com
MAPBOX_ACCESS_TOKEN={SECRET}
IDEALISTA_API_KEY=your-api-key
EMAIL_HOST=...
""",
    "ecommerce": f"""
export AWS_BACKUP_BUCKET=your-bucket-name
DATABASE_URL = "postgresql://postgres:{SECRET}@pgbouncer:6432/ecommerce"
POSTGRES_PASSWORD={SECRET}
""",
}
FASTAPI = ("propflow",)


def placed(guide: str) -> _import_environment.Placed:
    values, complaints = _dotenv.read(GUIDES[guide])
    assert complaints == []
    framework = "fastapi" if guide in FASTAPI else "django"
    return _import_environment.place(values, guide, framework)


@pytest.mark.parametrize("guide", GUIDES)
def test_what_a_guide_has_is_a_good_inventory_once_the_remarks_are_heeded(guide: str) -> None:
    found = placed(guide)
    application, secrets = found.application, found.secrets
    assert SECRET not in str(application) + str(found.remarks)
    application["domain"] = application["domain"] or "shop.example.com"
    application["source"]["repository"] = "https://git.example.com/shop.git"
    application["web"] = dict.fromkeys(application["web"], "shop.main:app")
    for name in ("database_password", "redis_password", "secret_key"):
        secrets[name] = secrets[name] or SECRET
    given = {**GOOD, "applications": [application], "secrets": {guide: secrets}}
    assert _inventory.problems(given, GROUPS, ONE) == []


def test_parkme_is_taken_over_whole() -> None:
    application, secrets, remarks = vars(placed("parkme")).values()
    assert application["domain"] == "api.parkme.com"
    assert application["database"] == {"name": "parkme_production"}
    assert application["s3"] == {"bucket": "parkme-media", "region": "us-east-1"}
    assert application["environment_names"] == {
        "DATABASE_NAME": "database_name",
        "DATABASE_USER": "database_user",
        "DATABASE_PASSWORD": "database_password",
        "DATABASE_HOST": "database_host",
        "DATABASE_PORT": "database_port",
        "CELERY_BROKER_URL": "broker_url",
        "CELERY_RESULT_BACKEND": "broker_url",
    }
    assert application["environment"]["EMAIL_PORT"] == "587"
    assert secrets["environment"] == {"EMAIL_HOST_PASSWORD": "", "SENTRY_DSN": ""}
    assert secrets["s3_access_key"] == "AKIAEXAMPLE"
    for sentence in (
        "DJANGO_ALLOWED_HOSTS has parkme.com too; add it to redirects, or to another application",
        "DATABASE_HOST names the server parkme-db.rds.amazonaws.com; if a provider runs it,"
        " declare stack_postgres",
        "SENTRY_DSN is a placeholder; its value is to be written",
        "redis_password is not known; write openssl rand -hex 32's output",
    ):
        assert sentence in remarks
    assert sum("parkme-cache" in remark for remark in remarks) == 1


def test_passwords_come_out_of_urls() -> None:
    found = placed("atlas")
    assert found.secrets["database_password"] == found.secrets["redis_password"] == SECRET
    assert found.application["database"] == {"name": "atlas_investor"}
    assert "domain is not known; write the name that visitors use" in placed("propflow").remarks


# By the second word: whether a shell reads the file at all.
READABLE = [
    ("A=b", True, "b"),
    ("export A=b # why\n", True, "b"),
    ("\ufeffA=b\r\n", False, "b"),
    ("A=b#c", True, "b#c"),
    ("A='it $B # \\d is'", True, "it $B # \\d is"),
    ('A="a\\"b\\\\n"', True, 'a"b\\n'),
    ('A="two\nlines"\nB=1', True, "two\nlines"),
    ("  A = b c  ", False, "b c"),
    ("A=", True, ""),
    ("export A= ", True, ""),
    ("A=1 # it 'is'", True, "1"),
    ("B=1\nA=x${B}-${B}", True, "x1-1"),
    ('B=1\nA="${B} ${C:-d}"', True, "1 d"),
    ("A=${C:-}", True, ""),
    ("B=1\nA=${B:-d}", True, "1"),
    ("A=it's", False, "it's"),
    ('A={"a": 1, "b": [2]}', False, '{"a": 1, "b": [2]}'),
    ("A=1\n\n# A=2\n", True, "1"),
]


@pytest.mark.parametrize(("text", "shell", "value"), READABLE)
def test_a_line_is_read_as_a_shell_reads_it(
    text: str, shell: bool, value: str, tmp_path: Path
) -> None:
    found = _dotenv.read(text)
    assert (found.values["A"], found.complaints) == (value, [])
    if shell:
        (tmp_path / "env").write_text(text, encoding="utf-8")
        script = 'set -a; . "$1"; printf %s "$A"'
        ran = subprocess.run(
            ["/bin/sh", "-c", script, "sh", tmp_path / "env"],
            env={},
            capture_output=True,
            text=True,
            check=True,
        )
        assert ran.stdout == value


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (f'A="p\\ass{SECRET}"', "A of line 1 has a backslash"),
        (f'A="^\\d+\\.\\w{SECRET}$"', "A of line 1 has a backslash"),
        ('A="a\\nb"', "A of line 1 has a backslash"),
        (f'B=1\nA="{SECRET}\\$A"', "A of line 2 has a backslash"),
        (f"A={SECRET}\\\\", "A of line 1 has a backslash"),
        (f"A=Ab${SECRET}", "A of line 1 has a $"),
        (f"A={SECRET}$$", "A of line 1 has a $"),
        ("A=`date`", "A of line 1 has a backtick"),
        ("A=${B:?must be set}", "A of line 1 has a $"),
        ("B=1\nA=${B:+other}", "A of line 2 has a $"),
        ("A=${B:-${C}}", "A of line 1 has a $"),
        ("B=\nA=${B:-d}", "A of line 2 has a default for a variable that is empty"),
        (f"A=${{B}}{SECRET}", "A of line 1 has the value of a variable that no line before sets"),
        (f"A=${{{SECRET}}}", "A of line 1 has the value of a variable that no line before sets"),
        ("A='${B}'", "A of line 1 has a backslash or ${ within single quotes"),
        (f"A='{SECRET}\\'", "A of line 1 has a backslash or ${ within single quotes"),
        ("A='a\\\\b'", "A of line 1 has a backslash or ${ within single quotes"),
        (f"A='{SECRET}'\\''s'", "A of line 1 has quotes that do not hold its whole value"),
        (f'A="{SECRET}"b', "A of line 1 has quotes that do not hold its whole value"),
        (f'A="{SECRET}"#b', "A of line 1 has quotes that do not hold its whole value"),
        (f'B=1\nA="{SECRET}', "A of line 2 has quotes that do not hold its whole value"),
        (f'A={SECRET}"b"', "A of line 1 has quotes within its value"),
        ("export A=1 B=2", "A of line 1 has several words without quotes"),
        ("A= B=1", "A of line 1 has several words without quotes"),
        ("export A= 1", "A of line 1 has several words without quotes"),
        ("export A=1\tb", "A of line 1 has several words without quotes"),
        ("A=x' #'y", "A of line 1 has quotes within its value"),
        ("A= '", "A of line 1 has quotes that do not hold its whole value"),
        (f"export A={{'{SECRET}'}}", "A of line 1 has quotes within its value"),
        ("export A=1 b", "A of line 1 has several words without quotes"),
        (f"A=1 B={SECRET}", "A of line 1 has several words without quotes"),
        ("A=~/shop", "A of line 1 has a ~ in front"),
        ("A= # nothing", "A of line 1 has only a comment behind its ="),
        (f"A=-----BEGIN KEY-----\n{SECRET}=", "A of line 1 has several lines without quotes"),
    ],
)
def test_what_readers_take_differently_is_refused_without_a_value(text: str, what: str) -> None:
    with pytest.raises(_dotenv.Unclear) as refusal:
        _dotenv.read(text)
    assert str(refusal.value).startswith(f"{what}, which readers of such files take differently;")
    assert SECRET not in str(refusal.value)


def test_all_that_is_refused_is_one_sentence() -> None:
    with pytest.raises(_dotenv.Unclear) as refusal:
        _dotenv.read("A=$B\nC=${A}\nD='x'y\n")
    assert str(refusal.value).startswith(
        "A of line 1 has a $, D of line 3 has quotes that do not hold its whole value, which"
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (f"A=1\nexport\n{SECRET}", "line 2 is no NAME=value; correct it, or remove it"),
        (f"A={SECRET}\nA=2", "A is there twice; the one of line 2 was taken"),
        (f"{SECRET} {SECRET}", "line 1 is no NAME=value; correct it, or remove it"),
    ],
)
def test_what_is_no_variable_is_said_without_a_value(text: str, sentence: str) -> None:
    found = _dotenv.read(text)
    assert sentence in found.complaints
    assert SECRET not in str(found.complaints)


ANOTHER = "x8Rk2mB7qHd4VnC1tGz0"
URL = f"postgresql://u:{SECRET}@db/main"
GETS = "was left out; the application gets"


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"PATH": "/bin"}, "PATH was left out; how processes start, the units decide"),
        ({"GUNICORN_CMD_ARGS": "--reload"}, "GUNICORN_CMD_ARGS was left out; how processes start"),
        ({"KEY": "a\nb"}, "KEY has several lines; encode it, for example in base64"),
        ({"KEY": "a\0b"}, "KEY has several lines; encode it, for example in base64"),
        ({"DATABASE_URL": "postgresql://u:p@h:x/d"}, "DATABASE_URL is no URL; correct it, and"),
        ({"REDIS_URL": f"redis://:a.b/{SECRET}@h"}, "REDIS_URL is no URL; correct it, and"),
        ({"DATABASE_URL": "your-url"}, "DATABASE_URL is a placeholder; its value is to be written"),
        ({"AWS_STORAGE_BUCKET_NAME": "{bucket}"}, "s3.bucket is not known; write it, or remove s3"),
        ({"DB_HOST": URL}, "DB_HOST is no name of a server; correct it"),
        (
            {"DATABASE_URL": URL, "POSTGRES_DB": "other"},
            "POSTGRES_DB has another database_name than DATABASE_URL, which was taken",
        ),
        (
            {"DB_PASSWORD": ANOTHER, "DATABASE_URL": URL},
            "DATABASE_URL has another database_password than DB_PASSWORD, which was taken",
        ),
        ({"DATABASE_URL": f"{URL}?sslmode=require"}, "DATABASE_URL has options behind its ?"),
        ({"DATABASE_URL": URL}, "DATABASE_URL names another user; the application logs in as main"),
        ({"DATABASE_URL": "mysql://u:p@db/d"}, "DATABASE_URL is no postgresql:// URL, but"),
        ({"DATABASE_URL": "postgis://u:p@db/d"}, "DATABASE_URL is no postgresql:// URL, but"),
        ({"CELERY_BROKER_URL": "amqp://u:p@mq//"}, "CELERY_BROKER_URL is no redis:// URL, but"),
        ({"REDIS_URL": "redis://redis:6379/5"}, "REDIS_URL is of another database of Redis than 0"),
        ({"REDIS_URL": "redis://a:b@redis"}, "REDIS_URL names another user; the application logs"),
        ({"CSRF_TRUSTED_ORIGINS": "https://a.b"}, f"CSRF_TRUSTED_ORIGINS {GETS} https://<domain>"),
        ({"REDIS_KEY_PREFIX": "old:"}, f"REDIS_KEY_PREFIX {GETS} shop: instead"),
        ({"MEDIA_ROOT": "/data"}, f"MEDIA_ROOT {GETS} /srv/shop/media instead"),
        ({"CONN_MAX_AGE": "600"}, f"CONN_MAX_AGE {GETS} 0 instead"),
        ({"CELERY_BROKER_URL": ""}, "CELERY_BROKER_URL is Celery's; declare celery too"),
        ({"PSQL_HOST": "db.old.example.com"}, "PSQL_HOST was kept and may lead to a server of"),
        ({"REPORTS": URL}, "REPORTS was kept and may lead to a server of today"),
        ({"REDIS_URL": "redis://redis"}, "REDIS_URL becomes the cache, which may forget; let"),
        (
            {"REDIS_URL": "redis://redis", "CELERY_RESULT_BACKEND": "django-db"},
            "REDIS_URL becomes the cache, which may forget; let queues use the broker",
        ),
        (
            {"CACHE_URL": "redis://redis", "BROKER_URL": "redis://redis"},
            "CACHE_URL becomes the cache, which may forget; let queues use the broker",
        ),
        ({"ALLOWED_HOSTS": '["a.example.com"]'}, "ALLOWED_HOSTS is a list; the application gets"),
        (
            {"ALLOWED_HOSTS": "a.example.com", "DJANGO_ALLOWED_HOSTS": "b.example.com"},
            "DJANGO_ALLOWED_HOSTS has b.example.com too; add it to redirects",
        ),
        ({"ALLOWED_HOSTS": "a.example.com,*"}, "ALLOWED_HOSTS has a pattern, which was left out"),
    ],
)
def test_what_cannot_be_placed_is_said(values: dict[str, str], sentence: str) -> None:
    remarks = _import_environment.place(values, "shop").remarks
    assert [each for each in remarks if each.startswith(sentence)], remarks
    assert not any(secret in str(remarks) for secret in (SECRET, ANOTHER))


def test_what_does_not_change_is_not_said() -> None:
    values = {
        "DATABASE_URL": f"postgresql://shop:{SECRET}@db:5432/shop",
        "DATABASE_PASSWORD": SECRET,
        "CACHE_URL": f"redis://shop:{SECRET}@redis:6379/0",
        "REDIS_URL": "redis://redis:6379/0",
        "BROKER_URL": "redis://broker:6379",
        "REDIS_HOST": "",
        "SECRET_KEY": SECRET,
        "ALLOWED_HOSTS": "shop.example.com,localhost",
        "CSRF_TRUSTED_ORIGINS": "https://shop.example.com",
        "CONN_MAX_AGE": "0",
        "MEDIA_ROOT": "/srv/shop/media",
        "DATABASE_HOST": "fd00::1",
    }
    found = _import_environment.place(values, "shop")
    assert found.remarks == ["source.repository and web.wsgi are not known; write them"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, "x") for name in ("ADMIN_TOKEN", "EMAIL_PASS", "MAIL_PWD", "PASSPHRASE", "SALT")),
        *((name, "x") for name in ("BASIC_AUTH", "ENCRYPTION_KEYS", "email_password", "Api_Key")),
        ("STRIPE", "sk_live_0123456789"),
        ("ELASTIC", "https://user:pass@search.example.com"),
        ("TRACKER", "https://abc@tracker.example.com"),
        ("STORE", "AccountName=a;AccountKey=b"),
        ("ACCOUNT", '{"private_key": "x"}'),
        ("ADMIN", "tr0ub4dor&3#horse*x"),
        ("ADMIN_LOGIN", "admin:hunter2"),
        ("ANTHROPIC", "sk-ant-abcdefghijkl"),
        ("MAPS", "abcdefghijklmnopqrstuvwx"),
        ("GOOGLE", "AIzaSyAbcdefgh"),
        ("SLACK_URL", "https://hooks.slack.com/services/T0/B0/abcdefghijklmnopqrstuvwx"),
    ],
)
def test_what_looks_like_a_secret_goes_into_the_vault(name: str, value: str) -> None:
    found = _import_environment.place({name: value}, "shop")
    assert found.secrets["environment"] == {name: value}
    assert "environment" not in found.application


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REGION", "eu-central-1"),
        ("FEATURES", '{"a": 1, "b": [2]}'),
        ("LIMITS", "{}"),
        ("SEARCH", "elastic:9200"),
        ("ORIGINS", "https://shop.example.com,https://admin.shop.example.com"),
        ("LANGUAGES", "sk-SK,pk"),
        ("GREETING", "your order is ready"),
        ("EMAIL_BACKEND", "django.core.mail.backends.smtp.EmailBackend"),
        ("CELERY_RESULT_BACKEND", "django-db"),
        ("AWS_S3_REGION_NAME", "eu-central-1"),
    ],
)
def test_what_is_no_secret_stays_what_it_is(name: str, value: str) -> None:
    found = _import_environment.place({name: value}, "shop")
    assert found.application["environment"] == {name: value}
    assert not any("placeholder" in remark for remark in found.remarks)


def test_what_stays_in_clear_is_listed_by_name() -> None:
    values = {"BASIC": "correct horse", "REGION": "eu", "EMPTY": "", "API_KEY": "x"}
    remarks = _import_environment.place(values, "shop").remarks
    assert (
        "BASIC, REGION stay in clear in the declaration; move what is a secret into the vault's"
        " twin"
    ) in remarks
    assert "horse" not in str(remarks)
    none = _import_environment.place({"API_KEY": "x"}, "shop").remarks
    assert not any("in clear" in each for each in none)


def test_names_in_lower_case_hold_facts_as_well() -> None:
    found = _import_environment.place({"secret_key": SECRET, "database_url": URL}, "shop")
    assert found.secrets["secret_key"] == found.secrets["database_password"] == SECRET
    names = {"secret_key": "secret_key", "database_url": "database_url"}
    assert found.application["environment_names"] == names
    assert "environment" not in found.application


def test_keys_without_a_bucket_are_secrets_of_the_application() -> None:
    values = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": SECRET}
    for more in ({}, {"AWS_STORAGE_BUCKET_NAME": ""}):
        found = _import_environment.place({**values, **more}, "shop")
        assert values.items() <= found.secrets["environment"].items()
        assert "s3" not in found.application and "s3_access_key" not in found.secrets


@pytest.mark.parametrize("last", ["JWT_SECRET_KEY", "DJANGO_SECRET_KEY"])
def test_a_second_key_stays_another_one(last: str) -> None:
    found = _import_environment.place({"SECRET_KEY": SECRET, last: ANOTHER}, "shop")
    assert (found.secrets["secret_key"], found.secrets["environment"]) == (SECRET, {last: ANOTHER})
    assert last not in found.application.get("environment_names", {})


@pytest.mark.parametrize(
    ("values", "secret"),
    [
        ({"SECRET_KEY": SECRET, "JWT_SECRET_KEY": ""}, "secret_key"),
        ({"SECRET_KEY": "", "JWT_SECRET_KEY": SECRET}, "secret_key"),
        ({"DATABASE_URL": URL, "DB_PASSWORD": ""}, "database_password"),
        (
            {"DB_PASSWORD": SECRET, "DATABASE_URL": "postgresql://u:{password}@h/d"},
            "database_password",
        ),
        ({"REDIS_PASSWORD": SECRET, "REDIS_URL": "redis://redis"}, "redis_password"),
    ],
)
def test_an_empty_one_never_replaces_a_full_one(values: dict[str, str], secret: str) -> None:
    assert _import_environment.place(values, "shop").secrets[secret] == SECRET


def test_empty_ones_declare_nothing() -> None:
    values = {
        "ALLOWED_HOSTS": "localhost,.example.com,*",
        "DATABASE_NAME": "",
        "AWS_S3_ENDPOINT_URL": "",
        "DATABASE_URL": "postgresql:///",
        "REDIS_URL": "redis://:{password}@10.0.0.1",
    }
    found = _import_environment.place(values, "shop")
    assert (found.application["domain"], found.secrets["redis_password"]) == ("", "")
    assert "database" not in found.application and "s3" not in found.application


def run(password: VaultSecret | None, check_mode: bool = False, **args: t.Any) -> dict[str, t.Any]:
    action = fakes.action(import_environment, args, check_mode)
    action._loader.set_vault_secrets([("default", password)] if password else [])
    result: dict[str, t.Any] = action.run(None, {})
    return result


@pytest.fixture
def asked(tmp_path: Path) -> dict[str, t.Any]:
    (tmp_path / ".env").write_text(GUIDES["parkme"])
    return {
        "path": str(tmp_path / ".env"),
        "into": str(tmp_path / "all"),
        "name": trust_as_template("parkme"),
    }


def test_two_files_are_written_once(asked: dict[str, t.Any], tmp_path: Path) -> None:
    assert run(None, check_mode=True, **asked)["count"] == 23
    assert not (tmp_path / "all").exists()
    said = run(None, **asked)
    assert SECRET not in str(said)
    assert "secrets.yml is not encrypted" in said["remarks"][-1]
    assert said["remarks"][-2].startswith(
        "stack_environment, vault_stack_pgbouncer_password and vault_stack_redis_admin_password are"
    )
    secrets = tmp_path / "all" / "secrets.yml"
    assert secrets.stat().st_mode & 0o777 == 0o600
    told = yaml.safe_load(secrets.read_text())["vault_stack_applications"]["parkme"]
    assert told["database_password"] == SECRET
    declared = yaml.safe_load((tmp_path / "all" / "applications.yml").read_text())
    assert declared["stack_applications"][0]["name"] == "parkme"
    with pytest.raises(AnsibleActionFail, match="has parkme already; remove it there"):
        run(None, **asked)


def test_a_second_application_is_added_and_the_rest_stays_as_it_is_written(
    asked: dict[str, t.Any], tmp_path: Path
) -> None:
    run(None, **asked)
    declared = tmp_path / "all" / "applications.yml"
    secrets = tmp_path / "all" / "secrets.yml"
    # As people go on: something before, comments, something behind.
    text = declared.read_text().replace("---\n", "---\n# Ours.\nstack_environment: test\n\n")
    behind = "\n# Of a provider.\nstack_redis:\n  ca: |\n    PEM\n    PEM\n"
    declared.write_text(text + behind)
    held = secrets.read_text() + "\nvault_stack_pgbouncer_password: !vault |\n  $ANSIBLE\n  616\n"
    secrets.write_text(held)
    secrets.chmod(0o640)
    (tmp_path / ".env").write_text(GUIDES["atlas"])
    said = run(None, **{**asked, "name": "atlas"})
    assert SECRET not in str(said)
    written = declared.read_text()
    assert written.startswith(text) and written.endswith(behind)
    loaded = yaml.safe_load(written)
    assert [each["name"] for each in loaded["stack_applications"]] == ["parkme", "atlas"]
    assert loaded["stack_redis"] == {"ca": "PEM\nPEM\n"}
    told = _yaml_text.read(secrets.read_text())
    assert set(told["vault_stack_applications"]) == {"parkme", "atlas"}
    assert told["vault_stack_pgbouncer_password"] == ("vault", "$ANSIBLE\n616\n")
    assert secrets.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in sorted((tmp_path / "all").iterdir())] == [
        "applications.yml",
        "secrets.yml",
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("stack_applications: []\n", "has stack_applications on one line; write it over several"),
        ("stack_applications: [{name: a}]\n", "has stack_applications on one line"),
        ("stack_applications: '{{ others }}'\n", "has stack_applications on one line"),
        ("a: b: c\n", "is no YAML, line 1"),
        ("- a\n", "holds no variables"),
        ("stack_applications:\n  - name: atlas\n", "has atlas already; remove it there"),
    ],
)
def test_what_nothing_can_be_added_to_stays_as_it_is(
    asked: dict[str, t.Any], tmp_path: Path, text: str, sentence: str
) -> None:
    declared = tmp_path / "all" / "applications.yml"
    declared.parent.mkdir()
    declared.write_text(text)
    with pytest.raises(AnsibleActionFail, match=sentence):
        run(None, **{**asked, "name": "atlas"})
    assert declared.read_text() == text
    assert not (tmp_path / "all" / "secrets.yml").exists()


@pytest.mark.parametrize(
    "text",
    [
        "stack_applications:\n- name: a\n  web:\n    wsgi: a:b  # why\n# Behind.\nother: 1",
        "other: 1\nstack_applications:\n    - {name: a}\n    -\n        name: b\n        text: >-\n"
        "            two\n            lines\n\n\n# The end.\n",
        "# Nothing yet.\n",
        "stack_environment: test",
    ],
)
def test_what_is_added_is_all_that_changes(text: str) -> None:
    entry = [{"name": "new", "environment": {"A": "{{ b }}"}}]
    added = _yaml_text.add(text, "stack_applications", entry)
    old, new = text.splitlines(), added.splitlines()
    kept = [line for line in new if line in old]
    assert kept == old
    names = [each["name"] for each in _yaml_text.read(added)["stack_applications"]]
    assert names[-1] == "new" and len(names) == text.count("name:") + 1


def test_secrets_that_are_encrypted_stay_so(asked: dict[str, t.Any], tmp_path: Path) -> None:
    password = VaultSecret(b"the vault's password")
    run(password, **asked)
    secrets = tmp_path / "all" / "secrets.yml"
    before = secrets.read_text()
    (tmp_path / ".env").write_text(GUIDES["atlas"])
    for wrong in (None, VaultSecret(b"another")):
        with pytest.raises(AnsibleActionFail, match="is encrypted; give the password it was"):
            run(wrong, **{**asked, "name": "atlas"})
        assert secrets.read_text() == before
    run(password, **{**asked, "name": "atlas"})
    text = secrets.read_text()
    assert text.startswith("$ANSIBLE_VAULT")
    told = yaml.safe_load(VaultLib([("default", password)]).decrypt(text))
    assert set(told["vault_stack_applications"]) == {"parkme", "atlas"}


FRONTENDS = {
    "static": f"VITE_API_URL=https://api.example.com\nVITE_MAP_TOKEN={SECRET}\nPORT=3000\n",
    "node": f"NEXT_PUBLIC_API_URL=https://api.example.com\nSESSION_SECRET={SECRET}\n",
}


@pytest.mark.parametrize("kind", FRONTENDS)
def test_a_frontends_file_is_taken_over(kind: str) -> None:
    values, _complaints = _dotenv.read(FRONTENDS[kind])
    found = _import_environment.place(values, "pages", kind)
    application = found.application
    assert SECRET not in str(application) + str(found.remarks)
    assert not {"framework", "database"} & set(application)
    told = {**application["environment"], **found.secrets["environment"]}
    assert told == values
    published = [remark for remark in found.remarks if "every visitor gets" in remark]
    assert published == (
        [
            "VITE_MAP_TOKEN may be a secret, but what is called so is built into what every visitor"
            " gets; issue another one if it is"
        ]
        if kind == "static"
        else []
    )
    assert not any("API_URL stay in clear" in remark for remark in found.remarks)
    application["domain"] = "pages.example.com"
    application["source"]["repository"] = "https://git.example.com/pages.git"
    if kind == "node":
        application["web"]["node"] = "server.js"
    applications = [*GOOD["applications"], application]
    twins = {**GOOD["secrets"], "pages": found.secrets}
    given = {**GOOD, "applications": applications, "secrets": twins}
    assert _inventory.problems(given, GROUPS, ONE) == []


def test_what_is_a_frontends_is_said() -> None:
    found = _import_environment.place({"VITE_API_URL": "https://api.example.com"}, "shop")
    assert any(remark.startswith("VITE_API_URL is for what builds") for remark in found.remarks)


def test_with_a_password_the_secrets_are_encrypted(asked: dict[str, t.Any], tmp_path: Path) -> None:
    password = VaultSecret(b"the vault's password")
    said = run(password, **asked)
    text = (tmp_path / "all" / "secrets.yml").read_text()
    assert text.startswith("$ANSIBLE_VAULT") and SECRET not in text
    assert not any("encrypted" in remark for remark in said["remarks"])
    assert SECRET in VaultLib([("default", password)]).decrypt(text).decode()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"path": "/nonexistent/.env"}, "env_file is '/nonexistent/.env', which cannot be read"),
        ({"into": "/proc/none"}, "into is '/proc/none', where nothing can be written"),
        ({"name": "../../x"}, "app is '../../x'; write 2 to 31 lower-case letters"),
        ({"name": "My-App"}, "app is 'My-App'; write 2 to 31 lower-case letters"),
        ({"name": "postgres"}, "app is 'postgres'; the system uses that name itself"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    asked: dict[str, t.Any], change: dict[str, str], sentence: str
) -> None:
    with pytest.raises(AnsibleActionFail, match=sentence):
        run(None, **{**asked, **change})


def test_what_is_refused_writes_nothing(asked: dict[str, t.Any], tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"DB_PASSWORD={SECRET}$x\n")
    with pytest.raises(AnsibleActionFail, match=r"nothing was written: DB_PASSWORD of line 1 has"):
        run(None, **asked)
    assert not (tmp_path / "all").exists()


def test_a_relative_path_is_one_of_the_folder_that_one_is_in(
    asked: dict[str, t.Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(None, **{**asked, "path": ".env", "into": "here"})
    assert (tmp_path / "here" / "secrets.yml").exists()


def test_what_jinja_would_read_stays_what_it_is(asked: dict[str, t.Any], tmp_path: Path) -> None:
    values = {
        "PAGE_TITLE": "Hi {{ name }} and {% raw %}x",
        "REMARK": 'a {# b #} "c"',
        "STRIPE_API_KEY": "sk{{1+1}}abc",
        "SECRET_KEY": f"{SECRET}{{{{ 1 + 1 }}}}",
        "PLAIN": "{a}",
    }
    (tmp_path / ".env").write_text("".join(f"{name}='{each}'\n" for name, each in values.items()))
    run(None, **asked)
    found: dict[str, t.Any] = {}
    for file in sorted((tmp_path / "all").iterdir()):
        loader = DataLoader()
        read = loader.load_from_file(str(file), trusted_as_template=True)
        found |= Templar(loader=loader, variables=read).template(read)
    twin = found["vault_stack_applications"]["parkme"]
    told = {**found["stack_applications"][0]["environment"], **twin["environment"]}
    assert {**told, "SECRET_KEY": twin["secret_key"]} == {**values, "PLAIN": ""}
