# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Load tests: how many users when, and which answers are too slow, too few or wrong. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

# Seconds since the beginning until which so many users are there.
Stages = t.Sequence[tuple[float, int]]
PROFILES: dict[str, Stages] = {
    "smoke": ((120, 10),),
    "baseline": ((600, 50),),
    "stress": ((900, 200),),
    "spike": ((300, 500),),
    "endurance": ((3600, 100),),
    # The shape of a day in six minutes, and that of a rush.
    "day": ((60, 10), (120, 50), (180, 100), (240, 100), (300, 50), (360, 10)),
    "rush": ((60, 10), (120, 200), (240, 200), (300, 10)),
}
# How many come or go in a second.
SPAWN_RATE = 10
# Whoever waits half a second between requests asks less than the rate that is wanted of an
# application, unless there are this many.
USERS_FOR_A_RATE = 100
# How long a visitor waits before the request has failed: twice what the slowest answers may take.
PATIENCE_SECONDS = 10
# Pieces of time in each of which so many good answers must have come for each user.
PIECE_SECONDS = 30
ANSWERS_A_MINUTE = 1
# The role waits for Locust for two hours, its beginning and end among them.
LONGEST_SECONDS = 7000
# Each has a connection of its own, and Locust's one process 10000 open files.
MOST_USERS = 5000


@dataclass(frozen=True)
class Limits:
    """What an application has to keep to, in milliseconds, percent and requests a second."""

    p95: float = 1000
    p99: float = 2000
    errors_percent: float = 1
    rate: float = 100


# Answers that a model has to think of.
SLOW = Limits(p95=3000, p99=5000)


@dataclass(frozen=True)
class Measured:
    """What came back from one path."""

    path: str
    requests: int
    failures: int
    p50: float
    p95: float
    p99: float


def stages(profile: str, users: int = 0, seconds: float = 0) -> Stages:
    """A profile, or so many users for so long where that is said."""
    known = PROFILES[profile]
    if not users and not seconds:
        return known
    return ((seconds or known[-1][0], users or max(each[1] for each in known)),)


def users_at(wanted: Stages, seconds: float) -> int | None:
    """How many users there are at a moment; nobody's business once it is over."""
    for until, users in wanted:
        if seconds < until:
            return users
    return None


def mean_users(wanted: Stages) -> float:
    """How many users there are on average: a profile with quiet hours asks less."""
    begins = [0.0, *(until for until, _users in wanted)]
    asked = sum(
        (until - begin) * users for begin, (until, users) in zip(begins, wanted, strict=False)
    )
    return asked / begins[-1]


def is_slow(path: str, slow: t.Iterable[str]) -> bool:
    """Whether a path is one of the slow ones or lies below one, whatever its query."""
    place = path.partition("?")[0].rstrip("/") + "/"
    return any(place.startswith(each.rstrip("/") + "/") for each in slow)


def visited(paths: t.Sequence[str], slow: t.Sequence[str]) -> list[str]:
    """What is asked for: a slow path too, unless paths below it are, which it then only judges."""
    return [*paths, *(each for each in slow if not any(is_slow(path, [each]) for path in paths))]


def rate(requests: int, wanted: Stages, seconds: float) -> float:
    """Requests a second of the whole test, also where the last answer came long before its end."""
    return requests / max(seconds, wanted[-1][0], 1)


def pieces(wanted: Stages) -> t.Iterator[tuple[float, float, int]]:
    """Each stage in pieces; what is left of one belongs to the piece before."""
    begin = 0.0
    for until, users in wanted:
        while until - begin >= 2 * PIECE_SECONDS:
            yield begin, begin + PIECE_SECONDS, users
            begin += PIECE_SECONDS
        yield begin, until, users
        begin = until


def silent(wanted: Stages, answered: t.Mapping[int, int]) -> list[float]:
    """When the pieces begin in which hardly anybody got a good answer."""
    return [
        begin
        for begin, until, users in pieces(wanted)
        if sum(number for second, number in answered.items() if begin <= second < until)
        < ANSWERS_A_MINUTE * users * (until - begin) / 60
    ]


def breaches(
    measured: t.Sequence[Measured],
    wanted: Stages,
    slow: t.Sequence[str],
    seconds: float,
    refused: int = 0,
    answered: t.Mapping[int, int] | None = None,
) -> list[str]:
    """Everything that was not kept to, one sentence each.

    The last answer came after so many `seconds`, `refused` answers were 429, and `answered` says
    how many good ones came in which second.
    """
    requests = sum(each.requests for each in measured)
    if not requests:
        return ["no request was made; see what Locust said."]
    found = [said for each in measured for said in _of_a_path(each, is_slow(each.path, slow))]
    share = 100 * sum(each.failures for each in measured) / requests
    limits = Limits()
    if share >= limits.errors_percent:
        found.append(f"{share:.1f} % of all requests failed, less than 1 % may.")
    if refused:
        found.append(
            f"{refused} answers were 429: a client address gets only so many a second. Add that of"
            " the machine that asks to nginx_certbot_unlimited_clients of the web machines."
        )
    answers = rate(requests, wanted, seconds)
    if mean_users(wanted) >= USERS_FOR_A_RATE and answers <= limits.rate:
        found.append(f"{answers:.0f} requests a second were answered, more than 100 must be.")
    begins = [] if answered is None else silent(wanted, answered)
    if begins:
        found.append(
            f"in {len(begins)} of {len(list(pieces(wanted)))} pieces of the test fewer good answers"
            f" came than one a minute for each user; the first began after {begins[0]:.0f} s."
        )
    return found


def _of_a_path(each: Measured, slow: bool) -> t.Iterator[str]:
    limits = SLOW if slow else Limits()
    for name, took, limit in (("p95", each.p95, limits.p95), ("p99", each.p99, limits.p99)):
        if took >= limit:
            yield f"{each.path}: {name} is {took:.0f} ms, less than {limit:.0f} ms may be."
