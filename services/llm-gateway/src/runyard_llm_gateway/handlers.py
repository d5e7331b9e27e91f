"""What the service's own routes do: answer from the usage table, ask a model for a user."""

import time
from typing import Any
from uuid import uuid4

from runyard_chassis import Caller, Database, NotFound, Problem, Unavailable
from runyard_llm_gateway import store
from runyard_llm_gateway.domain import CallRecord
from runyard_llm_gateway.ledger import Ledger, LedgerBehind
from runyard_llm_gateway.measures import Measures
from runyard_llm_gateway.plain_chat import ChatAnswer, ProviderName, api_of, ask, request
from runyard_llm_gateway.providers.base import ModelCall, Provider, Unreachable
from runyard_llm_gateway.routing import Routes
from runyard_llm_gateway.runs import RunFinder
from runyard_llm_gateway.store import Totals, UsageFilter


class UsageQueries:
    """Reads of the usage projection."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(
        self, wanted: UsageFilter, *, before: int | None, limit: int
    ) -> tuple[list[dict[str, Any]], Totals, int | None]:
        """A page of calls, the sums over all of them, and the cursor of the next page."""
        async with self._database.session() as session:
            # one snapshot, so that the sums are those of the very rows on the page
            await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            rows = await store.page(session, wanted, before=before, limit=limit + 1)
            sums = await store.totals(session, wanted)
        cursor = int(rows[limit - 1]["stream_seq"]) if len(rows) > limit else None
        return rows[:limit], sums, cursor


class ChatDesk:
    """Asks models on behalf of users, each call recorded on a run of theirs."""

    def __init__(self, *, routes: Routes, ledger: Ledger, runs: RunFinder, measures: Measures) -> None:
        self._routes = routes
        self._ledger = ledger
        self._runs = runs
        self._measures = measures

    async def ask(
        self,
        caller: Caller,
        run: str,
        *,
        provider_name: ProviderName,
        model: str,
        messages: list[dict[str, str]],
        max_tokens: int | None,
    ) -> tuple[ChatAnswer, CallRecord]:
        """The model's answer.

        Raises:
            NotFound: the tenant has no such run.
            Unavailable: the event log is away.
            Problem: the provider cannot be reached or refuses (502, 504).
        """
        owner = await self._runs.find(caller.tenant, run)
        if owner is None:
            raise NotFound("There is no such run.")
        try:
            await self._ledger.place()
        except LedgerBehind:
            raise Unavailable("The event log is away; calls are not taken on unrecorded.") from None
        provider = self._routes.provider(api_of(provider_name), model)
        record = CallRecord(
            caller=owner,
            api="chat",
            call_id=str(uuid4()),
            model=model,
            provider=provider.name,
            scripted=provider.scripted,
            streamed=False,
        )
        call = request(provider_name, model, messages, max_tokens)
        began = time.perf_counter()
        record.status = "aborted"
        try:
            answer = await self._asked(provider, record, call)
        finally:
            record.latency_ms = (time.perf_counter() - began) * 1000
            self._ledger.record(record)
            self._measures.ended(record)
        return answer, record

    async def _asked(self, provider: Provider, record: CallRecord, call: ModelCall) -> ChatAnswer:
        try:
            answer = await ask(provider, call)
        except Unreachable as error:
            record.failed(str(error), error.status)
            raise Problem(error.status, "provider-unreachable", detail=f"{error}.".capitalize()) from None
        record.status, record.tokens = "ok", answer.tokens
        record.answered(answer.status)
        if answer.error is not None:
            raise Problem(502, "provider-refused", detail=answer.error, provider_status=answer.status)
        return answer
