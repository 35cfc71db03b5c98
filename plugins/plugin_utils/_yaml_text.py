# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""YAML as people write it: what is added stands where they would have put it, the rest stays."""

from __future__ import annotations

import re
import textwrap
import typing as t

import yaml
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError

Tree = dict[str, t.Any]
_BLOCKS = (yaml.SequenceNode, yaml.MappingNode)


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


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Reads what Ansible's tags mark as it is written."""


_Loader.add_multi_constructor("!", lambda _loader, tag, node: (tag, node.value))


def write(value: t.Any) -> str:
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)
    return text


def read(text: str) -> Tree:
    """The dictionary that a file of variables is; its values are in no complaint."""
    try:
        found = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise StackError(f"is no YAML{line}") from error
    if not isinstance(found or {}, dict):
        raise StackError("holds no variables")
    return found or {}


def add(text: str, key: str, entry: list[t.Any] | Tree) -> str:
    """The text with an entry more in the list or dictionary of that key."""
    before = read(text)
    node = _of(yaml.compose(text, Loader=_Loader), key)
    if node is None:
        head = f"{text.rstrip()}\n\n" if text.strip() else "---\n"
        added = head + write({key: entry})
    elif isinstance(node, _BLOCKS) and node.value and not node.flow_style:
        place = text.find("\n", len(text[: _end(node)].rstrip()))
        head, tail = (text, "") if place < 0 else (text[:place], text[place + 1 :])
        added = f"{head}\n{textwrap.indent(write(entry), ' ' * node.start_mark.column)}{tail}"
    else:
        raise StackError(f"has {key} on one line; write it over several")
    # Whoever wrote it in another way than is understood here is not to lose anything.
    if read(added) != {**before, key: _joined(before.get(key), entry)}:
        raise StackError(f"has {key} written in a way that nothing can be added to")
    return added


def _of(root: yaml.Node | None, key: str) -> yaml.Node | None:
    pairs = root.value if isinstance(root, yaml.MappingNode) else []
    return next((value for name, value in pairs if name.value == key), None)


def _end(node: yaml.Node) -> int:
    """Where its last word ends, before comments that belong to what follows."""
    if isinstance(node, _BLOCKS) and node.value and not node.flow_style:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _joined(before: t.Any, entry: list[t.Any] | Tree) -> t.Any:
    parsed = read(write({"entry": entry}))["entry"]
    if before is None:
        return parsed
    return [*before, *parsed] if isinstance(parsed, list) else {**before, **parsed}
