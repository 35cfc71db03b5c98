"""What a list of sites comes to, and what is refused."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError
from ansible_collections.slipway.stack.plugins.plugin_utils import _nginx_layout as sites

SHOP: dict[str, t.Any] = {
    "name": "shop",
    "server_name": "shop.example.com",
    "redirects": ["www.shop.example.com"],
    "upstreams": [{"name": "web", "servers": ["unix:/run/shop.sock"]}],
    "locations": [{"path": "/", "upstream": "web"}],
    "static": [{"path": "/static", "directory": "/srv/shop/static"}],
}


def test_defaults_come_from_the_specification() -> None:
    (site,) = sites.complete([SHOP])
    assert site["locations"] == [
        {"path": "/", "upstream": "web", "rate": "general", "websocket": False}
    ]
    assert site["certificate"]["source"] == "acme"
    assert (site["body_limit_megabytes"], site["timeout_seconds"]) == (10, 60)
    assert site["names"] == ["shop.example.com", "www.shop.example.com"]


def test_static_paths_end_with_a_slash_so_that_nobody_climbs_out() -> None:
    (site,) = sites.complete([SHOP])
    assert site["static"] == [{"path": "/static/", "directory": "/srv/shop/static/"}]


def test_headers_are_merged_and_an_empty_one_is_left_to_the_application() -> None:
    headers = {"X-Frame-Options": "SAMEORIGIN", "Referrer-Policy": "", "X-New": "1"}
    (site,) = sites.complete([{**SHOP, "headers": headers}])
    assert site["headers"]["X-Frame-Options"] == "SAMEORIGIN"
    assert site["headers"]["X-New"] == "1"
    assert "Referrer-Policy" not in site["headers"]
    assert "wss://shop.example.com" in site["headers"]["Content-Security-Policy"]


@pytest.mark.parametrize(
    "server", ["unix:/run/a.sock", "127.0.0.1:8000", "[::1]:8000", "10.0.0.2:80"]
)
def test_addresses_are_servers(server: str) -> None:
    upstreams = [{"name": "web", "servers": [server]}]
    assert sites.complete([{**SHOP, "upstreams": upstreams}])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"server_nam": "x"}, "site shop: "),
        ({"name": "Shop!"}, "'Shop!' is no name for a site"),
        ({"server_name": "shop example"}, "'shop example' is not a host name"),
        ({"upstreams": [{"name": "web", "servers": ["app:80"]}]}, "'app:80' is not an address"),
        ({"upstreams": [{"name": "web", "servers": ["10.0.0.1"]}]}, "'10.0.0.1' is not an address"),
        ({"upstreams": [{"name": "web", "servers": []}]}, "upstream web has no servers"),
        ({"locations": [{"path": "/", "upstream": "wbe"}]}, "goes to upstream 'wbe'"),
        ({"locations": [{"path": "api", "upstream": "web"}]}, "path 'api' has to begin with /"),
        ({"locations": [{"path": "/", "upstream": "web"}] * 2}, "path / is declared twice"),
        ({"locations": [{"path": "/", "upstream": "web", "rate": "fast"}]}, "general, api, none"),
        ({"pages": {"directory": "/srv/x"}}, "path / is declared twice"),
        (
            {"locations": [], "pages": {"directory": "/srv/x", "hashed_paths": ["assets"]}},
            "path 'assets' has to begin with /",
        ),
        ({"headers": {"X-A": 'a"; return 200;'}}, "header 'X-A' has a value with a line break"),
    ],
)
def test_mistakes_are_named(change: dict[str, t.Any], said: str) -> None:
    with pytest.raises(StackError) as caught:
        sites.complete([{**SHOP, **change}])
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ({**SHOP}, "site shop is declared twice"),
        ({"name": "two", "server_name": "www.shop.example.com"}, "claimed by site shop and by"),
    ],
)
def test_sites_may_not_claim_the_same(second: dict[str, t.Any], said: str) -> None:
    with pytest.raises(StackError) as caught:
        sites.complete([SHOP, second])
    assert said in str(caught.value)


def test_secrets_do_not_reach_the_templates() -> None:
    own = {"source": "files", "certificate": "CERT", "private_key": "KEY"}
    layout = sites.layout([{**SHOP, "certificate": own}], [])
    assert layout["certificates"][0]["private_key"] == "KEY"
    assert "KEY" not in repr([layout["sites"], layout["files"], layout["renewed"]])


def test_the_machine_renews_what_did_not_come_with_the_play() -> None:
    own = {"source": "files", "certificate": "CERT", "private_key": "KEY"}
    other = {"name": "blog", "server_name": "blog.example.com"}
    layout = sites.layout([{**SHOP, "certificate": own}, other], [])
    assert [certificate["name"] for certificate in layout["renewed"]] == ["blog"]
