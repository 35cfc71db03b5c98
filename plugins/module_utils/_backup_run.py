# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run the backup's unit now, and tell from its state file what became of each database."""

from __future__ import annotations

import pathlib
import typing as t
from dataclasses import asdict, dataclass
from datetime import datetime

from . import _backup_state, _backups, _errors, _psql

# As AnsibleModule.run_command: exit code, output, complaints
Command = t.Callable[[list[str]], tuple[int, str, str]]


@dataclass(frozen=True)
class Result:
    """What became of one database in a run."""

    database: str
    ok: bool
    verified: bool
    size: int
    seconds: float
    detail: str

    def as_dict(self) -> dict[str, t.Any]:
        return {**asdict(self), "line": self.line()}

    def line(self) -> str:
        if not self.ok:
            return f"{self.database}: FAILED, {self.detail}"
        size = _backups.human_size(self.size)
        word = "verified" if self.verified else "not verified"
        return f"{self.database}: {size} in {self.seconds} s, {word}, {self.detail}"


def start(command: Command, unit: str) -> str:
    """Start the unit and wait for its end; what it said last if it failed."""
    code, _out, complaint = command(["systemctl", "start", unit])
    if code == 0:
        return ""
    # systemd's own complaint names the journal; the sentence that is wanted is in there
    newest = ["journalctl", f"_SYSTEMD_UNIT={unit}", "--lines=1", "--output=cat", "--no-pager"]
    _code, said, _complaint = command(newest)
    return " ".join((said.strip() or complaint).split())


def want_full(state: pathlib.Path, run: _psql.Run = _psql.run) -> None:
    """By the user whose directory it is, so root follows no link there."""
    wish = ["touch", str(state / _backup_state.FULL_WANTED)]
    _psql.call(run, _psql.as_user("postgres", wish), "cannot ask for a full backup")


def run(
    start: t.Callable[[], str], state: t.Callable[[], dict[str, t.Any]], begun: datetime
) -> list[Result]:
    """Start the unit until a run has begun after `begun`: a first start may join an older run.

    `start` waits for the end of the run and returns what the run itself complained of.
    """
    complaint = ""
    for _attempt in range(2):
        complaint = start()
        found = state()
        if _started(found) >= begun.replace(microsecond=0).timestamp():
            return results(found)
    raise _errors.BackupError(
        f"The backup did not run: {complaint.rstrip('.') or 'its state file tells of no new run'}."
    )


def results(state: t.Mapping[str, t.Any]) -> list[Result]:
    """One result a database; a run that was cut short did not succeed."""
    return [
        Result(
            database=database,
            ok=bool(found.get("ok")),
            verified=bool(found.get("verified")),
            size=int(found.get("size") or 0),
            seconds=float(found.get("seconds") or 0),
            detail=str(found.get("detail", "")),
        )
        for database, found in state.get("databases", {}).items()
    ]


def require_success(found: t.Collection[Result]) -> None:
    failed = [
        f"{result.database}: {result.detail.rstrip('.')}" for result in found if not result.ok
    ]
    if failed:
        raise _errors.BackupError(f"Backup failed for {'; '.join(failed)}.")


def _started(state: t.Mapping[str, t.Any]) -> float:
    try:
        return datetime.fromisoformat(state["started"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return 0.0
