"""What check_health.yml says of a healthy stack, and of one that is not."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import subprocess
import typing as t
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import DOMAIN, INVENTORIES, ROOT, SCENARIO, eventually, playbook
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Machines = dict[str, list[t.Any]]
CERTIFICATE = "/etc/slipway/tls/auction"
once = pytest.mark.skipif(SCENARIO != "default", reason="one site is enough to see it told")

Findings = dict[str, dict[str, str]]


class Health(t.NamedTuple):
    code: int
    said: str
    findings: Findings
    page: str


@pytest.fixture
def health(tmp_path: Path) -> Callable[..., Health]:
    def examine(*arguments: str) -> Health:
        files = {kind: tmp_path / f"health.{kind}" for kind in ("json", "html")}
        asked = [f"--extra-vars=health_report_{kind}={path}" for kind, path in files.items()]
        done = playbook("check_health", *asked, *arguments)
        assert files["json"].is_file(), done.stdout + done.stderr
        machines = json.loads(files["json"].read_text())["machines"]
        found = {row["check"]: row for each in machines.values() for row in each["findings"]}
        return Health(done.returncode, done.stdout, found, files["html"].read_text())

    return examine


def until_well(examine: Callable[[], Health], attempts: int = 6) -> Health:
    """The first answer without a complaint: a busy computer misses deadlines, rightly told."""
    for _attempt in range(attempts):
        found = examine()
        if found.code == 0:
            return found
    pytest.fail(found.said)


def kind(findings: Findings, name: str) -> Findings:
    return {check: row for check, row in findings.items() if check.split()[0] == name}


@pytest.mark.parametrize("mode", [[], ["--check"]], ids=["run", "check mode"])
def test_a_healthy_stack_is_all_well_and_untouched(
    health: Callable[..., Health], mode: list[str]
) -> None:
    found = until_well(lambda: health(*mode))
    assert {"http", "tls", "websocket"} <= {check.split()[0] for check in found.findings}
    for row in [*kind(found.findings, "http").values(), *kind(found.findings, "tls").values()]:
        assert row["state"] == "ok", row
    assert re.search(r"changed=[1-9]", found.said) is None
    # The table, and one remote execution on each machine.
    assert re.search(r"^state +machine +check +value +limit$", found.said, re.MULTILINE)
    assert re.findall(r"ok=(\d+)", found.said)[0] in ("1", "2")
    assert "<!doctype html>" in found.page
    assert f"http {DOMAIN}" in found.page


@once
def test_limit_examines_those_machines_only(
    health: Callable[..., Health], machines: Machines
) -> None:
    name = machines["web"][0].backend.name
    found = until_well(lambda: health("--limit", name))
    assert " ok on 1 machine." in found.said


@once
def test_nothing_is_written_unasked(tmp_path: Path) -> None:
    """As AWX runs it, with a project that nobody can write to."""
    before = subprocess.run(
        ["git", "status", "--porcelain"], cwd=ROOT, check=True, capture_output=True
    ).stdout
    done = subprocess.run(
        ["ansible-playbook", str(ROOT / "playbooks/check_health.yml"), *INVENTORIES],
        cwd=tmp_path,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"http {DOMAIN}" in done.stdout, done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []
    after = subprocess.run(
        ["git", "status", "--porcelain"], cwd=ROOT, check=True, capture_output=True
    ).stdout
    assert after == before


@once
def test_a_limit_of_the_operators_own_is_kept(health: Callable[..., Health]) -> None:
    limits = {"latency_warning_milliseconds": 0.001, "latency_critical_milliseconds": 60_000}
    options = {"stack_health": {"http": limits}}
    found = health("--extra-vars", json.dumps(options))
    latency = found.findings[f"http {DOMAIN} latency"]
    assert latency["state"] == "warning"
    assert "WARNING " in found.said


@once
def test_a_report_that_cannot_be_written_is_told_below_the_table() -> None:
    done = playbook("check_health", "--extra-vars=health_report_json=/proc/a.json")
    assert done.returncode != 0
    assert f"http {DOMAIN}" in done.stdout
    assert "the report /proc/a.json cannot be written" in done.stdout


@once
def test_a_machine_that_cannot_be_reached_is_critical(health: Callable[..., Health]) -> None:
    lost = {"ansible_connection": "ssh", "ansible_host": "192.0.2.1", "ansible_ssh_timeout": 3}
    found = health("--extra-vars", json.dumps(lost))
    assert found.code != 0
    assert found.findings["machine"]["state"] == "critical"
    assert found.findings["machine"]["value"].startswith("could not be reached: ")


@contextlib.contextmanager
def stopped(machine: t.Any, unit: str) -> Iterator[None]:
    """Alive for systemd and for TCP, and yet it does nothing: what a lock or a full disk does."""
    machine.check_output(f"systemctl kill --kill-whom=all --signal=SIGSTOP {unit}")
    try:
        yield
    finally:
        machine.check_output(f"systemctl kill --kill-whom=all --signal=SIGCONT {unit}")


@once
def test_a_web_server_that_hangs_is_told(
    health: Callable[..., Health], machines: Machines, healthy: Callable[[], bool]
) -> None:
    with stopped(machines["application"][0], "auction-web.service"):
        found = health()
    assert found.code != 0
    row = found.findings[f"http {DOMAIN}"]
    assert row["state"] == "critical"
    assert row["value"].startswith("waiting for the first byte of the answer: not done within ")
    assert "journalctl -u 'auction-*'" in row["advice"]
    # What is well is still told to be.
    assert found.findings[f"tls {DOMAIN} chain"]["state"] == "ok"
    assert "Something is broken" in found.page
    eventually(healthy, "the site is healthy again")


@once
def test_a_stopped_nginx_is_told(health: Callable[..., Health], machines: Machines) -> None:
    with stopped(machines["web"][0], "nginx.service"):
        found = health()
    for name in ("http", "tls", "websocket"):
        row = found.findings[f"{name} {DOMAIN}"]
        assert row["state"] == "critical", row
        assert row["value"].startswith("TLS handshake as "), row


@once
def test_a_stopped_application_is_told(
    health: Callable[..., Health], machines: Machines, healthy: Callable[[], bool]
) -> None:
    machine = machines["application"][0]
    units = "auction-web.socket auction-web.service auction-asgi.socket auction-asgi.service"
    machine.check_output(f"systemctl stop {units}")
    try:
        found = health()
    finally:
        machine.check_output("systemctl start auction-web.socket auction-asgi.socket")
        machine.check_output("systemctl start auction-web.service auction-asgi.service")
    assert found.findings[f"http {DOMAIN}"]["state"] == "critical"
    assert found.findings[f"http {DOMAIN}"]["value"].startswith("502")
    assert found.findings[f"websocket {DOMAIN}"]["value"].startswith("502")
    eventually(healthy, "the site is healthy again")


def pair(name: str, begins: int, ends: int) -> str:
    """A certificate that signed itself, valid between two days from now, and its key: PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(subject, subject, key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now + datetime.timedelta(days=begins))
    builder = builder.not_valid_after(now + datetime.timedelta(days=ends))
    names = x509.SubjectAlternativeName([x509.DNSName(name)])
    certificate = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return (certificate.public_bytes(serialization.Encoding.PEM) + private).decode()


@pytest.fixture
def other_certificate(
    machines: Machines, healthy: Callable[[], bool]
) -> Iterator[Callable[[str], Callable[[], None]]]:
    """Lets nginx serve another pair; returns what puts the right one back on the disk."""
    machine = machines["web"][0]
    right = machine.check_output(f"readlink {CERTIFICATE}").strip()
    other = "/etc/slipway/tls/.pairs/other"

    def put_back() -> None:
        machine.check_output(f"ln -sfn {right} {CERTIFICATE}")

    def serve(pem: str) -> Callable[[], None]:
        machine.check_output(f"install -d -m 0750 -g www-data {other}")
        for name in ("fullchain.pem", "privkey.pem"):
            machine.check_output(f"printf '%s' '{pem}' > {other}/{name}")
        machine.check_output(f"ln -sfn .pairs/other {CERTIFICATE} && nginx -t")
        machine.check_output("systemctl reload nginx")
        return put_back

    yield serve
    put_back()
    # Not a reload: for a moment, that leaves workers with the other pair.
    machine.check_output(f"rm -r {other} && systemctl restart nginx")
    eventually(healthy, "the right certificate is served again")


Serve = Callable[[str], Callable[[], None]]


@once
def test_an_expired_certificate_is_told(
    health: Callable[..., Health], other_certificate: Serve
) -> None:
    other_certificate(pair(DOMAIN, -90, -3))
    found = health()
    assert found.code != 0
    lifetime = found.findings[f"tls {DOMAIN} lifetime"]
    assert lifetime["state"] == "critical"
    assert lifetime["value"].startswith("expired 3 days ago, on ")
    chain = found.findings[f"tls {DOMAIN} chain"]
    assert (chain["state"], chain["value"]) == ("critical", "certificate has expired")
    assert "certificate has expired" in found.findings[f"http {DOMAIN}"]["value"]
    assert found.findings[f"tls {DOMAIN} served"]["state"] == "ok"


@once
def test_a_wrong_certificate_is_told(
    health: Callable[..., Health], other_certificate: Serve
) -> None:
    put_back = other_certificate(pair("other.test", -1, 90))
    chain = health().findings[f"tls {DOMAIN} chain"]
    assert (chain["state"], chain["value"][:17]) == ("critical", "Hostname mismatch")
    # The right one is on the disk again, but nginx was never told.
    put_back()
    served = health().findings[f"tls {DOMAIN} served"]
    assert (served["state"], served["advice"]) == ("critical", "load it: systemctl reload nginx")
