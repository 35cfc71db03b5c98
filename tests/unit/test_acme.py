"""When and how certificates are asked for. The authority is a fake, Molecule has a real one."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import typing as t
import urllib.error
from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import (
    _acme,
    _certificates,
    _commands,
    _sites,
)
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from health_fakes import Certificates, Fake, Peer, answer, server_context

NOW = datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC)
DIRECTORY = "https://acme.test/dir"
NAMES = ("shop.test", "www.shop.test")
SHOP = _sites.Site("shop", NAMES)


class Machine:
    """systemd and certbot as fakes that write down what they were told."""

    def __init__(self, path: Path) -> None:
        self.told: list[list[str]] = []
        self.reload_works = True
        self.says: list[str] = []
        authority = _acme.Authority(
            DIRECTORY, configuration=path / "letsencrypt", webroot=path / "webroot"
        )
        authority = dataclasses.replace(authority, preflight_enabled=False)
        self.value = _sites.Machine(authority, root=path / "tls", run=self.run)

    def run(self, argv: Sequence[str], timeout: float = 0) -> _commands.Completed:
        self.told.append(list(argv))
        if "certbot" in argv:
            if self.says:
                return _commands.Completed(1, self.says.pop(0))
            self.obtain()
        if argv[:2] == ["systemctl", "reload"] and not self.reload_works:
            return _commands.Completed(1, "")
        return _commands.Completed(0, "")

    def obtain(self, names: Sequence[str] = NAMES, server: str = DIRECTORY) -> None:
        authority = self.value.authority
        live = _acme.lineage(authority, "shop")
        live.mkdir(parents=True, exist_ok=True)
        pair = _certificates.sign(names, "Authority", NOW)
        (live / "fullchain.pem").write_bytes(pair.chain)
        (live / "privkey.pem").write_bytes(pair.key)
        renewal = authority.configuration / "renewal" / "shop.conf"
        renewal.parent.mkdir(exist_ok=True)
        renewal.write_text(f"version = 2.1.0\n[renewalparams]\nserver = {server}\n")

    def issuer(self) -> str:
        facts = _certificates.facts(self.value.root / "shop")
        return facts.issuer if facts else ""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_an_untouched_machine_gets_a_temporary_pair_and_wants_a_real_one(machine: Machine) -> None:
    step = _sites.plan(machine.value, SHOP, NOW)
    assert step.wanted
    assert step.pair
    assert _certificates.inspect(step.pair()).issuer == _certificates.TEMPORARY


def test_an_issued_pair_is_installed_and_then_nothing_is_left_to_do(machine: Machine) -> None:
    _sites.obtain(machine.value, SHOP, NOW)
    assert machine.issuer() == "Authority"
    assert _sites.plan(machine.value, SHOP, NOW) == _sites.Step()


@pytest.mark.parametrize(
    "other",
    [{"names": ["shop.test"]}, {"server": "https://other.test/dir"}],
    ids=["a name is missing", "another directory"],
)
def test_what_was_issued_for_other_wishes_is_asked_for_anew(
    machine: Machine, other: dict[str, t.Any]
) -> None:
    machine.obtain(**other)
    assert _sites.plan(machine.value, SHOP, NOW).wanted


def test_a_pair_that_nginx_refuses_goes_back(machine: Machine) -> None:
    _sites.obtain(machine.value, SHOP, NOW)
    before = _certificates.read(machine.value.root / "shop")
    machine.obtain()
    machine.reload_works = False
    with pytest.raises(StackError, match="site shop keeps its certificate"):
        _sites.renew(machine.value, SHOP, NOW, force=False)
    assert _certificates.read(machine.value.root / "shop") == before


@pytest.mark.parametrize(
    "said", ["JWS has an invalid anti-replay nonce: x", "AttributeError: can't set attribute"]
)
def test_a_stale_nonce_is_no_reason_to_give_up(machine: Machine, said: str) -> None:
    machine.says = [said] * 2
    _sites.obtain(machine.value, SHOP, NOW)
    assert machine.issuer() == "Authority"


def test_a_refusal_is_asked_for_once_and_told_in_one_sentence(machine: Machine) -> None:
    machine.says = ["Saving debug log\n  Domain: shop.test\n  Detail: no such host\nHint: x\n"]
    with pytest.raises(StackError, match=r"site shop \(shop.test, www.shop.test\): no such host$"):
        _sites.obtain(machine.value, SHOP, NOW)
    assert len([argv for argv in machine.told if "certbot" in argv]) == 1


def test_preflight_fetches_a_challenge_through_every_name(tmp_path: Path) -> None:
    asked: list[str] = []

    def get(url: str) -> bytes:
        asked.append(url.partition("/.well-known")[0])
        return url.rpartition("/")[2].encode()

    _acme.preflight(_acme.Authority(DIRECTORY, webroot=tmp_path), "shop", NAMES, get)
    assert asked == ["http://shop.test", "http://www.shop.test"]
    assert list((tmp_path / ".well-known/acme-challenge").iterdir()) == []


def test_preflight_says_which_name_does_not_lead_here(tmp_path: Path) -> None:
    def get(url: str) -> bytes:
        return b"parked domain"

    with pytest.raises(StackError, match=r"http://shop\.test/.*something else answered"):
        _acme.preflight(_acme.Authority(DIRECTORY, webroot=tmp_path), "shop", NAMES, get)


def test_preflight_tells_what_the_network_said(tmp_path: Path) -> None:
    def get(url: str) -> bytes:
        raise urllib.error.URLError("no such host")

    with pytest.raises(StackError, match=r"cannot fetch http://shop\.test/.* \(no such host\)"):
        _acme.preflight(_acme.Authority(DIRECTORY, webroot=tmp_path), "shop", NAMES, get)
    assert list((tmp_path / ".well-known/acme-challenge").iterdir()) == []


@pytest.mark.parametrize("enabled", [True, False])
def test_nothing_is_asked_for_that_preflight_calls_hopeless(
    machine: Machine, enabled: bool
) -> None:
    authority = dataclasses.replace(machine.value.authority, preflight_enabled=enabled)
    refused = pytest.raises(StackError, match=r"^no certificate was requested for site shop: ")
    with refused if enabled else contextlib.nullcontext():
        _acme.issue(authority, "shop", NAMES, machine.run, lambda _url: b"parked domain")
    assert bool(machine.told) != enabled


def ari(start: str, end: str) -> t.Callable[..., bytes]:
    def get(url: str, _ca_file: str) -> bytes:
        if url == DIRECTORY:
            return json.dumps({"renewalInfo": "https://acme.test/ari"}).encode()
        return json.dumps({"suggestedWindow": {"start": start, "end": end}}).encode()

    return get


def due(monkeypatch: pytest.MonkeyPatch, days_left: int, get: t.Callable[..., bytes]) -> bool:
    # Our self-signed certificates have no authority whose key could be named.
    monkeypatch.setattr(_acme, "_ari_name", lambda _: "name")
    pair = _certificates.sign(NAMES, "Authority", NOW)
    facts = _certificates.inspect(pair)
    moment = facts.not_after - datetime.timedelta(days=days_left)
    authority = _acme.Authority(DIRECTORY)
    return bool(_acme.due(authority, facts, pair.chain, moment, get))


def unreachable(_url: str, _ca_file: str) -> bytes:
    raise OSError


@pytest.mark.parametrize(("days_left", "expected"), [(31, False), (29, True)])
def test_without_advice_a_third_decides(
    monkeypatch: pytest.MonkeyPatch, days_left: int, expected: bool
) -> None:
    assert due(monkeypatch, days_left, unreachable) is expected


def test_the_authority_may_ask_for_an_early_renewal(monkeypatch: pytest.MonkeyPatch) -> None:
    revoked = ari("2026-11-21T00:00:00Z", "2026-11-21T01:00:00.123456789Z")
    assert due(monkeypatch, 80, revoked)


def test_the_authority_may_ask_to_wait_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    late = ari("2030-01-01T00:00:00Z", "2030-01-02T00:00:00Z")
    assert not due(monkeypatch, 20, late)
    assert due(monkeypatch, 14, late)


# With a real web server; the certificate is the example of RFC 9773, section 4.1.

EXAMPLE = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"


def example() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Example CA")])
    identifier = bytes.fromhex("69885B6B87464041E1B37B847BA0AE2CDE01C8D4")
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(0x87654321)
        .not_valid_before(NOW)
        .not_valid_after(NOW + datetime.timedelta(days=90))
        .add_extension(x509.AuthorityKeyIdentifier(identifier, None, None), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain: bytes = certificate.public_bytes(serialization.Encoding.PEM)
    return chain


@pytest.fixture
def authority(tmp_path: Path) -> t.Iterator[tuple[_acme.Authority, list[str]]]:
    """One that speaks TLS with a certificate of its own making, and what it was asked."""
    made, asked = Certificates(tmp_path), []

    def handler(peer: Peer) -> None:
        path = peer.hear_request().split()[1]
        asked.append(path)
        base = f"https://localhost:{fake.port}/ari/"
        window = {"start": "2026-12-01T00:00:00Z", "end": "2026-12-03T00:00:00Z"}
        body = {"renewalInfo": base} if path == "/dir" else {"suggestedWindow": window}
        peer.say(answer(json.dumps(body).encode()))

    fake = Fake(handler, server_context(made.make("own", name="localhost")))
    yield _acme.Authority(f"https://localhost:{fake.port}/dir", ca_file=str(made.authority)), asked
    fake.close()


@pytest.mark.parametrize(
    ("digest", "day"), [("00000000", 1), ("80000000", 2), ("ffffffff", 3)], ids=lambda given: given
)
def test_an_authority_says_when_it_wants_the_renewal(
    authority: tuple[_acme.Authority, list[str]], digest: str, day: int
) -> None:
    given, asked = authority
    moment = _acme.suggested(given, example(), digest)
    assert moment is not None
    assert abs(moment - NOW.replace(month=12, day=day)) < datetime.timedelta(seconds=1)
    assert asked == ["/dir", f"/ari/{EXAMPLE}"]


def test_an_authority_that_cannot_be_believed_has_no_opinion(
    authority: tuple[_acme.Authority, list[str]],
) -> None:
    given, asked = authority
    stranger = dataclasses.replace(given, ca_file="")
    local = dataclasses.replace(given, directory="file:///etc/hostname")
    for one in (stranger, local):
        assert _acme.suggested(one, example(), "00000000") is None
    assert _acme.suggested(given, b"no certificate", "00000000") is None
    assert asked == ["/dir"]


def test_only_web_servers_are_asked() -> None:
    with pytest.raises(StackError, match="'file:///etc/hostname' is not an address of a web serv"):
        _acme._get("file:///etc/hostname")
