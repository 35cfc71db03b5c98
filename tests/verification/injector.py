# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A fault injector: a real S3 server behind a proxy that refuses, cuts and forgets."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import threading
import time
import typing as t
import urllib.parse
from dataclasses import dataclass, field

REFUSALS = {
    503: b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>",
    # Nobody asks again after this one.
    403: b"<Error><Code>AccessDenied</Code><Message>Access denied.</Message></Error>",
}


@dataclass
class Faults:
    """What still goes wrong with the reading of dumps, counted down; requests as they came."""

    refusals: int = 0
    status: int = 503
    cuts: int = 0
    cut_at: float = 0.9
    only: str = ".dump"
    drips: int = 0
    uploads_cut: int = 0
    ranges: list[str] = field(default_factory=list)


@contextlib.contextmanager
def injected(endpoint: str, faults: Faults) -> t.Iterator[str]:
    """The address of a proxy before `endpoint` that has these faults."""
    upstream = urllib.parse.urlsplit(endpoint).netloc

    class Proxy(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:  # so is it called
            if faults.only in self.path:
                faults.ranges.append(self.headers.get("Range", ""))
                if faults.refusals:
                    faults.refusals -= 1
                    said = REFUSALS[faults.status]
                    self._send(faults.status, {}, said, len(said))
                    return
            status, headers, body = self._ask()
            end = len(body)
            if faults.only in self.path and faults.cuts and self.command == "GET":
                faults.cuts -= 1
                end = int(len(body) * faults.cut_at)
            self._send(status, headers, body[:end], len(body))
            if end < len(body):
                self.close_connection = True

        do_HEAD = do_GET

        def do_PUT(self) -> None:  # so is it called
            length = int(self.headers.get("Content-Length", 0))
            if faults.only in self.path and faults.uploads_cut:
                faults.uploads_cut -= 1
                self.rfile.read(int(length * faults.cut_at))
                self.close_connection = True
                return
            status, headers, body = self._ask(self.rfile.read(length))
            self._send(status, headers, body, len(body))

        def _ask(self, sent: bytes | None = None) -> tuple[int, dict[str, str], bytes]:
            connection = http.client.HTTPConnection(upstream)
            headers = {k: v for k, v in self.headers.items() if k.lower() != "expect"}
            connection.request(self.command, self.path, sent, headers)
            answer = connection.getresponse()
            kept = ("etag", "content-range", "content-type", "last-modified", "content-length")
            headers = {k: v for k, v in answer.getheaders() if k.lower() in kept}
            return answer.status, headers, answer.read()

        def _send(self, status: int, headers: dict[str, str], body: bytes, length: int) -> None:
            self.send_response_only(status)
            told = {"Content-Length": str(length), **headers}
            for name, value in told.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET" and faults.only in self.path:
                with contextlib.suppress(OSError):
                    for place in range(faults.drips):
                        self.wfile.write(body[place : place + 1])
                        time.sleep(0.1)
                body = body[faults.drips :]
            with contextlib.suppress(OSError):
                self.wfile.write(b"" if self.command == "HEAD" else body)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
