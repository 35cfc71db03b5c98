"""An application: says what it was sent, echoes WebSockets. Runs on the machine."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import sys
import time

MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
PORT = int(sys.argv[1])


class Application(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.headers.get("Upgrade", "").lower() == "websocket":
            return self.echo()
        if "slow" in self.path:
            time.sleep(10)
        return self.answer({"port": PORT, "headers": dict(self.headers)})

    def do_POST(self) -> None:
        self.answer({"size": len(self.rfile.read(int(self.headers["Content-Length"])))})

    def answer(self, content: dict[str, object]) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Frame-Options", "ALLOWALL")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        self.wfile.write(body)

    def echo(self) -> None:
        key = (self.headers["Sec-WebSocket-Key"] + MAGIC).encode()
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        accept = base64.b64encode(hashlib.sha1(key, usedforsecurity=False).digest()).decode()
        self.send_header("Sec-WebSocket-Accept", accept)
        self.end_headers()
        while received := self.connection.recv(4096):
            self.connection.sendall(received)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Application).serve_forever()
