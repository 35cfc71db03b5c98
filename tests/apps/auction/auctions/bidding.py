"""The rules: who may bid what, and who wins. Each change happens under the auction's row lock."""

from __future__ import annotations

import asyncio
from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.db import transaction
from django.utils import timezone

from .models import Auction, Bid


class BidRefused(Exception):
    """The bid is well formed but comes too late or too low; the message is for the bidder."""


def place_bid(auction_id: int, bidder: str, amount: int) -> Bid:
    with transaction.atomic():
        auction = Auction.objects.select_for_update().get(pk=auction_id)
        if not auction.is_open:
            raise BidRefused("This auction is closed.")
        highest = auction.bids.first()
        minimum = highest.amount + 1 if highest else auction.starting_price
        if amount < minimum:
            raise BidRefused(f"Bid at least €{minimum:,}.")
        bid = auction.bids.create(bidder=bidder, amount=amount)
        _announce_on_commit(auction_id)
    return bid


def close_due_auctions() -> int:
    """Close each auction whose time has come and note its winner; return how many."""
    due = Auction.objects.due().values_list("pk", flat=True)
    return sum(_close(auction_id) for auction_id in due)


def _close(auction_id: int) -> bool:
    with transaction.atomic():
        # One that another worker is closing, or has closed since, is not ours.
        auction = Auction.objects.due().select_for_update(skip_locked=True).filter(pk=auction_id)
        if not (auction := auction.first()):
            return False
        auction.closed_at = timezone.now()
        auction.winning_bid = auction.bids.first()
        auction.save(update_fields=["closed_at", "winning_bid"])
        _announce_on_commit(auction_id)
    return True


def standing(auction: Auction) -> dict[str, Any]:
    """What the API, the page and the WebSocket say of an auction read `with_standing()`."""
    return {
        "id": auction.pk,
        "title": auction.title,
        "price": auction.highest or auction.starting_price,
        "minimum_bid": auction.highest + 1 if auction.highest else auction.starting_price,
        "bids": auction.bid_count,
        "leader": auction.leader,
        "closes_at": auction.closes_at.isoformat(),
        "closed": auction.closed_at is not None,
        "winner": auction.leader if auction.winning_bid_id else None,
    }


def group(auction_id: int) -> str:
    return f"auction.{auction_id}"


async def _tell(auction_id: int, message: dict[str, Any]) -> None:
    async with asyncio.timeout(2):  # the bidder is waiting
        await get_channel_layer().group_send(group(auction_id), message)


def _announce(auction_id: int) -> None:
    auction = Auction.objects.with_standing().get(pk=auction_id)
    message = {"type": "auction.changed", "standing": standing(auction)}
    async_to_sync(_tell)(auction_id, message)


def _announce_on_commit(auction_id: int) -> None:
    # robust: a bid that is committed counts, even when nobody can be told. (A lambda, because
    # Django reports a failure by the function's name, and a partial has none.)
    transaction.on_commit(lambda: _announce(auction_id), robust=True)
