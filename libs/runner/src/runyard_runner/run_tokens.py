"""Where a run's token for the model endpoint comes from: the runner's own key, or llm-gateway in exchange."""

import asyncio
import json
import time
import urllib.error
import urllib.request
from datetime import timedelta
from http import HTTPStatus
from http.client import HTTPException
from typing import TYPE_CHECKING, Protocol

from runyard_events.commands import StartRun
from runyard_runner.adapter import AgentFailed

if TYPE_CHECKING:  # a runner in a container holds no key: it starts 25 ms earlier without what signs tokens
    from runyard_chassis.tokens import Tokens

TOKEN_SLACK = timedelta(minutes=10)
TIMEOUT_SECONDS = 10
PATIENCE_SECONDS = 60.0
_LONGEST_PAUSE = 1.0


class RunTokens(Protocol):
    """Gives out tokens for runs."""

    async def for_run(self, tenant_id: str, order: StartRun) -> str:
        """A token that outlives the run's time limit by a little.

        Raises:
            AgentFailed: none can be had; the run ends.
        """
        ...


class MintedRunTokens:
    """By a runner that holds the key."""

    def __init__(self, tokens: "Tokens") -> None:
        self._tokens = tokens

    async def for_run(self, tenant_id: str, order: StartRun) -> str:
        """See `RunTokens`."""
        return self._tokens.mint(
            tenant=tenant_id,
            session=order.session_id,
            run=order.run_id,
            lifetime=timedelta(seconds=order.time_limit_seconds) + TOKEN_SLACK,
        )


class ExchangedRunTokens:
    """By a runner that holds nothing but its session's token."""

    def __init__(self, llm_gateway_url: str, session_token: str, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._patience = patience_seconds
        self._url = f"{llm_gateway_url}/run-tokens"
        self._session_token = session_token

    async def for_run(self, tenant_id: str, order: StartRun) -> str:  # noqa: ARG002 - the session's token says whose
        """See `RunTokens`; a gateway that is away, as while it is started anew, is asked again for a minute."""
        delay, deadline = 0.2, time.monotonic() + self._patience
        while True:
            try:
                return await asyncio.to_thread(self._ask, order)
            except urllib.error.HTTPError as error:
                if error.code < HTTPStatus.INTERNAL_SERVER_ERROR or time.monotonic() > deadline:
                    raise AgentFailed(
                        f"llm-gateway gives no token for this run ({error.code}).", reason="start_failed"
                    ) from error
            except (OSError, HTTPException, ValueError, KeyError) as error:
                if time.monotonic() > deadline:
                    raise AgentFailed("llm-gateway does not answer.", reason="start_failed") from error
            await asyncio.sleep(delay)
            delay = min(delay * 2, _LONGEST_PAUSE)

    def _ask(self, order: StartRun) -> str:
        body = json.dumps({"run_id": order.run_id, "lifetime_seconds": order.time_limit_seconds}).encode()
        headers = {"Authorization": f"Bearer {self._session_token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self._url, data=body, headers=headers, method="POST")  # noqa: S310 - ours
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(request, timeout=TIMEOUT_SECONDS) as answer:
            return str(json.load(answer)["token"])
