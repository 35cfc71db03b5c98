# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What goes wrong around a release: its sources, its disk, its machines, whoever deploys."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from conftest import Deploy
from operations import broken
from test_deploy import healthy, history, replace, revision, revisions, shoppers, state
from testinfra.host import Host

FULL = (
    "mount -t tmpfs -o size=256k,mode=0700,uid=$(id -u shop),gid=$(id -g shop) none /srv/shop/cache"
)
# The index and its files are nowhere to be found.
NO_INDEX = (
    "cp /etc/hosts /root/hosts && echo 127.0.0.9 pypi.org files.pythonhosted.org >> /etc/hosts"
)
FOUND = "cat /root/hosts > /etc/hosts"


def repeat(what: str) -> t.Callable[[Path], None]:
    """A change that nobody notices, and another revision."""
    return replace("shop.py", "repeat what", f"repeat {what} what")


def told(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join((done.stdout + done.stderr).split())


def test_a_disk_that_fills_up_while_building_leaves_what_serves(
    machines: list[Host], deploy: Deploy
) -> None:
    def anew(folder: Path) -> None:
        repeat("in a full house")(folder)
        # Of the same lock there would be nothing to install.
        with (folder / "pyproject.toml").open("a") as file:
            file.write("# another one\n")

    before = state(machines)
    with shoppers(machines) as load, broken(machines[0], FULL, "umount /srv/shop/cache"):
        done = deploy(anew, entry="deploy")
    assert done.returncode != 0
    assert "No space left on device" in told(done)
    assert load.lost() == []
    # Each machine is alone here, so the other one has released it.
    assert state(machines)[0] == before[0]
    assert healthy(machines)


@pytest.mark.long
def test_without_an_index_the_code_alone_is_still_released(
    machines: list[Host], deploy: Deploy
) -> None:
    for machine in machines:
        machine.check_output(NO_INDEX)
    try:
        done = deploy(repeat("unplugged"), entry="deploy")
    finally:
        for machine in machines:
            machine.check_output(FOUND)
    assert done.returncode == 0, done.stdout
    assert healthy(machines)


def test_a_repository_that_does_not_answer_leaves_what_serves(
    machines: list[Host], deploy: Deploy
) -> None:
    before = state(machines)
    source = {"repository": "git://127.0.0.1:1/shop.git", "version": "main"}
    done = deploy(source=source, entry="deploy")
    assert done.returncode != 0
    assert "The repository of shop (git://127.0.0.1:1/shop.git) cannot be read" in told(done)
    assert state(machines) == before


@pytest.mark.long
def test_a_machine_that_goes_takes_the_others_back(
    machines: list[Host], deploy: Deploy, tmp_path: Path
) -> None:
    """The second one freezes when all is built, and is missed before any server has switched."""
    both = [machine.backend.get_hostname() for machine in machines]
    freeze = {
        "name": "Freeze",
        "ansible.builtin.command": f"docker pause {both[1]}",
        "delegate_to": "localhost",
        "vars": {"ansible_connection": "local", "ansible_python_interpreter": "python3"},
        "run_once": True,
    }
    (tmp_path / "hook.yml").write_text(json.dumps([freeze]))
    given = {"app_machines": both, "app_hooks": {"before_publish": str(tmp_path / "hook.yml")}}
    before = state(machines)
    try:
        with shoppers(machines[:1]) as load:
            done = deploy(repeat("alone"), f"--extra-vars={json.dumps(given)}", entry="deploy")
    finally:
        subprocess.run(["docker", "unpause", both[1]], check=True, capture_output=True)
    assert done.returncode != 0
    assert load.lost() == []
    assert len(revisions(load)[0]) == 1
    assert [each[0] for each in state(machines)] == [each[0] for each in before]
    assert history(machines[0])[-1]["reason"].startswith(f"{both[1]} failed")
    assert healthy(machines)
    # The lock of the one that went is taken over, for whoever held it is gone.
    assert deploy(repeat("together"), entry="deploy").returncode == 0


# A module goes on when the run that began it is killed; these say that it is in its middle.
HALF_BUILT = (
    "(for each in /srv/shop/releases/*; do test -e $each/release.json || exit 0; done; exit 1)"
)
HALF_SWITCHED = "test -e /srv/shop/standin"


@pytest.mark.long
@pytest.mark.parametrize(
    ("entry", "phase", "begun"),
    [
        ("deploy", "Take the lock", "true"),
        ("deploy", "Build beside", "true"),
        ("deploy", "Build beside", HALF_BUILT),
        ("deploy", "Switch, and prove", "true"),
        ("deploy", "Switch, and prove", HALF_SWITCHED),
        ("deploy", "What visitors get", "true"),
        ("deploy", "Keep good releases", "true"),
        ("rollback", "Choose the last good release", "true"),
        ("rollback", "Switch, and prove", HALF_SWITCHED),
        ("rollback", "Keep good releases", "true"),
    ],
    ids=[
        *["start", "update", "within update", "publish", "within publish", "watch", "finish"],
        *["revert", "within publish of a rollback", "finish of a rollback"],
    ],
)
def test_who_is_killed_while_deploying_is_no_trouble_for_the_next(
    machines: list[Host],
    deploy: Deploy,
    command: t.Callable[..., list[str]],
    entry: str,
    phase: str,
    begun: str,
) -> None:
    what = f"{entry} {phase} {len(begun)}"
    watched = f"--extra-vars=app_watch_seconds={60 if phase == 'What visitors get' else 0}"
    with shoppers(machines) as load:
        with under_way(command(repeat(f"until {what}"), watched, entry=entry), phase) as process:
            machines[0].check_output(f"timeout 60 sh -c 'until {begun}; do sleep 0.05; done'")
            os.killpg(process.pid, signal.SIGKILL)
        done = deploy(repeat(f"after {what}"), entry="deploy")
    assert done.returncode == 0, done.stdout
    assert load.lost() == []
    assert_all_is_well(machines)


@contextlib.contextmanager
def under_way(command: list[str], phase: str) -> t.Iterator[subprocess.Popen[str]]:
    """A run that has come to a phase."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout
        assert any(phase in line for line in process.stdout), "it never came so far"
        yield process


def assert_all_is_well(machines: list[Host]) -> None:
    assert healthy(machines)
    for machine in machines:
        assert history(machine)[-1]["result"] == "succeeded"
        assert not machine.file("/var/lib/slipway/deployments/shop/lock.json").exists
        assert not machine.file("/srv/shop/standin").exists


@pytest.mark.long
@pytest.mark.parametrize(
    ("phase", "begun"),
    [("Build beside", HALF_BUILT), ("Switch, and prove", HALF_SWITCHED)],
    ids=["update", "publish"],
)
def test_a_machine_that_loses_power_while_it_is_deployed_to_is_put_right_by_the_next(
    machines: list[Host],
    deploy: Deploy,
    command: t.Callable[..., list[str]],
    phase: str,
    begun: str,
) -> None:
    name = machines[0].backend.get_hostname()
    serving = revision(machines[0])
    lab, _dash, short = name.rpartition("-")
    with under_way(command(repeat(f"powerless {phase}"), entry="deploy"), phase) as process:
        machines[0].check_output(f"timeout 60 sh -c 'until {begun}; do sleep 0.05; done'")
        subprocess.run(["docker", "kill", name], check=True, capture_output=True)
        process.communicate()
    assert process.returncode != 0
    start = [sys.executable, "-m", "tests.lab", "start", "--name", lab, short]
    subprocess.run(start, cwd=os.environ["MOLECULE_PROJECT_DIRECTORY"], check=True)
    # Until then it serves: what served before, or what it was to serve, in whole.
    assert healthy(machines[:1])
    assert phase == "Switch, and prove" or revision(machines[0]) == serving
    done = deploy(repeat(f"after {phase} without power"), entry="deploy")
    assert done.returncode == 0, done.stdout
    assert_all_is_well(machines)
