# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What servers keep beside an object, and a bucket's facts, on fakes of what they answer."""

from __future__ import annotations

import base64
import datetime
import hashlib
import importlib.util
import json
import sys
import types
import typing as t
import zlib

import botocore.config
import botocore.exceptions
import pytest
from ansible_collections.slipway.stack.plugins.module_utils import (
    _bucket,
    _refused,
    _retention,
    _s3,
    _s3_sums,
)
from ansible_collections.slipway.stack.plugins.module_utils._evidence import Sums

TARGET = _s3.Target(bucket="b")
MD5 = "ab" * 16


def refused(code: str) -> Exception:
    answer: t.Any = {"Error": {"Code": code, "Message": "no"}}
    error: Exception = botocore.exceptions.ClientError(answer, "Head")
    return error


class Heads:
    """Answers questions about an object, one after the other."""

    def __init__(self, *answers: dict[str, t.Any] | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, t.Any]] = []

    def head_object(self, **request: t.Any) -> dict[str, t.Any]:
        self.asked.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def sums(*answers: dict[str, t.Any] | Exception) -> Sums:
    return _s3_sums.sums(Heads(*answers), TARGET, "k")


def coded(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ({}, Sums()),
        ({"ETag": f'"{MD5}"'}, Sums(md5=MD5)),
        ({"ETag": '"opaque"', "Metadata": {"sha256": "cd"}}, Sums(metadata_sha256="cd")),
        (
            {"ETag": MD5, "ServerSideEncryption": "aws:kms"},
            Sums(server_encryption="aws:kms"),
        ),
        (
            {"ETag": MD5, "ServerSideEncryption": "AES256"},
            Sums(md5=MD5, server_encryption="AES256"),
        ),
        ({"ETag": MD5, "SSECustomerAlgorithm": "AES256"}, Sums()),
        ({"ChecksumSHA256": coded(b"\xab")}, Sums(sha256="ab")),
        ({"ChecksumSHA256": coded(b"\xab") + "-2"}, Sums(unused=("SHA256",))),
        ({"ChecksumSHA1": coded(b"\xab")}, Sums(sha1="ab")),
        (
            {"ChecksumCRC64NVME": coded(b"\xab"), "ChecksumCRC32C": coded(b"\xab")},
            Sums(unused=("CRC32C", "CRC64NVME")),
        ),
        ({"ChecksumCRC32": coded(b"\xab"), "ChecksumType": "FULL_OBJECT"}, Sums(crc32="ab")),
        (
            {"ChecksumCRC32": coded(b"\xab"), "ChecksumType": "COMPOSITE"},
            Sums(unused=("CRC32",)),
        ),
    ],
)
def test_what_a_server_keeps(head: dict[str, t.Any], expected: Sums) -> None:
    assert sums(head) == expected


class Parts(Heads):
    """An object of parts, each of which can be asked for."""

    def head_object(self, **request: t.Any) -> dict[str, t.Any]:
        answer = self.answers[request.get("PartNumber", 0)]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.mark.parametrize(
    ("size", "parts", "told"),
    [
        (25, (10, 10, 5), True),
        (30, (10, 10, 10), True),
        (25, (8, 6, 11), True),
        (31, (10, 10, 10), False),
        (31, (31, 31, 31), False),
    ],
)
def test_each_part_has_its_own_size(size: int, parts: tuple[int, ...], told: bool) -> None:
    head = {"ETag": f"{MD5}-3", "ContentLength": size, "ChecksumSHA256": coded(b"x")}
    answers: list[dict[str, t.Any] | Exception] = [{"ContentLength": part} for part in parts]
    found = _s3_sums.sums(Parts(head, *answers), TARGET, "k")
    other = ("SHA256",)  # of the digests of parts, not of the whole
    known = Sums(part_sizes=parts, multipart_md5=MD5, unused=other)
    assert found == (known if told else Sums(unused=other))
    for broken in (0, 2):
        refusing = [*answers[:broken], refused("NotImplemented"), *answers[broken + 1 :]]
        assert _s3_sums.sums(Parts(head, *refusing), TARGET, "k") == Sums(unused=other)


def test_a_checksum_of_the_whole_counts_though_it_came_in_parts() -> None:
    head = {"ETag": f"{MD5}-3", "ChecksumCRC32": coded(b"x"), "ChecksumType": "FULL_OBJECT"}
    assert sums({**head, "ContentLength": 9}, refused("NotImplemented")).crc32 == b"x".hex()


def test_a_server_that_knows_no_checksums_is_asked_without() -> None:
    heads = Heads(refused("NotImplemented"), {"ETag": MD5})
    assert _s3_sums.sums(heads, TARGET, "k").md5 == MD5
    assert [one.get("ChecksumMode") for one in heads.asked] == ["ENABLED", None]


@pytest.mark.parametrize("code", ["403", "404", "AccessDenied"])
def test_an_object_that_may_not_be_looked_at(code: str) -> None:
    with pytest.raises(_refused.S3Error, match=f"Cannot look at s3://b/k: {code}"):
        sums(refused(code))


BODY = [b"x" * 7, b"y" * 13, b"z"]


@pytest.mark.parametrize(
    ("kept", "recorded", "found"),
    [
        (Sums(), True, {"sha256": hashlib.sha256(b"".join(BODY)).hexdigest()}),
        *(
            (kept, False, {"sha256": hashlib.sha256(b"".join(BODY)).hexdigest()})
            for kept in (Sums(metadata_sha256="ab", md5="ab"), Sums(sha256="ab", md5="ab"))
        ),
        (Sums(md5="ab"), False, {"md5": hashlib.md5(b"".join(BODY)).hexdigest()}),  # noqa: S324
        (Sums(sha1="ab"), False, {"sha1": hashlib.sha1(b"".join(BODY)).hexdigest()}),  # noqa: S324
        (Sums(crc32="ab"), False, {"crc32": f"{zlib.crc32(b''.join(BODY)):08x}"}),
        (Sums(), False, {}),
        (
            Sums(multipart_md5="ab", part_sizes=(10, 9, 2)),
            False,
            {
                "multipart_md5": hashlib.md5(  # noqa: S324
                    b"".join(
                        hashlib.md5(part).digest()  # noqa: S324
                        for part in (b"x" * 7 + b"y" * 3, b"y" * 9, b"yz")
                    )
                ).hexdigest()
            },
        ),
    ],
)
def test_digests_of_what_comes_back(kept: Sums, recorded: bool, found: dict[str, str]) -> None:
    digests = _s3_sums.Digests(iter(BODY), kept, recorded)
    assert list(digests) == BODY
    assert (digests.found(), digests.size) == (found, 21)


class Answers:
    """A bucket that gives the same answer to every question of a kind."""

    def __init__(self, **answers: t.Any) -> None:
        self.answers = answers

    def __getattr__(self, name: str) -> t.Callable[..., t.Any]:
        def ask(**_request: t.Any) -> t.Any:
            answer = self.answers.get(name, refused("NotImplemented"))
            if isinstance(answer, Exception):
                raise answer
            return answer

        return ask

    def get_paginator(self, name: str) -> types.SimpleNamespace:
        return types.SimpleNamespace(paginate=lambda **_where: [getattr(self, name)()])


def test_a_server_that_answers_something_else_has_not_got_it() -> None:
    everything = ("get_bucket_lifecycle_configuration", "get_object_lock_configuration")
    found = _bucket.facts(Answers(**{name: {} for name in everything}), TARGET)
    assert (found.lifecycle.problem, found.object_lock.problem) == ("unsupported", "unsupported")
    assert found.markers.problem is None
    assert found.public.problem == "unsupported"


def test_a_server_that_answers_with_nothing_inside_has_not_got_it() -> None:
    client = Answers(
        get_bucket_versioning={},
        get_object_lock_configuration={"ObjectLockConfiguration": {}},
        get_bucket_encryption={"ServerSideEncryptionConfiguration": {}},
        get_bucket_policy=refused("NoSuchBucketPolicy"),
        get_bucket_acl={},
        list_multipart_uploads=refused("NoSuchUpload"),
    )
    found = _bucket.facts(client, TARGET)
    asked = (found.versioning, found.object_lock, found.encryption, found.public, found.uploads)
    assert [one.problem for one in asked] == ["unsupported"] * 5


def test_a_bucket_that_never_had_versions_has_it_off() -> None:
    unversioned: tuple[dict[str, t.Any] | Exception, ...] = ({}, refused("AccessDenied"))
    for versions in unversioned:
        client = Answers(get_bucket_versioning={}, list_object_versions=versions)
        assert _bucket.facts(client, TARGET).versioning == _retention.Answer(False)
    denied = Answers(get_bucket_versioning=refused("AccessDenied"))
    assert _bucket.facts(denied, TARGET).versioning.problem == "unknown"


def test_what_may_not_be_asked_is_unknown() -> None:
    found = _bucket.answer(lambda: Answers(x=refused("AccessDenied")).x(), 7)
    assert (found.value, found.problem) == (7, "unknown")
    assert _bucket.answer(lambda: Answers(x=refused("NoSuchBucketPolicy")).x(), 7).problem is None


@pytest.mark.parametrize(("default", "days"), [({"Days": 9}, 9), ({"Years": 2}, 730), ({}, 0)])
def test_how_long_a_bucket_locks(default: dict[str, int], days: int) -> None:
    rule = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": default}}
    answer = {"ObjectLockConfiguration": rule}
    found = _bucket.facts(Answers(get_object_lock_configuration=answer), TARGET)
    assert found.object_lock.value == days


def test_a_bucket_that_locks_nothing() -> None:
    absent = refused("ObjectLockConfigurationNotFoundError")
    found = _bucket.facts(Answers(get_object_lock_configuration=absent), TARGET)
    assert found.object_lock == _retention.Answer(0)


ALLOW = {"Effect": "Allow", "Principal": "*"}


@pytest.mark.parametrize(
    ("policy", "ways"),
    [
        (f"{[ALLOW]}", 1),
        (f"{ALLOW}", 1),
        (f"{[{**ALLOW, 'Sid': 'all'}, ALLOW]}", 2),
        (f"{[{**ALLOW, 'Condition': {'x': 'y'}}]}", 1),
        (f"{[{**ALLOW, 'Condition': {'Bool': {'aws:SecureTransport': 'true'}}}]}", 1),
        (f"{[{**ALLOW, 'Condition': {'IpAddress': {'aws:SourceIp': ['192.0.2.1']}}}]}", 0),
        (f"{[{**ALLOW, 'Condition': {'IpAddress': {'aws:SourceIp': ['0.0.0.0/0']}}}]}", 1),
        (f"{[{**ALLOW, 'Condition': {'NotIpAddress': {'aws:SourceIp': '192.0.2.1'}}}]}", 1),
        (f"{[{**ALLOW, 'Condition': {'StringEquals': {'aws:PrincipalOrgID': 'o-1'}}}]}", 0),
        (f"{[{'Effect': 'Allow', 'NotPrincipal': {'AWS': 'a'}}]}", 1),
        (f"{[{**ALLOW, 'Effect': 'Deny'}]}", 0),
        (f"{[{**ALLOW, 'Principal': {'AWS': ['a', 'b']}}]}", 0),
        (f"{[{**ALLOW, 'Principal': {'AWS': '*'}}]}", 1),
        (f"{[{'Effect': 'Allow'}]}", 0),
        ("no policy", None),
    ],
)
def test_policies_that_let_strangers_in(policy: str, ways: int | None) -> None:
    text = '{"Statement": ' + policy.replace("'", '"') + "}"
    client = Answers(get_bucket_policy={"Policy": text}, get_bucket_acl={"Grants": []})
    found = _bucket.public(client, "b")
    assert (len(found.value) if ways is not None else found.problem) == (
        ways if ways is not None else "unsupported"
    )


def test_what_lets_strangers_in_is_named() -> None:
    statements = (
        f'[{{"Effect": "Deny"}}, {json.dumps(ALLOW)}, {json.dumps({**ALLOW, "Sid": "all"})}]'
    )
    client = Answers(
        get_bucket_policy={"Policy": f'{{"Statement": {statements}}}'},
        get_bucket_acl=refused("AccessDenied"),
    )
    found = _bucket.public(client, "b")
    # What is known is not lost to what may not be asked.
    assert [way.split(" of ")[0] for way in found.value] == ["statement 2", "statement all"]
    assert found.problem == "unknown"


@pytest.mark.parametrize(
    ("blocks", "blocked"),
    [
        ({"IgnorePublicAcls": True, "RestrictPublicBuckets": True}, True),
        # Policies have their effect all the same, or ACLs do.
        ({"IgnorePublicAcls": True, "RestrictPublicBuckets": False}, False),
        ({"IgnorePublicAcls": False, "RestrictPublicBuckets": True}, False),
        ({"BlockPublicAcls": True, "BlockPublicPolicy": True}, False),
    ],
)
def test_public_access_is_blocked_only_where_both_ways_are(
    blocks: dict[str, bool], blocked: bool
) -> None:
    client = Answers(
        get_public_access_block={"PublicAccessBlockConfiguration": blocks},
        get_bucket_policy=refused("NoSuchBucketPolicy"),
        get_bucket_acl={"Grants": [{"Grantee": {"URI": "x/global/AllUsers"}}]},
    )
    found = _bucket.facts(client, TARGET)
    assert (found.blocked.value, bool(found.public.value)) == (blocked, not blocked)


def test_a_server_that_judges_its_policy_is_believed() -> None:
    client = Answers(
        get_bucket_policy={"Policy": "{}"},
        get_bucket_policy_status={"PolicyStatus": {"IsPublic": True}},
        get_bucket_acl={"Grants": []},
    )
    assert _bucket.public(client, "b").value == ("the bucket's policy, as the server judges it",)


@pytest.mark.parametrize(
    ("answer", "severities"),
    [
        ({"Grants": []}, []),
        ({"Grants": [{"Grantee": {"URI": "x/global/AllUsers"}}]}, ["critical"]),
        (refused("AccessDenied"), ["unknown"]),
        (refused("NotImplemented"), ["unsupported"]),
    ],
)
def test_the_acl_of_one_object(answer: t.Any, severities: list[str]) -> None:
    found = _bucket.object_acl(Answers(get_object_acl=answer), TARGET, "k", "shop")
    assert [one.severity for one in found] == severities


def test_deleted_backups_and_unfinished_uploads_are_listed() -> None:
    now = datetime.datetime.now(datetime.UTC)
    client = Answers(
        get_bucket_versioning={"Status": "Suspended"},
        list_object_versions={
            "DeleteMarkers": [
                {"Key": "a", "IsLatest": True, "LastModified": now},
                {"Key": "b", "IsLatest": False, "LastModified": now},
            ]
        },
        list_multipart_uploads={"Uploads": [{"Key": "c", "Initiated": now}]},
    )
    found = _bucket.facts(client, TARGET)
    assert (found.versioning.value, found.markers.value) == (False, {"a": now})
    assert found.uploads.value == [("c", now)]


def without_boto3(name: str, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The module as it is on a machine that lacks boto3."""
    for absent in [one for one in sys.modules if one.startswith("boto")]:
        monkeypatch.setitem(sys.modules, absent, None)
    package = _s3.__name__.rpartition(".")[0]
    path = str(_s3.__file__).replace("_s3.py", f"{name}.py")
    specification = importlib.util.spec_from_file_location(f"{package}._without", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, f"{package}._without", module)
    specification.loader.exec_module(module)
    return module


def test_a_machine_without_boto3_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    without_boto3("_refused", monkeypatch)
    module = without_boto3("_s3", monkeypatch)
    with pytest.raises(_refused.S3Error, match="install the package python3-boto3"):
        module.client(TARGET)


def test_an_older_boto3_is_not_told_of_checksums(monkeypatch: pytest.MonkeyPatch) -> None:
    old = {
        name: value
        for name, value in botocore.config.Config.OPTION_DEFAULTS.items()
        if "checksum" not in name
    }
    told: list[dict[str, t.Any]] = []
    config = types.SimpleNamespace(OPTION_DEFAULTS=old)

    class Config:
        OPTION_DEFAULTS = config.OPTION_DEFAULTS

        def __new__(cls, **settings: t.Any) -> t.Any:
            told.append(settings)

    monkeypatch.setattr(botocore.config, "Config", Config)
    _s3.client(TARGET)
    assert not [name for name in told[0] if "checksum" in name]


def test_a_refusal_without_an_answer_has_no_code() -> None:
    error = botocore.exceptions.EndpointConnectionError(endpoint_url="http://x")
    code, said = _refused.told(error)
    assert (code, said.startswith("Could not connect")) == ("", True)
