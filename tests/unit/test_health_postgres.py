"""PostgreSQL and PgBouncer are judged by their own figures, taken through a psql that is given."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import (
    _health,
    _health_limits,
    _health_pgbouncer,
    _health_postgres,
    _health_psql,
)


def defaults(kind: t.Any, **given: t.Any) -> dict[str, t.Any]:
    values = {name: option.get("default") for name, option in kind.OPTIONS.items()}
    return {"label": "x", "name": "x", **values, **given}


def states(found: list[_health.Finding]) -> dict[str, str]:
    return {row.check.removeprefix("x").strip(): row.state for row in found}


def database(name: str, **given: t.Any) -> dict[str, t.Any]:
    return {"name": name, "open": True, "read_only": False, **given}


def figures(**given: t.Any) -> dict[str, t.Any]:
    archiver = {"failed_count": 0, "last_failed_wal": None, "failing": False}
    return {
        **{"places": 100, "used": 10, "transaction_age": 5, "multixact_age": 1},
        **{"recovery": False, "archive_mode": "off", "archiver": archiver, "slots": []},
        **{"archive_command": "/usr/bin/archive %p", "archive_library": "", "read_only": False},
        **{"databases": [database("shop")], "roles": [], "archive_timeout": 60},
        **{"checksums": True, "damaged": []},
        **given,
    }


def more(**given: t.Any) -> dict[str, t.Any]:
    waiting = {"files": 0, "seconds": None}
    return {"oldest": None, "waiting": waiting, "replicas": [], "standby": None, **given}


def examined(
    all_see: dict[str, t.Any], monitor: dict[str, t.Any] | None = None, **options: t.Any
) -> list[_health.Finding]:
    lines = ["1", json.dumps(all_see), *([json.dumps(monitor)] if monitor else [])]
    return _health_postgres.probe(
        defaults(_health_postgres, **options), _health.Deadline(5), lambda *_: lines
    )


def test_a_quiet_server_is_well() -> None:
    assert set(states(examined(figures(), more())).values()) == {"ok"}


@pytest.mark.parametrize(
    ("what", "all_see", "monitor", "state"),
    [
        ("connections", {"used": 80}, {}, "ok"),
        ("connections", {"used": 81}, {}, "warning"),
        ("connections", {"used": 96}, {}, "critical"),
        ("connections", {"used": 1, "places": 0}, {}, "critical"),
        ("oldest transaction", {}, {"oldest": 300}, "ok"),
        ("oldest transaction", {}, {"oldest": 301}, "warning"),
        ("oldest transaction", {}, {"oldest": 3601}, "critical"),
        ("wraparound", {"transaction_age": 500_000_001}, {}, "warning"),
        ("wraparound", {"multixact_age": 1_500_000_001}, {}, "critical"),
        ("pages", {"checksums": False}, {}, "warning"),
        ("pages", {"damaged": [{"name": "shop", "pages": 1}]}, {}, "critical"),
        ("archiver", {"archive_mode": "on"}, {"waiting": {"files": 1, "seconds": 151}}, "warning"),
        ("archiver", {"archive_mode": "on"}, {"waiting": {"files": 9, "seconds": 301}}, "critical"),
    ],
)
def test_figures_are_judged(
    what: str, all_see: dict[str, t.Any], monitor: dict[str, t.Any], state: str
) -> None:
    found = states(examined(figures(**all_see), more(**monitor)))
    assert found[what] == state
    assert {name for name, each in found.items() if each != "ok"} <= {what}


def test_a_failing_archiver_is_a_warning_at_once_and_critical_when_it_lags() -> None:
    said = {"failed_count": 3, "last_failed_wal": "00A", "failing": True}
    all_see = figures(archive_mode="on", archiver=said)
    (row,) = [row for row in examined(all_see, more()) if row.check == "x archiver"]
    assert (row.state, "fails at 00A (3 times)" in row.value) == ("warning", True)
    late = more(waiting={"files": 2, "seconds": 400})
    assert states(examined(all_see, late))["archiver"] == "critical"


def test_archiving_that_is_off_is_critical_only_where_it_is_required() -> None:
    assert states(examined(figures(), more()))["archiver"] == "ok"
    assert states(examined(figures(), more(), archive_required=True))["archiver"] == "critical"


@pytest.mark.parametrize(
    ("seconds", "state"), [(0, "warning"), (60, "ok"), (300, "ok"), (301, "warning")]
)
def test_what_a_quiet_server_wrote_must_be_archived_as_well(seconds: int, state: str) -> None:
    all_see = figures(archive_mode="on", archive_timeout=seconds)
    assert states(examined(all_see, more()))["archiver"] == "ok"
    assert states(examined(all_see, more(), archive_required=True))["archiver"] == state
    late = more(waiting={"files": 2, "seconds": 400})
    assert states(examined(all_see, late, archive_required=True))["archiver"] == "critical"


def test_damaged_pages_are_told_by_database() -> None:
    damaged = [{"name": "shop", "pages": 3}, {"name": "blog", "pages": 1}]
    (row,) = [row for row in examined(figures(damaged=damaged), more()) if "pages" in row.check]
    assert row.value == "damage was met 3 times in shop, 1 times in blog"


@pytest.mark.parametrize("command", ["/bin/true", "true %p", "/usr/bin/true", ":", "exit 0", ""])
def test_an_archive_that_keeps_nothing_is_none(command: str) -> None:
    all_see = figures(archive_mode="on", archive_command=command)
    assert states(examined(all_see, more()))["archiver"] == "ok"
    assert states(examined(all_see, more(), archive_required=True))["archiver"] == "critical"
    all_see["archive_library"] = "basic_archive"
    assert states(examined(all_see, more(), archive_required=True))["archiver"] == "ok"
    all_see = figures(archive_mode="on", archive_command="truename %p")
    assert states(examined(all_see, more(), archive_required=True))["archiver"] == "ok"


@pytest.mark.parametrize(
    ("what", "all_see", "options", "state", "value"),
    [
        ("role", {}, {"role": "primary"}, "ok", "primary"),
        ("role", {"recovery": True}, {"role": "replica"}, "ok", "replica"),
        ("role", {"recovery": True}, {"role": "primary"}, "critical", "replica"),
        ("role", {}, {"role": "replica"}, "critical", "primary"),
        ("writes", {}, {}, "ok", "allowed"),
        ("writes", {"read_only": True}, {}, "critical",
         "default_transaction_read_only is on for the server"),
        ("writes", {"databases": [database("shop", read_only=True)]}, {"databases": ["shop"]},
         "critical", "default_transaction_read_only is on for shop"),
        ("writes", {"databases": [database("old", read_only=True)]}, {}, "ok", "allowed"),
        ("databases", {}, {"databases": ["shop"]}, "ok", "open: shop"),
        ("databases", {"databases": [database("shop", open=False)]},
         {"databases": ["shop", "blog"]}, "critical", "blog is missing; shop is closed"),
        ("role limits", {"roles": [{"name": "shop", "limit": 20, "used": 19}]}, {}, "ok",
         "shop 19 of 20 used"),
        ("role limits", {"roles": [{"name": "shop", "limit": 50, "used": 49}]}, {}, "warning",
         "shop 49 of 50 used"),
        ("role limits", {"roles": [{"name": "shop", "limit": 5, "used": 5},
                                   {"name": "blog", "limit": 5, "used": 1}]}, {}, "critical",
         "shop 5 of 5 used"),
    ],
)  # fmt: skip
def test_what_an_application_is_refused_is_told(
    what: str, all_see: dict[str, t.Any], options: dict[str, t.Any], state: str, value: str
) -> None:
    found = {row.check: row for row in examined(figures(**all_see), more(), **options)}
    row = found[f"x {what}"]
    assert (row.state, row.value) == (state, value)
    assert {row.check for row in found.values() if row.state != "ok"} <= {f"x {what}"}


def test_what_is_not_declared_is_not_examined() -> None:
    found = states(examined(figures(), more()))
    assert {"role", "databases", "role limits"}.isdisjoint(found)


def test_who_is_not_a_monitor_learns_less_and_how_to_learn_it() -> None:
    found = examined(figures())
    unknown = [row for row in found if row.state == "unknown"]
    names = {"x oldest transaction", "x archiver", "x replication"}
    assert {row.check for row in unknown} == names
    assert all("pg_monitor" in row.advice for row in unknown)


def replica(**given: t.Any) -> dict[str, t.Any]:
    return {"name": "b", "state": "streaming", "seconds": None, "bytes": 0, **given}


@pytest.mark.parametrize(
    ("row", "state"),
    [
        (replica(), "ok"),
        (replica(seconds=31), "warning"),
        (replica(seconds=301), "critical"),
        (replica(bytes=65 * 2**20), "warning"),
        (replica(bytes=1025 * 2**20), "critical"),
        (replica(state="catchup"), "warning"),
        (replica(bytes=None), "unknown"),
    ],
)
def test_a_replica_is_judged_by_time_and_bytes(row: dict[str, t.Any], state: str) -> None:
    assert states(examined(figures(), more(replicas=[row])))["replica b"] == state


def test_replicas_that_are_missing_are_critical() -> None:
    assert states(examined(figures(), more(), replicas=1))["replicas"] == "critical"
    found = examined(figures(), more(replicas=[replica()]), replicas=1)
    assert states(found)["replicas"] == "ok"
    late = examined(figures(), more(replicas=[replica(state="catchup")]), replicas=1)
    assert states(late)["replicas"] == "critical"


@pytest.mark.parametrize(
    ("row", "state"),
    [
        ({"receiving": True, "seconds": 0}, "ok"),
        ({"receiving": True, "seconds": 31}, "warning"),
        ({"receiving": False, "seconds": 1}, "warning"),
        ({"receiving": False, "seconds": 301}, "critical"),
        ({"receiving": False, "seconds": None}, "unknown"),
    ],
)
def test_a_standby_tells_how_far_it_is_behind(row: dict[str, t.Any], state: str) -> None:
    assert states(examined(figures(recovery=True), more(standby=row)))["replication"] == state


@pytest.mark.parametrize(
    ("slot", "state"),
    [
        ({"active": True, "bytes": 0, "status": "reserved"}, "ok"),
        ({"active": False, "bytes": None, "status": None}, "warning"),
        ({"active": True, "bytes": 1025 * 2**20, "status": "extended"}, "warning"),
        ({"active": False, "bytes": 6000 * 2**20, "status": "extended"}, "critical"),
        ({"active": False, "bytes": None, "status": "lost"}, "critical"),
    ],
)
def test_slots_hold_wal(slot: dict[str, t.Any], state: str) -> None:
    found = examined(figures(slots=[{"name": "s", **slot}]), more())
    assert states(found)["slot s"] == state


@pytest.mark.parametrize("lines", [[], ["1"], ["2", "{}"]])
def test_another_answer_than_one_is_critical(lines: list[str]) -> None:
    found = _health_postgres.probe(
        defaults(_health_postgres), _health.Deadline(5), lambda *_: lines
    )
    assert [row.state for row in found] == ["critical"]


def test_psql_gets_no_secret_in_its_arguments_and_peers_only_over_a_socket() -> None:
    check = defaults(_health_postgres, password="hush")
    peer = _health_psql.command({**check, "system_user": "root"}, "shop", root=True)
    assert peer[:5] == ["setpriv", "--reuid=0", "--regid=0", "--init-groups", "--"]
    with pytest.raises(_health.CannotCheck, match="no system user nobody-at-all"):
        _health_psql.command({**check, "system_user": "nobody-at-all"}, "shop", root=True)
    assert _health_psql.command(check, "shop", root=False)[0] == "psql"
    remote = _health_psql.command({**check, "host": "db"}, "shop", root=True)
    assert remote[0] == "psql"
    assert not any("hush" in word for word in [*peer, *remote])
    assert _health_psql.environment(check, 0.5)["PGPASSWORD"] == "hush"
    assert _health_psql.environment(check, 0.5)["PGCONNECT_TIMEOUT"] == "2"
    assert "PGPASSWORD" not in _health_psql.environment(defaults(_health_postgres), 9)
    verified = {**check, "ca_file": "/ca.pem"}
    assert _health_psql.environment(verified, 9)["PGSSLROOTCERT"] == "/ca.pem"


def test_a_script_reaches_psql_in_a_file_without_a_name() -> None:
    seen: list[str] = []

    def output(argv: list[str], _deadline: t.Any, **options: t.Any) -> str:
        seen.append(Path(argv[-1]).read_text())
        assert argv[0] == "psql"
        assert options["pass_fds"] == [int(Path(argv[-1]).name)]
        return "1\n2\n"

    check, deadline = defaults(_health_postgres), _health.Deadline(5)
    assert _health_psql.ask("SELECT 1;", check, "shop", deadline, output, root=False) == ["1", "2"]
    assert seen == ["SELECT 1;"]


@pytest.mark.parametrize(
    ("complaint", "kind", "words"),
    [
        (
            'psql: error: connection to server on socket "/x/.s.PGSQL.1" failed: FATAL:  Peer'
            ' authentication failed for user "x"',
            _health.CannotCheck,
            "Peer authentication",
        ),
        (
            "setpriv: failed to execute psql: No such file or directory",
            _health.CannotCheck,
            "psql is not installed",
        ),
        ("psql: error: timeout expired", _health.Unhealthy, "no login is answered"),
        (
            'psql: error: connection to server on socket "/x/.s.PGSQL.1" failed: No such file or'
            " directory Is the server running locally and accepting connections on that socket?",
            _health.Unhealthy,
            "^nobody listens on /var/run/postgresql:5432: No such file or directory$",
        ),
        (
            'psql: error: connection to server at "10.0.0.1", port 5432 failed: Connection refused'
            " Is the server running on that host and accepting TCP/IP connections?",
            _health.Unhealthy,
            "^nobody listens on /var/run/postgresql:5432: Connection refused$",
        ),
        ("psql:/proc/self/fd/5:3: ERROR:  boom", _health.Unhealthy, "ERROR:  boom"),
        ("sorry, too many clients already", _health.Unhealthy, "too many clients"),
    ],
)
def test_complaints_are_of_the_server_or_of_the_one_who_asks(
    complaint: str, kind: type[Exception], words: str
) -> None:
    def output(*_: t.Any, **__: t.Any) -> str:
        raise _health.Unhealthy(complaint)

    with pytest.raises(kind, match=words):
        _health_psql.ask(
            "", defaults(_health_postgres), "shop", _health.Deadline(5), output, root=False
        )


def test_without_psql_it_is_said_what_to_install() -> None:
    def output(*_: t.Any, **__: t.Any) -> str:
        raise _health.CannotCheck("psql is not installed", "install psql")

    check, deadline = defaults(_health_postgres), _health.Deadline(5)
    with pytest.raises(_health.CannotCheck, match="psql is not installed") as refusal:
        _health_psql.ask("", check, "shop", deadline, output, root=False)
    assert refusal.value.remedy == "install postgresql-client"


POOLS = "database\tuser\tcl_waiting\tsv_active\tsv_login\tmaxwait\tmaxwait_us"
BASES = "name\tpool_size\treserve_pool_size\tpaused\tdisabled"
CONSOLE = [
    "@POOLS", POOLS, "shop\tshop\t0\t1\t0\t0\t0", "pgbouncer\tpgbouncer\t0\t0\t0\t0\t0",
    "@DATABASES", BASES, "shop\t2\t0\t0\t0", "blog\t25\t10\t0\t0", "pgbouncer\t2\t0\t0\t0",
    "@LISTS", "list\titems", "used_clients\t5",
    "@CONFIG", "key\tvalue", "max_client_conn\t100",
]  # fmt: skip


def pooled(
    console: list[str], answer: t.Callable[..., list[str]] = lambda *_: ["1"], **options: t.Any
) -> dict[str, str]:
    def ask(script: str, check: t.Any, database: str, deadline: t.Any) -> list[str]:
        if database == "pgbouncer":
            assert "SHOW POOLS" in script
            return ["noise", *console]
        return answer(check, database, deadline)

    check = defaults(_health_pgbouncer, **{"login_password": "x", **options})
    return states(_health_pgbouncer.probe(check, _health.Deadline(9), ask))


def changed(old: str, new: str) -> list[str]:
    assert any(old in line for line in CONSOLE)
    return [line.replace(old, new) for line in CONSOLE]


def test_pools_with_room_are_well() -> None:
    found = pooled(CONSOLE)
    assert set(found.values()) == {"ok"}
    assert {"clients", "shop waiting", "shop pool", "shop reachable", "blog reachable"} <= set(
        found
    )
    assert set(pooled(CONSOLE, databases=["blog"])) == {
        "clients", "blog waiting", "blog pool", "blog reachable",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "what", "state"),
    [
        ("shop\tshop\t0\t1", "shop\tshop\t1\t1", "shop waiting", "warning"),
        ("shop\tshop\t0\t1", "shop\tshop\t51\t1", "shop waiting", "critical"),
        ("shop\tshop\t0\t1\t0\t0\t0", "shop\tshop\t0\t1\t0\t1\t500000", "shop waiting", "warning"),
        ("shop\tshop\t0\t1\t0\t0\t0", "shop\tshop\t0\t1\t0\t11\t0", "shop waiting", "critical"),
        ("shop\tshop\t0\t1\t0", "shop\tshop\t0\t1\t1", "shop pool", "critical"),
        ("used_clients\t5", "used_clients\t81", "clients", "warning"),
        ("used_clients\t5", "used_clients\t96", "clients", "critical"),
        ("shop\t2\t0\t0\t0", "shop\t2\t0\t1\t0", "shop reachable", "critical"),
        ("shop\t2\t0\t0\t0", "shop\t2\t0\t0\t1", "shop reachable", "critical"),
    ],
)
def test_pools_are_judged(old: str, new: str, what: str, state: str) -> None:
    found = pooled(changed(old, new))
    assert found[what] == state
    assert {name for name, each in found.items() if each != "ok"} == {what}


def test_an_older_pooler_names_its_reserve_otherwise() -> None:
    console = changed("reserve_pool_size", "reserve_pool")
    assert (
        pooled([line.replace("shop\t2\t0", "shop\t1\t1") for line in console])["shop pool"] == "ok"
    )


def test_a_database_that_the_pooler_does_not_know_is_critical() -> None:
    assert pooled(CONSOLE, databases=["gone"]) == {"clients": "ok", "gone": "critical"}


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (_health.Expired("late"), "critical"),
        (_health.Unhealthy("refused"), "critical"),
        (_health.CannotCheck("no psql", "install it"), "unknown"),
    ],
)
def test_a_database_that_is_not_reached_takes_no_other_with_it(
    error: Exception, state: str
) -> None:
    def answer(_check: t.Any, database: str, _deadline: t.Any) -> list[str]:
        if database == "blog":
            raise error
        return ["1"]

    found = pooled(CONSOLE, answer)
    assert (found["blog reachable"], found["shop reachable"]) == (state, "ok")


@pytest.mark.parametrize(
    ("text", "password"),
    [
        ('"other" "y"\n"pool""er" "it""s"\n', 'it"s'),
        ('"pool""er" "SCRAM-SHA-256$4096:x"\n', ""),
        ('"pool""er" "md5abc"\n', ""),
        ("", ""),
        (None, ""),
    ],
)
def test_the_user_list_tells_plain_passwords(
    tmp_path: Path, text: str | None, password: str
) -> None:
    userlist = tmp_path / "userlist.txt"
    if text is not None:
        userlist.write_text(text)
    seen: list[str] = []

    def answer(check: dict[str, t.Any], *_: t.Any) -> list[str]:
        seen.append(check["password"])
        return ["1"]

    options = {"login_password": "", "login_user": 'pool"er', "userlist": str(userlist)}
    found = pooled(CONSOLE, answer, databases=["shop"], **options)
    assert found["shop reachable"] == ("ok" if password else "unknown")
    assert seen == ([password] if password else [])


def test_pairs_become_two_options_each() -> None:
    assert _health_limits.options("int", a_b_c=(1, 2)) == {
        "a_warning_b_c": {"type": "int", "default": 1},
        "a_critical_b_c": {"type": "int", "default": 2},
    }
    assert _health_limits.worst(["ok", "unknown", "warning"]) == "unknown"
