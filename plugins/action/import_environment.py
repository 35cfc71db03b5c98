# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writes an application's declaration and its secrets from the .env file that it has today."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.parsing.vault import is_encrypted
from ansible.plugins.action import ActionBase
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError
from ansible_collections.slipway.stack.plugins.plugin_utils import (
    _dotenv,
    _import_environment,
    _rules,
    _yaml_text,
)

APPLICATIONS, SECRETS = "applications.yml", "secrets.yml"
KEYS = {APPLICATIONS: "stack_applications", SECRETS: "vault_stack_applications"}

ARGUMENTS = {
    "path": {"type": "path", "required": True},
    "into": {"type": "path", "required": True},
    "name": {"type": "str", "required": True},
    "framework": {
        "type": "str",
        "choices": ["django", "fastapi", "none", *_import_environment.FRONTENDS],
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
        into, secrets = Path(given["into"]), {name: placed.secrets}
        files = {
            APPLICATIONS: self._text(into, APPLICATIONS, [placed.application], name),
            SECRETS: self._text(into, SECRETS, secrets, name),
        }
        if not self._task.check_mode:
            _write(into, files)
        remarks = [*complaints, *placed.remarks, ENVIRONMENT]
        if not is_encrypted(files[SECRETS]):
            remarks.append("secrets.yml is not encrypted; give --ask-vault-pass, or encrypt it now")
        return {"changed": True, "remarks": remarks, "count": len(values), "files": sorted(files)}

    def _text(self, into: Path, file: str, entry: Any, name: str) -> str:
        """What becomes of a file: of one that is there nothing but what is added changes."""
        path, vault = into / file, self._loader._vault
        try:
            written = path.read_text(encoding="utf-8") if path.exists() else ""
            encrypted = is_encrypted(written) if written else file == SECRETS and vault.secrets
            clear = vault.decrypt(written).decode() if written and encrypted else written
            if name in _known(clear, KEYS[file]):
                raise StackError(f"has {name} already; remove it there, or name another folder")
            text = _yaml_text.add(clear, KEYS[file], entry)
        except AnsibleError as error:
            raise AnsibleActionFail(
                f"{path} is encrypted; give the password it was encrypted with: --ask-vault-pass"
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            raise AnsibleActionFail(f"{path} cannot be read; name another folder") from error
        except StackError as error:
            raise AnsibleActionFail(f"{path} {error}") from error
        return vault.encrypt(text).decode() if encrypted else text


def _known(text: str, key: str) -> list[str]:
    """Which applications a file has already."""
    given = _yaml_text.read(text).get(key) or []
    if isinstance(given, dict):
        return list(given)
    return [str(each.get("name")) for each in given if isinstance(each, dict)]


def _write(into: Path, files: dict[str, str]) -> None:
    """Whole or not at all; the secrets are the owner's alone from the start."""
    try:
        into.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            path, new = into / name, into / f".{name}.new"
            mode = 0o600 if name == SECRETS else 0o644
            new.unlink(missing_ok=True)
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
                file.write(text)
            if path.exists():
                new.chmod(path.stat().st_mode & 0o777)
            new.rename(path)
    except OSError as error:
        raise AnsibleActionFail(
            f"into is {str(into)!r}, where nothing can be written ({error.strerror}); name a folder"
        ) from error
