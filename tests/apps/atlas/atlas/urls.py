from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import path

from .health import health
from .models import near


def index(request: HttpRequest) -> HttpResponse:
    request.session["visits"] = request.session.get("visits", 0) + 1
    return render(request, "index.html", {"visits": request.session["visits"]})


def api_near(request: HttpRequest) -> JsonResponse:
    try:
        asked = [float(request.GET[name]) for name in ("longitude", "latitude", "kilometres")]
    except (KeyError, ValueError):
        return JsonResponse({"error": "Ask with longitude, latitude, kilometres."}, status=400)
    return JsonResponse({"places": near(*asked)})


urlpatterns = [
    path("", index),
    path("api/near/", api_near),
    path("health/", health),
]
