# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import pytest

from benchmarks import backups, survey, table
from benchmarks.contenders import Run


def runs(slipway: float, script: float, pyinfra: float, executions: float = 15) -> dict[str, Run]:
    return {
        "slipway": Run(slipway, 1, executions),
        "shell script": Run(script, 1, 1),
        "pyinfra": Run(pyinfra, 1, 280),
    }


def test_ratios_are_taken_within_a_round() -> None:
    rounds = [runs(10, 5, 8), runs(30, 10, 60)]
    assert table.ratios(rounds, "slipway", "shell script") == [2, 3]
    assert table.spread([2.0, 3.0, 7.0]) == "3.0 [2.0-7.0]"


def test_aims_say_what_was_missed() -> None:
    again = [{1: runs(10, 1, 20), 8: runs(25, 3, 40)}]
    cold, alone = [runs(120, 100, 150)], [runs(10, 1, 20)]
    said = table.aims(cold, alone, again, "shell script", "pyinfra").splitlines()
    assert said[2:] == [
        "| remote executions per machine, no-change | 25 | 15 [15-15] | reached |",
        "| no-change run x pyinfra | 1 | 0.50 [0.50-0.50] | reached |",
        "| cold run x shell script | 1.25 | 1.20 [1.20-1.20] | reached |",
        "| no-change run of 8 machines x 1 | 2 | 2.50 [2.50-2.50] | missed |",
    ]


def test_a_peer_that_ran_in_some_rounds_only_is_listed() -> None:
    rounds = [runs(10, 5, 8), {**runs(10, 5, 8), "roles": Run(50, 9, 69)}]
    last = table.by_contender(rounds, "shell script", "pyinfra").splitlines()[-1]
    assert last.startswith("| roles | 50.0 [50.0-50.0] | 10.00 [10.00-10.00] | 6.25")


def test_a_survey_leaves_out_what_machines_make_for_themselves() -> None:
    kept = ["/etc/nginx/nginx.conf", "/srv/auction/media", "/opt/slipway/uv"]
    made = ["/etc/passwd", "/etc/ssh/sshd_config", "/srv/auction/releases/2026/source"]
    made += ["/etc/systemd/system/multi-user.target.wants/nginx.service", "/srv/auction/current"]
    assert [path for path in kept + made if not survey.LEFT_OUT.search(path)] == kept


def test_backups_are_compared_within_a_round() -> None:
    plain = {**dict.fromkeys(backups.BACKUPS, 2.0), "pg_dump | gzip": 10.0}
    restored = {**dict.fromkeys(backups.RESTORES, 10.0), "gunzip | psql": 15.0}
    sizes = {"pg_dump | gzip": 2**20, "dump": 2**19}
    losses = {"dump": [0.05, 0.3, 0.08], "rehearsal": []}
    said = backups.report(2**30, [plain | restored], sizes, losses).splitlines()
    assert "| physical, full | 2.0 [2.0-2.0] | 5.00 [5.00-5.00] |" in said
    assert "| dump | 0 | 0.50 |" in said
    assert "| physical, full x pg_dump, gzip | at least 5 | 5.00 | reached |" in said
    assert "| pg_restore of the dump x gunzip, psql | at least 2 | 1.50 | missed |" in said
    assert "| pgbench loses in %, dump | at most 10 | 8.00 | reached |" in said


@pytest.mark.parametrize(("number", "first"), [(0, "a"), (1, "b"), (3, "a")])
def test_each_round_begins_with_another(number: int, first: str) -> None:
    assert backups.turned(["a", "b", "c"], number)[0] == first
