"""What the controller renders and sends."""

from __future__ import annotations

import base64
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.slipway.stack.plugins.action import service_config


@pytest.fixture
def role(tmp_path: Path) -> Path:
    (tmp_path / "templates").mkdir()
    return tmp_path


def prepare(
    role: Path, files: object, variables: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    loader = DataLoader()
    task = SimpleNamespace(
        args={"files": files},
        get_search_path=lambda: [str(role)],
        async_val=0,
        check_mode=False,
        diff=False,
    )
    connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir=None))
    action = service_config.ActionModule(
        task, connection, SimpleNamespace(), loader, Templar(loader=loader), None
    )
    sent: dict[str, Any] = {}
    action._execute_module = lambda module_name, module_args, task_vars: sent.update(module_args)
    with pytest.raises(TypeError):  # the imitated execution has no result
        action.run(task_vars={"ansible_search_path": [str(role)], **(variables or {})})
    return list(sent["files"])


def render(role: Path, text: str, **given: Any) -> str:
    (role / "templates/x.j2").write_text(text)
    [sent] = prepare(role, [{"path": "/etc/x", "template": "x.j2", **given}], {"port": 1})
    return base64.b64decode(sent["encoded_content"]).decode()


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("port {{ port }}\n", "port 1\n"),
        ("# {{ ansible_managed }}\n", "# Ansible managed\n"),
        ("a\n    {% if true %}\n    b\n    {% endif %}\nc\n", "a\n    b\nc\n"),
        ("no newline at the end", "no newline at the end"),
        ("two\n\n", "two\n\n"),
        ("", ""),
        ("{{ port }}", "1"),
        ("back\\slash {{ '\\\\n' }}\n", "back\\slash \\n\n"),
        ("{{ template_destpath }}", "/etc/x"),
    ],
)
def test_templates_are_rendered_as_ansible_does(role: Path, text: str, rendered: str) -> None:
    assert render(role, text) == rendered


def test_the_file_has_variables_of_its_own(role: Path) -> None:
    assert render(role, "{{ port }} {{ name }}", vars={"port": 2, "name": "b"}) == "2 b"
    assert render(role, "{{ port }}") == "1"


def test_ansible_managed_of_the_inventory_is_kept(role: Path) -> None:
    (role / "templates/x.j2").write_text("# {{ ansible_managed }}")
    [sent] = prepare(role, [{"path": "/etc/x", "template": "x.j2"}], {"ansible_managed": "ours"})
    assert base64.b64decode(sent["encoded_content"]) == b"# ours"


def test_a_template_may_include_another(role: Path) -> None:
    (role / "templates/part.j2").write_text("part {{ port }}\n")
    assert render(role, "{% include 'part.j2' %}\n") == "part 1\n"


def test_contents_travel_only_in_the_hidden_option(role: Path) -> None:
    (role / "templates/x.j2").write_text("password {{ word }}\n")
    files = [
        {"path": "/a", "template": "x.j2", "vars": {"word": "hunter22"}, "secret": True},
        {"path": "/b", "content": "hunter22", "secret": "yes"},
        {"path": "/c", "state": "absent", "secret": True},
    ]
    sent = prepare(role, files)
    assert "hunter22" not in str(sent)
    assert base64.b64decode(sent[0]["encoded_content"]) == b"password hunter22\n"
    assert base64.b64decode(sent[1]["encoded_content"]) == b"hunter22"
    assert "encoded_content" not in sent[2]
    assert not any("vars" in each or "template" in each for each in sent)


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ([{"path": "/a", "template": "none.j2"}], "none.j2"),
        ([{"path": "/a", "template": "x.j2", "content": "x"}], "/a has both a template and"),
        (["/a"], "files must be a list of dictionaries"),
        ([{"path": "/a", "template": "x.j2"}], "'missing' is undefined"),
    ],
)
def test_mistakes_are_refused_with_a_sentence(role: Path, files: object, sentence: str) -> None:
    (role / "templates/x.j2").write_text("{{ missing }}")
    with pytest.raises(AnsibleError, match=sentence):
        prepare(role, files)


def test_a_template_of_nothing_is_an_empty_file(role: Path) -> None:
    assert render(role, "{{ none }}", vars={"none": None}) == ""


def test_a_file_that_goes_need_not_be_rendered(role: Path) -> None:
    (role / "templates/x.j2").write_text("{{ nowhere.defined }}")
    given = {"path": "/a", "template": "x.j2", "state": "absent"}
    assert prepare(role, [given]) == [{"path": "/a", "state": "absent"}]
