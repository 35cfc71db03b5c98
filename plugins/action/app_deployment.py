# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tell the module who deploys, whether a holder is gone, and what other machines have said."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase
from ansible_collections.slipway.stack.plugins.action import app_publish
from ansible_collections.slipway.stack.plugins.plugin_utils import _operator


class ActionModule(ActionBase):  # type: ignore[misc]
    """Only the controller knows its own processes."""

    def run(self, tmp: t.Any = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        wrong = app_publish.failed_peer(self._task.args, task_vars or {})
        if wrong:
            return {**result, "failed": True, "msg": f"{wrong} failed, nothing is begun here."}
        holder = _operator.holder(task_vars or {})
        arguments = {**self._task.args, "holder": holder}
        done = self._run(arguments, task_vars)
        held = done.get("held")
        if held and _operator.is_gone(held["holder"], holder):
            done = self._run({**arguments, "dead": held["deployment"]}, task_vars)
        result.update(done)
        return result

    def _run(
        self, arguments: dict[str, t.Any], task_vars: dict[str, t.Any] | None
    ) -> dict[str, t.Any]:
        done: dict[str, t.Any] = self._execute_module(
            "slipway.stack.app_deployment", module_args=arguments, task_vars=task_vars
        )
        return done
