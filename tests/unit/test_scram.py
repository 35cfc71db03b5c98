"""SCRAM verifiers: the same as PostgreSQL makes, and compared without asking it."""

from __future__ import annotations

import base64

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _scram

# The example of RFC 7677: user "user", password "pencil".
SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
PENCIL = (
    "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
    ":wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
)


def test_the_rfcs_example_gives_the_rfcs_keys() -> None:
    assert _scram.verifier("pencil", salt=SALT) == PENCIL


@pytest.mark.parametrize(
    "password", ["pencil", "pässwörd", "a\u00a0b", "\u2168", "it's $1", "\x07"]
)
def test_a_verifier_matches_its_own_password_only(password: str) -> None:
    stored = _scram.verifier(password, iterations=1)
    assert _scram.matches(password, stored)
    assert not _scram.matches(password + "x", stored)


def test_every_verifier_has_its_own_salt() -> None:
    assert _scram.verifier("pencil") != _scram.verifier("pencil")


@pytest.mark.parametrize(
    "stored", [None, "", "md5a3556571e93b0d20722ba62be61e8c2d", "pencil", PENCIL[:-1], f"{PENCIL}x"]
)
def test_what_is_no_verifier_matches_nothing(stored: str | None) -> None:
    assert not _scram.matches("pencil", stored)


@pytest.mark.parametrize(
    ("written", "prepared"),
    [
        ("I\u00adX", "IX"),  # RFC 4013: soft hyphen is mapped to nothing
        ("\u00aa", "a"),  # NFKC
        ("\u2168", "IX"),
        ("a\u2003b", "a b"),  # another space becomes a space
        ("\u0627\u0031", "\u0627\u0031"),  # prohibited, so taken as it is
        ("\u0627a\u0627", "\u0627a\u0627"),  # two directions are prohibited as well
        ("\u0627\u00a01\u0628", "\u0627 1\u0628"),  # one direction, prepared
        ("\u00adä\u0007", "\u00adä\u0007"),  # a control character is prohibited
        ("\u00ad", "\u00ad"),  # nothing would be left of it
    ],
)
def test_passwords_are_prepared_as_libpq_does(written: str, prepared: str) -> None:
    assert _scram.matches(prepared, _scram.verifier(written, iterations=1))
