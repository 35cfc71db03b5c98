# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Environment files: every value comes back, and what systemd would swallow is refused."""

from __future__ import annotations

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _environment
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError

VALUES = [
    "plain",
    "",
    "a b",
    'say "hi"',
    "it's",
    "back\\slash",
    "\\",
    "$HOME ${X} %h",
    "`id`",
    "#;=",
    "ü\t",
]


@pytest.mark.parametrize("value", VALUES)
def test_every_value_comes_back(value: str) -> None:
    assert _environment.parse(_environment.render({"NAME": value})) == {"NAME": value}


def test_values_are_protected_as_systemd_reads_them() -> None:
    assert _environment.render({"B": 'a"b\\c$d`e', "A": 1}) == 'A="1"\nB="a\\"b\\\\c\\$d\\`e"\n'


@pytest.mark.parametrize(
    ("value", "text"), [(True, "true"), (False, "false"), (None, ""), (7, "7")]
)
def test_values_of_other_types_are_written_as_a_person_would(value: object, text: str) -> None:
    assert _environment.render({"A": value}) == f'A="{text}"\n'


@pytest.mark.parametrize("value", ["two\nlines", "carriage\r", "nul\x00", "\x7f"])
def test_control_characters_are_refused(value: str) -> None:
    with pytest.raises(StackError, match="variable KEY contains a line break"):
        _environment.render({"KEY": value})


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "A="])
def test_impossible_names_are_refused(name: str) -> None:
    with pytest.raises(StackError, match="cannot be the name"):
        _environment.render({name: "x"})


def test_comments_and_bare_values_are_understood() -> None:
    assert _environment.parse("# no\n; no\n\nA=b c\n") == {"A": "b c"}


def test_secrets_are_masked_and_the_rest_is_not() -> None:
    values = {
        "DATABASE_URL": "postgresql://u:pass%40word@h/d",
        "API_TOKEN": "abcdef",
        "NAME": "shop-name",
    }
    masked = _environment.mask(
        "pass%40word abcdef shop-name postgresql://u:pass%40word@h/d", values
    )
    assert masked == "******** ******** shop-name ********"


def test_short_values_are_not_taken_for_secrets() -> None:
    assert _environment.mask("a key", {"SECRET_KEY": "a"}) == "a key"
