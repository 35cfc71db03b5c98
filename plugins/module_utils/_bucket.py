# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Asks a bucket for its facts. What a server does not have, or does not tell, is an answer too."""

from __future__ import annotations

import json
import typing as t
from dataclasses import replace
from datetime import datetime

from . import _refused, _retention, _s3
from ._findings import Finding

# What servers say when they have never heard of a feature.
LACKING = (
    *("NotImplemented", "XNotImplemented", "MethodNotAllowed", "NotSupported", "501", "405"),
    "NoSuchUpload",  # who lists uploads asks for none
)
DENIED = ("AccessDenied", "AllAccessDisabled", "403", "Forbidden")
NOTHING = (
    "NoSuchBucketPolicy",
    "NoSuchLifecycleConfiguration",
    "NoSuchPublicAccessBlockConfiguration",
    "ObjectLockConfigurationNotFoundError",
    "ServerSideEncryptionConfigurationNotFoundError",
)
# What a policy that names everybody may ask, so that it means few all the same.
OPERATORS = (
    *("StringEquals", "StringEqualsIgnoreCase", "StringLike"),
    *("ArnEquals", "ArnLike", "IpAddress"),
)
NARROWING = (
    *("aws:sourceip", "aws:vpcsourceip", "aws:sourcevpc", "aws:sourcevpce", "aws:sourcearn"),
    *("aws:sourceaccount", "aws:sourceowner", "aws:sourceorgid", "aws:userid"),
    *("aws:principalarn", "aws:principalaccount", "aws:principalorgid", "aws:principalorgpaths"),
    *("s3:dataaccesspointarn", "s3:dataaccesspointaccount"),
)
ANYTHING = ("*", "0.0.0.0/0", "::/0")
STRANGERS = ("/global/AllUsers", "/global/AuthenticatedUsers")

Ask = t.Callable[[], t.Any]


def facts(s3: _s3.Client, where: _s3.Target) -> _retention.Bucket:
    """Everything that decides whether backups stay, and whose they are."""
    name = where.bucket
    status = _versioning(s3, name)
    blocked = answer(lambda: _blocks(s3, name), False).value
    return _retention.Bucket(
        name=name,
        versioning=replace(status, value=status.value == "Enabled"),
        object_lock=answer(lambda: _object_lock(s3, name), 0),
        encryption=answer(lambda: _encryption(s3, name)),
        public=_retention.Answer(()) if blocked else public(s3, name),
        blocked=_retention.Answer(bool(blocked)),
        lifecycle=answer(
            lambda: _field(s3.get_bucket_lifecycle_configuration(Bucket=name), "Rules"), ()
        ),
        uploads=answer(lambda: _uploads(s3, where)),
        markers=answer(lambda: _markers(s3, where)) if status.value else _retention.Answer({}),
    )


def _versioning(s3: _s3.Client, name: str) -> _retention.Answer:
    """A bucket that never had versions answers without a status, and so do servers without them."""
    status = answer(lambda: s3.get_bucket_versioning(Bucket=name).get("Status"))
    if status.value or status.problem:
        return status
    versions = answer(lambda: s3.list_object_versions(Bucket=name, MaxKeys=1))
    return replace(versions, value=None) if versions.problem == "unsupported" else status


def answer(ask: Ask, nothing: t.Any = None) -> _retention.Answer:
    """The answer, `nothing` where the server says that there is none."""
    try:
        return _retention.Answer(ask())
    except _refused.kinds() as error:
        code, said = _refused.told(error)
        if code in NOTHING:
            return _retention.Answer(nothing)
        return _retention.Answer(nothing, "unsupported" if code in LACKING else "unknown", said)
    except _Absent as error:
        return _retention.Answer(nothing, "unsupported", str(error))


class _Absent(Exception):
    """An answer to another question: the server passed over what was asked."""


def _field(given: t.Mapping[str, t.Any], name: str) -> t.Any:
    if name not in given:
        raise _Absent(f"the answer has no {name}")
    return given[name]


def _object_lock(s3: _s3.Client, name: str) -> int:
    """Days that a new object is locked."""
    given = _field(s3.get_object_lock_configuration(Bucket=name), "ObjectLockConfiguration")
    _field(given, "ObjectLockEnabled")
    default = given.get("Rule", {}).get("DefaultRetention", {})
    return int(default.get("Days") or _retention.DAYS_OF_A_YEAR * default.get("Years", 0))


def _encryption(s3: _s3.Client, name: str) -> bool:
    given = _field(s3.get_bucket_encryption(Bucket=name), "ServerSideEncryptionConfiguration")
    return bool(_field(given, "Rules"))


def public(s3: _s3.Client, name: str) -> _retention.Answer:
    """The ways by which strangers may read."""
    given = [
        answer(ask, []) for ask in (lambda: _open_policy(s3, name), lambda: _open_grants(s3, name))
    ]
    ways = [way for one in given for way in one.value]
    # A way that is known is not lost to one that may not be asked for.
    for unanswered in (one for one in given if one.problem):
        return replace(unanswered, value=tuple(ways))
    # Few servers judge for themselves; those that do know their own conditions.
    status = answer(lambda: s3.get_bucket_policy_status(Bucket=name).get("PolicyStatus", {}), {})
    if not ways and status.value.get("IsPublic"):
        ways.append("the bucket's policy, as the server judges it")
    return _retention.Answer(tuple(ways))


def object_acl(s3: _s3.Client, where: _s3.Target, key: str, database: str) -> list[Finding]:
    """An object has an ACL of its own, whatever that of its bucket says."""
    given = answer(
        lambda: _strangers(s3.get_object_acl(Bucket=where.bucket, Key=key), "its ACL"), ()
    )
    return [replace(one, database=database) for one in _retention.strangers(key, given)]


def _blocks(s3: _s3.Client, name: str) -> bool:
    given = s3.get_public_access_block(Bucket=name).get("PublicAccessBlockConfiguration", {})
    return bool(given.get("IgnorePublicAcls") and given.get("RestrictPublicBuckets"))


def _open_policy(s3: _s3.Client, name: str) -> list[str]:
    try:
        policy = json.loads(_field(s3.get_bucket_policy(Bucket=name), "Policy"))
    except ValueError as error:
        raise _Absent("the answer is no policy") from error
    statements = policy.get("Statement", [])
    return [
        f"statement {statement.get('Sid') or number} of the bucket's policy"
        for number, statement in enumerate(
            statements if isinstance(statements, list) else [statements], start=1
        )
        if statement.get("Effect") == "Allow"
        and not _narrowed(statement.get("Condition") or {})
        and ("NotPrincipal" in statement or "*" in _names(statement.get("Principal")))
    ]


def _names(principal: t.Any) -> t.Iterator[str]:
    if isinstance(principal, str):
        yield principal
    elif isinstance(principal, dict):
        for value in principal.values():
            yield from _listed(value)


def _listed(value: t.Any) -> list[t.Any]:
    return value if isinstance(value, list) else [value]


def _narrowed(conditions: t.Mapping[str, t.Any]) -> bool:
    """Whether one of the conditions lets in only whom it names."""
    return any(
        key.lower() in NARROWING and not set(_listed(value)) & set(ANYTHING)
        for operator, asked in conditions.items()
        if operator in OPERATORS
        for key, value in asked.items()
    )


def _open_grants(s3: _s3.Client, name: str) -> list[str]:
    return _strangers(s3.get_bucket_acl(Bucket=name), "the bucket's ACL")


def _strangers(given: t.Mapping[str, t.Any], acl: str) -> list[str]:
    return [
        f"the grant {grant.get('Permission')} of {acl}"
        for grant in _field(given, "Grants")
        if str(grant.get("Grantee", {}).get("URI", "")).endswith(STRANGERS)
    ]


def _uploads(s3: _s3.Client, where: _s3.Target) -> list[tuple[str, datetime]]:
    pages = s3.get_paginator("list_multipart_uploads").paginate(
        Bucket=where.bucket, Prefix=where.folder()
    )
    return [
        (upload["Key"], upload["Initiated"]) for page in pages for upload in page.get("Uploads", [])
    ]


def _markers(s3: _s3.Client, where: _s3.Target) -> dict[str, datetime]:
    """Keys whose newest version is a delete marker, and since when."""
    pages = s3.get_paginator("list_object_versions").paginate(
        Bucket=where.bucket, Prefix=where.folder()
    )
    return {
        marker["Key"]: marker["LastModified"]
        for page in pages
        for marker in page.get("DeleteMarkers", [])
        if marker.get("IsLatest")
    }
