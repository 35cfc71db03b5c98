"""How many visitors come when, and what is judged once the last has gone."""

import json
import os
from pathlib import Path

import _load
from locust import LoadTestShape, events

ASKED = json.loads(Path(os.environ["SLIPWAY_LOAD"]).read_text())
STAGES = _load.stages(ASKED["profile"], ASKED["users"], ASKED["seconds"])
# That of another run must not be taken for this one's.
Path(ASKED["result"]).unlink(missing_ok=True)
SHARES = (0.5, 0.95, 0.99)


class Shape(LoadTestShape):
    def tick(self):
        users = _load.users_at(STAGES, self.get_run_time())
        return None if users is None else (users, _load.SPAWN_RATE)


def measured(entry):
    took = (entry.get_response_time_percentile(share) or 0 for share in SHARES)
    return _load.Measured(entry.name, entry.num_requests, entry.num_failures, *took)


@events.quitting.add_listener
def judge(environment, **_):
    total = environment.stats.total
    seconds = (total.last_request_timestamp or 0) - total.start_time
    paths = [measured(entry) for entry in environment.stats.entries.values()]
    errors = environment.stats.errors.values()
    refused = sum(each.occurrences for each in errors if "429" in str(each.error))
    result = {
        "report": environment.parsed_options.csv_prefix,
        "paths": [vars(each) for each in paths],
        "requests_per_second": round(total.num_requests / max(seconds, 1), 1),
        "breaches": _load.breaches(paths, STAGES, ASKED["slow_paths"], seconds, refused),
    }
    Path(ASKED["result"]).write_text(json.dumps(result))
    # What is too slow is said by whoever reads the result; Locust's own failures remain.
    environment.process_exit_code = 0
