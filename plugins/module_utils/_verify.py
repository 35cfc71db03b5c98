# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Judges the dumps of databases in an object store by reading them, several at a time."""

from __future__ import annotations

import concurrent.futures
import typing as t
from dataclasses import replace
from datetime import datetime

from . import (
    _bucket,
    _errors,
    _findings,
    _retention,
    _s3,
    _verification,
    _verify_dumps,
    _verify_repository,
)
from ._findings import Finding
from ._verify_request import Request, Verdict


def verify(s3: _s3.Client, request: Request, now: datetime) -> list[Verdict]:
    """A verdict on each database asked for, or on each that has a dump."""
    where = request.target
    try:
        objects = [
            _verification.Stored(item.key, item.size, item.modified, item.etag)
            for item in _s3.list_objects(s3, where)
        ]
    except _errors.StackError as error:
        return [_unlisted(name, where, error) for name in request.databases or [where.bucket]]
    engine = _verify_repository if request.engine == "pgbackrest" else _verify_dumps
    found = _grouped(request, objects)
    bucket = _bucket.facts(s3, where)
    common = _retention.bucket_findings(
        bucket, request.ladder, request.required, where.folder(), now
    )
    names = list(request.databases or sorted(found)) or [where.bucket]

    def judge(name: str) -> Verdict:
        return engine.judge(s3, request, name, found.get(name, []), bucket, now)

    with concurrent.futures.ThreadPoolExecutor(request.parallel) as workers:
        verdicts = list(workers.map(judge, names))
    return [
        replace(_finished(verdict, common, request.level), bucket=where.bucket)
        for verdict in verdicts
    ]


def _unlisted(name: str, where: _s3.Target, error: Exception) -> Verdict:
    remedy = "mend what it says, then verify again"
    finding = Finding(
        *("present", "unknown", where.url(where.folder()), "a listing", str(error), remedy, name)
    )
    return Verdict(name, None, [finding], bucket=where.bucket)


def _finished(verdict: Verdict, common: list[Finding], level: str) -> Verdict:
    """Only the levels that were asked for count, those of the bucket included."""
    asked = _findings.wanted(level)
    findings = [one for one in [*verdict.findings, *common] if one.level in asked]
    return replace(verdict, findings=findings, reached=_findings.reached(findings, level))


def _grouped(request: Request, objects: list[_verification.Stored]) -> t.Mapping[str, list[t.Any]]:
    """What belongs to each database: its dumps, or the objects of its stanza."""
    if request.engine == "dump":
        return _verification.group(objects, request.target.key())
    found: dict[str, list[t.Any]] = {}
    for item in objects:
        kind, _slash, rest = item.key[len(request.target.folder()) :].partition("/")
        if kind in ("archive", "backup"):
            found.setdefault(rest.partition("/")[0], []).append(item)
    return found
