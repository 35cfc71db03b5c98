# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an object store refuses, as one sentence with its remedy."""

from __future__ import annotations

import contextlib
import typing as t

from . import _errors

try:
    import botocore.exceptions
    import urllib3.exceptions
except ImportError:  # reported where a client is made
    pass

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


def kinds() -> tuple[type[Exception], ...]:
    """What boto3 raises when a request did not succeed, for whoever can do without it."""
    return (
        botocore.exceptions.ClientError,
        botocore.exceptions.BotoCoreError,
        urllib3.exceptions.HTTPError,
    )


def told(error: Exception) -> tuple[str, str]:
    """The code of such a refusal, empty where no server said one, and a sentence."""
    if isinstance(error, botocore.exceptions.ClientError):
        return str(error.response.get("Error", {}).get("Code", "")), _reason(error)
    return "", str(error).rstrip(".")


@contextlib.contextmanager
def reported(action: str, url: str) -> t.Iterator[None]:
    """Turn what boto3 raises into one sentence; request contents never get into it."""
    try:
        yield
    except botocore.exceptions.ClientError as error:
        raise S3Error(f"Cannot {action} {url}: {_reason(error)}.") from error
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
