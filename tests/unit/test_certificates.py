"""Pairs of certificate and key; real ones, made by the very code."""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _certificates as certificates
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError

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
