"""One cluster of one major version, with checksums, or a refusal before anything changes."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.slipway.stack.plugins.module_utils import _clusters, _errors
from ansible_collections.slipway.stack.plugins.modules import postgres_cluster


class Fake:
    def __init__(self, checksums: int = 1) -> None:
        self.checksums = checksums
        self.commands: list[list[str]] = []

    def __call__(self, command: list[str], **_: t.Any) -> tuple[int, str, str]:
        self.commands.append(command)
        return 0, f"Data page checksum version:           {self.checksums}\n", ""


def add_cluster(root: Path, major: int, name: str = "main") -> None:
    configuration = root / f"etc/postgresql/{major}/{name}/postgresql.conf"
    configuration.parent.mkdir(parents=True)
    configuration.write_text(f"data_directory = '/srv/{major}/{name}'  # elsewhere\n")


def add_programs(root: Path, major: int) -> None:
    programs = root / f"usr/lib/postgresql/{major}/bin"
    programs.mkdir(parents=True)
    (programs / "initdb").touch()


def bring_about(root: Path, run: Fake, *, predicting: bool = False) -> list[str]:
    cluster = _clusters.Cluster(17, "main", root)
    missing: list[str] = postgres_cluster.bring_about(cluster, 5432, run, predicting=predicting)
    return missing


def test_before_the_package_only_the_package_is_held_back(tmp_path: Path) -> None:
    run = Fake()
    assert bring_about(tmp_path, run) == [f"/{_clusters.SWITCH}"]
    assert "create_main_cluster = false" in (tmp_path / _clusters.SWITCH).read_text()
    assert run.commands == []
    assert bring_about(tmp_path, run) == []


def test_with_the_package_the_cluster_is_created_with_checksums(tmp_path: Path) -> None:
    add_programs(tmp_path, 17)
    run = Fake()
    assert "cluster 17/main with data checksums" in bring_about(tmp_path, run)
    assert run.commands[0][-4:] == ["17", "main", "--", "--data-checksums"]


def test_predicting_changes_nothing(tmp_path: Path) -> None:
    run = Fake()
    assert len(bring_about(tmp_path, run, predicting=True)) == 2
    assert list(tmp_path.iterdir()) == [] and run.commands == []


def test_a_cluster_with_checksums_is_left_alone(tmp_path: Path) -> None:
    add_cluster(tmp_path, 17)
    run = Fake()
    assert bring_about(tmp_path, run) == []
    assert [command[-1] for command in run.commands] == ["/srv/17/main"]


def test_a_cluster_without_checksums_is_refused_with_the_remedy(tmp_path: Path) -> None:
    add_cluster(tmp_path, 17)
    with pytest.raises(_errors.StackError, match="pg_checksums --enable -D /srv/17/main"):
        bring_about(tmp_path, Fake(checksums=0))


@pytest.mark.parametrize("predicting", [False, True])
def test_another_major_is_refused_before_anything_changes(tmp_path: Path, predicting: bool) -> None:
    add_cluster(tmp_path, 15)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(_errors.StackError, match=r"cluster 15/main.*postgres_version: 15"):
        bring_about(tmp_path, Fake(), predicting=predicting)
    assert sorted(tmp_path.rglob("*")) == before


def test_data_without_configuration_is_a_cluster_too(tmp_path: Path) -> None:
    data = tmp_path / "var/lib/postgresql/15/main"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("15\n")
    with pytest.raises(_errors.StackError, match="cluster 15/main"):
        bring_about(tmp_path, Fake())


def test_a_second_cluster_of_the_same_major_is_no_obstacle(tmp_path: Path) -> None:
    add_cluster(tmp_path, 17)
    add_cluster(tmp_path, 17, "reporting")
    assert bring_about(tmp_path, Fake()) == []


def test_a_failed_creation_is_a_sentence(tmp_path: Path) -> None:
    add_programs(tmp_path, 17)

    def run(*_: t.Any, **__: t.Any) -> tuple[int, str, str]:
        return 1, "", "Error:\n  port taken\n"

    with pytest.raises(_errors.StackError, match="could not create 17/main: Error: port taken"):
        postgres_cluster.bring_about(
            _clusters.Cluster(17, "main", tmp_path), 5432, run, predicting=False
        )


def test_a_cluster_that_does_not_say_where_its_data_lies_has_debians_place(tmp_path: Path) -> None:
    add_cluster(tmp_path, 17)
    made = _clusters.Cluster(17, "main", tmp_path)
    assert made.data_directory() == "/srv/17/main"
    made.configuration.write_text("# nothing\n")
    assert made.data_directory() == "/var/lib/postgresql/17/main"
