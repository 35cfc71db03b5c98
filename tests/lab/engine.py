# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A Docker engine that answers."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

from tests.lab import shell

CGROUPS = Path("/sys/fs/cgroup")
LOG = Path("/var/log/dockerd.log")
PATIENCE_SECONDS = 60


def ensure() -> None:
    """Make sure that an engine answers; root on Debian or Ubuntu installs and starts one."""
    if not _version():
        _start()
    shell.say(f"Docker engine {_version()} answers")


def uses_cgroup_v2() -> bool:
    return shell.output("docker", "info", "--format", "{{.CgroupVersion}}") == "2"


def _version() -> str:
    """Return the engine's version, or nothing where none answers."""
    if not shutil.which("docker"):
        return ""
    done = shell.attempt("docker", "version", "--format", "{{.Server.Version}}", timeout=20)
    return done.stdout.strip() if done.returncode == 0 else ""


def _start() -> None:
    _refuse_what_root_cannot_mend()
    if not shutil.which("dockerd"):
        shell.install(
            ["docker.io", "iptables", "iproute2", "ca-certificates"],
            wanted="a Docker engine",
            purpose="machines are containers",
        )
    # Newer releases keep the client in a package of its own, which docker.io only recommends.
    shell.require({"docker": "docker-cli"}, purpose="machines are containers")
    if _answers_within(5):
        return
    if Path("/run/systemd/system").is_dir():
        shell.output("systemctl", "start", "docker")
        engine = None
    else:
        _mount_systemd_hierarchy()
        shell.say(f"starting dockerd in the background, log in {LOG}")
        with LOG.open("ab") as log:
            engine = subprocess.Popen(
                ["dockerd"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
    if not _answers_within(PATIENCE_SECONDS, engine):
        last = LOG.read_text(errors="replace").splitlines()[-1:] if LOG.exists() else []
        raise shell.LabError(f"dockerd does not answer; see {LOG}: {' '.join(last)}")


def _refuse_what_root_cannot_mend() -> None:
    if os.environ.get("DOCKER_HOST"):
        raise shell.LabError(
            f"no Docker engine answers at DOCKER_HOST={os.environ['DOCKER_HOST']}; "
            "start it, or unset DOCKER_HOST to use one on this machine."
        )
    if not shell.is_root():
        raise shell.LabError(
            "no Docker engine answers to this user; start one and add yourself to its group "
            "(sudo usermod -aG docker $USER), or run this as root."
        )


def _answers_within(seconds: float, engine: subprocess.Popen[bytes] | None = None) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if _version():
            return True
        if engine and engine.poll() is not None:
            return False
        time.sleep(0.5)
    return False


def _mount_systemd_hierarchy() -> None:
    """Give cgroup v1 the named hierarchy that systemd in a container needs.

    Only a host whose own init is not systemd lacks it.
    """
    hierarchy = CGROUPS / "systemd"
    if (CGROUPS / "cgroup.controllers").exists() or os.path.ismount(hierarchy):
        return
    if not (CGROUPS / "memory").is_dir():
        return
    hierarchy.mkdir(exist_ok=True)
    shell.output("mount", "-t", "cgroup", "-o", "none,name=systemd", "cgroup", str(hierarchy))
