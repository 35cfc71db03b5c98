# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Releases good and bad, each deployed onto machines that serve the one before.

One run of Ansible serves both machines, because these tests are mostly such runs.
"""

from __future__ import annotations

import datetime
import json
import subprocess
from pathlib import Path

import pytest
from conftest import IMPATIENT, Change, Deploy
from operations import Load
from test_app import get
from testinfra.host import Host

CANARY = "canary-7391"


NEXT = "git commit -q --allow-empty -m next && chmod -R a+rX ."


def shoppers(machines: list[Host]) -> Load:
    """Visitors of a slow page, and buyers."""
    shop = "--socket /run/slipway/shop/web.sock"
    slow, buying = "--method GET --path /slow/ --rate 5", "--method POST --rate 10"
    return Load(machines, f"{shop} {slow}", f"{shop} {buying}")


def revisions(load: Load) -> list[set[str]]:
    """Who answered the buyers, machine by machine."""
    return [set(report["bodies"]) for report in load.reports[1::2]]


def revision(machine: Host) -> str:
    return str(machine.file("/srv/shop/current/REVISION").content_string.strip()[:60])


def history(machine: Host) -> list[dict[str, str]]:
    path = "/var/lib/slipway/deployments/shop/history.json"
    return json.loads(machine.file(path).content_string)


def replace(name: str, old: str, new: str) -> Change:
    def change(folder: Path) -> None:
        path = folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return change


def state(machines: list[Host]) -> list[tuple[str, str, str]]:
    return [
        (
            machine.file("/srv/shop/current").linked_to,
            machine.check_output("ls /srv/shop/releases"),
            machine.check_output("systemctl show -P MainPID shop-web shop-asgi stall-web"),
        )
        for machine in machines
    ]


def everywhere(machines: list[Host], path: str) -> set[str]:
    return {get(machine, path) for machine in machines}


def healthy(machines: list[Host]) -> bool:
    return all(answer.startswith("200") for answer in everywhere(machines, "/health/"))


def unchanged(done: subprocess.CompletedProcess[str], machines: list[Host]) -> bool:
    return done.stdout.count("changed=0 ") == len(machines)


QUICK = replace("shop.py", 'text = "slow"', 'text = "quick"')
# Only a trial has that directory; a slow machine takes longer to find out than the trial took.
ON_TRIAL_ONLY = "import json, os; os.environ['RUNTIME_DIRECTORY']"
LATE = "import os, time; 'RUNTIME_DIRECTORY' in os.environ or time.sleep(6)"
BROKEN = {
    "does not import": (replace("shop.py", "import json", "import jason"), "jason"),
    "starts on trial only": (replace("shop.py", "import json", ON_TRIAL_ONLY), "standin"),
    "starts on trial only and fails late": (
        replace("shop.py", "import json", f"{LATE}\n{ON_TRIAL_ONLY}"),
        "KeyError: 'RUNTIME_DIRECTORY'",
    ),
    "says that it is ill": (replace("shop.py", "200 OK", "503 down"), "503"),
    "hangs when it is asked how it is": (
        replace(
            "shop.py", 'if path == "/health/":', 'if path == "/health/":\n        time.sleep(300)'
        ),
        "no answer",
    ),
    "cannot be migrated": (replace("migrate.py", "import os", "import oz"), "migrate"),
    "has no lock": (lambda folder: (folder / "uv.lock").unlink(), "uv lock"),
    "has a lock with a wrong hash": (replace("uv.lock", "sha256:", "sha256:00"), "dependencies"),
}


# What unit tests ask as well, or another fault here asks harder.
SELDOM = ("starts on trial only", "has no lock")


@pytest.mark.parametrize(
    "fault",
    [pytest.param(name, marks=pytest.mark.long if name in SELDOM else ()) for name in BROKEN],
)
def test_a_release_that(machines: list[Host], deploy: Deploy, fault: str) -> None:
    change, expected = BROKEN[fault]
    before, serving = state(machines), [{revision(machine)} for machine in machines]
    with shoppers(machines) as load:
        done = deploy(change, IMPATIENT)
    assert done.returncode != 0
    told = (done.stdout + done.stderr).split("FAILED! =>")[1:]
    assert len(told) == len(machines)
    assert all(expected in one for one in told), done.stderr
    assert load.lost() == []
    assert revisions(load) == serving
    if "on trial only" not in fault:
        assert state(machines) == before
    assert healthy(machines)
    for machine in machines:
        assert history(machine)[-1]["result"] == "failed"
        assert not machine.file("/var/lib/slipway/deployments/shop/lock.json").exists


def test_a_new_release_serves_and_the_next_run_changes_nothing(
    machines: list[Host], deploy: Deploy
) -> None:
    change = QUICK
    old = [machine.file("/srv/shop/current").linked_to for machine in machines]
    served = [revision(machine) for machine in machines]
    with shoppers(machines) as load:
        done = deploy(change)
    assert done.returncode == 0, done.stdout
    assert load.lost() == []
    expected = [
        {before, revision(machine)} for before, machine in zip(served, machines, strict=True)
    ]
    assert revisions(load) == expected
    assert everywhere(machines, "/slow/") == {"200 quick"}
    assert [machine.file("/srv/shop/previous").linked_to for machine in machines] == old
    assert unchanged(deploy(change), machines)


def test_a_restart_loses_nothing(machines: list[Host], deploy: Deploy) -> None:
    before = [machine.check_output("systemctl show -P MainPID shop-web") for machine in machines]
    with shoppers(machines) as load:
        done = deploy(QUICK, entry="restart")
    assert done.returncode == 0, done.stdout
    assert load.lost() == []
    after = [machine.check_output("systemctl show -P MainPID shop-web") for machine in machines]
    assert all(old != new for old, new in zip(before, after, strict=True))
    for machine in machines:
        assert machine.run("systemctl is-active shop-web-standin").stdout.strip() == "inactive"


def test_a_rollback_chooses_the_last_good_release_and_stays(
    machines: list[Host], deploy: Deploy
) -> None:
    """After a good and two bad releases; and no other run brings the bad one back."""
    ill = replace("shop.py", "200 OK", "503 down")
    assert deploy(ill, IMPATIENT, entry="deploy").returncode != 0
    targets = [machine.file("/srv/shop/previous").linked_to for machine in machines]
    with shoppers(machines) as load:
        done = deploy(QUICK, '--extra-vars={"app_rollback": {"reason": "slow"}}', entry="rollback")
    assert done.returncode == 0, done.stdout
    assert load.lost() == []
    assert [machine.file("/srv/shop/current").linked_to for machine in machines] == targets
    assert everywhere(machines, "/slow/") == {"200 slow"}
    for machine in machines:
        line = history(machine)[-1]
        assert (line["what"], line["result"]) == ("rollback", "succeeded")
    kept = deploy(QUICK)
    assert unchanged(kept, machines), kept.stdout
    assert "was rolled back" in kept.stdout
    assert everywhere(machines, "/slow/") == {"200 slow"}


def test_one_deployment_at_a_time(machines: list[Host], deploy: Deploy) -> None:
    """One machine is held by somebody else, the other by somebody who gave no sign of life."""
    folder = "/var/lib/slipway/deployments/shop"
    now = datetime.datetime.now(datetime.UTC)
    for machine, hours in zip(machines, (1, -1), strict=True):
        expires = (now + datetime.timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")
        held = {
            "deployment": "abc",
            "holder": {"who": "ada", "controller": "elsewhere", "process": "1:1:1"},
            "what": "deploy v2",
            "taken": "2026-11-21T08:00:00Z",
            "expires": expires,
            "seconds": 900,
        }
        machine.check_output(f"echo '{json.dumps(held)}' > {folder}/lock.json")
    done = deploy(entry="restart")
    said = done.stdout + done.stderr
    assert said.count("FAILED! =>") == 1
    assert "shop is locked: ada on elsewhere" in said
    assert history(machines[1])[-1]["result"] == "succeeded"
    assert machines[0].file(f"{folder}/lock.json").exists
    assert not machines[1].file(f"{folder}/lock.json").exists
    machines[0].check_output(f"rm {folder}/lock.json")


def test_going_back_to_a_revision_does_not_build_it_again(
    machines: list[Host], deploy: Deploy
) -> None:
    releases = [machine.check_output("ls /srv/shop/releases") for machine in machines]
    done = deploy(QUICK, '--extra-vars={"app_withdrawn_enabled": true}', entry="deploy")
    assert done.returncode == 0, done.stdout
    assert everywhere(machines, "/slow/") == {"200 quick"}
    assert [machine.check_output("ls /srv/shop/releases") for machine in machines] == releases


def test_machines_switch_together_or_not_at_all(machines: list[Host], deploy: Deploy) -> None:
    """What serves on the first and breaks on the second is taken back from both."""
    both = [machine.backend.get_hostname() for machine in machines]
    together = f"--extra-vars={json.dumps({'app_machines': both})}"
    ill = f"if socket.gethostname() == '{both[1]}': os.environ['RUNTIME_DIRECTORY']"
    bad = replace("shop.py", "import json", f"import json, os, socket\n{ill}\n")
    before = [machine.file("/srv/shop/current").linked_to for machine in machines]
    serving = [{revision(machine)} for machine in machines]
    with shoppers(machines) as load:
        done = deploy(bad, together, IMPATIENT, entry="deploy")
    assert done.returncode != 0
    assert load.lost() == []
    assert revisions(load)[1] == serving[1]
    assert [machine.file("/srv/shop/current").linked_to for machine in machines] == before
    assert [{revision(machine)} for machine in machines] == serving
    assert healthy(machines)
    assert history(machines[0])[-1]["reason"].startswith(f"{both[1]} failed")
    served = revisions(load)[0]
    assert served > serving[0]  # the first machine had switched
    good = deploy(replace("shop.py", "repeat what", "repeat all that"), together, entry="deploy")
    assert good.returncode == 0, good.stdout
    assert all(history(machine)[-1]["result"] == "succeeded" for machine in machines)


@pytest.mark.parametrize(
    "moment", [pytest.param("before_publish", marks=pytest.mark.long), "after_publish"]
)
def test_what_the_operators_own_tasks_refuse_on_one_machine_serves_on_none(
    machines: list[Host], deploy: Deploy, tmp_path: Path, moment: str
) -> None:
    both = [machine.backend.get_hostname() for machine in machines]
    task = {
        "name": "Smoke",
        "ansible.builtin.fail": {"msg": "{{ app_hook.application }} smells"},
        "when": f"inventory_hostname == '{both[1]}'",
    }
    (tmp_path / "hook.yml").write_text(json.dumps([task]))
    given = {"app_machines": both, "app_hooks": {moment: str(tmp_path / "hook.yml")}}
    before = [machine.file("/srv/shop/current").linked_to for machine in machines]
    change = replace("shop.py", "repeat what", f"repeat {moment} what")
    with shoppers(machines) as load:
        done = deploy(change, f"--extra-vars={json.dumps(given)}", entry="deploy")
    assert done.returncode != 0
    assert load.lost() == []
    assert f"({moment}) failed: shop smells" in " ".join((done.stdout + done.stderr).split())
    assert [machine.file("/srv/shop/current").linked_to for machine in machines] == before
    switched = [len(seen) > 1 for seen in revisions(load)]
    assert switched == [moment == "after_publish"] * len(machines)
    assert healthy(machines)
    assert [history(machine)[-1]["result"] for machine in machines] == ["failed", "failed"]


def test_a_release_that_falls_ill_while_it_is_watched_is_taken_back(
    machines: list[Host], deploy: Deploy, tmp_path: Path
) -> None:
    ill = "/srv/shop/media/ill"
    well = 'well = os.environ.get("SHOP_IS_ILL", "") == ""'
    later = replace("shop.py", well, f'well = not Path("{ill}").exists()')
    # Only once it serves, however long it takes to start.
    soon = "systemd-run --quiet --collect --on-active=10 --timer-property=AccuracySec=1s"
    hook = [{"name": "Fall ill soon", "ansible.builtin.command": f"{soon} touch {ill}"}]
    (tmp_path / "hook.yml").write_text(json.dumps(hook))
    names = [machine.backend.get_hostname() for machine in machines]
    watched = {
        "app_watch_seconds": 180,
        "app_web_machines": [names[0], "nobody"],
        "app_hooks": {"after_publish": str(tmp_path / "hook.yml")},
    }
    before = [machine.file("/srv/shop/current").linked_to for machine in machines]
    with shoppers(machines) as load:
        done = deploy(later, f"--extra-vars={json.dumps(watched)}", entry="deploy")
    for machine in machines:
        machine.check_output(f"rm -f {ill}")
    assert done.returncode != 0
    told = " ".join((done.stdout + done.stderr).split())
    # Whoever waits sees how it goes, from each machine that looks and from one that cannot.
    assert f"{names[0]}: " in told
    assert "nobody: unwatched, it cannot be asked" in told
    assert told.count("of shop was taken back") >= len(machines)
    assert "/health/ at /run/slipway/shop/web.sock has not been well for 30 s: HTTP 503" in told
    assert load.lost() == []
    assert [machine.file("/srv/shop/current").linked_to for machine in machines] == before
    assert healthy(machines)
    for machine in machines:
        line = history(machine)[-1]
        assert (line["result"], "has not been well" in line["reason"]) == ("failed", True)


def test_code_alone_needs_no_index_and_no_installation(
    machines: list[Host], deploy: Deploy
) -> None:
    """The release links to what the one before has, of which not even a time has changed."""

    def installed() -> list[str]:
        environment = "$(readlink -f /srv/shop/current/venv)"
        told = f"echo {environment}; find {environment} -newer /root/began | wc -l"
        return [machine.check_output(told) for machine in machines]

    for machine in machines:
        machine.check_output("touch /root/began; mv /opt/slipway/uv/bin/uv /root/uv")
    before = installed()
    try:
        done = deploy(replace("shop.py", "repeat what", "repeat only what"), entry="deploy")
    finally:
        for machine in machines:
            machine.check_output("mv /root/uv /opt/slipway/uv/bin/uv")
    assert done.returncode == 0, done.stdout
    assert installed() == before
    for machine in machines:
        assert machine.check_output("ls /srv/shop/dependencies").count("\n") == 0


def test_a_changed_environment_restarts_its_application_alone(
    machines: list[Host], deploy: Deploy
) -> None:
    def neighbours() -> list[str]:
        return [machine.check_output("systemctl show -P MainPID stall-web") for machine in machines]

    before = neighbours()
    done = deploy(environment={"SHOP_NEW": "1"})
    assert done.returncode == 0, done.stdout
    for answer in everywhere(machines, "/environment/"):
        assert '"SHOP_NEW": "1"' in answer
    assert neighbours() == before


@pytest.mark.long
def test_an_environment_that_makes_it_ill_fails_the_run(
    machines: list[Host], deploy: Deploy
) -> None:
    done = deploy(None, IMPATIENT, environment={"SHOP_IS_ILL": "yes"})
    assert done.returncode != 0
    assert "503" in done.stdout + done.stderr
    # What serves is ill, and that must not keep away the release that is not.
    cured = deploy(replace("shop.py", "say hello", "greet"))
    assert cured.returncode == 0, cured.stdout
    assert healthy(machines)


@pytest.mark.long
def test_a_branch_that_moves_is_a_release(machines: list[Host], deploy: Deploy) -> None:
    source = {"repository": "file:///var/lib/shop.git", "version": "main"}
    first = (
        "rm -rf /var/lib/shop.git && cp -r /srv/shop/current/source /var/lib/shop.git"
        " && cd /var/lib/shop.git && git init -q -b main && git config user.email a@b.c"
        " && git config user.name a && git add -A && git commit -qm first && chmod -R a+rX ."
    )
    for commit in (first, f"cd /var/lib/shop.git && {NEXT}"):
        for machine in machines:
            machine.check_output(commit)
        done = deploy(source=source)
        assert done.returncode == 0, done.stdout
        for machine in machines:
            head = machine.check_output("git -C /var/lib/shop.git rev-parse HEAD")
            assert get(machine, "/") == f"200 {head}"
    assert unchanged(deploy(source=source), machines)


def test_a_killed_build_and_a_killed_switch_are_finished_by_the_next_run(
    machines: list[Host], deploy: Deploy
) -> None:
    done = deploy()
    assert done.returncode == 0, done.stdout
    for machine in machines:
        machine.check_output("mkdir /srv/shop/releases/20000101T000000Z-half")
        machine.check_output("sed -i s/good/built/ /srv/shop/current/release.json")
    done = deploy(replace("shop.py", "repeat what", "repeat that which"))
    assert done.returncode == 0, done.stdout
    for machine in machines:
        assert "half" not in machine.check_output("ls /srv/shop/releases")
        machine.check_output("sed -i s/good/built/ /srv/shop/current/release.json")
    done = deploy(replace("shop.py", "repeat what", "repeat that which"))
    assert done.returncode == 0, done.stdout
    for machine in machines:
        assert "good" in machine.file("/srv/shop/current/release.json").content_string


def test_secrets_are_not_shown(machines: list[Host], deploy: Deploy) -> None:
    done = deploy(None, "-vvv", "--diff", environment={"SHOP_OTHER_SECRET": f"new-{CANARY}"})
    assert done.returncode == 0, done.stdout
    assert CANARY not in done.stdout + done.stderr
    failed = deploy(replace("migrate.py", 'print("mig', 'raise SystemExit("mig'), "-vvv")
    assert failed.returncode != 0
    assert CANARY not in failed.stdout + failed.stderr
    for machine in machines:
        assert machine.run(f"journalctl --no-pager | grep {CANARY}").rc != 0
