# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Load tests: the profiles of the guides, and what is judged."""

from __future__ import annotations

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _load
from ansible_collections.slipway.stack.plugins.module_utils._load import Measured

FEW, MANY = ((10.0, 10),), ((10.0, 200),)


def path(name: str = "/", **said: float) -> Measured:
    good = {"requests": 2000, "failures": 0, "p50": 20, "p95": 90, "p99": 200}
    return Measured(name, **{**good, **said})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "users", "minutes"),
    [
        ("smoke", 10, 2),
        ("baseline", 50, 10),
        ("stress", 200, 15),
        ("spike", 500, 5),
        ("endurance", 100, 60),
        ("day", 100, 6),
        ("rush", 200, 5),
    ],
)
def test_a_profile_is_what_the_guide_says(name: str, users: int, minutes: int) -> None:
    wanted = _load.stages(name)
    assert max(each for _until, each in wanted) == users
    assert wanted[-1][0] == 60 * minutes


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({"users": 5}, ((120, 5),)),
        ({"seconds": 8}, ((8, 10),)),
        ({"users": 5, "seconds": 8}, ((8, 5),)),
    ],
)
def test_another_number_may_be_asked_for(asked: dict[str, int], wanted: _load.Stages) -> None:
    assert _load.stages("smoke", **asked) == wanted


def test_users_come_and_go_in_stages() -> None:
    wanted = _load.stages("rush")
    moments = (0, 59, 60, 239, 240, 299, 300)
    assert [_load.users_at(wanted, at) for at in moments] == [10, 10, 200, 200, 10, 10, None]


@pytest.mark.parametrize(
    ("measured", "wanted", "said"),
    [
        ([path(p95=999, p99=1999)], FEW, []),
        ([path(p95=1000)], FEW, ["/: p95 is 1000 ms, less than 1000 ms may be."]),
        ([path(p99=2500)], FEW, ["/: p99 is 2500 ms, less than 2000 ms may be."]),
        ([path("/ai", p95=2900, p99=4900)], FEW, []),
        ([path("/ai", p95=3100)], FEW, ["/ai: p95 is 3100 ms, less than 3000 ms may be."]),
        ([path(failures=19)], FEW, []),
        ([path(failures=20)], FEW, ["1.0 % of all requests failed, less than 1 % may."]),
        ([path(requests=500)], FEW, []),
        ([path(requests=1100)], MANY, []),
        ([path(requests=1000)], MANY, ["100 requests a second were answered, more than 100 must"]),
        ([], FEW, ["no request was made; see what Locust said."]),
        ([path(requests=0)], MANY, ["no request was made; see what Locust said."]),
    ],
)
def test_what_an_application_has_to_keep_to(
    measured: list[Measured], wanted: _load.Stages, said: list[str]
) -> None:
    found = _load.breaches(measured, wanted, ("/ai",), 10)
    assert len(found) == len(said)
    assert all(one.startswith(other) for one, other in zip(found, said, strict=True))


@pytest.mark.parametrize(
    ("asked", "slow", "covered"),
    [
        ("/api/ai/", "/api/ai/", True),
        ("/api/ai", "/api/ai/", True),
        ("/api/ai/", "/api/ai", True),
        ("/api/ai/recommendations/7", "/api/ai/", True),
        ("/api/ai/chat?stream=1", "/api/ai", True),
        ("/api/ai?q=a", "/api/ai/", True),
        ("/api/ai/[id]", "/api/ai/", True),
        ("/anything", "/", True),
        ("/api/aircraft/", "/api/ai", False),
        ("/api/", "/api/ai/", False),
        ("/", "/api/ai/", False),
        ("/shop?next=/api/ai/", "/api/ai/", False),
    ],
)
def test_a_slow_path_covers_what_lies_below_it(asked: str, slow: str, covered: bool) -> None:
    found = _load.breaches([path(asked, p95=2900, p99=4900)], FEW, ["/other/", slow], 10)
    assert (found == []) == covered


@pytest.mark.parametrize(
    ("paths", "slow", "asked"),
    [
        (["/"], [], ["/"]),
        (["/"], ["/api/ai/"], ["/", "/api/ai/"]),
        (["/", "/api/ai/chat"], ["/api/ai/"], ["/", "/api/ai/chat"]),
        (["/", "/api/ai/"], ["/api/ai/", "/slow"], ["/", "/api/ai/", "/slow"]),
    ],
)
def test_a_slow_path_is_asked_for_where_none_below_it_is(
    paths: list[str], slow: list[str], asked: list[str]
) -> None:
    assert _load.visited(paths, slow) == asked


def test_who_is_held_to_a_visitors_share_is_told() -> None:
    (_failed, told) = _load.breaches([path(failures=1000)], FEW, (), 10, refused=990)
    assert told.startswith("990 answers were 429: a client address gets only so many a second.")
    assert "nginx_certbot_unlimited_clients" in told


@pytest.mark.parametrize(("name", "users"), [("smoke", 10), ("day", 320 / 6), ("rush", 124)])
def test_a_profile_with_quiet_hours_asks_less(name: str, users: float) -> None:
    assert _load.mean_users(_load.stages(name)) == pytest.approx(users)
