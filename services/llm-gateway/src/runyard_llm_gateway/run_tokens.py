"""A run's token in exchange for a session's: what the runner in a container gets for its agent."""

from datetime import timedelta

from runyard_chassis import Conflict, NotFound, Tokens, Unauthorized, Unavailable
from runyard_chassis.auth import authenticate_container
from runyard_events import EventLog, LogUnavailable
from runyard_events.admission import admits
from runyard_events.catalogue import TERMINAL_TYPES
from runyard_events.subjects import run_subject

SLACK = timedelta(minutes=10)


class TokenExchange:
    """Verifies the one, mints the other; the log says whether the run is the session's and still goes on."""

    def __init__(self, log: EventLog, *, session_tokens: Tokens, run_tokens: Tokens) -> None:
        self._log = log
        self._session_tokens = session_tokens
        self._run_tokens = run_tokens

    async def for_run(self, token: str | None, run_id: str, *, lifetime_seconds: int) -> str:
        """A token for the run.

        Raises:
            Unauthorized: no good token of a session whose container this still is.
            NotFound: the session has no such run. Conflict: the run has ended.
        """
        box = authenticate_container(self._session_tokens, token)
        try:
            last = await self._log.last(run_subject(box.tenant, box.session, run_id, "lifecycle"))
            if not await admits(self._log, box.tenant, box.session, box.epoch):
                raise Unauthorized("The token is of a container that is no more.")
        except LogUnavailable as error:
            raise Unavailable("The event log is away.") from error
        if last is None:
            raise NotFound("The session has no such run.", type="run-not-found")
        if last.event.type in TERMINAL_TYPES:
            raise Conflict("The run has ended.", type="run-ended")
        lifetime = timedelta(seconds=lifetime_seconds) + SLACK
        return self._run_tokens.mint(tenant=box.tenant, session=box.session, run=run_id, lifetime=lifetime)
