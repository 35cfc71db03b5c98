# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Frames of RFC 6455, as few of them as a health check needs."""

from __future__ import annotations

import os
import struct
import typing as t

from ansible_collections.slipway.stack.plugins.module_utils import _health, _health_net

CONTROL_LIMIT = 125  # RFC 6455, 5.5
NORMAL, NO_CODE = 1000, 1005
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


class Closed(_health.Unhealthy):
    """The server said that it closes, and why."""

    def __init__(self, payload: bytes) -> None:
        self.code = struct.unpack(">H", payload[:2])[0] if payload[1:] else NO_CODE
        said = f"{self.code} {_health.brief(payload[2:].decode(errors='replace'), 120)}".strip()
        super().__init__(f"the server closed with {said if payload[1:] else 'no reason'}")


class Conversation:
    """An upgraded connection, seen from the client."""

    def __init__(
        self,
        channel: _health_net.Channel,
        reader: t.BinaryIO,
        deadline: _health.Deadline,
        limit: int,
    ) -> None:
        self._channel, self._reader = channel, reader
        self._deadline, self._limit = deadline, limit

    def say(self, message: str) -> None:
        """Send one text message."""
        self._send(TEXT, message.encode())

    def hear(self) -> str:
        """The next message; pings on the way are answered."""
        message = bytearray()
        while True:
            kind, last, payload = self._frame(len(message))
            if kind == PING:
                self._send(PONG, payload)
            elif kind == CLOSE:
                raise Closed(payload)
            elif kind in (CONTINUATION, TEXT, BINARY):
                message += payload
                if last:
                    return message.decode(errors="replace")
            elif kind != PONG:
                raise _health.Unhealthy(f"a frame of an unknown kind, {kind}")

    def _frame(self, before: int) -> tuple[int, bool, bytes]:
        first, second = self._exactly(2)
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack(">H", self._exactly(2))
        elif size == 127:
            (size,) = struct.unpack(">Q", self._exactly(8))
        if first & 0x08 and size > CONTROL_LIMIT:
            said = f"a ping or a close of {size} bytes, of at most {CONTROL_LIMIT}"
            raise _health.Unhealthy(said)
        if before + size > self._limit:
            raise _health.Unhealthy(f"the message is too large: over {self._limit} bytes")
        if second & 0x80:
            raise _health.Unhealthy("the server masks its frames, which only clients may")
        return first & 0x0F, bool(first & 0x80), self._exactly(size)

    def _exactly(self, size: int) -> bytes:
        data = self._reader.read(size)
        if len(data) < size:
            raise _health.Unhealthy(f"{self._deadline.doing}: the server hung up")
        return data

    def _send(self, kind: int, payload: bytes) -> None:
        size = len(payload)
        head = bytes([0x80 | kind])
        if size < 126:
            head += bytes([0x80 | size])
        elif size < 65_536:
            head += bytes([0x80 | 126]) + struct.pack(">H", size)
        else:
            head += bytes([0x80 | 127]) + struct.pack(">Q", size)
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        self._channel.sendall(head + mask + masked)
