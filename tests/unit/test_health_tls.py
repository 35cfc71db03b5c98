"""TLS servers with good, old, wrong and strange certificates."""

from __future__ import annotations

import datetime
import ssl
import typing as t
from pathlib import Path

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import (
    _health,
    _health_certificate,
    _health_tls,
)
from cryptography import x509
from health_fakes import Certificates, Fake, Handler, Peer, examine, server_context

DAY = 86_400
# Python calls versions deprecated whose refusal is the very thing to see.
pytestmark = pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def serve() -> t.Iterator[t.Callable[..., Fake]]:
    fakes: list[Fake] = []

    def start(handler: Handler, **options: t.Any) -> Fake:
        fakes.append(Fake(handler, **options))
        return fakes[-1]

    yield start
    for fake in fakes:
        fake.close()


def wait(peer: Peer) -> None:
    peer.connection.recv(1)


def look(fake: Fake, **options: t.Any) -> dict[str, _health.Finding]:
    check = {"host": "shop.test", "address": "127.0.0.1", "port": fake.port, **options}
    found = examine(_health_tls, check, seconds=3)
    return {finding.check.removeprefix("tls it").strip(): finding for finding in found}


def test_a_good_server_is_ok_in_everything(
    serve: t.Callable[..., Fake], certificates: Certificates
) -> None:
    pair = certificates.make("good")
    fake = serve(wait, tls=server_context(pair))
    found = look(fake, ca_file=str(certificates.authority), certificate_file=str(pair[0]))
    assert list(found) == ["chain", "lifetime", "served", "protocol"]
    assert {row.state for row in found.values()} == {"ok"}, found
    assert found["chain"].value == "verified, TLSv1.3"
    assert found["lifetime"].value.startswith("89 % left: 80 days, until ")
    assert found["protocol"].value == "nothing below TLSv1.2"


@pytest.mark.parametrize(
    ("age", "left", "state", "value"),
    [
        (74, 26, "ok", "26 % left: 26 days"),
        (76, 24, "warning", "24 % left: 24 days"),
        (91, 9, "critical", "9 % left: 9 days"),
        (103, -3, "critical", "expired 3 days ago, on "),
        (-2, 90, "critical", "not valid before "),
    ],
)
def test_what_is_left_is_judged_as_a_share(
    serve: t.Callable[..., Fake],
    certificates: Certificates,
    age: float,
    left: float,
    state: str,
    value: str,
) -> None:
    fake = serve(wait, tls=server_context(certificates.make("aged", age, left)))
    found = look(fake, ca_file=str(certificates.authority))
    assert found["lifetime"].state == state
    assert found["lifetime"].value.startswith(value)
    expired = value.startswith(("expired", "not valid"))
    assert found["chain"].state == ("critical" if expired else "ok")


def test_limits_of_the_lifetime_can_be_set(
    serve: t.Callable[..., Fake], certificates: Certificates
) -> None:
    fake = serve(wait, tls=server_context(certificates.make("half", 50, 50)))
    assert look(fake, remaining_warning_percent=60)["lifetime"].state == "warning"
    assert look(fake, remaining_critical_percent=60)["lifetime"].state == "critical"


@pytest.mark.parametrize(
    ("options", "value"),
    [
        ({"host": "other.test"}, "Hostname mismatch, certificate is not valid for 'other.test'."),
        ({"ca_file": None}, "unable to get local issuer certificate"),
    ],
)
def test_a_chain_that_is_not_trusted_is_critical(
    serve: t.Callable[..., Fake], certificates: Certificates, options: dict[str, t.Any], value: str
) -> None:
    fake = serve(wait, tls=server_context(certificates.make("good")))
    chain = look(fake, **{"ca_file": str(certificates.authority), **options})["chain"]
    assert (chain.state, chain.value) == ("critical", value)
    assert chain.advice


def test_what_the_machine_itself_trusts_is_trusted(
    serve: t.Callable[..., Fake], certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    chain = look(serve(wait, tls=server_context(certificates.make("good"))))["chain"]
    assert (chain.state, chain.value) == ("ok", "verified, TLSv1.3")


def test_a_chain_that_is_its_own_anchor_must_be_served_whole(
    serve: t.Callable[..., Fake], certificates: Certificates, tmp_path: Path
) -> None:
    below = Certificates(tmp_path, certificates)
    leaf, key = below.make("below")
    served, on_disk = tmp_path / "served.pem", tmp_path / "on-disk.pem"
    served.write_text(leaf.read_text() + below.authority.read_text())
    on_disk.write_text(served.read_text() + certificates.authority.read_text())

    def chain(file: Path, **options: t.Any) -> _health.Finding:
        return look(serve(wait, tls=server_context((file, key))), **options)["chain"]

    alone = chain(leaf, ca_file=str(on_disk))
    value = f"incomplete: 1 of the certificates in {on_disk} are not sent"
    assert (alone.state, alone.value, bool(alone.advice)) == ("critical", value, True)
    # Nobody sends the authority itself.
    assert chain(served, ca_file=str(on_disk)).state == "ok"
    assert chain(served, ca_file=str(certificates.authority)).state == "ok"
    # Whoever trusts the intermediate needs no more.
    assert chain(leaf, ca_file=str(below.authority)).state == "ok"


def test_an_authority_that_is_missing_is_unknown(
    serve: t.Callable[..., Fake], certificates: Certificates
) -> None:
    fake = serve(wait, tls=server_context(certificates.make("good")))
    found = look(fake, ca_file="/no/such/file")
    assert found["chain"].state == "unknown"
    assert found["lifetime"].state == "ok"


def test_another_certificate_than_on_disk_is_critical(
    serve: t.Callable[..., Fake], certificates: Certificates
) -> None:
    fake = serve(wait, tls=server_context(certificates.make("old")))
    served = look(fake, certificate_file=str(certificates.make("new")[0]))["served"]
    assert (served.state, served.advice) == ("critical", "load it: systemctl reload nginx")
    assert served.value.startswith("another one (sha256 ")


@pytest.mark.parametrize("content", [None, "nothing", "-----BEGIN CERTIFICATE-----", "schön"])
def test_a_file_without_a_certificate_is_unknown(
    serve: t.Callable[..., Fake], certificates: Certificates, tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "fullchain.pem"
    if content:
        path.write_text(content, encoding="utf-8")
    fake = serve(wait, tls=server_context(certificates.make("good")))
    served = look(fake, certificate_file=str(path))["served"]
    assert served.state == "unknown"
    assert str(path) in served.value


def old(certificates: Certificates) -> ssl.SSLContext:
    context = server_context(certificates.make("old"))
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def test_an_old_protocol_is_critical(
    serve: t.Callable[..., Fake], certificates: Certificates
) -> None:
    fake = serve(wait, tls=old(certificates))
    protocol = look(fake)["protocol"]
    assert (protocol.state, protocol.value) == ("critical", "TLSv1.1 is accepted")
    protocol = look(fake, minimum_protocol="TLSv1.3")["protocol"]
    assert (protocol.state, protocol.value) == ("critical", "TLSv1.2 is accepted")


def counting(context: ssl.SSLContext, last: t.Callable[[Peer], None]) -> Handler:
    """TLS by hand for two connections; the third, which offers old protocols, gets `last`."""

    def handler(peer: Peer) -> None:
        if peer.number == 2:
            last(peer)
            return
        with context.wrap_socket(peer.connection, server_side=True) as channel:
            channel.recv(1)

    return handler


@pytest.mark.parametrize(
    ("last", "state", "value"),
    [
        (lambda peer: peer.connection.close(), "ok", "nothing below TLSv1.2"),
        (lambda peer: peer.reset(), "ok", "nothing below TLSv1.2"),
        (lambda peer: peer.connection.recv(4096), "ok", "nothing below TLSv1.2"),
        (lambda peer: peer.wait(), "critical", "TLS handshake as shop.test: not done within 3 s"),
        (
            lambda peer: peer.say(b"HTTP/1.1 400 Bad\r\n" * 9),
            "unknown",
            "this machine cannot offer an older protocol (",
        ),
    ],
)
def test_what_the_floor_cannot_tell_leaves_the_rest(
    serve: t.Callable[..., Fake],
    certificates: Certificates,
    last: t.Callable[[Peer], None],
    state: str,
    value: str,
) -> None:
    context = server_context(certificates.make("good"))
    found = look(serve(counting(context, last)), ca_file=str(certificates.authority))
    assert (found["chain"].state, found["lifetime"].state) == ("ok", "ok")
    assert found["protocol"].state == state, found["protocol"]
    assert found["protocol"].value.startswith(value)


def test_a_server_that_dies_refuses_nothing(
    serve: t.Callable[..., Fake], certificates: Certificates
) -> None:
    context = server_context(certificates.make("good"))

    def dying(peer: Peer) -> None:
        if peer.number < 2:
            with context.wrap_socket(peer.connection, server_side=True) as channel:
                channel.recv(1)

    found = look(serve(dying), ca_file=str(certificates.authority))
    assert (found["chain"].state, found["protocol"].state) == ("ok", "critical")
    assert found["protocol"].value.startswith("TLS handshake as shop.test: ")


def test_a_server_without_tls_is_told(serve: t.Callable[..., Fake]) -> None:
    found = look(serve(lambda peer: peer.say(b"220 mail ready\r\n" * 9)))
    assert found[""].state == "critical"
    assert found[""].value.startswith("TLS handshake as shop.test: ")


@pytest.mark.parametrize(("begins", "ends"), [(1951, 1999), (2001, 2049), (2026, 2051)])
def test_dates_are_read_as_a_library_reads_them(
    certificates: Certificates, begins: int, ends: int
) -> None:
    dates = [datetime.datetime(year, 3, 4, 5, 6, 7, tzinfo=datetime.UTC) for year in (begins, ends)]
    pem = made_with(certificates, *dates)
    found = _health_certificate.validity(_health_certificate.first(pem))
    assert [found.begins, found.ends] == [date.timestamp() for date in dates]


def made_with(certificates: Certificates, begins: t.Any, ends: t.Any) -> str:
    age = (certificates.now - begins).total_seconds() / DAY
    left = (ends - certificates.now).total_seconds() / DAY
    path, _key = certificates.make("dated", age, left)
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    assert certificate.not_valid_before_utc == begins
    return path.read_text()


@pytest.mark.parametrize(
    "der",
    [b"", b"\x30", b"\x30\x05abc", b"0\x0a0\x08\x02\x01\x010\x000\x00\x05", b"\x30\x84\xff"],
)
def test_nonsense_is_no_certificate(der: bytes) -> None:
    with pytest.raises(_health.Unhealthy, match="not a certificate"):
        _health_certificate.validity(der)


def test_a_certificate_of_the_first_version_has_dates_too() -> None:
    time = b"\x17\x0d260101000000Z"
    ends = b"\x17\x0d260201000000Z"
    dates = b"\x30" + bytes([len(time + ends)]) + time + ends
    fields = b"\x02\x01\x01" + b"\x30\x00" + b"\x30\x00" + dates
    inner = b"\x30" + bytes([len(fields)]) + fields
    found = _health_certificate.validity(b"\x30" + bytes([len(inner)]) + inner)
    assert (found.ends - found.begins) / DAY == 31
    wrong = (b"\x30" + bytes([len(inner)]) + inner).replace(b"\x17", b"\x05")
    with pytest.raises(_health.Unhealthy):
        _health_certificate.validity(wrong)
