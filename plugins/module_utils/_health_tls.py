# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a TLS server presents: chain, name, remaining life, and the oldest protocol it accepts."""

from __future__ import annotations

import _ssl
import datetime
import hashlib
import ssl
import time
import typing as t
from pathlib import Path

from ansible_collections.slipway.stack.plugins.module_utils import (
    _health,
    _health_certificate,
    _health_net,
)

KIND = "tls"
OPTIONS: dict[str, t.Any] = {
    "host": {"type": "str", "required": True},
    "address": {"type": "str", "default": ""},
    "port": {"type": "int", "default": 443},
    "ca_file": {"type": "path"},
    "certificate_file": {"type": "path"},
    "remaining_warning_percent": {"type": "float", "default": 25.0},
    "remaining_critical_percent": {"type": "float", "default": 10.0},
    "minimum_protocol": {
        "type": "str",
        "default": "TLSv1.2",
        "choices": ["TLSv1.2", "TLSv1.3"],
    },
    "advice": {"type": "str", "default": ""},
}
_BELOW = {"TLSv1.2": ssl.TLSVersion.TLSv1_1, "TLSv1.3": ssl.TLSVersion.TLSv1_2}


def probe(
    check: _health.Check,
    deadline: _health.Deadline,
    now: t.Callable[[], float] = time.time,
) -> list[_health.Finding]:
    """Handshakes: one to see, one to verify, and one that must be refused."""
    with _shake(check, deadline, _lenient()) as channel:
        der = t.cast(bytes, channel.getpeercert(binary_form=True))
    found = [
        _health.attempt(f"{check['label']} chain", deadline, lambda: _chain(check, deadline)),
        _lifetime(check, _health_certificate.validity(der), now()),
        _health.attempt(f"{check['label']} protocol", deadline, lambda: _floor(check, deadline)),
    ]
    if check["certificate_file"]:
        found.insert(2, _served(check, der))
    return found


def _shake(
    check: _health.Check, deadline: _health.Deadline, context: ssl.SSLContext
) -> ssl.SSLSocket:
    plain = _health_net.dial(check["address"] or check["host"], check["port"], deadline)
    return _health_net.secure(plain, context, check["host"], deadline)


def _lenient() -> ssl.SSLContext:
    """Takes any certificate, for an expired one has dates as well. Nothing is sent over it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _advice(check: _health.Check) -> str:
    return str(check["advice"]) or "renew: systemctl start slipway-certbot; its journal"


def _chain(check: _health.Check, deadline: _health.Deadline) -> _health.Finding:
    label, limit = f"{check['label']} chain", "trusted"
    try:
        with _shake(check, deadline, _health_net.tls_context(check["ca_file"])) as channel:
            said, missing = f"verified, {channel.version()}", _missing(check["ca_file"], channel)
    except ssl.SSLCertVerificationError as error:
        said = _health.brief(error.verify_message)
        return _health.Finding(label, _health.CRITICAL, said, limit, _advice(check))
    except _health.CannotCheck as error:
        return _health.Finding(label, _health.UNKNOWN, str(error), limit, error.remedy)
    if missing:
        said = f"incomplete: {missing} of the certificates in {check['ca_file']} are not sent"
        remedy = "ssl_certificate of nginx must name the whole chain: run site.yml"
        return _health.Finding(label, _health.CRITICAL, said, limit, check["advice"] or remedy)
    return _health.Finding(label, _health.OK, said, limit)


def _missing(ca_file: str | None, channel: ssl.SSLSocket) -> int:
    """How many certificates visitors lack, where the chain on disk is itself what is trusted.

    It verifies whatever the server sends of it, and nobody else has it.
    """
    if not ca_file:
        return 0
    chain = _health_certificate.every(Path(ca_file).read_text(encoding="ascii", errors="replace"))
    # Public only from Python 3.13 on.
    told = t.cast(t.Any, channel)._sslobj.get_unverified_chain()
    sent = [certificate.public_bytes(_ssl.ENCODING_DER) for certificate in told]
    if sent[0] not in chain:
        return 0  # a file of authorities
    return sum(each not in sent and not _health_certificate.self_signed(each) for each in chain)


def _lifetime(
    check: _health.Check, validity: _health_certificate.Validity, now: float
) -> _health.Finding:
    warning, critical = (check[f"remaining_{name}_percent"] for name in ("warning", "critical"))
    left = validity.left(now)
    state = _health.judge(left, warning, critical, lower_is_worse=True)
    days = abs(validity.ends - now) / 86_400
    until = _day(validity.ends)
    value = f"{left:.0f} % left: {days:.0f} days, until {until}"
    if left <= 0:
        state, value = _health.CRITICAL, f"expired {days:.0f} days ago, on {until}"
    if now < validity.begins:
        state = _health.CRITICAL
        value = f"not valid before {_day(validity.begins)}: is the clock right?"
    return _health.Finding(
        f"{check['label']} lifetime", state, value, f"{warning:g} % left", _advice(check)
    )


def _day(moment: float) -> str:
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).strftime("%Y-%m-%d")


def _served(check: _health.Check, der: bytes) -> _health.Finding:
    label, limit = f"{check['label']} served", "as on disk"
    path = str(check["certificate_file"])
    try:
        on_disk = _health_certificate.first(Path(path).read_text(encoding="ascii"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no certificate in it"
        remedy = "run the check as root, or issue the certificate: site.yml"
        return _health.Finding(label, _health.UNKNOWN, f"{path}: {reason}", limit, remedy)
    if on_disk == der:
        return _health.Finding(label, _health.OK, path, limit)
    value = f"another one (sha256 {hashlib.sha256(der).hexdigest()[:12]}…) than {path}"
    remedy = "load it: systemctl reload nginx"
    return _health.Finding(label, _health.CRITICAL, value, limit, check["advice"] or remedy)


def _floor(check: _health.Check, deadline: _health.Deadline) -> _health.Finding:
    label, floor = f"{check['label']} protocol", check["minimum_protocol"]
    context = _lenient()
    remedy = "ssl_protocols of nginx: run site.yml"
    try:
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = _BELOW[floor]
        # Libraries of today offer nothing so old at their usual security level.
        context.set_ciphers("ALL:@SECLEVEL=0")
        with _shake(check, deadline, context) as channel:
            said = f"{channel.version()} is accepted"
    except ssl.SSLError as error:
        refused = _refused(label, floor, error)
        if refused:
            return refused
    except ConnectionError:
        pass
    else:
        return _health.Finding(label, _health.CRITICAL, said, floor, check["advice"] or remedy)
    # It hung up without a word. So does one that is ending, which the next handshake shows.
    with _shake(check, deadline, _lenient()):
        return _health.Finding(label, _health.OK, f"nothing below {floor}", floor)


def _refused(label: str, floor: str, error: ssl.SSLError) -> _health.Finding | None:
    reason = (getattr(error, "reason", None) or str(error)).upper()
    # Only the server's own no counts; this machine's library may have refused by itself.
    if "ALERT" in reason or "UNSUPPORTED_PROTOCOL" in reason:
        return _health.Finding(label, _health.OK, f"nothing below {floor}", floor)
    if "EOF" in reason:
        return None
    said = f"this machine cannot offer an older protocol ({reason.replace('_', ' ').lower()})"
    remedy = "look from another machine: nmap --script ssl-enum-ciphers"
    return _health.Finding(label, _health.UNKNOWN, said, floor, remedy)
