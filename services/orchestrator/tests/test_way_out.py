"""Whose pass it is: of the container that a session or a preview has now, and of nothing else."""

from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest

from runyard_chassis.tokens import SESSION_AUDIENCE, Tokens
from runyard_events import Scope
from runyard_orchestrator.adapters.preview_boxes import PreviewBoxes
from runyard_orchestrator.adapters.way_out import Passes, WayOut
from runyard_orchestrator.domain.preview import Preview
from runyard_orchestrator.domain.sandbox import Sandbox
from runyard_orchestrator.store.previews import PreviewKey
from runyard_orchestrator.store.reading import SessionKey

from .engine import MemoryEngine

SECRET = "a-key-that-is-long-enough-for-hs256"
SESSION, PREVIEW = Scope.session("t", "s-1"), Scope.preview("t", "p-1")


SANDBOXES = {SessionKey("t", "s-1"): Sandbox(status="running", epoch=2)}
PREVIEWS = {
    PreviewKey("t", "p-1"): Preview(
        status="starting", generation=3, method="kubernetes", container_name="p", port=5173, path="/shared/p"
    )
}


class Rows:
    """What there is now."""

    async def sandbox(self, key: SessionKey) -> Sandbox:
        return SANDBOXES.get(key, Sandbox())

    async def preview(self, key: PreviewKey) -> Preview:
        return PREVIEWS.get(key, Preview())


def passes(*, audience: str = "runyard-egress", lifetime: timedelta = timedelta(days=1)) -> Passes:
    rows: Any = Rows()
    return Passes(Tokens(SECRET, audience), lifetime, sandboxes=rows, previews=rows)


async def test_it_is_of_the_present_container_of_its_session_or_preview() -> None:
    desk = passes()
    assert await desk.whose(desk.mint(SESSION, 2)) == SESSION
    assert await desk.whose(desk.mint(PREVIEW, 3)) == PREVIEW


@pytest.mark.parametrize(
    ("scope", "epoch"),
    [
        (SESSION, 1),
        (SESSION, 3),
        (PREVIEW, 2),
        (Scope.session("t", "s-2"), 1),
        (Scope.session("other", "s-1"), 2),
        (Scope.preview("t", "s-1"), 2),
        (Scope.session("t", "p-1"), 3),
    ],
)
async def test_of_any_other_container_it_is_nobodys(scope: Scope, epoch: int) -> None:
    desk = passes()
    assert await desk.whose(desk.mint(scope, epoch)) is None


async def test_what_is_forged_expired_or_for_something_else_is_nobodys() -> None:
    desk = passes()
    forged = Tokens("another-key-that-is-long-enough-too", "runyard-egress").mint(tenant="t", session="s-1", epoch=2)
    for shown in (
        "",
        "nonsense",
        forged,
        passes(audience=SESSION_AUDIENCE).mint(SESSION, 2),
        passes(lifetime=timedelta(days=-1)).mint(SESSION, 2),
        Tokens(SECRET, "runyard-egress").mint(tenant="t", session="s-1"),
    ):
        assert await desk.whose(shown) is None


async def test_a_preview_s_is_good_for_as_long_as_its_container_is_there() -> None:
    desk = passes(lifetime=timedelta(days=-1))
    assert await desk.whose(desk.mint(PREVIEW, 3)) == PREVIEW


async def test_a_preview_of_a_cluster_shows_one_too() -> None:
    engine, desk = MemoryEngine(method="kubernetes"), passes()
    boxes = PreviewBoxes({"kubernetes": engine}, {}, WayOut("http://runyard:3128", desk))
    ((key, preview),) = PREVIEWS.items()
    await boxes.provision(key, preview)
    (spec,) = engine.specs
    way = urlsplit(spec.env["https_proxy"])
    assert (way.hostname, way.port, way.username) == ("runyard", 3128, "preview")
    assert await desk.whose(way.password or "") == PREVIEW
