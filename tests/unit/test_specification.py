# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import typing as t

from ansible_collections.slipway.stack.plugins.plugin_utils import _specification


class Lazy(dict[str, t.Any]):
    """A dictionary like Ansible's: to copy it deeply is to copy far more than its content."""

    def __deepcopy__(self, memo: object) -> t.Any:
        raise AssertionError("copied with everything that hangs on it")


def test_the_validator_never_copies_ansibles_own_containers() -> None:
    specification = {"sites": {"type": "list", "elements": "dict", "options": {"name": {}}}}
    value = Lazy(sites=[Lazy(name="shop")])
    outcome = _specification.validate(specification, value)
    assert outcome.validated_parameters == {"sites": [{"name": "shop"}]}
    assert outcome.error_messages == []


def test_what_is_validated_changes_no_specification() -> None:
    options = _specification.options("common", "validate_inventory")
    before = repr(options)
    _specification.validate(options["stack_applications"]["options"], {"name": "shop"})
    assert repr(options) == before
