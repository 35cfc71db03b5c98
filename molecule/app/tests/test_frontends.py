# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A Node server and a site of files: released, refused and rolled back as Python is."""

from __future__ import annotations

import json
import shutil
import subprocess
import typing as t
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import INVENTORY, SCENARIO
from operations import Load
from test_app import run_python
from testinfra.host import Host

Done = subprocess.CompletedProcess[str]
Release = Callable[..., Done]
GET = """
import http.client, socket, sys
class Unix(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect("/run/slipway/door/node.sock")
c = Unix("localhost"); c.request("GET", sys.argv[1]); print(c.getresponse().read().decode())
"""

BROWSE = """
import socket, ssl, sys
tls = ssl._create_unverified_context()
plain = socket.create_connection(("127.0.0.1", 443), timeout=20)
with tls.wrap_socket(plain, server_hostname="leaflet.test") as visitor:
    visitor.sendall(f"GET {sys.argv[1]} HTTP/1.0\\r\\nHost: leaflet.test\\r\\n\\r\\n".encode())
    print(b"".join(iter(lambda: visitor.recv(65536), b"")).decode())
"""


@pytest.fixture
def release(tmp_path: Path) -> Release:
    """Deploy a frontend whose source is changed, or go back."""

    def release(
        name: str, changes: dict[str, str], entry: str = "deploy", **options: t.Any
    ) -> Done:
        folder = tmp_path / name
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(SCENARIO / name, folder)
        for path, text in changes.items():
            (folder / path).write_text(text)
        kind = {"web": {"node": "server.js"}} if name == "door" else {"static": {}}
        application = {"name": name, "source": {"directory": str(folder)}, **kind, **options}
        given = {
            "app_applications": [application],
            "app_health_timeout_seconds": 8,
            "app_watch_seconds": 0,
            "molecule_entry": entry,
        }
        (tmp_path / "given.json").write_text(json.dumps(given))
        command = ["ansible-playbook", f"--inventory={INVENTORY}", "-e", f"@{tmp_path}/given.json"]
        return subprocess.run(
            [*command, f"{SCENARIO}/../shared/converge.yml"],
            check=False,
            capture_output=True,
            text=True,
        )

    return release


def server(old: str, new: str) -> dict[str, str]:
    text = (SCENARIO / "door/server.js").read_text()
    assert old in text
    return {"server.js": text.replace(old, new)}


def ask(machine: Host, path: str = "/") -> str:
    # As much of it as the visitors remember.
    return run_python(machine, GET, path, python="/usr/bin/python3")[:60]


def callers(machines: list[Host]) -> Load:
    door = "--socket /run/slipway/door/node.sock"
    return Load(
        machines, f"{door} --method GET --path /slow/ --rate 5", f"{door} --method POST --rate 10"
    )


def serving(machines: list[Host], name: str) -> list[str]:
    return [machine.file(f"/srv/{name}/current").linked_to for machine in machines]


def test_a_node_server_is_released_and_rolled_back_without_losing_a_request(
    machines: list[Host],
    release: Release,
) -> None:
    before = serving(machines, "door")
    first = [ask(machine) for machine in machines]
    with callers(machines) as load:
        done = release("door", server('"open"', '"still open"'))
    assert done.returncode == 0, done.stdout
    assert load.lost() == []
    after = [ask(machine) for machine in machines]
    seen = [set(report["bodies"]) for report in load.reports[1::2]]
    assert seen == [{old, new} for old, new in zip(first, after, strict=True)]
    with callers(machines) as load:
        done = release("door", {}, entry="rollback")
    assert done.returncode == 0, done.stdout
    assert load.lost() == []
    assert serving(machines, "door") == before


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (server("node:http", "node:htpt"), "htpt"),
        (server('.end(JSON.stringify({ status: "ok" }))', ".destroy()"), "no answer"),
    ],
    ids=["that does not start", "that is ill"],
)
def test_a_node_server(
    machines: list[Host],
    release: Release,
    changes: dict[str, str],
    told: str,
) -> None:
    before = serving(machines, "door")
    with callers(machines) as load:
        done = release("door", changes)
    assert done.returncode != 0
    assert told in done.stdout + done.stderr
    assert load.lost() == []
    assert serving(machines, "door") == before


def fetch(machine: Host, path: str) -> str:
    """What a browser gets, with the head that says how long it keeps it."""
    return run_python(machine, BROWSE, path, python="/usr/bin/python3").lower()


PAGE = "<!doctype html><title>Leaflet {0}</title><script src=/assets/page-{0}.js></script>"


def test_an_open_page_finds_its_files_after_a_release_and_after_a_rollback(
    machines: list[Host],
    release: Release,
) -> None:
    second = {"dist/index.html": PAGE.format(2), "dist/assets/page-2.js": "2"}
    for machine in machines:
        assert "page-1.js" in fetch(machine, "/")
    done = release("leaflet", second)
    assert done.returncode == 0, done.stdout
    for machine in machines:
        # The source still has the first one's file: only another release may be what has it.
        machine.check_output("rm -f /srv/leaflet/current/public/assets/page-1.js")
        for path in ("/", "/index.html", "/a/page/of/the/application"):
            page = fetch(machine, path)
            assert "leaflet 2" in page
            assert "cache-control: no-cache" in page
        for name in ("page-1.js", "page-2.js"):
            file = fetch(machine, f"/assets/{name}")
            assert file.startswith("http/1.1 200")
            assert "cache-control: max-age=31536000" in file
        missing = fetch(machine, "/assets/page-3.js")
        assert missing.startswith("http/1.1 404")
        assert "cache-control" not in missing
    done = release("leaflet", {}, entry="rollback")
    assert done.returncode == 0, done.stdout
    for machine in machines:
        assert "page-1.js" in fetch(machine, "/")
        assert fetch(machine, "/assets/page-2.js").startswith("http/1.1 200")


def test_files_without_a_page_never_go_live(machines: list[Host], release: Release) -> None:
    before = serving(machines, "leaflet")
    done = release("leaflet", {}, static={"directory": "out"})
    assert done.returncode == 0, "the same revision is the same release"
    done = release("leaflet", {"dist/new.txt": "x"}, static={"directory": "out"})
    assert done.returncode != 0
    assert "has no out/index.html: correct static.directory" in done.stdout + done.stderr
    assert serving(machines, "leaflet") == before


def test_nobody_but_nginx_looks_around_in_a_site(host: Host) -> None:
    home = "/srv/leaflet"
    assert host.run(f"runuser -u www-data -- cat {home}/current/public/index.html").rc == 0
    for path in ("releases", "current/source", "cache"):
        assert host.run(f"runuser -u stall -- ls {home}/{path}/").rc != 0


@pytest.mark.long  # Debian's npm is some 400 packages
def test_a_site_is_built_with_debian_s_node(machines: list[Host], release: Release) -> None:
    package = {
        "name": "leaflet",
        "version": "1.0.0",
        "scripts": {"build": "mkdir out && echo $VITE_TITLE > out/index.html"},
    }
    lock = {"name": "leaflet", "version": "1.0.0", "lockfileVersion": 3, "packages": {"": package}}
    changes = {"package.json": json.dumps(package), "package-lock.json": json.dumps(lock)}
    given = {"static": {"directory": "out"}, "build": "npm run build"}
    environment = {"VITE_TITLE": "built", "SECRET": "hidden"}
    done = release("leaflet", changes, entry="main", environment=environment, **given)
    assert done.returncode == 0, done.stdout
    for machine in machines:
        assert fetch(machine, "/").endswith("built")
    assert release("leaflet", {}, entry="rollback").returncode == 0
