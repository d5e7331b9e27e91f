"""Projects are recognised by their files, and answered with commands that serve them."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from runyard_events import new_id
from runyard_events.commands import DetectProject
from runyard_workspace.adapters.projects import Projects, known_frameworks
from runyard_workspace.domain.recipes import Candidate

from .conftest import Running, git

VITE = {"devDependencies": {"vite": "^6.0.0"}, "scripts": {"dev": "vite", "build": "vite build"}}


def _made(folder: Path, files: dict[str, Any]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


async def _found(folder: Path, files: dict[str, Any]) -> list[Candidate]:
    return await Projects().detect(_made(folder, files))


def test_the_list_of_frameworks_is_complete_and_says_where_it_is_from() -> None:
    known = known_frameworks()
    assert "Apache License 2.0" in known.notice
    slugs = [one.slug for one in known.frameworks]
    assert len(slugs) == len(set(slugs)) > 45
    assert {"nextjs", "vite", "astro", "nuxtjs", "sveltekit-1", "angular", "storybook"} <= set(slugs)


@pytest.mark.parametrize(
    ("files", "framework", "served"),
    [
        ({"package.json": VITE}, "vite", "npm run dev -- --port $PORT --strictPort --host $HOST"),
        ({"package.json": VITE, "pnpm-lock.yaml": ""}, "vite", "pnpm run dev --port $PORT"),
        ({"package.json": {**VITE, "packageManager": "yarn@4.1.0"}}, "vite", "yarn run dev --port $PORT"),
        ({"package.json": {"devDependencies": {"vite": "6"}}, "bun.lock": ""}, "vite", "exec vite --port $PORT"),
        ({"package.json": {**VITE, "scripts": {"dev": "vite --port 3000"}}}, "vite", "exec vite --port $PORT"),
        ({"package.json": {**VITE, "scripts": {"dev": "vite & tsc -w"}}}, "vite", "exec npm run dev"),
        (
            {"package.json": {"dependencies": {"next": "15", "react": "19"}, "scripts": {"dev": "next dev"}}},
            "nextjs",
            "npm run dev -- --port $PORT --hostname $HOST",
        ),
        ({"package.json": {"dependencies": {"astro": "5", "vite": "6"}}}, "astro", "exec astro dev --port $PORT"),
        ({"package.json": {"devDependencies": {"@sveltejs/kit": "2", "vite": "6"}}}, "sveltekit-1", "vite dev"),
        ({"package.json": {"scripts": {"start": "node server.js"}}}, "node", "exec npm run start"),
        ({"requirements.txt": "flask\n", "app.py": "app = Flask(__name__)\n"}, "flask", "--app app:app"),
        ({"requirements.txt": "Flask\n", "app/__init__.py": "def create_app():\n  pass\n"}, "flask", "app:create_app"),
        ({"app/main.py": "api: FastAPI = FastAPI(title='x')\n"}, "fastapi", "uvicorn app.main:api --reload"),
        ({"manage.py": "os.environ['DJANGO_SETTINGS_MODULE']"}, "django", "manage.py runserver"),
        ({"index.html": "<p>"}, "static", "--directory ."),
        ({"public/index.html": "<p>"}, "static", "--directory public"),
    ],
)
async def test_a_project_is_recognised(tmp_path: Path, files: dict[str, Any], framework: str, served: str) -> None:
    first = (await _found(tmp_path, files))[0]
    assert first.framework == framework
    assert served in first.serve


async def test_a_program_of_a_folder_below_is_found_after_one_at_the_top(tmp_path: Path) -> None:
    found = await _found(tmp_path, {"app.py": "app = Flask(__name__)\n", "frontend/package.json": VITE})
    assert [(one.framework, one.folder) for one in found[:2]] == [("flask", ""), ("vite", "frontend")]


async def test_images_and_compose_files_come_last_and_need_to_be_built(tmp_path: Path) -> None:
    found = await _found(tmp_path, {"Dockerfile": "FROM scratch", "web/compose.yaml": "", "index.html": ""})
    assert [(one.framework, one.needs_image) for one in found] == [
        ("static", False),
        ("dockerfile", True),
        ("compose", True),
    ]


async def test_an_empty_folder_holds_no_project(tmp_path: Path) -> None:
    assert await Projects().detect(tmp_path) == []


@pytest.mark.parametrize("text", ["{", "[]", '{"scripts": [1], "dependencies": {"vite": 3}}', "[" * 100_000, "\0"])
async def test_a_broken_manifest_is_no_manifest(tmp_path: Path, text: str) -> None:
    assert await _found(tmp_path, {"package.json": text}) == []


async def test_a_link_that_leads_out_is_not_followed(tmp_path: Path) -> None:
    outside = _made(tmp_path / "outside", {"package.json": VITE, "index.html": "<p>"})
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "package.json").symlink_to(outside / "package.json")
    (inside / "public").symlink_to(outside)
    assert await Projects().detect(inside) == []


async def test_what_was_installed_is_installed_once_and_again_when_it_is_asked_for_otherwise(tmp_path: Path) -> None:
    found = await _found(tmp_path, {"package.json": VITE, "package-lock.json": "{}"})
    npm = tmp_path / "bin" / "npm"
    _made(tmp_path, {"bin/npm": '#!/bin/sh\necho "$*" >> calls\n'})
    npm.chmod(0o755)

    def install() -> None:
        path = f"{npm.parent}:/usr/bin:/bin"
        subprocess.run(["/bin/sh", "-ec", found[0].install or ""], cwd=tmp_path, env={"PATH": path}, check=True)

    install()
    install()
    assert (tmp_path / "calls").read_text() == "install --no-audit --no-fund\n"
    assert (tmp_path / "node_modules/.gitignore").read_text() == "*\n"
    _made(tmp_path, {"package-lock.json": '{"changed": true}'})
    install()
    assert (tmp_path / "calls").read_text().count("\n") == 2


async def test_a_session_s_files_and_a_workspace_s_are_looked_at(service: Running, repository: Path) -> None:
    _made(repository, {"index.html": "<p>"})
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "Page")
    workspace = await service.import_local(repository)
    session, path = await service.open_session(workspace)
    _made(path, {"package.json": VITE})
    of_session = await service.ask(DetectProject(workspace_id=workspace, session_id=session))
    assert [one["framework"] for one in of_session.result["candidates"]] == ["vite", "node", "static"]
    assert of_session.result["path"] == str(path)
    of_workspace = await service.ask(DetectProject(workspace_id=workspace))
    assert [one["framework"] for one in of_workspace.result["candidates"]] == ["static"]


async def test_files_that_are_not_there_are_not_looked_at(service: Running, repository: Path) -> None:
    workspace = await service.import_local(repository)
    session, path = await service.open_session(workspace)
    for asked in (
        DetectProject(workspace_id=new_id()),
        DetectProject(workspace_id=workspace, session_id=new_id()),
        DetectProject(workspace_id=workspace, preview_id=new_id()),
    ):
        reply = await service.ask(asked)
        assert not reply.ok
        assert reply.problem is not None
        assert reply.problem.status == 404
    outside = await service.ask(DetectProject(workspace_id=workspace, preview_id="../../etc"))
    assert outside.problem is not None
    assert outside.problem.type == "preview-id"
    shutil.rmtree(path)
    assert not (await service.ask(DetectProject(workspace_id=workspace, session_id=session))).ok
