"""What differs between machines comes from the environment."""

import os

from psycopg.conninfo import conninfo_to_dict


def _database(url: str) -> dict[str, object]:
    options = conninfo_to_dict(url)
    names = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host"}
    return {
        "ENGINE": "django.db.backends.postgresql",
        **{key: options.pop(name, "") for key, name in names.items()},
        "PORT": options.pop("port", ""),
        # Behind a pooler that is in transaction mode, a session is not ours to keep.
        "CONN_MAX_AGE": 0,
        "DISABLE_SERVER_SIDE_CURSORS": True,
        "OPTIONS": {"connect_timeout": 5, **options, "prepare_threshold": None},
    }


DEBUG = False
SECRET_KEY = os.environ["SECRET_KEY"]
ALLOWED_HOSTS = os.environ["ALLOWED_HOSTS"].split(",")
CORS_ALLOWED_ORIGINS = os.environ["CORS_ALLOWED_ORIGINS"].split(",")

INSTALLED_APPS = [
    "ecommerce",
    "corsheaders",
    "django_celery_beat",
    "django.contrib.staticfiles",
]
MIDDLEWARE = ["corsheaders.middleware.CorsMiddleware"]
ROOT_URLCONF = "ecommerce.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True

DATABASES = {"default": _database(os.environ["DATABASE_URL"])}
BROKER_URL, CACHE_URL = os.environ["BROKER_URL"], os.environ["CACHE_URL"]
PREFIX = os.environ.get("REDIS_KEY_PREFIX", "ecommerce:")
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": CACHE_URL,
        "KEY_PREFIX": PREFIX,
        "OPTIONS": {"socket_connect_timeout": 2, "socket_timeout": 2},
    }
}
CELERY_BROKER_URL = BROKER_URL
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {"global_keyprefix": PREFIX, "visibility_timeout": 300}
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True

STATIC_URL = "/static/"
STATIC_ROOT = os.environ.get("STATIC_ROOT")
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "INFO"},
}
