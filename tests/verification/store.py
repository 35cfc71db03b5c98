# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A bucket with backups as the backup program leaves them, and the verdict on them."""

from __future__ import annotations

import hashlib
import pathlib
import typing as t
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from ansible_collections.slipway.stack.plugins.module_utils import (
    _backups,
    _read_dump,
    _retention,
    _s3,
    _verify,
    _verify_request,
)

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@dataclass
class Store:
    """A bucket on a server; `defaults` are what verifications begin with."""

    client: t.Any
    target: _s3.Target
    installed: pathlib.Path
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    number: int = 0
    extra: dict[str, str] = field(default_factory=dict)

    def put(
        self,
        body: bytes,
        *,
        database: str = "shop",
        age: timedelta = HOUR,
        suffix: str = ".dump",
        tables: dict[str, int] | None = None,
        **changes: t.Any,
    ) -> str:
        """Store a dump with its record as it would be, but for the changes; return its key."""
        self.number += 1
        taken = (self.now - age).replace(microsecond=0)
        file = f"{taken.strftime(_backups.STAMP)}-{self.number:08x}{suffix}"
        record = _backups.Record(
            database=database,
            file=file,
            size=len(body),
            sha256=hashlib.sha256(body).hexdigest(),
            nonce=f"{self.number:08x}",
            started=taken.isoformat(),
            finished=taken.isoformat(),
            server_version="18.6",
            client_version="18.6",
            compression="gzip:3",
            tables=tables or {},
            verified=True,
        )
        key = self.target.key(database, file)
        self.write(key, body)
        self.write(_backups.record_name(key), replace(record, **changes).as_json().encode())
        return key

    def write(self, key: str, body: bytes, **more: t.Any) -> None:
        self.client.put_object(
            Bucket=self.target.bucket, Key=key, Body=body, **{**self.extra, **more}
        )

    def read(self, key: str) -> bytes:
        body: bytes = self.client.get_object(Bucket=self.target.bucket, Key=key)["Body"].read()
        return body

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.target.bucket, Key=key)

    def unrecord(self, key: str) -> None:
        self.delete(_backups.record_name(key))

    def verdicts(self, **options: t.Any) -> dict[str, _verify_request.Verdict]:
        client = options.pop("client", self.client)
        tools = _read_dump.Tools(
            decrypt=options.pop("decrypt", ()),
            installed=self.installed,
            scratch=options.pop("scratch", pathlib.Path("/var/tmp")),  # noqa: S108
        )
        # None of a month's backups is there unless a test puts it there.
        options.setdefault("ladder", _retention.Ladder())
        request = _verify_request.Request(self.target, tools=tools, **options)
        found = _verify.verify(client, request, self.now)
        return {verdict.database: verdict for verdict in found}

    def verdict(self, level: str = "readable", **options: t.Any) -> _verify_request.Verdict:
        (found,) = self.verdicts(level=level, **options).values()
        return found


def said(verdict: _verify_request.Verdict, severity: str = "critical") -> str:
    """What of this severity was found, in one text."""
    return "\n".join(
        f"{one.level}: {one.expected} / {one.found} / {one.remedy}"
        for one in verdict.findings
        if one.severity == severity
    )
