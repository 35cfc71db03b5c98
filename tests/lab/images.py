# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The images of machines and services, built when their inputs change and only then."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

from tests.lab import mirror, shell

HERE = Path(__file__).parent / "images"
RELEASES = {"debian12": ("12", "bookworm"), "debian13": ("13", "trixie")}
CA = "slipway-ca:latest"
SERVICES = "slipway-services:latest"
INPUTS = "slipway.inputs"
PACKAGES = (
    "systemd systemd-sysv dbus python3 python3-apt ca-certificates openssh-server sudo "
    "iproute2 procps"
)
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
PROXIES = ("http_proxy", "https_proxy", "no_proxy")


def machine(release: str) -> str:
    return f"slipway-machine:{release}"


def ensure(names: list[str] | None = None) -> None:
    """Build what is missing or out of date; names are releases of Debian and 'services'."""
    wanted = [*RELEASES, "services"] if names is None else names
    with _alone():
        _ensure_ca()
        for release in RELEASES:
            if release in wanted or (release == "debian12" and "services" in wanted):
                _ensure_machine(release)
        if "services" in wanted:
            _build(SERVICES, "services", {"BASE": machine("debian12"), "CA": CA}, HERE / "services")


def remove() -> bool:
    """Remove all images, unless machines of another lab are made of them; whether they are gone."""
    if shell.output("docker", "ps", "--all", "--quiet", "--filter", f"label={INPUTS}"):
        return False
    ours = shell.output("docker", "images", "--quiet", "--filter", f"label={INPUTS}").split()
    for _round in range(3):  # children before parents, whatever the order of the list
        for image in dict.fromkeys(ours):
            shell.attempt("docker", "rmi", "--force", image)
    return True


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Let one process build at a time: others find the images afterwards."""
    with (Path(tempfile.gettempdir()) / "slipway-images.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _ensure_ca() -> None:
    """Make the certificate authority, once: as long as its image exists, it is the lab's."""
    if not _label(CA):
        _build(CA, "ca", {"BASE": _base("debian12")}, None)


def _ensure_machine(release: str) -> None:
    base_independent = {"CA": CA, "PACKAGES": PACKAGES}
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder)
        (context / "trust").mkdir()
        (context / "trust" / ".keep").touch()
        for name, certificate in mirror.extra_certificates().items():
            (context / "trust" / name).write_text(certificate)
        (context / "90host").write_text(mirror.apt_settings())
        # Which suites the mirror has is asked only when there is something to build.
        inputs = _digest("machine", base_independent, context, *mirror.mirrors(), release)
        if _label(machine(release)) == inputs:
            return
        (context / "sources.list").write_text(mirror.sources(RELEASES[release][1]))
        arguments = {"BASE": _base(release), **base_independent}
        _build(machine(release), "machine", arguments, context, inputs)


def _build(
    tag: str, dockerfile: str, arguments: dict[str, str], context: Path | None, inputs: str = ""
) -> None:
    inputs = inputs or _digest(dockerfile, arguments, context)
    if _label(tag) == inputs:
        return
    shell.say(f"building image {tag}")
    arguments = {**arguments, **{name: os.environ[name] for name in PROXIES if name in os.environ}}
    with tempfile.TemporaryDirectory() as folder:
        if context:
            shutil.copytree(context, folder, dirs_exist_ok=True)
        shutil.copy(HERE / f"{dockerfile}.Dockerfile", Path(folder) / "Dockerfile")
        options = [f"--build-arg={name}={value}" for name, value in arguments.items()]
        shell.stream(
            *("docker", "build", "--force-rm", "--tag", tag, "--label", f"{INPUTS}={inputs}"),
            *options,
            folder,
        )


def _digest(dockerfile: str, arguments: dict[str, str], context: Path | None, *more: str) -> str:
    """Return a digest of everything an image is made of."""
    files = sorted(path for path in context.rglob("*") if path.is_file()) if context else []
    parts = [
        (HERE / f"{dockerfile}.Dockerfile").read_text(),
        *(f"{path.relative_to(context or HERE)}\n{path.read_text()}" for path in files),
        # An image that another one is made from counts by its own inputs.
        *(f"{name}={value} {_identity(value)}" for name, value in sorted(arguments.items())),
        *more,
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _identity(image: str) -> str:
    if image == CA:
        return shell.attempt("docker", "image", "inspect", "--format", "{{.Id}}", image).stdout
    return _label(image) if image.startswith("slipway-") else ""


def _label(image: str) -> str:
    form = '{{index .Config.Labels "' + INPUTS + '"}}'
    return shell.attempt("docker", "image", "inspect", "--format", form, image).stdout.strip()


def _base(release: str) -> str:
    """Return Debian as an image: a registry's where one can be reached, else our own."""
    number, codename = RELEASES[release]
    official, own = f"debian:{number}", f"slipway-base:{release}"
    if shell.attempt("docker", "image", "inspect", official).returncode == 0:
        return official
    if _label(own):
        return own
    if _registry_answers():
        shell.say(f"pulling {official}")
        if shell.attempt("docker", "pull", official, timeout=300).returncode == 0:
            return official
    _bootstrap(own, codename)
    return own


def _registry_answers() -> bool:
    """Whether an image registry can be reached; asked with little patience."""
    described = shell.output("docker", "info", "--format", "{{json .RegistryConfig.Mirrors}}")
    registries = [*(json.loads(described) or []), "https://registry-1.docker.io/"]
    return any(
        mirror.answers(urllib.parse.urljoin(registry, "v2/"), timeout=4) for registry in registries
    )


def _bootstrap(tag: str, codename: str) -> None:
    shell.say(f"no image registry can be reached: making {tag} from {mirror.mirrors()[0]}")
    if not shell.is_root():
        raise shell.LabError(
            "neither an image registry can be reached nor may this user make an image itself; "
            "run this once as root, or: docker pull debian:12 && docker pull debian:13"
        )
    shell.require({"mmdebstrap": "mmdebstrap"}, purpose="makes Debian images from a mirror")
    if not KEYRING.exists():
        shell.install(
            ["debian-archive-keyring"], wanted=KEYRING.name, purpose="vouches for Debian's packages"
        )
    with tempfile.TemporaryDirectory() as folder:
        tree, sources, settings = (Path(folder) / name for name in ("tree.tar", "list", "apt"))
        sources.write_text(mirror.sources(codename))
        settings.write_text(mirror.apt_settings())
        shell.stream(
            *("mmdebstrap", "--variant=minbase", f"--include={','.join(PACKAGES.split())}"),
            *(f"--keyring={KEYRING}", f"--aptopt={settings}", codename, str(tree), str(sources)),
        )
        shell.say(f"importing {tag}")
        shell.output("docker", "import", "--change", f"LABEL {INPUTS}={codename}", str(tree), tag)
