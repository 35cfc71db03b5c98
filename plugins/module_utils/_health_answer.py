# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether an HTTP answer is the one that a healthy application gives."""

from __future__ import annotations

import json
import re
import typing as t
import zlib
from urllib.parse import urlsplit

from ansible_collections.slipway.stack.plugins.module_utils import (
    _health,
    _health_request,
    _probe,
)
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError

_LOGIN = re.compile(r"\b(log|sign)[-_]?in\b", re.IGNORECASE)
_POOR = ("degraded", "warn", "warning", "partial")


class Doubtful(StackError):
    """An answer that is neither well nor said to be broken."""

    def __init__(self, state: str, value: str, advice: str) -> None:
        super().__init__(value)
        self.state, self.advice = state, advice


def accept(check: _health.Check, answer: _health_request.Answer) -> str:
    """What the answer says, in a few words; raises Unhealthy or Doubtful if it is not well."""
    if answer.status not in check["status"]:
        said = _health.brief(answer.body[:300].decode(errors="replace"), 120)
        if answer.location and 300 <= answer.status < 400:
            said = f"redirects to {_health.brief(answer.location, 120)}"
        raise _health.Unhealthy(f"{answer.status} {said}".strip())
    _accept_headers(check["expected_headers"], answer)
    came = [f"redirected to {_health.brief(answer.url, 120)}"] if answer.url else []
    if not check["json"] and not check["components"]:
        return ", ".join([str(answer.status), *came])
    if check["components"] and answer.url:
        _accept_page(check["url"], answer)
    document = _document(answer, check["body_limit_bytes"], required=bool(check["json"]))
    for path, expected in check["json"].items():
        found = member(document, path)
        if json.dumps(found, sort_keys=True) != json.dumps(expected, sort_keys=True):
            raise _health.Unhealthy(f"{answer.status}, but {path} is {json.dumps(found)[:120]}")
    parts = _components(document, check["components"], answer) if check["components"] else []
    return ", ".join([str(answer.status), *parts, *came])


def _accept_page(url: str, answer: _health_request.Answer) -> None:
    """What another host or a login page says is nothing that the application says of itself."""
    asked, came = urlsplit(url), urlsplit(answer.url)
    if asked.hostname != came.hostname or _LOGIN.search(came.path):
        shown = _health.brief(answer.url, 120)
        raise _health.Unhealthy(f"{answer.status}, but redirected to {shown}, no page of health")


def _components(document: t.Any, names: list[str], answer: _health_request.Answer) -> list[str]:
    if _probe.ill(document):
        raise _health.Unhealthy(f"{answer.status}, but {_status(document)}")
    found = _probe.components(document, names)
    for name, value in found:
        if not _probe.well(value):
            raise _health.Unhealthy(f"{name} is {json.dumps(value)[:120]}")
    start = _health.brief(answer.body[:80].decode(errors="replace"))
    if not found:
        raise Doubtful(
            _health.WARNING,
            f"{answer.status}, but it says nothing of {' or '.join(names)}: {start}",
            "let the page answer JSON that names them, or ask for no components",
        )
    if isinstance(document, dict) and _probe.word(document) in _POOR:
        advice = "see which part it means: curl the page, and the application's journal"
        raise Doubtful(_health.WARNING, f"{answer.status}, but {_status(document)}", advice)
    return [f"{name} {_health.brief(_probe.word(value), 40)}" for name, value in found]


def _status(document: dict[str, t.Any]) -> str:
    said = next(value for key, value in document.items() if key.lower() == "status")
    return f"status is {json.dumps(said)[:120]}"


def _accept_headers(expected: dict[str, t.Any], answer: _health_request.Answer) -> None:
    for name, part in expected.items():
        found = answer.headers.get(name.lower())
        if found is None:
            raise _health.Unhealthy(f"{answer.status}, but no header {name}")
        if str(part) not in found:
            raise _health.Unhealthy(
                f"{answer.status}, but header {name} is {_health.brief(found, 120)!r}"
            )


def member(document: t.Any, path: str) -> t.Any:
    """`a.b.0` of a JSON document; None where there is no such thing."""
    for step in path.split("."):
        if isinstance(document, dict) and step in document:
            document = document[step]
        elif isinstance(document, list) and step.isdecimal() and int(step) < len(document):
            document = document[int(step)]
        else:
            return None
    return document


def _document(answer: _health_request.Answer, limit: int, *, required: bool) -> t.Any:
    body = unpacked(answer, limit)
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        said = _health.brief(body[:80].decode(errors="replace"))
        if not required and not said.startswith(("{", "[")):
            return None
        if not required:
            advice = "curl the page: it breaks off, or something adds to it"
            value = f"{answer.status}, but its JSON is broken: {said}"
            raise Doubtful(_health.UNKNOWN, value, advice) from None
        raise _health.Unhealthy(f"{answer.status}, but not JSON: {said}") from None


def unpacked(answer: _health_request.Answer, limit: int) -> bytes:
    """The body; some servers compress unasked, and a small body may unpack to gigabytes."""
    encoding = answer.headers.get("content-encoding", "identity").lower()
    if encoding in ("", "identity"):
        return answer.body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise _health.Unhealthy(f"the body is encoded as {_health.brief(encoding, 40)}, unasked")
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        body = unpacker.decompress(answer.body, max(1, limit))  # 0 would be no limit
    except zlib.error as error:
        raise _health.Unhealthy(f"the body is not {encoding}: {error}") from error
    if unpacker.unconsumed_tail or (not unpacker.eof and len(body) == limit):
        raise _health.Unhealthy(f"the compressed body is too large: over {limit} bytes unpacked")
    return body
