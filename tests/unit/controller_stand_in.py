# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A stand-in for the API of AWX: keeps what it is given, and judges none of it.

It does not find what AWX itself would refuse, but what the modules of awx.awx do.
"""

from __future__ import annotations

import http.server
import json
import threading
import typing as t
import urllib.parse

Item = dict[str, t.Any]
# What AWX lists together, whatever it was created as.
JOBS = ("job_templates", "projects", "inventory_sources", "workflow_job_templates", "approvals")
SECRET = "$encrypted$"


class Controller:
    """What an AWX holds, by endpoint; used as a context it answers at `address`."""

    def __init__(self) -> None:
        self.items: dict[str, list[Item]] = {}
        self.related: dict[str, t.Any] = {}
        for name in ("Machine", "Vault", "Container Registry"):
            self.add("credential_types", {"name": name, "managed": True})
        controller = self

        class Handler(_Handler):
            held = controller

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> Controller:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def add(self, endpoint: str, given: Item) -> Item:
        number = 1 + sum(len(items) for items in self.items.values())
        url = f"/api/v2/{endpoint}/{number}/"
        item = {"id": number, "type": endpoint.removesuffix("s"), "url": url, "summary_fields": {}}
        item |= {"scm_revision": "", "related": {"survey_spec": f"{url}survey_spec/"}, **given}
        self.items.setdefault(endpoint, []).append(item)
        return item

    def listed(self, endpoint: str, query: dict[str, str]) -> list[Item]:
        names = JOBS if endpoint == "unified_job_templates" else (endpoint,)
        return [
            item
            for name in names
            for item in self.items.get(name, [])
            if all(str(item.get(key, "")) == value for key, value in query.items())
        ]

    def answer(self, method: str, path: str, query: dict[str, str], given: Item) -> t.Any:
        """Return what AWX would to this request; nothing where it says no more than done."""
        endpoint, *rest = path.removeprefix("/api/v2/").strip("/").split("/")
        if not rest:
            if method == "POST":
                return self.add(endpoint, given)
            found = [_shown(item) for item in self.listed(endpoint, query)]
            return {"count": len(found), "next": None, "results": found}
        (item,) = [one for one in self.items[endpoint] if str(one["id"]) == rest[0]]
        if len(rest) == 1:
            item |= given
            return _shown(item)
        if rest[1] == "create_approval_template":
            approval = self.add("approvals", given)
            item["related"]["unified_job_template"] = approval["url"]
            return approval
        if rest[1] == "survey_spec":
            if method == "POST":
                self.related[path] = given
            return self.related.get(path, {})
        held = self.related.setdefault(path, [])
        if method == "POST":
            held.append({"id": given["id"]})
            return None
        return {"count": len(held), "next": None, "results": held}


def _shown(item: Item) -> Item:
    """AWX never shows a credential's inputs again."""
    if not item["url"].startswith("/api/v2/credentials/"):
        return item
    return {**item, "inputs": dict.fromkeys(item["inputs"], SECRET)}


class _Handler(http.server.BaseHTTPRequestHandler):
    held: Controller

    def _serve(self) -> None:
        asked = urllib.parse.urlsplit(self.path)
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        said = self.held.answer(
            self.command,
            asked.path,
            dict(urllib.parse.parse_qsl(asked.query)),
            json.loads(text) if self.command in ("POST", "PATCH") and text else {},
        )
        done = 201 if isinstance(said, dict) and "url" in said and self.command == "POST" else 200
        self.send_response(204 if said is None else done)
        body = b"" if said is None else json.dumps(said).encode()
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PATCH = _serve

    def log_message(self, *_: t.Any) -> None:
        """Quiet, for what it was asked is no news."""
