# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Stop before a machine switches, and take it back, when one that shares the work has failed."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase

Result = dict[str, t.Any]


class ActionModule(ActionBase):  # type: ignore[misc]
    """Only the controller knows how the other machines fare."""

    def run(self, tmp: t.Any = None, task_vars: Result | None = None) -> Result:
        result: Result = super().run(tmp, task_vars)
        variables, arguments = task_vars or {}, dict(self._task.args)
        if arguments.get("unless_broken") and (stays := why_it_stays(arguments, variables)):
            return {**result, "failed": True, "msg": stays}
        wrong, part = failed_peer(arguments, variables), arguments.get("part")
        switched = (arguments.get("found") or {}).get("switched")
        if wrong and part != "undo" and not switched:
            return {**result, "failed": True, "msg": f"{wrong} failed, nothing is switched here."}
        if wrong:
            reason = f"{wrong} failed, so this machine has gone back as well."
            arguments.update(part="undo", reason=reason, withdraw=True)
        elif part == "undo" and arguments.get("trouble"):
            arguments.update(reason=arguments["trouble"], withdraw=True)
        elif part == "undo":
            return {**result, "changed": False, "found": arguments.get("found")}
        result.update(
            self._execute_module(
                "slipway.stack.app_publish", module_args=arguments, task_vars=task_vars
            )
        )
        return result


def why_it_stays(arguments: Result, variables: Result) -> str:
    """Where rollback.yml would not go back by itself either, somebody has to choose."""
    machines = (variables["hostvars"][peer] for peer in arguments["peers"])
    found = (machine.get("__app_migrated", {}).get("broken", []) for machine in machines)
    broken = ",".join(sorted({name for names in found for name in names}))
    return broken and (
        f"{arguments['trouble']}. Release {arguments['release']} goes on serving, because"
        f" {arguments['found']['before']} may not work with the database since {broken}: deploy a"
        " version that is well, with playbooks/deploy.yml -e version=; or, when you know that it"
        f" works, go back with playbooks/rollback.yml -e allow_migrations={broken}."
    )


def failed_peer(arguments: Result, variables: Result) -> str:
    """The first other machine of this run that has left it, if any.

    Ansible takes out who has failed or cannot be reached, whatever it was at, also plays before.
    """
    every, left = (variables.get(f"ansible_play_hosts{which}", []) for which in ("_all", ""))
    gone = {*every} - {*left, variables.get("inventory_hostname")}
    return next((str(peer) for peer in arguments.get("peers") or [] if peer in gone), "")
