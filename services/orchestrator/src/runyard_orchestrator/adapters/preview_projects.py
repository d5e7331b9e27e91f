"""What is run in images of a project's own; its compose file and variables come from its files, through no link."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from runyard_orchestrator.domain.compose import FILES, ImageBuild, NotServed, Project, Service, parse
from runyard_orchestrator.domain.compose.document import MOST_BYTES
from runyard_orchestrator.domain.compose.variables import variables
from runyard_orchestrator.domain.preview import COMPOSE, Preview
from runyard_sandbox.docker.context import read_below

CHOSEN = f"{COMPOSE}-"
"""Before the name of a service, in what a preview is asked for as: that one is the page."""
_VARIABLES = ".env"


async def project_of(preview: Preview) -> Project:
    """What is run of a preview's Dockerfile or compose file.

    Raises:
        NotServed: it cannot be served, and why.
    """
    if preview.found == COMPOSE:
        return await compose_project(preview.path or "", preview.folder, preview.framework)
    return Project(Service(name="", build=ImageBuild(preview.folder), image=None))


async def compose_project(path: str, folder: str, framework: str | None) -> Project:
    """What is run of the compose file in a folder below a path, its files of variables read.

    Raises:
        NotServed: it cannot be served, and why.
    """
    wanted = framework.removeprefix(CHOSEN) if framework and framework.startswith(CHOSEN) else None
    return await asyncio.to_thread(_read, Path(path), folder, wanted)


def _read(top: Path, folder: str, wanted: str | None) -> Project:
    text = next((text for name in FILES if (text := _text(top, _below(folder, name))) is not None), None)
    if text is None:
        raise NotServed("There is no compose file that is a file of the project's own.")
    known = variables(_text(top, _below(folder, _VARIABLES)) or "", {})
    found = parse(text, known, folder=folder, wanted=wanted)
    return Project(_told(found.page, top, known), tuple(_told(one, top, known) for one in found.beside))


def _told(service: Service, top: Path, known: Mapping[str, str]) -> Service:
    """With what its files of variables say, under what its `environment` does."""
    said: dict[str, str] = {}
    for file in service.env_files:
        text = _text(top, file.path)
        if text is None and file.required:
            raise NotServed(f"Service {service.name}, `env_file`: there is no {file.path}.")
        said |= variables(text or "", {**known, **said})
    return replace(service, environment={**said, **service.environment}, env_files=())


def _text(top: Path, path: str) -> str | None:
    try:
        found = read_below(top, path, MOST_BYTES + 1)
    except OSError as error:
        raise NotServed(f"{path} cannot be read: {error.strerror or error}.") from None
    if found is None:
        return None
    if len(found) > MOST_BYTES:
        raise NotServed(f"{path} is larger than {MOST_BYTES // 1024} KiB.")
    try:
        return found.decode()
    except UnicodeDecodeError:
        raise NotServed(f"{path} is no UTF-8 text.") from None


def _below(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
