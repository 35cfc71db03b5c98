"""`/health/`: the five parts of the guide.

What this application cannot work without makes it ill. Somebody else's service, and memory that
gets scarce on the whole machine, are told and are no reason to take it out of service: every other
machine would say the same at that moment.
"""

from __future__ import annotations

import shutil
import urllib.request
from collections.abc import Callable
from pathlib import Path

import redis
from django.conf import settings
from django.core.cache import cache
from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse

NEEDED = ("database", "redis", "disk")
FREE_PERCENT = 5
SECONDS = 2


def health(request: HttpRequest) -> JsonResponse:
    parts = {name: _state(ask) for name, ask in PARTS.items()}
    well = all(parts[name] == "connected" for name in NEEDED)
    status = {"status": "healthy" if well else "unhealthy"}
    return JsonResponse({**status, **parts}, status=200 if well else 503)


def _state(ask: Callable[[], bool]) -> str:
    try:
        return "connected" if ask() else "scarce"
    except (DatabaseError, redis.RedisError, OSError):
        return "disconnected"


def _database() -> bool:
    connection.cursor().execute("SELECT 1")
    return True


def _redis() -> bool:
    cache.set("health", "1", 10)
    return bool(cache.get("health") == "1")


def _external_api() -> bool:
    if settings.EXTERNAL_API_URL:
        urllib.request.urlopen(settings.EXTERNAL_API_URL, timeout=SECONDS).close()  # noqa: S310
    return True


def _disk() -> bool:
    usage = shutil.disk_usage("/srv")
    return usage.free * 100 >= usage.total * FREE_PERCENT


def _memory() -> bool:
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    kibibytes = {words[0].rstrip(":"): int(words[1]) for words in lines}
    return kibibytes["MemAvailable"] * 100 >= kibibytes["MemTotal"] * FREE_PERCENT


PARTS: dict[str, Callable[[], bool]] = {
    "database": _database,
    "redis": _redis,
    "external_api": _external_api,
    "disk": _disk,
    "memory": _memory,
}
