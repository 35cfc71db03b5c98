# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Stages of a long run: announced when they start, measured, listed at the end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator


class Stages:
    """What has been done so far and how long it took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.failed: list[str] = []

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure what happens inside."""
        print(f"\n######## {name}", flush=True)
        started = time.monotonic()
        try:
            yield
        except BaseException:
            self.failed.append(name)
            raise
        finally:
            self.seconds[name] = time.monotonic() - started

    def table(self) -> str:
        """Return all stages with their durations."""
        lines = [
            f"{name:<28}{minutes(seconds):>10}{'  FAILED' if name in self.failed else ''}"
            for name, seconds in self.seconds.items()
        ]
        return "\n".join([*lines, f"{'total':<28}{minutes(sum(self.seconds.values())):>10}"])


def minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02} min"
