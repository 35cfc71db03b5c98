# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Fill in what a role's argument specification says about nested options.

Ansible checks role arguments against the specification but does not apply its inner defaults.
"""

from __future__ import annotations

import typing as t

from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError
from ansible_collections.slipway.stack.plugins.plugin_utils import _specification

_KEYS = {"type", "elements", "required", "default", "choices", "options", "no_log"}


def complete(value: t.Any, role: str, option: str, entry: str = "main") -> t.Any:
    """The value of one role argument, typed and with every inner default."""
    specification = _reduced({option: _specification.options(role, entry)[option]})
    outcome = _specification.validate(specification, {option: value})
    if outcome.error_messages:
        raise StackError("; ".join(outcome.error_messages))
    return outcome.validated_parameters[option]


def _reduced(options: dict[str, t.Any]) -> dict[str, t.Any]:
    reduced = {}
    for name, option in options.items():
        kept = {key: option[key] for key in _KEYS & set(option)}
        kept.pop("no_log", None)
        if "options" in kept:
            kept["options"] = _reduced(kept["options"])
        reduced[name] = kept
    return reduced
