# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A WebSocket as a browser opens it: the upgrade, and how soon a message arrives."""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import typing as t
from urllib.parse import SplitResult

from ansible_collections.slipway.stack.plugins.module_utils import (
    _health,
    _health_frames,
    _health_net,
    _health_request,
)

KIND = "websocket"
TIMED = True
OPTIONS: dict[str, t.Any] = {
    **_health_request.OPTIONS,
    "origin": {"type": "str", "default": ""},
    "text": {"type": "str", "default": ""},
    "expect": {
        "type": "str",
        "default": "upgrade",
        "choices": ["upgrade", "first_message", "echo"],
    },
    "latency_warning_milliseconds": {"type": "float", "default": 500.0},
    "latency_critical_milliseconds": {"type": "float", "default": 2000.0},
    "message_limit_bytes": {"type": "int", "default": 65_536},
}
# RFC 6455, 1.3: proves that the server speaks WebSocket and does not merely repeat.
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_SCHEMES = {"ws": "http", "wss": "https"}
# A server that fails after its upgrade does so at once.
LINGER_SECONDS = 0.5
_WHAT = {"upgrade": "upgraded", "first_message": "first message", "echo": "echo"}


def probe(check: _health.Check, deadline: _health.Deadline) -> list[_health.Finding]:
    """The time from the request, or for an echo from the message, to what is expected."""
    parts = _health_request.split(check["url"], tuple(_SCHEMES))
    with _health_request.connect(parts, check, deadline) as channel:
        started = deadline.clock()
        # Kept, for a response that is thrown away closes the connection.
        upgraded = _upgrade(channel, parts, check, deadline)
        conversation = _health_frames.Conversation(
            channel, t.cast(t.Any, upgraded.fp), deadline, check["message_limit_bytes"]
        )
        if check["expect"] != "upgrade":
            started = _talk(conversation, check, started, deadline)
        milliseconds = (deadline.clock() - started) * 1000
        if check["expect"] == "upgrade":
            seconds = min(LINGER_SECONDS, deadline.remaining())
            channel.until(_health.Deadline(seconds, deadline.clock))
            _stay(conversation, check, deadline)
    warning, critical = (check[f"latency_{name}_milliseconds"] for name in ("warning", "critical"))
    state = _health.judge(milliseconds, warning, critical)
    value = f"{_WHAT[check['expect']]} in {milliseconds:.0f} ms"
    advice = check["advice"] or "load, Redis, workers of the ASGI server: top, its journal"
    return [_health.Finding(check["label"], state, value, f"{warning:g} ms", advice)]


def _upgrade(
    channel: _health_net.Channel,
    parts: SplitResult,
    check: _health.Check,
    deadline: _health.Deadline,
) -> http.client.HTTPResponse:
    key = base64.b64encode(os.urandom(16))
    # Frameworks compare it with their allowed hosts, and a browser always sends it.
    origin = check["origin"] or f"{_SCHEMES[parts.scheme]}://{parts.netloc.rpartition('@')[2]}"
    headers = {
        **{"Connection": "Upgrade", "Upgrade": "websocket", "Origin": origin},
        "User-Agent": _health_request.AGENT,
        **{"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key.decode()},
        **{name: str(value) for name, value in check["headers"].items()},
    }
    answer = _health_request.send(channel, parts, headers, deadline, check["advice"])
    advice = check["advice"] or f"the ASGI server's journal; curl -v {check['url']}"
    if answer.status != http.client.SWITCHING_PROTOCOLS:
        said = f"{answer.status} {_health.brief(answer.reason, 80)}: not upgraded"
        raise _health.Unhealthy(said, "101", advice)
    proof = base64.b64encode(hashlib.sha1(key + _MAGIC, usedforsecurity=False).digest()).decode()
    if answer.headers.get("Sec-WebSocket-Accept", "").strip() != proof:
        raise _health.Unhealthy("101, but without the proof of a WebSocket server", "101", advice)
    channel.allow(check["message_limit_bytes"] * 4)
    return answer


def _stay(
    conversation: _health_frames.Conversation, check: _health.Check, deadline: _health.Deadline
) -> None:
    """Silence is well, and so is a message; to be thrown out is not."""
    advice = check["advice"] or "the consumer fails: the ASGI server's journal"
    deadline.stage("watching whether it stays open", advice)
    try:
        conversation.hear()
    except (TimeoutError, _health.Expired):
        return
    except _health_frames.Closed as closed:
        if closed.code != _health_frames.NORMAL:
            said = f"upgraded, but {closed}"
            raise _health.Unhealthy(said, "it stays open", advice) from None


def _talk(
    conversation: _health_frames.Conversation,
    check: _health.Check,
    started: float,
    deadline: _health.Deadline,
) -> float:
    """Wait for what is expected; returns since when."""
    echo = check["expect"] == "echo"
    message = check["text"] or (f"slipway-{os.urandom(8).hex()}" if echo else "")
    if message:
        started = deadline.clock()
        conversation.say(message)
    deadline.stage(
        f"waiting for the {_WHAT[check['expect']]}",
        check["advice"] or "the consumer hangs: the ASGI server's journal",
    )
    heard = conversation.hear()
    # A greeting may come first; whoever answers by the wrong text for good runs into the deadline.
    while echo and message not in heard:
        heard = conversation.hear()
    return started
