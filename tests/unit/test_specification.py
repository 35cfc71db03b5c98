# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import copy
import typing as t

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.slipway.stack.plugins.plugin_utils import _specification
from jinja2.exceptions import UndefinedError


class Lazy(dict[str, t.Any]):
    """A dictionary like Ansible's: to copy it deeply is to copy far more than its content."""

    def __deepcopy__(self, memo: object) -> t.Any:
        raise AssertionError("copied with everything that hangs on it")

    def items(self) -> t.Any:
        return {key: self[key] for key in self}.items()

    def __getitem__(self, key: str) -> t.Any:
        value = super().__getitem__(key)
        return value.replace("{{ name }}", "shop") if isinstance(value, str) else value


def test_ansibles_own_containers_are_read_as_they_want_and_never_copied() -> None:
    options = {"name": {"type": "str"}}
    specification = {"sites": {"type": "list", "elements": "dict", "options": options}}
    value = Lazy(sites=[Lazy(name="{{ name }}")])
    assert _specification.read(specification, value) == ({"sites": [{"name": "shop"}]}, [])


def test_what_is_read_changes_no_specification() -> None:
    options = _specification.options("common", "validate_inventory")
    before = repr(options)
    read, _found = _specification.read(options["stack_applications"]["options"], {"name": "shop"})
    read["redirects"].append("x")
    assert repr(options) == before


SHOP = {
    "name": "shop",
    "domain": "shop.example.com",
    "source": {"repository": "https://git.example.com/shop.git"},
    "web": {"wsgi": "shop.wsgi:application", "workers": "3"},
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"celery": {"application": "shop"}},
        {"celery": {"application": "shop", "workers": [{"name": "a"}], "beat_enabled": "yes"}},
        {"database": {"pool_size": "5"}, "redirects": ["www.shop.example.com"]},
        {"environment": {"A": "1"}, "framework": "none"},
    ],
)
def test_what_is_right_is_read_as_ansible_reads_it(changes: dict[str, t.Any]) -> None:
    declared = _specification.options("common", "validate_inventory")
    options = declared["stack_applications"]["options"]
    given = {**SHOP, **changes}
    ansible = ArgumentSpecValidator(copy.deepcopy(options)).validate(given)
    assert ansible.error_messages == []
    assert _specification.read(options, given) == (ansible.validated_parameters, [])


OPTIONS: dict[str, t.Any] = {
    "text": {"type": "str"},
    "number": {"type": "int"},
    "switch": {"type": "bool"},
    "one": {"choices": ["a", "b"]},
    "many": {"type": "list", "elements": "str", "choices": ["a", "b"]},
    "items": {"type": "list", "elements": "dict", "options": {"name": {"required": True}}},
    "inner": {"type": "dict", "options": {"password": {"type": "int"}, "size": {"type": "int"}}},
    "hidden": {"type": "int", "no_log": True},
}


@pytest.mark.parametrize(
    ("given", "sentences"),
    [
        ({"text": 1.1}, ["text is 1.1; write it in quotes."]),
        ({"text": False}, ["text is false; write it in quotes."]),
        ({"text": ["a"]}, ["text is a list; write a single text."]),
        ({"number": True}, ["number is true; write a whole number."]),
        ({"number": "1.5"}, ["number is '1.5'; write a whole number."]),
        ({"switch": "maybe"}, ["switch is 'maybe'; write true or false."]),
        ({"one": "c"}, ["one is 'c'; write one of a, b."]),
        ({"many": ["a", "c"]}, ["many[entry 2] is 'c'; write one of a, b."]),
        ({"many": "a"}, ["many is 'a'; write a list."]),
        ({"items": {}}, ["items is an empty dictionary; write a list."]),
        ({"items": ["x"]}, ["items[entry 1] is 'x'; write a dictionary."]),
        ({"items": [{}]}, ["items[entry 1].name is missing; add it."]),
        ({"items": [{"name": "x", "nme": 1}]}, ["items.x.nme is not an option; write name."]),
        ({"inner": "size=3"}, ["inner is 'size=3'; write a dictionary."]),
        ({"inner": {"size": []}}, ["inner.size is an empty list; write a whole number."]),
        (
            {"inner": {"password": "hunter2"}},
            ["inner.password is not right (its value is not shown); write a whole number."],
        ),
        ({"hidden": "x"}, ["hidden is not right (its value is not shown); write a whole number."]),
        ({"txt": 1}, ["txt is not an option; write text."]),
        ({"inner": {1: 2}}, ["inner.1 is not an option; write one of password, size."]),
        (
            {"number": "a", "one": 3, None: 1},
            [
                "None is not an option; write one",
                "number is 'a'; write a whole number.",
                "one is 3; write it in quotes.",
            ],
        ),
    ],
)
def test_every_kind_of_mistake_is_a_sentence(
    given: dict[t.Any, t.Any], sentences: list[str]
) -> None:
    _read, found = _specification.read(OPTIONS, given)
    assert len(found) == len(sentences)
    for said, wanted in zip(found, sentences, strict=True):
        assert said.startswith(wanted)


def test_an_empty_option_is_not_given() -> None:
    options = {"size": {"type": "int", "default": 3}, "name": {"required": True}}
    read, found = _specification.read(options, {"size": None, "name": None})
    assert read["size"] == 3
    assert found == ["name is missing; add it."]


def test_credentials_of_a_url_are_not_shown() -> None:
    assert _specification.shown("https://ada:hunter2@git.example.com/x y") == (
        "'https://***@git.example.com/x y'"
    )
    assert len(_specification.shown("x" * 500)) == 80


class Broken(dict[str, t.Any]):
    """A dictionary like Ansible's, with a template of what nobody has defined."""

    def __getitem__(self, key: str) -> t.Any:
        raise UndefinedError("'port' is undefined")


def test_what_is_not_defined_is_told_with_the_reason() -> None:
    given = _specification.plain(Broken(number=1))
    _read, found = _specification.read(OPTIONS, given)
    assert found == [
        "number is not defined ('port' is undefined); define that variable, or write the value"
        " itself."
    ]


def test_a_list_of_anything_is_read_as_it_is() -> None:
    given = {"many": [1, "a", None], "any": {"x": [1]}}
    options = {"many": {"type": "list"}, "any": {"type": "dict"}}
    assert _specification.read(options, given) == (given, [])


def test_what_the_vault_keeps_to_itself_is_not_to_be_written_in_clear() -> None:
    sealed = _specification.Undefined("A vault exception marker was tripped.")
    said = _specification.complaint("shop.secret_key", sealed, "write it")
    assert said == (
        "shop.secret_key cannot be decrypted; add --ask-vault-pass or --vault-password-file."
    )


@pytest.mark.parametrize(("given", "read"), [(1, 1.0), (0.5, 0.5), ("2.5", 2.5), (" 3 ", 3.0)])
def test_decimals(given: object, read: float) -> None:
    specification = {"share": {"type": "float"}}
    assert _specification.read(specification, {"share": given}) == ({"share": read}, [])


@pytest.mark.parametrize("given", [True, "half", [1]])
def test_what_is_no_decimal(given: object) -> None:
    _nothing, (problem,) = _specification.read({"share": {"type": "float"}}, {"share": given})
    assert problem.endswith("; write a number.")
