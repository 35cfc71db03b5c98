"""The page, the API and the health of one process."""

from __future__ import annotations

import re
import socket
import time
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from auctions.models import Auction

pytestmark = pytest.mark.django_db
HTTPS = {"HTTP_X_FORWARDED_PROTO": "https", "HTTP_HOST": "auction.example"}


@pytest.fixture
def browser() -> Client:
    return Client(enforce_csrf_checks=True, **HTTPS)


@pytest.fixture
def auction() -> Auction:
    return Auction.objects.create(
        title="A chair", starting_price=10, closes_at=timezone.now() + timedelta(hours=1)
    )


def bid(browser: Client, auction: Auction, data: object):
    path = f"/api/auctions/{auction.pk}/bids/"
    return browser.post(path, data, content_type="application/json")


def test_the_api_takes_a_bid_and_shows_it(browser, auction):
    assert bid(browser, auction, {"bidder": "Ada", "amount": 12}).status_code == 201
    shown = browser.get(f"/api/auctions/{auction.pk}/").json()
    assert (shown["price"], shown["leader"], shown["bids"]) == (12, "Ada", 1)
    assert browser.get("/api/auctions/").json() == {"auctions": [shown]}


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ({"bidder": "Ada", "amount": 9}, 409),
        ({"bidder": "Ada", "amount": "much"}, 400),
        ({"bidder": "Ada", "amount": 10**12}, 400),
        ({"bidder": "", "amount": 12}, 400),
        ({"amount": 12}, 400),
        ([], 400),
        ("{", 400),
    ],
)
def test_the_api_refuses_with_a_reason(browser, auction, data, status):
    response = bid(browser, auction, data)
    assert response.status_code == status
    assert response.json()["error"]


def test_an_unknown_auction_is_not_found(browser):
    assert bid(browser, Auction(pk=404), {"bidder": "Ada", "amount": 9}).status_code == 404
    assert browser.get("/api/auctions/404/").status_code == 404


def test_the_form_needs_its_token(browser, auction):
    response = browser.post(f"/auctions/{auction.pk}/bid/", {"bidder": "Ada", "amount": 12})
    assert response.status_code == 403


@pytest.mark.parametrize(("accept", "status"), [("application/json", 201), ("text/html", 302)])
def test_the_form_bids_with_and_without_scripts(browser, auction, accept, status):
    page = browser.get("/").content.decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)[1]
    response = browser.post(
        f"/auctions/{auction.pk}/bid/",
        {"bidder": "Ada", "amount": 12, "csrfmiddlewaretoken": token},
        headers={"Accept": accept, "Origin": "https://auction.example"},
    )
    assert response.status_code == status
    page = browser.get("/").content.decode()
    assert "Ada leads" in page
    assert 'value="Ada"' in page, "the session, kept in the cache, remembers the bidder"


def test_the_page_has_nothing_that_a_strict_policy_refuses(browser):
    call_command("seed_auctions")
    page = browser.get("/").content.decode()
    assert page.count("<article") == 6
    assert not re.search(r"<style|style=|<script(?![^>]* src=)|\son[a-z]+=|https?://", page)
    assert re.search(r"/static/auctions/auctions\.[0-9a-f]{12}\.js", page)


def test_http_is_sent_to_https(auction):
    response = Client(HTTP_HOST="auction.example").get("/")
    assert response.headers["Location"] == "https://auction.example/"


def test_health_is_good(settings):
    settings.RELEASE_REVISION = "abc123"
    response = Client(HTTP_HOST="auction.example").get("/health/")
    assert response.status_code == 200
    assert response.json() == {
        "status": "healthy",
        "database": "connected",
        "redis": "connected",
        "revision": "abc123",
    }


@pytest.fixture
def silent():
    """Something that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("address", ["refusing", "silent"])
@pytest.mark.parametrize(
    ("setting", "url", "broken"),
    [
        ("DATABASE_URL", "postgresql://auction@{}/auction", "database"),
        ("BROKER_URL", "redis://auction:x@{}/0", "redis"),
        ("CACHE_URL", "redis://auction:x@{}/0", "redis"),
    ],
)
def test_health_is_bad_soon(settings, silent, address, setting, url, broken):
    setattr(settings, setting, url.format(silent if address == "silent" else "127.0.0.1:1"))
    start = time.monotonic()
    response = Client(HTTP_HOST="auction.example").get("/health/")
    assert response.status_code == 503
    assert response.json()["status"] == "unhealthy"
    other = {"database": "redis", "redis": "database"}[broken]
    assert (response.json()[broken], response.json()[other]) == ("disconnected", "connected")
    assert time.monotonic() - start < 5
