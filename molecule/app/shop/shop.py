"""The smallest application that a release can be proved with."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

ORDERED = "tasks.count"


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path == "/health/":
        well = os.environ.get("SHOP_IS_ILL", "") == ""
        word = "ok" if well else "down"
        body = json.dumps({"status": word, "database": word, "redis": word})
        start_response("200 OK" if well else "503 down", [("Content-Type", "application/json")])
        return [body.encode()]
    if path == "/environment/":
        text = json.dumps(
            {key: value for key, value in os.environ.items() if key.startswith("SHOP")}
        )
    elif path == "/neighbour/":
        try:
            text = Path("/etc/slipway/stall/environment").read_text()
        except OSError as error:
            text = type(error).__name__
    elif path == "/order/":
        import tasks

        tasks.app.send_task(ORDERED)
        text = "ordered"
    elif path == "/slow/":
        time.sleep(0.2)
        text = "slow"
    else:
        text = os.environ.get("RELEASE_REVISION", "none")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [text.encode()]


async def socket(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Accept every WebSocket, say hello, and then repeat what is heard."""
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": os.environ.get("RELEASE_REVISION", "none")})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message.get("text", "")})
