# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Also runs outside Ansible, where no run_command is. pylint: disable=ansible-bad-function
"""Takes the layers off a stream: decrypts, decompresses, restores, with bounded pipes only."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import tempfile
import threading
import time
import typing as t
from collections.abc import Generator
from dataclasses import dataclass

from . import _errors, _openpgp

HEAD_BYTES = 64 * 1024
READ_BYTES = 256 * 1024
LAYERS = 4
# Seconds without a byte in or out; reading S3 gives up by itself before the longer one ends.
PATIENCE = 600
PATIENCE_AT_END = 60
GLANCE = 0.5
TAR_MAGIC = slice(257, 262)

# What each kind of file begins with; OpenPGP's are told by their packets.
MAGIC = (
    (b"PGDMP", "custom"),
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"BZh", "bzip2"),
    (b"Salted__", "openssl"),
    (b"age-encryption.org/", "age"),
    (b"-----BEGIN AGE ENCRYPTED", "age"),
)
DECOMPRESSORS = {
    "gzip": ("gzip", "-dc"),
    "zstd": ("zstd", "-dcq"),
    "lz4": ("lz4", "-dcq"),
    "xz": ("xz", "-dcq"),
    "bzip2": ("bzip2", "-dc"),
}
# What programs say of files that are well, but not for them.
CANNOT = ("unsupported version", "non-seekable", "too much memory")
ENCRYPTED = ("openssl", "age", "gpg")


class Unreadable(_errors.StackError):
    """The bytes are not what they should be."""


class Unchecked(_errors.StackError):
    """It could not be tried: something on this machine is missing or in the way."""


@dataclass(frozen=True)
class Unwrapped:
    """A stream without its layers, and what they were, the outermost first."""

    kind: str
    layers: tuple[str, ...]
    head: bytes
    chunks: t.Iterator[bytes]

    def encrypted(self) -> bool:
        return any(layer in (*ENCRYPTED, "encrypted") for layer in self.layers)


def kind_of(head: bytes) -> str:
    """What a file is that begins like this."""
    for magic, kind in MAGIC:
        if head.startswith(magic):
            return kind
    if head[TAR_MAGIC] == b"ustar":
        return "tar"
    return _openpgp.kind(head) or ("plain" if b"-- PostgreSQL database" in head else "unknown")


def peek(chunks: t.Iterator[bytes], size: int = HEAD_BYTES) -> tuple[bytes, t.Iterator[bytes]]:
    """The first bytes of a stream, and the stream as if nobody had looked."""
    taken: list[bytes] = []
    while sum(map(len, taken)) < size:
        chunk = next(chunks, b"")
        if not chunk:
            break
        taken.append(chunk)
    return b"".join(taken)[:size], _again(taken, chunks)


def _again(taken: list[bytes], chunks: t.Iterator[bytes]) -> t.Iterator[bytes]:
    try:
        while taken:
            yield taken.pop(0)
        yield from chunks
    finally:
        close(chunks)


def close(chunks: t.Iterator[bytes]) -> None:
    """End the commands behind a stream that nobody will read on."""
    if isinstance(chunks, Generator):
        chunks.close()


def unwrap(chunks: t.Iterator[bytes], decrypt: t.Sequence[str]) -> Unwrapped:
    """Take off compression and encryption until a dump, or something unknown, is left."""
    layers: list[str] = []
    try:
        for _layer in range(LAYERS):
            head, chunks = peek(chunks)
            kind = kind_of(head)
            command = _remover(kind, decrypt, first=not layers)
            if command is None:
                return Unwrapped(kind, tuple(layers), head, chunks)
            chunks = through(command, chunks)
            layers.append("encrypted" if kind == "unknown" else kind)
        raise Unreadable(f"it has more than {LAYERS - 1} layers: {', '.join(layers)}")
    except _errors.StackError:
        close(chunks)
        raise


def _remover(kind: str, decrypt: t.Sequence[str], first: bool) -> t.Sequence[str] | None:
    """The command that takes off a layer of this kind; None if it is none."""
    wrapped = kind in (*ENCRYPTED, "openpgp")
    if wrapped and not decrypt:
        how = "wrapped" if kind == "openpgp" else "encrypted"
        raise Unchecked(f"it is {how} ({kind}): set decrypt_command to what decrypts it")
    if wrapped or (kind == "unknown" and decrypt and first):
        return decrypt
    return DECOMPRESSORS.get(kind)


def through(command: t.Sequence[str], source: t.Iterator[bytes]) -> t.Iterator[bytes]:
    """What a command makes of a stream. It is fed by a thread, and waits when nobody reads."""
    with tempfile.TemporaryFile() as complaints, _started(command, complaints) as process:
        feeder = _Feeder(process, source)
        feeder.start()
        try:
            yield from _chunks(process, feeder)
            code = process.wait()
            if not code:
                feeder.join()
        finally:
            # Whoever stops reading early ends the command, and with it the feeder.
            feeder.stopped.set()
            process.kill()
            feeder.join()
        if feeder.error:
            raise feeder.error
        if code:
            complaints.seek(0)
            raise _failure(command[0], code, complaints.read(READ_BYTES))


@contextlib.contextmanager
def _started(
    command: t.Sequence[str], complaints: t.IO[bytes]
) -> t.Iterator[subprocess.Popen[bytes]]:
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, bufsize=0
        )
    except OSError as error:
        raise Unchecked(f"{command[0]} cannot be run ({error.strerror}): install it") from error
    try:
        yield process
    finally:
        t.cast("t.IO[bytes]", process.stdout).close()
        process.wait()


def _chunks(process: subprocess.Popen[bytes], feeder: _Feeder) -> t.Iterator[bytes]:
    """What the command writes, as long as it does something.

    On damaged archives pg_restore may run for ever after the end of its input.
    """
    output = t.cast("t.IO[bytes]", process.stdout).fileno()
    fed, moment = 0, time.monotonic()
    while True:
        if select.select([output], [], [], GLANCE)[0]:
            chunk = os.read(output, READ_BYTES)
            if not chunk:
                return
            yield chunk
            moment = time.monotonic()
        elif fed != feeder.fed:
            fed, moment = feeder.fed, time.monotonic()
        else:
            patience = PATIENCE if feeder.is_alive() else PATIENCE_AT_END
            if time.monotonic() - moment > patience:
                raise Unreadable(f"{_name(process.args)} made nothing of it for {patience} s")


class _Feeder(threading.Thread):
    """Writes a stream into a command; what the stream raises is kept for who reads the command."""

    def __init__(self, process: subprocess.Popen[bytes], source: t.Iterator[bytes]) -> None:
        super().__init__(daemon=True)
        self.process, self.source = process, source
        self.stopped = threading.Event()
        self.error: Exception | None = None
        self.fed = 0

    def run(self) -> None:
        sink = t.cast("t.IO[bytes]", self.process.stdin)
        try:
            with contextlib.suppress(BrokenPipeError), sink:
                for chunk in self.source:
                    _write(sink, chunk)
                    self.fed += len(chunk)
            # A command that has enough closes its end; the layers below are read to theirs.
            while not self.stopped.is_set() and next(self.source, b""):
                pass
        except Exception as error:
            self.error = error
        finally:
            close(self.source)


def _name(command: t.Any) -> str:
    return os.path.basename(command if isinstance(command, str) else command[0])


def _write(sink: t.IO[bytes], chunk: bytes) -> None:
    rest = memoryview(chunk)
    while rest:
        rest = rest[sink.write(rest) :]


def _failure(program: str, code: int, said: bytes) -> _errors.StackError:
    name = _name(program)
    lines = [line.strip() for line in said.decode(errors="replace").splitlines() if line.strip()]
    told = next((line for line in lines if "error" in line.lower()), lines[0] if lines else "")
    if code < 0:
        return Unchecked(f"{name} was killed by signal {-code}")
    if any(words in told for words in CANNOT):
        return Unchecked(f"{name} cannot read it here: {told}")
    return Unreadable(f"{name} ended with {code}: {told.rstrip('.')}")
