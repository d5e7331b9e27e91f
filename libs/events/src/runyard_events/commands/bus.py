"""Sends commands and waits for their answers."""

import asyncio
import json
from typing import Any

from nats.aio.client import Client
from nats.errors import Error as NatsError

from runyard_events.commands.envelope import Command, Reply
from runyard_events.errors import CommandTimeout, EventError, LogUnavailable


class CommandBus:
    """Sends commands and waits for their answers."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def send(self, one: Command[Any]) -> None:
        """Queues a command durably.

        Raises:
            LogUnavailable: it is not known whether the command was queued.
        """
        try:
            answer = await self._client.request(
                one.subject, one.model_dump_json().encode(), timeout=5, headers={"Nats-Msg-Id": one.id}
            )
        except (NatsError, TimeoutError) as error:
            raise LogUnavailable(f"the command queue does not answer: {error}") from error
        body: dict[str, Any] = json.loads(answer.data)
        if "error" in body:
            raise EventError(f"the command queue refused: {body['error'].get('description')}")

    async def request(self, one: Command[Any], *, timeout: float = 15.0) -> Reply:  # noqa: ASYNC109
        """Queues a command and waits for its reply, at most `timeout` seconds.

        Raises:
            CommandTimeout: queued, but not answered in time; it may still be carried out.
            LogUnavailable: it is not known whether the command was queued.
        """
        inbox = self._client.new_inbox()
        subscription = await self._client.subscribe(inbox, max_msgs=1)
        try:
            await self.send(one.model_copy(update={"reply_to": inbox}))
            message = await subscription.next_msg(timeout=timeout)
            return Reply.model_validate_json(message.data)
        except NatsError as error:
            raise CommandTimeout(f"no answer to {one.type} within {timeout:g} s") from error
        finally:
            await self._forget(subscription)

    async def reply(self, one: Command[Any], reply: Reply) -> None:
        """Answers a command whose sender waits; without an inbox nothing happens."""
        if one.reply_to:
            await self._client.publish(one.reply_to, reply.model_dump_json().encode())

    @staticmethod
    async def _forget(subscription: Any) -> None:
        try:
            async with asyncio.timeout(1):
                await subscription.unsubscribe()
        except (NatsError, TimeoutError):
            return
