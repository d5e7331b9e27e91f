"""Builds that would begin with, or copy from, somebody else's image."""

from collections.abc import AsyncIterator
from typing import cast

import pytest

from runyard_sandbox.builds import BuildFailed
from runyard_sandbox.docker.ancestry import of_named_images
from runyard_sandbox.docker.engine import Engine, Json

NAMED, FOREIGN, OWN = "57a72e6e11a1", "80f693cfe3bf", "e227fc16f376"
BEGIN = ["Step 1/7 : FROM base AS one", "\n", f" ---> {NAMED}\n", {"ID": f"sha256:{OWN}{OWN}"}]


class _Engine:
    async def inspect_image(self, name: str) -> Json | None:
        named = {NAMED: ["base:1"], FOREIGN: [], OWN: [], "0": [], "1": []}
        found = next((image for image in named if image.startswith(name.removeprefix("sha256:"))), None)
        return None if found is None else {"RepoTags": named[found], "RepoDigests": []}


async def _told(*messages: str | dict[str, str]) -> list[Json]:
    async def steps() -> AsyncIterator[Json]:
        for one in messages:
            yield {"stream": one} if isinstance(one, str) else {"aux": one}

    return [step async for step in of_named_images(steps(), cast("Engine", _Engine()))]


@pytest.mark.parametrize(
    "messages",
    [
        ["Step 1/2 : FROM ${X}${Y}", "\n", f" ---> {FOREIGN}\n"],
        [*BEGIN, "Step 2/2 : from 80f", "\n", f" ---> {FOREIGN}\n"],
        [*BEGIN, "printed without an end", "Step 2/2 : COPY --from=80f /a /b"],
        [*BEGIN, f"Step 2/2 : COPY --chown=1 --from=sha256:{FOREIGN} /a /b"],
        [*BEGIN, f" ---> {FOREIGN}\n", "Step 3/3 : FROM 80f", "\n", f" ---> {FOREIGN}\n"],
        [*BEGIN, f"Step 2/3 : FROM a AS {FOREIGN}", f"Step 3/3 : copy  --from={FOREIGN} /a /b"],
        [*BEGIN, "Step 2/2 : COPY --from=1 /a /b"],
        ["Step 1/2 : FROM base", "\n", "# Executing 1 build trigger", "\n", f" ---> {NAMED}\n"],
    ],
)
async def test_an_image_that_has_no_name_is_nobody_s_to_take(messages: list[str | dict[str, str]]) -> None:
    with pytest.raises(BuildFailed):
        await _told(*messages)


@pytest.mark.parametrize(
    "messages",
    [
        [*BEGIN, "Step 2/3 : FROM one", "\n", f" ---> {OWN}\n", "Step 3/3 : COPY --from=0 /a /b"],
        [*BEGIN, "Step 2/3 : FROM scratch", "\n", " ---> \n", "Step 3/3 : ENV a=b", "\n", f" ---> {FOREIGN}\n"],
        [*BEGIN, "Step 2/3 : RUN x", "\n", " ---> Using cache\n", f" ---> {FOREIGN}\n"],
        [*BEGIN, "Step 2/2 : COPY --from=nginx:1 /a /b", "Step 3/3 : COPY --from=57a /a /b"],
        ["Step 1/1 : FROM 57a", "\n", f" ---> {NAMED}\n"],
    ],
)
async def test_its_own_stages_and_images_with_names_are(messages: list[str | dict[str, str]]) -> None:
    assert len(await _told(*messages)) == len(messages)
