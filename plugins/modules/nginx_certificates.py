#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A thin door to module_utils/_sites.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nginx_certificates
short_description: Keep the certificate of every nginx site in place
version_added: 0.1.0
description:
  - Looks at the certificate of every site in one execution and does only what is missing.
  - A pair lives in C(/etc/slipway/tls/<site>/{fullchain,privkey}.pem); certificate and key always
    change together, and nginx is reloaded, never restarted. A pair that nginx refuses goes back.
  - A site without any certificate gets a temporary one that it signs itself, so that nginx can
    start and answer the challenge.
author: The Slipway authors (@slipway)
options:
  sites:
    description: The sites.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the site and of its directory.
        type: str
        required: true
      names:
        description: Names that the certificate has to cover.
        type: list
        elements: str
        required: true
      source:
        description: Where the certificate comes from.
        type: str
        choices: [acme, files, self_signed]
        default: acme
      certificate:
        description: For V(files), the certificate followed by its intermediates, PEM.
        type: str
      private_key:
        description: For V(files), the key, PEM without a passphrase.
        type: str
  authority:
    description: Whom to ask for the certificates with source V(acme).
    type: dict
    required: true
    suboptions:
      directory:
        description: Address of the ACME directory.
        type: str
        required: true
      email:
        description: Contact of the ACME account.
        type: str
        default: ''
      ca_file:
        description: File on the machine with the authorities that vouch for the directory itself.
        type: str
        default: ''
      preflight_enabled:
        description: Fetch a challenge through each public name before the directory is asked.
        type: bool
        default: true
  address:
    description: Address at which nginx can be asked which certificate it shows.
    type: str
    default: 127.0.0.1
  issue:
    description: Also ask for the certificates that are missing, which needs nginx to run.
    type: bool
    default: false
attributes:
  check_mode:
    description: Predicts what would be installed and requested.
    support: full
  diff_mode:
    description: Names what each site lacks; never shows a certificate or key.
    support: full
"""

EXAMPLES = r"""
- name: Make sure that every site has some certificate
  slipway.stack.nginx_certificates:
    authority:
      directory: https://acme-v02.api.letsencrypt.org/directory
      email: admin@example.com
    sites:
      - name: shop
        names: [shop.example.com, www.shop.example.com]
"""

RETURN = r"""
wanted:
  description: Sites whose certificate still has to be requested.
  type: list
  elements: str
  returned: always
problems:
  description: One sentence for each site that could not be served as declared.
  type: list
  elements: str
  returned: always
nginx_version:
  description: Version of the installed nginx, empty where there is none yet.
  type: str
  returned: always
"""

import dataclasses
import datetime
import grp
import re
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.slipway.stack.plugins.module_utils import (
    _certificates,
    _commands,
    _sites,
)
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError

SITE = {
    "name": {"type": "str", "required": True},
    "names": {"type": "list", "elements": "str", "required": True},
    "source": {"type": "str", "choices": ["acme", "files", "self_signed"], "default": "acme"},
    "certificate": {"type": "str"},
    "private_key": {"type": "str", "no_log": True},
}
AUTHORITY = {
    "directory": {"type": "str", "required": True},
    "email": {"type": "str", "default": ""},
    "ca_file": {"type": "str", "default": ""},
    "preflight_enabled": {"type": "bool", "default": True},
}
GROUP = "www-data"
ARGUMENTS = {
    "sites": {"type": "list", "elements": "dict", "required": True, "options": SITE},
    "authority": {"type": "dict", "required": True, "options": AUTHORITY},
    "address": {"type": "str", "default": "127.0.0.1"},
    "issue": {"type": "bool", "default": False},
}


def nginx_version() -> str:
    """`nginx -v` says `nginx version: nginx/1.26.3`."""
    found = re.search(r"nginx/([0-9.]+)", _commands.run(["nginx", "-v"]).output)
    return found.group(1) if found else ""


def group() -> int:
    """The group that nginx runs as. Only the play sets it, the renewal finds it set."""
    try:
        return grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return -1


class Outcome:
    """What all sites together come to."""

    def __init__(self) -> None:
        self.done: dict[str, str] = {}
        self.wanted: list[str] = []
        self.problems: list[str] = []

    def as_result(self) -> dict[str, t.Any]:
        lines = "".join(f"{name}: {reason}\n" for name, reason in sorted(self.done.items()))
        return {
            "changed": bool(self.done),
            "diff": {"before": "", "after": lines, "after_header": "certificates"},
            "wanted": self.wanted,
            "problems": self.problems,
            "nginx_version": nginx_version(),
        }


def _treat(
    outcome: Outcome, machine: _sites.Machine, site: _sites.Site, issue: bool, check_mode: bool
) -> None:
    now = datetime.datetime.now(_certificates.UTC)
    step = _sites.plan(machine, site, now)
    if step.wanted and (check_mode or not issue):
        outcome.wanted.append(site.name)
    done = step.reason if step.pair or issue or check_mode else ""
    if not check_mode:
        if step.pair:
            _sites.deploy(machine, site.name, step.pair())
        elif _sites.is_stale(machine, site):
            _sites.reload(machine)
            done = "serve the certificate on disk"
        if step.wanted and issue:
            with _sites.locked():
                _sites.obtain(machine, site, now)
    if done:
        outcome.done[site.name] = done


def main() -> None:
    """Treat every site; the trouble of one does not stop the others."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    sites = _sites.sites_from(module.params["sites"])
    outcome = Outcome()
    if not _certificates.HAS_CRYPTOGRAPHY:
        if not module.check_mode:
            module.fail_json(
                msg="python3-cryptography is missing: install certbot, it needs it too"
            )
        outcome.done = {site.name: "make a certificate" for site in sites}
        outcome.wanted = [site.name for site in sites if site.source == "acme"]
        module.exit_json(**outcome.as_result())
    machine = dataclasses.replace(_sites.machine_from(module.params), group=group())
    for site in sites:
        try:
            _treat(outcome, machine, site, module.params["issue"], module.check_mode)
        except StackError as error:
            outcome.problems.append(str(error))
            if not module.check_mode:
                _sites.fall_back(machine, site, datetime.datetime.now(_certificates.UTC))
    module.exit_json(**outcome.as_result())


if __name__ == "__main__":
    main()
