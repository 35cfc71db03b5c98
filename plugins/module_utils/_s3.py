# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""S3 and its look-alikes: where, how to list, to write, to read back. Boto3 does the work."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import pathlib
import random
import socket
import threading
import time
import typing as t
from dataclasses import dataclass, field
from datetime import datetime

from ._refused import S3Error, reported

try:
    import boto3
    import boto3.exceptions
    import boto3.s3.transfer
    import botocore.config
    import botocore.exceptions
    import urllib3.exceptions
except ImportError:  # reported by client(), where it can be a sentence
    boto3 = None

PART_BYTES = 16 * 1024 * 1024
READ_BYTES = 1024 * 1024
READ_ATTEMPTS = 5
# Seconds in which so much must come: a server that drips would hold whoever reads for ever.
SLOWEST = 120
# After this much progress, connections that broke before are forgiven.
FORGIVEN_BYTES = 256 * READ_BYTES

Client = t.Any
# Where the programs find the keys of a second place; boto3 looks for those of the first by itself.
SECOND_KEYS = {
    "access_key": "SLIPWAY_SECOND_ACCESS_KEY_ID",
    "secret_key": "SLIPWAY_SECOND_SECRET_ACCESS_KEY",
}


@dataclass(frozen=True)
class Target:
    """A place in an object store; the keys are absent from its representation."""

    bucket: str
    prefix: str = ""
    endpoint_url: str | None = None
    region: str | None = None
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    addressing_style: str = "auto"
    storage_class: str | None = None
    stored_checksum: bool = False

    def key(self, *parts: str) -> str:
        return "/".join(part.strip("/") for part in (self.prefix, *parts) if part.strip("/"))

    def folder(self) -> str:
        """What the keys of everything below the prefix begin with."""
        return f"{self.key()}/" if self.key() else ""

    def url(self, key: str) -> str:
        return f"s3://{self.bucket}/{key}"


@dataclass(frozen=True)
class StoredObject:
    key: str
    size: int
    modified: datetime
    etag: str = ""


def argument_spec() -> dict[str, dict[str, t.Any]]:
    """The options of every module that talks to S3; documented in the fragment `s3`."""
    return {
        "bucket": {"type": "str", "required": True},
        "prefix": {"type": "str", "default": ""},
        "endpoint_url": {"type": "str"},
        "region": {"type": "str"},
        "access_key": {"type": "str", "no_log": False},
        "secret_key": {"type": "str", "no_log": True},
        "ca_file": {"type": "path"},
        "addressing_style": {
            "type": "str",
            "choices": ["auto", "path", "virtual"],
            "default": "auto",
        },
    }


def target(params: t.Mapping[str, t.Any]) -> Target:
    """The target in a mapping that may hold other things too; empty values mean unset."""
    known = {name: params[name] for name in Target.__dataclass_fields__ if params.get(name)}
    if "bucket" not in known:
        raise S3Error("No bucket is named: set bucket to the one that receives the backups.")
    if bool(known.get("access_key")) != bool(known.get("secret_key")):
        raise S3Error("access_key and secret_key go together: set both, or neither.")
    return Target(**known)


def targets(value: t.Mapping[str, t.Any]) -> list[Target]:
    """The places in the configuration of a program, the first one first."""
    found = [target(value["s3"])] if value["s3"] else []
    if value.get("second"):
        keys = {name: os.environ.get(variable) for name, variable in SECOND_KEYS.items()}
        found.append(target({**value["second"], **keys}))
    return found


def client(where: Target) -> Client:
    """A client that retries with jitter what can pass, and sends only what every server accepts."""
    if boto3 is None:
        raise S3Error("Python's boto3 is missing: install the package python3-boto3.")
    settings: dict[str, t.Any] = {
        "retries": {"mode": "standard", "total_max_attempts": 5},
        "connect_timeout": 10,
        "read_timeout": 60,
        "s3": {"addressing_style": where.addressing_style},
    }
    # Since 1.36 boto3 sends checksums as trailers unasked; several servers answer those with an
    # error. What we rely on is the sha256 of the object read back.
    if "request_checksum_calculation" in botocore.config.Config.OPTION_DEFAULTS:
        settings["request_checksum_calculation"] = "when_required"
        settings["response_checksum_validation"] = "when_required"
    with reported("connect to", where.endpoint_url or where.bucket):
        return boto3.session.Session().client(
            "s3",
            endpoint_url=where.endpoint_url,
            region_name=where.region or "us-east-1",
            aws_access_key_id=where.access_key,
            aws_secret_access_key=where.secret_key,
            verify=where.ca_file,
            config=botocore.config.Config(**settings),
        )


def list_objects(s3: Client, where: Target, below: str = "") -> t.Iterator[StoredObject]:
    """Every object of the target's prefix (or of `below` in it), page by page."""
    prefix = where.key(below)
    with reported("list", where.url(prefix)):
        pages = s3.get_paginator("list_objects_v2").paginate(
            Bucket=where.bucket, Prefix=f"{prefix}/" if prefix else ""
        )
        for page in pages:
            for item in page.get("Contents", []):
                yield StoredObject(
                    item["Key"], item["Size"], item["LastModified"], item.get("ETag", "")
                )


def upload(s3: Client, where: Target, path: pathlib.Path, key: str, sha256: str) -> None:
    """Send a file, in parts where it is large; its sha256 goes along as metadata."""
    extra: dict[str, t.Any] = {"Metadata": {"sha256": sha256}}
    if where.storage_class:
        extra["StorageClass"] = where.storage_class
    if where.stored_checksum:
        extra["ChecksumAlgorithm"] = "SHA256"
    parts = boto3.s3.transfer.TransferConfig(
        multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=2
    )
    with reported("upload", where.url(key)), boto3.s3.transfer.S3Transfer(s3, parts) as transfer:
        try:
            transfer.upload_file(str(path), where.bucket, key, extra_args=extra)
        except boto3.exceptions.S3UploadFailedError as error:
            # What the server said is this error's context, and lost when the transfer is left:
            # that may raise the same refusal once more, and Python lets no chain be a ring.
            raise error.__context__ or error from None


def delete(s3: Client, where: Target, keys: t.Sequence[str]) -> bool:
    """Delete a few objects; whether they are only hidden, as in a bucket with versions.

    One by one, which every server knows, and whose refusal names its cause.
    """
    hidden = False
    for key in keys:
        with reported("delete", where.url(key)):
            answer = s3.delete_object(Bucket=where.bucket, Key=key)
            hidden = answer.get("DeleteMarker", False) is True
    return hidden


def read(
    s3: Client, where: Target, key: str, sleep: t.Callable[[float], None] = time.sleep
) -> t.Iterator[bytes]:
    """The object's bytes in order; a connection that breaks is resumed on the same object."""
    position = broken_at = failures = 0
    etag: str | None = None
    while True:
        request = {"Bucket": where.bucket, "Key": key}
        if etag and position:
            request |= {"Range": f"bytes={position}-", "IfMatch": etag}
        with reported("read", where.url(key)):
            try:
                answer = s3.get_object(**request)
                etag = answer["ETag"]
                # A server that does not know ranges sends everything again.
                again = position if "Range" in request and "ContentRange" not in answer else 0
                for chunk in _in_time(answer["Body"]):
                    fresh, again = chunk[again:], max(0, again - len(chunk))
                    position += len(fresh)
                    if fresh:
                        yield fresh
                return
            except _broken_connections():
                failures = 1 if position - broken_at >= FORGIVEN_BYTES else failures + 1
                broken_at = position
                if failures == READ_ATTEMPTS:
                    raise
        sleep(random.uniform(0, 2**failures / 4))  # noqa: S311  # no secret


def _in_time(body: t.Any) -> t.Iterator[bytes]:
    """The chunks of a body; its connection is cut where one takes too long."""
    chunks = body.iter_chunks(READ_BYTES)
    watch = _Watch(body)
    watch.start()
    try:
        while True:
            watch.waiting_since = time.monotonic()
            chunk = next(chunks, None)
            watch.waiting_since = math.inf
            if chunk is None:
                return
            yield chunk
    finally:
        watch.over.set()


class _Watch(threading.Thread):
    """Cuts the connection of a body whose reader has waited too long for a chunk.

    One thread for all chunks: to start one for each would slow the reading down.
    """

    def __init__(self, body: t.Any) -> None:
        super().__init__(daemon=True)
        self.body = body
        self.over = threading.Event()
        self.waiting_since = math.inf

    def run(self) -> None:
        while not self.over.wait(SLOWEST / 10):
            if time.monotonic() - self.waiting_since > SLOWEST:
                _cut(self.body)
                return


def _cut(body: t.Any) -> None:
    """End what another thread waits for; it then sees a connection that broke."""
    with contextlib.suppress(AttributeError, OSError):
        body._raw_stream._original_response.fp.raw._sock.shutdown(socket.SHUT_RDWR)


def read_sha256(s3: Client, where: Target, key: str) -> tuple[str, int]:
    """Digest and size of what the server really returns; memory does not grow with the object."""
    digest = hashlib.sha256()
    size = 0
    for chunk in read(s3, where, key):
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size


def read_whole(s3: Client, where: Target, key: str, limit: int = 16 * READ_BYTES) -> bytes:
    """A small object; one that is larger than its kind ever is, is refused."""
    whole = b""
    for chunk in read(s3, where, key):
        whole += chunk
        if len(whole) > limit:
            raise S3Error(f"{where.url(key)} is larger than {limit} bytes: that is no record.")
    return whole


def read_text(s3: Client, where: Target, key: str) -> str:
    try:
        return read_whole(s3, where, key).decode()
    except UnicodeDecodeError as error:
        raise S3Error(f"{where.url(key)} is not text: {error.reason}.") from error


def _broken_connections() -> tuple[type[Exception], ...]:
    return (
        botocore.exceptions.ReadTimeoutError,
        botocore.exceptions.IncompleteReadError,
        botocore.exceptions.ResponseStreamingError,
        urllib3.exceptions.HTTPError,
        ConnectionError,
    )
