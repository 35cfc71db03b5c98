"""Visitors who ask for one path after the other."""

import json
import os
import random
from pathlib import Path

from locust import FastHttpUser, between, task

ASKED = json.loads(Path(os.environ["SLIPWAY_LOAD"]).read_text())


class Visitor(FastHttpUser):
    wait_time = between(0.2, 0.8)
    insecure = not ASKED["verified"]

    @task
    def look(self):
        self.client.get(random.choice(ASKED["paths"]))  # noqa: S311
