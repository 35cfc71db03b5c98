# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What each of the five systems is for, done in a browser over https."""

from __future__ import annotations

import re
import shlex
import uuid
from collections.abc import Callable

import pytest
from conftest import SYSTEMS, Page
from testinfra.host import Host

Visit = Callable[[str], Page]
MANAGE = (
    "systemd-run --quiet --wait --pipe --collect --uid={app}"
    " -p EnvironmentFile=/etc/slipway/{app}/environment"
    " -p WorkingDirectory=/srv/{app}/current/source /srv/{app}/current/venv/bin/python"
)


def story_of(system: str) -> pytest.MarkDecorator:
    """Told only where the system is."""
    return pytest.mark.skipif(system not in SYSTEMS, reason=f"{system} is not on this machine")


@story_of("auction")
def test_auction_a_bid_on_the_sites_own_domain_is_seen_live(visit: Visit, machine: Host) -> None:
    lot = f"Lot {uuid.uuid4()}"
    command = f"{MANAGE.format(app='auction')} manage.py open_auction {shlex.quote(lot)}"
    number = machine.check_output(command).split()[-1]
    page = visit("https://auction.test/")
    page.shows(f"#lot-{number} span", f"{lot}: €1, no bid")
    page.fill(f"#lot-{number} input", "17")
    page.press(f"#lot-{number} button")
    page.shows("#said", "Your bid is the highest.")
    # The API answers the bid with a status; the new price comes over the WebSocket alone.
    page.shows(f"#lot-{number} span", f"{lot}: €17, Ada")


@story_of("parkme")
def test_parkme_a_booking_has_a_ticket_in_the_bucket(visit: Visit, services: Host) -> None:
    page = visit("https://api.parkme.test/")
    page.fill("[name=plate]", "77-SL-01")
    page.press("button")
    spot = re.search(r"Park in (\w+)", page.shows("#answer", "Your ticket"))
    assert spot
    link = page.driver.find_element("css selector", "#answer a").get_attribute("href")
    assert "/parkme-media/media/tickets/" in link
    assert services.check_output(f"curl -fsSk '{link}'") == f"77-SL-01 may park in {spot[1]}"


@story_of("propflow")
def test_propflow_a_code_signs_in_and_a_photo_is_reviewed(visit: Visit, machine: Host) -> None:
    address, phone = f"Rua {uuid.uuid4()}", f"+3519{uuid.uuid4().int % 10**8:08}"
    page = visit("https://propflow.test/")
    page.fill("#phone input", phone)
    page.press("#phone button")
    page.shows("#said", "A code is on its way.")
    # Without an SMS provider the code is in the journal, which writes when it finds the time.
    journal = "journalctl --output=cat --unit=propflow-asgi.service --lines=200"
    sent = re.compile(rf"code for {re.escape(phone)}: (\d+)")
    code = page.until(lambda: sent.search(machine.check_output(journal)))
    page.fill("#code input", code[1])
    page.press("#code button")
    page.shows("#said", "You are signed in.")
    page.fill("#property input", address)
    page.press("#property button")
    page.shows("#said", "The photo is stored.")
    page.shows("#properties li", f"{address}, reviewed")


@story_of("atlas")
def test_atlas_finds_what_is_near_and_remembers_the_visitor(visit: Visit) -> None:
    page = visit("https://atlas.test/")
    page.press("button")
    page.shows("#places", "Sintra")
    assert "Porto" not in page.text("#places")
    before = int(page.text("#visits"))
    assert int(visit("https://atlas.test/").text("#visits")) == before + 1


@story_of("ecommerce")
def test_ecommerce_an_order_is_confirmed_and_others_look_is_told(visit: Visit) -> None:
    page = visit("https://www.shop.test/")
    page.shows("#products", "Kettle")
    assert page.driver.current_url == "https://shop.test/"
    for number, product in enumerate(("Kettle", "Teapot"), 1):
        page.press(f"#buy-{number}")
        # That it is placed is shown for as long as the worker takes, which may be no time at all.
        page.shows("#said", f"of {product} is confirmed")
    page.shows("#recommended", "Kettle")
