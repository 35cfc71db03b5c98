"""When and how certificates are asked for. The authority is a fake, Molecule has a real one."""

from __future__ import annotations

import dataclasses
import datetime
import json
import typing as t
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
