# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a playbook is asked for with -e and --limit, looked at before any machine is touched."""

from __future__ import annotations

import difflib
import os
import re
import shlex
import typing as t
from datetime import UTC, datetime
from pathlib import Path

from ansible_collections.slipway.stack.plugins.module_utils import _load, _recovery
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError
from ansible_collections.slipway.stack.plugins.plugin_utils import (
    _rules,
    _specification,
    _variables,
)
from ansible_collections.slipway.stack.plugins.plugin_utils._applications import InventoryError

# What a playbook may be asked for with -e, and how.
OPTIONS = {
    "app": "-e app={name}",
    "service": "-e service=postgres",
    "command": """-e '{{"command": "python manage.py check"}}'""",
    "version": "-e version=v1.4.2",
    "allow_migrations": "-e allow_migrations=shop.0003_drop_title",
    "deploy_approved": "-e deploy_approved=v1.4.2",
    "back_up_first": "-e back_up_first=true",
    "release": "-e release=v1.4.1",
    "rollback_if_critical": "-e rollback_if_critical=true",
    "reason": """-e '{{"reason": "checkout is slow"}}'""",
    "restore_to": "-e restore_to=2026-11-28T21:14:05Z",
    "restore_dump": "-e restore_dump=/var/backups/slipway/{name}/<file>.dump",
    "restore_database": "-e restore_database={name}",
    "restore_confirmed_database": "-e restore_confirmed_database={name}",
    "restore_confirmed_machine": "-e restore_confirmed_machine=database1",
    "restore_from": "-e restore_from=production/",
    "restore_path": "-e restore_path=/srv/{name}/media",
    "restore_confirmed_path": "-e restore_confirmed_path=/srv/{name}/media",
    "restore_remove": "-e restore_remove=true",
    "restore_point": "-e restore_point=before-migration",
    "back_up_only": "-e back_up_only={name}",
    "verify_level": "-e verify_level=readable",
    "verify_max_age": "-e verify_max_age=90000",
    "health_timeout_seconds": "-e health_timeout_seconds=60",
    "health_report_json": "-e health_report_json=health.json",
    "health_report_html": "-e health_report_html=health.html",
    "load_environment": "-e load_environment=staging",
    "load_from": "-e load_from=runner1",
    "load_profile": "-e load_profile=smoke",
    "load_users": "-e load_users=100",
    "load_seconds": "-e load_seconds=300",
    "load_paths": "-e load_paths=/,/products/",
    "load_slow_paths": "-e load_slow_paths=/recommendations/",
    "load_file": "-e load_file=tests/load/locustfile.py",
    "load_reports": "-e load_reports=reports",
    "load_production": "-e load_production=true",
    "result_json": "-e result_json=result.json",
}
# What is needed where it is taken, unless the playbook says otherwise.
NEEDED = ("app", "command", "load_environment", "load_from", "service")
# How alike a name must be to an option to be taken for it; others are an operator's own variables.
_LIKENESS = 0.75
# What every playbook heeds.
_EVERYWHERE = ("result_json",)
# A variable of the operator's own may well be called so.
_COMMON_WORDS = ("command", "release", "reason", "service")
_LEVELS = ("present", "intact", "readable", "kept")
# Services that may be restarted, and where they run.
_SERVICES = {"postgres": "database", "pgbouncer": "database", "redis": "cache", "nginx": "web"}
# What ansible-playbook calls the words of -e 'a=b c' that are no assignment.
_REST = "_raw_params"
# What playbooks take that are about the files of every machine as well.
_OF_FILES_TOO = ("back_up_only", "verify_level")
# AWX gives the answers to a workflow's survey to each of its jobs, also to those they are not for.
_WORKFLOW = ("awx_workflow_job_id", "tower_workflow_job_id")


def check(inputs: t.Mapping[str, t.Any], names: list[str]) -> None:
    """Refuses what is missing, unknown, wrong or would not be heeded; `names` are applications."""
    extra = inputs.get("extra") or {}
    asked = _asked(extra, inputs.get("request") or {})
    takes = inputs.get("takes")
    if takes is not None and any(name in extra for name in _WORKFLOW):
        asked = {name: value for name, value in asked.items() if name in takes}
    # Before anything else is asked for, which would be in vain.
    names_moment = "restore_point" in (takes or ()) and asked.get("restore_point")
    if inputs.get("postgres") and (inputs.get("cluster_needed") or names_moment):
        _refuse_provided(inputs["postgres"], {*asked} & {*(takes or ())})
    _refuse_cut(extra)
    for name in extra:
        _refuse_misspelt(str(name))
    for name in sorted(set(NEEDED) - set(inputs.get("optional") or ())):
        _require(name, asked.get(name), takes or (), names)
    for name, value in asked.items():
        if takes is not None and name not in {*takes, *_EVERYWHERE, *_COMMON_WORDS}:
            raise InventoryError(_not_heeded(name, value))
        _CHECKS.get(name, _accept)(name, value)
    if "service" in (takes or ()):
        _check_service(asked["service"], inputs)
    _refuse_undeclared(asked.get("app"), names)
    _refuse_no_database(asked, inputs.get("applications"))
    _refuse_nowhere(inputs, takes or ())
    _check_restore(asked, takes or (), inputs)
    _require_bucket(inputs, asked, takes or ())
    if "load_environment" in (takes or ()):
        _check_load(inputs, asked)
    if inputs.get("approval_required") and "deploy_approved" in (takes or ()):
        _require_approval(inputs, asked)
    _check_limit(inputs, asked)


def _require_bucket(
    inputs: t.Mapping[str, t.Any], asked: t.Mapping[str, t.Any], takes: t.Container[str]
) -> None:
    if "restore_path" in takes and not inputs.get("backup_s3"):
        raise InventoryError(
            "stack_backup_s3 is missing, and with it every backup of files; declare the bucket that"
            " holds them."
        )
    if inputs.get("cluster_needed") and not (inputs.get("backup_s3") or asked.get("restore_dump")):
        raise InventoryError(
            "stack_backup_s3 is missing, and with it every backup of the cluster; declare the"
            " bucket that holds them."
        )


def _refuse_nowhere(inputs: t.Mapping[str, t.Any], takes: t.Container[str]) -> None:
    """Refuses what would do nothing: frontends alone have no database, but perhaps saved files."""
    groups = inputs.get("groups") or {}
    if not groups or all(_machines_of(need, groups) for need in inputs.get("needs") or []):
        return
    if not any(name in takes for name in _OF_FILES_TOO):
        (need, *_others) = inputs["needs"]
        raise InventoryError(
            f"no machine here is in the group {_group_of(need)!r}, where alone this playbook works;"
            " there is nothing to do."
        )
    if not (inputs.get("backup_s3") and inputs.get("backup_cipher_pass")):
        raise InventoryError(
            "no machine here is in the group 'database', and files are saved only with"
            " stack_backup_s3 and vault_stack_backup_cipher_pass; declare both, or there is nothing"
            " to do."
        )


def _group_of(need: str) -> str:
    return need.removesuffix("[0]")


def _machines_of(need: str, groups: t.Mapping[str, list[str]]) -> list[str]:
    """Where a playbook works that names a group, several with colons between, or its first."""
    every = [name for each in _group_of(need).split(":") for name in groups.get(each, [])]
    return list(dict.fromkeys(every))[: 1 if need.endswith("[0]") else None]


def _asked(extra: t.Mapping[str, t.Any], templated: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What is asked for; AWX sends nothing, or an empty text, where nobody answered.

    What was templated is what is meant, also where it came to nothing.
    """
    meant = {name: value for name, value in templated.items() if value is not None}
    given = {**extra, **meant}
    return {name: given[name] for name in OPTIONS if given.get(name) not in (None, "")}


def _refuse_cut(extra: t.Mapping[str, t.Any]) -> None:
    if _REST in extra:
        raise InventoryError(
            f"-e was cut at a space before {str(extra[_REST])!r}; write values with spaces as"
            f" {OPTIONS['command'].format()}."
        )


def _refuse_misspelt(name: str) -> None:
    near = difflib.get_close_matches(name, OPTIONS, n=1, cutoff=_LIKENESS)
    # The inventory's own variables may be given with -e, whatever they are like.
    own = name.startswith(("stack_", "vault_stack_")) or _variables.is_option(name)
    if near and name not in OPTIONS and not own:
        raise InventoryError(
            f"{name} is not an option; write {near[0]}, or give a variable of your own another"
            " name."
        )


def _require(name: str, value: t.Any, takes: t.Sequence[str], names: list[str]) -> None:
    if name not in takes or (isinstance(value, str) and value.strip()):
        return
    shown = "missing" if value in (None, "") else _specification.shown(value)
    known = f" (declared are {', '.join(names)})" if name == "app" else ""
    example = OPTIONS[name].format(name=names[0] if names else "shop")
    raise InventoryError(f"{name} is {shown}; write {example}{known}.")


def _not_heeded(name: str, value: t.Any) -> str:
    shown = _specification.shown(value)
    if name == "app":
        return (
            f"app is {shown}, but this playbook serves every application; leave -e app out (--limit"
            " chooses machines)."
        )
    instead = "leave it out"
    if name == "version":
        instead = "use playbooks/deploy.yml, or write it into the application's source.version"
    return f"{name} is {shown}, which this playbook does not heed; {instead}."


def _refuse_undeclared(app: t.Any, names: list[str]) -> None:
    if app is not None and app not in names:
        raise InventoryError(
            f"app is {_specification.shown(app)}, which is not declared; write one of"
            f" {', '.join(names)}."
        )


def _refuse_no_database(asked: t.Mapping[str, t.Any], applications: t.Any) -> None:
    # What is wrong with the list itself is said elsewhere.
    whole = isinstance(applications, list) and all(isinstance(each, dict) for each in applications)
    if not whole or not {"restore_database", "back_up_only"} & set(asked):
        return
    known = sorted(
        (each.get("database") or {}).get("name") or str(each.get("name"))
        for each in applications
        if _stores(each)
    )
    remedies = {
        "restore_database": "or leave it out and take from the copy what you need",
        "back_up_only": "with commas between, or leave it out for all of them",
    }
    for option, remedy in remedies.items():
        if option in asked and set(str(asked[option]).split(",")) - set(known):
            shown = _specification.shown(asked[option])
            instead = f"write one of {', '.join(known)}, {remedy}" if known else "leave it out"
            raise InventoryError(f"{option} is {shown}, which no application has; {instead}.")
    if "back_up_only" in asked and "restore_point" in asked:
        raise InventoryError(
            "restore_point names a moment of the whole cluster, but back_up_only is given; leave"
            " one of the two out."
        )


def _stores(application: t.Mapping[str, t.Any]) -> bool:
    """Frontends have no database."""
    web = application.get("web")
    node = web.get("node") if isinstance(web, t.Mapping) else None
    return application.get("static") is None and not node


def _check_restore(
    asked: t.Mapping[str, t.Any], takes: t.Container[str], inputs: t.Mapping[str, t.Any]
) -> None:
    """One moment, and the name of what is destroyed twice; removing needs neither."""
    if "restore_to" not in takes or _removes(asked):
        return
    if "restore_path" in takes:
        _check_files(asked)
    if "restore_dump" not in takes:
        _require_moment(asked)
        return
    if ("restore_to" in asked) == ("restore_dump" in asked):
        raise InventoryError(
            "restore_to and restore_dump are both "
            f"{'given' if 'restore_to' in asked else 'missing'}; write one of"
            f" {OPTIONS['restore_to']} (or latest, point:<name>, xid:<number>) and"
            " -e restore_dump=<path>."
        )
    database, confirmed = asked.get("restore_database"), asked.get("restore_confirmed_database")
    if database != confirmed:
        shown = "missing" if confirmed is None else _specification.shown(confirmed)
        raise InventoryError(
            f"restore_confirmed_database is {shown}, but restore_database, whose rows are to be"
            f" replaced (and kept under another name), is {database or 'missing'}; write"
            f" -e restore_database={database or confirmed}"
            f" -e restore_confirmed_database={database or confirmed}."
        )
    if "restore_dump" in asked and database is None:
        raise InventoryError(
            "restore_database is missing, and a dump is only restored into place; write -e"
            " restore_database=<name> -e restore_confirmed_database=<name>."
        )
    if database is not None:
        _require_writers(inputs)


def _removes(asked: t.Mapping[str, t.Any]) -> bool:
    return _says_yes(asked.get("restore_remove"))


def _says_yes(value: t.Any) -> bool:
    return str(value).lower() in ("true", "yes", "on", "1")


def _require_writers(inputs: t.Mapping[str, t.Any]) -> None:
    """Refuses a --limit without those that the playbook stops before it replaces their database."""
    limit, groups = inputs.get("limit"), inputs.get("groups") or {}
    writers = [name for group in ("application", "worker") for name in groups.get(group, [])]
    left = [name for name in dict.fromkeys(writers) if name not in (inputs.get("machines") or [])]
    if limit and left:
        raise InventoryError(
            f"--limit {limit} leaves out {', '.join(left)}, whose servers and workers would go on"
            " with a database that is being replaced; leave --limit out."
        )


def _check_files(asked: t.Mapping[str, t.Any]) -> None:
    """A moment that a snapshot can have, and the path of what is replaced twice."""
    if "restore_to" not in asked:
        raise InventoryError(
            "restore_to is missing; write -e restore_to=latest for what was saved last, or"
            f" {OPTIONS['restore_to']}."
        )
    moment = str(asked["restore_to"])
    if moment.startswith(("point:", "xid:")):
        raise InventoryError(
            f"restore_to is {_specification.shown(moment)}, which files do not have; write latest"
            f" or a time: {OPTIONS['restore_to']}."
        )
    path, confirmed = asked.get("restore_path"), asked.get("restore_confirmed_path")
    if confirmed not in (None, path):
        raise InventoryError(
            f"restore_confirmed_path is {_specification.shown(confirmed)}, but restore_path, which"
            f" is to be replaced (and kept under another name), is {path or 'missing'}; write"
            f" -e restore_path={path or confirmed} -e restore_confirmed_path={path or confirmed}."
        )


def _require_moment(asked: t.Mapping[str, t.Any]) -> None:
    if "restore_to" not in asked:
        raise InventoryError(
            "restore_to is missing; write -e restore_to=latest for all that was archived, or"
            f" {OPTIONS['restore_to']} (or point:<name>, xid:<number>)."
        )


def _check_load(inputs: t.Mapping[str, t.Any], asked: t.Mapping[str, t.Any]) -> None:
    """Visitors by the hundred go where they were meant to go, and to real ones only if told."""
    named, here = asked["load_environment"], inputs.get("environment")
    if named != here:
        raise InventoryError(
            f"load_environment is {_specification.shown(named)}, but this inventory is {here!r};"
            " give the inventory of the environment that you mean."
        )
    wanted = _says_yes(asked.get("load_production"))
    allowed = inputs.get("load_tests_allowed")
    if allowed is not True and not wanted:
        shown = "not declared" if allowed is None else _specification.shown(allowed)
        raise InventoryError(
            f"stack_load_tests_allowed of {here} is {shown}, so it may serve real visitors, whom a"
            " load test slows down; write true where it does not, or add"
            f" {OPTIONS['load_production']}."
        )
    machines = {name for each in (inputs.get("groups") or {}).values() for name in each}
    if asked["load_from"] not in machines:
        raise InventoryError(
            f"load_from is {_specification.shown(asked['load_from'])}, which is no machine of this"
            f" inventory; write one of {', '.join(sorted(machines))}."
        )
    _require_within("load_from", asked["load_from"], [asked["load_from"]], inputs)
    _check_users(asked)


def _require_within(
    name: str, value: str, machines: t.Sequence[str], inputs: t.Mapping[str, t.Any]
) -> None:
    """Refuses a --limit without the machines that were asked for, which nothing would reach."""
    if inputs.get("limit") and not set(machines) & set(inputs.get("machines") or []):
        raise InventoryError(
            f"--limit {inputs['limit']} leaves out {' and '.join(machines)}, where {name} {value}"
            " is; name it too, or leave --limit out."
        )


def _check_users(asked: t.Mapping[str, t.Any]) -> None:
    """Users who would still be on their way when the test ends were not meant."""
    users, seconds = int(asked.get("load_users", 0)), int(asked.get("load_seconds", 0))
    (*_others, (until, most)) = _load.stages(asked.get("load_profile", "smoke"), users, seconds)
    if most >= _load.SPAWN_RATE * until:
        raise InventoryError(
            f"{most} users are asked for, but {_load.SPAWN_RATE} come in a second and the test"
            f" takes {until} s; write fewer load_users, or more load_seconds."
        )


def _check_profile(name: str, value: t.Any) -> None:
    if value not in _load.PROFILES:
        raise InventoryError(
            f"{name} is {_specification.shown(value)}; write one of {', '.join(_load.PROFILES)}."
        )


def _check_moment(name: str, value: t.Any) -> None:
    try:
        target = _recovery.target(str(value))
    except StackError as error:
        raise InventoryError(str(error)) from None
    if target.kind == "time" and datetime.fromisoformat(target.value) > datetime.now(UTC):
        raise InventoryError(
            f"{name} is {_specification.shown(value)}, which is still to come; write latest for all"
            " that was archived."
        )


def _require_approval(inputs: t.Mapping[str, t.Any], asked: t.Mapping[str, t.Any]) -> None:
    """Refuses what nobody has approved by its version; another version was not meant."""
    declared = {
        each.get("name"): (each.get("source") or {}).get("version", "main")
        for each in inputs.get("applications") or []
    }
    wanted = asked.get("version") or declared.get(asked.get("app"))
    given = asked.get("deploy_approved")
    if given != wanted:
        shown = "missing" if given is None else _specification.shown(given)
        raise InventoryError(
            f"deploy_approved is {shown}, and this environment deploys only what was approved; once"
            f" somebody has approved {wanted}, add -e deploy_approved={wanted}."
        )


def _check_databases(name: str, value: t.Any) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*(?:,[a-z][a-z0-9_]*)*", str(value)):
        raise InventoryError(
            f"{name} is {_specification.shown(value)}; write databases with commas between and no"
            " spaces."
        )


def _check_point(name: str, value: t.Any) -> None:
    _check_name(name, value)
    if not re.fullmatch(r"[\w.-]{1,63}", value, re.ASCII):
        raise InventoryError(
            f"{name} is {_specification.shown(value)}; write at most 63 letters, digits, dots and"
            " dashes, for example before-migration."
        )


def _refuse_provided(postgres: t.Any, asked: t.Container[str]) -> None:
    host = postgres.get("host") if isinstance(postgres, t.Mapping) else None
    if "restore_dump" in asked:
        raise InventoryError(
            f"stack_postgres.host is {_specification.shown(host)}, and this playbook fills only a"
            " database of our own server; fill the provider's from restore_dump with the commands"
            ' of docs/external.md, section "PostgreSQL".'
        )
    raise InventoryError(
        f"stack_postgres.host is {_specification.shown(host)}, whose provider alone can go back to"
        " a moment or name one: restore there into a new server and write its address into"
        " stack_postgres.host, or fill a database from a dump as docs/external.md says."
    )


def _accept(name: str, value: t.Any) -> None:
    """Any value will do."""


def _check_version(name: str, value: t.Any) -> None:
    _require_text(name, value, "a tag as refs/tags/1.10, a commit with all of its digits")
    for rule in _rules.RULES["stack_applications[].source.version"]:
        if not rule.holds(value):
            raise InventoryError(f"{name} is {_specification.shown(value)}; {rule.remedy}.")


def _require_text(name: str, value: t.Any, instead: str) -> None:
    """Refuses what was a number once it came here: nobody knows how it had been written."""
    if not isinstance(value, str):
        raise InventoryError(
            f"{name} is {_specification.shown(value)}, which is not text; write it in quotes:"
            f""" -e '{{"{name}": "..."}}', or, where a survey asks, {instead}."""
        )


def _check_migrations(name: str, value: t.Any) -> None:
    _require_text(name, value, "with a comma behind: 0001,")
    if not re.fullmatch(r"[\w.:-]+(,[\w.:-]+)*,?", value) or "all" in value.split(","):
        raise InventoryError(
            f"{name} is {_specification.shown(value)}; write what the refusal has named:"
            f" {OPTIONS[name]}."
        )


def _check_name(name: str, value: t.Any) -> None:
    _require_text(name, value, "a name that begins with a letter")


def _check_paths(name: str, value: t.Any) -> None:
    _require_text(name, value, "paths that begin with /")
    if not all(path.startswith("/") for path in value.split(",")):
        raise InventoryError(
            f"{name} is {_specification.shown(value)}; write paths from / on, with commas between:"
            f" {OPTIONS[name]}."
        )


def _check_prefix(name: str, value: t.Any) -> None:
    if not re.fullmatch(r"(?!.*\.\.)[\w.-][\w./-]*", str(value)):
        raise InventoryError(
            f"{name} is {_specification.shown(value)}; write where in the bucket the backups are:"
            f" {OPTIONS[name]}."
        )


def _check_command(name: str, value: t.Any) -> None:
    try:
        shlex.split(str(value))
    except ValueError:
        raise InventoryError(
            f"{name} is {_specification.shown(value)}; close its quotation."
        ) from None


def _check_flag(name: str, value: t.Any) -> None:
    if str(value).lower() not in ("true", "false", "yes", "no"):
        raise InventoryError(f"{name} is {_specification.shown(value)}; write true or false.")


def _check_service(name: str, inputs: t.Mapping[str, t.Any]) -> None:
    _one_of(tuple(_SERVICES))("service", name)
    missing = ""
    if name == "postgres" and inputs.get("postgres"):
        missing = "stack_postgres says that it is a provider's"
    elif not (inputs.get("groups") or {}).get(_SERVICES[name]):
        missing = f"the group {_SERVICES[name]!r} has no machine here"
    if missing:
        raise InventoryError(
            f"service is {name!r}, but {missing}; whoever runs it for you restarts it."
        )
    _require_within("service", name, inputs["groups"][_SERVICES[name]], inputs)


def _one_of(choices: t.Sequence[str]) -> t.Callable[[str, t.Any], None]:
    def check(name: str, value: t.Any) -> None:
        if value not in choices:
            raise InventoryError(
                f"{name} is {_specification.shown(value)}; write one of {', '.join(choices)}."
            )

    return check


def _check_seconds(name: str, value: t.Any) -> None:
    if isinstance(value, bool) or not re.fullmatch(r"[1-9][0-9]{0,8}", str(value)):
        raise InventoryError(
            f"{name} is {_specification.shown(value)}; write a whole number of seconds."
        )


def _up_to(most: int, unit: str) -> t.Callable[[str, t.Any], None]:
    def check(name: str, value: t.Any) -> None:
        whole = not isinstance(value, bool) and re.fullmatch(r"[1-9][0-9]{0,8}", str(value))
        if not whole or int(value) > most:
            raise InventoryError(
                f"{name} is {_specification.shown(value)}; write a whole number of {unit}, at most"
                f" {most}."
            )

    return check


def _check_file(name: str, value: t.Any) -> None:
    if not Path(str(value)).resolve().parent.is_dir():
        raise InventoryError(
            f"{name} is {_specification.shown(value)}; write a file in a folder of this computer."
        )


def _check_path(name: str, value: t.Any) -> None:
    if not str(value).startswith("/") or os.path.normpath(str(value)) != str(value).rstrip("/"):
        raise InventoryError(
            f"{name} is {_specification.shown(value)}; write a whole path on the machine, for"
            " example /srv/shop/media."
        )


def _check_source(name: str, value: t.Any) -> None:
    if not Path(str(value)).is_file():
        raise InventoryError(
            f"{name} is {_specification.shown(value)}, where this computer has no file; write the"
            " path of one."
        )


_CHECKS: dict[str, t.Callable[[str, t.Any], None]] = {
    "command": _check_command,
    "back_up_first": _check_flag,
    "rollback_if_critical": _check_flag,
    "version": _check_version,
    "release": _check_version,
    "deploy_approved": _check_version,
    "allow_migrations": _check_migrations,
    "restore_to": _check_moment,
    "restore_dump": _check_path,
    "restore_database": _check_name,
    "restore_from": _check_prefix,
    "restore_remove": _check_flag,
    "restore_path": _check_path,
    "restore_confirmed_path": _check_path,
    "restore_point": _check_point,
    "back_up_only": _check_databases,
    "verify_level": _one_of(_LEVELS),
    "verify_max_age": _check_seconds,
    "health_timeout_seconds": _check_seconds,
    "health_report_json": _check_file,
    "health_report_html": _check_file,
    "load_profile": _check_profile,
    "load_paths": _check_paths,
    "load_slow_paths": _check_paths,
    "load_users": _up_to(_load.MOST_USERS, "users"),
    "load_seconds": _up_to(_load.LONGEST_SECONDS, "seconds"),
    "load_production": _check_flag,
    "load_reports": _check_file,
    "load_file": _check_source,
    "result_json": _check_file,
}


def _check_limit(inputs: t.Mapping[str, t.Any], asked: t.Mapping[str, t.Any]) -> None:
    """Refuses a --limit with names that there are not, or that leaves nothing to do."""
    limit, groups = str(inputs.get("limit") or ""), inputs.get("groups") or {}
    known = {*groups, *(machine for machines in groups.values() for machine in machines)}
    # Patterns are Ansible's to judge; a colon stands between names unless it stands in one.
    separator = "," if any(":" in name for name in known) else "[,:]"
    for word in re.split(separator, limit):
        name = word.strip().lstrip("!&")
        plain = re.fullmatch(r"[A-Za-z_][\w.-]*", name)
        if plain and groups and name not in known:
            raise InventoryError(
                f"--limit names {name!r}, which is neither a machine nor a group of this inventory."
            )
    for need in inputs.get("needs") or []:
        machines = _machines_of(need, groups)
        if limit and machines and not set(machines) & set(inputs.get("machines") or []):
            raise InventoryError(
                f"--limit {limit} leaves out {' and '.join(machines)} of the group"
                f" {_group_of(need)!r}, where this playbook works; name one of them, or leave"
                " --limit out."
            )
    if limit and inputs.get("whole"):
        _require_whole(inputs, str(asked.get("app")))
    if limit and "back_up_first" in (inputs.get("takes") or ()):
        _require_backup(inputs, asked)


def _require_backup(inputs: t.Mapping[str, t.Any], asked: t.Mapping[str, t.Any]) -> None:
    """Refuses a --limit without the databases where they are to be backed up before a release."""
    machines = inputs.get("machines") or []
    databases = (inputs.get("groups") or {}).get("database", [])
    left = [name for name in databases if name not in machines]
    migrations, first = asked.get("allow_migrations"), asked.get("back_up_first")
    if left and (migrations if first is None else _says_yes(first)):
        why = f"allow_migrations is {migrations}" if first is None else "back_up_first is true"
        raise InventoryError(
            f"--limit {inputs['limit']} leaves out {', '.join(left)}, but {why}, so a backup is"
            " taken there first; leave --limit out, or write -e back_up_first=false to do without."
        )


def _require_whole(inputs: t.Mapping[str, t.Any], app: str) -> None:
    """Refuses a --limit that leaves out machines of an application: its code is one with its data.

    Of several machines one migrates and remembers it; the others alone would know nothing of it.
    """
    groups, applications = inputs.get("groups") or {}, inputs.get("applications") or []
    meant: t.Mapping[str, t.Any] = next(
        (each for each in applications if each.get("name") == app), {}
    )
    served = "application" if meant.get("static") is None else "web"
    names = [served, *(["worker"] if meant.get("celery") else [])]
    needed = [machine for group in names for machine in groups.get(group, [])]
    left = [name for name in dict.fromkeys(needed) if name not in (inputs.get("machines") or [])]
    if left:
        shown = " and ".join(filter(None, (", ".join(left[:-1]), left[-1])))
        raise InventoryError(
            f"--limit {inputs['limit']} leaves out {shown} of {app}, where other code would go on"
            " serving; leave --limit out, for machines that have the release keep it as it is."
        )
