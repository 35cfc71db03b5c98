# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Also runs outside Ansible, where no run_command is. pylint: disable=ansible-bad-function
"""The guard of migrations as a process inside the release, asked a word at a time."""

from __future__ import annotations

import contextlib
import inspect
import json
import subprocess
import tempfile
import typing as t
from pathlib import Path

from . import _application_commands, _environment, _migration_guard, _migrations
from ._errors import StackError

_LONGEST = 24 * 3600.0
Process = subprocess.Popen[str]


@contextlib.contextmanager
def guard(
    order: _migrations.Order, home: Path, release: Path, environment: t.Mapping[str, str]
) -> t.Iterator[_migrations.Ask]:
    """Start the guard as the application would start, past its pooler and with limits.

    Should the one who asks be killed, the guard still waits for the migration that it runs, and
    keeps the lock for as long.
    """
    file = Path(f"/etc/slipway/{order.name}/environment")
    values = {**_application_commands.read_environment(file), **environment}
    options = f"{values.get('PGOPTIONS', '')} {order.options}".strip()
    with tempfile.NamedTemporaryFile("w", dir="/run", prefix="slipway-", suffix=".env") as extra:
        extra.write(_environment.render({**environment, "PGOPTIONS": options}))
        extra.flush()
        command = _application_commands.sandboxed(
            order.name,
            program(order, release.name),
            release,
            [home / "static", home / "media"],
            [str(file), extra.name],
            _LONGEST,
        )
        with started(command) as process:
            yield lambda word: answer(process, word, values)


def program(order: _migrations.Order, release: str) -> list[str]:
    """What runs in the release: the guard's own text, and what it is about."""
    request = {
        "framework": order.framework,
        "command": order.command,
        "point": f"slipway before {release}",
    }
    return ["python", "-c", inspect.getsource(_migration_guard), json.dumps(request)]


@contextlib.contextmanager
def started(command: t.Sequence[str], **options: t.Any) -> t.Iterator[Process]:
    """The process, until it has seen the end of what is asked."""
    with subprocess.Popen(
        list(command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        **options,
    ) as process:
        try:
            yield process
        finally:
            # A guard that has ended cannot be told that nothing more comes.
            with contextlib.suppress(OSError):
                t.cast(t.IO[str], process.stdin).close()


def answer(process: Process, word: str, secrets: t.Mapping[str, str]) -> dict[str, t.Any]:
    """Ask one question; whatever the application prints besides is shown when none comes back."""
    asked, said = t.cast(t.IO[str], process.stdin), t.cast(t.IO[str], process.stdout)
    # A guard that could not even begin has said why.
    with contextlib.suppress(OSError):
        asked.write(f"{word}\n")
        asked.flush()
    other: list[str] = []
    for line in said:
        _before, mark, text = line.partition(_migration_guard.MARK)
        if not mark:
            other = [*other, line.rstrip()][-15:]
            continue
        found = t.cast(dict[str, t.Any], _masked(json.loads(text), secrets))
        if "error" in found:
            raise StackError(f"The application cannot tell of its migrations: {found['error']}")
        return found
    words = _environment.mask("\n".join(other), secrets)
    raise StackError(f"The application ended instead of telling of its migrations.\n{words}")


def _masked(value: t.Any, secrets: t.Mapping[str, str]) -> t.Any:
    if isinstance(value, str):
        return _environment.mask(value, secrets)
    if isinstance(value, list):
        return [_masked(one, secrets) for one in value]
    if isinstance(value, dict):
        return {key: _masked(one, secrets) for key, one in value.items()}
    return value
