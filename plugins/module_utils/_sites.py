# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Brings the certificate of each site to what is declared; run by the play and by the timer."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import fcntl
import hashlib
import json
import os
import socket
import ssl
import sys
import typing as t
from pathlib import Path

from . import _acme, _certificates, _commands
from ._errors import StackError

ROOT = Path("/etc/slipway/tls")
DECLARED = Path("/etc/slipway/certbot.json")
LOCK = Path("/run/lock/slipway-certbot")
UNIT = "nginx.service"
PORT = 443


@dataclasses.dataclass(frozen=True)
class Site:
    """A site and where its certificate comes from: acme, files or self_signed."""

    name: str
    names: tuple[str, ...]
    source: str = "acme"
    given: _certificates.Pair | None = dataclasses.field(default=None, repr=False)


@dataclasses.dataclass(frozen=True)
class Machine:
    """The surroundings of the certificates."""

    authority: _acme.Authority
    address: str = "127.0.0.1"
    root: Path = ROOT
    group: int = -1
    run: _commands.Run = _commands.run

    @property
    def nginx_is_running(self) -> bool:
        """Whether there is somebody to tell about a new certificate."""
        return self.run(["systemctl", "is-active", "--quiet", UNIT]).ok


@dataclasses.dataclass(frozen=True)
class Step:
    """What a site lacks. `pair` is to be installed now; `wanted` has to be asked for."""

    reason: str = ""
    pair: t.Callable[[], _certificates.Pair] | None = dataclasses.field(default=None, repr=False)
    wanted: bool = False


def _given(site: Site, installed: _certificates.Facts | None, now: datetime.datetime) -> Step:
    if site.given is None:
        raise StackError(
            f"site {site.name} brings its own certificate: give certificate.certificate and"
            " certificate.private_key as PEM text"
        )
    try:
        facts = _certificates.inspect(site.given)
    except StackError as error:
        raise StackError(f"the certificate of site {site.name} was refused: {error}") from error
    if facts.expired(now):
        raise StackError(
            f"the certificate of site {site.name} was refused: it expired {facts.not_after:%F}"
        )
    missing = [name for name in site.names if not facts.covers([name])]
    if missing:
        raise StackError(
            f"the certificate of site {site.name} was refused: it does not cover"
            f" {', '.join(missing)}, only {', '.join(sorted(facts.names))}"
        )
    pair = site.given
    if installed and installed.digest == facts.digest:
        return Step()
    return Step("install the given certificate", lambda: pair)


def _self_signed(site: Site, installed: _certificates.Facts | None, now: datetime.datetime) -> Step:
    ours = installed and installed.issuer == _certificates.SELF_SIGNED
    if installed and ours and installed.covers(site.names) and not installed.due(now):
        return Step()
    return Step(
        "make a self-signed certificate",
        lambda: _certificates.sign(site.names, _certificates.SELF_SIGNED, now),
    )


def _temporary(site: Site, now: datetime.datetime) -> _certificates.Pair:
    return _certificates.sign(site.names, _certificates.TEMPORARY, now)


def _acme_issued(
    machine: Machine, site: Site, installed: _certificates.Facts | None, now: datetime.datetime
) -> Step:
    held = _acme.issued(machine.authority, site.name, site.names, now)
    if held is None:
        reason = f"request a certificate from {machine.authority.directory}"
        return Step(reason, None if installed else lambda: _temporary(site, now), wanted=True)
    if installed and installed.digest == held.digest:
        return Step()
    return Step(
        "install the issued certificate",
        lambda: _held(machine.authority, site.name),
    )


def _held(authority: _acme.Authority, site: str) -> _certificates.Pair:
    pair = _certificates.read(_acme.lineage(authority, site))
    if pair is None:
        raise StackError(f"{_acme.lineage(authority, site)} holds no certificate for site {site}")
    return pair


def plan(machine: Machine, site: Site, now: datetime.datetime) -> Step:
    """What one site lacks."""
    installed = _certificates.facts(machine.root / site.name)
    if site.source == "files":
        return _given(site, installed, now)
    if site.source == "self_signed":
        return _self_signed(site, installed, now)
    return _acme_issued(machine, site, installed, now)


def fall_back(machine: Machine, site: Site, now: datetime.datetime) -> None:
    """Give a site whose own certificate was refused a temporary one, unless it has some."""
    if _certificates.facts(machine.root / site.name) is None:
        deploy(machine, site.name, _temporary(site, now))


def reload(machine: Machine) -> None:
    """Let nginx read its files anew; its unit tests them first and serves on if they are bad."""
    done = machine.run(["systemctl", "reload", UNIT], timeout=60)
    if not done.ok:
        raise StackError(
            "nginx refused to reload and serves on with what it had: run `nginx -t` and"
            f" `journalctl --unit {UNIT}` to see why"
        )


def deploy(machine: Machine, site: str, pair: _certificates.Pair) -> None:
    """Install a pair and have it served; the old pair returns when nginx does not want the new."""
    try:
        before = _certificates.install(machine.root, site, pair, machine.group)
    except StackError as error:
        raise StackError(
            f"site {site} keeps its certificate, the new one is bad: {error}"
        ) from error
    if machine.nginx_is_running:
        try:
            reload(machine)
        except StackError as error:
            if before is not None:
                _certificates.restore(machine.root, site, before)
                raise StackError(f"site {site} keeps its certificate: {error}") from error
            # Its first pair: nginx may still miss those of other sites, whose turn comes next.
    _certificates.tidy(machine.root, site)


def served(address: str, name: str) -> str | None:
    """Digest of the certificate that nginx shows for a name, None where it shows none."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the question is which certificate, not whether it is good
    try:
        with (
            socket.create_connection((address, PORT), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname=name) as secured,
        ):
            return hashlib.sha256(secured.getpeercert(binary_form=True) or b"").hexdigest()
    except (OSError, ValueError):
        return None


def is_stale(machine: Machine, site: Site) -> bool:
    """Whether nginx shows another certificate than the one on disk."""
    installed = _certificates.facts(machine.root / site.name)
    shown = served(machine.address, site.names[0])
    return bool(installed and shown and shown != installed.digest)


def obtain(machine: Machine, site: Site, now: datetime.datetime) -> None:
    """Ask for the site's certificate and serve it."""
    _acme.issue(machine.authority, site.name, site.names, machine.run)
    # certbot's hook has installed it, unless something went wrong there, which certbot only logs.
    step = plan(machine, site, now)
    if step.wanted:
        raise StackError(
            f"certbot said it had obtained a certificate for site {site.name}, but"
            f" {_acme.lineage(machine.authority, site.name)} holds none for {', '.join(site.names)}"
        )
    if step.pair:
        deploy(machine, site.name, step.pair())


@contextlib.contextmanager
def locked() -> t.Iterator[None]:
    """The play and the timer take turns."""
    with LOCK.open("w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def machine_from(values: t.Mapping[str, t.Any]) -> Machine:
    """The machine as the role describes it."""
    fields = ("directory", "email", "ca_file", "preflight_enabled")
    return Machine(
        authority=_acme.Authority(**{field: values["authority"][field] for field in fields}),
        address=values["address"],
    )


def sites_from(values: t.Iterable[t.Mapping[str, t.Any]]) -> list[Site]:
    """The sites as the role describes them."""
    return [
        Site(
            name=value["name"],
            names=tuple(value["names"]),
            source=value["source"],
            given=_certificates.Pair(
                value["certificate"].strip().encode() + b"\n",
                value["private_key"].strip().encode() + b"\n",
            )
            if value.get("certificate") and value.get("private_key")
            else None,
        )
        for value in values
    ]


def renew(machine: Machine, site: Site, now: datetime.datetime, force: bool) -> str:
    """One site's turn of the timer: what was done, "" if nothing was."""
    step = plan(machine, site, now)
    if step.pair:
        deploy(machine, site.name, step.pair())
    if site.source == "acme" and not step.wanted:
        pair = _held(machine.authority, site.name)
        facts = _certificates.inspect(pair)
        if force or _acme.due(machine.authority, facts, pair.chain, now):
            step = Step("renew the certificate", wanted=True)
    if step.wanted:
        obtain(machine, site, now)
    elif not step.pair and is_stale(machine, site):
        reload(machine)
        return "serve the certificate on disk"
    return step.reason


def _renew_all(machine: Machine, sites: t.Iterable[Site], chosen: list[str], force: bool) -> int:
    failed = 0
    for site in sites:
        if chosen and site.name not in chosen:
            continue
        try:
            done = renew(machine, site, datetime.datetime.now(_certificates.UTC), force)
            sys.stdout.write(f"{site.name}: {done or 'nothing to do'}\n")
        except (StackError, OSError) as error:
            failed += 1
            sys.stderr.write(f"{error}\n")
    return 1 if failed else 0


def main(arguments: list[str] | None = None) -> int:
    """`slipway-certbot`."""
    parser = argparse.ArgumentParser(prog="slipway-certbot")
    verbs = parser.add_subparsers(dest="verb", required=True)
    renewal = verbs.add_parser("renew", help="renew what is due, request what is missing")
    renewal.add_argument("--force", action="store_true", help="renew what is not due, too")
    renewal.add_argument("sites", nargs="*", help="only these sites")
    verbs.add_parser("deploy", help="serve what certbot just obtained (its deploy hook)")
    given = parser.parse_args(arguments)
    declared = json.loads(DECLARED.read_text(encoding="utf-8"))
    machine = machine_from(declared)
    if given.verb == "renew":
        with locked():
            return _renew_all(machine, sites_from(declared["sites"]), given.sites, given.force)
    site = Path(os.environ["RENEWED_LINEAGE"]).name
    try:
        deploy(machine, site, _held(machine.authority, site))
    except StackError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
