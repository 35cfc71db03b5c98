"""python3 load.py: requests at a constant rate, whatever becomes of them (an open model).

A client that waits for each answer before it asks again sees an outage as one slow request. Here
every request has its moment, and its time counts from that moment. Standard library only, so that
it runs on any machine of a test; prints a line when it begins, and one JSON object at its end.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import ssl
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

LIMIT = 60.0


@dataclass(frozen=True)
class Target:
    """Where requests go and what they are."""

    socket: str
    address: str
    host: str
    method: str
    path: str
    authority: str

    def tls(self) -> ssl.SSLContext | None:
        return ssl.create_default_context(cafile=self.authority) if self.authority else None

    def request(self) -> bytes:
        body = "Content-Length: 0\r\n" if self.method != "GET" else ""
        lines = f"{self.method} {self.path} HTTP/1.0\r\nHost: {self.host}\r\n{body}"
        return f"{lines}\r\n".encode()


@dataclass
class Seen:
    """What came back."""

    seconds: list[float] = field(default_factory=list)
    failed: collections.Counter[str] = field(default_factory=collections.Counter)
    bodies: collections.Counter[str] = field(default_factory=collections.Counter)

    def report(self) -> dict[str, object]:
        ordered = sorted(self.seconds) or [0.0]
        return {
            "requests": len(self.seconds),
            "failed": dict(self.failed),
            "bodies": dict(self.bodies),
            "p50": round(ordered[len(ordered) // 2], 3),
            "p99": round(ordered[int(len(ordered) * 0.99)], 3),
            "longest": round(ordered[-1], 3),
        }


async def ask(target: Target, tls: ssl.SSLContext | None) -> tuple[int, str]:
    """One request on a connection of its own: status and body."""
    if target.socket:
        reader, writer = await asyncio.open_unix_connection(target.socket)
    else:
        host, _colon, port = target.address.rpartition(":")
        name = target.host if tls else None
        reader, writer = await asyncio.open_connection(
            host, int(port), ssl=tls, server_hostname=name
        )
    try:
        writer.write(target.request())
        await writer.drain()
        answer = await reader.read()
    finally:
        writer.close()
    head, _blank, body = answer.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    return int(words[1]) if len(words) > 1 else 0, body.decode("utf-8", "replace")


async def one(target: Target, tls: ssl.SSLContext | None, moment: float, seen: Seen) -> None:
    try:
        status, body = await asyncio.wait_for(ask(target, tls), LIMIT)
        if status == 200:
            seen.bodies[body[:60]] += 1
        else:
            seen.failed[f"HTTP {status}"] += 1
    except (TimeoutError, OSError, ValueError) as error:
        seen.failed[type(error).__name__] += 1
    seen.seconds.append(time.monotonic() - moment)


async def run(target: Target, rate: float, seconds: float, stop: Path | None) -> Seen:
    seen, tls, number = Seen(), target.tls(), 0
    began, running = time.monotonic(), set[asyncio.Task[None]]()
    print(f"asking {rate} times a second", flush=True)
    while (moment := began + number / rate) < began + seconds:
        await asyncio.sleep(max(0.0, moment - time.monotonic()))
        if stop and stop.exists():
            break
        task = asyncio.create_task(one(target, tls, moment, seen))
        running.add(task)
        task.add_done_callback(running.discard)
        number += 1
    if running:
        await asyncio.wait(running)
    return seen


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--socket", default="", help="Unix socket to ask")
    where.add_argument("--address", default="", help="HOST:PORT to ask")
    parser.add_argument("--authority", default="", help="file with the CA; asks over TLS")
    parser.add_argument("--host", default="localhost")
    parser.add_argument("--method", default="GET")
    parser.add_argument("--path", default="/")
    parser.add_argument("--rate", type=float, default=20, help="requests a second")
    parser.add_argument("--seconds", type=float, default=10, help="at most")
    parser.add_argument("--stop", type=Path, help="file whose appearance ends it")
    given = parser.parse_args(arguments)
    target = Target(
        given.socket, given.address, given.host, given.method, given.path, given.authority
    )
    seen = asyncio.run(run(target, given.rate, given.seconds, given.stop))
    print(json.dumps(seen.report()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
