# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writes an application's declaration and its secrets from the .env file that it has today."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.slipway.stack.plugins.plugin_utils import (
    _dotenv,
    _import_environment,
    _rules,
)

ARGUMENTS = {
    "path": {"type": "path", "required": True},
    "into": {"type": "path", "required": True},
    "name": {"type": "str", "required": True},
    "framework": {
        "type": "str",
        "choices": ["django", "fastapi", "none"],
        "default": "django",
    },
}
# What no .env file has, and no inventory is without.
ENVIRONMENT = (
    "stack_environment, vault_stack_pgbouncer_password and vault_stack_redis_admin_password are"
    " asked for as well; write those that the inventory has not yet (docs/secrets.md, at a provider"
    " docs/external.md)"
)


class ActionModule(ActionBase):  # type: ignore[misc]
    """Runs on the controller alone, where the file and the vault's password are."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        super().run(tmp, task_vars)
        _said, given = self.validate_argument_spec(argument_spec=ARGUMENTS)
        # Ansible's own texts are no texts to YAML.
        name, framework = str(given["name"]), str(given["framework"])
        for rule in _rules.RULES["stack_applications[].name"]:
            if not rule.holds(name):
                raise AnsibleActionFail(f"app is {name!r}; {rule.remedy}")
        try:
            text = Path(given["path"]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise AnsibleActionFail(
                f"env_file is {given['path']!r}, which cannot be read; name a text file"
            ) from error
        try:
            values, complaints = _dotenv.read(text)
        except _dotenv.Unclear as error:
            raise AnsibleActionFail(f"nothing was written: {error}") from error
        placed = _import_environment.place(values, name, framework)
        secrets = self._encrypted(_yaml({"vault_stack_applications": {name: placed.secrets}}))
        files = {
            "applications.yml": _yaml({"stack_applications": [placed.application]}),
            "secrets.yml": secrets,
        }
        if not self._task.check_mode:
            _write(Path(given["into"]), files)
        remarks = [*complaints, *placed.remarks, ENVIRONMENT]
        if not secrets.startswith("$ANSIBLE_VAULT"):
            remarks.append("secrets.yml is not encrypted; give --ask-vault-pass, or encrypt it now")
        return {"changed": True, "remarks": remarks, "count": len(values), "files": sorted(files)}

    def _encrypted(self, text: str) -> str:
        """With the vault's password that ansible-playbook was given, if it was."""
        vault = self._loader._vault
        return vault.encrypt(text).decode() if vault.secrets else text


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Writes lists below their key indented, as yamllint wants them."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """What Ansible would take for a template stays what it is."""
        if re.search(r"\{[{%#]", data):
            return self.represent_scalar("!unsafe", data, style='"')
        return super().represent_str(data)


_Dumper.add_representer(str, _Dumper.represent_str)


def _yaml(value: dict[str, Any]) -> str:
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{text}"


def _write(into: Path, files: dict[str, str]) -> None:
    """Never over what somebody has written; the secrets are the owner's alone from the start."""
    for name in files:
        if (into / name).exists():
            raise AnsibleActionFail(
                f"{into / name} is there already; name another folder with into"
            )
    try:
        into.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            mode = 0o600 if name == "secrets.yml" else 0o644
            with os.fdopen(
                os.open(into / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w"
            ) as file:
                file.write(text)
    except OSError as error:
        raise AnsibleActionFail(
            f"into is {str(into)!r}, where nothing can be written ({error.strerror}); name a folder"
        ) from error
