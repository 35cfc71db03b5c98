# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is asked for with -e and --limit, and the sentence that says what to write instead."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.slipway.stack.plugins.module_utils import _load
from ansible_collections.slipway.stack.plugins.plugin_utils import _request
from ansible_collections.slipway.stack.plugins.plugin_utils._applications import InventoryError

PLAYBOOKS = Path(__file__).resolve().parents[2] / "playbooks"
GROUPS = {
    "database": ["one"],
    "application": ["two", "three"],
    "all": ["one", "two", "three"],
}

FILES = ["restore_to", "restore_path", "restore_confirmed_path", "restore_remove"]
RESTORE = [
    name
    for name in _request.OPTIONS
    if name.startswith("restore_") and name not in ("restore_point", *FILES[1:3])
]

LOAD = [name for name in _request.OPTIONS if name.startswith("load_")]
FRONTENDS = [{"name": "pages", "static": {}}, {"name": "door", "web": {"node": "server.js"}}]
SHOPS = [{"name": "shop"}, {"name": "blog", "database": {"name": "c"}}, *FRONTENDS]
STAGING = {"load_environment": "staging"}


def problem(groups: t.Any = None, names: t.Sequence[str] = ("shop",), **inputs: t.Any) -> str:
    try:
        known = {"groups": groups or GROUPS, "environment": "staging", "applications": SHOPS}
        whole = {**known, "load_tests_allowed": True, **inputs}
        _request.check(whole, [*names])
    except InventoryError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("extra", "takes", "said"),
    [
        ({"verison": "v2"}, ["app", "version"], "verison is not an option; write version, or give"),
        ({"relase": "v2"}, None, "relase is not an option; write release"),
        ({"health_report_jsn": "x"}, [], "write health_report_json"),
        ({"verify_levl": "x"}, [], "write verify_level"),
        (
            {"app": "shop", "_raw_params": "manage.py check"},
            None,
            "before 'manage.py check'; write",
        ),
        ({"command": "echo 'x"}, None, 'command is "echo \'x"; close its quotation.'),
        ({"verify_level": "deep"}, None, "verify_level is 'deep'; write one of present, intact,"),
        ({"verify_max_age": "1d"}, None, "verify_max_age is '1d'; write a whole number of seconds"),
        ({"health_timeout_seconds": 0}, None, "health_timeout_seconds is 0; write a whole number"),
        ({"health_timeout_seconds": True}, None, "health_timeout_seconds is true; write a whole"),
        ({"health_report_json": "/nowhere/x"}, None, "'/nowhere/x'; write a file in a folder of"),
        (
            {"restore_point": "a b"},
            None,
            "restore_point is 'a b'; write at most 63 letters, digits",
        ),
        ({"restore_to": "yesterday"}, None, "restore_to is 'yesterday'; write latest, a time with"),
        (
            {"restore_to": "2026-11-28T21:14:05"},
            None,
            "'2026-11-28T21:14:05'; write latest, a time",
        ),
        ({}, RESTORE, "restore_to and restore_dump are both missing; write one of"),
        ({}, ["restore_to"], "restore_to is missing; write -e restore_to=latest for all that was"),
        (
            {"restore_to": "latest", "restore_dump": "/x"},
            ["restore_to", "restore_dump"],
            "both given",
        ),
        (
            {"restore_to": "latest", "restore_database": "shop", "restore_confirmed_database": "x"},
            RESTORE,
            "write -e restore_database=shop -e restore_confirmed_database=shop.",
        ),
        (
            {"restore_to": "latest", "restore_database": "shop"},
            RESTORE,
            "restore_confirmed_database is missing, but restore_database, whose rows are to be",
        ),
        ({"restore_dump": "/x.dump"}, RESTORE, "a dump is only restored into place; write -e"),
        (
            {"restore_path": "media"},
            None,
            "restore_path is 'media'; write a whole path on the machine",
        ),
        ({"restore_path": "/srv/../x"}, None, "restore_path is '/srv/../x'; write a whole path"),
        (
            {"restore_to": "latest"},
            FILES,
            "stack_backup_s3 is missing, and with it every backup of",
        ),
        ({"verify_level": "kept"}, [], "verify_level is 'kept', which this playbook does not heed"),
        ({}, ["service"], "service is missing; write -e service=postgres."),
        (
            {"service": "mysql"},
            ["service"],
            "service is 'mysql'; write one of postgres, pgbouncer, redis, nginx.",
        ),
        (
            {"service": "redis"},
            ["service"],
            "service is 'redis', but the group 'cache' has no machine here; whoever runs it",
        ),
        ({"app": "blog"}, None, "app is 'blog', which is not declared; write one of shop."),
        ({"load_from": "one"}, LOAD, "load_environment is missing; write -e load_environment=stag"),
        ({**STAGING, "load_from": "six"}, LOAD, "load_from is 'six', which is no machine of this"),
        (
            {"load_environment": "production", "load_from": "one"},
            LOAD,
            "load_environment is 'production', but this inventory is 'staging'; give the inventory",
        ),
        ({}, ["restore_to"], "restore_to is missing; write -e restore_to=latest for all"),
        ({"load_profile": "soak"}, None, "load_profile is 'soak'; write one of smoke, baseline,"),
        ({"load_users": "0"}, None, "load_users is '0'; write a whole number of users"),
        ({"load_file": "/nowhere.py"}, None, "load_file is '/nowhere.py', where this computer has"),
    ],
)
def test_what_is_wrong_with_a_request(
    extra: dict[str, t.Any], takes: list[str] | None, said: str
) -> None:
    request = {"app": "shop"} if takes and "app" in takes else {}
    assert said in problem(extra=extra, takes=takes, request=request)


def test_a_providers_server_is_restarted_by_the_provider() -> None:
    said = problem(
        extra={"service": "postgres"},
        takes=["service"],
        groups={"database": ["one"]},
        postgres={"host": "db.example.com"},
    )
    assert said == (
        "service is 'postgres', but stack_postgres says that it is a provider's; whoever runs it"
        " for you restarts it."
    )


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {
            "region": "eu",
            "awx_job_id": 7,
            "tower_user_name": "ada",
            "shop_port": 1,
            "stack_environment": "x",
        },
        {"command": "make", "reason": "slow", "release": "v1", "service": "mine"},
        {"restore_point": "before-migration_2.1"},
        {"verify_level": "readable", "verify_max_age": "90000", "health_timeout_seconds": 60},
        {"health_report_json": "health.json", "health_report_html": "/srv/health.html"},
    ],
)
def test_what_may_be_asked_for(extra: dict[str, t.Any]) -> None:
    others = (*RESTORE, *FILES, *LOAD)
    takes = [name for name in _request.OPTIONS if "_" in name and name not in others]
    assert problem(extra=extra, takes=takes) == ""
    assert problem(extra=extra) == ""


@pytest.mark.parametrize("takes", [[], ["version"], None])
def test_a_question_that_nobody_answered_asks_for_nothing(takes: list[str] | None) -> None:
    answers = dict.fromkeys(_request.OPTIONS, "")
    assert problem(extra=answers, request=answers, takes=takes) == ""


def test_every_playbook_writes_its_result_where_that_is_asked_for() -> None:
    assert problem(extra={"result_json": "result.json"}, takes=[]) == ""
    assert "'/nowhere/x'; write a file in" in problem(extra={"result_json": "/nowhere/x"}, takes=[])


def test_a_load_test_that_could_be_run() -> None:
    asked = {**STAGING, "load_from": "one", "load_profile": "smoke", "load_users": "20"}
    assert problem(extra={**asked, "load_file": __file__}, takes=LOAD) == ""


def test_a_cluster_is_restored_to_a_moment() -> None:
    assert problem(extra={"restore_to": "latest"}, takes=["restore_to"]) == ""


def test_a_service_that_is_there_is_restarted() -> None:
    assert problem(extra={"service": "pgbouncer"}, takes=["service"]) == ""


def test_frontends_alone_have_no_database_to_name() -> None:
    found = problem(extra={"back_up_only": "pages"}, applications=FRONTENDS)
    assert found == "back_up_only is 'pages', which no application has; leave it out."


def test_an_empty_answer_is_none_where_one_is_needed() -> None:
    assert "app is missing; write -e app=shop" in problem(extra={"app": ""}, takes=["app"])


@pytest.mark.parametrize("prefix", ["awx", "tower"])
def test_a_job_of_a_workflow_leaves_the_answers_of_others_alone(prefix: str) -> None:
    extra = {"app": "shop", "version": "v2", f"{prefix}_workflow_job_id": 7}
    assert problem(extra=extra, takes=[]) == ""
    assert "'blog', which is not declared" in problem(
        extra=extra, request={"app": "blog"}, takes=["app"]
    )
    assert "app is 'shop', but this playbook serves every" in problem(
        extra={"app": "shop", f"{prefix}_job_id": 7}, takes=[]
    )


@pytest.mark.parametrize(
    "extra",
    [
        {"restore_to": "latest"},
        {"restore_to": "point:before_migration"},
        {"restore_to": "xid:1234"},
        {"restore_remove": True},
        {"restore_remove": "false", "restore_to": "latest", "restore_dump": ""},
        {
            "restore_dump": "/var/backups/slipway/shop/x.dump",
            "restore_database": "shop",
            "restore_confirmed_database": "shop",
        },
    ],
)
def test_what_may_be_restored(extra: dict[str, t.Any]) -> None:
    assert problem(extra=extra, takes=RESTORE) == ""


@pytest.mark.parametrize(
    ("limit", "machines", "left"),
    [
        ("", [], ""),
        ("all:!web1", ["one", "two", "three", "four"], ""),
        ("one", ["one"], "two, three, four"),
        ("one,application", ["one", "two", "three"], "four"),
    ],
)
def test_who_writes_into_a_database_is_stopped_before_it_is_replaced(
    limit: str, machines: list[str], left: str
) -> None:
    groups = {**GROUPS, "worker": ["three", "four"], "web": ["web1"]}
    named = {"restore_database": "shop", "restore_confirmed_database": "shop"}
    asked = {"restore_to": "latest", **named}
    said = problem(groups, extra=asked, takes=RESTORE, limit=limit, machines=machines)
    wanted = (
        f"--limit {limit} leaves out {left}, whose servers and workers would go on with a database"
        " that is being replaced; leave --limit out."
    )
    assert said == (wanted if left else "")
    # Nothing is replaced by these.
    for extra in ({"restore_to": "latest"}, {**asked, "restore_remove": "true"}):
        assert problem(groups, extra=extra, takes=RESTORE, limit=limit, machines=machines) == ""


@pytest.mark.parametrize(
    ("extra", "takes", "said"),
    [
        (
            {**STAGING, "load_from": "one"},
            LOAD,
            "--limit two leaves out one, where load_from one is; name it too, or leave --limit"
            " out.",
        ),
        (
            {"service": "pgbouncer"},
            ["service"],
            "--limit two leaves out one, where service pgbouncer is; name it too, or leave --limit"
            " out.",
        ),
    ],
)
def test_a_limit_reaches_what_was_asked_for(
    extra: dict[str, str], takes: list[str], said: str
) -> None:
    assert problem(extra=extra, takes=takes, limit="two", machines=["two"]) == said
    assert problem(extra=extra, takes=takes, limit="one", machines=["one"]) == ""


@pytest.mark.parametrize(
    ("limit", "machines", "needs", "said"),
    [
        ("", ["one", "two", "three"], ["database"], ""),
        ("database", ["one"], ["database"], ""),
        ("two", ["two"], ["application"], ""),
        ("two", ["two"], ["application[0]"], ""),
        ("all:!one", ["two", "three"], [], ""),
        ("t*,~th.*,one[0],@retry", ["two", "three"], ["application"], ""),
        ("two,nosuch", ["two"], [], "--limit names 'nosuch', which is neither a machine nor a"),
        ("all:!nosuch", ["one"], [], "--limit names 'nosuch'"),
        ("two", ["two"], ["database"], "--limit two leaves out one of the group 'database', where"),
        ("one", ["one"], ["application"], "leaves out two and three of the group 'application'"),
        ("three", ["three"], ["application[0]"], "leaves out two of the group 'application', wh"),
        ("one", ["one"], ["application:database"], ""),
        ("one", ["one"], ["application:web"], "of the group 'application:web', where"),
    ],
)
def test_a_limit_names_what_there_is_and_leaves_something_to_do(
    limit: str, machines: list[str], needs: list[str], said: str
) -> None:
    found = problem(limit=limit, machines=machines, needs=needs)
    assert said in found
    assert bool(said) == bool(found)


@pytest.mark.parametrize("playbook", ["deploy", "rollback"])
@pytest.mark.parametrize(
    ("app", "machines", "said"),
    [("pages", ["five"], ""), ("pages", ["two"], "leaves out five of pages, where other code")],
)
def test_a_limit_may_name_the_machines_of_a_static_application(
    playbook: str, app: str, machines: list[str], said: str
) -> None:
    """As the playbook asks; its machines are those of the group web alone."""
    (told,) = [
        play["vars"]
        for play in yaml.safe_load((PLAYBOOKS / f"{playbook}.yml").read_text())
        if "common_takes" in play.get("vars", {})
    ]
    asked = {name: told.get(f"common_{name}") for name in ("takes", "needs", "whole")}
    found = problem(
        {"application": ["two", "three"], "web": ["five"]},
        **{**asked, "applications": FRONTENDS, "limit": "some*", "machines": machines},
        extra={"app": app},
        names=["pages", "door"],
    )
    assert said in found
    assert bool(said) == bool(found)


@pytest.mark.parametrize(
    ("app", "machines", "left"),
    [
        ("shop", ["two", "three", "four"], ""),
        ("shop", ["three", "four", "five"], "two"),
        ("shop", ["two", "three", "five"], "four"),
        ("shop", ["five"], "two, three and four"),
        # It has no tasks that a machine for them would do.
        ("blog", ["two", "three"], ""),
        ("blog", ["two", "four"], "three"),
        ("page", ["five"], ""),
        ("page", ["two", "three", "four"], "five"),
    ],
)
def test_no_machine_of_an_application_is_left_with_other_code(
    app: str, machines: list[str], left: str
) -> None:
    """One alone would serve new code without its migrations, or judge by a history of its own."""
    asked: dict[str, t.Any] = {
        "groups": {"application": ["two", "three"], "worker": ["two", "four"], "web": ["five"]},
        "applications": [
            {"name": "shop", "static": None, "celery": {"application": "shop"}},
            {"name": "page", "static": {}},
            {"name": "blog", "celery": None},
        ],
        "extra": {"app": app},
        "takes": ["app"],
        "limit": "some*",
        "machines": machines,
    }
    names = ["shop", "page", "blog"]
    _request.check(asked, names)
    said = ""
    try:
        _request.check({**asked, "whole": True}, names)
    except InventoryError as error:
        said = str(error)
    wanted = f"--limit some* leaves out {left} of {app}, where other code would go on serving;"
    assert said.startswith(wanted) if left else said == ""
    _request.check({**asked, "whole": True, "limit": ""}, names)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"back_up_first": "true"}, "back_up_first is true"),
        ({"back_up_first": True, "allow_migrations": "0002"}, "back_up_first is true"),
        ({"allow_migrations": "shop.0003_x"}, "allow_migrations is shop.0003_x"),
        ({"allow_migrations": "shop.0003_x", "back_up_first": ""}, "allow_migrations is shop.00"),
        ({"allow_migrations": "shop.0003_x", "back_up_first": "false"}, ""),
        ({"back_up_first": "no"}, ""),
        ({}, ""),
    ],
)
def test_a_backup_that_is_promised_is_not_left_out(asked: dict[str, t.Any], why: str) -> None:
    takes = ["app", "version", "allow_migrations", "back_up_first", "deploy_approved"]
    rest = {"extra": {"app": "shop", **asked}, "takes": takes, "whole": True}
    # "one" has the databases.
    given: dict[str, t.Any] = {**rest, "limit": "application", "machines": ["two", "three"]}
    said = problem(**given)
    assert bool(said) == bool(why)
    if why:
        assert said.startswith(f"--limit application leaves out one, but {why}")
    assert problem(**{**given, "machines": ["one", "two", "three"]}) == ""
    assert problem(**{**given, "limit": ""}) == ""
    # Whoever asks for something else is not told of it.
    other: dict[str, t.Any] = {
        **given,
        "takes": takes[:3],
        "extra": {"app": "shop", "allow_migrations": "0002"},
    }
    assert problem(**other) == ""


@pytest.mark.parametrize("name", ["deploy", "rollback", "site", "restart"])
def test_deploy_and_rollback_are_for_all_machines(name: str) -> None:
    text = (PLAYBOOKS / f"{name}.yml").read_text()
    assert ("common_whole: true" in text) == (name in ("deploy", "rollback"))


def test_an_application_may_be_named_where_none_has_to_be() -> None:
    given = {"takes": ["app"], "optional": ["app"]}
    assert problem(**given) == ""
    assert problem(**given, extra={"app": "shop"}) == ""
    assert "app is 'nosuch', which is not declared" in problem(**given, extra={"app": "nosuch"})
    play = yaml.safe_load((PLAYBOOKS / "releases.yml").read_text())[0]["vars"]
    assert (play["common_takes"], play["common_optional"]) == (["app"], ["app"])


@pytest.mark.parametrize(
    ("declared", "meant"),
    [
        ([{"name": "shop"}], "shop"),
        ([{"name": "shop"}, {"name": "page"}], ""),
        ([{}], ""),
        ([], ""),
        (None, ""),
        ("shop", ""),
    ],
)
def test_the_only_application_is_meant_where_nobody_names_one(declared: t.Any, meant: str) -> None:
    wiring = yaml.safe_load((PLAYBOOKS / "group_vars/all.yml").read_text())
    templar = Templar(DataLoader(), variables={"stack_applications": declared})
    assert templar.template(trust_as_template(wiring["stack_only_application"])) == meant
    for play in yaml.safe_load((PLAYBOOKS / "rollback.yml").read_text()):
        needs = "stack_release" in str(play) or "common_takes" in str(play) or "app }}" in str(play)
        given = play.get("vars", {}).get("app")
        assert given == ("{{ stack_only_application }}" if needs else None)


def test_a_machine_may_be_called_by_its_ipv6_address() -> None:
    groups = {**GROUPS, "all": [*GROUPS["all"], "2001:db8::1"]}
    assert problem(groups, limit="2001:db8::1,two", machines=["two"]) == ""
    assert "'nosuch'" in problem(groups, limit="2001:db8::1,nosuch", machines=[])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "deploy_approved is missing, and this environment deploys only what was approved"),
        ({"deploy_approved": "v1"}, "is 'v1', and this environment"),
        ({"deploy_approved": "v2"}, ""),
        ({"version": "v3", "deploy_approved": "v2"}, "add -e deploy_approved=v3"),
        ({"version": "v3", "deploy_approved": "v3"}, ""),
    ],
)
def test_only_what_was_approved_is_deployed(given: dict[str, str], said: str) -> None:
    inputs: dict[str, t.Any] = {
        "applications": [{"name": "shop", "source": {"version": "v2"}}],
        "request": {"app": "shop"},
        "extra": given,
        "takes": ["app", "version", "deploy_approved"],
    }
    found = problem(**inputs, approval_required=True)
    assert said in found
    assert bool(found) == bool(said)
    assert problem(**inputs) == ""
    assert (
        problem(**{**inputs, "takes": ["app", "version"], "extra": {}}, approval_required=True)
        == ""
    )


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        # What AWX makes of 1.10, of 0001 and of a commit that has digits only.
        (
            {"version": 1.1},
            "where a survey asks, a tag as refs/tags/1.10, a commit with all",
        ),
        ({"version": "refs/tags/1.10"}, ""),
        ({"version": 12345678}, "version is 12345678, which is not text; write it in quotes"),
        ({"release": 1.1}, "release is 1.1, which is not text"),
        ({"release": "../../etc"}, "release is '../../etc'; write a tag, branch or commit."),
        ({"deploy_approved": 1.1}, "deploy_approved is 1.1, which is not text"),
        ({"allow_migrations": 1}, "where a survey asks, with a comma behind: 0001,."),
        ({"allow_migrations": "0001,"}, ""),
        (
            {"allow_migrations": "all"},
            "'all'; write what the refusal has named: -e allow_migrations",
        ),
        ({"allow_migrations": "a.0001_all,all"}, "write what the refusal has named"),
        # Options of the roles, which are like some of a playbook's.
        ({"app_health_timeout_seconds": "120", "celery_health_timeout_seconds": 120}, ""),
        ({"app_lock_seconds": "1200", "app_watch_seconds": 0}, ""),
        ({"ap_health_timeout_seconds": 9}, "is not an option; write health_timeout_seconds"),
        ({"allow_migrations": "shop.0003_drop_title,shop.0004"}, ""),
        ({"allow_migrations": "nonsense;rm"}, "write what the refusal has named: -e allow_migr"),
        ({"restore_point": 20261128}, "restore_point is 20261128, which is not text"),
        ({"restore_point": "ö" * 40}, "write at most 63 letters, digits"),
        ({"restore_to": "2999-01-01T00:00:00Z"}, "which is still to come; write latest for all"),
        ({"restore_dump": "relative"}, "restore_dump is 'relative'; write a whole path on the"),
        ({"restore_database": "nope"}, "which no application has; write one of c, shop, or leave"),
        ({"restore_database": "c"}, ""),
        ({"restore_database": ["shop"]}, "which is not text; write it in quotes"),
        ({"back_up_only": "shop,c"}, ""),
        ({"back_up_only": "shop,nope"}, "back_up_only is 'shop,nope', which no application has; w"),
        ({"back_up_only": "pages"}, "back_up_only is 'pages', which no application has; write o"),
        ({"restore_database": "door"}, "which no application has; write one of c, shop, or leave"),
        ({"back_up_only": "shop, c"}, "write databases with commas between and no spaces."),
        (
            {"back_up_only": "shop", "restore_point": "before"},
            "restore_point names a moment of the whole cluster, but back_up_only is given; leave",
        ),
        ({"restore_from": "../x"}, "write where in the bucket the backups are: -e restore_from="),
        ({"restore_from": "production/"}, ""),
        ({"restore_remove": "banana"}, "restore_remove is 'banana'; write true or false."),
        ({"load_paths": "nopath"}, "write paths from / on, with commas between: -e load_paths=/,"),
        ({"load_paths": ["/"]}, "which is not text; write it in quotes"),
        ({"load_slow_paths": "/a,/b/"}, ""),
        # A question that nobody answered.
        (dict.fromkeys(_request.OPTIONS), ""),
        (dict.fromkeys(_request.OPTIONS, ""), ""),
    ],
)
def test_what_a_survey_sends(extra: dict[str, t.Any], said: str) -> None:
    found = problem(extra=extra)
    assert said in found
    assert bool(found) == bool(said)


def test_a_list_of_applications_that_is_none_is_told_elsewhere() -> None:
    assert problem(extra={"restore_database": "shop"}, applications="shop") == ""


@pytest.mark.parametrize(("value", "fine"), [("true", True), (False, True), ("always", False)])
def test_a_flag_is_true_or_false(value: t.Any, fine: bool) -> None:
    assert (problem(extra={"back_up_first": value}) == "") == fine


@pytest.mark.parametrize(
    ("allowed", "said"),
    [
        (True, ""),
        (
            None,
            "stack_load_tests_allowed of staging is not declared, so it may serve real visitors",
        ),
        (False, "stack_load_tests_allowed of staging is false, so it may serve real visitors"),
        ("true", "stack_load_tests_allowed of staging is 'true', so it may serve real visitors"),
    ],
)
def test_real_visitors_are_spared_unless_they_are_meant(allowed: t.Any, said: str) -> None:
    asked = {**STAGING, "load_from": "one"}
    found = problem(extra=asked, takes=LOAD, load_tests_allowed=allowed)
    assert said in found and bool(said) == bool(found)
    meant = {**asked, "load_production": "true"}
    assert problem(extra=meant, takes=LOAD, load_tests_allowed=allowed) == ""


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"load_users": "99999"}, "load_users is '99999'; write a whole number of users, at most"),
        ({"load_seconds": 10000}, "load_seconds is 10000; write a whole number of seconds, at mos"),
        ({"load_seconds": True}, "load_seconds is true; write a whole number of seconds"),
        ({"load_users": 50, "load_seconds": 5}, "50 users are asked for, but 10 come in a second"),
        ({"load_users": 1200}, "1200 users are asked for, but 10 come"),
        ({"load_seconds": 60, "load_profile": "spike"}, ""),
        ({"load_seconds": 50, "load_profile": "spike"}, "500 users are asked for, but"),
        ({"load_users": 5000, "load_seconds": 7000}, ""),
        *(({"load_profile": name}, "") for name in _load.PROFILES),
    ],
)
def test_a_load_test_ends_while_somebody_waits_for_it(given: dict[str, t.Any], said: str) -> None:
    found = problem(extra={**STAGING, "load_from": "one", **given}, takes=LOAD)
    assert said in found
    assert bool(said) == bool(found)


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({}, "restore_to is missing; write -e restore_to=latest for what was saved last, or -e"),
        ({"restore_to": "latest"}, ""),
        ({"restore_to": "2026-11-28T21:14:05Z", "restore_path": "/srv/shop/media/"}, ""),
        ({"restore_remove": "true"}, ""),
        (
            {"restore_to": "xid:7"},
            "restore_to is 'xid:7', which files do not have; write",
        ),
        (
            {"restore_to": "latest", "restore_path": "/srv/a", "restore_confirmed_path": "/srv/b"},
            "restore_confirmed_path is '/srv/b', but restore_path, which is to be replaced (and"
            " kept under another name), is /srv/a; write -e restore_path=/srv/a"
            " -e restore_confirmed_path=/srv/a.",
        ),
        (
            {"restore_to": "latest", "restore_confirmed_path": "/srv/b"},
            "is missing; write -e restore_path=/srv/b -e restore_confirmed_path=/srv/b.",
        ),
        (
            {"restore_to": "latest", "restore_path": "/srv/b", "restore_confirmed_path": "/srv/b"},
            "",
        ),
    ],
)
def test_files_are_replaced_where_their_path_is_named_twice(
    extra: dict[str, str], said: str
) -> None:
    found = problem(extra=extra, takes=FILES, backup_s3={"bucket": "backups"})
    assert said in found if said else found == ""


FRONTENDS_ALONE = {"web": ["one"], "all": ["one"]}


@pytest.mark.parametrize(
    ("takes", "inputs", "words"),
    [
        (["app"], {}, "no machine here is in the group 'database'"),
        (["verify_level"], {}, "files are saved only with stack_backup_s3"),
        (["verify_level"], {"backup_s3": {"bucket": "b"}, "backup_cipher_pass": "x"}, ""),
    ],
    ids=["databases only", "nothing saved", "files saved"],
)
def test_where_a_playbook_has_nothing_to_do_it_says_so(
    takes: list[str], inputs: dict[str, t.Any], words: str
) -> None:
    asked: dict[str, t.Any] = {"takes": takes, "needs": ["database"], "optional": ["app"], **inputs}
    said = problem(FRONTENDS_ALONE, **asked)
    assert words in said and bool(words) is bool(said)
