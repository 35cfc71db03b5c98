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
# What S3 may keep; of these, the standard library computes the first three.
KEPT = ("SHA256", "SHA1", "CRC32", "CRC32C", "CRC64NVME")
COMPUTED = KEPT[:3]
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
    kept = {name: str(head[f"Checksum{name}"]) for name in KEPT if head.get(f"Checksum{name}")}
    whole = head.get("ChecksumType", "COMPOSITE" if parts else "FULL_OBJECT") == "FULL_OBJECT"
    usable = {
        name: base64.b64decode(value).hex()
        for name, value in kept.items()
        if whole and name in COMPUTED and "-" not in value
    }
    return Sums(
        metadata_sha256=head.get("Metadata", {}).get("sha256"),
        sha256=usable.get("SHA256"),
        sha1=usable.get("SHA1"),
        crc32=usable.get("CRC32"),
        unused=tuple(name for name in kept if name not in usable),
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


class Digests:
    """Passes a stream on and keeps the digests that there is something to compare with."""

    def __init__(self, source: t.Iterator[bytes], sums: Sums, recorded: bool) -> None:
        self.source = source
        self.size = 0
        self._digests: dict[str, t.Any] = {}
        self._crc32: int | None = None
        if recorded or sums.metadata_sha256 or sums.sha256:
            self._digests["sha256"] = hashlib.sha256()
            return
        # Without the strongest, whatever there is.
        self._crc32 = 0 if sums.crc32 else None
        if sums.sha1:
            self._digests["sha1"] = hashlib.sha1(usedforsecurity=False)
        if sums.md5:
            self._digests["md5"] = _md5()
        if sums.multipart_md5:
            self._digests["multipart_md5"] = _Parts(sums.part_sizes)

    def __iter__(self) -> t.Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        chunk = next(self.source)
        self.size += len(chunk)
        for digest in self._digests.values():
            digest.update(chunk)
        if self._crc32 is not None:
            self._crc32 = zlib.crc32(chunk, self._crc32)
        return chunk

    def found(self) -> dict[str, str]:
        found = {name: digest.hexdigest() for name, digest in self._digests.items()}
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
