# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Response headers of a site: its own, and which others nginx can be told to send."""

from __future__ import annotations

import re
import typing as t

NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}[A-Za-z0-9])?")
# Printable ASCII; what ends or extends the string in nginx' configuration is left out.
VALUE = re.compile(r"[ !#%-\[\]-~]*")
# They describe the answer as it is sent, and are nginx' to write.
_TRANSPORT = frozenset(
    {"connection", "content-encoding", "content-length", "content-type", "date"}
    | {"keep-alive", "location", "server", "set-cookie", "te", "trailer", "transfer-encoding"}
    | {"upgrade"}
)


def defaults(server_name: str) -> dict[str, str]:
    """What every answer carries unless the site says otherwise."""
    policy = [
        "default-src 'self'",
        # Browsers before 2023 do not count the site's own WebSockets as 'self'.
        f"connect-src 'self' wss://{server_name}",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    ]
    return {
        "Strict-Transport-Security": "max-age=31536000; includeSubDomains; preload",
        "Content-Security-Policy": "; ".join(policy),
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "strict-origin-when-cross-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
        "Cross-Origin-Opener-Policy": "same-origin",
    }


def problem(headers: t.Mapping[t.Any, t.Any]) -> str:
    """What is wrong with the first wrong header, as "<header> <what>; <remedy>", or nothing."""
    spelled = {name.lower(): name for name in defaults("")}
    for name, value in headers.items():
        if not isinstance(name, str) or not NAME.fullmatch(name):
            return f"{name!r} is not a header's name; write letters, digits and dashes"
        if name.lower() in _TRANSPORT:
            return f"{name!r} is written by nginx or the application; remove it"
        if spelled.setdefault(name.lower(), name) != name:
            return f"{name!r} is spelled in two ways; write {spelled[name.lower()]!r}"
        if not isinstance(value, str):
            return f"{name!r} has a value that is not text; write it in quotes"
        if not VALUE.fullmatch(value):
            return (
                f"{name!r} has a value with a line break, a quotation mark, a backslash, $ or a"
                " character beyond ASCII; write one plain line"
            )
    return ""
