"""python -m tests.bidder: somebody has an auction open in a browser and bids; what they see.

As the page does it: the form goes over a kept connection, the WebSocket tells who leads and is
opened again when it closes. Prints a line when it begins, and one JSON object at its end.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import http.client
import json
import re
import socket
import ssl
import sys
import threading
import time
import typing as t
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path

import websockets.asyncio.client
import websockets.exceptions

# What a page is worth that does not come: whoever waits longer goes away.
PATIENCE = 30
TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


@dataclass(frozen=True)
class Site:
    """Where the auction is, and whom its certificate has to be from (nobody in particular)."""

    address: tuple[str, int]
    host: str
    authority: str = ""

    @property
    def origin(self) -> str:
        port = self.address[1]
        return f"https://{self.host}" + ("" if port == 443 else f":{port}")

    def tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.authority or None)
        if not self.authority:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context


@dataclass
class Seen:
    """What the visitor saw."""

    bids: int = 0
    highest: int = 0
    told: int = 0
    longest: float = 0.0
    opened: int = 0
    failed: collections.Counter[str] = field(default_factory=collections.Counter)

    def report(self) -> dict[str, object]:
        return {
            "bids": self.bids,
            "failed": dict(self.failed),
            "longest": round(self.longest, 2),
            # The highest bid was seen on the page without reloading it.
            "live": self.told >= self.highest,
            "opened": self.opened,
        }


class Browser:
    """One kept connection with a cookie."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.cookies: dict[str, str] = {}
        self.token = ""
        self.connection: http.client.HTTPSConnection | None = None

    def _connect(self) -> http.client.HTTPSConnection:
        connection = http.client.HTTPSConnection(self.site.host, timeout=PATIENCE)
        plain = socket.create_connection(self.site.address, timeout=PATIENCE)
        connection.sock = self.site.tls().wrap_socket(plain, server_hostname=self.site.host)
        return connection

    def ask(self, method: str, path: str, body: str = "") -> tuple[int, bytes]:
        """Like a browser: what a kept connection did not carry any more is asked on a new one."""
        kept = self.connection is not None
        try:
            return self._ask(method, path, body)
        except (http.client.RemoteDisconnected, ConnectionError, ssl.SSLEOFError):
            self.connection = None
            if not kept:
                raise
            return self._ask(method, path, body)

    def _ask(self, method: str, path: str, body: str) -> tuple[int, bytes]:
        self.connection = self.connection or self._connect()
        headers = {
            "Host": self.site.origin.removeprefix("https://"),
            "Origin": self.site.origin,
            "Referer": f"{self.site.origin}/",
            "Accept": "application/json" if body else "text/html",
            "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()),
        }
        if body:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        self.connection.request(method, path, body or None, headers)
        answer = self.connection.getresponse()
        for cookie in answer.headers.get_all("Set-Cookie") or []:
            name, _equals, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        content = answer.read()
        if answer.will_close:
            self.connection = None
        return answer.status, content

    def open(self) -> None:
        status, page = self.ask("GET", "/")
        found = TOKEN.search(page.decode())
        if status != http.HTTPStatus.OK or not found:
            raise ValueError(f"the page answers {status}")
        self.token = found[1]

    def bid(self, auction: int, amount: int) -> tuple[int, dict[str, t.Any]]:
        form = {"bidder": "visitor", "amount": amount, "csrfmiddlewaretoken": self.token}
        path = f"/auctions/{auction}/bid/"
        status, content = self.ask("POST", path, urllib.parse.urlencode(form))
        return status, json.loads(content) if content.startswith(b"{") else {}


async def listen(site: Site, auction: int, seen: Seen, over: threading.Event) -> None:
    """What auctions.js does: open again, after a moment that becomes longer."""
    delay = 0.5
    while not over.is_set():
        with contextlib.suppress(OSError, websockets.exceptions.WebSocketException):
            async with websockets.asyncio.client.connect(
                f"wss://{site.origin.removeprefix('https://')}/ws/auctions/{auction}/",
                host=site.address[0],
                port=site.address[1],
                ssl=site.tls(),
                server_hostname=site.host,
                origin=t.cast(t.Any, site.origin),
                open_timeout=PATIENCE,
            ) as live:
                seen.opened, delay = seen.opened + 1, 0.5
                while not over.is_set():
                    with contextlib.suppress(TimeoutError):
                        told = json.loads(await asyncio.wait_for(live.recv(), 0.5))
                        seen.told = max(seen.told, told["price"])
        await asyncio.sleep(delay)
        delay = min(delay * 2, 10)


def one(browser: Browser, auction: int, amount: int, seen: Seen) -> int:
    """Bid once, and say what to bid next."""
    began = time.monotonic()
    try:
        status, answer = browser.bid(auction, amount)
    except (OSError, http.client.HTTPException, ValueError) as error:
        browser.connection = None
        seen.failed[type(error).__name__] += 1
        return amount
    finally:
        seen.longest = max(seen.longest, time.monotonic() - began)
    if status == http.HTTPStatus.CREATED:
        seen.bids, seen.highest = seen.bids + 1, amount
    elif status != http.HTTPStatus.CONFLICT:
        seen.failed[f"HTTP {status}"] += 1
        return amount
    # Somebody else was quicker; the answer names the least that counts.
    least = re.search(r"€([\d,]+)", str(answer.get("error", "")))
    return int(least[1].replace(",", "")) if least else amount + 1


def visit(site: Site, auction: int, every: float, stop: Path, seconds: float) -> Seen:
    seen, over, browser = Seen(), threading.Event(), Browser(site)
    browser.open()
    live = threading.Thread(target=lambda: asyncio.run(listen(site, auction, seen, over)))
    live.start()
    print("bidding", flush=True)
    amount, until = 1, time.monotonic() + seconds
    while time.monotonic() < until and not stop.exists():
        amount = one(browser, auction, amount, seen)
        time.sleep(every)
    # The last bid has its moment to be told.
    patience = time.monotonic() + 15
    while seen.told < seen.highest and time.monotonic() < patience:
        time.sleep(0.2)
    over.set()
    live.join()
    return seen


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True, help="HOST:PORT to ask")
    parser.add_argument("--host", required=True)
    parser.add_argument("--authority", default="", help="file with the CA; without it any")
    parser.add_argument("--auction", type=int, default=1)
    parser.add_argument("--every", type=float, default=0.5, help="seconds between bids")
    parser.add_argument("--seconds", type=float, default=3600, help="at most")
    parser.add_argument("--stop", type=Path, required=True, help="file whose appearance ends it")
    given = parser.parse_args(arguments)
    name, _colon, port = given.address.rpartition(":")
    site = Site((name, int(port)), given.host, given.authority)
    seen = visit(site, given.auction, given.every, given.stop, given.seconds)
    print(json.dumps(seen.report()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
