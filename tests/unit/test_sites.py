# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A site's turn by play and by timer: real pairs and a real TLS server, no certbot, no nginx."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import fcntl
import grp
import json
import socket
import ssl
import threading
import typing as t
from collections.abc import Sequence
from pathlib import Path

import fakes
import pytest
from ansible_collections.slipway.stack.plugins.module_utils import (
    _acme,
    _certificates,
    _commands,
    _sites,
)
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError
from ansible_collections.slipway.stack.plugins.modules import nginx_certificates
from fakes import run_module, without

NOW = datetime.datetime.now(datetime.UTC)
NAMES = ("shop.test",)
NOBODY = "http://127.0.0.1:1/directory"  # where no authority listens
DAY = datetime.timedelta(days=1)


def signed(organisation: str = "Company", days: int = 90, names: Sequence[str] = NAMES) -> t.Any:
    return _certificates.sign(names, organisation, NOW - DAY, days)


class Machine:
    """Folders of their own; systemctl and certbot are fakes that note what they are told."""

    def __init__(self, path: Path) -> None:
        self.told: list[str] = []
        self.nginx = True
        self.reload_works = True
        self.hook_works = False
        self.issues: _certificates.Pair | None = None
        self.authority = _acme.Authority(
            NOBODY, configuration=path / "letsencrypt", preflight_enabled=False
        )
        self.value = _sites.Machine(self.authority, root=path / "tls", run=self.run)

    def run(self, argv: Sequence[str], timeout: float = 0) -> _commands.Completed:
        if "certbot" in argv:
            self.told.append("certbot")
            if self.issues:
                self.hold(self.issues)
                if self.hook_works:
                    _sites.deploy(self.value, "shop", self.issues)
            return _commands.Completed(0, "")
        if argv[1] == "is-active":
            return _commands.Completed(0 if self.nginx else 3, "")
        self.told.append(argv[1])
        return _commands.Completed(0 if self.reload_works else 1, "")

    def hold(self, pair: _certificates.Pair) -> None:
        """As certbot holds it."""
        live = _acme.lineage(self.authority, "shop")
        live.mkdir(parents=True, exist_ok=True)
        (live / "fullchain.pem").write_bytes(pair.chain)
        (live / "privkey.pem").write_bytes(pair.key)
        renewal = self.authority.configuration / "renewal" / "shop.conf"
        renewal.parent.mkdir(exist_ok=True)
        renewal.write_text(f"[renewalparams]\nserver = {NOBODY}\n")

    def install(self, pair: _certificates.Pair) -> None:
        _certificates.install(self.value.root, "shop", pair)

    def installed(self) -> _certificates.Pair | None:
        pair: _certificates.Pair | None = _certificates.read(self.value.root / "shop")
        return pair

    def issuer(self) -> str:
        facts = _certificates.facts(self.value.root / "shop")
        return facts.issuer if facts else ""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@contextlib.contextmanager
def shown(pair: _certificates.Pair, path: Path, patch: pytest.MonkeyPatch) -> t.Iterator[None]:
    """Somebody who shows this certificate on the port that browsers ask."""
    _certificates.install(path, "shown", pair)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path / "shown/fullchain.pem", path / "shown/privkey.pem")
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _address = listening.accept()
                except OSError:
                    return
                with contextlib.suppress(OSError), context.wrap_socket(connection, True) as peer:
                    peer.recv(1)

        threading.Thread(target=serve, daemon=True).start()
        patch.setattr(_sites, "PORT", listening.getsockname()[1])
        yield
        listening.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sites, "PORT", 1)


GIVEN = signed()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (None, "site shop brings its own certificate: give certificate.certificate and"),
        (_certificates.Pair(b"x", b"y"), "site shop was refused: the certificate is not PEM text"),
        (signed(days=0), "site shop was refused: it expired "),
        (signed(names=["b.test", "a.test"]), "does not cover shop.test, only a.test, b.test"),
    ],
)
def test_a_given_certificate_that_cannot_serve_is_refused(
    machine: Machine, given: _certificates.Pair | None, sentence: str
) -> None:
    site = _sites.Site("shop", NAMES, "files", given)
    with pytest.raises(StackError, match=sentence):
        _sites.plan(machine.value, site, NOW)


def test_a_given_certificate_is_installed_once(machine: Machine) -> None:
    site = _sites.Site("shop", NAMES, "files", GIVEN)
    step = _sites.plan(machine.value, site, NOW)
    assert (step.reason, step.wanted) == ("install the given certificate", False)
    assert step.pair
    _sites.deploy(machine.value, "shop", step.pair())
    assert machine.installed() == GIVEN
    assert machine.told == ["reload"]
    assert _sites.plan(machine.value, site, NOW) == _sites.Step()


@pytest.mark.parametrize(
    ("installed", "left_alone"),
    [
        (None, False),
        (signed(_certificates.SELF_SIGNED), True),
        (signed(_certificates.SELF_SIGNED, days=20), False),
        (signed(_certificates.SELF_SIGNED, names=["old.test"]), False),
        (signed("Company"), False),
    ],
    ids=["none", "good", "due", "of another name", "of somebody else"],
)
def test_a_self_signed_certificate_is_made_when_needed(
    machine: Machine, installed: _certificates.Pair | None, left_alone: bool
) -> None:
    if installed:
        machine.install(installed)
    now = NOW + 15 * DAY
    step = _sites.plan(machine.value, _sites.Site("shop", NAMES, "self_signed"), now)
    assert (step.pair is None) == left_alone
    if step.pair:
        facts = _certificates.inspect(step.pair())
        assert (facts.issuer, facts.covers(NAMES)) == (_certificates.SELF_SIGNED, True)
        assert not facts.due(now)


def test_a_site_whose_certificate_was_refused_gets_a_temporary_one_unless_it_has_some(
    machine: Machine,
) -> None:
    site = _sites.Site("shop", NAMES, "files")
    _sites.fall_back(machine.value, site, NOW)
    assert machine.issuer() == _certificates.TEMPORARY
    machine.install(GIVEN)
    _sites.fall_back(machine.value, site, NOW)
    assert machine.installed() == GIVEN


def test_without_nginx_there_is_nobody_to_reload(machine: Machine) -> None:
    machine.nginx = False
    _sites.deploy(machine.value, "shop", GIVEN)
    assert (machine.installed(), machine.told) == (GIVEN, [])


def test_a_first_pair_stays_although_nginx_misses_those_of_other_sites(machine: Machine) -> None:
    machine.reload_works = False
    _sites.deploy(machine.value, "shop", GIVEN)
    assert machine.installed() == GIVEN


def test_a_bad_pair_changes_nothing(machine: Machine) -> None:
    machine.install(GIVEN)
    bad = dataclasses.replace(signed(), key=GIVEN.key)
    with pytest.raises(StackError, match=r"site shop keeps its certificate, the new one is bad: "):
        _sites.deploy(machine.value, "shop", bad)
    assert (machine.installed(), machine.told) == (GIVEN, [])


@pytest.mark.parametrize("hook_works", [True, False])
def test_what_was_obtained_is_served_whether_or_not_the_hook_did_its_work(
    machine: Machine, hook_works: bool
) -> None:
    machine.issues, machine.hook_works = signed("Authority"), hook_works
    _sites.obtain(machine.value, _sites.Site("shop", NAMES), NOW)
    assert machine.installed() == machine.issues
    assert machine.told == ["certbot", "reload"]


@pytest.mark.parametrize("held", [None, signed(names=["old.test"])])
def test_a_certbot_that_lies_is_found_out(
    machine: Machine, held: _certificates.Pair | None
) -> None:
    machine.issues = held
    with pytest.raises(StackError, match=r"certbot said .* holds none for shop\.test$"):
        _sites.obtain(machine.value, _sites.Site("shop", NAMES), NOW)


def test_a_lineage_that_lost_its_files_is_named(machine: Machine) -> None:
    with pytest.raises(StackError, match="live/shop holds no certificate for site shop"):
        _sites._held(machine.authority, "shop")


@pytest.mark.usefixtures("nobody_listens")
@pytest.mark.parametrize(
    ("days", "force", "done"),
    [(90, False, ""), (90, True, "renew the certificate"), (3, False, "renew the certificate")],
    ids=["not due", "forced", "due"],
)
def test_the_timer_renews_what_is_due(machine: Machine, days: int, force: bool, done: str) -> None:
    machine.hold(signed("Authority", days))
    machine.issues = signed("Authority", 90)
    site = _sites.Site("shop", NAMES)
    assert _sites.renew(machine.value, site, NOW, False) in ("install the issued certificate", done)
    machine.hold(signed("Authority", days))
    machine.install(_sites._held(machine.authority, "shop"))
    machine.told.clear()
    assert _sites.renew(machine.value, site, NOW + DAY, force) == done
    assert machine.told == (["certbot", "reload"] if done else [])
    assert (machine.installed() == machine.issues) == bool(done)


@pytest.mark.usefixtures("nobody_listens")
def test_the_timer_makes_what_needs_no_authority(machine: Machine) -> None:
    site = _sites.Site("shop", NAMES, "self_signed")
    assert _sites.renew(machine.value, site, NOW, False) == "make a self-signed certificate"
    assert _sites.renew(machine.value, site, NOW, True) == ""
    assert machine.issuer() == _certificates.SELF_SIGNED


@pytest.mark.parametrize("same", [True, False])
def test_what_nginx_shows_is_what_lies_on_disk(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same: bool
) -> None:
    site = _sites.Site("shop", NAMES, "files", GIVEN)
    machine.install(GIVEN)
    with shown(GIVEN if same else signed(), tmp_path / "shown", monkeypatch):
        assert _sites.is_stale(machine.value, site) is not same
        done = _sites.renew(machine.value, site, NOW, False)
    assert done == ("" if same else "serve the certificate on disk")
    assert machine.told == ([] if same else ["reload"])


@pytest.mark.usefixtures("nobody_listens")
def test_where_nothing_is_shown_nothing_is_stale(machine: Machine) -> None:
    assert not _sites.is_stale(machine.value, _sites.Site("shop", NAMES))
    machine.install(GIVEN)
    assert not _sites.is_stale(machine.value, _sites.Site("shop", NAMES))


# The program that the timer and certbot start, on files of its own. Here is neither nginx nor
# certbot, which is what a machine looks like before its first play.

OWN = {
    "name": "blog",
    "names": ["blog.test"],
    "source": "files",
    "certificate": signed(names=["blog.test"]).chain.decode() + "\n\n",
    "private_key": None,
}
SHOP = {"name": "shop", "names": list(NAMES), "source": "self_signed"}


@pytest.fixture
def program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nobody_listens: None
) -> t.Callable[..., int]:
    """`slipway-certbot` as installed, with other folders."""
    for name, path in {"DECLARED": "certbot.json", "LOCK": "lock"}.items():
        monkeypatch.setattr(_sites, name, tmp_path / path)
    found = _sites.machine_from

    def machine_from(values: t.Mapping[str, t.Any]) -> _sites.Machine:
        made = found(values)
        authority = dataclasses.replace(made.authority, configuration=tmp_path / "letsencrypt")
        return dataclasses.replace(made, root=tmp_path / "tls", authority=authority)

    monkeypatch.setattr(_sites, "machine_from", machine_from)
    monkeypatch.setattr(_commands, "_SEARCH", str(tmp_path))
    authority = {"directory": NOBODY, "email": "", "ca_file": "", "preflight_enabled": False}

    def run(*arguments: str) -> int:
        declared = {"authority": authority, "address": "127.0.0.1", "sites": [SHOP, OWN]}
        (tmp_path / "certbot.json").write_text(json.dumps(declared))
        code: int = _sites.main(list(arguments))
        return code

    return run


def test_the_trouble_of_one_site_does_not_stop_the_others(
    program: t.Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert program("renew") == 1
    said = capsys.readouterr()
    assert said.out == "shop: make a self-signed certificate\n"
    assert said.err.startswith("site blog brings its own certificate")
    assert _certificates.facts(tmp_path / "tls" / "shop") is not None


def test_only_the_sites_that_were_named_have_their_turn(
    program: t.Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert [program("renew", "shop"), program("renew", "--force", "shop")] == [0, 0]
    assert capsys.readouterr().out.splitlines() == [
        "shop: make a self-signed certificate",
        "shop: nothing to do",
    ]


def test_play_and_timer_take_turns(program: t.Callable[..., int], tmp_path: Path) -> None:
    with _sites.locked(), (tmp_path / "lock").open() as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("held", [True, False])
def test_certbots_hook_installs_what_it_was_told_of(
    program: t.Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    held: bool,
) -> None:
    lineage = tmp_path / "letsencrypt" / "live" / "shop"
    lineage.mkdir(parents=True)
    if held:
        (lineage / "fullchain.pem").write_bytes(GIVEN.chain)
        (lineage / "privkey.pem").write_bytes(GIVEN.key)
    monkeypatch.setenv("RENEWED_LINEAGE", str(lineage))
    assert program("deploy") == (0 if held else 1)
    assert _certificates.read(tmp_path / "tls" / "shop") == (GIVEN if held else None)
    assert bool(capsys.readouterr().err) != held


def test_a_pair_in_the_inventory_may_end_as_it_likes() -> None:
    own = {**OWN, "private_key": "\nkey\n\n"}
    (site,) = _sites.sites_from([own])
    assert site.given and site.given.key == b"key\n"
    assert site.given.chain.endswith(b"-----END CERTIFICATE-----\n")


# The module.


@pytest.fixture
def play(
    program: t.Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> t.Callable[..., dict[str, t.Any]]:
    def run(*sites: dict[str, t.Any], check_mode: bool = False, **given: t.Any) -> t.Any:
        authority = {"directory": NOBODY, "preflight_enabled": False}
        arguments = {"sites": list(sites), "authority": authority, **given}
        return run_module("nginx_certificates", capsys, check_mode, **arguments)

    return run


ACME = {"name": "acme", "names": ["acme.test"]}


def test_every_site_can_be_served_although_one_was_refused(
    play: t.Callable[..., dict[str, t.Any]], tmp_path: Path
) -> None:
    said = play(SHOP, OWN, ACME)
    assert said["changed"]
    assert said["wanted"] == ["acme"]
    (problem,) = said["problems"]
    assert problem.startswith("site blog brings its own certificate")
    assert said["diff"]["after"].splitlines() == [
        f"acme: request a certificate from {NOBODY}",
        "shop: make a self-signed certificate",
    ]
    for name in ("shop", "blog", "acme"):
        assert _certificates.facts(tmp_path / "tls" / name) is not None, name
    again = play(SHOP, ACME)
    assert (again["changed"], again["wanted"], again["problems"]) == (False, ["acme"], [])


def test_check_mode_tells_and_changes_nothing(
    play: t.Callable[..., dict[str, t.Any]], tmp_path: Path
) -> None:
    said = play(SHOP, OWN, ACME, check_mode=True)
    assert said["wanted"] == ["acme"] and len(said["problems"]) == 1
    assert said["diff"]["after"].splitlines() == [
        f"acme: request a certificate from {NOBODY}",
        "shop: make a self-signed certificate",
    ]
    assert not (tmp_path / "tls").exists()


def test_what_is_wanted_is_asked_for_when_nginx_serves(
    play: t.Callable[..., dict[str, t.Any]], tmp_path: Path
) -> None:
    said = play(ACME, issue=True)
    assert said["problems"] == [
        f"{NOBODY} issued no certificate for site acme (acme.test): env is not installed"
    ]
    assert _certificates.facts(tmp_path / "tls" / "acme") is not None


@pytest.mark.parametrize("code", [0, 1])
def test_nginx_is_reloaded_where_it_shows_another_certificate(
    play: t.Callable[..., dict[str, t.Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
) -> None:
    play(SHOP)
    fakes.program(tmp_path, "systemctl", f"exit {code}")
    with shown(GIVEN, tmp_path / "shown", monkeypatch):
        said = play(SHOP)
    assert said["changed"] == (code == 0)
    if code == 0:
        assert said["diff"]["after"] == "shop: serve the certificate on disk\n"
    else:
        assert said["problems"][0].startswith("nginx refused to reload and serves on")


def test_the_version_of_nginx_is_told(
    play: t.Callable[..., dict[str, t.Any]], tmp_path: Path
) -> None:
    assert play(SHOP)["nginx_version"] == ""
    fakes.program(tmp_path, "nginx", "echo nginx version: nginx/1.26.3")
    assert play(SHOP)["nginx_version"] == "1.26.3"


@pytest.mark.parametrize("check_mode", [True, False])
def test_without_the_library_the_remedy_is_told(
    play: t.Callable[..., dict[str, t.Any]], monkeypatch: pytest.MonkeyPatch, check_mode: bool
) -> None:
    fresh = without(_certificates, "cryptography", monkeypatch)
    monkeypatch.setattr(nginx_certificates, "_certificates", fresh)
    said = play(SHOP, ACME, check_mode=check_mode)
    if check_mode:
        assert said["wanted"] == ["acme"]
        assert said["diff"]["after"].count("make a certificate") == 2
    else:
        assert said["msg"].startswith("python3-cryptography is missing: install certbot")


def test_certificates_belong_to_the_group_of_nginx_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = {group.gr_name: group.gr_gid for group in grp.getgrall()}
    assert nginx_certificates.group() == there.get("www-data", -1)
    monkeypatch.setattr(nginx_certificates, "GROUP", "no-such-group")
    assert nginx_certificates.group() == -1
