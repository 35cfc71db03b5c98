# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Pairs of certificate and private key: judged, made and put in place.

Knows neither Ansible nor ACME. The machine's renewal timer runs this very file.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import ipaddress
import os
import shutil
import tempfile
import typing as t
from pathlib import Path

from ._errors import StackError

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

    HAS_CRYPTOGRAPHY = True
except ImportError:
    HAS_CRYPTOGRAPHY = False

UTC = datetime.UTC
TEMPORARY = "Slipway temporary certificate"
SELF_SIGNED = "Slipway self-signed certificate"
PEM_END = b"-----END CERTIFICATE-----"


@dataclasses.dataclass(frozen=True)
class Pair:
    """A certificate chain and its key, both PEM."""

    chain: bytes
    key: bytes = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True)
class Facts:
    """What matters about a certificate that belongs to its key."""

    names: frozenset[str]
    not_before: datetime.datetime
    not_after: datetime.datetime
    issuer: str
    responder: bool
    digest: str

    def covers(self, names: t.Iterable[str]) -> bool:
        """Whether every name is in the certificate, by itself or by a wildcard."""
        return all(
            name in self.names or "*." + name.partition(".")[2] in self.names for name in names
        )

    def expired(self, now: datetime.datetime) -> bool:
        """Whether no client accepts it any more."""
        return now >= self.not_after

    def due(self, now: datetime.datetime) -> bool:
        """Whether a third of the lifetime is left, half where that is less than ten days."""
        lifetime = self.not_after - self.not_before
        share = 2 if lifetime < datetime.timedelta(days=10) else 3
        return self.not_after - now <= lifetime / share


def _aware(certificate: x509.Certificate, edge: str) -> datetime.datetime:
    # cryptography 42 renamed not_valid_* to not_valid_*_utc and deprecated the naive ones.
    aware = getattr(certificate, f"not_valid_{edge}_utc", None)
    moment: datetime.datetime = aware or getattr(certificate, f"not_valid_{edge}").replace(
        tzinfo=UTC
    )
    return moment


def _names(certificate: x509.Certificate) -> frozenset[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(
        [*names.get_values_for_type(x509.DNSName)]
        + [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    )


def _has_responder(certificate: x509.Certificate) -> bool:
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess)
    except x509.ExtensionNotFound:
        return False
    return any(a.access_method == AuthorityInformationAccessOID.OCSP for a in access.value)


def leaf(chain: bytes) -> x509.Certificate:
    """The first certificate of a chain."""
    try:
        return x509.load_pem_x509_certificate(chain)
    except ValueError as error:
        raise StackError("the certificate is not PEM text of a certificate") from error


def _public(key: t.Any) -> bytes:
    encoded: bytes = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded


def inspect(pair: Pair) -> Facts:
    """Judge a pair; a key that does not belong to its certificate is refused."""
    certificate = leaf(pair.chain)
    try:
        key = serialization.load_pem_private_key(pair.key, password=None)
    except (ValueError, TypeError) as error:
        raise StackError("the private key is not unencrypted PEM text of a key") from error
    if _public(key.public_key()) != _public(certificate.public_key()):
        raise StackError("the private key does not belong to the certificate")
    organisations = certificate.issuer.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return Facts(
        names=_names(certificate),
        not_before=_aware(certificate, "before"),
        not_after=_aware(certificate, "after"),
        issuer=str(organisations[0].value) if organisations else "",
        responder=_has_responder(certificate),
        digest=hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest(),
    )


def read(directory: Path) -> Pair | None:
    """The pair in a directory, None unless both files are there."""
    try:
        chain = (directory / "fullchain.pem").read_bytes()
        return Pair(chain, (directory / "privkey.pem").read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None


def facts(directory: Path) -> Facts | None:
    """What is known about the pair in a directory, None where nginx could not use it."""
    pair = read(directory)
    try:
        return inspect(pair) if pair else None
    except StackError:
        return None


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def sign(names: t.Sequence[str], organisation: str, now: datetime.datetime, days: int = 90) -> Pair:
    """A pair that vouches for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64]),
        ]
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([_general_name(n) for n in names]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    return Pair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def _write(path: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())


def _point(link: Path, target: str) -> None:
    beside = link.with_name(f".{link.name}.new")
    beside.unlink(missing_ok=True)
    beside.symlink_to(target)
    beside.replace(link)


def _share(directory: Path, group: int) -> None:
    """Let the group read what is made in a directory: the renewal may not change owners."""
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    status = directory.stat()
    if group != -1 and (status.st_gid != group or not status.st_mode & 0o2000):
        os.chown(directory, -1, group)
        directory.chmod(0o2750)


def install(root: Path, name: str, pair: Pair, group: int = -1) -> str | None:
    """Put a pair in place, and return where the name pointed before.

    Certificate and key change in one rename: `<root>/<name>` is a symbolic link to a directory that
    is complete before the link points to it. nginx never sees the one without the other.
    """
    responder = inspect(pair).responder
    pairs = root / ".pairs"
    _share(pairs, group)
    fresh = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=pairs))
    _write(fresh / "fullchain.pem", pair.chain, 0o644)
    _write(fresh / "privkey.pem", pair.key, 0o640)
    if responder:
        # Included by the site: without a responder's address nginx would only warn.
        _write(fresh / "stapling.conf", b"ssl_stapling on;\n", 0o644)
    fresh.chmod(0o750)
    link = root / name
    before = os.readlink(link) if link.is_symlink() else None
    if link.is_dir() and not link.is_symlink():
        shutil.rmtree(link)
    _point(link, f".pairs/{fresh.name}")
    return before


def restore(root: Path, name: str, before: str | None) -> None:
    """Undo install(); without a predecessor the new pair stays, nginx needs some pair."""
    if before and (root / before).is_dir():
        _point(root / name, before)
        tidy(root, name)


def tidy(root: Path, name: str) -> None:
    """Forget the pairs to which the name no longer points."""
    current = os.readlink(root / name)
    for directory in (root / ".pairs").glob(f"{name}.*"):
        # mkdtemp's suffix has no dot: `shop.*` must not match the pairs of `shop.example`.
        ours = directory.name.rpartition(".")[0] == name
        if ours and f".pairs/{directory.name}" != current:
            shutil.rmtree(directory, ignore_errors=True)
