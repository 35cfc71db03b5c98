# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Files and directories: what is there, what is wanted, and the atomic way between the two."""

from __future__ import annotations

import base64
import contextlib
import glob
import grp
import hashlib
import os
import pwd
import re
import stat
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError

_MODE = re.compile(r"[0-7]{4}")
_UNFINISHED = ".slipway"
_DIFF_LIMIT = 100_000
ABSENT = "absent"


@dataclass(frozen=True)
class Attributes:
    owner: str
    group: str
    mode: int

    def __str__(self) -> str:
        return f"{self.owner}:{self.group} {self.mode:04o}"


@dataclass(frozen=True)
class Directory:
    path: str
    attributes: Attributes


@dataclass(frozen=True)
class File:
    """A wanted file; no content means that it must not be there."""

    path: str
    content: bytes | None
    attributes: Attributes
    secret: bool = False
    independent: bool = False


@dataclass(frozen=True)
class Found:
    """What lies at a path now; kind is absent, file, directory, link or other."""

    kind: str
    attributes: Attributes | None = None
    content: bytes | None = None
    target: str = ""


@dataclass(frozen=True)
class Change:
    """A wanted file that differs from the one found."""

    wanted: File
    found: Found

    @property
    def path(self) -> str:
        return self.wanted.path

    @property
    def of_content(self) -> bool:
        if self.wanted.content is None:
            return self.found.kind != ABSENT
        return self.found.kind != "file" or self.found.content != self.wanted.content


def directory_options() -> dict[str, Any]:
    return {
        "path": {"type": "path", "required": True},
        "owner": {"type": "str", "default": "root"},
        "group": {"type": "str", "default": "root"},
        "mode": {"type": "str"},
    }


def file_options() -> dict[str, Any]:
    return {
        **directory_options(),
        "template": {"type": "str"},
        "vars": {"type": "dict"},
        "content": {"type": "str"},
        "secret": {"type": "bool", "default": False},
        "encoded_content": {"type": "str", "no_log": True},
        "independent": {"type": "bool", "default": False},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    }


def attributes_from(params: Mapping[str, Any], mode: str) -> Attributes:
    wanted = params["mode"] or mode
    if not _MODE.fullmatch(wanted):
        raise StackError(
            f"mode {wanted} of {params['path']} is not an octal mode;"
            ' write four digits in quotes, like "0640"'
        )
    return Attributes(params["owner"], params["group"], int(wanted, 8))


def _absolute(path: str) -> str:
    if not path.startswith("/") or os.path.normpath(path) != path:
        raise StackError(f"{path} is not an absolute, plain path; write it like /etc/nginx/x.conf")
    return path


def own(mode: int) -> Attributes:
    """Belonging to whoever runs this, which is root on a machine."""
    return Attributes(str(os.geteuid()), str(os.getegid()), mode)


def directory_from_params(params: Mapping[str, Any]) -> Directory:
    return Directory(_absolute(params["path"]), attributes_from(params, "0755"))


def file_from_params(params: Mapping[str, Any]) -> File:
    return File(
        path=_absolute(params["path"]),
        content=None if params["state"] == ABSENT else _content(params),
        attributes=attributes_from(params, "0600" if params["secret"] else "0644"),
        secret=params["secret"],
        independent=params["independent"],
    )


def _content(params: Mapping[str, Any]) -> bytes:
    if params["template"] is not None:
        raise StackError(
            f"the template of {params['path']} reached the machine unrendered;"
            " call slipway.stack.service_config as a task, not as a bare module"
        )
    if params["encoded_content"] is not None:
        return base64.b64decode(params["encoded_content"])
    if params["content"] is None:
        raise StackError(
            f"{params['path']} has neither a template nor a content;"
            " give one of them, or state: absent"
        )
    return str(params["content"]).encode()


def _owner(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def observe(path: str, read: bool = True) -> Found:
    """Look at a path without following a symbolic link in its last part."""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return Found(ABSENT)
    attributes = Attributes(
        _owner(status.st_uid), _group(status.st_gid), stat.S_IMODE(status.st_mode)
    )
    if stat.S_ISLNK(status.st_mode):
        return Found("link", attributes, target=os.readlink(path))
    if stat.S_ISDIR(status.st_mode):
        return Found("directory", attributes)
    if not stat.S_ISREG(status.st_mode):
        return Found("other", attributes)
    return Found("file", attributes, read_bytes(path) if read else None)


def read_bytes(path: str) -> bytes:
    with open(path, "rb") as stream:
        return stream.read()


_KINDS = {"directory": "a directory", "other": "a device, socket or pipe"}


def plan_file(wanted: File) -> Change | None:
    found = observe(wanted.path)
    if found.kind in ("directory", "other"):
        raise StackError(
            f"{wanted.path} is {_KINDS[found.kind]} and not a file; move it away, nothing was"
            " changed"
        )
    if wanted.content is None:
        return None if found.kind == ABSENT else Change(wanted, found)
    if found == Found("file", wanted.attributes, wanted.content):
        return None
    return Change(wanted, found)


def plan_directory(wanted: Directory) -> Found | None:
    """What is there instead of the wanted directory, or nothing when all is well."""
    found = observe(wanted.path, read=False)
    if found.kind == "link" and os.path.isdir(wanted.path):
        return None
    if found.kind not in (ABSENT, "directory"):
        raise StackError(f"{wanted.path} is a {found.kind} and not a directory; move it away")
    return None if found.attributes == wanted.attributes else found


def _chown_ids(path: str, attributes: Attributes) -> tuple[int, int]:
    try:
        name, uid = attributes.owner, _id(attributes.owner)
        uid = pwd.getpwnam(name).pw_uid if uid is None else uid
        name, gid = attributes.group, _id(attributes.group)
        gid = grp.getgrnam(name).gr_gid if gid is None else gid
    except KeyError:
        raise StackError(
            f"{path} belongs to {name}, which does not exist on this machine;"
            " install what brings it, or declare it under users"
        ) from None
    return uid, gid


def _id(name: str) -> int | None:
    return int(name) if name.isdigit() else None


def require_owners(path: str, attributes: Attributes, created: frozenset[str]) -> None:
    """Refuse an owner or group that neither exists nor is created by this call."""
    owner = "root" if attributes.owner in created else attributes.owner
    group = "root" if attributes.group in created else attributes.group
    _chown_ids(path, Attributes(owner, group, attributes.mode))


def apply_directory(wanted: Directory, found: Found) -> None:
    with _sentence("create", wanted.path):
        if found.kind == ABSENT:
            make_parents(wanted.path)
            os.mkdir(wanted.path, 0o700)
        os.chown(wanted.path, *_chown_ids(wanted.path, wanted.attributes))
        os.chmod(wanted.path, wanted.attributes.mode)


def make_parents(path: str) -> None:
    """Create the missing directories above path as root:root 0755."""
    parent = os.path.dirname(path)
    if not os.path.isdir(parent):
        make_parents(parent)
        os.mkdir(parent)
        os.chmod(parent, 0o755)  # noqa: S103


def apply_file(change: Change) -> None:
    wanted = change.wanted
    with _sentence("write", wanted.path):
        if wanted.content is None:
            os.unlink(wanted.path)
        elif change.of_content:
            make_parents(wanted.path)
            write(wanted.path, wanted.content, wanted.attributes)
        else:
            _set_attributes(wanted.path, wanted.attributes)


def _set_attributes(path: str, attributes: Attributes) -> None:
    os.chown(path, *_chown_ids(path, attributes))
    os.chmod(path, attributes.mode)  # after chown, which clears set-id bits


def put_back(change: Change) -> None:
    """Undo apply_file."""
    found = change.found
    with _sentence("put back", change.path):
        if found.content is not None and found.attributes is not None:
            write(change.path, found.content, found.attributes)
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(change.path)
        if found.kind == "link":
            os.symlink(found.target, change.path)


def write(path: str, content: bytes, attributes: Attributes) -> None:
    """Replace path in one step: readers see the old file or the new one, never a part."""
    folder, name = os.path.split(path)
    for unfinished in glob.glob(f"{glob.escape(folder)}/.{glob.escape(name)}.*{_UNFINISHED}"):
        os.unlink(unfinished)  # of a run that was killed
    ids = _chown_ids(path, attributes)
    handle, temporary = tempfile.mkstemp(_UNFINISHED, f".{name}.", folder)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            os.fchown(stream.fileno(), *ids)
            os.fchmod(stream.fileno(), attributes.mode)
            stream.flush()
            os.fsync(stream.fileno())
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    _sync_directory(folder)


def _sync_directory(path: str) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _sentence(verb: str, path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StackError(f"cannot {verb} {path}: {error.strerror or error}") from error


def digest(path: str, overlay: Mapping[str, bytes | None]) -> str:
    """A digest of what is, or with the overlay laid over will be, at and below path."""
    if path in overlay:
        return _sha(overlay[path])
    if os.path.islink(path):
        beyond = read_bytes(path) if os.path.isfile(path) else b""
        return _sha(b"link " + os.readlink(path).encode() + b"\0" + beyond)
    if os.path.isfile(path):
        return _sha(read_bytes(path))
    below = {name: digest(name, overlay) for name in _walk(path)}
    below.update(
        (name, _sha(content)) for name, content in overlay.items() if name.startswith(path + "/")
    )
    lines = [f"{name} {value}" for name, value in sorted(below.items()) if value != ABSENT]
    if not lines and not os.path.isdir(path):
        return ABSENT
    return _sha("\n".join(lines).encode())


def _sha(content: bytes | None) -> str:
    return ABSENT if content is None else hashlib.sha256(content).hexdigest()


def _walk(path: str) -> Iterator[str]:
    for folder, folders, names in os.walk(path):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in names + links:
            if not name.endswith(_UNFINISHED):
                yield os.path.join(folder, name)


def describe(change: Change) -> str:
    """What applying the change does, as the operator reads it."""
    wanted, found = change.wanted, change.found
    if wanted.content is None:
        return f"removed {wanted.path}"
    if found.kind == ABSENT:
        return f"created {wanted.path}"
    if change.of_content:
        return f"wrote {wanted.path}"
    return f"set {wanted.path} to {wanted.attributes} (was {found.attributes})"


def diff(change: Change) -> list[dict[str, str]]:
    """Before and after; of a secret file only that its contents differ."""
    wanted, found, entries = change.wanted, change.found, []
    if change.of_content:
        before = _text(found.content) if found.kind == "file" else _link_text(found)
        after = _text(wanted.content)
        if wanted.secret:
            before, after = _hidden(found.content, "old"), _hidden(wanted.content, "new")
        entries.append(_entry(wanted.path, before, after))
    if wanted.content is not None and found.attributes != wanted.attributes:
        had = ABSENT if found.attributes is None else str(found.attributes)
        header = f"{wanted.path} (owner, group, mode)"
        entries.append(diff_of_state(header, had, str(wanted.attributes)))
    return entries


def _entry(header: str, before: str, after: str) -> dict[str, str]:
    return {"before_header": header, "after_header": header, "before": before, "after": after}


def diff_of_state(header: str, before: str, after: str) -> dict[str, str]:
    return _entry(header, before + "\n", after + "\n")


def _hidden(content: bytes | None, age: str) -> str:
    return "" if content is None else f"contents hidden ({age})\n"


def _link_text(found: Found) -> str:
    return f"symbolic link to {found.target}\n" if found.kind == "link" else ""


def _text(content: bytes | None) -> str:
    if content is None:
        return ""
    if len(content) > _DIFF_LIMIT:
        return f"{len(content)} bytes\n"
    try:
        return content.decode()
    except UnicodeDecodeError:
        return f"{len(content)} bytes that are not text\n"
