# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What an application's own Python is asked about its Celery, and what it tells workers that end.

This text runs inside a release, where nothing of the collection is: only the standard library, and
what the application itself brings. Every answer is a line of JSON, so that a question that hangs
takes with it only what had not been answered by then.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import signal
import sys
import time
import typing as t

MARK = "@slipway-celery "
# Who puts the time of sending into a message: AMQP, sentry-sdk, or the application itself.
TIMES = ("timestamp", "sentry-task-enqueued-time", "enqueued_at")
WATCH_SECONDS = 2.0
HELD_LIMIT = 1000
RETIRE_SECONDS = 10.0
# Kombu looks for answers once a second. More questions than these would be answered one by one.
STARTING_WAITS = (1.0, 1.0)


class Late(BaseException):
    """Not an Exception, which kombu would take for a lost connection and try again."""


def tell(**answer: t.Any) -> None:
    sys.stdout.write(f"{MARK}{json.dumps(answer)}\n")
    sys.stdout.flush()


def ping(app: t.Any, request: dict[str, t.Any]) -> None:
    """Who answers, and the process that does."""
    nodes, seconds = request["nodes"], request["ping_seconds"]
    there: set[str] = set()
    # Who starts hears only what is asked afterwards.
    for wait in (*(STARTING_WAITS if request["starting"] else ()), seconds):
        if not (silent := [node for node in nodes if node not in there]):
            break
        replies = app.control.broadcast("ping", reply=True, destination=silent, timeout=wait) or []
        there |= {node for reply in replies for node in reply}
        tell(nodes=dict.fromkeys(sorted(there)))
    if not there or not request["pids"]:
        return
    found = sorted(there)
    told = app.control.broadcast("stats", reply=True, destination=found, timeout=seconds) or []
    tell(nodes={node: one.get("pid") for reply in told for node, one in reply.items()})


def at_work(app: t.Any, request: dict[str, t.Any]) -> None:
    """How many tasks each node has that answers: in reserve first, from where they go to work."""
    if not request["at_work"]:
        return
    count: dict[str, int] = {}
    for where in ("reserved", "active"):
        told = app.control.broadcast(where, reply=True, timeout=request["ping_seconds"]) or []
        for node, tasks in ((node, tasks) for reply in told for node, tasks in reply.items()):
            count[node] = count.get(node, 0) + len(tasks)
    tell(at_work=count)


def retire(
    app: t.Any,
    request: dict[str, t.Any],
    clock: t.Callable[[], float] = time.monotonic,
    sleep: t.Callable[[float], None] = time.sleep,
) -> None:
    """Let workers take no more tasks, and wait for those that they have just begun.

    A task that a worker takes in the very moment in which it is told to end is done, never
    acknowledged, and done again (github.com/celery/celery/issues/3802). What was begun earlier is
    acknowledged when it ends, however long it takes.
    """

    def told(command: str, **arguments: str) -> list[t.Any]:
        replies = app.control.broadcast(
            command,
            arguments=arguments,
            destination=request["retire"],
            reply=True,
            timeout=request["ping_seconds"],
        )
        return [answer for reply in replies or [] for answer in reply.values()]

    if not request["retire"]:
        return
    names = {queue["name"] for queues in told("active_queues") for queue in queues}
    for name in sorted(names):
        told("cancel_consumer", queue=name)
    end = clock() + RETIRE_SECONDS
    while any(told("reserved") + told("active")) and clock() < end:
        sleep(0.1)


def queues(app: t.Any, request: dict[str, t.Any]) -> None:
    """How many messages wait, and since when the oldest does where that can be known."""
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        for name in request["queues"]:
            tell(queue=name, **queue(channel, name))


def queue(
    channel: t.Any,
    name: str,
    clock: t.Callable[[], float] = time.time,
    sleep: t.Callable[[float], None] = time.sleep,
) -> dict[str, t.Any]:
    begun = clock()
    while True:
        count, age = depth(channel, name), None
        if count == 0:
            # What was sent since is younger than this look.
            return {"depth": 0, "age": 0.0}
        age = oldest(channel, name, clock())
        if age is not None or clock() - begun > WATCH_SECONDS:
            return {"depth": count, "age": age}
        # Without a time in it, only a queue that empties while it is watched shows its age.
        sleep(0.1)


def taken(app: t.Any, request: dict[str, t.Any]) -> None:
    """Messages that workers hold and have not done: a pool that hangs empties its queue as well."""
    if not request["queues"]:
        return
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        tell(taken=held(channel, time.time()) if hasattr(channel, "unacked_key") else {})


def held(channel: t.Any, now: float) -> dict[str, t.Any]:
    """How many, and since when the one that could have been begun first."""
    prefix = channel.global_keyprefix
    index, messages = f"{prefix}{channel.unacked_index_key}", f"{prefix}{channel.unacked_key}"
    with channel.conn_or_acquire() as client:
        count = client.zcard(index)
        # By the time at which a worker took them; kombu would prefix ZRANGE, and HGET, again.
        rows = client.zrangebyscore(index, "-inf", "+inf", 0, HELD_LIMIT, withscores=True)
        said = client.hmget(messages, [tag for tag, _since in rows]) if rows else []
    due = [since_due(since, text, now) for (_tag, since), text in zip(rows, said, strict=True)]
    return {"count": count, "age": max(0.0, now - min(due, default=now))}


def since_due(since: float, text: t.Any, now: float) -> float:
    """When a message could have been begun: as it was taken, or at the time that it names."""
    if not text:
        return now  # it was done in the meantime
    eta = json.loads(text)[0].get("headers", {}).get("eta")
    return max(since, moment(eta)) if eta else since


def depth(channel: t.Any, name: str) -> int:
    if hasattr(channel, "_size"):  # kombu's own queues, as in Redis, where an empty one is absent
        return int(channel._size(name))
    return int(channel.queue_declare(queue=name, passive=True).message_count)


def oldest(channel: t.Any, name: str, now: float) -> float | None:
    """Seconds since the oldest message was sent, or None: brokers keep no time of their own."""
    if not hasattr(channel, "_q_for_pri"):
        return None  # to look into another broker's message is to take it
    ages = []
    with channel.conn_or_acquire() as client:
        for step in channel.priority_steps:
            # kombu prefixes the commands that it uses itself, and this is none of them.
            key = f"{channel.global_keyprefix}{channel._q_for_pri(name, step)}"
            message = client.lindex(key, -1)
            if message:
                ages.append(age_of(json.loads(message), now))
    known = [age for age in ages if age is not None]
    return max(known) if known and len(known) == len(ages) else None


def age_of(message: dict[str, t.Any], now: float) -> float | None:
    values = {**message.get("headers", {}), **message.get("properties", {})}
    for key in TIMES:
        if key in values:
            with contextlib.suppress(TypeError, ValueError):
                return max(0.0, now - moment(values[key]))
    return None


def moment(value: t.Any) -> float:
    """Seconds since 1970 of a number or an ISO time."""
    try:
        return float(value)
    except ValueError:
        return datetime.datetime.fromisoformat(value).timestamp()


def beat(app: t.Any, request: dict[str, t.Any]) -> None:
    """How many tasks have a schedule, and by how much the most overdue of them is late."""
    if not request["schedule"]:
        return
    known = from_database() if request["schedule"] == "database" else from_settings(app)
    if request["since"] is not None:
        # Something was sent then: nobody's last run is later, unless the database says so.
        since = datetime.datetime.fromtimestamp(request["since"], datetime.UTC)
        known = [(schedule, run or since) for schedule, run in known]
    late = [-schedule.remaining_estimate(run).total_seconds() for schedule, run in known if run]
    tell(tick={"tasks": len(known), "overdue": max(0.0, *late) if late else None})


Runs = list[tuple[t.Any, "datetime.datetime | None"]]


def from_database() -> Runs:
    """The DatabaseScheduler writes last_run_at, every three minutes at the latest."""
    import django

    django.setup()
    from django_celery_beat.models import PeriodicTask

    tasks = PeriodicTask.objects.filter(enabled=True, one_off=False)
    return [(task.schedule, task.last_run_at or task.date_changed) for task in tasks]


def from_settings(app: t.Any) -> Runs:
    """Beat's own file is of no use: with Debian's dbm it is written when beat ends."""
    from celery.schedules import maybe_schedule

    return [
        (maybe_schedule(entry["schedule"], entry.get("relative", False), app=app), None)
        for entry in app.conf.beat_schedule.values()
    ]


def main(request: dict[str, t.Any]) -> None:
    def late(*_: object) -> None:
        raise Late

    signal.signal(signal.SIGALRM, late)
    seconds = max(0.1, request["until"] - time.time())
    signal.setitimer(signal.ITIMER_REAL, seconds)
    stage = "loading the application"
    try:
        tell(stage=stage)
        from celery.app.utils import find_app

        app = find_app(request["module"])
        for stage, question in (
            ("asking its workers over the broker", ping),
            ("asking its workers for what they do", at_work),
            ("letting workers take no more tasks", retire),
            ("asking the broker for its queues", queues),
            ("asking the broker for what workers hold", taken),
            ("reading beat's schedule", beat),
        ):
            tell(stage=stage)
            try:
                question(app, request)
            except Exception as error:
                tell(error=f"{type(error).__name__}: {error}"[:300], at=stage)
    except Late:
        tell(error=f"cut off after {seconds:.0f} s", at=stage)
    except Exception as error:
        tell(error=f"{type(error).__name__}: {error}"[:300], at=stage)
    # Connections that hang would be waited for.
    os._exit(0)


if __name__ == "__main__":
    sys.path.insert(0, os.getcwd())
    main(json.loads(sys.argv[1]))
