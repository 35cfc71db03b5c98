# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Also runs outside Ansible, where no run_command is. pylint: disable=ansible-bad-function
"""Encrypts what leaves the machine: a message of OpenPGP, which any gpg opens with the passphrase.

`gpg` is the command that knows the passphrase, as the role writes it.
"""

from __future__ import annotations

import hashlib
import pathlib
import subprocess
import tempfile
import typing as t

from . import _errors

# The passphrase is stretched as far as OpenPGP allows; what is compressed already stays as it is.
ENCRYPT = (
    *("--symmetric", "--cipher-algo=AES256", "--compress-algo=none"),
    *("--s2k-digest-algo=SHA512", "--s2k-count=65011712"),
)
READ_BYTES = 1024 * 1024


def encrypt(gpg: t.Sequence[str], source: pathlib.Path, target: pathlib.Path) -> None:
    command = [*gpg, *ENCRYPT, f"--output={target}", str(source)]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise _failed("encrypt", source, done.stderr)


def decrypted_sha256(gpg: t.Sequence[str], path: pathlib.Path) -> str:
    """The digest of what is inside."""
    digest = hashlib.sha256()
    with tempfile.TemporaryFile("w+") as complaints:
        process = subprocess.Popen(
            [*gpg, "--decrypt", str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
        )
        with process:
            for chunk in iter(lambda: t.cast("t.IO[bytes]", process.stdout).read(READ_BYTES), b""):
                digest.update(chunk)
        if process.returncode != 0:
            complaints.seek(0)
            raise _failed("decrypt", path, complaints.read())
    return digest.hexdigest()


def _failed(action: str, path: pathlib.Path, said: str) -> _errors.BackupError:
    told = " ".join(said.split()).rstrip(".") or "it does not say why"
    return _errors.BackupError(f"gpg cannot {action} {path}: {told}.")
