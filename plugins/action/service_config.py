# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Renders the templates of slipway.stack.service_config and runs the module once."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.template import generate_ansible_template_vars, trust_as_template

_OVERRIDES = {"trim_blocks": True, "lstrip_blocks": True}


class ActionModule(ActionBase):  # type: ignore[misc]
    """Everything that needs the controller; what it knows of a machine comes from task_vars."""

    _supports_check_mode = True
    _supports_diff = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        task_vars = task_vars or {}
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        files = arguments.get("files") or []
        if not isinstance(files, list) or not all(isinstance(each, Mapping) for each in files):
            raise AnsibleActionFail("files must be a list of dictionaries, each with a path")
        arguments["files"] = [self._prepared(dict(each), task_vars) for each in files]
        try:
            return dict(
                self._execute_module(
                    module_name="slipway.stack.service_config",
                    module_args=arguments,
                    task_vars=task_vars,
                )
            )
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)

    def _prepared(self, each: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """The file with its contents instead of its template."""
        template, variables = each.pop("template", None), each.pop("vars", None)
        if template is not None:
            if each.get("content") is not None:
                raise AnsibleActionFail(
                    f"{each.get('path')} has both a template and a content; keep one of them"
                )
            # What a file that goes would say may name what is not there either.
            if each.get("state") == "absent":
                return each
            each["content"] = self._render(template, each.get("path"), variables or {}, task_vars)
        if each.get("content") is not None:
            # A module's arguments go to the journal of the machine, except what is hidden from it.
            content = str(each.pop("content"))
            each["encoded_content"] = base64.b64encode(content.encode()).decode()
        return each

    def _render(
        self,
        template: str,
        path: str | None,
        variables: Mapping[str, Any],
        task_vars: dict[str, Any],
    ) -> str:
        """As ansible.builtin.template does, with lstrip_blocks."""
        try:
            source = Path(self._find_needle("templates", template))
        except AnsibleError as error:
            raise AnsibleActionFail(str(error)) from error
        text = trust_as_template(self._loader.get_text_file_contents(str(source)))
        roots = [*task_vars.get("ansible_search_path", [])]
        roots += [self._loader.get_basedir(), str(source.parent)]
        given = generate_ansible_template_vars(template, str(source), path)
        if "ansible_managed" in task_vars:
            given.pop("ansible_managed", None)
        templar = self._templar.copy_with_new_env(
            searchpath=[place for root in roots for place in (f"{root}/templates", root)],
            available_variables={**task_vars, **given, **variables},
        )
        rendered = templar.template(text, escape_backslashes=False, overrides=_OVERRIDES)
        return "" if rendered is None else str(rendered)
