# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Hand a directory or archive of the controller to the module of the same name, as one file."""

from __future__ import annotations

import tempfile
import typing as t
from pathlib import Path

from ansible.plugins.action import ActionBase
from ansible_collections.slipway.stack.plugins.plugin_utils import _tree


class ActionModule(ActionBase):  # type: ignore[misc]
    """Sends what the machine cannot fetch by itself."""

    def run(self, tmp: t.Any = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        try:
            if not self._task.check_mode:
                self._send(arguments)
            result.update(
                self._execute_module(
                    "slipway.stack.app_build", module_args=arguments, task_vars=task_vars
                )
            )
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        return result

    def _send(self, arguments: dict[str, t.Any]) -> None:
        directory, archive = arguments.get("directory"), arguments.get("archive")
        if directory:
            with tempfile.TemporaryDirectory(prefix="slipway-") as folder:
                bundle = Path(folder) / "source.tar.gz"
                _tree.pack(Path(directory), bundle)
                arguments["bundle"] = self._upload(bundle)
        elif archive and "://" not in archive:
            arguments["bundle"] = self._upload(Path(archive))

    def _upload(self, path: Path) -> str:
        if self._connection._shell.tmpdir is None:
            self._make_tmp_path()
        target = self._connection._shell.join_path(self._connection._shell.tmpdir, path.name)
        return str(self._transfer_file(str(path), target))
