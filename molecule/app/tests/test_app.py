# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a served application promises, asked of the running one."""

from __future__ import annotations

import json
import shlex
import typing as t

import pytest
from testinfra.host import Host

SOCKET = "/run/slipway/shop/web.sock"
PYTHON = "/srv/shop/current/venv/bin/python"
GET = """
import http.client, socket, sys
class Unix(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(sys.argv[1])
c = Unix("localhost"); c.request("GET", sys.argv[2]); a = c.getresponse()
print(a.status, a.read().decode())
"""
HELLO = """
from websockets.sync.client import unix_connect
with unix_connect("/run/slipway/shop/asgi.sock", "ws://localhost/ws/") as channel:
    print(channel.recv(timeout=10)); channel.send("bid"); print(channel.recv(timeout=10))
"""
# 8 clients as fast as they are answered, while the server is restarted twice.
LOAD = """
import collections, http.client, socket, subprocess, threading, time
class Unix(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect("/run/slipway/shop/web.sock")
seen, end = collections.Counter(), time.monotonic() + 8
def client():
    while time.monotonic() < end:
        try:
            c = Unix("localhost"); c.request("GET", "/slow/"); a = c.getresponse(); a.read()
            seen[a.status] += 1
        except Exception as error:
            seen[repr(error)] += 1
threads = [threading.Thread(target=client) for _ in range(8)]
[thread.start() for thread in threads]
for _ in range(2):
    time.sleep(2)
    subprocess.run(["systemctl", "{verb}", "shop-web.service"], check=True)
[thread.join() for thread in threads]
print(dict(seen))
"""


def run_python(host: Host, text: str, *words: str, user: str = "root", python: str = PYTHON) -> str:
    command = " ".join(map(shlex.quote, ["runuser", "-u", user, "--", python, "-c", text, *words]))
    return str(host.run(f"{command} 2>&1").stdout).strip()


def get(host: Host, path: str, user: str = "root") -> str:
    return run_python(host, GET, SOCKET, path, user=user, python="/usr/bin/python3")


def test_the_release_that_is_current_serves(host: Host) -> None:
    revision = host.file("/srv/shop/current/REVISION").content_string.strip()
    assert get(host, "/") == f"200 {revision}"
    assert f"-{revision[:12]}" in host.file("/srv/shop/current").linked_to


def test_every_character_of_the_environment_arrives(host: Host, scenario: dict[str, t.Any]) -> None:
    status, _space, body = get(host, "/environment/").partition(" ")
    assert status == "200"
    assert json.loads(body) == scenario["app_applications"][0]["environment"]


def test_websockets_are_answered(host: Host) -> None:
    revision = host.file("/srv/shop/current/REVISION").content_string.strip()
    assert run_python(host, HELLO).splitlines() == [revision, "bid"]


def test_the_migration_ran_on_its_own_database(host: Host) -> None:
    assert host.file("/srv/shop/media/migrated").content_string == "direct-canary-7391"


def test_only_the_application_reads_its_environment(host: Host) -> None:
    file = host.file("/etc/slipway/shop/environment")
    assert (file.user, file.group, oct(file.mode)) == ("root", "shop", "0o640")
    for user in ("stall", "www-data", "nobody"):
        assert host.run(f"runuser -u {user} -- cat /etc/slipway/shop/environment").rc != 0
    assert get(host, "/neighbour/") == "200 PermissionError"


@pytest.mark.parametrize("path", ["releases", "cache", "current/source", "media", "static"])
def test_one_application_cannot_enter_another_ones_folders(host: Host, path: str) -> None:
    assert host.run(f"runuser -u stall -- ls /srv/shop/{path}/").rc != 0
    assert host.run(f"runuser -u shop -- ls /srv/shop/{path}/").rc == 0


def test_the_application_cannot_switch_its_own_release(host: Host) -> None:
    assert host.run("runuser -u shop -- ln -sfn /tmp /srv/shop/current").rc != 0
    assert host.run("runuser -u shop -- mv /srv/shop/releases /srv/shop/other").rc != 0


def test_nginx_may_open_the_socket_and_other_applications_may_not(host: Host) -> None:
    assert get(host, "/health/", user="www-data").startswith("200")
    assert "PermissionError" in get(host, "/health/", user="stall")


@pytest.mark.parametrize("unit", ["shop-web", "shop-asgi", "stall-web"])
def test_servers_and_their_sockets_start_with_the_machine(host: Host, unit: str) -> None:
    for name in (f"{unit}.socket", f"{unit}.service"):
        assert host.service(name).is_enabled
        assert host.service(name).is_running


def test_a_restart_under_load_loses_no_request(host: Host) -> None:
    seen = run_python(host, LOAD.replace("{verb}", "restart"), python="/usr/bin/python3")
    counted = json.loads(seen.replace("'", '"').replace("{200", '{"200"'))
    assert list(counted) == ["200"]
    assert counted["200"] > 16  # more than were under way, so some came after each restart
