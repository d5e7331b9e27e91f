"""What is to be done for a preview, decided from what should be and what there is."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard_events.catalogue import (
    Method,
    Payload,
    PreviewDeleted,
    PreviewFailed,
    PreviewPrepared,
    PreviewReady,
    PreviewRequested,
    PreviewShared,
    PreviewShareRevoked,
    PreviewStarting,
    PreviewStopped,
)
from runyard_events.commands import ControlPreview
from runyard_orchestrator.adapters.preview_boxes import PreviewBoxes
from runyard_orchestrator.adapters.way_out import WayOut
from runyard_orchestrator.domain.facts import Fact, Refusal
from runyard_orchestrator.domain.preview import ACTIVE, SERVICE, Preview, control, evolve
from runyard_orchestrator.domain.preview_upkeep import (
    Append,
    Begin,
    Box,
    Clear,
    Fail,
    Look,
    Patience,
    Prepare,
    Provision,
    Remove,
    Step,
    container_name,
    free_port,
    next_step,
    shell_command,
)
from runyard_sandbox import Spec
from runyard_sandbox.provisioner import PREVIEW_LIMITS

from .engine import MemoryEngine

NOW = datetime(2026, 11, 21, 8, tzinfo=UTC)
NAME = container_name("p", 1)
REQUESTED = PreviewRequested(workspace_id="w", requested_by="ada")
PREPARED = PreviewPrepared(path="/w", framework="vite", name="Vite", serve="exec vite", branch="main")
STARTING = PreviewStarting(generation=1, method="process", port=5000, container_name=NAME)
READY = PreviewReady(generation=1, address="127.0.0.1:5000", took_ms=1)
VANISHED = PreviewFailed(generation=1, reason="vanished", message="gone")
EXITED = PreviewFailed(generation=1, reason="exited", message="ended")
STOPPED = PreviewStopped(generation=1, reason="user")
SHUT_DOWN = PreviewStopped(generation=1, reason="shutdown")
BACK = PreviewRequested(workspace_id="w", requested_by=SERVICE)
BACK_ON_MAIN = BACK.model_copy(update={"branch": "main"})
EVENTS: tuple[Payload, ...] = (
    REQUESTED,
    PREPARED,
    STARTING,
    READY,
    VANISHED,
    EXITED,
    STOPPED,
    SHUT_DOWN,
    BACK,
    PreviewShared(share_id="s", expires_at=NOW),
    PreviewShareRevoked(share_id="s"),
    PreviewDeleted(),
)


def after(*payloads: Payload, start: Preview | None = None) -> Preview:
    preview = start or Preview()
    for payload in payloads:
        place = preview.stream_seq + 1
        preview = evolve(preview, Fact(payload, place, NOW, source_seq=place))
    return preview


def box(**values: object) -> Box:
    return replace(Box(NAME, "process", 1, running=True), **values)  # type: ignore[arg-type]


def step(preview: Preview, *boxes: Box, has_files: bool = True, cleared: bool = False, now: datetime = NOW) -> Step:
    patience = Patience(start=60, recoveries=2)
    return next_step(preview, boxes, has_files=has_files, cleared=cleared, now=now, patience=patience)


@pytest.mark.parametrize(
    ("told", "boxes", "expected"),
    [
        ((REQUESTED,), (), Prepare()),
        ((REQUESTED, PREPARED), (), Begin()),
        ((REQUESTED, PREPARED, STARTING), (), Provision()),
        ((REQUESTED, PREPARED, STARTING), (box(running=False, half_made=True),), Provision()),
        ((REQUESTED, PREPARED, STARTING), (box(),), Look(box())),
        ((REQUESTED, PREPARED, STARTING, READY), (box(),), Look(box())),
        ((REQUESTED, PREPARED, STARTING, READY, STOPPED), (box(),), Remove((box(),))),
        ((REQUESTED, PREPARED, STARTING, READY, STOPPED), (), None),
        ((REQUESTED, PREPARED, STARTING, EXITED), (), None),
        ((REQUESTED, PREPARED, STARTING, READY, REQUESTED), (box(),), Remove((box(),))),
        ((REQUESTED, PreviewDeleted()), (), Clear()),
        ((REQUESTED, PREPARED, STARTING, READY, SHUT_DOWN), (), Append(BACK_ON_MAIN)),
    ],
)  # fmt: skip
def test_one_thing_follows_another(told: tuple[Payload, ...], boxes: tuple[Box, ...], expected: Step) -> None:
    assert step(after(*told), *boxes) == expected


@pytest.mark.parametrize(
    ("ended", "ready", "reason"),
    [
        (box(ended=True, exit_code=1), False, "exited"),
        (box(ended=True, exit_code=97), False, "build_failed"),
        (box(ended=True, exit_code=97), True, "exited"),
        (box(ended=True, exit_code=137, out_of_memory=True), True, "out_of_memory"),
        (box(ended=True, exit_code=137), True, "vanished"),
        (box(ended=True, exit_code=137), False, "exited"),
        (box(ended=True), True, "vanished"),
        (box(ended=True), False, "exited"),
    ],
)
def test_an_end_has_its_reason(ended: Box, *, ready: bool, reason: str) -> None:
    preview = after(REQUESTED, PREPARED, STARTING, *([READY] if ready else []))
    found = step(preview, ended)
    assert isinstance(found, Fail)
    assert found.reason == reason


@pytest.mark.parametrize(
    ("then", "now", "moved"),
    [
        ("10.1.0.9:5000", "10.1.0.10:5000", True),
        ("10.1.0.9:5000", "10.1.0.9:5000", False),
        ("10.1.0.9:5000", None, False),
        ("[::1]:5000", "127.0.0.1:5000", False),
    ],
)
def test_a_page_that_is_elsewhere_is_not_looked_for_where_it_was(then: str, now: str | None, *, moved: bool) -> None:
    preview = after(REQUESTED, PREPARED, STARTING, PreviewReady(generation=1, address=then, took_ms=1))
    found = step(preview, box(address=now))
    assert (isinstance(found, Fail) and found.reason == "vanished") is moved


def test_what_a_page_needs_is_wanted_with_it_and_goes_with_it() -> None:
    beside = box(name=f"{NAME}.1", service="db")
    assert step(after(REQUESTED, PREPARED, STARTING), beside) == Provision()
    assert step(after(REQUESTED, PREPARED, STARTING, READY), beside, box()) == Look(box())
    assert step(after(REQUESTED, PREPARED, STARTING, READY, STOPPED), beside) == Remove((beside,))
    former = box(name="runyard-preview-p-0.1", service="db")
    assert step(after(REQUESTED, PREPARED, STARTING, READY), former, box()) == Remove((former,))


def test_what_a_page_needs_may_end_well_and_not_otherwise() -> None:
    preview = after(REQUESTED, PREPARED, STARTING)
    well = box(name=f"{NAME}.1", service="prepare", ended=True, exit_code=0)
    assert step(preview, well) == Provision()
    badly = step(preview, replace(well, exit_code=3), box())
    assert badly == Fail("exited", "Its service prepare ended with exit code 3.", 3)
    killed = step(after(REQUESTED, PREPARED, STARTING, READY), replace(well, exit_code=137), box())
    assert isinstance(killed, Fail)
    assert (killed.reason, killed.message) == ("vanished", "Its service prepare was ended from outside.")


def test_a_page_that_does_not_come_up_is_waited_for_so_long() -> None:
    preview = after(REQUESTED, PREPARED, STARTING)
    assert step(preview, box(), now=NOW + timedelta(seconds=60)) == Look(box())
    late = step(preview, box(), now=NOW + timedelta(seconds=61))
    assert isinstance(late, Fail)
    assert late.reason == "unhealthy"


@pytest.mark.parametrize(("method", "half_made"), [("docker", True), ("process", True), ("kubernetes", False)])
async def test_only_some_engines_take_their_time_with_a_start(method: Method, *, half_made: bool) -> None:
    engine = MemoryEngine(method=method)
    await engine.provision(
        Spec(name=NAME, purpose="preview", tenant_id="t", owner_id="p", epoch=1, image=None, limits=PREVIEW_LIMITS)
    )
    engine.held[NAME].sandbox = replace(engine.held[NAME].sandbox, status="creating")
    (found,) = await PreviewBoxes({method: engine}, {}, WayOut("")).named([NAME])
    assert (found.half_made, found.running, found.ended) == (half_made, False, False)


def test_what_vanishes_is_brought_back_so_often_and_no_more() -> None:
    preview = after(REQUESTED, PREPARED, STARTING, READY, VANISHED)
    assert isinstance(step(preview), Append)
    assert step(preview, has_files=False) is None
    for _ in range(2):
        preview = after(BACK, PREPARED, STARTING, READY, VANISHED, start=preview)
    assert step(preview) is None
    assert isinstance(step(after(REQUESTED, VANISHED, start=preview)), Append), "a person has asked again"


def test_without_its_session_a_preview_ends() -> None:
    found = step(after(REQUESTED, PREPARED, STARTING, READY), box(), has_files=False)
    assert isinstance(found, Append)
    assert found.payload == PreviewStopped(generation=1, reason="session_deleted")


@given(st.lists(st.sampled_from(EVENTS), max_size=20))
def test_whatever_is_told_there_is_one_container_at_most_and_telling_twice_changes_nothing(
    told: list[Payload],
) -> None:
    preview = after(*told)
    assert preview.stream_seq == len(told)
    if told:
        last = Fact(told[-1], len(told), NOW)
        assert evolve(preview, last) is preview
    if preview.container is not None:
        assert preview.status in ACTIVE
    stranger = box(name="stranger")
    found = step(preview, *([box()] if preview.container else []), stranger)
    assert found == Remove((stranger,))


@given(st.lists(st.sampled_from(EVENTS), max_size=12), st.sampled_from(["start", "restart", "stop", "delete"]))
def test_a_wish_is_refused_or_leads_where_it_says(told: list[Payload], action: str) -> None:
    preview = after(*told)
    asked = ControlPreview.model_validate({"preview_id": "p", "action": action})
    decided = control(preview, asked, "ada", has_files=True)
    if isinstance(decided, Refusal):
        assert preview.status in ("absent", "deleted")
        return
    status = after(*decided, start=preview).status
    if action == "delete":
        assert status == "deleted"
    else:
        assert (status in ACTIVE) == (action != "stop")


def test_ports_are_given_out_until_none_is_left() -> None:
    assert free_port(frozenset(), 6000, 0) == 6000
    assert free_port(frozenset({6000}), 6000, 4) == 5004
    assert free_port(frozenset({8999}), None, 3999) == 5000
    assert free_port(frozenset(range(5000, 9000)), 6000, 1) is None


def test_the_shell_installs_builds_and_becomes_the_server() -> None:
    preview = replace(after(REQUESTED, PREPARED), install="npm i", build="npm run build")
    assert shell_command(preview)[-1] == (
        '{ { npm i; } && { npm run build; }; } || { echo "The preview could not be set up." >&2; exit 97; }\nexec vite'
    )
    assert shell_command(after(REQUESTED, PREPARED))[-1] == "exec vite"
