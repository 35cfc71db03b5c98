"""The modules as Ansible runs them, and what their options accept."""

from __future__ import annotations

import importlib
import typing as t

import pytest
import yaml
from ansible_collections.slipway.stack.plugins.doc_fragments import _health as fragment
from ansible_collections.slipway.stack.plugins.module_utils import (
    _health_http,
    _health_kinds,
    _health_module,
    _health_tls,
    _health_websocket,
)
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError
from fakes import MODULES, run_module
from health_fakes import Fake, answer, says


def run(kind: str, capsys: pytest.CaptureFixture[str], /, **arguments: t.Any) -> dict[str, t.Any]:
    """A check runs in check mode as ever."""
    return run_module(kind, capsys, True, **arguments)


@pytest.fixture
def port() -> t.Iterator[int]:
    fake = Fake(says(answer(b'{"database": "connected"}')))
    yield fake.port
    fake.close()


def test_a_healthy_check_succeeds_also_in_check_mode(
    capsys: pytest.CaptureFixture[str], port: int
) -> None:
    url = f"http://127.0.0.1:{port}/"
    said = run("http_health", capsys, name="shop", url=url, components=["database"])
    assert (said["rc"], said["changed"], said["healthy"], said["state"]) == (0, False, True, "ok")
    assert [row["check"] for row in said["findings"]] == ["http shop", "http shop latency"]


@pytest.mark.parametrize("fails", [True, False])
def test_an_unhealthy_check_fails_unless_told_otherwise(
    capsys: pytest.CaptureFixture[str], port: int, fails: bool
) -> None:
    url = f"http://127.0.0.1:{port}/"
    said = run("http_health", capsys, name="shop", url=url, status=[204], fail_when_unhealthy=fails)
    assert (said["rc"], said["healthy"], said["state"]) == (int(fails), False, "critical")
    if fails:
        assert said["msg"].startswith("http shop: 200")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("tls_health", {"host": "127.0.0.1"}),
        ("websocket_health", {"url": "ws://127.0.0.1:{port}/"}),
    ],
)
def test_each_module_is_usable_alone(
    capsys: pytest.CaptureFixture[str], port: int, name: str, arguments: dict[str, t.Any]
) -> None:
    given = {key: value.format(port=port) for key, value in arguments.items()}
    if name == "tls_health":
        given["port"] = port
    said = run(name, capsys, name="x", timeout=3, **given)
    assert (said["rc"], said["state"]) == (1, "critical")


def test_all_checks_run_in_one_execution(capsys: pytest.CaptureFixture[str], port: int) -> None:
    url = f"http://127.0.0.1:{port}/"
    checks = [
        {"kind": "http", "name": "a", "url": url, "samples": "1"},
        {"kind": "http", "name": "b", "url": url, "status": [201], "timeout": 5},
    ]
    said = run("stack_health", capsys, checks=checks, fail_when_unhealthy=False)
    assert [(row["check"], row["state"]) for row in said["findings"]] == [
        ("http a", "ok"),
        ("http a latency", "ok"),
        ("http b", "critical"),
        ("http b latency", "ok"),
    ]


def test_a_wrong_check_is_refused_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    said = run("stack_health", capsys, checks=[{"kind": "http", "name": "a"}])
    assert (said["rc"], said["msg"]) == (1, "checks[0] (http a): missing required arguments: url")


class Secret:
    KIND = "secret"
    OPTIONS: t.ClassVar[dict[str, t.Any]] = {
        "user": {"type": "str"},
        "password": {"type": "str", "no_log": True},
    }


def test_passwords_come_by_user_and_a_check_of_its_own_wins() -> None:
    kinds: t.Any = {"secret": Secret}
    given = [
        {"kind": "secret", "name": "a", "user": "ada"},
        {"kind": "secret", "name": "b", "user": "ada", "password": "own"},
        {"kind": "secret", "name": "c"},
        {"kind": "secret", "name": "d", "user": "eve"},
    ]
    found = _health_module.accept(given, {"ada": "hers"}, kinds)
    # One that is missing is not an empty one.
    assert [check["password"] for _kind, check in found] == ["hers", "own", None, None]


@pytest.mark.parametrize(
    ("check", "sentence"),
    [
        ({"kind": "htp", "name": "a"}, "checks[0].kind is 'htp'; use one of backup, "),
        ({"name": "a"}, "checks[0].kind is ''; use one of "),
        (
            {"kind": "tls", "name": "a", "host": "x", "port": "https"},
            "checks[0] (tls a): ",
        ),
        (
            {"kind": "tls", "name": "a", "host": "x", "warning": 1},
            "checks[0] (tls a): warning. Supported parameters include",
        ),
    ],
)
def test_options_are_those_of_the_kind(check: dict[str, t.Any], sentence: str) -> None:
    with pytest.raises(StackError) as refusal:
        _health_module.accept([check], {}, _health_kinds.KINDS)
    assert str(refusal.value).startswith(sentence)


FRAGMENTS = {
    "_health": fragment.ModuleDocFragment.DOCUMENTATION,
    "_health.check": fragment.ModuleDocFragment.CHECK,
    "_health.request": fragment.ModuleDocFragment.REQUEST,
}


@pytest.mark.parametrize("kind", [_health_http, _health_tls, _health_websocket])
def test_documentation_tells_every_option_its_type_and_default(kind: t.Any) -> None:
    text = importlib.import_module(f"{MODULES}.{kind.KIND}_health").DOCUMENTATION
    documented = yaml.safe_load(text)
    options = dict(documented["options"])
    for name in documented["extends_documentation_fragment"]:
        options |= yaml.safe_load(FRAGMENTS[name.removeprefix("slipway.stack.")])["options"]
    specified = {**_health_module.OPTIONS, **_health_module.NAME, **kind.OPTIONS}
    assert set(options) == set(specified)
    for name, option in specified.items():
        for key in ("type", "elements", "default", "choices", "required"):
            assert options[name].get(key) == option.get(key), (name, key)
