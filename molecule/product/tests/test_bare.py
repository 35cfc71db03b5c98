"""A machine on which nothing was set up, and the four lines of inventory that the README shows."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import testinfra
import yaml
from conftest import (
    LAB,
    PLAYBOOKS,
    ROOT,
    SCENARIO,
    Visitor,
    address_of,
    answers,
    playbook,
    write_as_awx,
)

pytestmark = pytest.mark.skipif(SCENARIO != "default", reason="it has a machine that stays bare")
MACHINE = f"{LAB}-bare"
DECLARED = {
    "ansible_connection": "community.docker.docker",
    "stack_environment": "bare-test",
    "stack_applications": [
        {
            "name": "auction",
            "domain": "auction.test",
            "source": {"repository": "https://git.services.test/auction.git"},
            "web": {"wsgi": "auction.wsgi:application"},
            "certificate_source": "self_signed",
        }
    ],
    "vault_stack_applications": {
        "auction": {
            "database_password": "test-only-database-of-the-auction",
            "redis_password": "test-only-redis-of-the-auction",
            "secret_key": "test-only-django-key-of-the-auction-which-is-long-enough",
        }
    },
    "vault_stack_pgbouncer_password": "test-only-pooler-password",
    "vault_stack_redis_admin_password": "test-only-redis-admin",
}
# What whoever wrote the playbook did not think of looks like this.
UNFORESEEN = re.compile(r"Traceback|Error while|has no attribute|is undefined|Validation of arg")


@pytest.fixture
def bare(tmp_path: Path) -> tuple[str, str]:
    """The README's four lines about this machine, beside what is declared."""
    folder = tmp_path / "inventory"
    (folder / "group_vars").mkdir(parents=True)
    readme = (ROOT / "README.md").read_text()
    lines = re.search(r"^database: &machine .*?(?=```)", readme, re.MULTILINE | re.DOTALL)
    assert lines and lines[0].count("\n") == 4
    (folder / "hosts.yml").write_text(lines[0].replace("shop.example.com", MACHINE))
    (folder / "group_vars/all.yml").write_text(yaml.safe_dump(DECLARED))
    return ("-i", str(folder))


# site.yml is tried in the same way before this scenario converges.
@pytest.mark.parametrize(
    "path", [path for path in PLAYBOOKS if path.stem != "site"], ids=lambda path: path.stem
)
def test_each_playbook_can_be_tried_where_nothing_runs(
    path: Path, bare: tuple[str, str], tmp_path: Path
) -> None:
    """It ends well, or with a sentence; and leaves the machine as it was."""
    given = answers(path, load_environment="bare-test", load_from=MACHINE)
    file = write_as_awx(tmp_path / "extravars", given)
    done = playbook(path.stem, "--check", "--diff", f"-e@{file}", inventories=bare)
    said = done.stdout + done.stderr
    assert done.returncode in (0, 2), said
    assert not UNFORESEEN.search(said), said
    machine = testinfra.get_host(f"docker://{MACHINE}")
    assert not machine.file("/etc/slipway").exists


@pytest.mark.long
def test_the_archive_and_four_lines_stand_up_a_machine(
    bare: tuple[str, str], installed: Callable[..., str]
) -> None:
    installed("ansible-playbook", "slipway.stack.site", *bare)
    machine = testinfra.get_host(f"docker://{MACHINE}")
    certificate = machine.check_output("cat /etc/slipway/tls/*/fullchain.pem")
    assert b"connected" in Visitor(address_of(MACHINE), certificate).get("/health/").body
    said = installed("ansible-playbook", "slipway.stack.site", *bare)
    assert re.findall(r"changed=[1-9]\d*", said) == [], said
