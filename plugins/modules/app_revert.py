#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: app_revert
short_description: Choose the release to go back to
version_added: 0.1.0
author:
  - The Slipway authors (@slipway)
description:
  - Finds the good release that was proved last, apart from the one that serves. A release that
    failed, was withdrawn or never proved itself is not chosen. Nothing is switched.
  - Refuses a release that was last proved before a migration which it may not work with.
attributes:
  check_mode:
    support: full
    description: Reads only.
  diff_mode:
    support: none
    description: Changes nothing.
options:
  name:
    description: Name of the application.
    type: str
    required: true
  home:
    description: Directory of the application.
    type: path
    required: true
  release:
    description:
      - A good release to go back to instead, by its name, revision or version; of several that fit,
        the newest that does not serve.
    type: str
    default: ""
  allowed:
    description: Migrations that the release is known to work with, as the refusal names them.
    type: list
    elements: str
    default: []
  deployment:
    description: Number of the deployment under whose lock this happens.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Choose what the shop goes back to
  slipway.stack.app_revert:
    name: shop
    home: /srv/shop
  register: chosen
"""

RETURN = r"""
release:
  description: The release to publish.
  returned: success
  type: str
  sample: 20261121T080000Z-3f2c5d0e8a1b
"""

from collections.abc import Sequence
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.stack.plugins.module_utils import _deployments, _releases
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError

# As many digits as git shows; fewer are a slip rather than a commit.
_SHORTEST_COMMIT = 7


def choose(name: str, releases: _releases.Releases, wanted: str) -> str:
    """The release to go back to, or one sentence that says why there is none."""
    if not wanted:
        found = releases.last_good()
        if found is None:
            raise StackError(
                f"{name} has no good release besides the one that serves; deploy a version that"
                " works: playbooks/deploy.yml -e version=..."
            )
        return found.name
    good = [release for release in releases.all() if release.result == _releases.GOOD]
    current, fitting = releases.linked("current"), [one for one in good if _fits(one, wanted)]
    # A branch is the version of many.
    for release in fitting:
        if current is None or release.name != current.name:
            return release.name
    if fitting:
        raise StackError(f"{name} already serves {fitting[0].name} ({fitting[0].version}).")
    there = ", ".join(f"{release.name} ({release.version})" for release in good) or "none"
    raise StackError(f"{name} has no good release {wanted!r} on this machine; there is {there}.")


def _fits(release: _releases.Release, wanted: str) -> bool:
    commit = len(wanted) >= _SHORTEST_COMMIT and release.revision.startswith(wanted)
    return commit or wanted in (release.name, release.version)


def require_compatible(
    release: _releases.Release,
    lines: Sequence[_deployments.Deployment],
    allowed: Sequence[str],
) -> None:
    """An error when the schema has gone where the release has never been."""
    broken = _deployments.broken_since(lines, release.proved)
    names = ",".join(dict.fromkeys(name for name in broken if name not in allowed))
    if names:
        raise StackError(
            f"Release {release.name} may not work with the database, because it was last proved"
            f" before {names}: deploy a version that fits, with playbooks/deploy.yml -e version=;"
            f" or, when you know that it works, add -e allow_migrations={names}."
        )


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "home": {"type": "path", "required": True},
            "release": {"type": "str", "default": ""},
            "allowed": {"type": "list", "elements": "str", "default": []},
            "deployment": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    name, releases = module.params["name"], _releases.Releases(Path(module.params["home"]))
    try:
        with _deployments.phase(name, module.params["deployment"]):
            chosen = choose(name, releases, module.params["release"])
            lines = _deployments.History(_deployments.directory(name)).all()
            found = [release for release in releases.all() if release.name == chosen]
            require_compatible(found[0], lines, module.params["allowed"])
    except StackError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, release=chosen)


if __name__ == "__main__":
    main()
