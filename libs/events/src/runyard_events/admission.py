"""Whether a session's container may still come in: what its token's epoch is worth, by the log."""

from runyard_events.catalogue import SandboxDeleted, SessionDeleted, SessionFailed
from runyard_events.log import EventLog
from runyard_events.subjects import session_subject

_FIRST = 1


async def admits(log: EventLog, tenant_id: str, session_id: str, epoch: int) -> bool:
    """Whether this is the epoch of the session's present sandbox, and the session has not ended.

    A session without a sandbox of ours has a container of somebody else, if anybody was given a token for it:
    that one counts as the first.

    Raises:
        LogUnavailable: the log does not answer; nothing is known.
    """
    sandbox = await log.last(session_subject(tenant_id, session_id, "sandbox"))
    if sandbox is None:
        if epoch != _FIRST:
            return False
    else:
        latest = sandbox.event.payload
        if isinstance(latest, SandboxDeleted) or getattr(latest, "epoch", None) != epoch:
            return False
    session = await log.last(session_subject(tenant_id, session_id, "lifecycle"))
    return session is not None and not isinstance(session.event.payload, SessionDeleted | SessionFailed)
