# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The filter slipway.stack.unit_hardening."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ansible.errors import AnsibleFilterError
from ansible_collections.slipway.stack.plugins.module_utils import _hardening
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError

DOCUMENTATION = r"""
name: unit_hardening
short_description: The text of a drop-in that confines a systemd service
version_added: 0.1.0
author:
  - The Slipway authors (@slipway)
description:
  - Gives the text of C(/etc/systemd/system/<unit>.d/50-hardening.conf). The strictest profile is
    C(daemon); the others say what they give up of it.
  - The service may write only where O(writable) says, besides its own C(RuntimeDirectory=),
    C(StateDirectory=) and the like.
positional: _input
options:
  _input:
    description:
      - Name of the profile. V(daemon) for servers that start as their own user, V(web) for
        gunicorn and its like, V(worker) for other processes of an application, V(oneshot)
        for jobs.
    type: str
    required: true
    choices: [daemon, web, worker, oneshot]
  writable:
    description:
      - Paths that the service may write. A missing one keeps the service from starting, unless
        it is written with a leading minus.
    type: list
    elements: str
    default: []
  exceptions:
    description:
      - Directives with another value than the profile's, or in addition to it.
      - V(false) and strings are written as they are, an empty string resets the directive,
        V(none) leaves it to the unit, a list first resets and then sets it once per element.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: configure | Confine redis
  slipway.stack.service_config:
    files:
      - path: /etc/systemd/system/redis-server@broker.service.d/50-hardening.conf
        content: "{{ 'daemon' | slipway.stack.unit_hardening(writable=['/var/lib/redis']) }}"

- name: configure | Confine PostgreSQL, whose queries may be compiled
  slipway.stack.service_config:
    files:
      - path: /etc/systemd/system/postgresql@.service.d/50-hardening.conf
        content: "{{ 'daemon' | slipway.stack.unit_hardening(exceptions=__exceptions) }}"
  vars:
    __exceptions:
      MemoryDenyWriteExecute: false
"""

RETURN = r"""
_value:
  description: The text of the drop-in.
  type: str
"""


def unit_hardening(
    profile: str,
    writable: Sequence[str] = (),
    exceptions: Mapping[str, _hardening.Value] | None = None,
) -> str:
    try:
        return _hardening.drop_in(profile, writable, exceptions)
    except StackError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    def filters(self) -> dict[str, Callable[..., str]]:
        return {"unit_hardening": unit_hardening}
