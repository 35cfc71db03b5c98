"""The S3 library on moto inside this process, and on fakes for what a server does once a year."""

from __future__ import annotations

import hashlib
import io
import pathlib
import typing as t

import boto3
import botocore.exceptions
import botocore.response
import moto
import pytest
import s3transfer.manager
import urllib3.exceptions
from ansible_collections.slipway.stack.plugins.module_utils import _refused, _s3

TARGET = _s3.Target(bucket="backups", prefix="night", access_key="AKIA1", secret_key="s3cr3t")


@pytest.fixture
def s3() -> t.Iterator[t.Any]:
    with moto.mock_aws():
        client = _s3.client(TARGET)
        client.create_bucket(Bucket="backups")
        yield client


class Breaking:
    """A body that breaks off after some bytes."""

    def __init__(self, data: bytes, error: Exception | None, *more: bytes) -> None:
        self.data, self.error, self.more = data, error, more

    def iter_chunks(self, _size: int) -> t.Iterator[bytes]:
        yield self.data
        yield from self.more
        if self.error:
            raise self.error


class FakeClient:
    def __init__(self, *answers: Breaking | Exception) -> None:
        self.answers = list(answers)
        self.ranges = True
        self.requests: list[dict[str, t.Any]] = []

    def get_object(self, **request: t.Any) -> dict[str, t.Any]:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        # What tells an answer to a range from one that begins again.
        partial = {"ContentRange": "bytes 3-5/6"} if "Range" in request and self.ranges else {}
        return {"ETag": '"e1"', "Body": answer, **partial}


BROKEN = [
    botocore.exceptions.IncompleteReadError(actual_bytes=3, expected_bytes=6),
    botocore.exceptions.ReadTimeoutError(endpoint_url="https://s3"),
    botocore.exceptions.ResponseStreamingError(error="reset"),
    urllib3.exceptions.SSLError("bad record"),
    ConnectionResetError("reset"),
]


def no_wait(_seconds: float) -> None:
    """Instead of time.sleep."""


def refused(code: str, message: str = "said the server") -> Exception:
    answer: t.Any = {"Error": {"Code": code, "Message": message}}
    error: Exception = botocore.exceptions.ClientError(answer, "Get")
    return error


@pytest.mark.parametrize("size", [0, 1, _s3.PART_BYTES + 1])
def test_what_is_uploaded_comes_back(s3: t.Any, tmp_path: pathlib.Path, size: int) -> None:
    data = b"x" * size
    path = tmp_path / "dump"
    path.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    _s3.upload(s3, TARGET, path, TARGET.key("shop", "a.dump"), digest)
    assert _s3.read_sha256(s3, TARGET, "night/shop/a.dump") == (digest, size)
    head = s3.head_object(Bucket="backups", Key="night/shop/a.dump")
    assert head["Metadata"] == {"sha256": digest}
    assert ("-" in head["ETag"]) == (size > _s3.PART_BYTES)


def test_storage_class_and_stored_checksum_go_along(s3: t.Any, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "dump"
    path.write_bytes(b"abc")
    where = _s3.Target(bucket="backups", storage_class="STANDARD_IA", stored_checksum=True)
    _s3.upload(s3, where, path, "a", "00")
    head = s3.head_object(Bucket="backups", Key="a", ChecksumMode="ENABLED")
    assert head["StorageClass"] == "STANDARD_IA"
    assert head["ChecksumSHA256"]


def test_nothing_but_the_prefix_is_listed_over_all_pages(
    s3: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "4")
    keys = [f"night/shop/{number:04}" for number in range(9)]
    for key in [*keys, "nightly/other", "day/other"]:
        s3.put_object(Bucket="backups", Key=key, Body=b"12")
    assert len(s3.list_objects_v2(Bucket="backups")["Contents"]) == 4
    found = list(_s3.list_objects(s3, TARGET))
    assert [item.key for item in found] == keys
    assert {item.size for item in found} == {2}
    assert len(list(_s3.list_objects(s3, _s3.Target(bucket="backups")))) == 11


@pytest.mark.parametrize("error", BROKEN, ids=lambda error: type(error).__name__)
def test_a_connection_that_breaks_is_resumed_on_the_same_object(error: Exception) -> None:
    fake = FakeClient(Breaking(b"abc", error), Breaking(b"def", None))
    waits: list[float] = []
    assert b"".join(_s3.read(fake, TARGET, "k", waits.append)) == b"abcdef"
    assert [0 <= wait <= 0.5 for wait in waits] == [True]
    assert fake.requests[1] == {
        "Bucket": "backups",
        "Key": "k",
        "Range": "bytes=3-",
        "IfMatch": '"e1"',
    }


def test_a_connection_that_breaks_at_once_is_begun_again_whole() -> None:
    fake = FakeClient(Breaking(b"", BROKEN[0]), Breaking(b"abc", None))
    assert b"".join(_s3.read(fake, TARGET, "k", no_wait)) == b"abc"
    assert fake.requests[1] == {"Bucket": "backups", "Key": "k"}


@pytest.mark.parametrize("error", BROKEN, ids=lambda error: type(error).__name__)
def test_a_connection_that_always_breaks_is_given_up(error: Exception) -> None:
    fake = FakeClient(*[Breaking(b"a", error) for _attempt in range(9)])
    with pytest.raises(_refused.S3Error, match=r"^Cannot read s3://backups/k: "):
        list(_s3.read(fake, TARGET, "k", no_wait))
    assert len(fake.requests) == _s3.READ_ATTEMPTS


@pytest.mark.parametrize("pieces", [(b"abcdef",), (b"ab", b"cd", b"ef"), (b"abc", b"def")])
def test_a_server_that_begins_again_is_not_read_twice(pieces: tuple[bytes, ...]) -> None:
    fake = FakeClient(Breaking(b"abc", BROKEN[0]), Breaking(pieces[0], None, *pieces[1:]))
    fake.ranges = False
    assert b"".join(_s3.read(fake, TARGET, "k", no_wait)) == b"abcdef"


def test_connections_that_break_after_long_stretches_are_resumed_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_s3, "FORGIVEN_BYTES", 2)
    fake = FakeClient(*[Breaking(b"ab", BROKEN[0]) for _attempt in range(20)], Breaking(b"", None))
    assert b"".join(_s3.read(fake, TARGET, "k", no_wait)) == b"ab" * 20


def test_an_object_replaced_while_it_is_read_is_an_error() -> None:
    fake = FakeClient(Breaking(b"abc", BROKEN[0]), refused("PreconditionFailed", "At least one."))
    with pytest.raises(_refused.S3Error, match=r"PreconditionFailed: At least one\.$"):
        list(_s3.read(fake, TARGET, "k"))


@pytest.mark.parametrize("code", sorted(_refused.REMEDIES))
def test_a_refusal_names_object_code_and_remedy_and_is_not_repeated(code: str) -> None:
    fake = FakeClient(refused(code))
    with pytest.raises(_refused.S3Error) as caught:
        _s3.read_text(fake, TARGET, "k")
    assert str(caught.value) == f"Cannot read s3://backups/k: {code}: {_refused.REMEDIES[code]}."
    assert len(fake.requests) == 1


@pytest.mark.parametrize("forgotten", [True, False])
def test_an_upload_into_no_bucket_says_so(
    s3: t.Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, forgotten: bool
) -> None:
    if not forgotten:  # as where a slow thread still knows the transfer when it is left
        controller = s3transfer.manager.TransferCoordinatorController
        monkeypatch.setattr(controller, "remove_transfer_coordinator", lambda *_: None)
    path = tmp_path / "dump"
    path.write_bytes(b"abc")
    nowhere = _s3.Target(bucket="other")
    with pytest.raises(
        _refused.S3Error, match=r"^Cannot upload s3://other/k: NoSuchBucket: the bucket"
    ):
        _s3.upload(s3, nowhere, path, "k", "00")


def test_an_upload_of_no_file_says_so(s3: t.Any, tmp_path: pathlib.Path) -> None:
    with pytest.raises(_refused.S3Error, match="No such file"):
        _s3.upload(s3, TARGET, tmp_path / "absent", "k", "00")


@pytest.mark.parametrize(("size", "refused"), [(10, False), (11, True)])
def test_what_is_larger_than_its_kind_is_refused(size: int, refused: bool) -> None:
    fake = FakeClient(Breaking(b"x", None, b"x" * (size - 1)))
    if not refused:
        assert _s3.read_whole(fake, TARGET, "k", limit=10) == b"x" * size
        return
    with pytest.raises(_refused.S3Error, match="is larger than 10 bytes"):
        _s3.read_whole(fake, TARGET, "k", limit=10)


def test_a_record_that_is_no_text_is_refused() -> None:
    with pytest.raises(_refused.S3Error, match="is not text"):
        _s3.read_text(FakeClient(Breaking(b"\xff", None)), TARGET, "k")


@pytest.mark.parametrize(
    ("params", "complaint"),
    [
        ({}, "No bucket is named"),
        ({"bucket": ""}, "No bucket is named"),
        ({"bucket": "b", "access_key": "a"}, "go together"),
        ({"bucket": "b", "secret_key": "a"}, "go together"),
    ],
)
def test_half_a_target_is_refused(params: dict[str, str], complaint: str) -> None:
    with pytest.raises(_refused.S3Error, match=complaint):
        _s3.target(params)


def test_a_target_takes_what_it_knows_and_shows_no_key() -> None:
    where = _s3.target({"bucket": "b", "databases": [], "access_key": "AKIA1", "secret_key": "s"})
    assert where.access_key == "AKIA1"
    assert "AKIA1" not in repr(where)
    assert "secret" not in repr(where)


@pytest.mark.parametrize(
    ("prefix", "key"), [("", "shop/a"), ("night", "night/shop/a"), ("/night/x/", "night/x/shop/a")]
)
def test_keys_are_joined_with_single_slashes(prefix: str, key: str) -> None:
    assert _s3.Target(bucket="b", prefix=prefix).key("shop", "a") == key


def test_the_client_sends_no_checksum_trailers_and_retries_with_jitter() -> None:
    config = _s3.client(TARGET).meta.config
    assert config.request_checksum_calculation == "when_required"
    assert config.retries["mode"] == "standard"
    assert config.s3["addressing_style"] == "auto"


def test_path_style_and_endpoint_are_honoured() -> None:
    where = _s3.Target(bucket="b", endpoint_url="https://s3.test", addressing_style="path")
    client = _s3.client(where)
    assert client.meta.endpoint_url == "https://s3.test"
    assert client.meta.config.s3["addressing_style"] == "path"


@pytest.mark.parametrize("url", ["s3.test", "https://"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(_refused.S3Error, match="Cannot connect to"):
        _s3.client(_s3.Target(bucket="b", endpoint_url=url))


def test_real_bodies_can_be_read_in_pieces() -> None:
    """Guards the fake: botocore's own body has the method that the fake imitates."""
    body = botocore.response.StreamingBody(io.BytesIO(b"abcdef"), 6)
    assert list(body.iter_chunks(4)) == [b"abcd", b"ef"]
    assert boto3.__version__
