# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Everything that follows from a list of applications: users, directories, files and units."""

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible_collections.slipway.stack.plugins.module_utils import _environment, _migrations
from ansible_collections.slipway.stack.plugins.module_utils._errors import StackError
from ansible_collections.slipway.stack.plugins.plugin_utils import _tree

WEB_GROUP = "www-data"
# How requests are answered: the kind of a server, and the option that names what it runs.
KINDS = {"web": "wsgi", "asgi": "asgi", "node": "node"}
SERVERS = {option: kind for kind, option in KINDS.items()}
_CONFIGURATIONS = {"web": "gunicorn.conf.py", "asgi": "asgi.conf.py", "node": "node.cjs"}
_SYSTEMD = "/etc/systemd/system"
_ASGI_GRACE_SECONDS = 10
Item = dict[str, t.Any]


def layout(applications: list[Item]) -> Item:
    """The arguments of the role's modules for all applications at once."""
    described = [_describe(application) for application in applications]
    return {
        key: [item for one in described for item in one[key]]
        for key in ("users", "directories", "files", "units", "questions", "releases")
    } | {
        "packages": sorted({name for one in described for name in one["packages"]}),
        "own": {name: each for one in described for name, each in one["own"].items()},
    }


def _describe(application: Item) -> Item:
    _check(application)
    name = application["name"]
    everywhere = [_service(application, kind) for kind in KINDS if _module(application, kind)]
    services = everywhere if application["serves"] else []
    standins = [_standin(service) for service in services[:1]]
    return {
        "packages": _packages(application),
        "users": [{"name": name, "home": _home(name), "groups": []}],
        "directories": _directories(application),
        "files": [
            *_configuration(application),
            *(file for service in services for file in _unit_files(service)),
            *(file for service in standins for file in _service_files(service)),
        ],
        "units": _units_of_all(services),
        "questions": [{**_question(application), "servers": _servers(services)}],
        "releases": [_release(application, everywhere)],
        "own": {name: _own(application, services)},
    }


def _servers(services: list[Item]) -> list[str]:
    return [f"{service['unit']}.service" for service in services]


def _check(application: Item) -> None:
    name, source = application["name"], application["source"]
    given = [kind for kind in ("repository", "archive", "directory") if source[kind]]
    if len(given) != 1:
        raise StackError(
            f"{name} needs exactly one source, and has {' and '.join(given) or 'none'}: give one of"
            " source.repository, source.archive or source.directory."
        )
    for kind in ("archive", "directory"):
        if source[kind] and "://" not in source[kind] and not source[kind].startswith("/"):
            raise StackError(
                f"source.{kind} of {name} is {source[kind]!r}: write the whole path, from /."
            )
    if "://" in source["archive"] and not source["sha256"]:
        raise StackError(f"{name} downloads {source['archive']}: add its source.sha256.")
    _check_runtime(application)


def _check_runtime(application: Item) -> None:
    name, served = application["name"], application["static"]
    kinds = [option for kind, option in KINDS.items() if _module(application, kind)]
    if not kinds and not served:
        raise StackError(
            f"{name} names none of web.wsgi, web.asgi, web.node and static: say what serves it, for"
            f" example web: {{wsgi: '{name}.wsgi:application'}}."
        )
    if (served and kinds) or ("node" in kinds and len(kinds) > 1):
        given = [f"web.{kind}" for kind in kinds] + (["static"] if served else [])
        raise StackError(
            f"{name} has {' and '.join(given)}: make an application of its own of each, because"
            " Python, Node and files are built and served differently."
        )
    if application["build"] and _runtime(application) == "python":
        raise StackError(f"{name} is built by uv: leave build to web.node and static.")


def _runtime(application: Item) -> str:
    """What a release is made of, which decides how it is built."""
    if application["static"]:
        return "static"
    return "node" if application["web"]["node"] else "python"


def _packages(application: Item) -> list[str]:
    runtime = _runtime(application)
    node = ["nodejs"] if runtime == "node" or application["build"] else []
    return [*node, *(["npm"] if application["build"] else [])]


def _home(name: str) -> str:
    return f"/srv/{name}"


def _settings(name: str) -> str:
    return f"/etc/slipway/{name}"


def _module(application: Item, kind: str) -> str:
    return str(application["web"][KINDS[kind]])


def _directories(application: Item) -> list[Item]:
    name = application["name"]
    home = _home(name)
    # nginx passes through to what it serves; it can list nothing.
    passage = "0751" if application["static"] else "0750"
    own = {"owner": name, "group": name}
    # New files inherit the group, so that nginx may read them and other applications may not.
    shared = {"owner": name, "group": WEB_GROUP, "mode": "2750"}
    return [
        {"path": home, "owner": "root", "group": "root", "mode": "0751"},
        {"path": f"{home}/releases", "owner": "root", "group": name, "mode": passage},
        {"path": f"{home}/cache", **own, "mode": "0700"},
        {"path": f"{home}/static", **shared},
        {"path": f"{home}/media", **shared},
        {"path": _settings(name), "owner": "root", "group": name, "mode": "0750"},
    ]


def _configuration(application: Item) -> list[Item]:
    name, key = application["name"], application["source"]["deploy_key"]
    own = {"owner": "root", "group": name, "mode": "0640"}
    text = _environment.render(application["environment"])
    files = [{"path": f"{_settings(name)}/environment", "content": text, "secret": True, **own}]
    trusted = {"path": f"{_settings(name)}/authorities.pem"}
    if application["authorities"]:
        files.append({**trusted, "content": application["authorities"], **own})
    else:
        files.append({**trusted, "state": "absent"})
    path = _key_path(name)
    if key:
        private = {"owner": name, "group": name, "mode": "0400", "secret": True}
        files.append({"path": path, "content": key.rstrip("\n") + "\n", **private})
    else:
        files.append({"path": path, "state": "absent"})
    return files


def _key_path(name: str) -> str:
    return f"{_settings(name)}/deploy_key"


def _service(application: Item, kind: str) -> Item:
    """What the templates of one service need; nothing secret is in it."""
    name, web = application["name"], application["web"]
    listen = web["asgi_listen" if kind == "asgi" else "listen"].replace("unix:", "", 1)
    listen = listen or f"/run/slipway/{name}/{kind}.sock"
    grace = web["graceful_timeout_seconds"]
    return {
        "application": name,
        "kind": kind,
        "unit": f"{name}-{kind}",
        "socket": f"{name}-{kind}.socket",
        "release": f"{_home(name)}/current",
        "stands_in": False,
        "module": _module(application, kind),
        "listen": listen,
        # Whoever may open the Unix socket is nginx; behind TCP anybody could be.
        "trusted": "*" if listen.startswith("/") else ",".join(web["trusted_proxies"]),
        "workers": web["workers"],
        "threads": web["threads"],
        "timeout": web["timeout_seconds"],
        "grace": min(grace, _ASGI_GRACE_SECONDS) if kind == "asgi" else grace,
        "memory": web["memory_limit_megabytes"],
        "home": _home(name),
        "settings": _settings(name),
        "configuration": f"{_settings(name)}/{_CONFIGURATIONS[kind]}",
        # V8 compiles what it runs while it runs it.
        "exceptions": {"MemoryDenyWriteExecute": False} if kind == "node" else {},
    }


def _standin(service: Item) -> Item:
    """Who accepts on the same socket while the server itself restarts."""
    return {
        **service,
        "unit": f"{service['unit']}-standin",
        "release": f"{service['home']}/standin",
        "stands_in": True,
    }


def _unit_files(service: Item) -> list[Item]:
    unit = f"{_SYSTEMD}/{service['unit']}"
    root = _root(service)
    owned = {**root, "group": service["application"], "mode": "0640"}
    template = "node.cjs.j2" if service["kind"] == "node" else "gunicorn.conf.py.j2"
    return [
        {"path": service["configuration"], "template": template, **owned},
        {"path": f"{unit}.socket", "template": "web.socket.j2", **root},
        *_service_files(service),
    ]


def _root(service: Item) -> Item:
    return {"owner": "root", "group": "root", "mode": "0644", "vars": {"service": service}}


def _service_files(service: Item) -> list[Item]:
    unit, root = f"{_SYSTEMD}/{service['unit']}", _root(service)
    return [
        {"path": f"{unit}.service", "template": "web.service.j2", **root},
        {"path": f"{unit}.service.d/50-hardening.conf", "template": "hardening.conf.j2", **root},
    ]


def owned(name: str) -> list[str]:
    """Servers of a machine that has none any more."""
    return [f"{name}-{kind}.{suffix}" for kind in KINDS for suffix in ("socket", "service")]


def _units_of_all(services: list[Item]) -> list[Item]:
    return [unit for service in services for unit in _units(service)]


def _units(service: Item) -> list[Item]:
    unit, current = f"{_SYSTEMD}/{service['unit']}", f"{service['home']}/current"
    watched = [
        f"{unit}.service",
        f"{unit}.service.d",
        service["configuration"],
        f"{service['settings']}/environment",
        current,
    ]
    return [
        {
            "name": f"{service['unit']}.socket",
            "restart_on": [f"{unit}.socket"],
            "requires_path": current,
        },
        {"name": f"{service['unit']}.service", "restart_on": watched, "requires_path": current},
    ]


def _question(application: Item) -> Item:
    """What decides whether a release is needed; nothing secret is in it either."""
    name, source = application["name"], application["source"]
    return {
        "name": name,
        "home": _home(name),
        "repository": source["repository"],
        "version": source["version"],
        "fixed": source["fixed"],
        "revision": _revision(source),
        "deploy_key": _key_path(name) if source["deploy_key"] else "",
        "python": interpreter(application["python"]),
    }


def _release(application: Item, services: list[Item]) -> Item:
    """What builds and publishes it, the same on every machine, or they would not take turns."""
    source = application["source"]
    return {
        **_question(application),
        "archive": source["archive"],
        "directory": source["directory"],
        "subdirectory": source["subdirectory"],
        "runtime": _runtime(application),
        "machines": application["machines"],
        "build": application["build"],
        "served": (application["static"] or {}).get("directory", ""),
        "migration": _migration(application),
        "commands": _commands(application),
        "watched": _watched(application, services),
    }


def _own(application: Item, services: list[Item]) -> Item:
    """What differs from machine to machine: which servers listen where, and who follows them."""
    return {
        "units": _units_of_all(services),
        "workers": application["workers"],
        "beat": application["beat"],
        "endpoints": [_endpoint(application, service, services) for service in services],
    }


def _watched(application: Item, services: list[Item]) -> Item:
    """Whose answers visitors get, and where the application says how it is, on all machines."""
    if not services:
        return {"servers": [], "endpoints": []}
    own = [{"name": one["kind"], "servers": [_as_upstream(one["listen"])]} for one in services]
    upstreams = application["upstreams"] or own
    where = {"path": application["web"]["health_path"], "host": application["web"]["host_name"]}
    return {
        "servers": [server for upstream in upstreams for server in upstream["servers"]],
        "endpoints": [
            {"address": server.removeprefix("unix:"), **where}
            for upstream in upstreams
            if upstream["name"] == services[0]["kind"]
            for server in upstream["servers"]
        ],
    }


def _as_upstream(listen: str) -> str:
    return f"unix:{listen}" if listen.startswith("/") else listen


def _revision(source: Item) -> str:
    """Known on the controller for everything but git."""
    if source["repository"]:
        return ""
    if source["sha256"]:
        return str(source["sha256"]).lower()
    path = Path(source["archive"] or source["directory"])
    if not path.exists():
        raise StackError(f"{path} does not exist on the controller: correct the source.")
    return _tree.digest(path) if source["directory"] else _tree.digest_file(path)


def interpreter(python: str) -> str:
    """The path of an interpreter that an operator wrote as a path or as a version."""
    return python if python.startswith("/") else f"/usr/bin/python{python}"


def _migration(application: Item) -> Item:
    """What runs once for all machines before a release is published."""
    framework = application["framework"] if _runtime(application) == "python" else "none"
    command = application["migrate"]["command"] or _migrations.OWN.get(framework, "")
    return {"framework": framework, "command": command}


def _commands(application: Item) -> list[Item]:
    """What runs on every machine before a release is published."""
    django = application["framework"] == "django" and _runtime(application) == "python"
    # Where its files go: below a directory of ours, or into its bucket.
    places = {"STATIC_ROOT", "AWS_STORAGE_BUCKET_NAME"}
    if not django or not places & set(application["environment"]):
        return []
    collect = "python manage.py collectstatic --noinput --verbosity 0"
    return [{"name": "collectstatic", "command": collect}]


def _endpoint(application: Item, service: Item, services: list[Item]) -> Item:
    return {
        "service": f"{service['unit']}.service",
        "kind": service["kind"],
        "module": service["module"],
        "configuration": service["configuration"],
        "address": service["listen"],
        "path": application["web"]["health_path"],
        "host": application["web"]["host_name"],
        # An ASGI application beside a WSGI one may answer WebSockets alone: any answer proves it.
        "strict": service is services[0],
        # Visitors with WebSockets alone would be sent away twice.
        "standin": f"{service['unit']}-standin.service" if service is services[0] else "",
    }
