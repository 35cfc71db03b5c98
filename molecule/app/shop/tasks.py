"""Tasks that take their time, to see whether a stop waits for them."""

from __future__ import annotations

import os
import time
from pathlib import Path

from celery import Celery
from celery.signals import beat_init, before_task_publish

app = Celery("shop", broker=os.environ["BROKER_URL"])
app.conf.broker_connection_retry_on_startup = True
app.conf.broker_transport_options = {"global_keyprefix": "shop:"}
app.conf.beat_schedule = {"tick": {"task": "tasks.tick", "schedule": 1.0}}
MEDIA = Path("/srv/shop/media")


def note(name: str) -> None:
    """Who does something twice is seen."""
    with (MEDIA / name).open("a") as file:
        file.write(os.environ.get("RELEASE_REVISION", ""))


@app.task
def sleep(seconds: float, name: str) -> None:
    note(f"{name}.begun")
    time.sleep(seconds)
    note(f"{name}.done")


@app.task(acks_late=True)
def patient(seconds: float, name: str) -> None:
    sleep(seconds, name)


@app.task(name="tasks.count")
def count() -> None:
    with (MEDIA / "counted").open("a") as file:
        file.write(f"{os.environ.get('RELEASE_REVISION', '')}\n")


@app.task
def tick() -> None:
    with (MEDIA / "ticks").open("a") as file:
        file.write(f"{time.time():.0f}\n")


@before_task_publish.connect
def tell_the_time(headers: dict[str, object], routing_key: str, **_: object) -> None:
    """In one of the two queues only, so that both kinds of messages are there."""
    if routing_key == "slow":
        headers["enqueued_at"] = time.time()


@beat_init.connect
def remember_beat(**_: object) -> None:
    print("beat began", flush=True)
