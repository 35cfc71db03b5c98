# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Certificates of an ACME directory: asked for by certbot, after a look whether that can work."""

from __future__ import annotations

import base64
import configparser
import dataclasses
import datetime
import json
import secrets
import ssl
import typing as t
import urllib.error
import urllib.request
from pathlib import Path

from . import _certificates, _commands
from ._errors import StackError

if t.TYPE_CHECKING:
    from cryptography import x509

CONFIGURATION = Path("/etc/letsencrypt")
WEBROOT = Path("/var/lib/slipway/acme")
HOOK = "/usr/local/sbin/slipway-certbot deploy"


@dataclasses.dataclass(frozen=True)
class Authority:
    """Whom to ask, and how."""

    directory: str
    email: str = ""
    ca_file: str = ""
    preflight_enabled: bool = True
    configuration: Path = CONFIGURATION
    webroot: Path = WEBROOT


def lineage(authority: Authority, site: str) -> Path:
    """Where certbot keeps the newest pair of a site."""
    return authority.configuration / "live" / site


def issued(
    authority: Authority, site: str, names: t.Sequence[str], now: datetime.datetime
) -> _certificates.Facts | None:
    """The pair that certbot holds for the site, None unless it is what is asked for."""
    settings = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        # certbot writes its first settings above any section.
        text = (authority.configuration / "renewal" / f"{site}.conf").read_text(encoding="utf-8")
        settings.read_string("[top]\n" + text)
    except (OSError, configparser.Error):
        return None
    facts = _certificates.facts(lineage(authority, site))
    if facts is None or facts.expired(now) or not facts.covers(names):
        return None
    server = settings.get("renewalparams", "server", fallback="")
    return facts if server == authority.directory else None


def _get(url: str, ca_file: str = "", timeout: float = 10) -> bytes:
    if not url.startswith(("http://", "https://")):
        raise StackError(f"{url!r} is not an address of a web server")
    context = ssl.create_default_context(cafile=ca_file or None)
    # Python 3.13 is strict about the form of private authorities, certbot is not.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    # No proxy: the certificate authority will not use ours either.
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    with opener.open(url, timeout=timeout) as answer:
        body: bytes = answer.read(1_000_000)
    return body


Get = t.Callable[..., bytes]


def preflight(authority: Authority, site: str, names: t.Sequence[str], get: Get = _get) -> None:
    """Fetch a challenge of our own as the authority will, before a failed attempt is counted."""
    token = f"slipway-{secrets.token_hex(16)}"
    folder = authority.webroot / ".well-known" / "acme-challenge"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / token
    file.write_text(token, encoding="ascii")
    file.chmod(0o644)
    try:
        for name in names:
            url = f"http://{name}/.well-known/acme-challenge/{token}"
            try:
                reason = "" if get(url) == token.encode() else "something else answered"
            except (OSError, ValueError) as error:
                reason = str(getattr(error, "reason", error))
            if reason:
                raise StackError(
                    f"no certificate was requested for site {site}: this machine cannot fetch"
                    f" {url} ({reason}); point {name} at this machine and open port 80, or set"
                    " nginx_certbot_acme_preflight_enabled to false if only others can reach it"
                )
    finally:
        file.unlink()


def _reason(output: str) -> str:
    """What certbot's many lines come down to."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    details = [line[8:] for line in lines if line.startswith("Detail: ")]
    noise = ("Saving debug log", "Ask for help", "See the logfile", "Hint:", "- - -")
    said = [line for line in lines if not line.startswith(noise)]
    return "; ".join(details or said[-1:]) or "it did not say why"


def _command(authority: Authority, site: str, names: t.Sequence[str]) -> list[str]:
    environment = [f"REQUESTS_CA_BUNDLE={authority.ca_file}"] if authority.ca_file else []
    email = ["--email", authority.email] if authority.email else []
    return [
        *["env", *environment, "certbot", "certonly", "--non-interactive", "--agree-tos"],
        *(email or ["--register-unsafely-without-email"]),
        *["--server", authority.directory, "--config-dir", str(authority.configuration)],
        *["--webroot", "--webroot-path", str(authority.webroot), "--cert-name", site],
        *[word for name in names for word in ("--domain", name)],
        *["--key-type", "ecdsa", "--elliptic-curve", "secp256r1", "--deploy-hook", HOOK],
        # Only called when a certificate is due: certbot's own opinion (30 days) does not count.
        *["--force-renewal", "--renew-with-new-domains"],
    ]


def issue(
    authority: Authority,
    site: str,
    names: t.Sequence[str],
    run: _commands.Run = _commands.run,
    get: Get = _get,
) -> None:
    """Ask for a certificate. nginx serves the challenge all the while."""
    if authority.preflight_enabled:
        preflight(authority, site, names, get)
    attempts_left = 3
    while not (done := run(_command(authority, site, names), timeout=300)).ok:
        attempts_left -= 1
        # certbot asks once more after a stale nonce; busy authorities want it a third time.
        # Debian 12's certbot hides what the authority said, a stale nonce say, behind an error of
        # its own: Python 3.11 sets an attribute on exceptions that certbot's do not allow.
        passing = "nonce" in done.output or "can't set attribute" in done.output
        if not attempts_left or not passing:
            raise StackError(
                f"{authority.directory} issued no certificate for site {site}"
                f" ({', '.join(names)}): {_reason(done.output)}"
            )


def _unpadded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _ari_name(certificate: x509.Certificate) -> str:
    from cryptography import x509

    identifier = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    number = certificate.serial_number
    serial = number.to_bytes(number.bit_length() // 8 + 1, "big")
    return f"{_unpadded(identifier.value.key_identifier or b'')}.{_unpadded(serial)}"


def suggested(
    authority: Authority, chain: bytes, digest: str, get: Get = _get
) -> datetime.datetime | None:
    """When the authority wants the renewal (RFC 9773), None where it has no opinion.

    The moment within the window follows from the certificate, so it needs no memory.
    """
    try:
        base = json.loads(get(authority.directory, authority.ca_file))["renewalInfo"]
        name = _ari_name(_certificates.leaf(chain))
        window = json.loads(get(f"{base.rstrip('/')}/{name}", authority.ca_file))["suggestedWindow"]
        start, end = (_moment(window[edge]) for edge in ("start", "end"))
    except (OSError, ValueError, LookupError, TypeError, StackError):
        return None
    return start + (end - start) * (int(digest[:8], 16) / 0xFFFFFFFF)


def _moment(text: str) -> datetime.datetime:
    # fromisoformat() reads neither Z nor nanoseconds before Python 3.11.
    whole = text.replace("Z", "+00:00")
    date, _dot, rest = whole.partition(".")
    zone = rest.lstrip("0123456789") if rest else ""
    return datetime.datetime.fromisoformat(date + zone)


def due(
    authority: Authority,
    facts: _certificates.Facts,
    chain: bytes,
    now: datetime.datetime,
    get: Get = _get,
) -> bool:
    """Whether to renew: when the authority says so, else by the share of the lifetime left."""
    moment = suggested(authority, chain, facts.digest, get)
    if moment is None:
        return facts.due(now)
    # An authority that says "later" for too long is not believed.
    last_call = facts.not_after - (facts.not_after - facts.not_before) / 6
    return now >= min(moment, last_call)
