# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a machine examines of a site that it serves, from what is declared of the application."""

from __future__ import annotations

import typing as t

Check = dict[str, t.Any]


def site_checks(application: dict[str, t.Any], address: str, *, public: bool) -> list[Check]:
    """The application's answer, its redirects, its WebSocket and its certificate."""
    name, domain, web = application["name"], application["domain"], application["web"]
    stores = bool(application["database"])
    health_path = "/" if application["static"] else web["health_path"]
    chain = f"/etc/slipway/tls/{name}/fullchain.pem"
    # A private authority is in nobody's store: the chain on disk itself is the anchor.
    reach: Check = {"address": address, **({} if public else {"ca_file": chain})}
    checks: list[Check] = [
        {
            **{"kind": "http", "name": domain, **reach},
            "url": f"https://{domain}{health_path}",
            "components": ["database", "redis"] if stores else [],
            "advice": f"journalctl -u '{name}-*' -u nginx --since -10m",
        },
        {
            **{"kind": "tls", "name": domain, **reach},
            "host": domain,
            "certificate_file": chain,
        },
    ]
    checks += [_redirect(each, reach) for each in application["redirects"]]
    if web["asgi"] and web["websocket_health_path"]:
        checks.append(
            {
                **{"kind": "websocket", "name": domain, **reach},
                "url": f"wss://{domain}{web['websocket_health_path']}",
                "advice": f"journalctl -u {name}-asgi -u nginx --since -10m",
            }
        )
    return checks


def _redirect(domain: str, reach: Check) -> Check:
    """nginx itself answers, so one request tells all."""
    expected = {"status": [301, 308], "redirect_limit": 0, "samples": 1}
    advice = "journalctl -u nginx; nginx -T"
    url = f"https://{domain}/"
    return {"kind": "http", "name": domain, **reach, **expected, "url": url, "advice": advice}
