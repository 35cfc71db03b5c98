"""The four processes together, as in production, with a Redis user that may touch little."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from conftest import free_port, wait_for_port

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = Path(sys.executable).parent
WORKER = "celery -A auction worker --concurrency 2 --max-tasks-per-child 1000 --hostname main@%h"


@pytest.fixture(scope="module")
def environment(empty_database: str) -> dict[str, str]:
    return os.environ | {"DATABASE_URL": empty_database, "PYTHONUNBUFFERED": "1"}


@pytest.fixture(scope="module")
def run(environment):
    def run(command: str) -> str:
        program, *arguments = command.split()
        done = subprocess.run(
            [PROGRAMS / program, *arguments],
            cwd=ROOT, env=environment, check=True, timeout=120, capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout

    return run


@pytest.fixture(scope="module")
def ports(environment, run, redis_admin, tmp_path_factory) -> Iterator[tuple[int, int]]:
    run("python manage.py migrate --noinput")
    redis_admin.acl_log_reset()
    web, live = free_port(), free_port()
    gunicorn = "gunicorn --no-control-socket --workers 1 --bind 127.0.0.1"
    commands = [
        f"{gunicorn}:{web} auction.wsgi:application",
        f"{gunicorn}:{live} -k uvicorn_worker.UvicornWorker auction.asgi:application",
        WORKER,
        f"celery -A auction beat --schedule {tmp_path_factory.mktemp('beat')}/schedule",
    ]
    processes = []
    for command in commands:
        program, *arguments = command.split()
        processes.append(
            subprocess.Popen([PROGRAMS / program, *arguments], cwd=ROOT, env=environment)
        )
    wait_for_port(web)
    wait_for_port(live)
    yield web, live
    for process in reversed(processes):
        process.terminate()
    assert [process.wait(60) for process in processes] == [0, 0, 0, 0]


def bid(port: int, auction: int, bidder: str, amount: int) -> int:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/auctions/{auction}/bids/",
        json.dumps({"bidder": bidder, "amount": amount}).encode(),
        {"Host": "auction.example", "X-Forwarded-Proto": "https"},
    )
    with urllib.request.urlopen(request) as response:  # noqa: S310
        return response.status


def listen(port: int, auction: int, origin: str = "https://auction.example"):
    url = f"ws://auction.example/ws/auctions/{auction}/"
    return connect(url, origin=origin, sock=socket.create_connection(("127.0.0.1", port)))


def test_a_bid_is_seen_live_and_the_auction_closes_by_itself(ports, run, empty_database):
    web, asgi = ports
    auction = int(run("python manage.py open_auction A-chair --closes-in 600"))
    with listen(asgi, auction) as live:
        assert json.loads(live.recv(timeout=60))["bids"] == 0
        live.send("not even JSON")  # changes nothing
        assert bid(web, auction, "Ada", 7) == 201
        heard = json.loads(live.recv(timeout=60))
        assert (heard["price"], heard["leader"], heard["closed"]) == (7, "Ada", False)
        with psycopg.connect(empty_database) as connection:  # its time is over
            connection.execute("UPDATE auctions_auction SET closes_at = now()")
        heard = json.loads(live.recv(timeout=60))
        assert (heard["closed"], heard["winner"]) == (True, "Ada")


@pytest.mark.parametrize(
    ("auction", "origin"), [(404, "https://auction.example"), (1, "https://x")]
)
def test_strangers_and_unknown_auctions_are_turned_away(ports, auction, origin):
    with pytest.raises(InvalidStatus, match="403"):
        listen(ports[1], auction, origin)


def test_workers_answer(ports, run):
    for command in ("ping", "stats", "active_queues"):
        assert "1 node online" in run(f"celery -A auction inspect {command} --timeout 5")
    run("celery -A auction status")


def test_redis_refused_nothing_and_every_key_has_the_prefix(ports, redis_admin):
    assert redis_admin.acl_log() == []
    keys = redis_admin.keys()
    assert keys
    assert [key for key in keys if not key.startswith("auction:")] == []
