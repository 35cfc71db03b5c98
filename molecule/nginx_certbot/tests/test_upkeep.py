"""Renewal, change, trouble: nobody notices but the operator."""

from __future__ import annotations

import contextlib
import time
import typing as t
from collections.abc import Iterator

import pytest
from conftest import Apply, ask, put
from testinfra.host import Host

DROP_IN = "/run/systemd/system/slipway-certbot.service.d"
FORCED = "[Service]\nExecStart=\nExecStart=/usr/local/sbin/slipway-certbot renew --force shop\n"
LOAD = """
import http.client, pathlib, ssl, sys, time
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
asked = failed = 0
enough, until = pathlib.Path("/run/enough"), time.monotonic() + 300
while not enough.exists() and time.monotonic() < until:
    connection = http.client.HTTPSConnection(sys.argv[1], timeout=10, context=context)
    try:
        connection.request("GET", "/free/")
        failed += connection.getresponse().status != 200
    except OSError:
        failed += 1
    finally:
        connection.close()
    asked += 1
print(asked, failed)
"""


def main_pid(host: Host) -> str:
    return host.check_output("systemctl show --property MainPID --value nginx")


def serial(host: Host, site: str = "shop") -> str:
    return host.check_output(
        f"openssl x509 -noout -serial -in /etc/slipway/tls/{site}/fullchain.pem"
    )


def served_serial(host: Host, name: str) -> str:
    return host.check_output(
        f"echo | openssl s_client -connect 127.0.0.1:443 -servername {name} 2>/dev/null"
        " | openssl x509 -noout -serial"
    )


@contextlib.contextmanager
def forced_renewal(host: Host) -> Iterator[None]:
    """The timer's own unit, in its own confinement, told to renew what is not due."""
    host.check_output(f"mkdir -p {DROP_IN}")
    put(host, f"{DROP_IN}/99-forced.conf", FORCED)
    host.check_output("systemctl daemon-reload")
    try:
        yield
    finally:
        host.check_output(f"rm -r {DROP_IN}; systemctl daemon-reload")
        host.check_output("systemctl reset-failed slipway-certbot.service; true")


def test_a_renewal_drops_nobody_and_restarts_nothing(host: Host, name: str) -> None:
    before, pid = serial(host), main_pid(host)
    with forced_renewal(host):
        said = host.check_output(
            f"rm -f /run/enough; python3 -c '{LOAD}' {name} & sleep 2;"
            " systemctl start slipway-certbot; ended=$?; sleep 5; touch /run/enough; wait;"
            " exit $ended"
        )
    asked, failed = said.split()
    assert int(asked) > 10
    assert failed == "0"
    assert serial(host) != before
    assert served_serial(host, name) == serial(host)
    assert main_pid(host) == pid


def test_the_renewal_leaves_alone_what_is_not_due(host: Host) -> None:
    before = serial(host)
    host.check_output("systemctl start slipway-certbot.service")
    assert serial(host) == before


def test_a_certificate_that_nginx_refuses_does_not_replace_the_old(host: Host, name: str) -> None:
    before = serial(host)
    put(host, "/etc/nginx/conf.d/broken.conf", "nonsense;\n")
    try:
        with forced_renewal(host):
            assert host.run("systemctl start slipway-certbot").rc != 0
            said = host.check_output("journalctl --unit slipway-certbot --lines 20 --no-pager")
            assert "site shop keeps its certificate" in said
    finally:
        host.check_output("rm /etc/nginx/conf.d/broken.conf")
    assert serial(host) == before
    assert served_serial(host, name) == before
    # The issued one was not lost, it is served as soon as nginx is fine again.
    host.check_output("systemctl start slipway-certbot.service")
    assert serial(host) != before
    assert served_serial(host, name) == serial(host)


def test_a_broken_site_is_refused_alone(host: Host, name: str, apply: Apply) -> None:
    broken = {
        "name": "broken",
        "server_name": "broken.test",
        # nginx takes no word above 4 KB.
        "headers": {"Content-Security-Policy": "img-src " + "https://a.example " * 250},
        "certificate": {"source": "self_signed"},
    }
    new = {"name": "new", "server_name": "new.test", "certificate": {"source": "self_signed"}}
    pid = main_pid(host)
    done = apply(broken, new)
    assert not done.succeeded
    assert "sites-enabled/broken.conf" in done.said
    assert ask(host, f"https://{name}/free/").code == 200
    resolve = "new.test:443:127.0.0.1"
    assert ask(host, "https://new.test/", "--resolve", resolve).code == 404
    assert main_pid(host) == pid


@pytest.mark.either
def test_an_unreachable_name_is_reported_and_harms_nobody(
    host: Host, name: str, apply: Apply
) -> None:
    done = apply({"name": "away", "server_name": "away.invalid"})
    assert not done.succeeded
    assert "no certificate was requested for site away" in done.said
    assert "nginx_certbot_acme_preflight_enabled" in done.said
    assert ask(host, f"https://{name}/free/").code == 200
    # It is served all the same, with a certificate that says what it is.
    resolve = "away.invalid:443:127.0.0.1"
    assert ask(host, "https://away.invalid/", "--resolve", resolve).code == 404


@pytest.mark.either
def test_a_site_that_is_no_longer_declared_is_no_longer_served(host: Host, apply: Apply) -> None:
    resolve = "late.test:443:127.0.0.1"
    late = {"name": "late", "server_name": "late.test", "certificate": {"source": "self_signed"}}
    assert apply(late).succeeded
    assert ask(host, "https://late.test/", "--resolve", resolve).code == 404
    assert apply().succeeded
    assert ask(host, "https://late.test/", "--resolve", resolve).code == 0


@pytest.mark.either
def test_the_authoritys_refusal_is_reported(host: Host, apply: Apply) -> None:
    done = apply(
        {"name": "away", "server_name": "away.invalid"},
        nginx_certbot_acme_preflight_enabled=False,
    )
    assert not done.succeeded
    assert "issued no certificate for site away (away.invalid)" in done.said


def pair(host: Host, name: str) -> dict[str, t.Any]:
    host.check_output(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30"
        f" -keyout /tmp/key.pem -out /tmp/certificate.pem -subj /CN={name}"
        f" -addext subjectAltName=DNS:{name} 2>/dev/null"
    )
    return {
        "source": "files",
        "certificate": host.check_output("cat /tmp/certificate.pem"),
        "private_key": host.check_output("cat /tmp/key.pem"),
    }


@pytest.mark.either
def test_a_certificate_may_be_brought_along(host: Host, apply: Apply) -> None:
    good = pair(host, "brought.test")
    site = {"name": "brought", "server_name": "brought.test", "certificate": good}
    done = apply(site)
    assert done.succeeded, done.said
    expected = served_serial(host, "brought.test")
    secret = good["private_key"].splitlines()[1]
    assert secret not in done.said
    # Now the key of another certificate: refused, the old pair stays.
    mixed = {**good, "private_key": pair(host, "brought.test")["private_key"]}
    done = apply({**site, "certificate": mixed})
    assert not done.succeeded
    assert "the private key does not belong to the certificate" in done.said
    assert served_serial(host, "brought.test") == serial(host, "brought") == expected


def test_changes_are_reloaded_not_restarted(host: Host, apply: Apply) -> None:
    pid = main_pid(host)
    done = apply(nginx_certbot_settings={"gzip_comp_level": 6})
    assert done.succeeded, done.said
    assert "gzip_comp_level 6;" in host.file("/etc/nginx/nginx.conf").content_string
    assert main_pid(host) == pid


def test_roots_own_test_of_a_stopped_nginx_does_no_harm(host: Host, name: str) -> None:
    # As root, `nginx -t` makes the pid file and the logs, which nginx then could not write.
    host.check_output("systemctl stop nginx && rm -f /var/log/nginx/access.log && nginx -t")
    host.check_output("systemctl start nginx")
    assert ask(host, f"https://{name}/free/").code == 200
    host.check_output("head -c 9000000 /dev/zero > /tmp/body")
    assert ask(host, f"https://{name}/free/", "--data-binary", "@/tmp/body").code == 200


def test_logs_rotate(host: Host, name: str) -> None:
    host.check_output("dpkg -s logrotate >/dev/null 2>&1 || apt-get install -y logrotate >&2")
    host.check_output("logrotate --force /etc/logrotate.d/nginx")
    deadline = time.monotonic() + 60
    # Who has not been told yet writes to the old one.
    while host.run("grep /free/rotated /var/log/nginx/access.log").rc != 0:
        assert time.monotonic() < deadline, "nothing is written to the new log"
        ask(host, f"https://{name}/free/rotated")
        time.sleep(1)


def test_nginx_comes_back_with_its_sites_after_kill_9(host: Host, name: str) -> None:
    before = main_pid(host)
    host.check_output(f"kill -9 {before}")
    deadline = time.monotonic() + 120
    while main_pid(host) in ("0", before) or not host.service("nginx").is_running:
        assert time.monotonic() < deadline, "nginx has not come back"
        time.sleep(0.25)
    assert ask(host, f"https://{name}/free/").code == 200
