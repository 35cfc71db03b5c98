"""`/health/`: whether this process reaches its database and both of its Redis, within seconds."""

import logging
from collections.abc import Callable
from contextlib import closing
from select import select

import psycopg
import redis
from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from redis.backoff import NoBackoff
from redis.retry import Retry

TIMEOUT = 2  # seconds for each step; libpq waits no shorter
logger = logging.getLogger(__name__)


def _ask_database() -> None:
    """A pooler accepts clients while its server is gone, so the answer is awaited with a limit."""
    connection = psycopg.connect(settings.DATABASE_URL, connect_timeout=TIMEOUT, autocommit=True)
    with closing(connection):
        connection.pgconn.send_query(b"SELECT 1")
        if not select([connection], [], [], TIMEOUT)[0]:
            raise TimeoutError(f"the database did not answer within {TIMEOUT} s")
        connection.pgconn.consume_input()
        result = connection.pgconn.get_result()
        if result is None or result.status != psycopg.pq.ExecStatus.TUPLES_OK:
            raise ConnectionError(connection.pgconn.get_error_message())


def _ask_redis() -> None:
    for url in dict.fromkeys([settings.BROKER_URL, settings.CACHE_URL]):
        with redis.Redis.from_url(
            url,
            socket_connect_timeout=TIMEOUT,
            socket_timeout=TIMEOUT,
            retry=Retry(NoBackoff(), 0),
        ) as client:
            client.ping()


def _state(ask: Callable[[], None]) -> str:
    try:
        ask()
    except (psycopg.Error, redis.RedisError, OSError) as error:
        logger.warning("health: %s: %s", ask.__name__, error)
        return "disconnected"
    return "connected"


@never_cache
def health(request: HttpRequest) -> JsonResponse:
    parts = {"database": _state(_ask_database), "redis": _state(_ask_redis)}
    healthy = set(parts.values()) == {"connected"}
    answer = {"status": "healthy" if healthy else "unhealthy", **parts}
    if settings.RELEASE_REVISION:
        answer["revision"] = settings.RELEASE_REVISION
    return JsonResponse(answer, status=200 if healthy else 503)
