# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is well must not be refused: every format, layer and way of storing."""

from __future__ import annotations

import pathlib
import subprocess
import typing as t

import pytest

from .conftest import Dumps
from .database import SHOP_TABLES
from .store import DAY, HOUR, Store, said

MEGABYTE = 1024 * 1024


def piped(body: bytes, *command: str) -> bytes:
    return subprocess.run(command, input=body, stdout=subprocess.PIPE, check=True).stdout


@pytest.mark.parametrize("layer", ["", "gzip", "zstd", "lz4"])
@pytest.mark.parametrize("form", ["custom", "plain", "tar", "directory_tar"])
def test_every_format_under_every_compression_is_readable(
    store: Store, dumps: Dumps, form: str, layer: str
) -> None:
    body = getattr(dumps, form)
    suffix = {"custom": ".dump", "plain": ".sql", "tar": ".tar", "directory_tar": ".tar"}[form]
    if layer:
        body = piped(body, layer, "-1")
        suffix += {"gzip": ".gz", "zstd": ".zst", "lz4": ".lz4"}[layer]
    store.put(body, suffix=suffix, tables=SHOP_TABLES)
    verdict = store.verdict()
    assert (verdict.reached, verdict.findings) == ("readable", [])
    assert verdict.bytes_read == len(body)
