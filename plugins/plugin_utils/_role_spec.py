# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Fill in what a role's argument specification says about nested options.

Ansible checks role arguments against the specification but does not apply its inner defaults.
"""

from __future__ import annotations

import typing as t

from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError
from ansible_collections.slipway.stack.plugins.plugin_utils import _specification


def complete(value: t.Any, role: str, option: str, entry: str = "main") -> t.Any:
    """The value of one role argument, typed and with every inner default."""
    specification = {option: _specification.options(role, entry)[option]}
    completed, problems = _specification.read(specification, {option: value})
    if problems:
        raise StackError(" ".join(problems))
    return completed[option]
