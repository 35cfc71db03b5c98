"""Requests to servers that answer well, badly, too slowly, too much, or not at all."""

from __future__ import annotations

import gzip
import itertools
import socket
import threading
import tracemalloc
import typing as t
from pathlib import Path

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import (
    _health,
    _health_answer,
    _health_http,
    _health_request,
)
from health_fakes import (
    SECONDS,
    Certificates,
    Fake,
    Handler,
    Peer,
    answer,
    examine,
    full_listener,
    says,
    server_context,
)

Serve = t.Callable[..., Fake]
MEBIBYTE = 2**20


@pytest.fixture
def serve() -> t.Iterator[Serve]:
    fakes: list[Fake] = []

    def start(handler: Handler, **options: t.Any) -> Fake:
        fakes.append(Fake(handler, **options))
        return fakes[-1]

    yield start
    for fake in fakes:
        fake.close()


# A busy computer is slow, and that is not what most of these look for.
PATIENT = {"latency_warning_milliseconds": 30_000, "latency_critical_milliseconds": 60_000}


def ask(fake: Fake, **options: t.Any) -> list[_health.Finding]:
    url = f"http://127.0.0.1:{fake.port}/health/"
    return examine(_health_http, {"url": url, "samples": 1, **PATIENT, **options})


def only(found: list[_health.Finding]) -> _health.Finding:
    """The one finding of a check that did not get as far as a latency."""
    (finding,) = found
    assert finding.check == "http it"
    assert finding.state == "critical", finding
    return finding


GOOD = (
    b'{"status": "ok", "database": "connected", "parts": [{"name": "a"}], "redis": {"status": 1}}'
)


@pytest.mark.parametrize(
    ("data", "options", "state", "value"),
    [
        (answer(), {}, "ok", "200"),
        (answer(GOOD), {"json": {"status": "ok", "parts.0.name": "a"}}, "ok", "200"),
        (answer(GOOD), {"components": ["database", "absent"]}, "ok", "200, database connected"),
        (answer(b'\xef\xbb\xbf{"Database": "UP"}'), {"components": ["database"]}, "ok",
         "200, database up"),
        (answer(b'{"status": "pass", "checks": {"redis": [{"status": "pass"}]}}'),
         {"components": ["redis"]}, "ok", "200, redis pass"),
        (answer(b"[]"), {"components": ["database"]}, "warning", "200, but it says nothing of"),
        (answer(b"fine"), {"components": ["database"]}, "warning",
         "200, but it says nothing of database: fine"),
        (answer(b"<h1>Sorry, maintenance</h1>"), {"components": ["database"]}, "warning",
         "200, but it says nothing of database: <h1>Sorry"),
        (answer(b'{"database":"er'), {"components": ["database"]}, "unknown",
         '200, but its JSON is broken: {"database":"er'),
        (answer(b'{"status": "degraded", "database": "ok"}'), {"components": ["database"]},
         "warning", '200, but status is "degraded"'),
        (answer(gzip.compress(GOOD), Content_Encoding="gzip"), {"json": {"status": "ok"}}, "ok",
         "200"),
        (answer(X_Version="v2.1"), {"expected_headers": {"X-Version": "v2"}}, "ok", "200"),
        (answer(status="204 No Content"), {"status": [204]}, "ok", "204"),
        (answer(status="301 Moved", Location="/x"), {"status": [301]}, "ok", "301"),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", {}, "ok", "200"),
        (answer(b"down\x1b[2J", "503 Oops"), {}, "critical", "503 down [2J"),
        (answer(status="301 Moved", Location="/x"), {"redirect_limit": 0}, "critical",
         "301 redirects to /x"),
        (answer(status="301 Moved"), {}, "critical", "301"),
        (answer(GOOD), {"json": {"status": True}}, "critical", '200, but status is "ok"'),
        (answer(b'{"a": {"b": 1, "c": 2}}'), {"json": {"a": {"c": 2, "b": 1}}}, "ok", "200"),
        (answer(GOOD), {"json": {"parts.1": "x"}}, "critical", "200, but parts.1 is null"),
        (answer(b"<html>"), {"json": {"status": "ok"}}, "critical", "200, but not JSON: <html>"),
        (answer(b"[" * 100_000), {"json": {"a": 1}}, "critical", "200, but not JSON: [[["),
        (answer(b'{"database": {"status": "down"}}'), {"components": ["database"]}, "critical",
         'database is {"status": "down"}'),
        (answer(b'{"status": "Unhealthy", "x": {"database": "error"}}'),
         {"components": ["database"]}, "critical", '200, but status is "Unhealthy"'),
        (answer(b'{"status": {"a": 1}, "checks": {"database": "error"}}'),
         {"components": ["database"]}, "critical", 'database is "error"'),
        (answer(b'[{"name": "database", "status": "down"}]'), {"components": ["database"]},
         "critical", 'database is "down"'),
        (answer(b'{"components": [{"Name": "Database", "Status": "down"}, 1]}'),
         {"components": ["database"]}, "critical", 'database is "down"'),
        (answer(b'{"Database": "error", "DATABASE": "ok"}'), {"components": ["database"]},
         "critical", 'database is "error"'),
        (answer(b"junk", Content_Encoding="gzip"), {"json": {"a": 1}}, "critical",
         "the body is not gzip"),
        (answer(b"junk", Content_Encoding="br"), {"json": {"a": 1}}, "critical",
         "the body is encoded as br, unasked"),
        (answer(X_Version="v1"), {"expected_headers": {"X-Version": "v2"}}, "critical",
         "200, but header X-Version is 'v1'"),
        (answer(), {"expected_headers": {"X-Version": "v2"}}, "critical",
         "200, but no header X-Version"),
    ],
)  # fmt: skip
def test_an_answer_is_judged(
    serve: Serve, data: bytes, options: dict[str, t.Any], state: str, value: str
) -> None:
    finding, latency = ask(serve(says(data)), **options)
    assert (finding.state, latency.state) == (state, "ok"), finding
    assert finding.value.startswith(value)
    assert bool(finding.advice) == (state != "ok")


def silent(peer: Peer) -> None:
    peer.hear_request()
    peer.wait()


def drip_headers(peer: Peer) -> None:
    peer.hear_request()
    peer.drip(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000)


def drip_body(peer: Peer) -> None:
    peer.hear_request()
    peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    peer.drip(b"x" * 1000)


def drip_chunks(peer: Peer) -> None:
    peer.hear_request()
    peer.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    peer.drip(b"1\r\nx\r\n" * 1000)


def endless_continue(peer: Peer) -> None:
    peer.hear_request()
    while not peer.over.wait(0.01):
        peer.say(b"HTTP/1.1 100 Continue\r\n\r\n")


def endless_headers(peer: Peer) -> None:
    peer.hear_request()
    peer.say(b"HTTP/1.1 200 OK\r\n")
    while not peer.over.is_set():
        peer.say(b"X-More: of the same\r\n")


def endless_line(peer: Peer) -> None:
    peer.hear_request()
    peer.say(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while not peer.over.is_set():
        peer.say(b"a" * 4096)


def long_lines(peer: Peer) -> None:
    peer.hear_request()
    peer.say(b"HTTP/1.1 200 OK\r\n")
    while not peer.over.is_set():
        peer.say(b"X-Long: " + b"a" * 60_000 + b"\r\n")


def gigabyte(peer: Peer) -> None:
    peer.hear_request()
    peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
    for _part in range(1024):
        peer.say(bytes(MEBIBYTE))


def chunked_gigabyte(peer: Peer) -> None:
    peer.hear_request()
    peer.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _part in range(1024):
        peer.say(b"100000\r\n" + bytes(MEBIBYTE) + b"\r\n")


def endless_trailers(peer: Peer) -> None:
    peer.hear_request()
    peer.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n")
    while not peer.over.is_set():
        peer.say(b"X-More: of the same\r\n" * 100)


def cut(data: bytes) -> Handler:
    return says(b"HTTP/1.1 200 OK\r\n" + data)


@pytest.mark.parametrize(
    ("handler", "value"),
    [
        (silent, "waiting for the first byte of the answer: not done within 1 s"),
        (drip_headers, "reading the headers, too slow or endless: not done within 1 s"),
        (drip_body, "reading the body, too slow or endless: "),
        (drip_chunks, "reading the body, too slow or endless: "),
        (endless_continue, "reading the headers, too slow or endless"),
        (endless_headers, "reading the headers, too slow or endless: got more than 100 headers"),
        (endless_line, "reading the headers, too slow or endless: got more than 65536 bytes"),
        (long_lines, "reading the headers, too slow or endless: more than 131072 bytes"),
        (gigabyte, "the body is too large: over 1048576 bytes"),
        (chunked_gigabyte, "the body is too large: over 1048576 bytes"),
        (endless_trailers, "reading the body, too slow or endless: 1 bytes so far"),
        (lambda peer: peer.hear_request(), "the server hung up without an answer"),
        (says(b"SSH-2.0-OpenSSH_9.2\r\n"), "it does not speak HTTP but says 'SSH-2.0-OpenSSH_9.2'"),
        (cut(b"Content-Length: 9\r\n\r\nabc"), "the body was cut off: 6 bytes of it are missing"),
        (cut(b"Transfer-Encoding: chunked\r\n\r\n9\r\nabc"), "the body was cut off after"),
        (cut(b"Transfer-Encoding: chunked\r\n\r\nno number\r\n"), "the body was cut off after 0"),
    ],
)
def test_a_bad_server_is_told_by_name_in_time(serve: Serve, handler: Handler, value: str) -> None:
    fake = serve(handler)
    finding = only(ask(fake))
    assert finding.value.startswith(value), finding
    assert finding.advice
    # What a client that stopped reading left in the kernel's buffers is counted as well.
    assert fake.sent < 64 * MEBIBYTE


@pytest.mark.parametrize("handler", [gigabyte, chunked_gigabyte, endless_line])
def test_memory_stays_bounded(serve: Serve, handler: Handler) -> None:
    fake = serve(handler)
    tracemalloc.start()
    try:
        only(ask(fake))
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * MEBIBYTE


def test_a_compressed_bomb_is_not_unpacked(serve: Serve) -> None:
    bomb = answer(gzip.compress(bytes(256 * MEBIBYTE), 1), Content_Encoding="gzip")
    fake = serve(says(bomb))
    tracemalloc.start()
    try:
        finding, _latency = ask(fake, json={"status": "ok"}, body_limit_bytes=4 * MEBIBYTE)
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert finding.state == "critical"
    assert finding.value.startswith("the compressed body is too large: over 4194304 bytes")
    assert peak < 32 * MEBIBYTE


def test_a_name_that_is_never_looked_up_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def fake(*_arguments: t.Any, **_options: t.Any) -> t.Any:
        released.wait(30)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", fake)
    finding = only(examine(_health_http, {"url": "http://db.example.com/"}))
    released.set()
    assert finding.value == "looking up db.example.com: not done within 1 s"
    assert "resolvectl" in finding.advice


def test_a_name_that_nobody_knows_is_told() -> None:
    finding = only(examine(_health_http, {"url": "http://nobody.invalid/"}, seconds=5))
    assert finding.value.startswith("looking up nobody.invalid: ")


def test_a_connection_that_is_never_taken_is_told() -> None:
    kept, port = full_listener()
    finding = only(examine(_health_http, {"url": f"http://127.0.0.1:{port}/"}))
    for connection in kept:
        connection.close()
    assert finding.value == f"connecting to 127.0.0.1:{port}: not done within 1 s"


def test_a_closed_port_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    finding = only(examine(_health_http, {"url": f"http://[::1]:{port}/", "address": "127.0.0.1"}))
    assert finding.value == f"connecting to 127.0.0.1:{port}: Connection refused"


def test_a_server_that_does_not_read_is_told(serve: Serve) -> None:
    fake = serve(lambda peer: peer.wait())
    big = {f"X-{number}": "x" * 65_000 for number in range(200)}
    finding = only(ask(fake, headers=big))
    assert finding.value == "sending the request: not done within 1 s"


def redirect(to: str) -> bytes:
    return answer(status="302 Found", Location=to)


def test_redirects_are_followed_to_the_end(serve: Serve) -> None:
    heard: list[str] = []

    def other(peer: Peer) -> None:
        heard.append(peer.hear_request())
        peer.say(answer())

    second = serve(other)

    def handler(peer: Peer) -> None:
        asked = peer.hear_request()
        heard.append(asked)
        where = f"http://localhost:{second.port}/end?q=1"
        peer.say(redirect("next" if "/health/next" not in asked else where))

    finding, _latency = ask(serve(handler), headers={"Authorization": "secret"})
    assert finding.state == "ok", finding
    assert finding.value == f"200, redirected to http://localhost:{second.port}/end?q=1"
    assert [line.split()[1] for line in heard] == ["/health/", "/health/next", "/end?q=1"]
    # A token goes to the host that it is meant for, and to no other.
    assert ["secret" in line for line in heard] == [True, True, False]


@pytest.mark.parametrize(
    ("to", "state"),
    [
        ("http://127.0.0.1:{port}/health/live", "ok"),
        ("http://localhost:{port}/health/", "critical"),
        ("/accounts/login/?next=/health/", "critical"),
        ("/sign-in", "critical"),
    ],
)
def test_components_are_those_of_the_page_that_was_asked(serve: Serve, to: str, state: str) -> None:
    where: list[str] = []

    def handler(peer: Peer) -> None:
        first = peer.hear_request().startswith("GET /health/ ") and peer.number == 0
        peer.say(redirect(where[0]) if first else answer(GOOD))

    fake = serve(handler)
    where.append(to.format(port=fake.port))
    finding, _latency = ask(fake, components=["database"])
    assert finding.state == state, finding
    assert "redirected to http://" in finding.value


@pytest.mark.parametrize(
    ("to", "value"),
    [
        (lambda number: f"/{number}", "more than 5 redirects, the last to /"),
        (lambda _number: "/health/", "redirects in a circle: back to /health/"),
        (lambda _number: "ftp://127.0.0.1/", "redirects to ftp://127.0.0.1/, which is no URL"),
        (lambda _number: "http://[::1/", "redirects to http://[::1/, which is no URL"),
    ],
)
def test_bad_redirects_end(serve: Serve, to: t.Callable[[int], str], value: str) -> None:
    numbers = itertools.count()

    def handler(peer: Peer) -> None:
        peer.hear_request()
        peer.say(redirect(to(next(numbers))))

    finding = only(ask(serve(handler)))
    assert finding.value.startswith(value)


@pytest.mark.parametrize("url", ["ftp://x/", "http://", "/health/", "http://x:99999999/"])
def test_a_url_that_is_none_is_unknown_with_the_remedy(url: str) -> None:
    (finding,) = examine(_health_http, {"url": url})
    assert (finding.state, finding.value.startswith(f"url is '{url}'")) == ("unknown", True)
    assert finding.advice


def test_a_part_of_bad_answers_is_critical(serve: Serve) -> None:
    def handler(peer: Peer) -> None:
        peer.hear_request()
        peer.say(answer(status="502 Bad Gateway" if peer.number == 1 else "200 OK"))

    finding, latency = ask(serve(handler), samples=4, advice="see the wiki")
    assert (finding.state, finding.value) == ("critical", "1 of 4 requests: 502")
    assert finding.advice == "see the wiki"
    assert latency.value.endswith("requests: 4")


def test_slowness_is_a_warning_and_then_critical(serve: Serve) -> None:
    def handler(peer: Peer) -> None:
        peer.hear_request()
        peer.over.wait(0.3)
        peer.say(answer())

    fake = serve(handler)
    limits = {"latency_warning_milliseconds": 100, "latency_critical_milliseconds": 60_000}
    finding, latency = ask(fake, samples=9, **limits)
    assert (finding.state, latency.state) == ("ok", "warning")
    # There was no time for all nine, which is not the same as a request that hangs.
    assert latency.value.endswith("(then out of time)")
    _finding, latency = ask(fake, latency_critical_milliseconds=200)
    assert latency.state == "critical"


def test_percentiles_are_measured_values() -> None:
    values = [float(number) for number in range(1, 101)]
    assert [_health_http.percentile(values, share) for share in (50, 95, 99)] == [50, 95, 99]
    assert _health_http.percentile([7.0], 50) == 7.0
    assert _health_http.percentile([1.0, 2.0, 3.0, 4.0, 5.0], 95) == 5.0


def test_members_are_found_by_their_path() -> None:
    document = {"a": [{"b": 1}], "c": "d"}
    assert _health_answer.member(document, "a.0.b") == 1
    assert _health_answer.member(document, "a.1.b") is None
    assert _health_answer.member(document, "a.x") is None
    assert _health_answer.member(document, "c.d") is None


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def secure(fake: Fake, name: str = "shop.test", **options: t.Any) -> list[_health.Finding]:
    url = f"https://{name}:{fake.port}/health/"
    check = {"url": url, "address": "127.0.0.1", "samples": 1, **options}
    return examine(_health_http, check, seconds=3)


@pytest.mark.parametrize(
    ("left", "name", "trusted", "value"),
    [
        (80, "shop.test", True, "200"),
        (80, "127.0.0.2", True, "200"),
        (-1, "shop.test", True, "TLS handshake as shop.test: certificate has expired"),
        (80, "other.test", True, "TLS handshake as other.test: Hostname mismatch"),
        (80, "shop.test", False, "TLS handshake as shop.test: unable to get local issuer"),
    ],
)
def test_the_certificate_is_verified(
    serve: Serve, certificates: Certificates, left: float, name: str, trusted: bool, value: str
) -> None:
    pair = certificates.make("shop", age=90, left=left)
    fake = serve(says(answer()), tls=server_context(pair))
    found = secure(fake, name, ca_file=str(certificates.authority) if trusted else None)
    assert found[0].value.startswith(value), found
    assert (found[0].state == "ok") == (value == "200")


def test_the_certificate_itself_may_be_the_anchor(serve: Serve, certificates: Certificates) -> None:
    pair = certificates.make("anchor")
    found = secure(serve(says(answer()), tls=server_context(pair)), ca_file=str(pair[0]))
    assert found[0].state == "ok", found


def test_a_redirect_may_not_leave_https(serve: Serve, certificates: Certificates) -> None:
    fake = serve(says(redirect("http://shop.test/")), tls=server_context(certificates.make("s")))
    finding = only(secure(fake, ca_file=str(certificates.authority)))
    assert finding.value == "redirects from https to http: http://shop.test/"


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "No such file"), ("no certificate", "no certificate")]
)
def test_an_authority_that_cannot_be_read_is_unknown(
    serve: Serve, tmp_path: Path, content: str | None, reason: str
) -> None:
    path = tmp_path / "authority.pem"
    if content:
        path.write_text(content)
    (finding,) = secure(serve(silent), ca_file=str(path))
    assert (finding.state, reason in finding.value.lower() or reason in finding.value) == (
        "unknown",
        True,
    ), finding


def test_a_handshake_that_hangs_is_told(serve: Serve) -> None:
    fake = serve(lambda peer: peer.wait())
    url = f"https://127.0.0.1:{fake.port}/"
    finding = only(examine(_health_http, {"url": url}))
    assert finding.value == "TLS handshake as 127.0.0.1: not done within 1 s"


def test_plain_text_on_a_tls_port_is_told(serve: Serve) -> None:
    fake = serve(lambda peer: peer.say(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10))
    finding = only(examine(_health_http, {"url": f"https://127.0.0.1:{fake.port}/"}))
    assert finding.value.startswith("TLS handshake as 127.0.0.1: ")


def test_a_control_character_in_a_header_is_refused(serve: Serve) -> None:
    finding = only(ask(serve(says(answer())), headers={"X": "a\r\nY: b"}))
    assert "Invalid header value" in finding.value


def test_deadlines_of_this_file_are_what_the_texts_say() -> None:
    assert SECONDS == 1.0
    assert _health_request.HEAD_LIMIT == 131_072
