# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A .env file becomes a declaration and its secrets, and nobody sees a secret meanwhile."""

from __future__ import annotations

import typing as t
from pathlib import Path

import fakes
import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible.template import trust_as_template
from ansible_collections.slipway.stack.plugins.action import import_environment
from ansible_collections.slipway.stack.plugins.plugin_utils import (
    _dotenv,
    _import_environment,
    _inventory,
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


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("A=b", "A", "b"),
        ("\ufeffexport A=b # why\r\n", "A", "b"),
        ("A=b#c", "A", "b#c"),
        ("A='it $B # is'", "A", "it $B # is"),
        ('A="a\\"b\\nc"', "A", 'a"b\nc'),
        ('A="two\nlines"\nB=1', "A", "two\nlines"),
        ("  A = b c  ", "A", "b c"),
        ("A=", "A", ""),
        ("B=1\nA=x${B}$B", "A", "x11"),
        ("A=${C:-d}", "A", "d"),
        ("A=it's", "A", "it's"),
        ("A=1\n\n# A=2\n", "A", "1"),
    ],
)
def test_a_line_is_read_as_shells_and_docker_read_it(text: str, name: str, value: str) -> None:
    found = _dotenv.read(text)
    assert (found.values[name], found.complaints) == (value, [])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (f"A=1\nexport\n{SECRET}", "line 2 is no NAME=value; correct it, or remove it"),
        (f'A=1\nB="{SECRET}', "B"),
        (f"A={SECRET}\nA=2", "A is there twice; the one of line 2 was taken"),
        (f"A=${{B}}{SECRET}", "A uses B, which is not in the file; write its value"),
        (f"{SECRET} {SECRET}", "line 1 is no NAME=value; correct it, or remove it"),
    ],
)
def test_what_cannot_be_read_is_said_without_a_value(text: str, sentence: str) -> None:
    found = _dotenv.read(text)
    if sentence == "B":  # an open quote is a value of its own line
        assert found.values["B"] == f'"{SECRET}'
        return
    assert sentence in found.complaints
    assert SECRET not in str(found.complaints)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"PATH": "/bin"}, "PATH was left out; how processes start, the units decide"),
        ({"KEY": "a\nb"}, "KEY has several lines; encode it, for example in base64"),
        ({"DATABASE_URL": "postgresql://u:p@h:x/d"}, "DATABASE_URL is no URL; correct it"),
        ({"DATABASE_URL": "your-url"}, "DATABASE_URL is a placeholder; its value is to be written"),
        ({"AWS_S3_REGION_NAME": "eu"}, "s3.bucket is not known; write it, or remove s3"),
    ],
)
def test_what_cannot_be_placed_is_said(values: dict[str, str], sentence: str) -> None:
    assert sentence in _import_environment.place(values, "shop").remarks


def test_what_looks_like_a_secret_goes_into_the_vault() -> None:
    values = {
        "STRIPE": "sk_live_0123456789abcdefghij",
        "ELASTIC": "https://user:pass@search.example.com",
        "ADMIN_TOKEN": "x",
        "REGION": "eu-central-1",
        "ALLOWED_HOSTS": "localhost,.example.com,*",
        "DATABASE_NAME": "",
        "AWS_S3_ENDPOINT_URL": "",
        "DATABASE_URL": "postgresql:///",
        "REDIS_URL": "redis://:{password}@10.0.0.1",
    }
    found = _import_environment.place(values, "shop")
    assert set(found.secrets["environment"]) == {"STRIPE", "ELASTIC", "ADMIN_TOKEN"}
    assert found.application["environment"] == {"REGION": "eu-central-1"}
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
    secrets = tmp_path / "all" / "secrets.yml"
    assert secrets.stat().st_mode & 0o777 == 0o600
    told = yaml.safe_load(secrets.read_text())["vault_stack_applications"]["parkme"]
    assert told["database_password"] == SECRET
    declared = yaml.safe_load((tmp_path / "all" / "applications.yml").read_text())
    assert declared["stack_applications"][0]["name"] == "parkme"
    with pytest.raises(AnsibleActionFail, match="is there already; name another folder"):
        run(None, **asked)


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
    ],
)
def test_files_that_cannot_be_are_one_sentence(
    asked: dict[str, t.Any], change: dict[str, str], sentence: str
) -> None:
    with pytest.raises(AnsibleActionFail, match=sentence):
        run(None, **{**asked, **change})
