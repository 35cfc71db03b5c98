# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""S3 and its look-alikes: where, how to list, to write, to read back. Boto3 does the work."""

from __future__ import annotations

import contextlib
import hashlib
import pathlib
import random
import time
import typing as t
from dataclasses import dataclass, field
from datetime import datetime

from . import _errors

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
# After this much progress, connections that broke before are forgiven.
FORGIVEN_BYTES = 256 * READ_BYTES

Client = t.Any

REMEDIES = {
    "AccessDenied": "the key may not do this: allow it in the policy of the key or of the bucket",
    "403": "the key may not do this, or it is not known: check it and its policy",
    "InvalidAccessKeyId": "the server does not know the access key: check access_key",
    "SignatureDoesNotMatch": "the secret key does not belong to the access key: check secret_key",
    "NoSuchBucket": "the bucket does not exist: create it, or correct the name",
    "InvalidObjectState": "the object is archived: restore it first, which takes hours",
    "NoSuchKey": "the object does not exist",
    "404": "the object or its bucket does not exist",
    "RequestTimeTooSkewed": "the clock of this machine is wrong: set it",
}


class S3Error(_errors.StackError):
    """The object store did not do what it was asked."""


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
                yield StoredObject(item["Key"], item["Size"], item["LastModified"])


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
    with reported("upload", where.url(key)):
        s3.upload_file(str(path), where.bucket, key, ExtraArgs=extra, Config=parts)


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
                for chunk in answer["Body"].iter_chunks(READ_BYTES):
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


def read_sha256(s3: Client, where: Target, key: str) -> tuple[str, int]:
    """Digest and size of what the server really returns; memory does not grow with the object."""
    digest = hashlib.sha256()
    size = 0
    for chunk in read(s3, where, key):
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size


def read_text(s3: Client, where: Target, key: str, limit: int = 16 * READ_BYTES) -> str:
    """A small object whole; one that is larger than its kind ever is, is refused."""
    whole = b""
    for chunk in read(s3, where, key):
        whole += chunk
        if len(whole) > limit:
            raise S3Error(f"{where.url(key)} is larger than {limit} bytes: that is no record.")
    try:
        return whole.decode()
    except UnicodeDecodeError as error:
        raise S3Error(f"{where.url(key)} is not text: {error.reason}.") from error


def refusals() -> tuple[type[Exception], ...]:
    """What boto3 raises when a request did not succeed, for whoever can do without it."""
    return (
        botocore.exceptions.ClientError,
        botocore.exceptions.BotoCoreError,
        urllib3.exceptions.HTTPError,
    )


def refusal(error: Exception) -> tuple[str, str]:
    """The code of such a refusal, empty where no server said one, and a sentence."""
    if isinstance(error, botocore.exceptions.ClientError):
        return str(error.response.get("Error", {}).get("Code", "")), _reason(error)
    return "", str(error).rstrip(".")


def _broken_connections() -> tuple[type[Exception], ...]:
    return (
        botocore.exceptions.ReadTimeoutError,
        botocore.exceptions.IncompleteReadError,
        botocore.exceptions.ResponseStreamingError,
        urllib3.exceptions.HTTPError,
        ConnectionError,
    )


@contextlib.contextmanager
def reported(action: str, url: str) -> t.Iterator[None]:
    """Turn what boto3 raises into one sentence; request contents never get into it."""
    try:
        yield
    except botocore.exceptions.ClientError as error:
        raise S3Error(f"Cannot {action} {url}: {_reason(error)}.") from error
    except boto3.exceptions.S3UploadFailedError as error:
        cause = error.__context__
        known = isinstance(cause, botocore.exceptions.ClientError)
        raise S3Error(f"Cannot {action} {url}: {_reason(cause) if known else error}.") from error
    except (
        botocore.exceptions.BotoCoreError,
        urllib3.exceptions.HTTPError,
        ValueError,
        OSError,
    ) as error:
        raise S3Error(f"Cannot {action} {url}: {str(error).rstrip('.')}.") from error


def _reason(error: t.Any) -> str:
    answer = error.response.get("Error", {})
    code = str(answer.get("Code", "unknown"))
    return f"{code}: {REMEDIES.get(code) or str(answer.get('Message', error)).rstrip('.')}"
