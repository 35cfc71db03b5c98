# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Decrypts what pgBackRest encrypts: AES-256-CBC with a salt, as `openssl enc -md sha1` does.

In this process, because a backup has thousands of small files.
"""

from __future__ import annotations

import hashlib
import typing as t

from . import _decode

try:
    from cryptography.hazmat.primitives import padding
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
except ImportError:  # reported where something is encrypted
    Cipher = None  # type: ignore[assignment, misc]

MAGIC = b"Salted__"
SALT_BYTES = 8
KEY_BYTES = 32
BLOCK_BYTES = 16


def decrypted(source: t.Iterator[bytes], passphrase: str) -> t.Iterator[bytes]:
    """What is inside an encrypted stream; the wrong passphrase shows at its end at the latest."""
    if Cipher is None:
        raise _decode.Unchecked("python3-cryptography is missing: install it")
    head, chunks = _decode.peek(source, len(MAGIC) + SALT_BYTES)
    if not head.startswith(MAGIC) or len(head) < len(MAGIC) + SALT_BYTES:
        raise _decode.Unreadable("it is not encrypted, as it should be")
    key, vector = _derived(passphrase.encode(), head[len(MAGIC) :])
    return _blocks(chunks, Cipher(algorithms.AES(key), modes.CBC(vector)).decryptor())


def _derived(passphrase: bytes, salt: bytes) -> tuple[bytes, bytes]:
    """EVP_BytesToKey of OpenSSL with SHA-1 and one round, which pgBackRest uses."""
    found = block = b""
    while len(found) < KEY_BYTES + BLOCK_BYTES:
        block = hashlib.sha1(block + passphrase + salt, usedforsecurity=False).digest()
        found += block
    return found[:KEY_BYTES], found[KEY_BYTES : KEY_BYTES + BLOCK_BYTES]


def _blocks(chunks: t.Iterator[bytes], decryptor: t.Any) -> t.Iterator[bytes]:
    unpad = padding.PKCS7(BLOCK_BYTES * 8).unpadder()
    skip = len(MAGIC) + SALT_BYTES
    try:
        for chunk in chunks:
            yield unpad.update(decryptor.update(chunk[skip:]))
            skip = max(0, skip - len(chunk))
        yield unpad.update(decryptor.finalize()) + unpad.finalize()
    except ValueError as error:
        raise _decode.Unreadable(
            "it cannot be decrypted: it is damaged, or of another passphrase"
        ) from error
