"""Pairs of certificate and key; real ones, made by the very code."""

from __future__ import annotations

import dataclasses
import datetime
import os
from pathlib import Path

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _certificates as certificates
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID
from fakes import without

NOW = datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC)
NAMES = ["shop.test", "www.shop.test", "10.0.0.1"]


def pair(days: int = 90) -> certificates.Pair:
    return certificates.sign(NAMES, certificates.TEMPORARY, NOW, days)


def test_a_pair_tells_what_it_is() -> None:
    facts = certificates.inspect(pair())
    assert facts.names == set(NAMES)
    assert facts.issuer == certificates.TEMPORARY
    assert not facts.responder
    assert facts.not_after == NOW + datetime.timedelta(days=90)


def test_a_key_of_another_certificate_is_refused() -> None:
    mixed = certificates.Pair(pair().chain, pair().key)
    with pytest.raises(StackError, match="does not belong"):
        certificates.inspect(mixed)


@pytest.mark.parametrize("change", [{"chain": b"nonsense"}, {"key": b"nonsense"}])
def test_nonsense_is_refused(change: dict[str, bytes]) -> None:
    with pytest.raises(StackError, match="PEM"):
        certificates.inspect(dataclasses.replace(pair(), **change))


def test_a_key_does_not_show_itself() -> None:
    assert "PRIVATE KEY" not in repr(pair())


@pytest.mark.parametrize(
    ("lifetime", "left", "due"),
    [(90, 31, False), (90, 29, True), (45, 16, False), (45, 14, True), (6, 4, False), (6, 2, True)],
)
def test_due_follows_the_share_of_the_lifetime(lifetime: int, left: int, due: bool) -> None:
    facts = certificates.inspect(pair(lifetime))
    assert facts.due(facts.not_after - datetime.timedelta(days=left)) is due


@pytest.mark.parametrize(
    ("inside", "asked", "covered"),
    [
        (["a.test"], ["a.test"], True),
        (["a.test"], ["b.test"], False),
        (["*.a.test"], ["b.a.test"], True),
        (["*.a.test"], ["a.test"], False),
        (["*.a.test"], ["c.b.a.test"], False),
    ],
)
def test_names_are_covered(inside: list[str], asked: list[str], covered: bool) -> None:
    facts = dataclasses.replace(certificates.inspect(pair()), names=frozenset(inside))
    assert facts.covers(asked) is covered


def test_pairs_change_in_one_step_and_can_go_back(tmp_path: Path) -> None:
    first, second = pair(), pair()
    assert certificates.install(tmp_path, "shop", first) is None
    assert certificates.read(tmp_path / "shop") == first
    before = certificates.install(tmp_path, "shop", second)
    assert certificates.read(tmp_path / "shop") == second
    certificates.restore(tmp_path, "shop", before)
    assert certificates.read(tmp_path / "shop") == first
    assert len(list((tmp_path / ".pairs").iterdir())) == 1


def test_a_bad_pair_is_not_installed(tmp_path: Path) -> None:
    good = pair()
    certificates.install(tmp_path, "shop", good)
    with pytest.raises(StackError):
        certificates.install(tmp_path, "shop", certificates.Pair(pair().chain, good.key))
    assert certificates.read(tmp_path / "shop") == good


def test_the_key_is_not_for_everybody(tmp_path: Path) -> None:
    certificates.install(tmp_path, "shop", pair())
    assert (tmp_path / "shop" / "privkey.pem").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "shop").stat().st_mode & 0o777 == 0o750


def test_tidying_one_site_leaves_its_namesakes(tmp_path: Path) -> None:
    for name in ("shop", "shop.example"):
        certificates.install(tmp_path, name, pair())
    certificates.install(tmp_path, "shop", pair())
    certificates.tidy(tmp_path, "shop")
    assert len(list((tmp_path / ".pairs").iterdir())) == 2
    assert certificates.read(tmp_path / "shop.example")


def bare(*extensions: x509.ExtensionType) -> certificates.Pair:
    """A pair whose certificate has these extensions alone, and no organisation."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "shop.test")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + datetime.timedelta(days=9))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    signed = builder.sign(key, hashes.SHA256())
    form = serialization.PrivateFormat.PKCS8
    pem = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    return certificates.Pair(signed.public_bytes(serialization.Encoding.PEM), pem)


def access(method: x509.ObjectIdentifier) -> x509.AuthorityInformationAccess:
    place = x509.UniformResourceIdentifier("http://authority.test/")
    return x509.AuthorityInformationAccess([x509.AccessDescription(method, place)])


def test_a_certificate_without_names_covers_none() -> None:
    facts = certificates.inspect(bare())
    assert (facts.names, facts.issuer, facts.covers(["shop.test"])) == (frozenset(), "", False)


@pytest.mark.parametrize(
    ("pair", "staples"),
    [
        (bare(), False),
        (bare(access(AuthorityInformationAccessOID.CA_ISSUERS)), False),
        (bare(access(AuthorityInformationAccessOID.OCSP)), True),
    ],
)
def test_nginx_staples_where_the_certificate_names_a_responder(
    tmp_path: Path, pair: certificates.Pair, staples: bool
) -> None:
    certificates.install(tmp_path, "shop", pair)
    file = tmp_path / "shop" / "stapling.conf"
    assert (file.read_text() if file.exists() else "") == ("ssl_stapling on;\n" if staples else "")


def test_what_nginx_could_not_use_counts_as_nothing(tmp_path: Path) -> None:
    assert certificates.facts(tmp_path / "none") is None
    certificates.install(tmp_path, "shop", pair())
    assert certificates.facts(tmp_path / "shop") is not None
    (tmp_path / "shop" / "privkey.pem").write_bytes(pair().key)
    assert certificates.facts(tmp_path / "shop") is None


def test_a_directory_in_the_place_of_the_link_gives_way(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "fullchain.pem").write_bytes(b"by hand")
    new = pair()
    assert certificates.install(tmp_path, "shop", new) is None
    assert (tmp_path / "shop").is_symlink()
    assert certificates.read(tmp_path / "shop") == new


@pytest.mark.parametrize("before", [None, ".pairs/shop.gone"])
def test_without_a_predecessor_the_new_pair_stays(tmp_path: Path, before: str | None) -> None:
    new = pair()
    certificates.install(tmp_path, "shop", new)
    certificates.restore(tmp_path, "shop", before)
    assert certificates.read(tmp_path / "shop") == new


def test_what_the_renewal_makes_later_belongs_to_the_group_too(tmp_path: Path) -> None:
    group = os.getegid()
    certificates.install(tmp_path, "shop", pair(), group)
    pairs = tmp_path / ".pairs"
    assert pairs.stat().st_mode & 0o7777 == 0o2750
    assert {path.stat().st_gid for path in pairs.rglob("*")} == {group}
    pairs.chmod(0o2700)
    certificates.install(tmp_path, "shop", pair(), group)
    assert pairs.stat().st_mode & 0o7777 == 0o2700, "what is shared already is left alone"


def test_a_machine_without_the_library_learns_so_before_it_needs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not without(certificates, "cryptography", monkeypatch).HAS_CRYPTOGRAPHY
