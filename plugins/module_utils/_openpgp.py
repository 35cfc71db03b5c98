# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether an OpenPGP message is encrypted, by its first packet (RFC 9580). Pure."""

from __future__ import annotations

import base64
import re

ARMOR = b"-----BEGIN PGP "
FIRST_LINE = re.compile(rb"-----BEGIN PGP MESSAGE-----.*?\r?\n\r?\n([A-Za-z0-9+/]{4})", re.DOTALL)
# Session keys for a key or a password, and data encrypted in the old, the usual and the new way.
ENCRYPTED = (1, 3, 9, 18, 20)
# Of what is signed, compressed or stored only: what follows the length of the packet.
CLEAR = {
    4: range(3, 7),  # one-pass signature: its version
    8: range(4),  # compressed: the algorithm
    11: b"btu1",  # literal: the format
}


def kind(head: bytes) -> str | None:
    """`gpg` if it is encrypted, `openpgp` if it is wrapped only, None if it is something else."""
    if not head.startswith(ARMOR):
        return _of_packet(head)
    match = FIRST_LINE.match(head)
    packet = base64.b64decode(match.group(1)) if match else b""
    return "gpg" if _tag(packet) in ENCRYPTED else "openpgp"


def _tag(head: bytes) -> int | None:
    if not head or not head[0] & 0x80:
        return None
    return head[0] & 0x3F if head[0] & 0x40 else (head[0] >> 2) & 0xF


def _of_packet(head: bytes) -> str | None:
    tag = _tag(head)
    if tag in ENCRYPTED:
        return "gpg"
    if tag not in CLEAR:
        return None
    after = 1 + _length_bytes(head)
    return "openpgp" if head[after : after + 1] and head[after] in CLEAR[tag] else None


def _length_bytes(head: bytes) -> int:
    """How many bytes tell the length of the first packet; none where it is open."""
    if not head[0] & 0x40:
        return (1, 2, 4, 0)[head[0] & 3]
    first = head[1] if len(head) > 1 else 0
    if first == 0xFF:
        return 5
    return 2 if 192 <= first < 224 else 1
