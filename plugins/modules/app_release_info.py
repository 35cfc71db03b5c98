#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: app_release_info
short_description: Which release each application wants, and which it has
version_added: 0.1.0
author:
  - The Slipway authors (@slipway)
description:
  - Compares for all applications of a machine the revision that is asked for with the one that
    C(/srv/<name>/current) serves, in one execution. Branches and tags are looked up in their
    repository, as the application's user.
attributes:
  check_mode:
    support: full
    description: Reads only. Where user or git are still missing, a release is needed.
  diff_mode:
    support: none
    description: Changes nothing.
options:
  applications:
    description: The applications to look at.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the application and of its user.
        type: str
        required: true
      home:
        description: Directory of the application.
        type: path
        required: true
      repository:
        description: Git repository; empty if O(applications[].revision) is known already.
        type: str
        default: ""
      version:
        description: Branch, tag or commit of the repository.
        type: str
        default: main
      fixed:
        description: Whether the version must be a tag or a commit, for it was approved.
        type: bool
        default: false
      revision:
        description: The revision that is wanted, where there is no repository to ask.
        type: str
        default: ""
      deploy_key:
        description: File with the key that may read the repository.
        type: str
        default: ""
      python:
        description: Interpreter that the release is built with.
        type: str
        default: /usr/bin/python3
      servers:
        description: Units of its servers; while one runs another release, C(current) is needed.
        type: list
        elements: str
        default: []
  again:
    description: Whether a revision that was withdrawn by a rollback is needed again.
    type: bool
    default: false
  history:
    description: Also return the history of each application.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Look at the shop
  slipway.stack.app_release_info:
    applications:
      - name: shop
        home: /srv/shop
        repository: https://git.example.com/shop.git
        version: v2.4.1
"""

RETURN = r"""
applications:
  description: By name, the C(wanted) revision (empty if it cannot be known yet), the release that
    is C(current) and the C(previous) one, whether the wanted one was C(built) before, whether a
    release is C(needed), and whether that is so
    only because the revision was C(withdrawn); the C(dependencies) that its releases share, by
    their digests. If asked for, its C(history), oldest first, and its
    C(lock).
  returned: always
  type: dict
  sample: {shop: {wanted: 3f2c, current: 20261121T080000Z-3f2c, previous: "", needed: false}}
machine:
  description: Debian and processor; a release that one machine builds runs on those like it.
  returned: always
  type: str
  sample: debian 13 x86_64
"""

import concurrent.futures
import dataclasses
import functools
import pwd
import shutil
import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.stack.plugins.module_utils import (
    _artefact,
    _commands,
    _deployments,
    _installed,
    _lock,
    _releases,
    _serving,
    _sources,
    _units,
)
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError


def examine(
    application: dict[str, t.Any], again: bool, history: bool
) -> tuple[str, dict[str, t.Any]]:
    """One application by its name; the slow part is the question to its repository."""
    releases = _releases.Releases(Path(application["home"]))
    current, previous = releases.linked("current"), releases.linked("previous")
    wanted = application["revision"] or _resolve(application)
    serves = (
        current is not None
        and not _is_half_way(releases, application["servers"])
        and current.result == _releases.GOOD
        and (current.revision, current.python) == (wanted, application["python"])
    )
    withdrawn = not again and releases.is_withdrawn(wanted)
    return application["name"], {
        "wanted": wanted,
        "dependencies": _installed.Installed(releases.home).complete(),
        "built": bool(wanted) and _is_built(releases, wanted, application["python"]),
        "current": current.name if current else "",
        "previous": previous.name if previous else "",
        "needed": not serves and not withdrawn,
        "withdrawn": withdrawn and not serves,
        **(_told(application["name"]) if history else {}),
    }


def _is_half_way(releases: _releases.Releases, servers: list[str]) -> bool:
    """Whether a stand-in that nobody dismissed or a server may answer with another release."""
    left = (releases.home / _serving.STANDIN).is_symlink()
    return left or bool(_units.lagging(servers, str(releases.home / "current"), _commands.run))


def _is_built(releases: _releases.Releases, revision: str, python: str) -> bool:
    return any(
        (one.revision, one.python) == (revision, python) and one.result != _releases.FAILED
        for one in releases.all()
    )


def _told(name: str) -> dict[str, t.Any]:
    folder = _deployments.directory(name)
    lock = _lock.Lock(name, folder).read()
    return {
        "history": [dataclasses.asdict(one) for one in _deployments.History(folder).all()],
        "lock": dataclasses.asdict(lock) if lock else {},
    }


def _resolve(application: dict[str, t.Any]) -> str:
    home = Path(application["home"])
    if not shutil.which("git") or not _exists(application["name"]) or not home.is_dir():
        return ""
    key = Path(application["deploy_key"]) if application["deploy_key"] else None
    git = _sources.Git(application["name"], home, application["repository"], key)
    return git.resolve(application["version"], fixed=application["fixed"])


def _exists(user: str) -> bool:
    try:
        return bool(pwd.getpwnam(user))
    except KeyError:
        return False


def _option(default: str = "") -> dict[str, t.Any]:
    return {"type": "str", "default": default}


def argument_spec() -> dict[str, t.Any]:
    options = {
        "name": {"type": "str", "required": True},
        "home": {"type": "path", "required": True},
        "repository": _option(),
        "version": _option("main"),
        "fixed": {"type": "bool", "default": False},
        "revision": _option(),
        "deploy_key": {**_option(), "no_log": False},
        "python": _option("/usr/bin/python3"),
        "servers": {"type": "list", "elements": "str", "default": []},
    }
    applications = {"type": "list", "elements": "dict", "required": True, "options": options}
    flag = {"type": "bool", "default": False}
    return {"applications": applications, "again": flag, "history": flag}


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    examined = functools.partial(
        examine, again=module.params["again"], history=module.params["history"]
    )
    try:
        with concurrent.futures.ThreadPoolExecutor(max_workers=4) as pool:
            found = list(pool.map(examined, module.params["applications"]))
    except StackError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, applications=dict(found), machine=_artefact.kind_of_machine())


if __name__ == "__main__":
    main()
