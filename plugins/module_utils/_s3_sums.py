# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The checksums that a server keeps beside an object, and the digests of what it returns."""

from __future__ import annotations

import base64
import concurrent.futures
import hashlib
import re
import typing as t
import zlib

from . import _refused, _s3
from ._evidence import Sums

PLAIN_MD5 = re.compile(r'"?([0-9a-f]{32})"?\Z')
PARTS_MD5 = re.compile(r'"?([0-9a-f]{32})-(\d+)"?\Z')
ASKERS = 8
# With these, an ETag is no MD5.
OPAQUE = ("aws:kms", "aws:kms:dsse")


def sums(s3: _s3.Client, where: _s3.Target, key: str) -> Sums:
    """Ask for everything; raises S3Error if the object may not be looked at."""
    request = {"Bucket": where.bucket, "Key": key}
    with _refused.reported("look at", where.url(key)):
        try:
            head = s3.head_object(**request, ChecksumMode="ENABLED")
        except _refused.kinds() as error:
            # Some servers refuse what they do not know.
            if _refused.told(error)[0] in ("403", "404", "AccessDenied"):
                raise
            head = s3.head_object(**request)
        etag = "" if head.get("ServerSideEncryption") in OPAQUE else str(head.get("ETag", ""))
        parts = PARTS_MD5.match(etag)
        plain = PLAIN_MD5.match(etag)
        sizes = _part_sizes(s3, request, int(parts.group(2)), head) if parts else ()
    whole = head.get("ChecksumType") != "COMPOSITE" and not parts
    return Sums(
        metadata_sha256=head.get("Metadata", {}).get("sha256"),
        sha256=_hex(head.get("ChecksumSHA256")) if whole else None,
        crc32=_hex(head.get("ChecksumCRC32")) if whole else None,
        md5=plain.group(1) if plain and not head.get("SSECustomerAlgorithm") else None,
        part_sizes=sizes,
        multipart_md5=parts.group(1) if parts and sizes else None,
        server_encryption=head.get("ServerSideEncryption"),
    )


def _part_sizes(
    s3: _s3.Client, request: dict[str, str], count: int, head: dict[str, t.Any]
) -> tuple[int, ...]:
    """Sizes of the parts; who uploads cuts as it likes. Empty if the server does not say."""

    def size(number: int) -> int:
        return int(s3.head_object(**request, PartNumber=number)["ContentLength"])

    try:
        first = size(1)
        with concurrent.futures.ThreadPoolExecutor(ASKERS) as askers:
            sizes = (first, *askers.map(size, range(2, count + 1)))
    except _refused.kinds():
        return ()
    # A server that passes over the number tells the size of the whole.
    return sizes if sum(sizes) == int(head["ContentLength"]) else ()


def _hex(encoded: str | None) -> str | None:
    return base64.b64decode(encoded).hex() if encoded and "-" not in encoded else None


class Digests:
    """Passes a stream on and keeps the digests that there is something to compare with."""

    def __init__(self, source: t.Iterator[bytes], sums: Sums, recorded: bool) -> None:
        self.source = source
        self.size = 0
        stronger = recorded or sums.metadata_sha256 or sums.sha256
        self._sha256 = hashlib.sha256() if stronger else None
        self._crc32: int | None = 0 if sums.crc32 and not stronger else None
        self._md5 = _md5() if sums.md5 and not stronger else None
        self._parts = _Parts(sums.part_sizes) if sums.multipart_md5 and not stronger else None

    def __iter__(self) -> t.Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        chunk = next(self.source)
        self.size += len(chunk)
        for digest in (self._sha256, self._md5, self._parts):
            if digest:
                digest.update(chunk)
        if self._crc32 is not None:
            self._crc32 = zlib.crc32(chunk, self._crc32)
        return chunk

    def found(self) -> dict[str, str]:
        named = {"sha256": self._sha256, "md5": self._md5, "multipart_md5": self._parts}
        found = {name: digest.hexdigest() for name, digest in named.items() if digest}
        return found if self._crc32 is None else {**found, "crc32": f"{self._crc32:08x}"}


class _Parts:
    """The digest of the digests of parts, as ETags of multipart uploads are made."""

    def __init__(self, sizes: t.Sequence[int]) -> None:
        self._left = list(sizes)
        self._digests = b""
        self._part = _md5()

    def update(self, chunk: bytes) -> None:
        rest = memoryview(chunk)
        while rest and self._left:
            take = rest[: self._left[0]]
            self._part.update(take)
            self._left[0] -= len(take)
            rest = rest[len(take) :]
            if not self._left[0]:
                self._left.pop(0)
                self._digests += self._part.digest()
                self._part = _md5()

    def hexdigest(self) -> str:
        return _md5(self._digests).hexdigest()


def _md5(data: bytes = b"") -> t.Any:
    return hashlib.md5(data, usedforsecurity=False)
