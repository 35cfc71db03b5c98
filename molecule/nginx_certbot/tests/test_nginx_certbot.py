"""What visitors and authorities meet."""

from __future__ import annotations

import json
import os
import re

import pytest
from conftest import ask
from testinfra.host import Host

HEADERS = {
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains; preload",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}
HANDSHAKE = "echo | openssl s_client -connect 127.0.0.1:443 -servername {name}"


def codes(host: Host, url: str, times: int, *more: str) -> list[str]:
    """Answers to many requests of one client at once."""
    options = "--silent --insecure --parallel --parallel-max 50 --write-out '%{http_code}\\n'"
    words = " ".join((options, *more))
    said = host.run(f"curl {words} --output '/tmp/answer#1' '{url}[1-{times}]'")
    return said.stdout.split()


def test_what_is_served_is_what_is_on_disk_and_was_issued(host: Host, name: str) -> None:
    fingerprint = "openssl x509 -noout -fingerprint -sha256"
    served = host.check_output(f"{HANDSHAKE.format(name=name)} 2>/dev/null | {fingerprint}")
    assert served == host.check_output(f"{fingerprint} -in /etc/slipway/tls/shop/fullchain.pem")
    told = host.check_output(
        "openssl x509 -noout -issuer -ext subjectAltName -in /etc/slipway/tls/shop/fullchain.pem"
    )
    assert "Pebble" in told
    assert {name, f"www.{name}"} == set(re.findall(r"DNS:([^,\s]+)", told))


def test_the_whole_chain_is_served(host: Host, name: str) -> None:
    shown = host.check_output(f"{HANDSHAKE.format(name=name)} -showcerts 2>/dev/null")
    assert shown.count("BEGIN CERTIFICATE") >= 2


def test_keys_are_for_root_and_nginx_alone(host: Host) -> None:
    for site in ("shop", "second", "own"):
        key = host.file(f"/etc/slipway/tls/{site}/privkey.pem")
        assert (key.user, key.group, key.mode) == ("root", "www-data", 0o640)


def test_nginx_is_nowhere_root(host: Host) -> None:
    pids = host.check_output(
        "cat /sys/fs/cgroup/systemd/system.slice/nginx.service/cgroup.procs"
        " 2>/dev/null || pgrep nginx"
    ).split()
    assert pids
    users = {host.check_output(f"stat -c %U /proc/{pid}") for pid in pids}
    assert users == {"www-data"}


def test_no_worker_waits_for_the_next_visitor_in_accept(host: Host) -> None:
    """One that does leaves unanswered whom it has already; systemd's sockets wait unless told."""
    pid = host.check_output("systemctl show --value --property MainPID nginx.service")
    listening = re.findall(rf"pid={pid},fd=(\d+)", host.check_output("ss -tlnpH"))
    assert len(listening) >= 2
    for number in listening:
        (flags,) = re.findall(
            r"flags:\s+(\d+)", host.file(f"/proc/{pid}/fdinfo/{number}").content_string
        )
        assert int(flags, 8) & os.O_NONBLOCK


def test_http_leads_to_https(host: Host, name: str) -> None:
    answer = ask(host, f"http://{name}/a?b=c")
    assert (answer.code, answer.header("Location")) == (301, [f"https://{name}/a?b=c"])


def test_challenges_are_answered_without_tls(host: Host, name: str) -> None:
    path = ".well-known/acme-challenge/token"
    host.check_output(f"echo proof > /var/lib/slipway/acme/{path}")
    try:
        assert ask(host, f"http://{name}/{path}").body == "proof\n"
        assert ask(host, f"http://www.{name}/{path}").body == "proof\n"
    finally:
        host.check_output(f"rm /var/lib/slipway/acme/{path}")


def test_www_leads_to_the_apex(host: Host, name: str) -> None:
    answer = ask(host, f"https://www.{name}/a?b=c")
    assert (answer.code, answer.header("Location")) == (301, [f"https://{name}/a?b=c"])


def test_http_2_is_spoken_without_a_warning(host: Host, name: str) -> None:
    assert ask(host, f"https://{name}/free/", "--http2").protocol == "2"
    assert "http2" not in host.run("nginx -t").stderr


@pytest.mark.parametrize("path", ["/free/", "/static/app.js", "/static/missing"])
def test_every_answer_carries_the_headers_once(host: Host, name: str, path: str) -> None:
    answer = ask(host, f"https://{name}{path}")
    assert {header: answer.header(header) for header in HEADERS} == {
        header: [value] for header, value in HEADERS.items()
    }
    (policy,) = answer.header("Content-Security-Policy")
    assert "default-src 'self'" in policy
    assert f"wss://{name}" in policy
    assert answer.header("Server") == ["nginx"]


def test_a_site_may_have_headers_of_its_own(host: Host, name: str) -> None:
    answer = ask(host, f"https://second.{name.partition('.')[2]}/")
    assert answer.header("X-Frame-Options") == ["SAMEORIGIN"]
    assert answer.header("Referrer-Policy") == []


def test_the_application_learns_who_asks(host: Host, name: str) -> None:
    answer = ask(host, f"https://{name}/free/", "--header", "X-Forwarded-For: 6.6.6.6")
    sent = json.loads(answer.body)["headers"]
    assert sent["Host"] == name
    assert sent["X-Forwarded-Proto"] == "https"
    assert sent["X-Real-IP"] == sent["X-Forwarded-For"] != "6.6.6.6"


def test_requests_are_limited_per_second(host: Host, name: str) -> None:
    general = codes(host, f"https://{name}/", 60)
    assert set(general) == {"200", "429"}
    # Twenty at once and ten for each second that the burst itself takes.
    assert 20 <= general.count("200") < 50


def test_the_api_may_be_asked_more_often(host: Host, name: str) -> None:
    assert set(codes(host, f"https://{name}/api/", 60)) == {"200"}
    assert "429" in codes(host, f"https://{name}/api/", 150)


def test_whoever_tests_with_many_visitors_is_not_limited(host: Host, name: str) -> None:
    other = ("--connect-to ::127.0.0.1:", "--interface")
    assert set(codes(host, f"https://{name}/", 60, *other, "127.0.0.9")) == {"200"}
    assert "429" in codes(host, f"https://{name}/", 60, *other, "127.0.0.8")


def test_a_limit_can_be_lifted(host: Host, name: str) -> None:
    assert set(codes(host, f"https://{name}/free/", 100)) == {"200"}


@pytest.mark.parametrize(("megabytes", "code"), [(9, 200), (11, 413)])
def test_bodies_are_limited(host: Host, name: str, megabytes: int, code: int) -> None:
    host.check_output(f"head -c {megabytes}000000 /dev/zero > /tmp/body")
    answer = ask(host, f"https://{name}/free/", "--data-binary", "@/tmp/body")
    assert answer.code == code


def test_static_files_are_kept_for_thirty_days_and_compressed(host: Host, name: str) -> None:
    answer = ask(host, f"https://{name}/static/app.js", "--head", "-H", "Accept-Encoding: gzip")
    assert answer.code == 200
    assert answer.header("Cache-Control") == ["max-age=2592000"]
    assert answer.header("Content-Encoding") == ["gzip"]


def test_the_least_busy_backend_answers(host: Host, name: str) -> None:
    both = {json.loads(ask(host, f"https://{name}/free/").body)["port"] for _attempt in range(10)}
    assert both == {8001, 8002}
    slow = f"curl --silent --insecure https://{name}/free/slow"
    fast = f"curl --silent --insecure https://{name}/free/"
    said = host.check_output(
        f"{slow} > /tmp/slow & sleep 3; for i in 1 2 3 4; do {fast}; echo; done; wait"
    )
    busy = json.loads(host.check_output("cat /tmp/slow"))["port"]
    assert {json.loads(line)["port"] for line in said.splitlines()} == {8001, 8002} - {busy}


def test_a_dead_backend_is_not_missed(host: Host, name: str) -> None:
    host.check_output("systemctl stop backend@8001")
    try:
        assert set(codes(host, f"https://{name}/free/", 20)) == {"200"}
    finally:
        host.check_output("systemctl start backend@8001")


WEBSOCKET = """
import socket, ssl, sys
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
plain = socket.create_connection(("127.0.0.1", 443), timeout=10)
secured = context.wrap_socket(plain, server_hostname=sys.argv[1])
secured.sendall((
    f"GET {sys.argv[2]} HTTP/1.1\\r\\nHost: {sys.argv[1]}\\r\\nUpgrade: websocket\\r\\n"
    "Connection: Upgrade\\r\\nSec-WebSocket-Version: 13\\r\\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\\r\\n\\r\\n").encode())
print(secured.recv(4096).decode().splitlines()[0])
secured.sendall(b"\\x81\\x82\\x00\\x00\\x00\\x00hi")
print(secured.recv(4096)[-2:].decode(errors="replace"))
"""


def test_websockets_pass_where_they_are_declared(host: Host, name: str) -> None:
    said = host.check_output(f"python3 -c '{WEBSOCKET}' {name} /ws/")
    assert said.splitlines() == ["HTTP/1.1 101 Switching Protocols", "hi"]
    refused = host.check_output(f"python3 -c '{WEBSOCKET}' {name} /free/")
    assert refused.startswith("HTTP/1.1 200")


def test_unknown_names_are_refused(host: Host) -> None:
    connect = "unknown.test:443:127.0.0.1"
    assert ask(host, "https://unknown.test/", "--resolve", connect).code == 0
    assert ask(host, "http://127.0.0.1/").code == 0


@pytest.mark.parametrize(("version", "succeeds"), [("1_1", False), ("1_2", True), ("1_3", True)])
def test_only_current_versions_of_tls(host: Host, name: str, version: str, succeeds: bool) -> None:
    ciphers = "-cipher DEFAULT@SECLEVEL=0" if version == "1_1" else ""
    said = host.run(f"{HANDSHAKE.format(name=name)} -tls{version} {ciphers} 2>&1")
    assert ("Cipher is (NONE)" not in said.stdout) is succeeds


def test_the_log_has_times_and_no_query(host: Host, name: str) -> None:
    ask(host, f"https://{name}/free/logged?token=topsecret")
    lines = host.check_output("grep /free/logged /var/log/nginx/access.log").splitlines()
    line = json.loads(lines[-1])
    assert line["status"] == 200
    assert line["request_time"] >= 0
    assert float(line["upstream_time"]) >= 0
    assert "topsecret" not in lines[-1]


def test_nothing_else_renews(host: Host) -> None:
    assert host.service("slipway-certbot.timer").is_running
    assert host.service("slipway-certbot.timer").is_enabled
    assert not host.service("certbot.timer").is_running
    assert not host.service("certbot.timer").is_enabled
