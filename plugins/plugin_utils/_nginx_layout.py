# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the role nginx_certbot keeps on a machine, from its declared sites. Pure."""

from __future__ import annotations

import ipaddress
import re
import typing as t

from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError
from ansible_collections.slipway.stack.plugins.plugin_utils import _headers, _specification

NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")
HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?")
PATH = re.compile(r"(= )?/[^\s;{}\"'$]*")

Site = dict[str, t.Any]


def _require(condition: object, sentence: str) -> None:
    if not condition:
        raise StackError(f"nginx_certbot_sites: {sentence}")


def _complete(site: t.Mapping[str, t.Any]) -> Site:
    options = _specification.options("nginx_certbot", "main")["nginx_certbot_sites"]["options"]
    result, problems = _specification.read(options, site)
    _require(not problems, f"site {site.get('name', '?')}: {' '.join(problems)}")
    return result


def _check_server(site: str, server: str) -> None:
    address, _colon, port = server.rpartition(":")
    remedy = "write unix:/path/to.sock or address:port, for example 127.0.0.1:8000"
    sentence = f"site {site}: server {server!r} is not an address; {remedy}"
    if server.startswith("unix:"):
        return _require(re.fullmatch(r"unix:/[^\s;{}]+", server), sentence)
    try:
        ipaddress.ip_address(address.strip("[]"))
    except ValueError:
        _require(False, sentence)
    return _require(port.isdigit() and 0 < int(port) < 65536, sentence)


def _check_upstreams(site: Site) -> None:
    for upstream in site["upstreams"]:
        _require(
            NAME.fullmatch(upstream["name"]),
            f"site {site['name']}: upstream {upstream['name']!r} may have letters, digits and"
            " . _ - only",
        )
        _require(
            upstream["servers"],
            f"site {site['name']}: upstream {upstream['name']} has no servers; name at least one",
        )
        for server in upstream["servers"]:
            _check_server(site["name"], server)


def _check_paths(site: Site) -> None:
    known = sorted(upstream["name"] for upstream in site["upstreams"])
    hashed = [{"path": path} for path in (site["pages"] or {}).get("hashed_paths", [])]
    whole = [{"path": "/"}] if site["pages"] else []
    for place in [*site["locations"], *site["static"], *hashed]:
        _require(
            PATH.fullmatch(place["path"]),
            f"site {site['name']}: path {place['path']!r} has to begin with / (or with `= /`)",
        )
    for location in site["locations"]:
        _require(
            location["upstream"] in known,
            f"site {site['name']}: {location['path']} goes to upstream {location['upstream']!r},"
            f" which is not among its upstreams ({', '.join(known) or 'none'})",
        )
    paths = [place["path"] for place in [*site["locations"], *site["static"], *hashed, *whole]]
    for path in paths:
        _require(paths.count(path) == 1, f"site {site['name']}: path {path} is declared twice")


def _check(site: Site) -> None:
    _require(
        NAME.fullmatch(site["name"]),
        f"{site['name']!r} is no name for a site: lower case letters, digits and . _ - only",
    )
    for name in [site["server_name"], *site["redirects"]]:
        _require(
            HOST.fullmatch(name), f"site {site['name']}: {name!r} is not a host name or address"
        )
    wrong = _headers.problem(site["headers"])
    _require(not wrong, f"site {site['name']}: header {wrong}")
    _check_upstreams(site)
    _check_paths(site)


def _check_together(sites: list[Site]) -> None:
    owners: dict[str, str] = {}
    for index, site in enumerate(sites):
        _require(
            all(other["name"] != site["name"] for other in sites[:index]),
            f"site {site['name']} is declared twice",
        )
        for name in site["names"]:
            _require(
                name not in owners,
                f"{name} is claimed by site {owners.get(name)} and by site {site['name']}",
            )
            owners[name] = site["name"]


def complete(sites: t.Sequence[t.Mapping[str, t.Any]]) -> list[Site]:
    """Defaults filled in, headers merged, `names` added, everything checked; raises StackError."""
    found = [_complete(site) for site in sites]
    for site in found:
        _check(site)
        merged = {**_headers.defaults(site["server_name"]), **site["headers"]}
        site["headers"] = {name: value for name, value in merged.items() if value}
        site["names"] = [site["server_name"], *site["redirects"]]
        for place in site["static"]:
            place["path"] = place["path"].rstrip("/") + "/"
            place["directory"] = place["directory"].rstrip("/") + "/"
    _check_together(found)
    return found


def layout(
    sites: t.Sequence[t.Mapping[str, t.Any]], addresses: t.Sequence[str]
) -> dict[str, list[t.Any]]:
    """The sites as templates see them, their files and certificates, and what nginx listens on.

    Private keys are in `certificates` only; `renewed` are those that the machine renews by itself.
    """
    found = complete(sites)
    served = [{**site, "certificate": {"source": site["certificate"]["source"]}} for site in found]
    return {
        "sites": served,
        "listen": [_listen(address) for address in addresses],
        "files": [_file(site) for site in served],
        "certificates": [_certificate(site) for site in found],
        "renewed": [
            _certificate(site) for site in served if site["certificate"]["source"] != "files"
        ],
    }


def _file(site: Site) -> dict[str, t.Any]:
    """For service_config; a bad one does not stop the others."""
    return {
        "path": f"/etc/nginx/sites-enabled/{site['name']}.conf",
        "template": "site.conf.j2",
        "vars": {"site": site},
        "independent": True,
    }


def _certificate(site: Site) -> dict[str, t.Any]:
    return {"name": site["name"], "names": site["names"], **site["certificate"]}


def _listen(address: str) -> str:
    """As the directive `listen` wants it: IPv6 in brackets, given so or not."""
    return f"[{address.strip('[]')}]" if ":" in address else address
