"""The load generator counts what fails, whatever the server does."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests import load


def target(socket: Path) -> load.Target:
    return load.Target(str(socket), "", "localhost", "GET", "/", "")


def test_answers_and_refusals_are_told_apart(tmp_path: Path) -> None:
    socket, asked = tmp_path / "s", []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.append(1)
        status = b"200 OK" if len(asked) % 2 else b"502 Bad Gateway"
        writer.write(b"HTTP/1.1 " + status + b"\r\n\r\nhello")
        writer.close()

    async def both() -> load.Seen:
        async with await asyncio.start_unix_server(serve, str(socket)):
            return await load.run(target(socket), rate=100, seconds=0.1, stop=None)

    report = asyncio.run(both()).report()
    assert report["requests"] == 10
    assert report["failed"] == {"HTTP 502": 5}
    assert report["bodies"] == {"hello": 5}


def test_a_server_that_is_gone_is_counted(tmp_path: Path) -> None:
    seen = asyncio.run(load.run(target(tmp_path / "none"), rate=100, seconds=0.05, stop=None))
    assert seen.failed == {"FileNotFoundError": 5}


def test_it_stops_when_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "stop").touch()
    seen = asyncio.run(load.run(target(tmp_path / "none"), 100, 60, tmp_path / "stop"))
    assert seen.seconds == []
