"""What differs between machines comes from the environment; the README lists the names."""

import os
from pathlib import Path

import sentry_sdk
from psycopg import capabilities
from psycopg.conninfo import conninfo_to_dict
from redis.backoff import ConstantBackoff
from redis.retry import Retry

BASE_DIR = Path(__file__).resolve().parent.parent


def _words(name: str) -> list[str]:
    return [word.strip() for word in os.environ.get(name, "").split(",") if word.strip()]


def _is_on(name: str) -> bool:
    return os.environ.get(name, "").lower() in {"1", "true", "yes", "on"}


def _database(url: str) -> dict[str, object]:
    options = conninfo_to_dict(url)  # libpq's own reading: percent-escapes, sslmode, IPv6, sockets
    names = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host"}
    return {
        "ENGINE": "django.db.backends.postgresql",
        **{key: options.pop(name, "") for key, name in names.items()},
        "PORT": options.pop("port", ""),
        # Behind PgBouncer in transaction mode a session is not ours to keep: no persistent
        # connections, no cursors that outlive a transaction.
        "CONN_MAX_AGE": 0,
        "DISABLE_SERVER_SIDE_CURSORS": True,
        # Longer than the server takes to restart: the pooler lets its clients wait meanwhile.
        "OPTIONS": {"connect_timeout": 20, **options, "prepare_threshold": PREPARE_THRESHOLD},
    }


# Only a pooler that keeps prepared statements, and a libpq that can close them, may have any.
PREPARES = _is_on("DATABASE_PREPARED_STATEMENTS") and capabilities.has_send_close_prepared()
PREPARE_THRESHOLD = 5 if PREPARES else None

DEBUG = _is_on("DEBUG")
SECRET_KEY = os.environ["SECRET_KEY"]
ALLOWED_HOSTS = _words("ALLOWED_HOSTS")
CSRF_TRUSTED_ORIGINS = _words("CSRF_TRUSTED_ORIGINS")
# A frontend on a domain of its own, which asks the API and listens to the WebSockets.
CORS_ALLOWED_ORIGINS = _words("CORS_ALLOWED_ORIGINS")
RELEASE_REVISION = os.environ.get("RELEASE_REVISION")

DATABASE_URL = os.environ["DATABASE_URL"]
BROKER_URL = os.environ["BROKER_URL"]
CACHE_URL = os.environ["CACHE_URL"]
REDIS_KEY_PREFIX = os.environ.get("REDIS_KEY_PREFIX", "auction:")

INSTALLED_APPS = [
    "auctions",
    "channels",
    "corsheaders",
    "django_celery_beat",
    "django.contrib.humanize",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
ROOT_URLCONF = "auction.urls"
WSGI_APPLICATION = "auction.wsgi.application"
ASGI_APPLICATION = "auction.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

DATABASES = {"default": _database(DATABASE_URL)}

# Every key and channel begins with the prefix: the Redis user may touch nothing else.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": CACHE_URL,
        "KEY_PREFIX": REDIS_KEY_PREFIX,
        "OPTIONS": {
            "socket_connect_timeout": 2,
            "socket_timeout": 2,
            # Five seconds, for a restart; the client itself gives up within one or two.
            "retry": Retry(ConstantBackoff(0.5), 10),
        },
    }
}
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        "CONFIG": {
            # The broker's Redis evicts nothing, so a listener stays in its group. Listening
            # blocks for 5 s at a time, which redis-py's own time-out mistakes for a failure.
            "hosts": [{"address": BROKER_URL, "socket_timeout": None}],
            "prefix": f"{REDIS_KEY_PREFIX}asgi",
        },
    }
}
CELERY_BROKER_URL = BROKER_URL
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "global_keyprefix": REDIS_KEY_PREFIX,
    "visibility_timeout": 300,  # longer than any task: see the time limit
}
# Celery itself asks for 0.6 s only, and a restart of the broker takes longer.
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 20, "interval_start": 0.1, "interval_max": 1}
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_TIME_LIMIT = 60
# Tasks can be repeated, so a worker that dies gives its task back.
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1

SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"
SESSION_COOKIE_SECURE = not DEBUG
CSRF_COOKIE_SECURE = not DEBUG
SECURE_SSL_REDIRECT = not DEBUG
SECURE_REDIRECT_EXEMPT = [r"^health/$"]  # probes ask without TLS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SILENCED_SYSTEM_CHECKS = ["security.W004"]  # nginx sends Strict-Transport-Security

STATIC_URL = "/static/"
STATIC_ROOT = os.environ.get("STATIC_ROOT", BASE_DIR / "static")
MEDIA_URL = "/media/"
MEDIA_ROOT = os.environ.get("MEDIA_ROOT", BASE_DIR / "media")
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage",
    },
}
FILE_UPLOAD_PERMISSIONS = 0o644  # nginx reads what we write

if os.environ.get("SENTRY_DSN"):
    # Release and environment it finds as SENTRY_RELEASE and SENTRY_ENVIRONMENT.
    sentry_sdk.init(traces_sample_rate=0.1, send_default_pii=False)

USE_TZ = True
TIME_ZONE = "UTC"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "INFO"},
}
