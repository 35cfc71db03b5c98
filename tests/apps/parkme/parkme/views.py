from __future__ import annotations

import redis
from django.conf import settings
from django.core.cache import cache
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_POST, require_safe

from .models import Booking, book, free_spots
from .tasks import write_ticket


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    return render(request, "index.html", {"free": _free()})


@require_safe
def spots(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"free": _free()})


def _free() -> int:
    return cache.get_or_set("free", lambda: free_spots().using(settings.READS).count(), 5)


@require_POST
def bookings(request: HttpRequest) -> JsonResponse:
    booking = book(request.POST.get("plate", "")[:12])
    if not booking:
        return JsonResponse({"error": "Every spot is taken."}, status=409)
    write_ticket.delay(booking.pk)
    return JsonResponse(_told(booking), status=201)


@require_safe
def booking(request: HttpRequest, booking_id: int) -> JsonResponse:
    return JsonResponse(_told(get_object_or_404(Booking, pk=booking_id)))


def _told(booking: Booking) -> dict[str, object]:
    ticket = booking.ticket.url if booking.ticket else ""
    return {"id": booking.pk, "spot": booking.spot.number, "ticket": ticket}


@require_safe
def health(request: HttpRequest) -> JsonResponse:
    parts = {"database": "connected", "redis": "connected"}
    try:
        connection.cursor().execute("SELECT 1")
    except DatabaseError:
        parts["database"] = "disconnected"
    try:
        cache.set("health", "1", 10)
    except (redis.RedisError, OSError):
        parts["redis"] = "disconnected"
    well = set(parts.values()) == {"connected"}
    status = {"status": "healthy" if well else "unhealthy"}
    return JsonResponse({**status, **parts}, status=200 if well else 503)
