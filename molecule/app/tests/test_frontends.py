# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A Node server and a site of files: released, refused and rolled back as Python is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
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
        self.sock.connect(f"/run/slipway/{sys.argv[1]}/node.sock")
c = Unix("localhost"); c.request("GET", sys.argv[2]); a = c.getresponse()
print(a.status, a.read().decode())
"""

BROWSE = """
import socket, ssl, sys
tls = ssl._create_unverified_context()
plain = socket.create_connection(("127.0.0.1", 443), timeout=20)
with tls.wrap_socket(plain, server_hostname="leaflet.test") as visitor:
    visitor.sendall(f"GET {sys.argv[1]} HTTP/1.0\\r\\nHost: leaflet.test\\r\\n\\r\\n".encode())
    print(b"".join(iter(lambda: visitor.recv(65536), b"")).decode())
"""

KINDS: dict[str, dict[str, t.Any]] = {
    "door": {"web": {"node": "server.js"}},
    "leaflet": {"static": {}},
    "storefront": {
        "web": {"node": ".next/standalone/server.js", "health_path": "/health"},
        "build": "npm run build",
        "environment": {
            "NEXT_PUBLIC_GREETING": "Welcome",
            "ORDERS": "/srv/storefront/media/orders",
        },
    },
}


@pytest.fixture
def release(tmp_path: Path) -> Release:
    """Deploy a frontend whose source is changed, or go back."""

    def release(
        name: str,
        changes: dict[str, str],
        entry: str = "deploy",
        together: t.Sequence[str] = (),
        patience: int = 60,
        **options: t.Any,
    ) -> Done:
        folder = tmp_path / name
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(SCENARIO / name, folder)
        for path, text in changes.items():
            (folder / path).write_text(text)
        source = {"directory": str(folder)}
        application = {"name": name, "source": source, **KINDS[name], **options}
        given = {
            "app_applications": [application],
            "app_health_timeout_seconds": patience,
            "app_watch_seconds": 0,
            "app_web_machines": together,
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


def ask(machine: Host, path: str = "/", name: str = "door") -> str:
    said = run_python(machine, GET, name, path, python="/usr/bin/python3")
    assert said.startswith("200 "), said
    return said.removeprefix("200 ")


def callers(
    machines: list[Host], name: str = "door", slow: str = "/slow/", path: str = "/"
) -> Load:
    server = f"--socket /run/slipway/{name}/node.sock"
    return Load(
        machines,
        f"{server} --method GET --path {slow} --rate 5",
        f"{server} --method POST --path {path} --rate 10",
    )


def answered(load: Load) -> list[set[str]]:
    """Who answered the posts, machine by machine."""
    return [set(report["bodies"]) for report in load.reports[1::2]]


def serving(machines: list[Host], name: str) -> list[str]:
    return [machine.file(f"/srv/{name}/current").linked_to for machine in machines]


def test_a_node_server_is_released_and_rolled_back_without_losing_a_request(
    machines: list[Host],
    release: Release,
) -> None:
    before = serving(machines, "door")
    # As much of it as the visitors remember.
    first = [ask(machine)[:60] for machine in machines]
    with callers(machines) as load:
        done = release("door", server('"open"', '"still open"'))
    assert done.returncode == 0, done.stdout
    assert load.lost() == []
    after = [ask(machine)[:60] for machine in machines]
    assert answered(load) == [{old, new} for old, new in zip(first, after, strict=True)]
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
        done = release("door", changes, patience=12)
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


def test_files_are_built_once_for_machines_of_any_kind(
    machines: list[Host], release: Release
) -> None:
    together = [machine.backend.get_hostname() for machine in machines]
    done = release("leaflet", {"dist/once.txt": "built once"}, together=together)
    assert done.returncode == 0, done.stdout
    built = serving(machines, "leaflet")
    assert len(set(built)) == 1
    source = [
        machine.check_output("stat -c %Y /srv/leaflet/current/source") for machine in machines
    ]
    assert len(set(source)) == 1, "it was unpacked, not built"


def test_files_without_a_page_never_go_live(machines: list[Host], release: Release) -> None:
    done = release("leaflet", {}, static={"directory": "out"})
    assert done.returncode == 0, "the same revision is the same release"
    before = serving(machines, "leaflet")
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


def ordered(machines: list[Host]) -> list[int]:
    """How many orders are done, machine by machine."""
    count = "cat /srv/storefront/media/orders 2>/dev/null | wc -l"
    return [int(machine.check_output(count)) for machine in machines]


def ordering(machines: list[Host]) -> Load:
    return callers(machines, "storefront", "/slow", "/order")


def done_after(machines: list[Host], orders: list[int]) -> bool:
    """Whether what was left for after the answer is done, once it had the time."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if ordered(machines) == orders:
            return True
        time.sleep(1)
    return False


@pytest.mark.long  # some 20 packages of the registry, and a minute of building for each release
def test_next_js_is_released_and_rolled_back_and_loses_neither_requests_nor_what_comes_after_them(
    machines: list[Host], release: Release
) -> None:
    assert (done := release("storefront", {}, entry="main")).returncode == 0, done.stdout
    first, orders = serving(machines, "storefront"), ordered(machines)
    greeting = (SCENARIO / "storefront/app/greeting.js").read_text()
    second = {"app/greeting.js": greeting.replace("{hands}", "{hands} times")}
    for changes, entry in ((second, "deploy"), ({}, "rollback")):
        before = [ask(machine, "/order", "storefront")[:60] for machine in machines]
        with ordering(machines) as load:
            done = release("storefront", changes, entry=entry)
        assert done.returncode == 0, done.stdout
        assert load.lost() == []
        after = [ask(machine, "/order", "storefront")[:60] for machine in machines]
        assert answered(load) == [{old, new} for old, new in zip(before, after, strict=True)]
        new = [sum(report["bodies"].values()) for report in load.reports[1::2]]
        orders = [old + more for old, more in zip(orders, new, strict=True)]
        assert done_after(machines, orders)
        for machine in machines:
            page = ask(machine, "/", "storefront")
            assert "Welcome" in page
            # What a browser loads of it is of this release, and was copied beside its server.
            for script in re.findall(r'src="(/_next/static/[^"]+)"', page):
                assert ask(machine, script, "storefront")
            home = "/srv/storefront/current/project"
            assert not machine.file(f"{home}/node_modules").exists
    assert serving(machines, "storefront") == first
