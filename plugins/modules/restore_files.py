#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Media, configuration and other files as they were at a moment."""

from __future__ import annotations

DOCUMENTATION = r"""
module: restore_files
short_description: Bring back files of this machine as they were at a moment
version_added: 0.1.0
description:
  - Takes the newest snapshot of the role P(slipway.stack.backup#role) that is no younger than the
    moment, and restores what was asked for beside the live files, of which none is touched.
  - With the path confirmed it is put into its place, and what was there is kept as
    C(<path>_before_<time>). A directory stays the one that it is, so services need no restart.
  - May be repeated, also after it was killed.
author:
  - The Slipway authors (@slipway)
attributes:
  check_mode:
    description: Predicts a change, does nothing.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
options:
  to:
    description: The moment, C(latest) or a time with its zone.
    type: str
  path:
    description: Whole path of a file or directory; all that was saved if left out.
    type: str
    default: ""
  confirmed:
    description: The same path again, for it to be put into its place.
    type: str
    default: ""
  state:
    description: C(absent) only removes what was restored beside.
    type: str
    choices: [present, absent]
    default: present
  directory:
    description: Where files are restored beside; removed and made anew each time.
    type: path
    default: /var/lib/slipway/restored
  program:
    description: restic, told of this machine's repository.
    type: path
    default: /opt/slipway/backup/files
  state_directory:
    description: Where it is kept how far a restore into place came.
    type: path
    default: /var/lib/slipway/files
"""

EXAMPLES = r"""
- name: Look at what the media were yesterday
  slipway.stack.restore_files:
    to: "2026-11-28T21:14:05Z"
    path: /srv/shop/media
"""

RETURN = r"""
lines:
  description: For a person, what is where, how long it took, and what to do with it.
  returned: when O(state=present), not in check mode
  type: list
  elements: str
"""

import functools
import typing as t
from datetime import UTC, datetime
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.stack.plugins.module_utils import (
    _errors,
    _file_backup,
    _restore_files,
)

ARGUMENTS: dict[str, t.Any] = {
    "to": {"type": "str"},
    "path": {"type": "str", "default": ""},
    "confirmed": {"type": "str", "default": ""},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "directory": {"type": "path", "default": "/var/lib/slipway/restored"},
    "program": {"type": "path", "default": "/opt/slipway/backup/files"},
    "state_directory": {"type": "path", "default": "/var/lib/slipway/files"},
}


def bring_about(asked: dict[str, t.Any], *, predicting: bool) -> dict[str, t.Any]:
    means = _restore_files.Means(
        restic=functools.partial(_file_backup.restic, asked["program"]),
        beside=Path(asked["directory"]),
        journal=Path(asked["state_directory"]) / "restore.json",
        clock=lambda: datetime.now(UTC),
    )
    if asked["state"] == "absent":
        there = means.beside.exists()
        return {"changed": there if predicting else _restore_files.remove(means)}
    path, confirmed = asked["path"].rstrip("/"), asked["confirmed"].rstrip("/")
    if confirmed and confirmed != path:
        raise _errors.BackupError(
            f"{path or 'everything'} is to be restored, but {confirmed} was confirmed to be"
            f" replaced: name the same path twice."
        )
    if predicting:
        return {"changed": True}
    act = _restore_files.put_in_place if confirmed else _restore_files.lay_beside
    return {"changed": True, "lines": act(asked["to"], path, means)}


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        required_if=[("state", "present", ["to"])],
        supports_check_mode=True,
    )
    try:
        done = bring_about(module.params, predicting=module.check_mode)
    except _errors.StackError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**done)


if __name__ == "__main__":
    main()
