# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What this host knows about reaching Debian and whom it trusts, for machines to know it too."""

from __future__ import annotations

import hashlib
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests.lab import shell

APT = Path("/etc/apt")
DISTRIBUTED_CERTIFICATES = Path("/usr/share/ca-certificates")
HOST_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
SUITE = re.compile(r"^(bullseye|bookworm|trixie|forky|sid|oldstable|stable|testing)(-security)?$")
CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\s.*?-----END CERTIFICATE-----", re.DOTALL)
APT_SETTINGS = re.compile(r"^Acquire::(Check-Valid-Until|Check-Date|https?::Proxy) ", re.IGNORECASE)


def sources(codename: str) -> str:
    """Return sources.list for a Debian release, on the mirror that this host itself uses."""
    mirror, security = mirrors()
    lines = [f"deb {mirror} {codename} main", f"deb {mirror} {codename}-updates main"]
    if answers(f"{security}/dists/{codename}-security/InRelease"):
        lines.append(f"deb {security} {codename}-security main")
    return "\n".join(lines) + "\n"


def mirrors() -> tuple[str, str]:
    """Return the addresses of the mirror and of its security updates."""
    found = {"": "", "-security": ""}
    for uri, suite in _configured():
        match = SUITE.match(suite)
        if match and uri.startswith(("http://", "https://")):
            kind = match.group(2) or ""
            found[kind] = found[kind] or uri.rstrip("/")
    mirror = found[""] or "http://deb.debian.org/debian"
    return mirror, found["-security"] or mirror.removesuffix("/debian") + "/debian-security"


def _configured() -> Iterator[tuple[str, str]]:
    """Yield address and suite of each Debian archive among apt's sources, in both notations."""
    for path in [APT / "sources.list", *sorted((APT / "sources.list.d").glob("*.*"))]:
        text = path.read_text(errors="replace") if path.is_file() else ""
        if path.suffix == ".sources":
            for stanza in re.split(r"\n\s*\n", re.sub(r"(?m)^#.*\n?", "", text)):
                fields = dict(re.findall(r"(?m)^([A-Za-z-]+):[ \t]*(.*)$", stanza))
                if "main" in fields.get("Components", "").split() and fields.get("Enabled") != "no":
                    for uri in fields.get("URIs", "").split():
                        yield from ((uri, suite) for suite in fields.get("Suites", "").split())
        else:
            for uri, suite in re.findall(
                r"(?m)^deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+(\S+)\s+(?:.*\s)?main\b", text
            ):
                yield uri, suite


def apt_settings() -> str:
    """Return those settings of the host's apt without which its mirror may refuse a machine."""
    dump = shell.attempt("apt-config", "dump").stdout
    return "".join(f"{line}\n" for line in dump.splitlines() if APT_SETTINGS.match(line))


def answers(address: str, timeout: float = 8) -> bool:
    """Whether something at this address answers soon; a refusal is an answer only below 500."""
    request = urllib.request.Request(address, method="HEAD")  # noqa: S310 only http(s) from above
    try:
        with urllib.request.urlopen(request, timeout=timeout):  # noqa: S310
            return True
    except urllib.error.HTTPError as error:
        return error.code in (401, 403)
    except (OSError, ValueError):
        return False


def extra_certificates() -> dict[str, str]:
    """Return the certificates that this host trusts beyond those of its distribution.

    Behind a proxy that opens TLS, machines reach nothing without them.
    """
    named = [os.environ.get(name) for name in ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE")]
    bundles = [Path(name) for name in named if name] or [HOST_BUNDLE]
    distributed = {
        certificate
        for path in DISTRIBUTED_CERTIFICATES.rglob("*.crt")
        for certificate in _certificates(path)
    }
    if not distributed:  # A host that keeps its own list elsewhere; nothing to compare with.
        return {}
    extra = {c for bundle in bundles for c in _certificates(bundle)} - distributed
    return {f"host-{hashlib.sha256(c.encode()).hexdigest()[:8]}.crt": c for c in sorted(extra)}


def _certificates(path: Path) -> list[str]:
    text = path.read_text(errors="replace") if path.is_file() else ""
    return ["\n".join(found.split("\n")).strip() + "\n" for found in CERTIFICATE.findall(text)]
