# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Labs: a network, machines with fixed addresses on it, and the services around them."""

from __future__ import annotations

import ipaddress
import json
import socket
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

from tests.lab import engine, images, shell

LABEL = "slipway.lab"
SPACE = ipaddress.IPv4Network("10.213.0.0/16")
SERVICES = "services"
SERVICES_NAMES = (
    "services.test",
    "acme.services.test",
    "git.services.test",
    "s3.services.test",
    "backups.s3.services.test",
)
BOOT_SECONDS = 120
CAPABILITIES = ("SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE")


@dataclass(frozen=True)
class Machine:
    """One machine as it was asked for: NAME=RELEASE[,alias=HOST][,publish=ADDRESS:PORT:PORT]."""

    name: str
    image: str
    aliases: tuple[str, ...] = ()
    published: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Machine:
        first, *rest = text.split(",")
        name, release = (*first.split("=", 1), "")[:2]
        options = [tuple(option.split("=", 1)) for option in rest]
        unknown = [
            option for option in options if option[0] not in ("alias", "publish") or len(option) < 2
        ]
        if not name or release not in images.RELEASES or unknown:
            raise shell.LabError(
                f"--machine {text} is not understood; write NAME=RELEASE[,alias=HOST]"
                f"[,publish=ADDRESS:PORT:PORT] with a release of {', '.join(images.RELEASES)}."
            )
        return cls(
            name,
            images.machine(release),
            tuple(option[1] for option in options if option[0] == "alias"),
            tuple(option[1] for option in options if option[0] == "publish"),
        )


def up(lab: str, machines: list[Machine], *, services: bool, subnet: str) -> None:
    """Bring a lab up; what of it is there already stays as it is."""
    engine.ensure()
    wanted = list(machines)
    if services:
        wanted.insert(0, Machine(SERVICES, images.SERVICES, SERVICES_NAMES))
    images.ensure([_release(machine) for machine in wanted])
    present = containers(lab)
    strangers = sorted(set(present) - {container(lab, machine.name) for machine in wanted})
    if strangers:
        raise shell.LabError(
            f"lab {lab} already has {', '.join(strangers)}, which this layout does not know; "
            f"remove it first: python3 -m tests.lab down --name {lab}"
        )
    network = _network(lab, subnet)
    for machine in wanted:
        name = container(lab, machine.name)
        if name not in present:
            number = 10 if machine.name == SERVICES else 11 + machines.index(machine)
            address = str(network[number])
            shell.say(f"starting {name} ({machine.image}) at {address}")
            _run(lab, machine, address)
        elif present[name] != "running":
            shell.say(f"starting {name} again")
            shell.output("docker", "start", name)
    wait([container(lab, machine.name) for machine in wanted])


def down(lab: str) -> None:
    """Remove every trace of a lab: machines, volumes and network."""
    mine = f"label={LABEL}={lab}"
    names = list(containers(lab))
    if names:
        shell.say(f"removing {' '.join(names)}")
        shell.output("docker", "rm", "--force", "--volumes", *names)
    for kind in ("volume", "network"):
        found = shell.output("docker", kind, "ls", "--quiet", "--filter", mine).split()
        if found:
            shell.output("docker", kind, "rm", *found)


def reboot(lab: str, names: list[str]) -> None:
    """Shut machines down in order, start them again and wait until they are up."""
    chosen = _chosen(lab, names)
    shell.say(f"rebooting {' '.join(chosen)}")
    shell.output("docker", "stop", "--time", "90", *chosen)
    shell.output("docker", "start", *chosen)
    wait(chosen)


def kill(lab: str, names: list[str]) -> None:
    """Cut the power of machines."""
    shell.output("docker", "kill", *_chosen(lab, names))


def start(lab: str, names: list[str]) -> None:
    """Switch machines on and wait until they are up."""
    chosen = _chosen(lab, names)
    shell.output("docker", "start", *chosen)
    wait(chosen)


@dataclass(frozen=True)
class Description:
    """A machine as it is: where it is reached, and as what on this host."""

    address: str
    state: str
    published: dict[str, str]


def describe(lab: str) -> dict[str, Description]:
    """Return address, state and published ports of each machine."""
    names = list(containers(lab))
    described = json.loads(shell.output("docker", "inspect", *names)) if names else []
    return {
        one["Name"].lstrip("/"): Description(
            one["NetworkSettings"]["Networks"][lab]["IPAddress"],
            one["State"]["Status"],
            {
                inside: f"{outside[0]['HostIp']}:{outside[0]['HostPort']}"
                for inside, outside in (one["NetworkSettings"]["Ports"] or {}).items()
                if outside
            },
        )
        for one in described
    }


def port(lab: str, machine: str, inside: str = "443/tcp") -> int:
    """Where on this host a machine's port is reached."""
    described = describe(lab).get(machine)
    if not described or inside not in described.published:
        raise shell.LabError(f"{machine} does not run.")
    return int(described.published[inside].rpartition(":")[2])


def container(lab: str, name: str) -> str:
    return f"{lab}-{name}"


def containers(lab: str) -> dict[str, str]:
    """Return name and state of each container of a lab."""
    listed = shell.output(
        *("docker", "ps", "--all", "--filter", f"label={LABEL}={lab}"),
        *("--format", "{{.Names}} {{.State}}"),
    )
    return dict(sorted(line.split() for line in listed.splitlines()))


def wait(names: list[str], seconds: float = BOOT_SECONDS) -> None:
    """Wait until systemd has come to an end with starting what it starts."""
    deadline = time.monotonic() + seconds
    for name in names:
        while (state := _state(name, deadline)) not in ("running", "degraded"):
            alive = shell.output("docker", "inspect", "--format", "{{.State.Status}}", name)
            if alive != "running" or time.monotonic() > deadline:
                last = shell.attempt("docker", "logs", "--tail", "3", name)
                raise shell.LabError(
                    f"{name} has not booted: container {alive}, systemd {state or 'silent'}; "
                    f"{' / '.join((last.stdout + last.stderr).split(chr(10)))}"
                )
            time.sleep(0.3)


def _state(name: str, deadline: float) -> str:
    done = shell.attempt(
        *("docker", "exec", name, "systemctl", "is-system-running", "--wait"),
        timeout=max(1.0, deadline - time.monotonic()),
    )
    return done.stdout.strip()


def _chosen(lab: str, names: list[str]) -> list[str]:
    present = list(containers(lab))
    chosen = [name if name.startswith(f"{lab}-") else container(lab, name) for name in names]
    unknown = sorted(set(chosen) - set(present))
    if unknown or not present:
        raise shell.LabError(
            f"lab {lab} has no machine {', '.join(unknown) or 'at all'}; "
            f"it has {', '.join(present) or 'none'}."
        )
    return chosen or present


def _run(lab: str, machine: Machine, address: str) -> None:
    name = container(lab, machine.name)
    options = [
        *("--hostname", name, "--network", lab, "--ip", address),
        *("--label", f"{LABEL}={lab}", "--env", "container=docker", "--stop-signal", "SIGRTMIN+3"),
        *(f"--cap-add={capability}" for capability in CAPABILITIES),
        # systemd confines services with system calls and mounts that these two would refuse it.
        *("--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"),
        *("--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp:exec"),  # noqa: S108
        *("--shm-size", "256m"),
        *(f"--network-alias={alias}" for alias in machine.aliases),
        *(f"--publish={_free(port)}" for port in machine.published),
    ]
    if engine.uses_cgroup_v2():
        # A tree of its own, which Docker mounts read-only.
        options += ["--cgroupns=private"]
        boot = "mount -o remount,rw /sys/fs/cgroup; exec /lib/systemd/systemd"
        command = ["/bin/sh", "-c", boot]
    else:
        options += ["--cgroupns=host", "--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw"]
        command = ["/lib/systemd/systemd"]
    shell.output("docker", "run", "--detach", "--name", name, *options, machine.image, *command)


def _free(published: str) -> str:
    """Return the publication with the first port from the wanted one on that nobody listens on."""
    host, port, inside = published.split(":")
    for candidate in range(int(port), int(port) + 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, candidate))
            except OSError:
                continue
            return f"{host}:{candidate}:{inside}"
    raise shell.LabError(f"no port between {port} and {int(port) + 99} is free on {host}.")


def _network(lab: str, subnet: str) -> ipaddress.IPv4Network:
    """Return the lab's network, and create it where it does not exist."""
    existing = _docker_networks().get(lab)
    if existing:
        return existing
    candidates = [ipaddress.IPv4Network(subnet)] if subnet else _candidates(lab)
    for candidate in candidates:
        taken = _taken(candidate)
        if not taken:
            done = shell.attempt(
                *("docker", "network", "create", "--subnet", str(candidate)),
                *("--gateway", str(candidate[1]), "--label", f"{LABEL}={lab}", lab),
            )
            if done.returncode == 0:
                return candidate
            taken = done.stderr.strip()
    raise shell.LabError(
        f"subnet {candidates[-1]} is already used by {taken}; choose another with --subnet."
    )


def _candidates(lab: str) -> list[ipaddress.IPv4Network]:
    """Return subnets to try: always the same for a name, so that addresses stay what they were."""
    every = list(SPACE.subnets(new_prefix=24))
    first = zlib.crc32(lab.encode()) % len(every)
    return every[first:] + every[:first]


def _taken(subnet: ipaddress.IPv4Network) -> str:
    """Return who uses a part of this subnet already, or nothing."""
    used = {f"Docker network {name}": network for name, network in _docker_networks().items()}
    used |= {f"a route by {device}": network for device, network in _routes()}
    return next((name for name, network in used.items() if network.overlaps(subnet)), "")


def _docker_networks() -> dict[str, ipaddress.IPv4Network]:
    identifiers = shell.output("docker", "network", "ls", "--quiet").split()
    # One that goes away between the two commands is no reason to fail.
    described = json.loads(shell.attempt("docker", "network", "inspect", *identifiers).stdout)
    return {
        network["Name"]: ipaddress.IPv4Network(settings["Subnet"])
        for network in described
        for settings in network["IPAM"]["Config"] or []
        if "." in settings.get("Subnet", "")
    }


def _routes() -> list[tuple[str, ipaddress.IPv4Network]]:
    table = Path("/proc/net/route")
    lines = table.read_text().splitlines()[1:] if table.exists() else []
    fields = [line.split() for line in lines]
    return [
        (row[0], ipaddress.IPv4Network((_little_endian(row[1]), _little_endian(row[7]))))
        for row in fields
        if row[7] != "00000000"
    ]


def _little_endian(text: str) -> str:
    return str(ipaddress.IPv4Address(bytes.fromhex(text)[::-1]))


def _release(machine: Machine) -> str:
    return SERVICES if machine.name == SERVICES else machine.image.partition(":")[2]
