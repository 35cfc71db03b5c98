# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The body of every health module."""

from __future__ import annotations

import collections.abc
import dataclasses
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.slipway.stack.plugins.module_utils import _health
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError

TIMEOUT = 10.0
OPTIONS: dict[str, t.Any] = {
    "timeout": {"type": "float", "default": TIMEOUT},
    "fail_when_unhealthy": {"type": "bool", "default": True},
}
NAME: dict[str, t.Any] = {"name": {"type": "str", "required": True}}


def run(kind: _health.Kind) -> None:
    """One check as a module of its own."""
    module = AnsibleModule(
        argument_spec={**OPTIONS, **NAME, **kind.OPTIONS}, supports_check_mode=True
    )
    check = {name: module.params[name] for name in (*NAME, *kind.OPTIONS)}
    finish(module, [(kind, check)])


def run_all(kinds: collections.abc.Mapping[str, _health.Kind]) -> None:
    """All checks of a machine in one remote execution."""
    module = AnsibleModule(
        argument_spec={
            **OPTIONS,
            "checks": {"type": "list", "elements": "dict", "required": True},
            "passwords": {"type": "dict", "default": {}, "no_log": True},
        },
        supports_check_mode=True,
    )
    try:
        checks = accept(module.params["checks"], module.params["passwords"], kinds)
    except StackError as error:
        module.fail_json(msg=str(error))
    finish(module, checks)


def accept(
    given: collections.abc.Sequence[_health.Check],
    passwords: collections.abc.Mapping[str, str],
    kinds: collections.abc.Mapping[str, _health.Kind],
) -> list[tuple[_health.Kind, _health.Check]]:
    """The checks, each with the types and defaults of its kind."""
    accepted = []
    for number, check in enumerate(given):
        options = dict(check)
        name = str(options.pop("kind", ""))
        if name not in kinds:
            raise StackError(
                f"checks[{number}].kind is {name!r}; use one of {', '.join(sorted(kinds))}"
            )
        kind = kinds[name]
        user = str(options.get("user"))
        if "password" in kind.OPTIONS and not options.get("password") and user in passwords:
            options["password"] = passwords[user]
        specification = {**NAME, "timeout": {"type": "float"}, **kind.OPTIONS}
        result = ArgumentSpecValidator(specification).validate(options)
        if result.error_messages:
            where = f"checks[{number}] ({name} {options.get('name')})"
            raise StackError(f"{where}: {'; '.join(result.error_messages)}")
        accepted.append((kind, result.validated_parameters))
    return accepted


def finish(
    module: AnsibleModule, checks: collections.abc.Sequence[tuple[_health.Kind, _health.Check]]
) -> None:
    """Examine and tell; nothing was changed whatever came of it."""
    findings = _health.examine(checks, module.params["timeout"])
    wrong = [row for row in findings if row.state in (_health.CRITICAL, _health.UNKNOWN)]
    result = {
        "changed": False,
        "findings": [dataclasses.asdict(row) for row in findings],
        "state": _health.worst(findings),
        "healthy": not wrong,
    }
    if wrong and module.params["fail_when_unhealthy"]:
        module.fail_json(msg="; ".join(f"{r.check}: {r.value}" for r in wrong) + ".", **result)
    module.exit_json(**result)
