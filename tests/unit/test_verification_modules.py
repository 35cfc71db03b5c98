# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The modules on backups as Ansible runs them, on moto inside this process."""

from __future__ import annotations

import importlib
import json
import typing as t

import moto
import pytest
import yaml
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
from ansible_collections.slipway.stack.plugins.doc_fragments import _s3 as _fragment
from ansible_collections.slipway.stack.plugins.module_utils import _s3

MODULES = "ansible_collections.slipway.stack.plugins.modules"
KEYS = {"access_key": "AKIA1", "secret_key": "s3cr3t"}
DUMP = "shop/20261121T020000Z-0a1b2c3d.dump"


def run(name: str, capsys: pytest.CaptureFixture[str], **arguments: t.Any) -> dict[str, t.Any]:
    module = importlib.import_module(f"{MODULES}.{name}")
    with patch_module_args({**KEYS, **arguments}):
        with pytest.raises(SystemExit) as end:
            module.main()
        basic._ANSIBLE_ARGS = None  # a module reads its arguments once; the next test has others
    said: dict[str, t.Any] = json.loads(capsys.readouterr().out)
    return {**said, "rc": end.value.code or 0}


@pytest.fixture(autouse=True)
def bucket() -> t.Iterator[None]:
    with moto.mock_aws():
        client = _s3.client(_s3.target({"bucket": "backups", **KEYS}))
        client.create_bucket(Bucket="backups")
        client.put_object(Bucket="backups", Key=DUMP, Body=b"x" * 300)
        yield


def test_the_documented_options_of_s3_are_those_that_are_taken() -> None:
    documented = yaml.safe_load(_fragment.ModuleDocFragment.DOCUMENTATION)["options"]
    assert sorted(documented) == sorted(_s3.argument_spec())
    for name, taken in _s3.argument_spec().items():
        for key in ("type", "required", "default", "choices"):
            assert documented[name].get(key) == taken.get(key), (name, key)


def test_backups_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    said = run("s3_backup_info", capsys, bucket="backups")
    assert (said["rc"], said["changed"], said["newest"]) == (0, False, {})
    assert [one["key"] for one in said["backups"]] == [DUMP]


@pytest.mark.parametrize("module", ["s3_backup_info", "s3_backup_verify"])
def test_options_that_make_no_sense_fail_as_a_sentence(
    capsys: pytest.CaptureFixture[str], module: str
) -> None:
    said = run(module, capsys, bucket="")
    assert (said["rc"], said["failed"]) == (1, True)
    assert said["msg"].startswith("No bucket is named")


@pytest.mark.parametrize("fails", [True, False])
def test_what_is_not_verified_fails_unless_told_otherwise(
    capsys: pytest.CaptureFixture[str], fails: bool
) -> None:
    said = run("s3_backup_verify", capsys, bucket="backups", fail_when_unverified=fails)
    assert (said["rc"], said["verified"]) == (int(fails), False)
    (one,) = said["databases"]
    assert (one["database"], one["level"], one["verified"]) == ("shop", "none", False)
    if fails:
        assert said["msg"].startswith("Backups of shop do not reach the level kept: shop/2026")


def test_what_is_verified_succeeds(capsys: pytest.CaptureFixture[str]) -> None:
    options = {"level": "present", "require_record": False, "max_age": 10**9, "clock_skew": 10**9}
    said = run("s3_backup_verify", capsys, bucket="backups", **options)
    assert (said["rc"], said["changed"], said["verified"]) == (0, False, True)
