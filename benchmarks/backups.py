# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""python3 -m benchmarks.backups: backups and restores beside pg_dump | gzip, interleaved.

Everything runs on one machine that site.yml has set up, with the object store beside it. What
counts is the ratio within a round: seconds depend on the computer.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from statistics import median

from benchmarks.bed import ROOT, Bed, Host
from benchmarks.contenders import Slipway, measure
from benchmarks.table import spread
from tests.lab import engine, images, machines, repository, shell
from tests.lab.stages import Stages

DATABASE = "auction"
PLAIN = f"/var/lib/postgresql/{DATABASE}.sql.gz"
ROW = 560  # bytes of a row in its table, with its header and its part of the index
TABLES = 4  # of equal size: what is done table by table has something for two processors
# Fourteen random words of hexadecimal digits: what gzip makes half of, not nothing.
ROWS = """
DROP TABLE IF EXISTS {table};
CREATE TABLE {table} (id bigint PRIMARY KEY, made timestamptz DEFAULT now(), words text);
INSERT INTO {table} (id, words)
SELECT n, (SELECT string_agg(md5(random()::text || n || w), ' ') FROM generate_series(1, 14) w)
FROM generate_series(1, {rows}) n;
VACUUM ANALYZE {table};
"""
STATE = "/var/lib/slipway/backup"
# As the playbook does it; the timer has less of the processors on purpose. Up to the newest backup,
# for the WAL since then is of what else is measured, and a dump has none of it.
COPY = """
import json, pathlib, subprocess, sys
sys.path.insert(0, "/opt/slipway/backup")
from slipway_backup import _recovery, _scratch
scratch = _scratch.Scratch(pathlib.Path("/var/lib/slipway/scratch"), 5499)
info = "runuser -u postgres -- pgbackrest --stanza=main info --output=json".split()
(stanza,) = json.loads(subprocess.run(info, stdout=subprocess.PIPE, check=True).stdout)
_scratch.bring_up(scratch, _recovery.target("backup:" + stanza["backup"][-1]["label"]))
"""
REMOVE = COPY.rpartition("_scratch.bring_up")[0] + "_scratch.remove(scratch)"
WAITING = "find /var/lib/postgresql/*/main/pg_wal/archive_status -name '*.ready'"
BACKUPS = {
    "pg_dump | gzip": f"pg_dump {DATABASE} | gzip >{PLAIN}",
    "dump": f"pg_dump -Fc --compress=zstd:1 -f {PLAIN}.dump {DATABASE}",
    "dump, read back from S3": "systemctl start slipway-backup.service",
    "physical, full": "pgbackrest --stanza=main --type=full backup",
    "physical, full, read back from S3": (
        f"touch {STATE}/full_wanted && systemctl start slipway-backup-physical.service"
    ),
}
RESTORES = {
    "gunzip | psql": f"gunzip -c {PLAIN} | psql -q -v ON_ERROR_STOP=1 -d again >/dev/null",
    "pg_restore of the dump": (
        f"pg_restore -j 2 --no-owner -d again $(ls -t /var/backups/slipway/{DATABASE}/*.dump"
        " | head -1)"
    ),
    "physical, the whole cluster": f"exec:{COPY}",
}
LIMITS = {"pg_dump | gzip": 5.0, "gunzip | psql": 2.0}
BASES = ("pg_dump | gzip", "gunzip | psql")
AS_ROOT = ("systemctl", "touch")

Round = dict[str, float]


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    bed, stages = Bed(options.name, options.release), Stages()
    try:
        engine.ensure()
        images.ensure([options.release, "services"])
        if not options.again:
            bed.clean()
            bed.prepare()
        with stages.stage("machine"):
            host = _kept(bed) if options.again else _machine(bed)
        with stages.stage("rows"):
            size = _fill(host, int(options.gigabytes * 2**30 / ROW))
        rounds = []
        for number in range(options.rounds):
            with stages.stage(f"round {number + 1}"):
                rounds.append(_round(host, number))
        sizes = _sizes(host)
        # In life the object store's processors are not those of the machine.
        services = machines.container(bed.lab, machines.SERVICES)
        shell.output("docker", "update", "--cpu-shares", "16", services)
        with stages.stage("pgbench"):
            losses = _losses(host, options.pgbench_rounds, options.pgbench_seconds)
    except shell.LabError as error:
        print(f"\nbenchmarks: {error}", file=sys.stderr)
        return 1
    finally:
        if not options.keep:
            bed.clean()
    print(f"\n{report(size, rounds, sizes, losses)}\n\n{stages.table()}")
    return 0


def _machine(bed: Bed) -> Host:
    source = repository.publish(bed.lab, ROOT / "tests" / "apps" / "auction", "auction", "")
    (host,) = bed.add("backups")
    measure(Slipway(source), [host], cold=True)
    # They would take their turn in the middle of a measurement.
    host.inside("sh", "-c", "systemctl stop slipway-backup*.timer slipway-rehearsal.timer")
    # The first run of the unit waits for none of the timer's own.
    host.inside("systemctl", "start", "slipway-backup-physical.service")
    return host


def _kept(bed: Bed) -> Host:
    """The machine that an earlier run has left."""
    container = machines.container(bed.lab, "backups")
    described = machines.describe(bed.lab)
    if container not in described:
        raise shell.LabError(f"there is no {container}: run once with --keep and without --again.")
    return Host(container, described[container].address)


def _fill(host: Host, rows: int) -> int:
    for number in range(TABLES):
        _psql(host, ROWS.format(table=f"ballast_{number}", rows=rows // TABLES), DATABASE)
    return int(_psql(host, f"SELECT pg_database_size('{DATABASE}')"))


def _round(host: Host, number: int) -> Round:
    """Every way once, each round beginning with another; restores are of this round's backups."""
    seconds = {}
    for name in turned(list(BACKUPS), number):
        _settle(host)
        seconds[name] = _timed(host, BACKUPS[name])
    for name in turned(list(RESTORES), number):
        _psql(host, "DROP DATABASE IF EXISTS again")
        _psql(host, "CREATE DATABASE again TEMPLATE template0")
        _settle(host)
        seconds[name] = _timed(host, RESTORES[name])
        host.inside("python3", "-c", REMOVE)
    for name, took in seconds.items():
        shell.say(f"{took:7.1f} s  {name}")
    _psql(host, "DROP DATABASE IF EXISTS again")
    return seconds


def _settle(host: Host, seconds: float = 300) -> None:
    """Wait until the WAL of what went before is archived, which costs the next one nothing then."""
    until = time.monotonic() + seconds
    _psql(host, "CHECKPOINT")
    while host.inside("sh", "-c", WAITING).strip():
        if time.monotonic() > until:
            raise shell.LabError(f"WAL has not been archived for {seconds:.0f} s.")
        time.sleep(1)


def _timed(host: Host, command: str) -> float:
    begun = time.monotonic()
    if command.startswith("exec:"):
        host.inside("python3", "-c", command.removeprefix("exec:"))
    elif command.startswith(AS_ROOT):
        host.inside("sh", "-ec", command)
    else:
        host.inside("runuser", "-u", "postgres", "--", "bash", "-ec", f"set -o pipefail; {command}")
    return time.monotonic() - begun


def turned(names: list[str], number: int) -> list[str]:
    first = number % len(names)
    return names[first:] + names[:first]


def _sizes(host: Host) -> dict[str, int]:
    """Bytes of the newest backup of each way."""
    dump = f"ls -t /var/backups/slipway/{DATABASE}/*.dump | head -1"
    info = "runuser -u postgres -- pgbackrest --stanza=main info --output=json"
    (stanza,) = json.loads(host.inside("sh", "-c", info))
    fulls = [each for each in stanza["backup"] if each["type"] == "full"]
    return {
        "pg_dump | gzip": int(host.inside("stat", "-c", "%s", PLAIN)),
        "dump": int(host.inside("sh", "-c", f"stat -c %s $({dump})")),
        "physical, full": int(fulls[-1]["info"]["repository"]["delta"]),
    }


def _losses(host: Host, rounds: int, seconds: int) -> dict[str, list[float]]:
    """The share of pgbench's transactions that each load takes, within a round."""
    _psql(host, "DROP DATABASE IF EXISTS pgbench")
    _psql(host, "CREATE DATABASE pgbench")
    bench = ("runuser", "-u", "postgres", "--", "pgbench")
    host.inside(*bench, "--quiet", "--initialize", "--scale=20", "pgbench")
    lost: dict[str, list[float]] = {"physical, full": [], "dump": [], "rehearsal": []}
    units = {
        "physical, full": f"touch {STATE}/full_wanted; systemctl start slipway-backup-physical",
        "dump": "systemctl start slipway-backup",
        "rehearsal": "systemctl start slipway-rehearsal",
    }
    for _number in range(rounds):
        for name, load in units.items():
            alone = _rate(host, seconds, "true")
            under = _rate(host, seconds, load)
            lost[name].append(1 - under / alone)
            shell.say(f"{under:7.0f} of {alone:.0f} transactions/s  {name}")
    return lost


def _rate(host: Host, seconds: int, load: str) -> float:
    """Transactions a second while the load runs, again and again until pgbench has ended."""
    said = host.inside(
        "bash",
        "-c",
        f"(while :; do {load} || true; test '{load}' = true && break; done) & loader=$!;"
        " runuser -u postgres -- pgbench --no-vacuum --client=4 --jobs=1"
        f" --time={seconds} pgbench 2>&1;"
        " kill $loader 2>/dev/null; wait 2>/dev/null;"
        " systemctl stop slipway-backup slipway-backup-physical slipway-rehearsal; true",
    )
    (line,) = [each for each in said.splitlines() if each.startswith("tps = ")]
    return float(line.split()[2])


def _psql(host: Host, sql: str, database: str = "postgres") -> str:
    psql = ("runuser", "-u", "postgres", "--", "psql", "-XAtq", "-v", "ON_ERROR_STOP=1")
    return host.inside(*psql, "-d", database, stdin=sql.encode()).strip()


def report(
    size: int, rounds: list[Round], sizes: dict[str, int], losses: dict[str, list[float]]
) -> str:
    lines = [f"{size / 2**30:.2f} GiB, {len(rounds)} rounds: median [min-max]", ""]
    for base, names in ((BASES[0], BACKUPS), (BASES[1], RESTORES)):
        lines += [f"| | seconds | x as fast as {_cell(base)} |", "|---|---|---|"]
        for name in names:
            times = [each[name] for each in rounds]
            ratios = [each[base] / each[name] for each in rounds]
            lines.append(f"| {_cell(name)} | {spread(times)} | {spread(ratios, '.2f')} |")
        lines.append("")
    lines += [f"| | MiB stored | of {_cell(BASES[0])} |", "|---|---|---|"]
    lines += [
        f"| {_cell(name)} | {stored / 2**20:.0f} | {stored / sizes[BASES[0]]:.2f} |"
        for name, stored in sizes.items()
    ]
    lines += ["", "| while it runs | pgbench loses, % |", "|---|---|"]
    lines += [
        f"| {name} | {spread([100 * each for each in lost])} |" for name, lost in losses.items()
    ]
    lines += ["", *_aims(rounds, losses)]
    return "\n".join(lines)


def _cell(text: str) -> str:
    """A bar would end the cell."""
    return text.replace(" |", ",")


def _aims(rounds: list[Round], losses: dict[str, list[float]]) -> list[str]:
    found = [
        (
            _cell(f"{name} x {base}"),
            LIMITS[base],
            median(each[base] / each[name] for each in rounds),
            True,
        )
        for base, names in ((BASES[0], list(BACKUPS)[1:]), (BASES[1], list(RESTORES)[1:]))
        for name in names
    ]
    found += [
        (f"pgbench loses in %, {name}", 10.0, median(100 * each for each in lost), False)
        for name, lost in losses.items()
        if lost
    ]
    lines = ["| aim | | measured | |", "|---|---|---|---|"]
    for name, limit, value, least in found:
        reached = value >= limit if least else value <= limit
        verdict = "reached" if reached else "missed"
        word = "at least" if least else "at most"
        lines.append(f"| {name} | {word} {limit:g} | {value:.2f} | {verdict} |")
    return lines


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m benchmarks.backups", description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=1.0, help="of rows; 0.05 to try it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pgbench-rounds", type=int, default=3)
    parser.add_argument("--pgbench-seconds", type=int, default=30)
    parser.add_argument("--release", choices=images.RELEASES, default="debian13")
    parser.add_argument("--name", default="slipway-bench-backups", help="name of the lab")
    parser.add_argument("--keep", action="store_true", help="leave the machine running")
    parser.add_argument("--again", action="store_true", help="on the machine that --keep has left")
    return parser


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    os.chdir(ROOT)
    sys.exit(main(sys.argv[1:]))
