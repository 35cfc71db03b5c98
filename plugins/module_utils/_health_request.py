# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One HTTP request over a connection of its own, redirects followed, everything bounded."""

from __future__ import annotations

import dataclasses
import http.client
import typing as t
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from ansible_collections.slipway.stack.plugins.module_utils import _health, _health_net

OPTIONS: dict[str, t.Any] = {
    "url": {"type": "str", "required": True},
    "address": {"type": "str", "default": ""},
    "ca_file": {"type": "path"},
    "headers": {"type": "dict", "default": {}},
    "advice": {"type": "str", "default": ""},
}
AGENT = "slipway-health"
HEAD_LIMIT = 131_072
PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
SECURE = ("https", "wss")
REDIRECTS = (301, 302, 303, 307, 308)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What came back, the body at most as long as allowed; `url` if it was redirected to."""

    status: int
    headers: dict[str, str]
    body: bytes
    url: str = ""

    @property
    def location(self) -> str:
        return self.headers.get("location", "")


def split(url: str, schemes: tuple[str, ...]) -> SplitResult:
    """The parts of a URL that can be asked."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises for one that is no port
    except ValueError as error:
        raise _health.CannotCheck(f"url is {url!r}: {error}", "correct the URL") from error
    if parts.scheme not in schemes or not parts.hostname:
        wanted = " or ".join(f"{scheme}://" for scheme in schemes)
        raise _health.CannotCheck(f"url is {url!r}", f"write {wanted}<host>/<path>")
    return parts


def visit(check: _health.Check, deadline: _health.Deadline) -> Answer:
    """The last answer of a chain of redirects that ends."""
    parts = first = split(check["url"], ("http", "https"))
    seen = [first.geturl()]
    while True:
        home = parts.hostname == first.hostname
        answer = _ask(parts, check, deadline, home=home)
        followed = answer.location and check["redirect_limit"]
        if answer.status in check["status"] or answer.status not in REDIRECTS or not followed:
            return dataclasses.replace(answer, url=seen[-1] if seen[1:] else "")
        parts = _allowed(seen, answer.location, check["redirect_limit"])
        seen.append(parts.geturl())


def _allowed(seen: list[str], location: str, limit: int) -> SplitResult:
    shown = _health.brief(location, 120)
    try:
        parts = split(urljoin(seen[-1], location), ("http", "https"))
    except (ValueError, _health.CannotCheck) as error:
        raise _health.Unhealthy(f"redirects to {shown}, which is no URL of HTTP") from error
    if parts.geturl() in seen:
        raise _health.Unhealthy(f"redirects in a circle: back to {shown}")
    if len(seen) > limit:
        raise _health.Unhealthy(f"more than {limit} redirects, the last to {shown}")
    if seen[-1].startswith("https:") and parts.scheme == "http":
        raise _health.Unhealthy(f"redirects from https to http: {shown}")
    return parts


def connect(
    parts: SplitResult, check: _health.Check, deadline: _health.Deadline, *, home: bool = True
) -> _health_net.Channel:
    """A channel to the URL's host, or to `address` in its place, with TLS where it says so."""
    host = t.cast(str, parts.hostname)
    port = parts.port or PORTS[parts.scheme]
    secure = parts.scheme in SECURE
    context = _health_net.tls_context(check["ca_file"]) if secure else None
    connection = _health_net.dial((home and check["address"]) or host, port, deadline)
    if context:
        connection = _health_net.secure(connection, context, host, deadline)
    return _health_net.Channel(connection, deadline, HEAD_LIMIT)


def send(
    channel: _health_net.Channel,
    parts: SplitResult,
    headers: dict[str, str],
    deadline: _health.Deadline,
    advice: str,
) -> http.client.HTTPResponse:
    """The answer's head; its body is still to be read."""
    connection = http.client.HTTPConnection(t.cast(str, parts.hostname), parts.port)
    connection.sock = t.cast(t.Any, channel)
    target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    if parts.query:
        target += "?" + quote(parts.query, safe="/?%:@!$&'()*+,;=~-._")
    host = parts.netloc.rpartition("@")[2]
    try:
        deadline.stage("sending the request", advice or "the server does not read: its journal")
        connection.request("GET", target, headers={"Host": host, **headers})
        response = http.client.HTTPResponse(t.cast(t.Any, channel), method="GET")
        deadline.stage(
            "waiting for the first byte of the answer", advice or "its journal: it hangs, or ended"
        )
        if not t.cast(t.Any, response.fp).peek(1):
            raise _health.Unhealthy("the server hung up without an answer")
        curl = f"curl -v {parts.geturl()}"
        deadline.stage("reading the headers, too slow or endless", advice or curl)
        response.begin()
    except http.client.BadStatusLine as error:
        said = f"it does not speak HTTP but says {_health.brief(error, 60)!r}"
        raise _health.Unhealthy(
            said, "", advice or f"what listens there: ss -ltnp; {curl}"
        ) from None
    except (http.client.HTTPException, ValueError) as error:
        raise _health.Unhealthy(f"{deadline.doing}: {error or type(error).__name__}") from error
    return response


def _ask(
    parts: SplitResult, check: _health.Check, deadline: _health.Deadline, *, home: bool
) -> Answer:
    own = {"User-Agent": AGENT, "Accept-Encoding": "identity", "Connection": "close"}
    # What is meant for one host, a cookie or a token, is no other host's business.
    given = {name: str(value) for name, value in check["headers"].items()} if home else {}
    with connect(parts, check, deadline, home=home) as channel:
        response = send(channel, parts, {**own, **given}, deadline, check["advice"])
        body = _body(response, channel, check, deadline)
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, body)


def _body(
    response: http.client.HTTPResponse,
    channel: _health_net.Channel,
    check: _health.Check,
    deadline: _health.Deadline,
) -> bytes:
    body, limit = bytearray(), check["body_limit_bytes"]
    advice = check["advice"] or "its journal"
    # Chunks of one byte each cost five more; so much is let through, but never kept.
    channel.allow(limit * 16 + _health_net.CHUNK)
    while True:
        deadline.stage(f"reading the body, too slow or endless: {len(body)} bytes so far", advice)
        try:
            part = response.read1(_health_net.CHUNK)
        except (http.client.HTTPException, ValueError) as error:
            said = f"the body was cut off after {len(body)} bytes: {error}"
            raise _health.Unhealthy(said) from error
        if not part:
            break
        body += part
        if len(body) > limit:
            raise _health.Unhealthy(
                f"the body is too large: over {limit} bytes", "", "ask a smaller page"
            )
    if response.length:
        raise _health.Unhealthy(
            f"the body was cut off: {response.length} bytes of it are missing after {len(body)}"
        )
    return bytes(body)
