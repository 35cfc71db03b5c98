# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Secrets leave a program's message, ordinary words stay."""

from __future__ import annotations

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _files, _redaction


def redact(message: str, content: str, secret: bool = True) -> str:
    file = _files.File("/x", content.encode(), _files.own(0o600), secret)
    return _redaction.redact(message, [file])


ACL = """# Managed by Ansible
user default off
user slipway on #2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b ~* &* +@all
user shop on #5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8 resetchannels ~shop:*
"""
ENVIRONMENT = """DATABASE_URL="postgresql://shop:p%40ss-of-shop@127.0.0.1:6432/shop?sslmode=require"
SECRET_KEY="only-letters-here"
ALLOWED_HOSTS=shop.example.com,www.shop.example.com
STATIC_ROOT="/srv/shop/static"
GREETING="correct horse battery staple"
STRIPE=liveabcdefgh
QUOTED="say \\"Friend77\\" and enter"
"""
USERLIST = '"pgbouncer" "hunter ""22"" letters"\n'
PEM = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            ACL,
            "users.acl:4: Error in applying operation 'resetchannels' for user shop: default off",
        ),
        (ACL, "operation '+@all': key pattern ~shop:* of user slipway"),
        (USERLIST, "the user pgbouncer has no host, a password is missing"),
        (ENVIRONMENT, "SECRET_KEY and DATABASE_URL: sslmode require on 127.0.0.1:6432 was refused"),
        (ENVIRONMENT, "no file in /srv/shop/static for shop.example.com"),
        (PEM, "cannot load the private key: PEM routines, BEGIN PRIVATE KEY expected"),
    ],
)
def test_ordinary_words_stay(content: str, message: str) -> None:
    assert redact(message, content) == message


@pytest.mark.parametrize(
    ("content", "said", "left"),
    [
        (ACL, "bad #5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8", "bad #*"),
        (ENVIRONMENT, "cannot log in with p%40ss-of-shop", "cannot log in with *"),
        (ENVIRONMENT, "cannot log in with p@ss-of-shop", "cannot log in with *"),
        (ENVIRONMENT, "key 'only-letters-here' is bad", "key '*' is bad"),
        (ENVIRONMENT, "got correct horse battery staple", "got *"),
        (ENVIRONMENT, "got battery", "got *"),
        (ENVIRONMENT, "key liveabcdefgh", "key *"),
        (ENVIRONMENT, 'say "Friend77" and enter', "*"),
        (ENVIRONMENT, "unknown word Friend77", "unknown word *"),
        (USERLIST, 'syntax error at hunter "22" letters', "syntax error at *"),
        (USERLIST, 'syntax error at "hunter ""22"" letters"', 'syntax error at "*"'),
        (PEM, "bad base64: MIIEvQIBADANBgkqhkiG9w0BAQEFAASC", "bad base64: *"),
        (
            "user shop ~hunter22=\nurl=a",
            "bad line 'user shop ~hunter22='",
            "bad line 'user shop *='",
        ),
        ("PIN=hunterhunter", "PIN is hunterhunter", "PIN is *"),
        ("password=abcdef", "password is abcdef", "password is *"),
        ("hunterhunter", "got hunterhunter", "got *"),
        ("#hunterhunter", "got #hunterhunter", "got *"),
        ("a_password_alone_on_its_line", "a_password_alone_on_its_line", "*"),
    ],
)
def test_secrets_are_taken_out(content: str, said: str, left: str) -> None:
    assert redact(said, content) == left.replace("*", "********")


def test_files_that_are_no_secret_may_be_quoted() -> None:
    assert redact("near Visible1-word", "x = Visible1-word", secret=False) == "near Visible1-word"
