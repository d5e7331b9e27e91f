"""What containers are refused is told, of each no more than can be read."""

import asyncio
from collections import Counter
from typing import Any

from runyard_events import Scope
from runyard_events.catalogue import SandboxEgressDenied
from runyard_orchestrator.domain.rules import Installation
from runyard_orchestrator.handlers.egress import Egress
from runyard_sandbox import Sandbox


class Neighbours:
    """Two containers that have an address each, no rules of their team, and what is told of them."""

    def __init__(self) -> None:
        self.told: Counter[tuple[str, str]] = Counter()

    async def at_address(self, address: str) -> Sandbox:
        return Sandbox(
            name=address, native_id=address, status="running", purpose="agent", tenant_id="t", owner_id=address, epoch=1
        )

    async def rules(self, _tenant: str) -> None:
        return None

    async def say(self, scope: Scope, payload: SandboxEgressDenied) -> None:
        self.told[scope.aggregate_id, payload.host] += payload.count


async def test_one_that_tries_everything_hides_nothing_of_another_and_does_not_fill_the_log() -> None:
    around: Any = Neighbours()
    egress = Egress(around, around, Installation(), around, None)

    for number in range(3000):
        assert (await egress.decide("10.213.0.2", f"host-{number}.example", 443))[0] is False
    for _ in range(3):
        assert (await egress.decide("10.213.0.10", "evil.example", 443))[0] is False
    await asyncio.sleep(0)
    await egress.close()

    by_whom = Counter(who for who, _ in around.told)
    assert around.told["10.213.0.10", "evil.example"] == 3
    assert 0 < by_whom["10.213.0.2"] <= 20
