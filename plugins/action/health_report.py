# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Prints the health of all machines, and writes it into files where that is asked for."""

from __future__ import annotations

import datetime
import json
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.slipway.stack.plugins.plugin_utils import (
    _health_page,
    _health_report,
    _whole_file,
)

_COLOURS = {"critical": "red", "unknown": "purple", "warning": "yellow", "ok": "green"}


class ActionModule(ActionBase):  # type: ignore[misc]
    """Runs on the controller alone: no machine needs to answer for it."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        super().run(tmp, task_vars)
        _result, given = self.validate_argument_spec(
            argument_spec={
                "results": {"type": "dict", "required": True},
                "environment": {"type": "str", "default": "this site"},
                "json": {"type": "path"},
                "html": {"type": "path"},
                "fail_when_unhealthy": {"type": "bool", "default": True},
            }
        )
        now = datetime.datetime.now(datetime.UTC)
        whole = _health_report.report(given["results"], given["environment"], now)
        data = _health_report.as_data(whole)
        for state, line in _health_report.table(whole):
            Display().display(line, color=_COLOURS.get(state))
        _whole_file.write(given["json"], json.dumps(data, indent=2, ensure_ascii=False) + "\n")
        _whole_file.write(given["html"], _health_page.page(whole))
        # No more than this: Ansible prints all of a failed result, below the table.
        failed = given["fail_when_unhealthy"] and not whole.healthy
        said = {"changed": False, "failed": failed, "state": whole.state, "healthy": whole.healthy}
        return said | {"msg": f"{whole.summary}; see the table above."}
