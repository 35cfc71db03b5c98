"""The rules of bidding and closing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from channels_redis.core import RedisChannelLayer
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from auctions.bidding import BidRefused, close_due_auctions, place_bid
from auctions.models import Auction, Bid

pytestmark = pytest.mark.django_db


@pytest.fixture
def auction() -> Auction:
    return Auction.objects.create(
        title="A chair", starting_price=10, closes_at=timezone.now() + timedelta(hours=1)
    )


def let_time_pass(auction: Auction) -> None:
    auction.closes_at = timezone.now() - timedelta(seconds=1)
    auction.save()


def test_the_first_bid_may_equal_the_starting_price(auction):
    with pytest.raises(BidRefused, match="at least €10"):
        place_bid(auction.pk, "Ada", 9)
    assert place_bid(auction.pk, "Ada", 10).amount == 10


def test_a_bid_must_exceed_the_highest(auction):
    place_bid(auction.pk, "Ada", 50)
    for amount in (49, 50):
        with pytest.raises(BidRefused, match="at least €51"):
            place_bid(auction.pk, "Bob", amount)
    place_bid(auction.pk, "Bob", 51)
    assert Auction.objects.with_standing().get().leader == "Bob"


def test_an_auction_whose_time_is_over_takes_no_bid_even_before_it_is_closed(auction):
    let_time_pass(auction)
    with pytest.raises(BidRefused, match="closed"):
        place_bid(auction.pk, "Ada", 100)


def test_the_database_itself_refuses_equal_and_empty_bids(auction):
    auction.bids.create(bidder="Ada", amount=10)
    for amount in (10, 0):
        with pytest.raises(IntegrityError), transaction.atomic():
            auction.bids.create(bidder="Bob", amount=amount)


@pytest.mark.django_db(transaction=True)
def test_of_equal_bids_at_the_same_moment_exactly_one_wins(auction):
    start = Barrier(8)

    def bid(name: str) -> str:
        try:
            start.wait()
            place_bid(auction.pk, name, 20)
        except BidRefused:
            return "refused"
        finally:
            connection.close()
        return "won"

    with ThreadPoolExecutor(8) as people:
        outcomes = list(people.map(bid, "ABCDEFGH"))
    assert sorted(outcomes) == ["refused"] * 7 + ["won"]
    assert Bid.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_bid_counts_even_when_nobody_can_be_told(auction, monkeypatch, caplog):
    nowhere = RedisChannelLayer(hosts=["redis://127.0.0.1:1"])
    monkeypatch.setattr("auctions.bidding.get_channel_layer", lambda: nowhere)
    place_bid(auction.pk, "Ada", 10)
    assert "Error calling" in caplog.text
    assert Bid.objects.count() == 1


def test_closing_notes_the_winner_once(auction):
    place_bid(auction.pk, "Ada", 10)
    place_bid(auction.pk, "Bob", 11)
    assert close_due_auctions() == 0
    let_time_pass(auction)
    assert close_due_auctions() == 1
    assert close_due_auctions() == 0
    auction.refresh_from_db()
    assert auction.winning_bid.bidder == "Bob"
    assert auction.closed_at


def test_an_auction_without_bids_closes_without_a_winner(auction):
    let_time_pass(auction)
    close_due_auctions()
    auction.refresh_from_db()
    assert auction.closed_at
    assert auction.winning_bid is None


def test_a_closed_auction_can_be_deleted_with_its_bids(auction):
    place_bid(auction.pk, "Ada", 10)
    let_time_pass(auction)
    close_due_auctions()
    Auction.objects.all().delete()
    assert not Bid.objects.exists()


def test_open_auctions_come_first_and_the_next_to_close_on_top(auction):
    later = Auction.objects.create(
        title="Later", starting_price=1, closes_at=timezone.now() + timedelta(hours=2)
    )
    over = Auction.objects.create(title="Over", starting_price=1, closes_at=timezone.now())
    close_due_auctions()
    assert list(Auction.objects.with_standing()) == [auction, later, over]


def test_seeding_twice_changes_nothing():
    call_command("seed_auctions")
    before = list(Auction.objects.values())
    call_command("seed_auctions")
    assert list(Auction.objects.values()) == before
    assert len(before) == 6


def test_a_migration_made_the_schedule():
    assert PeriodicTask.objects.get(task="auctions.tasks.close_due_auctions").enabled
