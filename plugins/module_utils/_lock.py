# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One deployment of an application at a time, without a dead one blocking the next for ever.

The lock lies on the machine and names its holder. It counts as long as it is renewed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import fcntl
import json
import os
import threading
import time
import typing as t
from pathlib import Path

from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError

BEAT_SECONDS = 30.0
PATIENCE_SECONDS = 300.0


@dataclasses.dataclass(frozen=True)
class Holder:
    """Who deploys, and the process on the controller that does it."""

    who: str
    controller: str
    process: str


@dataclasses.dataclass(frozen=True)
class Held:
    """A lock as it lies on disk."""

    deployment: str
    holder: Holder
    what: str
    taken: str
    expires: str
    seconds: int


class Locked(StackError):
    """Somebody else deploys."""

    def __init__(self, application: str, held: Held) -> None:
        self.held = held
        super().__init__(
            f"{application} is locked: {held.holder.who} on {held.holder.controller} has been at"
            f" it since {held.taken} ({held.what}). Wait for it; without a sign of life it expires"
            f" at {held.expires}."
        )


class Lock:
    """The lock of one application on this machine."""

    def __init__(self, application: str, directory: Path) -> None:
        self.application = application
        self.path = directory / "lock.json"

    def read(self) -> Held | None:
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
            return Held(**{**found, "holder": Holder(**found["holder"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def ask(self, holder: Holder, now: datetime.datetime, dead: str = "") -> Held | None:
        """What the lock would be taken from; an error where it is somebody else's."""
        held = self.read()
        if held and not _is_free(held, holder, now, dead):
            raise Locked(self.application, held)
        return held

    def take(self, wanted: Held, now: datetime.datetime, dead: str = "") -> Held | None:
        """Take the lock and return what it was taken from; `dead` is one known to be gone."""
        self.path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        with self._alone():
            held = self.ask(wanted.holder, now, dead)
            self._write(dataclasses.replace(wanted, expires=_until(now, wanted.seconds)))
            return held

    def renew(self, deployment: str, now: datetime.datetime) -> None:
        """Show a sign of life, or learn that the lock is somebody else's by now."""
        with self._alone():
            held = self.read()
            if held is None or held.deployment != deployment:
                whose = f"{held.holder.who} has taken it over" if held else "it is gone"
                raise StackError(
                    f"This deployment of {self.application} has lost its lock: {whose}."
                    " Nothing more was done; run it again."
                )
            self._write(dataclasses.replace(held, expires=_until(now, held.seconds)))

    def release(self, deployment: str) -> None:
        with self._alone():
            held = self.read()
            if held and held.deployment == deployment:
                self.path.unlink()

    @contextlib.contextmanager
    def kept(
        self, deployment: str, beat: float = BEAT_SECONDS, patience: float = PATIENCE_SECONDS
    ) -> t.Iterator[None]:
        """Hold the lock through something that may take long, and that nobody else is in.

        A holder who is gone may have left work on this machine that goes on without him.
        """
        # Who has lost it does not wait for whoever has it.
        self.renew(deployment, _now())
        with self._at_work(patience):
            self.renew(deployment, _now())
            with self._shown_alive(deployment, beat):
                yield

    @contextlib.contextmanager
    def _at_work(self, patience: float) -> t.Iterator[None]:
        end = time.monotonic() + patience
        with self.path.with_suffix(".work").open("a") as work:
            while not _flocked(work):
                if time.monotonic() > end:
                    raise StackError(
                        f"What an earlier run has begun on {self.application} still goes on here"
                        f" after {patience:.0f} s, although nobody waits for it: run this again"
                        " when it has ended."
                    )
                time.sleep(0.1)
            yield

    @contextlib.contextmanager
    def _shown_alive(self, deployment: str, beat: float) -> t.Iterator[None]:
        done = threading.Event()

        def live() -> None:
            while not done.wait(beat):
                with contextlib.suppress(StackError, OSError):
                    self.renew(deployment, _now())

        thread = threading.Thread(target=live, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    @contextlib.contextmanager
    def _alone(self) -> t.Iterator[None]:
        with self.path.with_suffix(".guard").open("a") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            yield

    def _write(self, held: Held) -> None:
        beside = self.path.with_suffix(".new")
        beside.write_text(json.dumps(dataclasses.asdict(held)) + "\n", encoding="utf-8")
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(self.path)


def _flocked(file: t.IO[str]) -> bool:
    """Whether the kernel gave it to this process, of which it forgets when that ends."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_free(held: Held, holder: Holder, now: datetime.datetime, dead: str) -> bool:
    mine = (held.holder.controller, held.holder.process) == (holder.controller, holder.process)
    return mine or held.deployment == dead or held.expires < _shown(now)


def _until(now: datetime.datetime, seconds: int) -> str:
    return _shown(now + datetime.timedelta(seconds=seconds))


def _shown(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
