# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What pgBackRest and the programs are told of one place, and of two."""

from __future__ import annotations

import typing as t

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.slipway.stack.plugins.module_utils._backup_ages import STATES
from test_redis_pgbouncer import ROLES, render

PLACE = {"bucket": "backups", "prefix": "prod/", "access_key": "A", "secret_key": "s"}
SECOND = {"bucket": "elsewhere", "endpoint_url": "https://s3.example.net:9000", "access_key": "B"}
VARIABLES: dict[str, t.Any] = {"backup_s3": PLACE, "backup_cipher_pass": "correct-horse"}


def configuration(**second: t.Any) -> dict[str, str]:
    place = {**PLACE, "second": second} if second else PLACE
    lines = render("backup", "pgbackrest.conf.j2", **{**VARIABLES, "backup_s3": place})
    return dict(line.split("=", 1) for line in lines if "=" in line and line[0] != "#")


def test_one_place_is_one_repository_archived_to_while_the_server_waits() -> None:
    found = configuration()
    assert found["repo1-s3-endpoint"] == "s3.us-east-1.amazonaws.com"
    assert (found["repo1-s3-key"], found["repo1-path"]) == ("A", "/prod/pgbackrest")
    assert not [name for name in found if name.startswith(("repo2", "archive-async"))]


@pytest.mark.parametrize(("second", "key"), [(SECOND, "B"), ({"bucket": "elsewhere"}, "A")])
def test_a_second_place_is_a_second_repository_with_its_own_keys(
    second: dict[str, str], key: str
) -> None:
    found = configuration(**second)
    assert (found["repo1-s3-bucket"], found["repo2-s3-bucket"]) == ("backups", "elsewhere")
    assert (found["repo1-s3-key"], found["repo2-s3-key"]) == ("A", key)
    assert found["repo2-path"] == "/prod/pgbackrest", "the prefix is as of the first"
    assert found["repo2-cipher-pass"] == "correct-horse"
    assert found["archive-async"] == "y"


def test_the_keys_of_each_place_have_names_of_their_own() -> None:
    second = {**SECOND, "secret_key": "x"}
    lines = render(
        "backup", "s3_keys.j2", **{**VARIABLES, "backup_s3": {**PLACE, "second": second}}
    )
    assert lines[1:] == [
        'AWS_ACCESS_KEY_ID="A"',
        'AWS_SECRET_ACCESS_KEY="s"',
        'SLIPWAY_SECOND_ACCESS_KEY_ID="B"',
        'SLIPWAY_SECOND_SECRET_ACCESS_KEY="x"',
    ]
    assert len(render("backup", "s3_keys.j2", **VARIABLES)) == 3


def restic(place: int, **second: t.Any) -> str:
    """The script that starts restic for a place."""
    places = {**PLACE, "second": second} if second else PLACE
    chosen = trust_as_template(f"{{{{ __backup_saving_places[{place}] }}}}")
    more = {"backup_s3": places, "__backup_restic": chosen, "inventory_hostname": "web1"}
    return "\n".join(render("backup", "files.j2", **{**VARIABLES, **more}))


def test_restic_has_a_script_for_each_place_with_its_own_keys() -> None:
    first = restic(0)
    where = "RESTIC_REPOSITORY=s3:https://s3.us-east-1.amazonaws.com/backups/prod/files/web1\n"
    assert where in first and "SECOND" not in first
    assert "AWS_ACCESS_KEY_ID=$SLIPWAY_PRUNE_ACCESS_KEY_ID" in first
    second = restic(1, **SECOND)
    assert "RESTIC_REPOSITORY=s3:https://s3.example.net:9000/elsewhere/prod/files/web1\n" in second
    assert "AWS_ACCESS_KEY_ID=${SLIPWAY_SECOND_ACCESS_KEY_ID:-}\n" in second
    assert "AWS_ACCESS_KEY_ID=$SLIPWAY_PRUNE_SECOND_ACCESS_KEY_ID\n" in second
    assert "AWS_ACCESS_KEY_ID=$SLIPWAY_PRUNE_ACCESS_KEY_ID" not in second


def role(file: str) -> t.Any:
    return yaml.safe_load((ROLES / "backup" / file).read_text(encoding="utf-8"))


def stopped(tasks: str) -> tuple[str, list[str]]:
    """When the units of a task that declares none are stopped, and which."""
    (found,) = [
        each
        for each in role(tasks)
        if "owned_units" in each.get("slipway.stack.service_config", {})
    ]
    assert list(found["slipway.stack.service_config"]) == ["owned_units"]
    return found["when"], found["slipway.stack.service_config"]["owned_units"]


def test_nothing_of_physical_backups_goes_on_where_there_are_none_any_more() -> None:
    known = role("vars/main.yml")
    files = known["__backup_physical_files"] + known["__backup_rehearsal_files"]
    assert {each["state"] for each in files} == {"{{ __backup_physical_state }}"}
    units = [each["name"] for each in known["__backup_physical_units"]]
    assert stopped("tasks/configure.yml") == ("not __backup_physical.enabled", units)
    assert {f"/etc/systemd/system/{name}" for name in units} <= {each["path"] for each in files}
    strays = "([] if __backup_physical.enabled else __backup_physical_strays)"
    assert strays in known["__backup_files"]
    ages = [f"{{{{ __backup_state }}}}/{STATES[kind]}" for kind in ("physical", "rehearsal")]
    assert known["__backup_physical_strays"] == [{"path": path, "state": "absent"} for path in ages]


def test_nothing_of_saved_files_goes_on_where_none_are_any_more() -> None:
    known = role("vars/main.yml")
    strays = {each["path"] for each in known["__backup_saving_strays"]}
    written = {each["path"] for each in known["__backup_saving_others"] if "state" not in each}
    programs = {f"{{{{ __backup_program }}}}/{name}" for name in ("files", "files-second")}
    assert strays == {*written, *programs, "{{ __backup_metrics }}/files.prom"}
    assert {each["state"] for each in known["__backup_saving_strays"]} == {"absent"}
    when, units = stopped("tasks/files.yml")
    assert when == "not __backup_saving_enabled"
    assert units == ["slipway-backup-files.timer", "slipway-backup-files.service"]
    tasks = [each["name"] for each in role("tasks/files.yml")]
    assert tasks[-2:] == [
        f"files | {what} what is not wanted any more" for what in ("Stop", "Remove")
    ]


def refusal(tasks: str, **registered: t.Any) -> str:
    """What the last task says, which fails; nothing where one of its conditions does not hold."""
    last = role(tasks)[-1]
    templar = Templar(DataLoader(), variables=registered)

    def value(text: str) -> t.Any:
        return templar.template(trust_as_template(text))

    holds = all(value(f"{{{{ {each} }}}}") for each in last["when"])
    return str(value(last["ansible.builtin.fail"]["msg"])) if holds else ""


BAD = {"failed": True, "msg": "Cannot list s3://b.", "stderr": "no such host"}


@pytest.mark.parametrize(
    ("results", "listed"),
    [([], True), ([BAD, {"failed": False}], True), ([BAD, BAD], False)],
)
def test_a_list_of_which_no_place_has_answered_is_a_failure(
    results: list[dict[str, t.Any]], listed: bool
) -> None:
    said = refusal("tasks/list.yml", __backup_dumps={"results": results})
    here = "Neither place of backup_s3 can be listed: Cannot list s3://b. Cannot list s3://b."
    assert said == ("" if listed else here)
    said = refusal("tasks/list_files.yml", __backup_snapshots={"results": results})
    here = "Neither place of the saved files can be listed: no such host; no such host"
    assert said == ("" if listed else here)


@pytest.mark.parametrize("only", [False, True])
def test_only_what_runs_again_under_its_name_stays_failed(only: bool) -> None:
    lines = render("backup", "slipway-backup.service.j2", only=only)
    assert ("CollectMode=inactive-or-failed" in lines[: lines.index("[Service]")]) == only
    assert lines[lines.index("[Service]") - 1] == ""
