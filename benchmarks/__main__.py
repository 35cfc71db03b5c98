# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""python3 -m benchmarks: measure Slipway beside its limit and its peers, interleaved in one run."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks import reference, table
from benchmarks.bed import CACHE, ROOT, Bed, Host
from benchmarks.contenders import Contender, Playbook, Pyinfra, Run, Script, Slipway, measure
from tests.lab import engine, images, repository, shell
from tests.lab.stages import Stages

LIMIT, PEER = Script.name, Pyinfra.name
PACKAGES = """
apt-get update -q >/dev/null
DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >/dev/null
"""


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    bed = Bed(options.name, options.release)
    stages = Stages()
    try:
        engine.ensure()
        images.ensure([options.release, "services"])
        bed.clean()
        bed.prepare()
        report = _Benchmark(bed, stages, options).report()
    except shell.LabError as error:
        print(f"\nbenchmarks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        if not options.keep:
            bed.clean()
    print(f"\n{report}\n\n{stages.table()}")
    return 0


class _Benchmark:
    """One measurement: a reference, cold runs on bare machines, then runs that change nothing."""

    def __init__(self, bed: Bed, stages: Stages, options: argparse.Namespace) -> None:
        self.bed, self.stages, self.options = bed, stages, options
        source = repository.publish(bed.lab, ROOT / "tests" / "apps" / "auction", "auction", "")
        self.slipway = Slipway(source)
        self.peers = [Playbook(path.parent.name, path, {}) for path in options.peer]
        self.places: dict[str, list[Host]] = {}  # each peer's own machine
        with stages.stage("reference"):
            (self.host,) = bed.add("reference")
            self._say(measure(self.slipway, [self.host], cold=True), "slipway, not counted")
            self.reference = self._describe(source)
            # After this the reference no longer moves: it is what files are compared with.
            measure(self.slipway, [self.host], cold=False)
        self.script = Script(self.reference, self.host)
        self.pyinfra = Pyinfra(self.reference, self.host)
        self._prove(self.slipway, [self.host])

    def report(self) -> str:
        cold = [self._cold_round(number) for number in range(self.options.cold_rounds)]
        for number, peer in enumerate(self.peers, start=1):
            self.places[peer.name] = self.bed.add(f"peer-{number}")
            measure(peer, self.places[peer.name], cold=True)
        alone = [self._round(number) for number in range(self.options.rounds)]
        growth = self._growth()
        results = {"cold": cold, "no-change": alone, "machines": growth}
        (CACHE / "results.json").write_text(json.dumps(results, indent=2, default=asdict))
        return "\n\n".join(
            [
                f"Cold run, 1 machine, {len(cold)} rounds: median [min-max]",
                table.by_contender(cold, LIMIT, PEER),
                f"No-change run, 1 machine, {len(alone)} rounds",
                table.by_contender(alone, LIMIT, PEER),
                f"No-change run by number of machines, {len(growth)} rounds",
                table.by_machines(growth, LIMIT, PEER),
                table.aims(cold, alone, growth, LIMIT, PEER),
            ]
        )

    def _describe(self, source: dict[str, str]) -> reference.Reference:
        """Compare the reference with a machine that has only its packages."""
        with self.bed.bare("packages") as (host,):
            bare = reference.survey(host)
            names = reference.packages(reference.survey(self.host), bare)
            host.inside("sh", "-ec", PACKAGES, "sh", *names)
            return reference.describe(self.host, bare, reference.survey(host), source)

    def _cold_round(self, number: int) -> dict[str, Run]:
        """Give each contender a bare machine; prove that the limit and pyinfra did the work."""
        runs = {}
        with self.stages.stage(f"cold round {number + 1}"):
            for contender in _turned(
                [self.slipway, self.script, self.pyinfra, *self.peers], number
            ):
                with self.bed.bare("cold") as hosts:
                    runs[contender.name] = measure(contender, hosts, cold=True)
                    self._say(runs[contender.name], contender.name)
                    if contender in (self.script, self.pyinfra):
                        self._prove(contender, hosts)
        return runs

    def _prove(self, contender: Contender, hosts: Sequence[Host]) -> None:
        for where, said in self.script.verify(hosts):
            raise shell.LabError(f"{contender.name} did other work than slipway {where}: {said}")

    def _round(self, number: int) -> dict[str, Run]:
        """Let every contender look at a machine that is as it should be."""
        with self.stages.stage(f"no-change round {number + 1}"):
            runs = self._looks(number, [self.host])
            for peer in self.peers:
                # Whether its second run changes nothing is not our business.
                runs[peer.name] = measure(peer, self.places[peer.name], cold=True)
                self._say(runs[peer.name], peer.name)
        return runs

    def _growth(self) -> list[dict[int, dict[str, Run]]]:
        """Let every contender look at ever more machines; those not looked at are idle."""
        counts = self.options.machines
        if counts == [1]:
            return []
        with self.stages.stage("more machines"):
            machines = [self.host, *self.bed.copy(self.host, max(counts) - 1)]
            measure(self.slipway, machines, cold=True)
        rounds = []
        for number in range(self.options.machine_rounds):
            with self.stages.stage(f"machines round {number + 1}"):
                rounds.append({count: self._looks(number, machines[:count]) for count in counts})
        return rounds

    def _looks(self, number: int, machines: list[Host]) -> dict[str, Run]:
        runs = {}
        for contender in _turned([self.slipway, self.script, self.pyinfra], number):
            runs[contender.name] = measure(contender, machines, cold=False)
            self._say(runs[contender.name], f"{contender.name}, {len(machines)} machines")
        return runs

    @staticmethod
    def _say(run: Run, what: str) -> None:
        shell.say(f"{run.seconds:6.1f} s {run.executions:4.0f} executions  {what}")


def _turned(contenders: list[Contender], number: int) -> list[Contender]:
    """Begin each round with another one."""
    first = number % len(contenders)
    return contenders[first:] + contenders[:first]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of no-change runs")
    parser.add_argument("--cold-rounds", type=int, default=2, help="of runs on bare machines")
    parser.add_argument("--machine-rounds", type=int, default=2, help="of runs on more machines")
    parser.add_argument(
        "--machines", type=_counts, default=[1, 2, 4, 8], help="how many, such as 1,2,4,8"
    )
    parser.add_argument("--release", choices=images.RELEASES, default="debian12")
    parser.add_argument(
        *("--peer", "-p"),
        type=_playbook,
        action="append",
        default=[],
        metavar="PATH/playbook.yml",
        help="a playbook of somebody else to run beside ours, repeatable; its hosts are all or one"
        " of database, cache, application, worker, web",
    )
    parser.add_argument("--name", default="slipway-bench", help="name of the lab")
    parser.add_argument("--keep", action="store_true", help="leave the machines running")
    return parser


def _counts(text: str) -> list[int]:
    return sorted({int(count) for count in text.split(",")})


def _playbook(text: str) -> Path:
    path = Path(text).resolve()
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"{path} is no file; name the peer's playbook")
    return path


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    os.chdir(ROOT)
    sys.exit(main(sys.argv[1:]))
