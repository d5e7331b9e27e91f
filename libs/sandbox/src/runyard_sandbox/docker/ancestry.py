"""What a build begins with and copies from: images that have a name.

The engine also takes the first digits of an image's identity, three of which are soon guessed, and images of other
teams have nothing else. Which image a Dockerfile means is the engine's to work out, so what it tells is looked at:
message by message, for what a step prints may follow another text, or look like the engine's own.
"""

import re
from collections.abc import AsyncIterator

from runyard_sandbox.builds import BuildFailed
from runyard_sandbox.docker.engine import Engine, Json, part

_BEGINS = re.compile(r"Step \d+/\d+ : FROM\s", re.IGNORECASE)
_COPIES = re.compile(r"Step \d+/\d+ : COPY\s.*--from=(?P<name>\S+)", re.IGNORECASE | re.DOTALL)
_BEGUN = re.compile(r" ---> (?P<image>[0-9a-f]*)\n")
_TRIGGERS = re.compile(r"# Executing \d+ build trigger")
_IDENTITY = re.compile(r"(?:sha256:)?[0-9a-f]{1,64}")


async def of_named_images(steps: AsyncIterator[Json], engine: Engine) -> AsyncIterator[Json]:
    """What the engine tells of a build, as long as all that it takes has a name or is its own.

    Raises:
        BuildFailed: it takes an image by its identity, or runs steps of its base which nobody can look at.
    """
    own, is_beginning = list[str](), False
    async for step in steps:
        if identity := str(part(step, "aux").get("ID") or "").removeprefix("sha256:"):
            own.append(identity)  # a stage that is done
        text = str(step.get("stream") or "")
        if _TRIGGERS.match(text):
            raise BuildFailed("The base image has steps of its own (ONBUILD), which are not run here.")
        begun = _BEGUN.fullmatch(text) if is_beginning else None
        if begun and begun["image"] and not any(one.startswith(begun["image"]) for one in own):
            await _needs_name(engine, begun["image"])
        is_beginning = begun is None and (is_beginning or _BEGINS.match(text) is not None)
        copies = _COPIES.match(text)
        if copies and _IDENTITY.fullmatch(copies["name"]) and not _is_stage(copies["name"], len(own)):
            await _needs_name(engine, copies["name"])
        yield step


async def _needs_name(engine: Engine, image: str) -> None:
    data = await engine.inspect_image(image)
    if data is not None and not data.get("RepoTags") and not data.get("RepoDigests"):
        raise BuildFailed(f"{image} is an image without a name, of which nothing is built. A stage needs another name.")


def _is_stage(name: str, done: int) -> bool:
    return name.isdigit() and len(name) < 4 and int(name) < done  # noqa: PLR2004 - more stages than anybody's
