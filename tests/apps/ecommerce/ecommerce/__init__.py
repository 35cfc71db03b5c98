"""The project: settings and the entry points of its processes."""

from .celery import app as celery_app

__all__ = ["celery_app"]
