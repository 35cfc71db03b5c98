"""The pools of PgBouncer, with a console that keeps their state here."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _errors, _pools, _psql
from fakes import run_module


class Console:
    """SHOW DATABASES, PAUSE and RESUME as PgBouncer answers them."""

    def __init__(self, paused: str = "0") -> None:
        self.paused = paused
        self.said: list[str] = []
        self.ends: dict[str, int] = {}

    def __call__(self, command: t.Sequence[str], _text: str) -> tuple[int, str, str]:
        statement = command[-1]
        self.said.append(statement)
        code = self.ends.get(statement.split()[0], 0)
        if code == 0 and not statement.startswith("SHOW"):
            self.paused = "1" if statement.startswith("PAUSE") else "0"
        return code, f"name\tport\tpaused\nblog\t1\t0\nshop\t1\t{self.paused}\n", "no.\n"


def test_a_pool_is_paused_and_resumed_once() -> None:
    console = Console()
    pool = _pools.Console(6432, console)
    assert _pools.pause(pool, "shop", 30) == _pools.Done(True, True)
    assert _pools.pause(pool, "shop", 30) == _pools.Done(True, False)
    assert _pools.resume(pool, "shop") == _pools.Done(True, True)
    assert _pools.resume(pool, "shop") == _pools.Done(True, False)
    assert [said for said in console.said if "SHOW" not in said] == [
        'PAUSE "shop";',
        'RESUME "shop";',
    ]


def test_a_pool_that_is_not_there_needs_nothing() -> None:
    pool = _pools.Console(6432, Console())
    assert _pools.pause(pool, "wiki", 30) == _pools.Done(False, False)
    assert _pools.resume(pool, "wiki") == _pools.Done(False, False)


def test_a_transaction_that_does_not_end_lets_everybody_go_on() -> None:
    console = Console()
    console.ends = {"PAUSE": _pools.TIMED_OUT}
    with pytest.raises(_errors.StackError, match=r"after 30 s, so its pool was resumed: find it"):
        _pools.pause(_pools.Console(6432, console), "shop", 30)
    assert console.said[-1] == 'RESUME "shop";'


@pytest.mark.parametrize(
    ("word", "paused", "said"),
    [
        ("PAUSE", "0", "cannot pause shop: no"),
        ("RESUME", "1", "cannot resume shop: no"),
        ("SHOW", "0", "the console of PgBouncer does not answer: no"),
    ],
)
def test_what_the_console_refuses_is_a_sentence(word: str, paused: str, said: str) -> None:
    console = Console(paused)
    console.ends = {word: 1}
    pool = _pools.Console(6432, console)
    with pytest.raises(_errors.StackError, match=said):
        _pools.resume(pool, "shop") if paused == "1" else _pools.pause(pool, "shop", 30)


@pytest.mark.parametrize("state", ["paused", "resumed"])
def test_the_module_pauses_and_resumes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    console = Console("0" if state == "paused" else "1")
    monkeypatch.setattr(_psql, "run", console)
    asked = {"database": "shop", "state": state}
    assert run_module("pgbouncer_pool", capsys, True, **asked)["changed"]
    assert run_module("pgbouncer_pool", capsys, **asked)["changed"]
    console.ends = {"SHOW": 1}
    assert "does not answer" in run_module("pgbouncer_pool", capsys, **asked)["msg"]
