# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Who deployed what, when and with which result; and the frame that each phase works in."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import os
import typing as t
import uuid
from pathlib import Path

from ansible_collections.slipway.stack.plugins.module_utils import _lock
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError

DIRECTORY = Path("/var/lib/slipway/deployments")
KEPT = 200
UNDER_WAY = "under way"
PUBLISHED = "published"
SUCCEEDED = "succeeded"
FAILED = "failed"
INTERRUPTED = "interrupted"


@dataclasses.dataclass(frozen=True)
class Deployment:
    """One line of the history."""

    id: str
    what: str
    who: str
    started: str
    version: str = ""
    before: str = ""
    release: str = ""
    finished: str = ""
    result: str = UNDER_WAY
    reason: str = ""
    schema_before: str = ""
    schema_after: str = ""
    # Migrations after which an older release may not work, for they were not harmless; with commas.
    breaking: str = ""


class History:
    """The deployments of one application on this machine, oldest first."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "history.json"

    def all(self) -> list[Deployment]:
        return [one for one in map(_known, self._read()) if one]

    def find(self, number: str) -> Deployment | None:
        return next((one for one in self.all() if one.id == number), None)

    def begin(self, deployment: Deployment, now: str) -> list[Deployment]:
        """Open a line; those that nobody has closed are returned, closed as interrupted."""
        lines, interrupted = self._read(), []
        closed = {"finished": now, "result": INTERRUPTED}
        for number, line in enumerate(lines):
            known = _known(line)
            if known and not known.finished:
                lines[number] = {**line, **closed}
                interrupted.append(dataclasses.replace(known, **closed))
        if interrupted and not deployment.before:
            deployment = dataclasses.replace(deployment, before=interrupted[-1].before)
        self._write([*lines, dataclasses.asdict(deployment)])
        return interrupted

    def note(self, number: str, **changes: str) -> None:
        """Change the line of one deployment."""
        lines = [(line, _known(line)) for line in self._read()]
        self._write(
            [{**line, **changes} if one and one.id == number else line for line, one in lines]
        )

    def _read(self) -> list[t.Any]:
        """The lines as they are: a newer controller may have put more into them."""
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []
        return found if isinstance(found, list) else []

    def _write(self, lines: t.Sequence[t.Any]) -> None:
        beside = self.path.with_suffix(".new")
        beside.write_text(json.dumps(lines[-KEPT:], indent=1) + "\n", encoding="utf-8")
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(self.path)


def _known(line: t.Any) -> Deployment | None:
    """What this version knows of a line; nothing where it lacks what every line has."""
    names = [field.name for field in dataclasses.fields(Deployment)]
    try:
        return Deployment(**{name: line[name] for name in names if name in line})
    except TypeError:
        return None


@dataclasses.dataclass(frozen=True)
class Order:
    """What is to be done, and by whom."""

    what: str
    version: str
    holder: _lock.Holder
    seconds: int
    dead: str = ""


def directory(application: str) -> Path:
    return DIRECTORY / application


def start(
    application: str, order: Order, before: str, now: datetime.datetime, folder: Path | None = None
) -> tuple[str, list[Deployment]]:
    """Take the lock and open a line; returns its number and what was interrupted before."""
    folder = folder or directory(application)
    number, moment = uuid.uuid4().hex[:12], shown(now)
    what = f"{order.what} {order.version}".strip()
    held = _lock.Held(number, order.holder, what, moment, "", order.seconds)
    _lock.Lock(application, folder).take(held, now, order.dead)
    line = Deployment(number, order.what, order.holder.who, moment, order.version, before)
    return number, History(folder).begin(line, moment)


@contextlib.contextmanager
def phase(application: str, number: str, folder: Path | None = None) -> t.Iterator[None]:
    """Work under the lock of a deployment and note in its line why the work failed.

    Without a number there is no deployment, and nothing is noted.
    """
    if not number:
        yield
        return
    folder = folder or directory(application)
    with _lock.Lock(application, folder).kept(number):
        try:
            yield
        except StackError as error:
            History(folder).note(number, result=FAILED, reason=str(error))
            raise


def finish(
    application: str,
    number: str,
    now: datetime.datetime,
    folder: Path | None = None,
    trouble: str = "",
) -> Deployment:
    """Close the line, unless it is closed, and give the lock back.

    The trouble is what kept this machine from going on, or came once it served, where nothing on it
    has noted more.
    """
    folder = folder or directory(application)
    history = History(folder)
    line = history.find(number)
    if line is None:
        raise StackError(f"{application} has no deployment {number}; begin one first.")
    if line.finished:
        # Whoever took the lock over has closed it.
        return line
    result = SUCCEEDED if line.result == PUBLISHED else FAILED
    unknown = "" if result == SUCCEEDED else "it ended without an answer"
    reason = line.reason or trouble or unknown
    history.note(number, finished=shown(now), result=result, reason=reason)
    _lock.Lock(application, folder).release(number)
    return dataclasses.replace(line, finished=shown(now), result=result, reason=reason)


def broken_since(lines: t.Sequence[Deployment], proved: str) -> list[str]:
    """Migrations that ran after a release was proved, and that it may not work with."""
    moved = [one for one in lines if one.started > proved and one.schema_after != one.schema_before]
    return [name for one in moved for name in one.breaking.split(",") if name]


def shown(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
