# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The dates of a certificate, read without any library: a machine may have none for that."""

from __future__ import annotations

import dataclasses
import datetime
import re
import ssl

from ansible_collections.slipway.stack.plugins.module_utils import _health

_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_BLOCK = re.compile(f"{_BEGIN}.*?{_END}", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Validity:
    """When a certificate is valid, in seconds since 1970."""

    begins: float
    ends: float

    def left(self, now: float) -> float:
        """The share of the lifetime that is left, in percent; below zero once it has ended."""
        return (self.ends - now) / max(1.0, self.ends - self.begins) * 100


def validity(der: bytes) -> Validity:
    """tbsCertificate: [version], serial, algorithm, issuer, validity (RFC 5280, 4.1)."""
    try:
        _tag, dates = _fields(der)[3]
        tag, begins, rest = _element(dates)
        begin = _moment(tag, begins)
        tag, ends, _rest = _element(rest)
        return Validity(begin, _moment(tag, ends))
    except (IndexError, ValueError) as error:
        raise _health.Unhealthy("what is served is not a certificate") from error


def self_signed(der: bytes) -> bool:
    """Whether it names itself as its issuer: an anchor, which no server has to send."""
    fields = _fields(der)
    return fields[2] == fields[4]


def _fields(der: bytes) -> list[tuple[int, bytes]]:
    """Serial, algorithm, issuer, validity and subject, with their tags."""
    _tag, outer, _rest = _element(der)
    _tag, rest, _rest = _element(outer)
    found: list[tuple[int, bytes]] = []
    while rest and len(found) < 6:
        tag, value, rest = _element(rest)
        found.append((tag, value))
    return found[1:] if found[0][0] == _VERSION else found


def every(pem: str) -> list[bytes]:
    """All certificates of a PEM file."""
    return [ssl.PEM_cert_to_DER_cert(block) for block in _BLOCK.findall(pem)]


def first(pem: str) -> bytes:
    """The first certificate of a PEM file: the one of the server itself."""
    start, end = pem.find(_BEGIN), pem.find(_END)
    if start < 0 or end < start:
        raise ValueError("no certificate")
    return ssl.PEM_cert_to_DER_cert(pem[start : end + len(_END)])


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """Tag and contents of the first DER element, and what follows it."""
    tag, size, start = data[0], data[1], 2
    if size & 0x80:
        start += size & 0x7F
        size = int.from_bytes(data[2:start], "big")
    if start + size > len(data):
        raise ValueError("shorter than it says")
    return tag, data[start : start + size], data[start + size :]


def _moment(tag: int, text: bytes) -> float:
    if tag not in (_UTC_TIME, _GENERALIZED_TIME):
        raise ValueError("not a time")
    digits = text.decode("ascii")
    if tag == _UTC_TIME:
        # RFC 5280, 4.1.2.5.1: two digits of a year reach from 1950 to 2049.
        digits = ("20" if digits[:2] < "50" else "19") + digits
    moment = datetime.datetime.strptime(digits, "%Y%m%d%H%M%SZ").replace(tzinfo=datetime.UTC)
    return moment.timestamp()
