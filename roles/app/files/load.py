"""How many visitors come when, and what is judged once the last has gone."""

import collections
import json
import os
from pathlib import Path

import _load
from locust import FastHttpUser, LoadTestShape, events

ASKED = json.loads(Path(os.environ["SLIPWAY_LOAD"]).read_text())
STAGES = _load.stages(ASKED["profile"], ASKED["users"], ASKED["seconds"])
SHARES = (0.5, 0.95, 0.99)
# Who hangs has failed; a file of one's own may say otherwise. Locust itself waits for a minute.
FastHttpUser.connection_timeout = FastHttpUser.network_timeout = _load.PATIENCE_SECONDS


class Shape(LoadTestShape):
    def tick(self):
        users = _load.users_at(STAGES, self.get_run_time())
        return None if users is None else (users, _load.SPAWN_RATE)


def measured(entry):
    took = (entry.get_response_time_percentile(share) or 0 for share in SHARES)
    return _load.Measured(entry.name, entry.num_requests, entry.num_failures, *took)


def answered(total):
    """Good answers of each second since the beginning."""
    good = collections.Counter(total.num_reqs_per_sec)
    good.subtract(total.num_fail_per_sec)
    return {second - int(total.start_time): number for second, number in good.items()}


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
        "requests_per_second": round(_load.rate(total.num_requests, STAGES, seconds), 1),
        "breaches": _load.breaches(
            paths, STAGES, ASKED["slow_paths"], seconds, refused, answered(total)
        ),
    }
    Path(ASKED["result"]).write_text(json.dumps(result))
    # What is too slow is said by whoever reads the result; Locust's own failures remain.
    environment.process_exit_code = 0
