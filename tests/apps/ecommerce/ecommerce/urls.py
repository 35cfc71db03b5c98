from __future__ import annotations

import redis
from django.core.cache import cache
from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse
from django.shortcuts import get_object_or_404
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from .models import Order, Product, SoldOut, order
from .tasks import confirm


@require_safe
def products(request: HttpRequest) -> JsonResponse:
    listed = Product.objects.order_by("pk").values("id", "name", "cents")
    return JsonResponse({"products": cache.get_or_set("products", lambda: list(listed), 30)})


@csrf_exempt  # no cookie plays a part here, so there is nothing to forge
@require_POST
def buy(request: HttpRequest, product_id: int) -> JsonResponse:
    try:
        placed = order(product_id)
    except SoldOut:
        return JsonResponse({"error": "That is sold out."}, status=409)
    confirm.delay(placed.pk)
    return JsonResponse({"order": placed.pk}, status=201)


@require_safe
def order_state(request: HttpRequest, order_id: int) -> JsonResponse:
    found = get_object_or_404(Order, pk=order_id)
    return JsonResponse({"order": found.pk, "confirmed": found.confirmed_at is not None})


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


urlpatterns = [
    path("api/products/", products),
    path("api/products/<int:product_id>/orders/", buy),
    path("api/orders/<int:order_id>/", order_state),
    path("health/", health),
]
