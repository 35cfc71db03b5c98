"""What tests of several subjects need: modules and actions as Ansible runs them, real servers on
sockets, and systemd as a fake."""

from __future__ import annotations

import http.server
import importlib
import importlib.util
import json
import os
import re
import socketserver
import sys
import tempfile
import threading
import types
import typing as t
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.slipway.stack.plugins.module_utils import (
    _commands,
    _probe,
    _releases,
    _serving,
    _units,
)

MODULES = "ansible_collections.slipway.stack.plugins.modules"
SECRET = "hush-hush-hush"
# A real one, whose key nobody has any more.
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBnjCCAUWgAwIBAgIUHmPxEceob4KahjFFjuWwODUXdxgwCgYIKoZIzj0EAwIw
JDEiMCAGA1UEAwwZQW4gYXV0aG9yaXR5IG9mIHRoZSB0ZXN0czAgFw0yNjExMjkx
NjA0NTdaGA8yMTI2MTEwNTE2MDQ1N1owJDEiMCAGA1UEAwwZQW4gYXV0aG9yaXR5
IG9mIHRoZSB0ZXN0czBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABO8XM+VCcaNo
ti127EJMbxzm5tdP9hqoaTzFbN/DfYAgdeUx2Ad5x1m7/eJFoPZwHgIziE3AjFPs
HvSVHNzKfkSjUzBRMB0GA1UdDgQWBBTwGRI/JyRRkCTeoAhyfu80FgnaGDAfBgNV
HSMEGDAWgBTwGRI/JyRRkCTeoAhyfu80FgnaGDAPBgNVHRMBAf8EBTADAQH/MAoG
CCqGSM49BAMCA0cAMEQCIH9rTQuge3KyaEw8KvEmVnpKvOnsIovB0zQAajKbscAd
AiAm4XgcdITA3+Q8Ik9243OLBiOOcP7gFnXteQfLvusQYg==
-----END CERTIFICATE-----
"""
SERVICE, SOCKET = "shop-web.service", "shop-web.socket"
STANDIN = "shop-web-standin.service"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="runs commands as somebody else")


def run_module(
    module_name: str,
    capsys: pytest.CaptureFixture[str],
    check_mode: bool = False,
    /,
    **arguments: t.Any,
) -> dict[str, t.Any]:
    """What a module answers, with its exit code and, as `warned`, its warnings."""
    module = importlib.import_module(f"{MODULES}.{module_name}")
    capsys.readouterr()
    with patch_module_args({**arguments, "_ansible_check_mode": check_mode}):
        with pytest.raises(SystemExit) as end:
            module.main()
        # A module reads its arguments once; the next test has others.
        basic._ANSIBLE_ARGS = None
    out, err = capsys.readouterr()
    said: dict[str, t.Any] = json.loads(out)
    return {**said, "rc": end.value.code or 0, "warned": " ".join(err.split())}


def action(plugin: t.Any, arguments: dict[str, t.Any], check_mode: bool = False) -> t.Any:
    """An action plugin for a task with these arguments, on a connection that leads nowhere."""
    loader = DataLoader()
    task = types.SimpleNamespace(args=arguments, async_val=0, check_mode=check_mode, diff=False)
    shell = types.SimpleNamespace(tmpdir=None, join_path=os.path.join)
    return plugin.ActionModule(
        task,
        types.SimpleNamespace(_shell=shell),
        types.SimpleNamespace(),
        loader,
        Templar(loader=loader),
        None,
    )


def without(module: types.ModuleType, missing: str, patch: pytest.MonkeyPatch) -> t.Any:
    """The same module as it is on a machine that lacks a library."""
    patch.setitem(sys.modules, missing, None)
    name = f"{module.__name__}_without_{missing.replace('.', '_')}"
    specification = importlib.util.spec_from_file_location(name, module.__file__)
    assert specification and specification.loader
    fresh = importlib.util.module_from_spec(specification)
    patch.setitem(sys.modules, name, fresh)  # dataclasses look their module up
    specification.loader.exec_module(fresh)
    return fresh


@pytest.fixture
def room() -> Iterator[Path]:
    """A folder that every user may enter, with a path short enough for sockets in it."""
    with tempfile.TemporaryDirectory(prefix="slipway-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def program(folder: Path, name: str, text: str) -> Path:
    """A fake of an external program."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def systemd_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    """A fake of systemd-run, which is found before the real one."""
    folder = program(tmp_path / "bin", "systemd-run", text).parent
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


class Server:
    """A real HTTP server on a Unix socket; `answer` says what it answers to each request."""

    def __init__(self, path: Path, answer: t.Callable[[], tuple[int, str]]) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = answer()
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: t.Any) -> None:
                """Say nothing."""

        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self.server = socketserver.ThreadingUnixStreamServer(str(path), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Systemd:
    """A fake: units that run or do not, what it was told, and what it is to refuse."""

    def __init__(self, *running: str) -> None:
        self.running = set(running)
        self.known = set(running)
        self.dies: set[str] = set()
        self.refuses: dict[str, str] = {}
        self.told: list[str] = []
        # The numbers, from 1, of what was told without waiting for its end.
        self.unwaited: list[int] = []
        # What systemd is to do by itself, and after how many seconds.
        self.timers: dict[str, str] = {}
        self.fired: set[str] = set()
        self.transient: t.Callable[[Sequence[str]], _commands.Completed] | None = None

    def __call__(self, argv: Sequence[str], timeout: float = 0) -> _commands.Completed:
        if argv[0] == "journalctl":
            return _commands.Completed(0, f"Traceback: {SECRET} is not good\n")
        told = dict(word.partition("=")[::2] for word in argv if word.startswith("--"))
        if argv[0] == "systemd-run" and "--on-active" in told:
            return self._later(argv, told["--unit"], told["--on-active"])
        if any(word.endswith(".timer") for word in argv):
            return self._call_off(argv[2:])
        if argv[0] == "systemd-run":
            assert self.transient
            return self.transient(argv)
        names = [word for word in argv if word.endswith((".service", ".socket"))]
        if argv[1] == "show":
            return _commands.Completed(0, "\n\n".join(map(self._shown, names)))
        self.told.append(" ".join([argv[1], *names]))
        if "--no-block" in argv:
            self.unwaited.append(len(self.told))
        if self.told[-1] in self.refuses:
            return _commands.Completed(1, self.refuses[self.told[-1]])
        if argv[1] in ("start", "restart"):
            self.running.update(set(names) - self.dies)
        if argv[1] == "stop":
            self.running.difference_update(names)
        return _commands.Completed(0, "")

    def _later(self, argv: Sequence[str], name: str, seconds: str) -> _commands.Completed:
        """A transient timer, whose service may still run after it has fired."""
        for unit, loaded in ((".timer", self.timers), (".service", self.fired)):
            if name in loaded:
                return _commands.Completed(1, f"Unit {name}{unit} was already loaded")
        self.timers[name] = f"{argv[argv.index('systemctl') + 1]} after {seconds}"
        return _commands.Completed(0, "")

    def _call_off(self, units: Sequence[str]) -> _commands.Completed:
        for unit in units:
            self.timers.pop(unit.removesuffix(".timer"), None)
            self.fired.discard(unit.removesuffix(".service"))
        # As for every unit that is not loaded, which one of the two never is.
        return _commands.Completed(5, f"Unit {units[-1]} not loaded.")

    def _shown(self, name: str) -> str:
        load = "loaded" if name in self.known else "not-found"
        state = "active" if name in self.running else "inactive"
        return f"LoadState={load}\nActiveState={state}\nSubState=x\nType=notify"


class Shop:
    """An application with real releases and sockets; systemd and gunicorn are fakes."""

    def __init__(self, home: Path, room: Path) -> None:
        (home / "releases").mkdir()
        self.releases = _releases.Releases(home)
        self.systemd = Systemd(SERVICE, SOCKET)
        self.systemd.known.add(STANDIN)
        self.systemd.transient = self._try
        self.statuses: list[int] = []
        self.sick: set[str] = set()
        self.sick_on_trial: set[str] = set()
        self.tried: list[Sequence[str]] = []
        self.starts = True
        (home / "environment").write_text(f'SECRET_KEY="{SECRET}"\n')
        endpoint = _probe.Endpoint(str(room / "web.sock"), "/health/", "shop.test")
        self.server = _serving.Server(SERVICE, "web", "shop.wsgi", "conf.py", endpoint, STANDIN)
        units = [_units.Unit(name, True, "started", (), ()) for name in (SOCKET, SERVICE)]
        self.application = _serving.Application(
            "shop", self.releases, home / "environment", (self.server,), tuple(units), 1
        )
        self.servers = [Server(room / "web.sock", self._answer)]

    def add(self, name: str, result: str) -> None:
        self.releases.path(name).mkdir()
        self.releases.finish(name, f"revision-{name}", "/usr/bin/python3")
        self.releases.judge(name, result)

    def linked(self, link: str = "current") -> str:
        found = self.releases.linked(link)
        return found.name if found else ""

    def result(self, name: str) -> str:
        found = self.releases.read(name)
        return found.result if found else ""

    def close(self) -> None:
        for server in self.servers:
            server.close()

    def _answer(self) -> tuple[int, str]:
        if self.statuses:
            return self.statuses.pop(0), ""
        return self._health(self.linked() in self.sick)

    def _health(self, sick: bool) -> tuple[int, str]:
        return (503, f"no database at {SECRET}") if sick else (200, "{}")

    def _try(self, argv: Sequence[str]) -> _commands.Completed:
        """What systemd-run and gunicorn would do: serve on the socket that they are given."""
        self.tried.append(argv)
        if not self.starts:
            return _commands.Completed(1, "")
        words = " ".join(argv)
        (path,), (name,) = (
            re.findall(pattern, words) for pattern in (r"unix:(\S+)", r"/releases/(\w+)/project")
        )
        sick = name in self.sick_on_trial
        self.servers.append(Server(Path(path), lambda: self._health(sick)))
        if not sick:
            self.systemd.running.add("shop-web-trial.service")
        return _commands.Completed(0, "")
