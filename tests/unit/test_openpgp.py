# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the first bytes of an OpenPGP message tell."""

from __future__ import annotations

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _openpgp


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\x85\x01", "gpg"),
        (b"\x8f\x01", "gpg"),
        (b"\xa5\x01", "gpg"),
        (b"\xc9\x01", "gpg"),
        (b"\xd2\x01", "gpg"),
        (b"\xd4\x01", "gpg"),
        (b"\xa3\x01", "openpgp"),
        (b"\xa3\x09", None),
        (b"\x90\x0d\x03", "openpgp"),
        (b"\xc8\xff\0\0\0\0\x02", "openpgp"),
        (b"\xc8\xe0\x02", "openpgp"),
        (b"\xcb\xc0\0b", "openpgp"),
        (b"\xcb\x20b", "openpgp"),
        (b"\xcb", None),
        (b"\xac\x20b", "openpgp"),
        (b"-----BEGIN PGP MESSAGE-----\r\nComment: x\r\n\r\njA0ECQMC", "gpg"),
        (b"-----BEGIN PGP MESSAGE-----\n\nowEB", "openpgp"),
        (b"-----BEGIN PGP MESSAGE-----\n\n!", "openpgp"),
        (b"-----BEGIN PGP SIGNED MESSAGE-----\n", "openpgp"),
        # Text and numbers, whose first bytes would be tags if they were packets.
        (b"TABLE", None),
        (b"R\x01", None),
        (b"\x04\x01", None),
        (b"\x05\x01", None),
        # A length takes one, two or five bytes, in the old way one, two, four or none.
        (b"\xcb\xbfb", "openpgp"),
        (b"\xcb\xc0\xffb", "openpgp"),
        (b"\xcb\xdf\xffb", "openpgp"),
        (b"\xcb\xe0b", "openpgp"),
        (b"\xcb\xfeb", "openpgp"),
        (b"\xcb\xff\0\0\0\0b", "openpgp"),
        (b"\xcb\xff\0\0\0b", None),
        (b"\xadb", None),
        (b"\xad\0\x20b", "openpgp"),
        (b"\xae\0\0\0\x20b", "openpgp"),
        (b"\xae\0\0\x20b", None),
        (b"\xafb", "openpgp"),
        # Algorithms and versions that there are, and those that there are not.
        *((bytes([0xC8, 0x20, one]), "openpgp" if one < 4 else None) for one in range(6)),
        *((bytes([0xC4, 0x20, one]), "openpgp" if 2 < one < 7 else None) for one in range(9)),
        (b"", None),
        (b"PGDMP", None),
    ],
)
def test_only_what_is_encrypted_counts(head: bytes, kind: str | None) -> None:
    assert _openpgp.kind(head) == kind
