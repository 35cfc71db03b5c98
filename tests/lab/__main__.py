# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""python3 -m tests.lab COMMAND: everything between a bare host and machines that can be managed."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from tests.lab import engine, images, machines, repository, shell, venv


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    try:
        _run(options)
    except shell.LabError as error:
        print(f"tests.lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _run(options: argparse.Namespace) -> None:
    if options.command == "engine":
        engine.ensure()
    elif options.command == "images":
        engine.ensure()
        images.ensure()
    elif options.command == "venv":
        venv.ensure()
    elif options.command == "up":
        wanted = [machines.Machine.parse(text) for text in options.machine]
        machines.up(options.name, wanted, services=options.services, subnet=options.subnet)
    elif options.command == "down":
        machines.down(options.name)
        if options.images:
            images.remove()
    elif options.command == "describe":
        described = machines.describe(options.name)
        print(json.dumps({name: asdict(one) for name, one in described.items()}, indent=2))
    elif options.command == "repository":
        said = repository.publish(options.name, options.folder, options.repository, options.tag)
        print(json.dumps(said, indent=2))
    else:
        day2 = {"reboot": machines.reboot, "kill": machines.kill, "start": machines.start}
        day2[options.command](options.name, options.machine)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m tests.lab", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("engine", help="make sure that a Docker engine answers")
    commands.add_parser("images", help="build the images of machines and services where needed")
    commands.add_parser("venv", help="make .venv and link the checkout as a collection")
    up = commands.add_parser("up", help="bring a lab up: network, machines, services")
    up.add_argument(
        *("--machine", "-m"),
        action="append",
        default=[],
        help="NAME=RELEASE[,alias=HOST]...[,publish=ADDRESS:PORT:PORT]..., repeatable",
    )
    up.add_argument("--services", action="store_true", help="with ACME, S3 and git servers")
    up.add_argument("--subnet", default="", help="a private /24; default: one that is free")
    down = commands.add_parser("down", help="remove every trace of a lab")
    down.add_argument("--images", action="store_true", help="also images that nobody uses")
    told = {"reboot": "shut down and start again", "kill": "cut the power", "start": "switch on"}
    for command, text in told.items():
        some = commands.add_parser(command, help=text)
        some.add_argument("machine", nargs="*", help="default: all")
        some.add_argument("--name", required=True, help="name of the lab")
    for some in (up, down, commands.add_parser("describe", help="print addresses and ports")):
        some.add_argument("--name", required=True, help="name of the lab, prefix of its machines")
    publish = commands.add_parser("repository", help="make a git repository from a folder")
    publish.add_argument("folder", type=Path)
    publish.add_argument("repository", metavar="NAME")
    publish.add_argument("--name", required=True, help="name of the lab whose services serve it")
    publish.add_argument("--tag", default="", help="default: v0.1.<number of commits>")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
