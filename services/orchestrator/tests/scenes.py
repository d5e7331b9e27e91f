"""A container that turns against the others: it has its session's token, and a client of its own making."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import pytest_asyncio
from nats.aio.client import Client

from runyard_events import Writer
from runyard_events.catalogue import AssistantDelta
from runyard_stack.testing import SecuredNats

from .doors import Box, Street, asked, street

FORGED = b'{"forged": true}'


@dataclass
class Scene:
    """Two sessions of one tenant, one of another; the first one's container is the attacker."""

    town: Street
    own: Box
    neighbour: Box
    stranger: Box
    attacker: Client

    @property
    def victims(self) -> tuple[Box, Box]:
        return self.neighbour, self.stranger

    async def own_event(self) -> None:
        await asked(self.attacker, self.own.scope.subject("raw"), FORGED)


@pytest_asyncio.fixture
async def scene(secured_nats: SecuredNats) -> AsyncGenerator[Scene]:
    async with street(secured_nats) as town:
        own = await town.box()
        neighbour, stranger = await town.box(tenant=own.tenant), await town.box()
        made = Scene(town, own, neighbour, stranger, await town.break_in(own))
        for victim in made.victims:
            await Writer(town.log, scope=victim.scope, source="runner").append(AssistantDelta(text_delta="SECRET"))
            await town.order(victim, "SECRET")
            await asked(town.root, f"$KV.leases.{victim.session}.{victim.run}", b"SECRET")
        yield made


async def asked_at_once(client: Client, subject: str, body: Any) -> bytes | None:
    """As `asked`, less patient: where nothing is let through nothing comes back."""
    try:
        async with asyncio.timeout(0.08):
            return await asked(client, subject, body)
    except TimeoutError:
        return None
