"""What of a project's files goes to a build of its image, and that nothing else of the host does."""

import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from runyard_sandbox.builds import Build, BuildFailed
from runyard_sandbox.docker.context import Ignore, pack, read_below

MIB = 1024**2


def _project(folder: Path, **files: str) -> Path:
    for name, text in {"Dockerfile": "FROM scratch\n", **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def _order(folder: Path, **how: Any) -> Build:
    return Build(folder=folder, tenant_id="t", owner_id="o", epoch=1, most_context_bytes=MIB, **how)


def _packed(folder: Path, **how: Any) -> dict[str, tarfile.TarInfo]:
    packed, _ = pack(_order(folder, **how))
    with packed, tarfile.open(fileobj=packed) as tar:
        return {entry.name: entry for entry in tar}


def test_what_dockerignore_names_stays_here_but_not_the_dockerfile_itself(tmp_path: Path) -> None:
    files = {".dockerignore": "*\n!src\nsrc/**/*.log\n", "src/a/b.py": "1", "src/a/b.log": "1", "other": "1"}
    found = _packed(_project(tmp_path, **files))
    assert {"Dockerfile", ".dockerignore", "src/a/b.py"} <= found.keys()
    assert not {"src/a/b.log", "other"} & found.keys()


def test_the_repository_never_goes_along(tmp_path: Path) -> None:
    assert ".git" not in _packed(_project(tmp_path, **{".git": "gitdir: /somewhere/on/this/host"}))


def test_links_are_packed_as_links(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("hidden")
    project = _project(tmp_path / "project")
    (project / "file").symlink_to(outside / "secret")
    (project / "folder").symlink_to(outside)
    found = _packed(project)
    assert found["file"].issym()
    assert found["folder"].issym()
    assert not [name for name in found if name.startswith("folder/")]


def test_a_file_that_becomes_a_link_while_it_is_read_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("hidden")
    project = _project(tmp_path / "project", victim="plain")
    looked = os.stat

    def swaps(path: str, **how: object) -> os.stat_result:
        about = looked(path, **how)  # type: ignore[arg-type]
        if path == "victim":
            (project / "victim").unlink()
            (project / "victim").symlink_to(tmp_path / "secret")
        return about

    monkeypatch.setattr(os, "stat", swaps)
    with pytest.raises(BuildFailed, match="cannot be read"):
        pack(_order(project))


def test_files_and_dockerfile_may_be_of_folders_below(tmp_path: Path) -> None:
    files = {"api/docker/web": "FROM scratch\n", "api/.dockerignore": "docker\n", "api/docker/x": "1", "other": "1"}
    project = _project(tmp_path, **files)
    found = _packed(project, within="api", dockerfile="docker/web")
    assert {"docker/web", ".dockerignore"} <= found.keys()
    assert not {"docker/x", "other"} & found.keys()


def test_an_image_of_no_files_gets_none(tmp_path: Path) -> None:
    packed, dockerfile = pack(_order(_project(tmp_path), within=None, steps="FROM scratch\n"))
    with packed, tarfile.open(fileobj=packed) as tar:
        assert tar.getnames() == [dockerfile]


def test_no_file_stands_in_for_steps_that_are_given(tmp_path: Path) -> None:
    project = _project(tmp_path, **{".runyard.Dockerfile": "FROM other\n"})
    packed, dockerfile = pack(_order(project, steps="FROM scratch\n"))
    with packed, tarfile.open(fileobj=packed) as tar:
        assert tar.getnames().count(dockerfile) == 1
        text = tar.extractfile(dockerfile)
        assert text is not None
        assert text.read() == b"FROM scratch\n"


@pytest.mark.parametrize("how", [{"within": "link"}, {"within": "link/web"}, {"dockerfile": "link/web/Dockerfile"}])
def test_no_part_of_the_way_to_files_is_a_link(tmp_path: Path, how: dict[str, str]) -> None:
    _project(tmp_path / "outside/web")
    _project(tmp_path / "outside")
    project = _project(tmp_path / "project")
    (project / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(BuildFailed, match="cannot be read"):
        pack(_order(project, **how))
    assert read_below(project, "link/Dockerfile", MIB) is None
    assert read_below(project, "Dockerfile", 4) == b"FROM"
    assert read_below(project, "nothing", 4) is None


def test_a_dockerfile_that_is_a_link_is_none(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").symlink_to("/etc/passwd")
    with pytest.raises(BuildFailed, match="no Dockerfile"):
        pack(_order(tmp_path))


def test_what_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    project = _project(tmp_path)
    with (project / "large").open("wb") as file:
        file.truncate(10 * 1024**4)
    with pytest.raises(BuildFailed, match=r"larger than the 1 MiB .*\.dockerignore"):
        pack(_order(project))


@pytest.mark.parametrize(
    ("text", "path", "left_out"),
    [
        ("node_modules", "node_modules/a/b.js", True),
        ("node_modules", "web/node_modules/a.js", False),
        ("**/node_modules", "web/node_modules/a.js", True),
        ("**/node_modules", "node_modules", True),
        ("*.md\n!README.md", "README.md", False),
        ("*.md\n!README.md", "NEWS.md", True),
        ("!README.md\n*.md", "README.md", True),
        ("# comment\n\n/build/", "build/x", True),
        ("a/*/c", "a/b/c", True),
        ("a/*/c", "a/b/d/c", False),
        ("[^a].txt", "b.txt", True),
        ("[^a].txt", "a.txt", False),
    ],
)
def test_patterns_mean_what_docker_means_by_them(text: str, path: str, left_out: bool) -> None:  # noqa: FBT001
    assert Ignore(text)(path) is left_out


@pytest.mark.timeout(10)
def test_no_pattern_takes_long() -> None:
    ignore = Ignore("/".join(["**", "*a*a*a*a*a*a*a*a*b"] * 20))
    assert not ignore("/".join(["a" * 250] * 16))
