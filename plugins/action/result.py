# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tells with set_stats, and in a file where that is asked for, what came of a playbook."""

from __future__ import annotations

import json
import time
from typing import Any

from ansible import context
from ansible.plugins.action import ActionBase
from ansible_collections.slipway.stack.plugins.plugin_utils import _result, _whole_file


class ActionModule(ActionBase):  # type: ignore[misc]
    """Runs on the controller alone: no machine needs to answer for it."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        super().run(tmp, task_vars)
        _said, given = self.validate_argument_spec(
            argument_spec={
                "begun": {"type": "dict", "default": {}},
                "next": {"type": "str", "default": ""},
                "found": {"type": "dict", "default": {}},
                "json": {"type": "path"},
            }
        )
        variables = task_vars or {}
        first = given["begun"]
        if first:
            left = variables["ansible_play_hosts"]
            spent = time.time() - first["began"]
            result = _result.ended(first["result"], left, spent, given["next"], given["found"])
        else:
            # A playbook may say which one is meant where nobody does.
            app = self._templar.template(variables.get("app"))
            result = _result.begun(context.CLIARGS.get("args", ()), {**variables, "app": app})
        _whole_file.write(given["json"], json.dumps(result, indent=2, ensure_ascii=False) + "\n")
        stats = {"data": {_result.NAME: result}, "per_host": False, "aggregate": False}
        said = {"changed": False, "began": time.time(), "result": result, "ansible_stats": stats}
        return said
