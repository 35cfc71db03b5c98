# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Files on the controller that somebody asked for."""

from __future__ import annotations

from pathlib import Path

from ansible.errors import AnsibleActionFail


def write(path: str | None, text: str) -> None:
    """A reader finds the old report or the new one, never half of one."""
    if not path:
        return
    target = Path(path)
    try:
        fresh = target.with_name(f".{target.name}.new")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(target)
    except OSError as error:
        raise AnsibleActionFail(
            f"the report {path} cannot be written ({error.strerror}); name a file in a folder"
            " that exists and can be written to"
        ) from error
