# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A stand-in for the API of AWX: keeps what it is given, unless a rule of AWX's forbids it.

The rules that it knows are those of controller_rules.py; what else AWX refuses it does not find.
"""

from __future__ import annotations

import http.server
import json
import threading
import typing as t
import urllib.parse

import controller_rules as rules

Item = dict[str, t.Any]
# What AWX lists together, whatever it was created as.
JOBS = ("job_templates", "projects", "inventory_sources", "workflow_job_templates", "approvals")
SECRET = "$encrypted$"
# The kinds of the types that AWX brings.
MANAGED = {
    "Machine": "ssh",
    "Vault": "vault",
    "Container Registry": "registry",
    "Source Control": "scm",
}
ORGANIZED = "The organization of an execution environment cannot be changed."


class Controller:
    """What an AWX holds, by endpoint; used as a context it answers at `address`."""

    def __init__(self) -> None:
        self.items: dict[str, list[Item]] = {}
        self.related: dict[str, t.Any] = {}
        self.changes: list[str] = []
        self.number = 0
        for name, kind in MANAGED.items():
            self.add("credential_types", {"name": name, "kind": kind, "managed": True})
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
        self._check(endpoint, given)
        self.number += 1
        url = f"/api/v2/{endpoint}/{self.number}/"
        item = {"id": self.number, "type": endpoint.removesuffix("s"), "url": url}
        item |= {"summary_fields": {}, "scm_revision": ""}
        item |= {"related": {"survey_spec": f"{url}survey_spec/"}, **given}
        self.items.setdefault(endpoint, []).append(item)
        return item

    def one(self, endpoint: str, name: str, **more: t.Any) -> Item:
        """The item that is called so, or that a node of a workflow is."""
        wanted = {"identifier" if endpoint.endswith("_nodes") else "name": name, **more}
        (found,) = [
            item
            for item in self.items[endpoint]
            if all(item.get(key) == value for key, value in wanted.items())
        ]
        return found

    def names(self, item: Item, relation: str) -> set[str]:
        """What is associated with an item, by name."""
        held = self.related.get(f"{item['url']}{relation}/", [])
        return {each.get("identifier") or each["name"] for each in held}

    def listed(self, endpoint: str, query: dict[str, str]) -> list[Item]:
        names = JOBS if endpoint == "unified_job_templates" else (endpoint,)
        either = {key[4:]: value for key, value in query.items() if key.startswith("or__")}
        every = {key: value for key, value in query.items() if not key.startswith("or__")}
        return [
            item
            for name in names
            for item in self.items.get(name, [])
            if all(_is(item, *each) for each in every.items())
            and (not either or any(_is(item, *each) for each in either.items()))
        ]

    def answer(self, method: str, path: str, query: dict[str, str], given: Item) -> t.Any:
        """Return what AWX would to this request; nothing where it says no more than done."""
        endpoint, *rest = path.removeprefix("/api/v2/").strip("/").split("/")
        if method != "GET":
            self.changes.append(f"{method} {path}")
        if not rest:
            if method == "POST":
                return self.add(endpoint, given)
            found = [self._shown(endpoint, item) for item in self.listed(endpoint, query)]
            return {"count": len(found), "next": None, "results": found}
        found = [each for each in self.items.get(endpoint, []) if str(each["id"]) == rest[0]]
        if not found:
            raise rules.Refused({"detail": "Not found."}, 404)
        if len(rest) == 1:
            return self._item(method, endpoint, found[0], given)
        return self._part(method, path, found[0], given)

    def _item(self, method: str, endpoint: str, item: Item, given: Item) -> t.Any:
        if method == "DELETE":
            self.items[endpoint].remove(item)
            for held in self.related.values():
                if isinstance(held, list) and item in held:
                    held.remove(item)
            return None
        if method == "PATCH":
            moved = given.get("organization", item.get("organization"))
            if endpoint == "execution_environments" and moved != item.get("organization"):
                raise rules.Refused({"organization": [ORGANIZED]})
            self._check(endpoint, {**item, **given}, item)
            item |= given
        return self._shown(endpoint, item)

    def _part(self, method: str, path: str, item: Item, given: Item) -> t.Any:
        part = path.strip("/").split("/")[-1]
        if part == "create_approval_template":
            approval = self.add("approvals", given)
            item["related"]["unified_job_template"] = approval["url"]
            return approval
        if part == "survey_spec":
            if method == "POST":
                rules.check_survey(given)
                self.related[path] = given
            return self.related.get(path, {})
        held = self.related.setdefault(path, [])
        if method == "GET":
            return {"count": len(held), "next": None, "results": held}
        (other,) = [
            each for all_ in self.items.values() for each in all_ if each["id"] == given["id"]
        ]
        if given.get("disassociate"):
            held.remove(other)
            return None
        if part == "credentials":
            kinds = {each["id"]: each["kind"] for each in self.items["credential_types"]}
            rules.check_credentials(held, other, kinds)
            self._check_asked(item)
        held.append(other)
        return None

    def _check(self, endpoint: str, given: Item, mine: Item | None = None) -> None:
        keys = rules.UNIQUE.get(endpoint, ())
        for other in self.items.get(endpoint, []) if keys else []:
            if other is not mine and all(other.get(key) == given.get(key) for key in keys):
                raise rules.Refused({"__all__": [f"{endpoint} with this {keys} already exists."]})
        if endpoint == "credential_types":
            rules.check_injectors(given)
        if endpoint == "workflow_job_template_nodes":
            template = self._template(given)
            survey = self.related.get(f"{template.get('url')}survey_spec/", {})
            rules.check_node(given, template, survey)

    def _check_asked(self, node: Item) -> None:
        """A node gives its job a credential only where the job's template asks for one."""
        if "identifier" in node and not self._template(node).get("ask_credential_on_launch"):
            raise rules.Refused({"msg": "Related template is not configured to accept credentials"})

    def _template(self, node: Item) -> Item:
        number = node.get("unified_job_template")
        found = [each for each in self.items.get("job_templates", []) if each["id"] == number]
        return found[0] if found else {"ask_inventory_on_launch": True}

    def _shown(self, endpoint: str, item: Item) -> Item:
        """AWX never shows a credential's secrets again, and sums up those of a template."""
        if endpoint == "credentials":
            return {**item, "inputs": dict.fromkeys(item.get("inputs", {}), SECRET)}
        held = self.related.get(f"{item['url']}credentials/", [])
        return {**item, "summary_fields": {"credentials": [dict(each) for each in held]}}


def _is(item: Item, key: str, value: str) -> bool:
    return key == "page_size" or str(item.get(key, "")).lower() == value.lower()


class _Handler(http.server.BaseHTTPRequestHandler):
    held: Controller

    def _serve(self) -> None:
        asked = urllib.parse.urlsplit(self.path)
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            said = self.held.answer(
                self.command,
                asked.path,
                dict(urllib.parse.parse_qsl(asked.query)),
                json.loads(text) if self.command in ("POST", "PATCH") and text else {},
            )
            created = isinstance(said, dict) and "url" in said and self.command == "POST"
            status = 204 if said is None else 201 if created else 200
        except rules.Refused as refusal:
            said, status = refusal.answer, refusal.status
        self.send_response(status)
        body = b"" if said is None else json.dumps(said).encode()
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PATCH = do_DELETE = _serve

    def log_message(self, *_: t.Any) -> None:
        """Quiet, for what it was asked is no news."""
