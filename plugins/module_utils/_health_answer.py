# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether an HTTP answer is the one that a healthy application gives."""

from __future__ import annotations

import json
import typing as t
import zlib

from ansible_collections.slipway.stack.plugins.module_utils import (
    _health,
    _health_request,
    _probe,
)


def accept(check: _health.Check, answer: _health_request.Answer) -> str:
    """What the answer says, in a few words; raises Unhealthy for one that is not well."""
    if answer.status not in check["status"]:
        said = _health.brief(answer.body[:300].decode(errors="replace"), 120)
        if answer.location and 300 <= answer.status < 400:
            said = f"redirects to {_health.brief(answer.location, 120)}"
        raise _health.Unhealthy(f"{answer.status} {said}".strip())
    _accept_headers(check["expected_headers"], answer)
    if not check["json"] and not check["components"]:
        return str(answer.status)
    # The application's own components are looked at only where it names them.
    document = _document(answer, check["body_limit_bytes"], required=bool(check["json"]))
    for path, expected in check["json"].items():
        found = member(document, path)
        if json.dumps(found) != json.dumps(expected):
            raise _health.Unhealthy(f"{answer.status}, but {path} is {json.dumps(found)[:120]}")
    return ", ".join([str(answer.status), *_components(document, check["components"])])


def _components(document: t.Any, names: list[str]) -> list[str]:
    said = []
    for name in names:
        if not isinstance(document, dict) or name not in document:
            continue
        value = document[name]
        if not _probe.well(value):
            raise _health.Unhealthy(f"{name} is {json.dumps(value)[:120]}")
        said.append(f"{name} {value.get('status') if isinstance(value, dict) else value}")
    return said


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
        if not required:
            return None
        said = _health.brief(body[:80].decode(errors="replace"))
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
