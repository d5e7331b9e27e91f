"""What has to be done next for a preview: from what it should be, and what the engines say there is."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from runyard_events.catalogue import Payload, PreviewFailure, PreviewStopped
from runyard_orchestrator.domain.compose.project import MOST_BESIDE
from runyard_orchestrator.domain.preview import ACTIVE, COMPOSE, SERVICE, Preview, again

SETUP_FAILED = 97
"""What the shell ends with when a preview cannot be installed or built."""
KILLED = frozenset({None, 137, -9})
"""Exit codes of what was killed, as engines and as the system tell it; none: it is just being removed."""
LOWEST_PORT, HIGHEST_PORT = 5000, 8999


@dataclass(frozen=True, slots=True)
class Box:
    """A container or process of a preview as its engine sees it."""

    name: str
    method: str
    epoch: int
    running: bool
    ended: bool = False
    half_made: bool = False
    """It was made and never started: whoever made it did not come to that."""
    exit_code: int | None = None
    out_of_memory: bool = False
    address: str | None = None
    service: str | None = None
    """What of a preview of several it is; None: the page."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is waited, in seconds."""

    start: float = 600
    """For the page of a preview that is being installed, built and started."""
    retries: int = 3
    """Looks at a page that does not answer, one after the other, before it counts as gone."""
    recoveries: int = 3
    """How often a preview that has vanished is brought back by itself."""


@dataclass(frozen=True, slots=True)
class Remove:
    """Boxes that are not wanted (any more)."""

    boxes: tuple[Box, ...]


@dataclass(frozen=True, slots=True)
class Append:
    """An event that follows."""

    payload: Payload


@dataclass(frozen=True, slots=True)
class Prepare:
    """Have its files, and find out what they are."""


@dataclass(frozen=True, slots=True)
class Begin:
    """Choose where it runs, and its port."""


@dataclass(frozen=True, slots=True)
class Provision:
    """Make its container."""


@dataclass(frozen=True, slots=True)
class Look:
    """See whether its page answers."""

    box: Box


@dataclass(frozen=True, slots=True)
class Fail:
    """It has failed; the last lines of its output are to be kept."""

    reason: PreviewFailure
    message: str
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class Clear:
    """It was deleted: its files can go."""


Step = Remove | Append | Prepare | Begin | Provision | Look | Fail | Clear | None


def next_step(  # noqa: PLR0911 - one per status
    preview: Preview, boxes: Sequence[Box], *, has_files: bool, cleared: bool, now: datetime, patience: Patience
) -> Step:
    """The next thing to do; None when all is as it should be.

    `has_files`: the session that it shows is still there. `cleared`: the files of the deleted one are gone.
    """
    unwanted = tuple(box for box in boxes if not _is_wanted(box, preview))
    if unwanted:
        return Remove(unwanted)
    if preview.status == "deleted":
        return None if cleared or preview.session_id is not None else Clear()
    if preview.status in ("failed", "stopped"):
        return _recovery(preview, has_files=has_files, patience=patience)
    if preview.status not in ACTIVE:
        return None
    if not has_files:
        return Append(PreviewStopped(generation=preview.generation, reason="session_deleted"))
    match preview.status:
        case "requested":
            return Prepare()
        case "prepared":
            return Begin()
        case _:
            return _of_boxes(preview, boxes, now, patience)


def shell_command(preview: Preview) -> tuple[str, ...]:
    """One shell that installs, builds and then becomes the server; a first part that fails ends it with our code."""
    setup = " && ".join(f"{{ {part}; }}" for part in (preview.install, preview.build) if part)
    failing = f'{{ {setup}; }} || {{ echo "The preview could not be set up." >&2; exit {SETUP_FAILED}; }}\n'
    return ("/bin/sh", "-c", f"{failing if setup else ''}{preview.serve or 'false'}")


def _is_wanted(box: Box, preview: Preview) -> bool:
    return box.name == preview.container or (box.service is not None and page_of(box.name) == preview.container)


def _of_boxes(preview: Preview, boxes: Sequence[Box], now: datetime, patience: Patience) -> Step:
    """What the page needs may end well, once it has done what it is for; if it does otherwise, so does the preview."""
    failed = next((box for box in boxes if box.service and box.ended and (box.exit_code or box.out_of_memory)), None)
    if failed is not None:
        return _ended(preview, failed)
    return _of_box(preview, next((box for box in boxes if box.service is None), None), now, patience)


def _of_box(preview: Preview, box: Box | None, now: datetime, patience: Patience) -> Step:
    if box is None or box.half_made:
        return Provision() if preview.status == "starting" else Fail("vanished", "It is not there any more.")
    if box.ended:
        return _ended(preview, box)
    if preview.status == "starting" and preview.changed_at is not None:
        waited = (now - preview.changed_at).total_seconds()
        if waited > patience.start:
            return Fail("unhealthy", f"Its page did not answer within {patience.start:.0f} s.")
    if preview.status == "ready" and _is_elsewhere(preview, box):
        return Fail("vanished", "It was made anew by its platform.")
    return Look(box)


def _is_elsewhere(preview: Preview, box: Box) -> bool:
    """Whether its page is not to be had any more where it was: who answers there may be another team's."""
    if box.address is None or preview.address is None:
        return False
    then, now = (address.rpartition(":")[0] for address in (preview.address, box.address))
    return then != now and (then, now) != ("[::1]", "127.0.0.1")


def _ended(preview: Preview, box: Box) -> Fail:
    which = f"Its service {box.service}" if box.service else "It"
    if box.out_of_memory:
        return Fail("out_of_memory", f"{which} used more memory than a preview may.", box.exit_code)
    if box.exit_code == SETUP_FAILED and preview.status == "starting":
        return Fail("build_failed", "It could not be installed or built.", box.exit_code)
    if box.exit_code in KILLED and preview.status == "ready":
        # No program ends itself so: somebody removes it, and will have done so in a moment.
        return Fail("vanished", f"{which} was ended from outside.", box.exit_code)
    how = "ended" if box.exit_code is None else f"ended with exit code {box.exit_code}"
    return Fail("exited", f"{which if box.service else 'Its server'} {how}.", box.exit_code)


def _recovery(preview: Preview, *, has_files: bool, patience: Patience) -> Step:
    """Brings back what nobody has stopped: it was lost, or went down with the service itself."""
    is_lost = preview.status == "failed" and preview.reason == "vanished" and preview.recoveries < patience.recoveries
    went_down = preview.status == "stopped" and preview.reason == "shutdown"
    return Append(again(preview, SERVICE)) if has_files and (is_lost or went_down) else None


def free_port(taken: frozenset[int], wanted: int | None, hint: int) -> int | None:
    """A port of a preview: the one that it had if it is free, else the next free one from `hint` on, None: none is."""
    if wanted is not None and wanted not in taken:
        return wanted
    count = HIGHEST_PORT - LOWEST_PORT + 1
    for offset in range(count):
        port = LOWEST_PORT + (hint + offset) % count
        if port not in taken:
            return port
    return None


def container_name(preview_id: str, generation: int) -> str:
    """The name of a preview's container."""
    return f"runyard-preview-{preview_id}-{generation}"


def part_name(page: str, number: int) -> str:
    """The name of a container that a page needs besides its own."""
    return f"{page}.{number}"


def names_of(preview: Preview, page: str) -> list[str]:
    """What a preview's containers may be called, where this is the page's."""
    parts = range(1, MOST_BESIDE + 1) if preview.found == COMPOSE else ()
    return [*(part_name(page, number) for number in parts), page]


def page_of(name: str) -> str:
    """The name of the page's container, from that of one which it needs."""
    return name.rpartition(".")[0]


def age_ms(preview: Preview, now: datetime) -> int:
    """Milliseconds since its status is what it is."""
    return int((now - (preview.changed_at or now)).total_seconds() * 1000)
