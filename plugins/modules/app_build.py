#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: app_build
short_description: Build a release beside the one that serves
version_added: 0.1.0
author:
  - The Slipway authors (@slipway)
description:
  - Fetches the source and makes its virtual environment, from a lock with hashes, in a directory of
    its own; or builds a Node project with npm, from its lock.
  - Nothing that serves is touched, and a build that fails is removed.
  - Of machines that are named as peers, one of each kind builds, and the others get what it has
    built, by way of the controller.
  - A complete release of the same revision that has not failed is used again.
attributes:
  check_mode:
    support: full
    description: Says whether something would be built.
  diff_mode:
    support: none
    description: A release is a directory with thousands of files.
options:
  name:
    description: Name of the application and of its user.
    type: str
    required: true
  home:
    description: Directory of the application.
    type: path
    required: true
  revision:
    description: Commit of the repository, or SHA-256 of the archive or directory.
    type: str
    required: true
  version:
    description: What the operator called the revision, for messages.
    type: str
    default: ""
  repository:
    description: Git repository to fetch from.
    type: str
    default: ""
  archive:
    description: URL of an archive, or its path on the controller.
    type: str
    default: ""
  directory:
    description: Directory on the controller, sent as one archive.
    type: str
    default: ""
  bundle:
    description: The archive on the machine; filled in on the controller.
    type: str
    default: ""
  subdirectory:
    description: Folder within the source that holds the project and its lock.
    type: str
    default: ""
  runtime:
    description: What the release is made of, which decides how it is built.
    type: str
    choices: [python, node, static]
    default: python
  build:
    description: Command that makes of a Node project what is served, after C(npm ci).
    type: str
    default: ""
  served:
    description: Folder of the project that nginx serves, for O(runtime=static).
    type: str
    default: ""
  deploy_key:
    description: File with the key that may read the repository.
    type: str
    default: ""
  python:
    description: Interpreter for the virtual environment; none is ever downloaded.
    type: str
    default: /usr/bin/python3
  uv_version:
    description: Version of uv to build with; another one on the machine is replaced.
    type: str
    required: true
  uv_hashes:
    description: SHA-256 of the wheels of that version.
    type: list
    elements: str
    default: []
  pack:
    description: File on the machine to leave the release in for other machines; empty is none.
    type: str
    default: ""
  packed:
    description: Such a file from another machine, which is unpacked instead of building.
    type: str
    default: ""
  release:
    description: Name of the release on that machine.
    type: str
    default: ""
  dependencies:
    description: What the release links to as its environment on that machine.
    type: str
    default: ""
  present:
    description: Environments that need not be packed, for the other machines have them.
    type: list
    elements: str
    default: []
  peers:
    description:
      - Machines that release the same revision, by their names in the inventory. The first of each
        kind (Debian and processor) builds for all of them; of a static application, of any kind.
    type: list
    elements: str
    default: []
  built:
    description:
      - What this module returned a task before. With it, who has not built gets what was built.
    type: dict
    default: {}
  deployment:
    description: Number of the deployment under whose lock this happens.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Build the shop
  slipway.stack.app_build:
    name: shop
    home: /srv/shop
    repository: https://git.example.com/shop.git
    revision: 3f2c5d0e8a1b4c6d7e9f0a1b2c3d4e5f6a7b8c9d
    uv_version: 0.13.8
    uv_hashes: [e18a57b8b352eb7c8feb317b9f6f533c8f0ad9673fd6cf34bbe3cf1a9f6a8984]
"""

RETURN = r"""
release:
  description: Name of the release that can be published now; empty in check mode.
  returned: always
  type: str
  sample: 20261121T080000Z-3f2c5d0e8a1b
dependencies:
  description: The environment that it shares with the releases of the same lock, or nothing.
  returned: success
  type: str
  sample: 0f3e5d7c9b1a2486
"""

import datetime
import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.stack.plugins.module_utils import (
    _build,
    _deployments,
    _installed,
)
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError


def order_from(params: dict[str, t.Any]) -> _build.Order:
    unused = ("directory", "deployment", "pack", "present", "peers", "built")
    given = {key: value for key, value in params.items() if key not in unused}
    given["home"] = Path(params["home"])
    given["uv_hashes"] = tuple(params["uv_hashes"])
    return _build.Order(**given)


def _option(default: str = "") -> dict[str, t.Any]:
    return {"type": "str", "default": default}


def argument_spec() -> dict[str, t.Any]:
    return {
        "name": {"type": "str", "required": True},
        "home": {"type": "path", "required": True},
        "revision": {"type": "str", "required": True},
        "version": _option(),
        "repository": _option(),
        "archive": _option(),
        "directory": _option(),
        "bundle": _option(),
        "subdirectory": _option(),
        "runtime": {**_option(_build.PYTHON), "choices": list(_build.RUNTIMES)},
        "build": _option(),
        "served": _option(),
        "deploy_key": {**_option(), "no_log": False},
        "python": _option("/usr/bin/python3"),
        "uv_version": {"type": "str", "required": True},
        "uv_hashes": {"type": "list", "elements": "str", "default": []},
        "pack": _option(),
        "packed": _option(),
        "release": _option(),
        "dependencies": _option(),
        "present": {"type": "list", "elements": "str", "default": []},
        "peers": {"type": "list", "elements": "str", "default": []},
        "built": {"type": "dict", "default": {}},
        "deployment": _option(),
    }


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    order = order_from(module.params)
    found = _build.existing(order)
    name = found.name if found else ""
    if module.check_mode:
        module.exit_json(changed=not found, release=name)
    try:
        with _deployments.phase(order.name, module.params["deployment"]):
            name = name or _build.build(order, datetime.datetime.now(datetime.UTC))
            if module.params["pack"]:
                present = module.params["present"]
                _build.pack(order, name, present, Path(module.params["pack"]))
    except StackError as error:
        module.fail_json(msg=str(error))
    release = order.home / "releases" / name
    digest = _installed.Installed(order.home).of(release)
    module.exit_json(changed=not found, release=name, dependencies=digest)


if __name__ == "__main__":
    main()
