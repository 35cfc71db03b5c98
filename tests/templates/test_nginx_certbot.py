"""nginx.conf and a site's file, rendered as the role renders them."""

from __future__ import annotations

import typing as t
from pathlib import Path

import jinja2
import yaml
from ansible.plugins.filter import core
from ansible_collections.slipway.stack.plugins.plugin_utils import _nginx_layout

ROLE = Path(__file__).resolve().parents[2] / "roles" / "nginx_certbot"
SHOP = {
    "name": "shop",
    "server_name": "shop.test",
    "redirects": ["www.shop.test"],
    "upstreams": [{"name": "web", "servers": ["127.0.0.1:8001", "127.0.0.1:8002"]}],
    "locations": [
        {"path": "/", "upstream": "web"},
        {"path": "/ws/", "upstream": "web", "websocket": True, "rate": "none"},
    ],
}
DEFAULTS = yaml.safe_load((ROLE / "defaults/main.yml").read_text(encoding="utf-8"))
VARIABLES = yaml.safe_load((ROLE / "vars/main.yml").read_text(encoding="utf-8"))


def render(template: str, http2_directive: bool = True, **others: t.Any) -> str:
    """As service_config does it, without a machine."""
    environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined)  # noqa: S701
    environment.filters.update(core.FilterModule().filters())
    values = {**DEFAULTS, **others, "ansible_managed": "Ansible managed"}
    layout = _nginx_layout.layout(
        values["nginx_certbot_sites"], values["nginx_certbot_listen_addresses"]
    )
    text = (ROLE / "templates" / template).read_text(encoding="utf-8")
    return environment.from_string(text).render(
        **values,
        site=layout["sites"][0] if layout["sites"] else None,
        __nginx_certbot_http2_directive=http2_directive,
        __nginx_certbot_rates={"general": 10, "api": 30},
        __nginx_certbot_layout=layout,
        __nginx_certbot_settings=VARIABLES["__nginx_certbot_settings"],
    )


def site_file(site: dict[str, t.Any], http2_directive: bool = True) -> str:
    return render("site.conf.j2", http2_directive, nginx_certbot_sites=[site])


def blocks(text: str, start: str) -> int:
    return sum(line.strip().startswith(start) for line in text.splitlines())


def test_http_2_is_a_directive_where_nginx_has_it() -> None:
    text = site_file(SHOP)
    assert blocks(text, "http2 on;") == 2
    assert "ssl http2" not in text


def test_http_2_is_an_option_of_listen_before() -> None:
    text = site_file(SHOP, http2_directive=False)
    assert "http2 on" not in text
    assert blocks(text, "listen 0.0.0.0:443 ssl http2;") == 2


def test_only_websockets_are_upgraded_and_may_be_silent() -> None:
    text = site_file(SHOP)
    plain, _path, rest = text.partition("location /ws/")
    assert "$http_upgrade" not in plain
    assert "$http_upgrade" in rest
    assert "proxy_read_timeout 60s;" in plain
    assert "proxy_read_timeout 3600s;" in rest
    assert "limit_req zone=general burst=20 nodelay;" in plain
    assert "limit_req" not in rest


def test_a_site_without_a_root_location_answers_404() -> None:
    site = {"name": "bare", "server_name": "bare.test"}
    assert "return 404;" in site_file(site)
    assert "upstream" not in site_file(site)


def test_settings_replace_directives_and_lists_repeat_them() -> None:
    settings = {"gzip_comp_level": 9, "set_real_ip_from": ["10.0.0.1", "10.0.0.2"]}
    text = render("nginx.conf.j2", nginx_certbot_settings=settings)
    assert blocks(text, "gzip_comp_level") == 1
    assert "gzip_comp_level 9;" in text
    assert blocks(text, "set_real_ip_from") == 2


def test_no_absolute_include_would_leave_the_copy_that_is_tested() -> None:
    text = render("nginx.conf.j2", nginx_certbot_sites=[SHOP])
    assert "include sites-enabled/shop.con[f];" in text
    assert "include /" not in text


def test_the_library_of_the_renewal_is_complete() -> None:
    installed = {Path(file["path"]).stem for file in VARIABLES["__nginx_certbot_library_files"]}
    code = ROLE.parents[1] / "plugins/module_utils"
    needed = {"_sites"}
    for _attempt in range(5):
        for name in sorted(needed):
            text = (code / f"{name}.py").read_text(encoding="utf-8")
            assert "ansible_collections" not in text
            for line in text.splitlines():
                if line.startswith("from . import "):
                    needed.update(line.removeprefix("from . import ").split(", "))
                elif line.startswith("from ._"):
                    needed.add(line.split()[1].lstrip("."))
    assert installed == needed


def test_ipv6_addresses_are_listened_on_in_brackets() -> None:
    addresses = ["10.0.0.1", "::", "[::1]"]
    text = render(
        "site.conf.j2", nginx_certbot_sites=[SHOP], nginx_certbot_listen_addresses=addresses
    )
    for listened in ("listen 10.0.0.1:443 ssl;", "listen [::]:443 ssl;", "listen [::1]:443 ssl;"):
        assert listened in text


def test_pages_are_asked_for_anew_and_hashed_files_are_found_in_three_releases() -> None:
    current, previous, following = (
        f"/srv/x/{link}/public" for link in ("current", "previous", "next")
    )
    pages = {"directory": current, "previous_directory": previous, "next_directory": following}
    bare = {"name": "bare", "server_name": "bare.test"}
    text = site_file({**bare, "pages": {**pages, "fallback": "/index.html"}})
    hashed, _location, rest = text.partition("location @previous")
    assert "location ^~ /assets/ {\n        root /srv/x/current/public;" in hashed
    assert "try_files $uri @previous;" in hashed
    before, _location, rest = rest.partition("location @next")
    assert "root /srv/x/previous/public;\n        try_files $uri @next;" in before
    coming, _location, page = rest.partition("location / {")
    assert "root /srv/x/next/public;\n        try_files $uri =404;" in coming
    assert "try_files $uri $uri/ /index.html;" in page
    assert "expires -1;" in page
    assert "limit_req zone=general" in page
    alone = site_file({**bare, "pages": {"directory": "/srv/x/current/public"}})
    assert "@" not in alone
    assert "try_files $uri $uri/ =404;" in alone
