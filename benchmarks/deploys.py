# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""python3 -m benchmarks.deploys [--small]: what visitors of `make demo HOSTS=4` get of deploys.

Requests at a constant rate, some on kept connections, and a bidder with a WebSocket, while nothing
happens, during deploys and rollbacks, and during what a release replaces: `systemctl reload` and
`systemctl restart` of the servers, one machine after the other. All in one run.
"""

from __future__ import annotations

import argparse
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


@dataclass(frozen=True)
class Act:
    """One kind of thing that happens, how often, and how."""

    name: str
    times: int
    do: Callable[[int], bool]


def quiet(seconds: float) -> Callable[[int], bool]:
    def do(_number: int) -> bool:
        time.sleep(seconds)
        return True

    return do


def deploy(number: int) -> bool:
    version = f"v-bench-{os.getpid()}-{number}"
    publish(version, "auctions/views.py", INDEX, f"{INDEX}    # {version}\n")
    options = ("app=auction", f"version={version}", "app_watch_seconds=0")
    return play(Step("deploy", "deploy", options))


def roll_back(_number: int) -> bool:
    return play(Step("rollback", "rollback", ("app=auction",)))


def systemctl(verb: str) -> Callable[[int], bool]:
    def do(_number: int) -> bool:
        for name in ("application-1", "application-2"):
            machine = machines.container(LAB, name)
            shell.output("docker", "exec", machine, "systemctl", verb, *SERVERS)
        # Who waited in the socket is answered by then.
        time.sleep(5)
        return True

    return do


def measured(act: Act, room: Path) -> list[tuple[float, bool, Report]]:
    runs = []
    for number in range(act.times):
        seen: Report = {}
        shell.say(f"{act.name} {number + 1} of {act.times}")
        with watched(room, port(), seen):
            began = time.monotonic()
            ended = act.do(number)
            seconds = time.monotonic() - began
        runs.append((seconds, ended, seen))
    return runs


def line(name: str, runs: list[tuple[float, bool, Report]], normal: float) -> str:
    visits = [seen["visitors"] for _seconds, _ended, seen in runs]
    bids = [seen["bidder"] for _seconds, _ended, seen in runs]
    failed = sum(sum(each["failed"].values()) for each in (*visits, *bids))
    ratios = [each["p99"] / normal for each in visits]
    seconds = statistics.median(seconds for seconds, _ended, _seen in runs)
    return (
        f"| {name} | {len(runs)} | {seconds:.1f} | {sum(each['requests'] for each in visits)}"
        f" | {sum(each['bids'] for each in bids)} | {failed} | {statistics.median(ratios):.1f}"
        f" [{min(ratios):.1f}-{max(ratios):.1f}] | {max(each['longest'] for each in visits):.2f}"
        f" | {sum(not ended for _seconds, ended, _seen in runs)} |"
    )


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m benchmarks.deploys", description=__doc__)
    parser.add_argument("--small", action="store_true", help="two deploys and one rollback")
    small = parser.parse_args(arguments).small
    acts = (
        Act("nothing", 1, quiet(15 if small else 120)),
        Act("deploy", 2 if small else 20, deploy),
        Act("rollback", 1 if small else 5, roll_back),
        Act("systemctl reload", 1 if small else 5, systemctl("reload")),
        Act("systemctl restart", 1 if small else 5, systemctl("restart")),
    )
    with tempfile.TemporaryDirectory() as name:
        authority(Path(name))
        runs = {act.name: measured(act, Path(name)) for act in acts}
    normal = runs["nothing"][0][2]["visitors"]["p99"]
    print(
        "\n| | runs | seconds | requests | bids | failed | p99 x normal | longest s | went wrong |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    print("\n".join(line(name, each, normal) for name, each in runs.items()))
    ratio = statistics.median(seen["visitors"]["p99"] / normal for _s, _e, seen in runs["deploy"])
    print(
        f"\np99 normally {normal:.3f} s; aim {AIM:g} x: {'reached' if ratio <= AIM else 'missed'}"
    )
    return 0


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main(sys.argv[1:]))
