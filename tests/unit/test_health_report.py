"""The report of a site: what is said first, what is never left out, what is written where."""

from __future__ import annotations

import datetime
import html.parser
import json
import stat
import typing as t
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible.utils.display import Display
from ansible_collections.slipway.stack.plugins.action import health_report as action
from ansible_collections.slipway.stack.plugins.filter.health_checks import FilterModule
from ansible_collections.slipway.stack.plugins.plugin_utils import (
    _derive,
    _health_page,
    _health_report,
    _whole_file,
)

NOON = datetime.datetime(2026, 11, 21, 12, 0, 5, tzinfo=datetime.UTC)


def row(check: str, state: str = "ok", value: str = "fine", advice: str = "do it") -> t.Any:
    return {"check": check, "state": state, "value": value, "limit": "10", "advice": advice}


def made(results: t.Any) -> _health_report.Report:
    return _health_report.report(results, "production", NOON)


SITE = {
    "one": {"findings": [row("a"), row("b", "warning"), row("c", "critical", "x" * 60)]},
    "two": {"unreachable": True, "msg": "no route\nto host"},
    "three": {"failed": True, "msg": "MODULE FAILURE"},
    "four": {},
    "five": {"findings": []},
}


def test_the_worst_comes_first_with_what_to_do_below() -> None:
    lines = [line for _state, line in _health_report.table(made(SITE))]
    assert lines[0] == "Health of production, 2026-11-21 12:00:05 UTC"
    assert lines[2].split() == ["state", "machine", "check", "value", "limit"]
    assert lines[4].split()[:3] == ["CRITICAL", "one", "c"]
    # Long values are continued, never cut off.
    assert "".join(lines[4:6]).count("x") == 60
    assert lines[6].strip() == "→ do it"
    states = [line.split()[0] for line in lines if line[:1].isalpha()][2:]
    assert states == ["CRITICAL", "CRITICAL", "UNKNOWN", "UNKNOWN", "UNKNOWN", "WARNING", "ok"]
    assert max(len(line) for line in lines) < 130
    assert lines[-1] == "2 critical, 3 unknown, 1 warning, 1 ok on 5 machines."


def test_what_is_well_gets_no_advice_and_one_line() -> None:
    lines = _health_report.table(made({"one": {"findings": [row("a"), row("b")]}}))
    assert [state for state, _line in lines] == ["", "", "", "", "ok", "ok", "", "ok"]
    assert lines[-1][1] == "2 ok on 1 machine."


def test_a_finding_without_advice_or_spaces_is_shown_whole() -> None:
    found = [row("a", "critical", "y" * 200, ""), row("b" * 90, "ok")]
    text = "".join(
        line for _state, line in _health_report.table(made({"one": {"findings": found}}))
    )
    assert text.count("y") == 200
    assert "b" * 90 in text.replace(" ", "").replace("fine10", "")
    assert "→" not in text


@pytest.mark.parametrize(
    ("machine", "state", "value", "advice"),
    [
        ("two", "critical", "could not be reached: no route to host", "ansible -m ping two"),
        ("three", "unknown", "could not be examined: MODULE FAILURE", "-vvv --limit three"),
        ("four", "unknown", "could not be examined: it gave no answer", "-vvv --limit four"),
        ("five", "unknown", "nothing was examined on it", ""),
    ],
)
def test_a_machine_without_an_answer_is_never_healthy(
    machine: str, state: str, value: str, advice: str
) -> None:
    whole = made({machine: SITE[machine]})
    (finding,) = whole.machines[machine]
    assert (finding.state, finding.value) == (state, value)
    assert finding.advice.endswith(advice)
    assert not whole.healthy


def test_nothing_at_all_is_not_healthy_either() -> None:
    whole = made({})
    assert (whole.healthy, whole.state) == (False, "unknown")
    assert whole.summary == "nothing was examined on 0 machines"


def test_a_warning_is_healthy() -> None:
    assert made({"one": {"findings": [row("a", "warning")]}}).healthy


def test_programs_get_the_same() -> None:
    data = _health_report.as_data(made(SITE))
    assert json.loads(json.dumps(data)) == data
    assert data["schema"] == 1
    assert (data["environment"], data["examined"]) == ("production", "2026-11-21T12:00:05Z")
    assert data["counts"] == {"critical": 2, "unknown": 3, "warning": 1, "ok": 1}
    assert data["machines"]["one"]["state"] == "critical"
    assert data["machines"]["one"]["findings"][1] == row("b", "warning")


class Page(html.parser.HTMLParser):
    """What a browser would show and load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag != "meta":
            self.open.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_says_the_same_and_loads_nothing() -> None:
    text = _health_page.page(made(SITE))
    page = Page(text)
    assert page.open == []
    assert page.addresses == []
    assert "script" not in page.tags
    assert "url(" not in text
    assert "@import" not in text
    assert page.tags.count("article") == 6
    for said in ("Something is broken", "What needs you", "no route to host", "x" * 60, "do it"):
        assert said in page.text


def test_the_page_of_a_healthy_site_needs_nobody() -> None:
    page = Page(_health_page.page(made({"one": {"findings": [row("a")]}})))
    assert "Everything is well" in page.text
    assert "What needs you" not in page.text
    assert "1 check" in page.text
    assert "article" not in page.tags


def test_foreign_text_stays_text() -> None:
    evil = "<script>alert('&')</script>"
    found = [row(evil, "critical", evil, evil), {**row(evil), "limit": evil}]
    text = _health_page.page(made({evil: {"findings": found}}))
    assert "<script" not in text
    assert Page(text).text.count(evil) >= 5


def test_foreign_text_does_not_reach_the_terminal_as_anything_else() -> None:
    found = [row("a\x1b[2J", "critical", "b\r\n\x07c\u202e", "d\x9b31m")]
    text = "".join(
        line for _state, line in _health_report.table(made({"one": {"findings": found}}))
    )
    assert text.isprintable()


def test_files_are_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    _whole_file.write(str(path), "text\n")
    _whole_file.write(str(path), "newer\n")
    assert path.read_text() == "newer\n"
    assert [each.name for each in tmp_path.iterdir()] == ["report.json"]
    assert stat.S_IMODE(path.stat().st_mode) & 0o400
    _whole_file.write(None, "never")
    with pytest.raises(AnsibleActionFail, match="cannot be written \\(No such file"):
        _whole_file.write(str(tmp_path / "none" / "report.json"), "text")


def run(**arguments: t.Any) -> tuple[dict[str, t.Any], list[tuple[str, str | None]]]:
    """What the action returns and what it prints."""
    task = SimpleNamespace(args=arguments, async_val=0, check_mode=True, diff=False)
    connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir=None))
    loader = DataLoader()
    plugin = action.ActionModule(
        task, connection, SimpleNamespace(), loader, Templar(loader=loader), None
    )
    printed: list[tuple[str, str | None]] = []
    display = Display()
    original = display.display
    display.display = lambda line, color=None: printed.append((line, color))
    try:
        return plugin.run(task_vars={}), printed
    finally:
        display.display = original


def test_the_action_prints_writes_and_fails(tmp_path: Path) -> None:
    files = {"json": str(tmp_path / "a.json"), "html": str(tmp_path / "a.html")}
    said, printed = run(results=SITE, environment="production", **files)
    assert (said["failed"], said["changed"]) == (True, False)
    assert (
        said["msg"] == "2 critical, 3 unknown, 1 warning, 1 ok on 5 machines; see the table above."
    )
    data = json.loads((tmp_path / "a.json").read_text())
    assert data["state"] == said["state"] == "critical"
    assert (tmp_path / "a.html").read_text().startswith("<!doctype html>")
    colours = {line.split()[0]: colour for line, colour in printed if line[:1].isalpha()}
    assert (colours["CRITICAL"], colours["WARNING"], colours["ok"]) == ("red", "yellow", "green")


def test_the_action_fails_only_where_it_may() -> None:
    results = {"one": {"unreachable": True, "msg": "gone"}}
    said, _lines = run(results=results, fail_when_unhealthy=False)
    assert (said["failed"], said["healthy"]) == (False, False)


def test_the_action_writes_nothing_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said, printed = run(results={"one": {"findings": [row("a")]}})
    assert not said["failed"]
    assert printed[0][0].startswith("Health of this site, ")
    assert list(tmp_path.iterdir()) == []


ALL = {group: ["one"] for group in ("database", "cache", "application", "worker", "web")}


def site(**changes: t.Any) -> dict[str, t.Any]:
    return {
        "name": "shop",
        "domain": "shop.example.com",
        "redirects": ["www.shop.example.com"],
        "certificate_source": "acme",
        "static": None,
        "framework": "django",
        "database": {"name": "shop"},
        "web": {
            "wsgi": "",
            "asgi": "x:y",
            "node": "",
            "health_path": "/up/",
            "websocket_health_path": "/ws/up/",
        },
        "uploads_apart": False,
        "pool": {"name": "shop", "pool_size": 20, "reserve_pool_size": 5},
        "celery": {"name": "shop", "workers": []},
        **changes,
    }


def derived(
    options: t.Any = None, directory: str = _derive.LETS_ENCRYPT, **changes: t.Any
) -> t.Any:
    topology = {"groups": ALL, "addresses": {"one": "one"}, "host": "one"}
    found = FilterModule().filters()["health_checks"](
        [site(**changes)], topology, directory, options
    )
    return {f"{check['kind']} {check['name']}": check for check in found}


def test_a_site_is_examined_from_the_outside() -> None:
    found = derived()
    http, tls = found["http shop.example.com"], found["tls shop.example.com"]
    assert (http["url"], http["address"]) == ("https://shop.example.com/up/", "127.0.0.1")
    assert found["http www.shop.example.com"]["status"] == [301, 308]
    assert found["websocket shop.example.com"]["url"] == "wss://shop.example.com/ws/up/"
    assert tls["certificate_file"] == "/etc/slipway/tls/shop/fullchain.pem"
    # What the public must trust is not trusted because it lies on the disk.
    assert "ca_file" not in http


@pytest.mark.parametrize(
    "changes", [{"directory": "https://ca.test/dir"}, {"certificate_source": "files"}]
)
def test_a_private_certificate_is_its_own_anchor(changes: dict[str, t.Any]) -> None:
    found = derived(**changes)
    assert found["http shop.example.com"]["ca_file"] == "/etc/slipway/tls/shop/fullchain.pem"


def test_a_websocket_is_examined_where_there_is_one() -> None:
    web = site()["web"]
    assert "websocket shop.example.com" not in derived(web={**web, "websocket_health_path": ""})
    assert "websocket shop.example.com" not in derived(web={**web, "asgi": "", "wsgi": "x:y"})


def test_options_of_a_kind_reach_all_its_checks_and_no_other() -> None:
    found = derived({"http": {"samples": 2}})
    assert found["http shop.example.com"]["samples"] == 2
    assert found["http www.shop.example.com"]["samples"] == 2
    assert "samples" not in found["tls shop.example.com"]
