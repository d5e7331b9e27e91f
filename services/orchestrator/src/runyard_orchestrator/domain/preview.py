"""A preview as its events tell it, and what may be asked of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

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
from runyard_events.commands import ControlPreview, CreatePreview, RevokeShare, SharePreview
from runyard_orchestrator.domain.facts import OWNER, Fact, Refusal

Status = Literal["absent", "requested", "prepared", "starting", "ready", "failed", "stopped", "deleted"]
ACTIVE: frozenset[Status] = frozenset({"requested", "prepared", "starting", "ready"})
"""A preview that is wanted: something is there for it, or has to be."""
DOCKERFILE, COMPOSE = "dockerfile", "compose"
BUILT = frozenset({DOCKERFILE, COMPOSE})
"""What projects are found as whose images have to be built."""
SERVICE = f"service:{OWNER}"
"""Who has asked for a start that nobody asked for: the preview was lost and is brought back."""


@dataclass(frozen=True, slots=True)
class Share:
    """A link that opens a preview until it expires or is revoked."""

    expires_at: datetime
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class Preview:
    """A preview. `generation` counts its starts; the last of them has the container of this name."""

    status: Status = "absent"
    workspace_id: str = ""
    session_id: str | None = None
    branch: str | None = None
    command: str | None = None
    framework: str | None = None
    """As it was asked for; `found` is what it is served as."""
    requested_by: str | None = None
    request_hash: str | None = None
    path: str | None = None
    found: str | None = None
    name: str | None = None
    install: str | None = None
    build: str | None = None
    serve: str | None = None
    commit: str | None = None
    folder: str = ""
    """Where below `path` the files of its image are, or its compose file."""
    generation: int = 0
    method: Method = "process"
    port: int | None = None
    container_name: str | None = None
    address: str | None = None
    reason: str | None = None
    message: str | None = None
    recoveries: int = 0
    """How often it was brought back since a person asked for it."""
    shares: Mapping[str, Share] = field(default_factory=dict[str, Share])
    created_at: datetime | None = None
    changed_at: datetime | None = None
    """Since when its status is what it is."""
    stream_seq: int = 0
    own_seq: int = 0

    @property
    def container(self) -> str | None:
        """The container that is to be there now."""
        return self.container_name if self.status in ("starting", "ready") else None


Decision = tuple[Payload, ...] | Refusal


def evolve(preview: Preview, fact: Fact) -> Preview:
    """The preview after one more event; one that it has seen already changes nothing."""
    if fact.stream_seq <= preview.stream_seq:
        return preview
    own = max(preview.own_seq, fact.source_seq) if fact.source == OWNER else preview.own_seq
    after = replace(preview, stream_seq=fact.stream_seq, own_seq=own)
    changed = _changed(after, fact)
    if changed is None:
        return after
    changed_at = fact.at if changed.status != preview.status else preview.changed_at
    return replace(changed, changed_at=changed_at, created_at=preview.created_at or fact.at)


def _changed(preview: Preview, fact: Fact) -> Preview | None:  # noqa: PLR0911 - one per kind of event
    clean = replace(preview, reason=None, message=None)
    match fact.payload:
        case PreviewRequested() as asked:
            return _requested(clean, asked)
        case PreviewPrepared() as made:
            return replace(
                clean,
                status="prepared",
                path=made.path,
                found=made.framework,
                name=made.name,
                install=made.install,
                build=made.build,
                serve=made.serve,
                commit=made.commit,
                folder=made.folder,
                branch=made.branch or preview.branch,
            )
        case PreviewStarting() as start:
            values = {"method": start.method, "port": start.port, "container_name": start.container_name}
            return replace(clean, status="starting", generation=start.generation, address=None, **values)
        case PreviewReady(address=address):
            return replace(clean, status="ready", address=address)
        case PreviewFailed(reason=reason, message=message):
            return replace(preview, status="failed", reason=reason, message=message, address=None)
        case PreviewStopped(reason=reason):
            return replace(clean, status="stopped", reason=reason, address=None)
        case PreviewDeleted():
            return replace(clean, status="deleted", address=None, shares={})
        case PreviewShared(share_id=share, expires_at=expires):
            return replace(preview, shares={**preview.shares, share: Share(expires)})
        case PreviewShareRevoked(share_id=share) if share in preview.shares:
            return replace(preview, shares={**preview.shares, share: replace(preview.shares[share], revoked=True)})
        case _:
            return None


def _requested(preview: Preview, asked: PreviewRequested) -> Preview:
    again = preview.status != "absent"
    recovering = asked.requested_by == SERVICE
    count = preview.recoveries + (preview.status == "failed") if recovering else 0
    return replace(
        preview,
        status="requested",
        workspace_id=asked.workspace_id,
        session_id=asked.session_id,
        branch=asked.branch,
        command=asked.command,
        framework=asked.framework,
        requested_by=preview.requested_by if again else asked.requested_by,
        request_hash=preview.request_hash if again else asked.request_hash,
        address=None,
        recoveries=count,
    )


def create(preview: Preview, asked: CreatePreview, actor: str | None) -> Decision:
    """A new preview; the same request again changes nothing."""
    if preview.status != "absent":
        if preview.request_hash == asked.request_hash:
            return ()
        return Refusal(422, "idempotency-key-reused", "This key was used for another request.")
    return (
        PreviewRequested(
            workspace_id=asked.workspace_id,
            session_id=asked.session_id,
            branch=asked.branch,
            command=asked.command,
            framework=asked.framework,
            requested_by=actor,
            idempotency_key=asked.idempotency_key,
            request_hash=asked.request_hash,
        ),
    )


def control(  # noqa: PLR0911 - one per wish and status
    preview: Preview, asked: ControlPreview, actor: str | None, *, has_files: bool
) -> Decision:
    """Start, restart, stop or delete; `has_files`: the session that it shows is still there."""
    match asked.action, preview.status:
        case _, "absent":
            return _not_found()
        case "delete", "deleted":
            return ()
        case _, "deleted":
            return _not_found()
        case "delete", _:
            return (PreviewDeleted(deleted_by=actor),)
        case "stop", status:
            return (PreviewStopped(generation=preview.generation, reason="user"),) if status in ACTIVE else ()
        case "start", status if status in ACTIVE:
            return ()
        case "restart", "requested":
            return ()
        case _:
            return (again(preview, actor),) if has_files else _without_files()


def share(preview: Preview, asked: SharePreview, actor: str | None, now: datetime) -> Decision:
    """A link to be given out; the same one again changes nothing."""
    if preview.status in ("absent", "deleted"):
        return _not_found()
    if asked.share_id in preview.shares:
        return ()
    if asked.expires_at <= now:
        return Refusal(422, "share-expired", "The link would have expired already.")
    return (PreviewShared(share_id=asked.share_id, expires_at=asked.expires_at, shared_by=actor),)


def revoke(preview: Preview, asked: RevokeShare, actor: str | None) -> Decision:
    """Ends a link; one that is revoked stays so."""
    known = preview.shares.get(asked.share_id)
    if known is None:
        return Refusal(404, "share-not-found", "There is no such link.")
    return () if known.revoked else (PreviewShareRevoked(share_id=asked.share_id, revoked_by=actor),)


def again(preview: Preview, actor: str | None) -> PreviewRequested:
    """The same preview, asked for once more: its files and what they are may have changed since."""
    return PreviewRequested(
        workspace_id=preview.workspace_id,
        session_id=preview.session_id,
        branch=preview.branch,
        command=preview.command,
        framework=preview.framework,
        requested_by=actor,
    )


def _not_found() -> Refusal:
    return Refusal(404, "preview-not-found", "There is no such preview.")


def _without_files() -> Refusal:
    return Refusal(409, "session-deleted", "The session whose files it shows was deleted.")
