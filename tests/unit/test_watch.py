# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What visitors get is judged by a log that is written meanwhile, on a clock of its own."""

from __future__ import annotations

import datetime
import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _probe, _watch
from ansible_collections.slipway.stack.plugins.module_utils._watch import Figures, Limits
from fakes import run_module

SERVERS = ("unix:/run/slipway/shop/web.sock", "10.0.0.5:8001")
BEGAN = 1_000_000.0
SWITCHED = BEGAN + 200
ENDPOINT = _probe.Endpoint("/run/slipway/shop/web.sock", "/health/", "shop.test")


def line(
    status: int = 200, seconds: str = "0.1", upstream: str = SERVERS[0], moment: float = BEGAN
) -> bytes:
    time = datetime.datetime.fromtimestamp(moment, datetime.UTC).isoformat()
    said = {"time": time, "status": status, "upstream_time": seconds, "upstream": upstream}
    return json.dumps(said).encode()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (line(), (200, 0.1)),
        (line(502, "0.2, 0.3", "10.0.0.4:8001, 10.0.0.5:8001"), (502, 0.5)),
        (line(502, "-"), (502, 0)),
        (line(upstream="unix:/run/slipway/stall/web.sock"), None),
        (line(upstream="-"), None),
        (line(101), None),
        (b"", None),
        (b"[]", None),
        (b"GET / HTTP/1.1", None),
        (line(seconds="soon"), None),
    ],
)
def test_only_requests_to_the_application_count(
    text: bytes, found: tuple[int, float] | None
) -> None:
    seen = [(visit.status, visit.seconds) for visit in _watch.visits([text], SERVERS)]
    assert seen == ([found] if found else [])


def test_figures_are_of_what_was_measured() -> None:
    seen = [_watch.Visit(0, 500 if n in (0, 7) else 404, n / 100) for n in range(100)]
    found = _watch.figures(seen)
    assert (found.requests, found.errors, found.error_percent) == (100, 2, 2)
    assert found.p95_milliseconds == pytest.approx(940)
    assert _watch.figures([]) == Figures()


@pytest.mark.parametrize(
    ("before", "latest", "bad"),
    [
        (Figures(), Figures(200, 5), True),
        (Figures(), Figures(200, 4), False),
        (Figures(), Figures(20, 5), True),
        (Figures(), Figures(19, 19), False),
        (Figures(19, 19), Figures(200, 5), True),  # too few to compare with
        (Figures(1000, 20), Figures(200, 8), False),
        (Figures(1000, 20), Figures(200, 9), True),
    ],
)
def test_errors_count_from_a_number_and_a_share_on(
    before: Figures, latest: Figures, bad: bool
) -> None:
    assert bool(_watch.too_many_errors(before, latest, Limits(error_percent=2))) == bad


@pytest.mark.parametrize(
    ("before", "requests", "p95", "bad"),
    [
        (0, 20, 1001, True),
        (0, 20, 1000, False),
        (0, 19, 9999, False),
        (800, 200, 1600, False),
        (800, 200, 1601, True),
    ],
)
def test_slowness_is_compared_with_before(
    before: float, requests: int, p95: float, bad: bool
) -> None:
    latest = Figures(requests, 0, p95)
    assert bool(_watch.too_slow(Figures(500, 0, before), latest, Limits())) == bad


def test_nothing_known_before_is_no_figure() -> None:
    """The limit alone counts then, and is not said to be compared with nothing."""
    few, latest = Figures(19, 0, 9999), Figures(200, 200, 1001)
    said = _watch.too_slow(few, latest, Limits())
    assert said == "p95 of the last 200 requests is 1001 ms, at most 1000 ms (before: unknown)"
    said = _watch.too_many_errors(few, latest, Limits())
    assert said == "200 of the last 200 requests failed, at most 1 % may (before: unknown)"


class World:
    """A clock that moves when somebody sleeps, a log that grows, an application that may be ill."""

    def __init__(self, path: Path, script: t.Callable[[float], list[bytes]]) -> None:
        self.path, self.script, self.now = path, script, 0.0
        self.well: t.Callable[[float], bool] = lambda _now: True

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        with self.path.open("ab") as log:
            log.writelines(one + b"\n" for one in self.script(self.now))

    def visits(self, count: int, status: int = 200, seconds: str = "0.1") -> list[bytes]:
        return [line(status, seconds, moment=SWITCHED + self.now)] * count

    def watched(self, seconds: float, log: bool = True) -> str:
        return self.look(seconds, log).trouble

    def look(
        self, seconds: float, log: bool = True, state: _watch.State | None = None, last: bool = True
    ) -> _watch.Look:
        path = str(self.path) if log else ""
        subject = _watch.Subject(SERVERS, (ENDPOINT,), path, BEGAN + 100)

        def ask(*_: t.Any) -> _probe.Answer:
            return _probe.Answer(self.well(self.now), "HTTP 503")

        def clock() -> float:
            return SWITCHED + self.now

        return _watch.watch(subject, Limits(), seconds, state, last, clock, self.sleep, ask)

    def looks(self, count: int, seconds: float) -> _watch.Look:
        """One after the other, each knowing of the one before what JSON carries."""
        look = self.look(seconds, last=False)
        for number in range(1, count):
            if look.trouble:
                return look
            told = json.loads(json.dumps(look.state.as_dict(), allow_nan=False))
            look = self.look(seconds, True, _watch.State.read(told), number == count - 1)
        return look


@pytest.fixture
def path(tmp_path: Path) -> Path:
    past = [line(500 if number % 200 == 0 else 200) for number in range(1000)]
    fresh = [line(500, moment=BEGAN + 101)] * 500  # the new one's, which is not compared with
    (tmp_path / "access.log").write_bytes(b"\n".join([*past, *fresh, b""]))
    return tmp_path / "access.log"


def test_a_good_release_is_watched_to_the_end(path: Path) -> None:
    world = World(path, lambda _now: [line()] * 10)
    assert (world.watched(600), world.now) == ("", 600)


def test_errors_end_the_watch_at_once(path: Path) -> None:
    world = World(path, lambda now: world.visits(10, 500 if now > 300 else 200))
    said = world.watched(600)
    assert said == "10 of the last 200 requests failed, at most 1 % may (before: 0.5 %)"
    assert 300 < world.now < 310


@pytest.mark.parametrize(("until", "taken"), [(302, False), (340, True)])
def test_a_moment_of_a_busy_site_is_no_trouble(path: Path, until: float, taken: bool) -> None:
    """Of a thousand requests twenty fail: for a moment, or all the time."""

    def script(now: float) -> list[bytes]:
        return world.visits(1000) + world.visits(20, 500 if 300 < now <= until else 200)

    world = World(path, script)
    assert bool(world.watched(400)) == taken
    assert world.now == (308 if taken else 400)


@pytest.mark.parametrize(("until", "taken"), [(20, False), (999, True)])
def test_slowness_must_last(path: Path, until: float, taken: bool) -> None:
    world = World(path, lambda now: world.visits(100, seconds="5" if now < until else "0.1"))
    said = world.watched(120)
    assert said.startswith("p95 of the last 600 requests is 5000 ms") == taken
    assert world.now == pytest.approx(32 if taken else 120)


@pytest.mark.parametrize("log", [True, False])
@pytest.mark.parametrize(("until", "taken"), [(25, False), (999, True)])
def test_illness_must_last(path: Path, until: float, taken: bool, log: bool) -> None:
    world = World(path, lambda _now: [])
    world.well = lambda now: now >= until
    assert bool(world.watched(120, log)) == taken
    assert world.now == (30 if taken else 120)


def slow_past(count: int) -> list[bytes]:
    return [line(seconds="1.8", moment=BEGAN + number / 100) for number in range(count)]


@pytest.mark.parametrize("rotated", ["before", "meanwhile", "never"])
def test_a_release_that_is_as_slow_as_before_stays(path: Path, rotated: str) -> None:
    past, since = slow_past(5000), [line(seconds="1.8", moment=BEGAN + 150)] * 50
    older, newer = {
        "before": (past[:4990], past[4990:] + since),
        "meanwhile": (past + since, since),
        "never": ([], past + since),
    }[rotated]
    path.with_name("access.log.1").write_bytes(b"\n".join([*older, b""]))
    path.write_bytes(b"\n".join([*newer, b""]))
    world = World(path, lambda _now: world.visits(20, seconds="1.8"))
    look = world.look(90)
    assert (look.trouble, world.now) == ("", 90)
    assert look.state.before == Figures(2000, 0, 1800)


def test_a_busy_site_is_compared_with_what_was_before_the_deployment(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has come since fills more than is read at once, and other lines lie between."""
    monkeypatch.setattr(_watch, "PAST_BYTES", 64 * 1024)
    monkeypatch.setattr(_watch, "PIECE_BYTES", 1024)
    since = [line(seconds="0.1", moment=BEGAN + 101 + number / 100) for number in range(9000)]
    lines = [*slow_past(9000), *since]
    lines[::7] = [b"a line of somebody else's"] * len(lines[::7])
    path.write_bytes(b"\n".join([*lines, b""]))
    before = World(path, lambda _now: []).look(0).state.before
    assert before.p95_milliseconds == 1800
    assert 300 < before.requests < 2000


def test_a_log_of_others_tells_nothing_of_before(path: Path) -> None:
    path.write_bytes(b"a line of somebody else's\n" * 9000)
    assert World(path, lambda _now: []).look(0).state.before == Figures()


def test_what_is_in_doubt_at_the_end_is_waited_for_and_not_for_ever(path: Path) -> None:
    world = World(path, lambda _now: [])
    world.well = lambda now: now < 110
    assert world.watched(120).endswith("has not been well for 30 s: HTTP 503")
    assert world.now == 140
    world = World(path, lambda _now: [])
    world.well = lambda now: int(now) % 20 == 0
    assert (world.watched(119), world.now) == ("", 120)
    world = World(path, lambda _now: [])
    world.well = lambda now: now < 110 or int(now) % 28 == 0
    assert (world.watched(120), world.now) == ("", 140)


def test_many_looks_find_what_one_would(path: Path) -> None:
    world = World(path, lambda _now: world.visits(10))
    look = world.looks(10, 60)
    assert (look.trouble, world.now) == ("", 600)
    assert str(look.seen) == "of the last 200 requests 0 failed, p95 is 100 ms"


def test_a_doubt_does_not_begin_again_with_each_look(path: Path) -> None:
    world = World(path, lambda now: world.visits(10, seconds="5" if now > 50 else "0.1"))
    assert world.looks(10, 60).trouble.startswith("p95 of the last 200 requests is 5000 ms")
    assert world.now == 84


def test_the_last_look_alone_waits_for_what_is_in_doubt(path: Path) -> None:
    world = World(path, lambda _now: [])
    world.well = lambda now: now < 110
    assert world.looks(2, 60).trouble.endswith("has not been well for 30 s: HTTP 503")
    assert world.now == 140


def test_a_look_knows_what_its_log_has_got_since_the_one_before(path: Path) -> None:
    world = World(path, lambda _now: [])
    state = world.look(0, last=False).state
    with path.open("ab") as log:
        log.writelines(one + b"\n" for one in world.visits(20, 500))
    said = world.look(0, state=state).trouble
    assert said == "20 of the last 20 requests failed, at most 1 % may (before: 0.5 %)"


def test_a_log_is_followed_when_it_is_rotated(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(b"1\n2\n3")
    log = _watch.Log(str(path))
    assert log.past() == [b"1", b"2"]
    with path.open("ab") as file:
        file.write(b"3\n4")
    assert log.fresh() == [b"33"]
    with path.open("ab") as file:
        file.write(b"4\n")
    path.rename(tmp_path / "access.log.1")
    assert log.fresh() == [b"44"], "between the two"
    path.write_bytes(b"5\n")
    assert log.fresh() == [b"5"]
    path.write_bytes(b"")
    assert log.fresh() == []
    path.write_bytes(b"6\n")
    assert log.fresh() == [b"6"]
    log.close()


def test_the_module_says_what_it_cannot_see(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = {"seconds": 0, "since": "2026-11-21T08:00:00Z", "servers": list(SERVERS)}
    said = run_module("app_watch", capsys, **given, log=str(path))
    assert (said["changed"], said["trouble"]) == (False, "")
    assert said["said"] == "of the last 0 requests 0 failed, p95 is 0 ms"
    again = run_module("app_watch", capsys, **given, log=str(path), state=said["state"])
    assert again["state"] == said["state"]
    said = run_module("app_watch", capsys, **given, log=f"{path}.none")
    assert said["said"] == f"errors and latency are not watched: {path}.none cannot be read here"
    said = run_module("app_watch", capsys, **given)
    assert said["said"] == "the health endpoint is well"
    said = run_module("app_watch", capsys, True, **{**given, "seconds": 900})
    assert said["trouble"] == ""
