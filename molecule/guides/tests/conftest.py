# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The five systems as their visitors meet them: a real browser, over https."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import typing as t
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import testinfra
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from selenium import webdriver
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.support.wait import WebDriverWait
from testinfra.host import Host

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/from-the-guides.md").read_text(encoding="utf-8")
SCENARIO = os.environ.get("MOLECULE_SCENARIO_NAME", "guides")
LAB = f"molecule-{SCENARIO}"
INVENTORY = ROOT / "molecule" / SCENARIO / "inventory"
# What the systems are made of.
MADE_OF = {
    "atlas": ["atlas"],
    "auction": ["auction", "auction_web"],
    "ecommerce": ["ecommerce", "ecommerce_ai", "ecommerce_web"],
    "parkme": ["parkme"],
    "propflow": ["propflow", "propflow_dashboard"],
}
HOSTS = yaml.safe_load((INVENTORY / "hosts.yml").read_text(encoding="utf-8"))
SYSTEMS = {name: MADE_OF[name] for name in HOSTS["all"]["vars"]["guides_systems"]}
# The machine that visitors come to; where there is one, it does everything.
FRONT = next(iter(HOSTS["web"]["hosts"]))
APPS = [app for apps in SYSTEMS.values() for app in apps]
STORING = [app for app in APPS if not app.endswith(("_web", "_dashboard"))]
# Whether PostgreSQL and Redis are a provider's here.
PROVIDED = "cache" not in HOSTS
PROVIDER = "atlas-production.db.ondigitalocean.com:25060"
ours = pytest.mark.skipif(PROVIDED, reason="what is ours to do is a provider's here")
provided = pytest.mark.skipif(not PROVIDED, reason="nothing is a provider's here")
SECONDS = 60
TEXTS = "return [...document.querySelectorAll(arguments[0])].map((each) => each.innerText)"
Found = t.TypeVar("Found")


@pytest.fixture(scope="session")
def machine() -> Host:
    return testinfra.get_host(f"docker://{FRONT}")


@pytest.fixture(scope="session")
def machines(machine: Host) -> list[Host]:
    """For the journal of a failure."""
    return [machine]


@pytest.fixture(scope="session")
def services() -> Host:
    return testinfra.get_host(f"docker://{LAB}-services")


@pytest.fixture(scope="session")
def provider() -> Host:
    return testinfra.get_host(f"docker://{LAB}-provider")


def address(container: str) -> str:
    template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    command = ["docker", "inspect", "--format", template, container]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def fingerprint(certificate: str) -> str:
    """The name of a certificate's key, as Chromium takes it."""
    key = x509.load_pem_x509_certificate(certificate.encode()).public_key()
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(der).digest()).decode()


@pytest.fixture(scope="session")
def browser(services: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[t.Any]:
    """Chromium; of certificates that no public authority signed it takes the lab's alone."""
    signers = [
        services.check_output("curl -fsSk https://localhost:15000/intermediates/0"),
        services.check_output("cat /etc/lab/services.crt"),
    ]
    names = f"MAP services.test {address(LAB + '-services')}"
    names += f", MAP *.services.test {address(LAB + '-services')}"
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in (
        "headless=new",
        "no-sandbox",  # it runs as root, and visits the lab's own pages
        "disable-dev-shm-usage",
        f"user-data-dir={tmp_path_factory.mktemp('chromium')}",
        f"host-resolver-rules={names}, MAP *.test {address(FRONT)}",
        f"ignore-certificate-errors-spki-list={','.join(map(fingerprint, signers))}",
    ):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService("/usr/bin/chromedriver")
    with webdriver.Chrome(options=options, service=service) as driver:
        yield driver


class Page:
    """One page in the browser, by the names that its own script has for things."""

    def __init__(self, driver: t.Any, url: str) -> None:
        self.driver = driver
        driver.get(url)

    def fill(self, selector: str, value: str) -> None:
        field = self.driver.find_element("css selector", selector)
        field.clear()
        field.send_keys(value)

    def press(self, selector: str) -> None:
        self.driver.find_element("css selector", selector).click()

    def text(self, selector: str) -> str:
        return str(self.driver.find_element("css selector", selector).text)

    def until(self, ask: Callable[[], Found]) -> Found:
        """Wait for an answer that is none at first."""
        answer: Found = WebDriverWait(self.driver, SECONDS).until(lambda _driver: ask())
        return answer

    def shows(self, selector: str, words: str) -> str:
        """Wait until the words are there; what the console said tells why they are not.

        They have to stay: a message that the next one replaces may never be seen here.
        """

        def there() -> str:
            # At one moment, for a page may replace its elements between two questions.
            found: list[str] = self.driver.execute_script(TEXTS, selector)
            return next((text for text in found if words in text), "")

        try:
            return self.until(there)
        except TimeoutException as error:
            said = [line["message"] for line in self.driver.get_log("browser")]
            pytest.fail(f"{words!r} is not shown: {said}\n{self.driver.page_source}\n{error!r}")


@pytest.fixture
def visit(browser: t.Any) -> Callable[[str], Page]:
    return lambda url: Page(browser, url)


def playbook(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    declared = ROOT / "molecule/guides/declared"
    command = ["ansible-playbook", f"playbooks/{name}.yml", "-i", str(declared)]
    return subprocess.run(
        [*command, "-i", str(INVENTORY), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
    )
