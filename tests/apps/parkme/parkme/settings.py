"""What differs between machines comes from the environment."""

import os
from pathlib import Path

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
        "OPTIONS": {"connect_timeout": 10, **options, "prepare_threshold": None},
    }


BASE_DIR = Path(__file__).resolve().parent.parent
DEBUG = False
SECRET_KEY = os.environ["SECRET_KEY"]
ALLOWED_HOSTS = os.environ["ALLOWED_HOSTS"].split(",")
CSRF_TRUSTED_ORIGINS = os.environ["CSRF_TRUSTED_ORIGINS"].split(",")

INSTALLED_APPS = ["parkme", "django_celery_beat", "django.contrib.staticfiles"]
MIDDLEWARE = ["django.middleware.csrf.CsrfViewMiddleware"]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
ROOT_URLCONF = "parkme.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True

DATABASES = {"default": _database(os.environ["DATABASE_URL"])}
# Reads that may be some seconds old go to the replica, if there is one; all others stay here, so
# that nobody misses what they have just written.
if os.environ.get("DATABASE_REPLICA_URL"):
    DATABASES["replica"] = _database(os.environ["DATABASE_REPLICA_URL"])
READS = "replica" if "replica" in DATABASES else "default"

BROKER_URL, CACHE_URL = os.environ["BROKER_URL"], os.environ["CACHE_URL"]
PREFIX = os.environ.get("REDIS_KEY_PREFIX", "parkme:")
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
# Where results are kept nevertheless, CELERY_RESULT_BACKEND says.
CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS = {"global_keyprefix": PREFIX}
CELERY_TASK_ACKS_LATE = True

S3 = {
    "bucket_name": os.environ["AWS_STORAGE_BUCKET_NAME"],
    "endpoint_url": os.environ.get("AWS_S3_ENDPOINT_URL") or None,
    "region_name": os.environ.get("AWS_S3_REGION_NAME") or None,
    "addressing_style": os.environ.get("AWS_S3_ADDRESSING_STYLE") or "auto",
    # The bucket is nobody else's: each link is signed, and good for an hour.
    "querystring_auth": True,
}
STORAGES = {
    "default": {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {**S3, "location": "media", "file_overwrite": False},
    },
    # Each file's name changes with its content, so that pages that are open keep theirs.
    "staticfiles": {
        "BACKEND": "storages.backends.s3.S3ManifestStaticStorage",
        "OPTIONS": {**S3, "location": "static"},
    },
}
STATIC_URL = "/static/"

SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
CSRF_COOKIE_SECURE = True
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "INFO"},
}
