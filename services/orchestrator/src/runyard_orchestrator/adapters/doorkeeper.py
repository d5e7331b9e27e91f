"""Lets the containers of sessions into NATS, and hands them the events of their own session.

With their token they get in, with the permissions of their session and in an account of their own, for some
time; then they have to ask again. While this process is away nobody new is let in; who is in stays in.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from runyard_chassis.tokens import Claims, TokenError, Tokens
from runyard_events import EventLog, LogUnavailable
from runyard_events.admission import admits
from runyard_events.permissions import AUTH_REQUESTS
from runyard_events.session_account import READ, SESSIONS_ACCOUNT, session_permissions
from runyard_events.session_log import answer_page
from runyard_events.tasks import end_tasks
from runyard_orchestrator.adapters.user_jwt import Issuer, Knock, NotOurs, read_knock

logger = structlog.get_logger(__name__)

QUEUE = "orchestrator"
AT_ONCE = 64
OF_EACH = 8
"""Pages that one session may be waiting for. Who asks for more is not answered and asks again: a program in a
container may ask as often as it likes, and others want their answers too."""
Answer = Callable[[Msg], Awaitable[bytes | None]]


class Doorkeeper:
    """Answers the server's question who somebody is. `tokens` verifies those of sessions.

    `stay_seconds` is how long somebody is let in at most: so late a container that has been replaced is
    shown out by the server itself.
    """

    def __init__(self, client: Client, log: EventLog, *, tokens: Tokens, seed: str, stay_seconds: float) -> None:
        self._client = client
        self._log = log
        self._tokens = tokens
        self._issuer = Issuer(seed)
        self._stay = stay_seconds
        self._answering: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listens from now on, beside other replicas: each question goes to one of them."""
        for subject, answer, of_each in ((AUTH_REQUESTS, self._who_is_it, None), (f"{READ}.>", self._page, OF_EACH)):
            await self._client.subscribe(subject, queue=QUEUE, cb=self._at_once(answer, of_each))

    async def close(self) -> None:
        """Leaves what is being answered."""
        await end_tasks(*self._answering)

    def _at_once(self, answer: Answer, of_each: int | None) -> Callable[[Msg], Awaitable[None]]:
        """Answers several at once, and at most so many on each subject."""
        slots, under_way = asyncio.Semaphore(AT_ONCE), Counter[str]()

        async def begin(message: Msg) -> None:
            subject = message.subject
            if of_each is not None and under_way[subject] >= of_each:
                return
            under_way[subject] += 1
            await slots.acquire()
            task = asyncio.create_task(self._reply(message, answer))
            self._answering.add(task)
            task.add_done_callback(lambda task: end(task, subject))

        def end(task: asyncio.Task[None], subject: str) -> None:
            self._answering.discard(task)
            slots.release()
            under_way[subject] -= 1
            if not under_way[subject]:
                del under_way[subject]

        return begin

    async def _reply(self, message: Msg, answer: Answer) -> None:
        try:
            content = await answer(message)
            if content is not None and message.reply:
                with contextlib.suppress(NatsError):
                    await self._client.publish(message.reply, content)
        except LogUnavailable as error:
            # Without an answer the other side asks again.
            logger.warning("door.log_away", subject=message.subject, error=str(error))
        except Exception:
            logger.exception("door.failed", subject=message.subject)

    async def _page(self, message: Msg) -> bytes:
        return await answer_page(self._log, message.subject, message.data)

    async def _who_is_it(self, message: Msg) -> bytes | None:
        try:
            knock = read_knock(message.data)
        except NotOurs as error:
            logger.warning("door.not_a_request", error=str(error))
            return None
        try:
            claims = self._claims(knock)
        except TokenError as error:
            logger.info("door.refused", session_id=knock.user[:64], reason=str(error))
            return self._issuer.refuse(knock, str(error))
        if not await admits(self._log, claims.tenant, str(claims.session), claims.epoch or 0):
            logger.info("door.refused", session_id=knock.user[:64], reason="not the session's container any more")
            return self._issuer.refuse(knock, "not the session's container any more")
        session = str(claims.session)
        logger.info("door.opened", session_id=session, epoch=claims.epoch)
        return self._issuer.let_in(
            knock,
            name=f"session-{session}",
            account=SESSIONS_ACCOUNT,
            permissions=session_permissions(claims.tenant, session),
            expires=min(claims.expires.timestamp(), time.time() + self._stay),
        )

    def _claims(self, knock: Knock) -> Claims:
        claims = self._tokens.verify(knock.password)
        if claims.session is None or claims.epoch is None or claims.session != knock.user:
            raise TokenError("The token is not this session's.")
        return claims
