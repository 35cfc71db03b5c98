# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Hand the module of the same name what a machine cannot fetch by itself.

That is a directory or archive of the controller, as one file, or what another machine has built.
"""

from __future__ import annotations

import tempfile
import typing as t
from pathlib import Path

from ansible import constants
from ansible.plugins.action import ActionBase
from ansible_collections.slipway.stack.plugins.plugin_utils import _tree

Result = dict[str, t.Any]


class ActionModule(ActionBase):  # type: ignore[misc]
    """Only the controller reaches all of them."""

    def run(self, tmp: t.Any = None, task_vars: Result | None = None) -> Result:
        result: Result = super().run(tmp, task_vars)
        variables, arguments = task_vars or {}, dict(self._task.args)
        name, built = arguments["name"], arguments.pop("built", None) or {}
        if built.get("release") or (built and self._task.check_mode):
            return {**result, **built}
        files = arguments.get("runtime") == "static"
        peers = arguments.pop("peers", None) or []
        if revision := first_revision(peers, variables, name):
            arguments["revision"] = revision
        alike = machines_alike(peers, variables, name, files)
        own = str(variables.get("inventory_hostname", ""))
        first = alike[0] if own in alike else own
        try:
            if built:
                done = self._receive(arguments, first, variables)
            elif first == own or self._task.check_mode:
                waiting = _lacking(alike[1:], variables, name)
                done = self._build(arguments, waiting, variables)
            else:
                done = {"changed": False, "release": ""}
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        return {**result, **done, "application": name}

    def _build(self, arguments: Result, waiting: list[Result], variables: Result) -> Result:
        if self._task.check_mode:
            return self._module(arguments, variables)
        self._send(arguments)
        if not waiting:
            return self._module(arguments, variables)
        packed = self._remote("release.tar.gz")
        # What one of them lacks, all of them are sent.
        present = set.intersection(*(set(each.get("dependencies", [])) for each in waiting))
        asked = {**arguments, "pack": packed, "present": sorted(present)}
        done = self._module(asked, variables)
        if not done.get("failed"):
            # Ansible removes this folder of its own when it ends.
            local = tempfile.mkdtemp(dir=constants.DEFAULT_LOCAL_TMP)
            done["fetched"] = str(Path(local) / "release.tar.gz")
            self._connection.fetch_file(packed, done["fetched"])
        return done

    def _receive(self, arguments: Result, builder: str, variables: Result) -> Result:
        theirs = variables["hostvars"][builder].get("__app_build") or {}
        if theirs.get("application") != arguments["name"] or not theirs.get("release"):
            return {"failed": True, "msg": f"{builder} failed, nothing is built here."}
        arguments["release"] = theirs["release"]
        arguments["dependencies"] = theirs.get("dependencies", "")
        if theirs.get("fetched"):
            arguments["packed"] = self._upload(Path(theirs["fetched"]))
        return self._module(arguments, variables)

    def _module(self, arguments: Result, variables: Result) -> Result:
        done: Result = self._execute_module(
            "slipway.stack.app_build", module_args=arguments, task_vars=variables
        )
        return done

    def _send(self, arguments: Result) -> None:
        directory, archive = arguments.get("directory"), arguments.get("archive")
        if directory:
            with tempfile.TemporaryDirectory(prefix="slipway-") as folder:
                bundle = Path(folder) / "source.tar.gz"
                _tree.pack(Path(directory), bundle)
                arguments["bundle"] = self._upload(bundle)
        elif archive and "://" not in archive:
            arguments["bundle"] = self._upload(Path(archive))

    def _upload(self, path: Path) -> str:
        return str(self._transfer_file(str(path), self._remote(path.name)))

    def _remote(self, name: str) -> str:
        if self._connection._shell.tmpdir is None:
            self._make_tmp_path()
        return str(self._connection._shell.join_path(self._connection._shell.tmpdir, name))


def machines_alike(
    peers: list[str], variables: Result, name: str, files: bool = False
) -> list[str]:
    """Those of the peers that need the release and can use what this machine builds, in order.

    Files alone can be used by any.
    """
    own = variables.get("inventory_hostname")
    kind = _info(variables, str(own)).get("machine")
    return [
        peer
        for peer in peers
        if (files or _info(variables, peer).get("machine") == kind)
        and _info(variables, peer).get("applications", {}).get(name, {}).get("needed")
    ]


def first_revision(peers: list[str], variables: Result, name: str) -> str:
    """What the first machine has found is released on all.

    Somebody may push to a branch while one machine after the other asks for it.
    """
    told = (_info(variables, peer).get("applications", {}).get(name, {}) for peer in peers)
    return next((each["wanted"] for each in told if each.get("wanted")), "")


def _lacking(others: list[str], variables: Result, name: str) -> list[Result]:
    """What is known of those of the other machines that have not built the revision before."""
    told = [_info(variables, peer)["applications"][name] for peer in others]
    return [each for each in told if not each["built"]]


def _info(variables: Result, peer: str) -> Result:
    """What app_release_info has found there."""
    return variables.get("hostvars", {}).get(peer, {}).get("__app_info") or {}
