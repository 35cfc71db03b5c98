"""Visitors who ask for one path after the other."""

import json
import os
import random
from pathlib import Path

import _load
from locust import FastHttpUser, between, task

ASKED = json.loads(Path(os.environ["SLIPWAY_LOAD"]).read_text())
PATHS = _load.visited(ASKED["paths"], ASKED["slow_paths"])


class Visitor(FastHttpUser):
    wait_time = between(0.2, 0.8)
    insecure = not ASKED["verified"]

    @task
    def look(self):
        self.client.get(random.choice(PATHS))  # noqa: S311
