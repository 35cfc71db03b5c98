"""`celery -A parkme worker`, `celery -A parkme beat`."""

import os
import time

from celery import Celery
from celery.signals import before_task_publish

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "parkme.settings")

app = Celery("parkme")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["parkme"])


@before_task_publish.connect
def tell_the_time(headers: dict[str, object], **_: object) -> None:
    """A broker keeps no time; with this one the health check knows the age of a queue."""
    headers["enqueued_at"] = time.time()
