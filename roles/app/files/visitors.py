"""Visitors who ask for one path after the other, with a certificate that has to be good."""

import json
import os
import random
from pathlib import Path

from locust import FastHttpUser, between, task

PATHS = json.loads(Path(os.environ["SLIPWAY_LOAD"]).read_text())["paths"]


class Visitor(FastHttpUser):
    wait_time = between(0.2, 0.8)
    insecure = False

    @task
    def look(self):
        self.client.get(random.choice(PATHS))  # noqa: S311
