# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What follows from a list of applications, and which lists are refused."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.slipway.stack.plugins.filter.app_layout import app_layout
from ansible_collections.slipway.stack.plugins.filter.celery_layout import celery_layout

CANARY = "canary-5150"


def shop(**changes: t.Any) -> dict[str, t.Any]:
    return {
        "name": "shop",
        "source": {"repository": "https://git.example.com/shop.git", "deploy_key": CANARY},
        "web": {"wsgi": "shop.wsgi:application"},
        "migrate": {"environment": {"DATABASE_URL": CANARY}},
        "environment": {"SECRET_KEY": CANARY},
        **changes,
    }


def paths(layout: dict[str, t.Any]) -> dict[str, t.Any]:
    return {file["path"]: file for file in layout["files"]}


def test_defaults_are_filled_in_below_what_is_given() -> None:
    service = paths(app_layout([shop()]))["/etc/systemd/system/shop-web.service"]["vars"]["service"]
    assert (service["workers"], service["threads"], service["timeout"]) == (4, 2, 60)
    assert service["listen"] == "/run/slipway/shop/web.sock"


def test_what_is_given_as_nothing_has_its_default() -> None:
    source = {"repository": "https://x/y.git", "archive": None, "directory": None, "sha256": None}
    layout = app_layout([shop(source=source, web={"wsgi": "a:b", "asgi": None, "listen": None})])
    assert layout["releases"][0]["archive"] == ""
    assert [unit["name"] for unit in layout["units"]] == ["shop-web.socket", "shop-web.service"]


def test_secrets_are_in_secret_files_alone() -> None:
    layout = app_layout([shop()])
    secret = [file["path"] for file in layout["files"] if CANARY in json.dumps(file)]
    assert secret == ["/etc/slipway/shop/environment", "/etc/slipway/shop/deploy_key"]
    assert all(file.get("secret") for file in layout["files"] if file["path"] in secret)
    assert CANARY not in json.dumps({key: layout[key] for key in layout if key != "files"})


def test_authorities_of_a_provider_are_there_as_long_as_they_are_given() -> None:
    path = "/etc/slipway/shop/authorities.pem"
    assert paths(app_layout([shop(authorities="PEM")]))[path]["content"] == "PEM"
    assert paths(app_layout([shop()]))[path] == {"path": path, "state": "absent"}


def test_servers_follow_from_the_objects_that_are_named() -> None:
    both = app_layout([shop(web={"wsgi": "a:b", "asgi": "c:d"})])
    names = [unit["name"] for unit in both["units"]]
    assert names == ["shop-web.socket", "shop-web.service", "shop-asgi.socket", "shop-asgi.service"]
    assert both["questions"][0]["servers"] == ["shop-web.service", "shop-asgi.service"]
    strict = [endpoint["strict"] for endpoint in both["own"]["shop"]["endpoints"]]
    assert strict == [True, False]
    alone = app_layout([shop(web={"asgi": "c:d"})])["own"]["shop"]["endpoints"]
    assert [endpoint["strict"] for endpoint in alone] == [True]


def test_what_visitors_get_is_watched_on_all_machines_that_are_named() -> None:
    web = {"wsgi": "a:b", "asgi": "c:d", "health_path": "/up", "host_name": "shop.test"}
    (own,) = app_layout([shop(web=web)])["releases"]
    asked = {"path": "/up", "host": "shop.test"}
    folder = "/run/slipway/shop"
    assert own["watched"] == {
        "servers": [f"unix:{folder}/web.sock", f"unix:{folder}/asgi.sock"],
        "endpoints": [{"address": f"{folder}/web.sock", **asked}],
    }
    upstreams = [
        {"name": "web", "servers": ["10.0.0.1:8000", "10.0.0.2:8000"]},
        {"name": "asgi", "servers": ["10.0.0.1:8001"]},
    ]
    (every,) = app_layout([shop(web=web, upstreams=upstreams)])["releases"]
    assert every["watched"] == {
        "servers": ["10.0.0.1:8000", "10.0.0.2:8000", "10.0.0.1:8001"],
        "endpoints": [{"address": f"10.0.0.{n}:8000", **asked} for n in (1, 2)],
    }
    (listens,) = app_layout([shop(web={**web, "listen": "10.0.0.9:8000"})])["releases"]
    assert listens["watched"]["servers"][0] == "10.0.0.9:8000"


@pytest.mark.parametrize(
    ("listen", "trusted"),
    [("", "*"), ("unix:/run/x.sock", "*"), ("10.0.0.1:8000", "127.0.0.1")],
)
def test_forwarded_headers_are_believed_where_only_nginx_can_send_them(
    listen: str, trusted: str
) -> None:
    layout = app_layout([shop(web={"wsgi": "a:b", "listen": listen})])
    service = paths(layout)["/etc/slipway/shop/gunicorn.conf.py"]["vars"]["service"]
    assert service["trusted"] == trusted
    assert not service["listen"].startswith("unix:")


def test_django_collects_where_it_knows_where_to() -> None:
    assert app_layout([shop()])["releases"][0]["commands"] == []
    for there in ("STATIC_ROOT", "AWS_STORAGE_BUCKET_NAME"):
        collecting = shop(environment={there: "shop-static"})
        (command,) = app_layout([collecting])["releases"][0]["commands"]
        assert command["name"] == "collectstatic"


@pytest.mark.parametrize(
    ("framework", "given", "command"),
    [
        ("django", "", "python manage.py migrate --noinput"),
        ("fastapi", "", "alembic upgrade head"),
        ("none", "", ""),
        ("none", "make it", "make it"),
        ("django", "make it", "make it"),
    ],
)
def test_migrations_follow_from_the_framework(framework: str, given: str, command: str) -> None:
    release = app_layout([shop(framework=framework, migrate={"command": given})])["releases"][0]
    assert release["migration"] == {"framework": framework, "command": command}


def frontend(**changes: t.Any) -> dict[str, t.Any]:
    return {key: value for key, value in shop(**changes).items() if key != "migrate"}


def test_a_node_server_has_units_and_a_stand_in_of_its_own() -> None:
    layout = app_layout([frontend(web={"node": "server.js", "listen": "10.0.0.1:8000"})])
    assert [unit["name"] for unit in layout["units"]] == ["shop-node.socket", "shop-node.service"]
    service = paths(layout)["/etc/systemd/system/shop-node.service"]["vars"]["service"]
    assert (service["listen"], service["module"]) == ("10.0.0.1:8000", "server.js")
    assert service["exceptions"] == {"MemoryDenyWriteExecute": False}
    (release,) = layout["releases"]
    assert release["migration"] == {"framework": "none", "command": ""}
    assert (release["runtime"], release["commands"]) == ("node", [])
    assert layout["own"]["shop"]["endpoints"][0]["standin"] == "shop-node-standin.service"
    assert layout["packages"] == ["nodejs"]


def test_files_have_no_units_and_a_way_for_nginx() -> None:
    layout = app_layout([frontend(web={}, static={"directory": "out"}, build="npm run build")])
    assert layout["units"] == []
    (release,) = layout["releases"]
    assert (release["runtime"], release["served"]) == ("static", "out")
    assert layout["own"]["shop"]["endpoints"] == []
    assert release["watched"] == {"servers": [], "endpoints": []}
    modes = {each["path"]: each["mode"] for each in layout["directories"]}
    assert modes["/srv/shop/releases"] == "0751"
    assert layout["packages"] == ["nodejs", "npm"]


WRONG = [
    ({"source": {}}, "needs exactly one source, and has none"),
    ({"source": {"repository": "x", "directory": "/y"}}, "has repository and directory"),
    ({"source": {"directory": "shop"}}, "write the whole path"),
    ({"source": {"directory": "/does/not/exist"}}, "does not exist on the controller"),
    ({"source": {"archive": "https://x/y.tar.gz"}}, "add its source.sha256"),
    ({"web": {}}, "names none of web.wsgi, web.asgi, web.node and static"),
    ({"web": {"node": "a.js", "asgi": "c:d"}}, "web.asgi and web.node: make an application of its"),
    ({"static": {}}, "has web.wsgi and static: make an application of its own of each"),
    ({"build": "npm run build"}, "is built by uv: leave build to web.node and static"),
    ({"environment": {"A": "b\nc"}}, "variable A contains a line break"),
    ({"framwork": "django"}, "framwork"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_a_wrong_application_is_refused(changes: dict[str, t.Any], message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message):
        app_layout([shop(**changes)])


def test_a_directory_is_its_own_revision(tmp_path: Path) -> None:
    def revision() -> str:
        return str(
            app_layout([shop(source={"directory": str(tmp_path)})])["releases"][0]["revision"]
        )

    (tmp_path / "a.py").write_text("1")
    first = revision()
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.pyc").write_text("x")
    assert revision() == first
    (tmp_path / "a.py").write_text("2")
    assert revision() != first


def test_beat_is_there_and_off_where_it_must_not_run() -> None:
    given = [{"name": "shop", "application": "shop", "beat": {"enabled": True}}]
    for runs, state in ((True, "started"), (False, "stopped")):
        (beat,) = [
            u for u in celery_layout(given, runs)["units"] if u["name"] == "shop-beat.service"
        ]
        assert (beat["enabled"], beat["state"]) == (runs, state)


def test_workers_carry_their_names_and_limits() -> None:
    given = [
        {
            "name": "shop",
            "application": "shop.celery",
            "workers": [{"name": "mail", "queues": ["a", "b"]}],
        }
    ]
    layout = celery_layout(given)
    command = layout["files"][0]["vars"]["unit"]["command"]
    assert (
        "--hostname shop-mail@%H --queues a,b --concurrency 4 --max-tasks-per-child 1000" in command
    )
    assert [unit["name"] for unit in layout["units"]] == ["shop-worker-mail.service"]


def test_an_application_without_workers_owns_those_of_yesterday() -> None:
    layout = celery_layout([{"name": "shop", "workers": []}])
    assert layout["owned"] == ["shop-worker-*.service", "shop-beat.service"]
    assert layout["units"] == layout["directories"] == layout["files"] == []


def test_workers_need_an_application() -> None:
    with pytest.raises(AnsibleFilterError, match="shop has workers but no application; write"):
        celery_layout([{"name": "shop"}])


@pytest.mark.parametrize("kind", ["archive", "directory"])
def test_a_source_of_the_controller_is_known_by_its_digest(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "source"
    with pytest.raises(AnsibleFilterError, match="does not exist on the controller: correct the"):
        app_layout([shop(source={kind: str(place)})])
    if kind == "directory":
        place.mkdir()
    (place / "app.py" if kind == "directory" else place).write_text("x = 1\n")
    (question,) = app_layout([shop(source={kind: str(place)})])["questions"]
    assert len(question["revision"]) == 64


def test_a_version_that_was_approved_has_to_be_fixed() -> None:
    source = {"repository": "https://x/y.git"}
    for given, fixed in (({}, False), ({"fixed": True}, True)):
        (question,) = app_layout([shop(source={**source, **given})])["questions"]
        assert question["fixed"] is fixed


def test_an_archive_with_a_digest_need_not_be_looked_at() -> None:
    source = {"archive": "https://example.com/shop.tar.gz", "sha256": "AB" * 32}
    (question,) = app_layout([shop(source=source)])["questions"]
    assert question["revision"] == "ab" * 32
