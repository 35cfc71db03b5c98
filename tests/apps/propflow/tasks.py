"""`celery -A tasks worker`, `celery -A tasks beat`: photos are reviewed in the background."""

import os
import time

from celery import Celery
from celery.signals import before_task_publish
from database import engine
from sqlalchemy import text

app = Celery("propflow", broker=os.environ["BROKER_URL"])
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_transport_options={"global_keyprefix": os.environ["REDIS_KEY_PREFIX"]},
    task_ignore_result=True,
    task_acks_late=True,
    # What was lost on the way is found again.
    beat_schedule={"review what is left": {"task": "tasks.review", "schedule": 60.0}},
)


@app.task(name="tasks.review")
def review() -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE properties SET reviewed = true WHERE photo IS NOT NULL"))


@before_task_publish.connect
def tell_the_time(headers: dict[str, object], **_: object) -> None:
    """A broker keeps no time; with this one the health check knows the age of a queue."""
    headers["enqueued_at"] = time.time()
