# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whoever copies an example from the documentation has a task that the module takes."""

from __future__ import annotations

import importlib
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

MODULES = Path(__file__).resolve().parents[2] / "plugins/modules"
PACKAGE = "ansible_collections.slipway.stack.plugins.modules"
# What stands for the value of a template.
STAND_INS: dict[str, t.Any] = {"int": 1, "float": 1.0, "bool": True, "list": [], "dict": {}}
NAMES = sorted(path.stem for path in MODULES.glob("*.py") if path.stem != "__init__")


class Declared(Exception):
    """What a module would have made of its arguments."""


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> t.Callable[[t.Any], dict[str, t.Any]]:
    def declare(_self: AnsibleModule, argument_spec: dict[str, t.Any], **more: t.Any) -> None:
        raise Declared(argument_spec, more)

    def find(module: t.Any) -> dict[str, t.Any]:
        monkeypatch.setattr(AnsibleModule, "__init__", declare)
        with pytest.raises(Declared) as caught:
            module.main()
        monkeypatch.undo()
        spec, more = caught.value.args
        rules = ("mutually_exclusive", "required_together", "required_one_of", "required_if")
        return {"argument_spec": spec, **{name: more[name] for name in rules if name in more}}

    return find


def given(value: t.Any, option: dict[str, t.Any]) -> t.Any:
    """The value, with something of its type in place of a template."""
    if isinstance(value, dict):
        return {
            key: given(each, option.get("options", {}).get(key, {})) for key, each in value.items()
        }
    if isinstance(value, list):
        return [given(each, {**option, "type": option.get("elements")}) for each in value]
    if "{{" not in str(value):
        return value
    return STAND_INS.get(option.get("type", "str"), (option.get("choices") or ["x"])[0])


@pytest.mark.parametrize("name", NAMES)
def test_each_example_is_a_task_that_the_module_takes(
    name: str, declared: t.Callable[[t.Any], dict[str, t.Any]]
) -> None:
    module = importlib.import_module(f"{PACKAGE}.{name}")
    tasks = yaml.safe_load(module.EXAMPLES)
    used = [task[f"slipway.stack.{name}"] for task in tasks if f"slipway.stack.{name}" in task]
    assert used, "no example uses it"
    if not hasattr(module, "main"):
        return  # an action plugin does the work, and its unit tests give it arguments
    rules = declared(module)
    spec = rules["argument_spec"]
    for task in used:
        arguments = {key: given(value, spec.get(key, {})) for key, value in (task or {}).items()}
        result = ArgumentSpecValidator(**rules).validate(arguments)
        assert result.error_messages == [], task
