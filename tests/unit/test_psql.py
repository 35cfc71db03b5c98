"""How psql is called, and what becomes of what it says."""

from __future__ import annotations

import json
import os
import typing as t

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _errors, _postgres, _psql


class Fake:
    """Answers in the given order and remembers what it was asked."""

    def __init__(self, *answers: tuple[int, str, str]) -> None:
        self.answers = list(answers)
        self.commands: list[list[str]] = []
        self.inputs: list[str] = []

    def __call__(self, command: t.Sequence[str], sql: str) -> tuple[int, str, str]:
        self.commands.append(list(command))
        self.inputs.append(sql)
        return self.answers.pop(0)


def psql(fake: Fake) -> _psql.Psql:
    return _psql.Psql(port=5433, run=fake, sleep=lambda _: None)


def test_sql_goes_in_by_stdin_alone() -> None:
    fake = Fake((0, "answer", ""))
    assert psql(fake).ask("ALTER ROLE x PASSWORD 'canary'") == "answer"
    assert "canary" not in " ".join(fake.commands[0])
    assert "-p 5433" in " ".join(fake.commands[0])


def test_the_session_is_silent_in_every_log() -> None:
    assert _psql.SILENCE["log_statement"] == "none"
    assert _psql.SILENCE["log_min_duration_statement"] == "-1"
    assert _psql.SILENCE["log_min_error_statement"] == "panic"


def test_a_server_that_is_starting_is_waited_for() -> None:
    fake = Fake((2, "", "starting up"), (2, "", "starting up"), (0, "1", ""))
    assert psql(fake).ask("SELECT 1") == "1"


def test_a_server_that_never_comes_is_a_sentence() -> None:
    fake = Fake(*[(2, "", "psql: error: no server\n\tIs it running?")] * 3)
    with pytest.raises(_errors.StackError, match=r"^no server Is it running\?$"):
        psql(fake).ask("SELECT 1", attempts=3)


def test_a_server_is_reachable_or_not() -> None:
    assert psql(Fake((0, "1", ""))).reachable()
    assert not psql(Fake((2, "", "no server"))).reachable()


@pytest.mark.parametrize("root", [True, False])
def test_only_root_has_to_become_the_servers_user(
    monkeypatch: pytest.MonkeyPatch, root: bool
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)
    fake = Fake((0, "", ""))
    psql(fake).ask("SELECT 1")
    start = ["setpriv", "--reuid=postgres", "--init-groups", "--regid=postgres", "--", "psql"]
    assert fake.commands[0][:6] == start if root else fake.commands[0][0] == "psql"


def test_a_failed_step_is_named_and_its_verifier_hidden() -> None:
    said = "psql:<stdin>:4: ERROR:  bad SCRAM-SHA-256$4096:abc$def:ghi here"
    fake = Fake((3, "0\n1\n", said))
    steps = [_postgres.Step("first", "SELECT 1"), _postgres.Step("second", "SELECT 2")]
    with pytest.raises(_errors.StackError) as refusal:
        _psql.apply(psql(fake), steps)
    assert str(refusal.value) == (
        "PostgreSQL refused at 'second': ERROR:  bad SCRAM-SHA-256$... here"
    )


def test_steps_are_not_repeated_when_the_connection_breaks() -> None:
    fake = Fake((2, "0\n", "server closed the connection"))
    with pytest.raises(_errors.StackError, match="refused at 'first'"):
        _psql.apply(psql(fake), [_postgres.Step("first", "SELECT 1")])


def test_reading_takes_two_executions_and_skips_what_is_not_there() -> None:
    cluster = {
        "version": 170000,
        "roles": {},
        "databases": {"postgres": {}, "shop": {}},
        "pending_restart": ["shared_buffers"],
        "hba_errors": [],
    }
    answers = [json.dumps({"name": name}) for name in ("postgres", "shop")]
    fake = Fake((0, json.dumps(cluster), ""), (0, "\n".join(answers), ""))
    databases = tuple(_postgres.Database(name, name, "secret") for name in ("shop", "blog"))
    found = _psql.read(psql(fake), _postgres.Declared(databases))
    assert sorted(found.contents) == ["postgres", "shop"]
    assert found.pending_restart == ("shared_buffers",)
    assert "blog" not in fake.inputs[1]


def test_what_is_no_text_is_no_error_of_its_own() -> None:
    assert _psql.run(["printf", r"a\377"], "") == (0, "a\ufffd", "")
