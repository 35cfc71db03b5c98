# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What openssl encrypts, decrypted in this process."""

from __future__ import annotations

import subprocess

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _cipher, _decode
from fakes import without

PASSPHRASE = "correct horse"


def encrypted(text: bytes) -> bytes:
    command = ["openssl", "enc", "-aes-256-cbc", "-md", "sha1", "-pass", f"pass:{PASSPHRASE}"]
    done = subprocess.run(
        command, input=text, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True
    )
    return done.stdout


def opened(body: bytes, passphrase: str = PASSPHRASE, step: int = 1 << 20) -> bytes:
    chunks = (body[begin : begin + step] for begin in range(0, len(body), step))
    return b"".join(_cipher.decrypted(chunks, passphrase))


@pytest.mark.parametrize("step", [1, 7, 16, 17, 1 << 20])
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 3000])
def test_what_openssl_encrypts_comes_back_whatever_the_chunks(size: int, step: int) -> None:
    text = bytes(number % 251 for number in range(size))
    assert opened(encrypted(text), step=step) == text


@pytest.mark.parametrize(
    "body", [b"", b"Salted__", b"Salted__1234567", b"in clear, and long enough"]
)
def test_what_is_not_encrypted_is_refused(body: bytes) -> None:
    with pytest.raises(_decode.Unreadable, match="is not encrypted"):
        opened(body)


@pytest.mark.parametrize("cut", [1, 16])
def test_what_breaks_off_is_refused(cut: int) -> None:
    with pytest.raises(_decode.Unreadable, match="damaged, or of another passphrase"):
        opened(encrypted(b"text" * 1000 + bytes(15))[:-cut])


def test_another_passphrase_is_refused() -> None:
    body = encrypted(b"some text of two blocks or more")
    refused = 0
    for number in range(8):  # one in 256 ends with what looks like padding
        try:
            assert opened(body, f"wrong {number}") != b"some text of two blocks or more"
        except _decode.Unreadable:
            refused += 1
    assert refused >= 6


def test_a_machine_that_lacks_the_library_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = without(_cipher, "cryptography.hazmat.primitives", monkeypatch)
    with pytest.raises(bare._decode.Unchecked, match="python3-cryptography is missing: install it"):
        b"".join(bare.decrypted(iter([b"Salted__"]), "any"))
