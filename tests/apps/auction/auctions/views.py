from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from .bidding import BidRefused, place_bid, standing
from .forms import BidForm
from .models import Auction


def _standing(auction_id: int) -> dict[str, Any]:
    return standing(get_object_or_404(Auction.objects.with_standing(), pk=auction_id))


def _bid(auction_id: int, data: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """Place the bid that `data` describes; an HTTP status and what to say."""
    form = BidForm(data)
    if not form.is_valid():
        return 400, {"error": " ".join(f"{k}: {v[0]}" for k, v in form.errors.items())}
    try:
        place_bid(auction_id, **form.cleaned_data)
    except Auction.DoesNotExist:
        raise Http404 from None
    except BidRefused as refusal:
        return 409, {"error": str(refusal)}
    return 201, _standing(auction_id)


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    auctions = Auction.objects.with_standing()[:24]
    lots = [{"auction": auction, **standing(auction)} for auction in auctions]
    bidder = request.session.get("bidder", "")
    return render(request, "auctions/index.html", {"lots": lots, "bidder": bidder})


@require_POST
def bid(request: HttpRequest, auction_id: int) -> HttpResponse:
    """The form on the page; its script asks for JSON, a browser without scripts for the page."""
    status, answer = _bid(auction_id, request.POST)
    if status == 201:
        request.session["bidder"] = request.POST["bidder"]
    if request.get_preferred_type(["text/html", "application/json"]) == "application/json":
        return JsonResponse(answer, status=status)
    messages.info(request, answer.get("error", "Your bid is the highest."))
    return redirect("index")


@require_safe
def api_auctions(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"auctions": [standing(a) for a in Auction.objects.with_standing()]})


@require_safe
def api_auction(request: HttpRequest, auction_id: int) -> JsonResponse:
    return JsonResponse(_standing(auction_id))


@csrf_exempt  # no cookie plays a part here, so there is nothing to forge
@require_POST
def api_bids(request: HttpRequest, auction_id: int) -> JsonResponse:
    try:
        data = json.loads(request.body)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        return JsonResponse({"error": "Send a JSON object: bidder, amount."}, status=400)
    status, answer = _bid(auction_id, data)
    return JsonResponse(answer, status=status)
