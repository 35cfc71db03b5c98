# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""python3 -m benchmarks.deploys [--rounds 5]: what visitors of `make demo HOSTS=4` get of deploys.

Requests at a constant rate, some on kept connections, and a bidder with a WebSocket. In each round
while nothing happens, during four deploys and a rollback, and during what a release replaces: a
SIGHUP, as a reload sends it, and `systemctl restart` of the servers, one machine after the other.
Each page that is asked for gives the workers a task; those never done or done twice are counted.

Four machines share the processors of one. Where each has its own, what Ansible does on all of them
at the same time adds up nowhere; here it works on one after the other, unless --forks says more.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from demo.__main__ import LAB, ROOT
from demo.unnoticed import INDEX, Report, Step, authority, play, port, publish, watched
from tests.lab import machines, shell

SERVERS = ("auction-web.service", "auction-asgi.service")
AIM = 2.0
# What a version adds to the auction: each page gives a task, and both sides write down which.
TASKS = """

def note(what: str, task: str) -> None:
    with redis.Redis.from_url(settings.BROKER_URL) as client:
        client.hincrby(f"{settings.REDIS_KEY_PREFIX}bench:{what}", task, 1)


@shared_task(bind=True)
def count(self) -> None:
    time.sleep(0.5)
    note("done", self.request.id)
"""
IMPORT = "from celery import shared_task\n"
SETTINGS = "from django.conf import settings\n"
BIDDING = "from . import bidding\n"
GIVE = '    tasks.note("given", tasks.count.delay().id)\n'
TALLY = """
import json, os, redis
client = redis.Redis.from_url(os.environ["BROKER_URL"], decode_responses=True)
prefix = os.environ["REDIS_KEY_PREFIX"] + "bench:"
print(json.dumps([client.hgetall(prefix + what) for what in ("given", "done")]))
"""
# Of visitors who did not come back to tell.
LOST: Report = {"requests": 0, "bids": 0, "p99": float("inf"), "longest": float("inf")}


@dataclass(frozen=True)
class Act:
    """One kind of thing that happens, how often in each round, and how."""

    name: str
    times: int
    do: Callable[[int], bool]


def quiet(seconds: float) -> Callable[[int], bool]:
    def do(_number: int) -> bool:
        time.sleep(seconds)
        return True

    return do


def deploy(number: int) -> bool:
    version = f"v-bench-{os.getpid()}-{time.time_ns()}-{number}"
    publish(
        version,
        ("auctions/views.py", INDEX, f"{INDEX}{GIVE}    # {version}\n"),
        ("auctions/views.py", "from .bidding", "from . import tasks\nfrom .bidding"),
        ("auctions/tasks.py", IMPORT, f"import time\n\nimport redis\n{IMPORT}{SETTINGS}"),
        ("auctions/tasks.py", BIDDING, f"{BIDDING}{TASKS}"),
    )
    options = ("app=auction", f"version={version}", "app_watch_seconds=0")
    return play(Step("deploy", "deploy", options))


def roll_back(_number: int) -> bool:
    return play(Step("rollback", "rollback", ("app=auction",)))


def systemctl(*words: str) -> Callable[[int], bool]:
    def do(_number: int) -> bool:
        for name in ("application-1", "application-2"):
            machine = machines.container(LAB, name)
            shell.output("docker", "exec", machine, "systemctl", *words, *SERVERS)
        # Who waited in the socket is answered by then.
        time.sleep(5)
        return True

    return do


def tally(seconds: float = 60) -> str:
    """What became of the tasks, once the workers had their time."""
    machine = machines.container(LAB, "application-1")
    ask = [
        *("systemd-run", "--quiet", "--pipe", "--wait"),
        "--property=EnvironmentFile=/etc/slipway/auction/environment",
        *("/srv/auction/current/venv/bin/python", "-c", TALLY),
    ]
    until = time.monotonic() + seconds
    while True:
        given, done = json.loads(shell.output("docker", "exec", machine, *ask))
        lost = sorted(given.keys() - done.keys())
        if not lost or time.monotonic() > until:
            break
        time.sleep(1)
    doubled = sorted(task for task, times in done.items() if int(times) > 1)
    said = f"tasks: {len(given)} given, {len(lost)} lost, {len(doubled)} done twice"
    return "\n".join([said, *(f"  {task}" for task in (*lost, *doubled))])


Runs = list[tuple[float, bool, Report]]


def measured(act: Act, room: Path) -> Runs:
    runs: Runs = []
    for number in range(act.times):
        seen: Report = {}
        shell.say(f"{act.name} {number + 1} of {act.times}")
        with watched(room, port(), seen):
            began = time.monotonic()
            ended = act.do(number)
            seconds = time.monotonic() - began
        runs.append((seconds, ended, seen))
    return runs


def line(name: str, runs: Runs, normal: float) -> str:
    visits = [LOST | seen["visitors"] for _seconds, _ended, seen in runs]
    bids = [LOST | seen["bidder"] for _seconds, _ended, seen in runs]
    failed = sum(sum(each["failed"].values()) for each in (*visits, *bids))
    ratios = [each["p99"] / normal for each in visits]
    seconds = statistics.median(seconds for seconds, _ended, _seen in runs)
    return (
        f"| {name} | {len(runs)} | {seconds:.1f} | {sum(each['requests'] for each in visits)}"
        f" | {sum(each['bids'] for each in bids)} | {failed} | {statistics.median(ratios):.1f}"
        f" [{min(ratios):.1f}-{max(ratios):.1f}] | {max(each['longest'] for each in visits):.2f}"
        f" | {sum(not ended for _seconds, ended, _seen in runs)} |"
    )


ACTS = (
    Act("nothing", 1, quiet(24)),
    Act("deploy", 4, deploy),
    # Of five good releases that are kept: more in a row would have nothing to go back to.
    Act("rollback", 1, roll_back),
    Act("SIGHUP", 1, systemctl("kill", "--kill-who=main", "--signal=HUP")),
    Act("systemctl restart", 1, systemctl("restart")),
)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m benchmarks.deploys", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of four deploys and a rollback")
    parser.add_argument(
        "--forks",
        default="1",
        help="machines that Ansible works on at the same time; of processors, all have the same",
    )
    options = parser.parse_args(arguments)
    rounds, os.environ["ANSIBLE_FORKS"] = options.rounds, options.forks
    runs: dict[str, Runs] = {act.name: [] for act in ACTS}
    try:
        with tempfile.TemporaryDirectory() as name:
            authority(Path(name))
            # The first version that gives tasks; what went before gives none.
            deploy(0)
            for number in range(rounds):
                shell.say(f"round {number + 1} of {rounds}")
                for act in ACTS:
                    runs[act.name] += measured(act, Path(name))
        tasks = tally()
    except shell.LabError as error:
        print(f"\nbenchmarks: {error}", file=sys.stderr)
        return 1
    print(f"\nforks: {options.forks}\n{report(runs)}\n{tasks}")
    return 0


def report(runs: dict[str, Runs]) -> str:
    normal, during = (
        statistics.median((LOST | seen["visitors"])["p99"] for _s, _e, seen in runs[name])
        for name in ("nothing", "deploy")
    )
    return "\n".join(
        [
            "| | runs | seconds | requests | bids | failed | p99 x normal | longest s"
            " | went wrong |",
            "|---|---|---|---|---|---|---|---|---|",
            *(line(name, each, normal) for name, each in runs.items()),
            f"\np99 normally {normal:.3f} s; aim {AIM:g} x:"
            f" {'reached' if during / normal <= AIM else 'missed'}",
        ]
    )


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main(sys.argv[1:]))
