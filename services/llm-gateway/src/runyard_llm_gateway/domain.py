"""What a call came to, and the event that says so: pure."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from runyard_events import Scope
from runyard_events.catalogue import LlmCallCompleted
from runyard_llm_gateway.access import RunCaller
from runyard_llm_gateway.providers.base import Api
from runyard_llm_gateway.usage import Tokens

LedgerApi = Api | Literal["chat"]
Status = Literal["ok", "error", "aborted"]
_FAILED = 400


@dataclass(slots=True)
class CallRecord:
    """A call while it runs; when it is over, all that the ledger needs. Times are milliseconds."""

    caller: RunCaller
    api: LedgerApi
    call_id: str
    model: str
    provider: str
    scripted: bool
    streamed: bool
    traceparent: str | None = None
    status: Status = "ok"
    http_status: int | None = None
    error: str | None = None
    tokens: Tokens = Tokens()  # noqa: RUF009 - frozen
    latency_ms: float = 0
    first_token_ms: float | None = None
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def failed(self, reason: str, http_status: int | None = None) -> None:
        """Notes that the call came to nothing, or broke off."""
        self.status, self.error = "error", reason
        self.http_status = http_status or self.http_status

    def answered(self, http_status: int) -> None:
        """Notes the provider's status."""
        self.http_status = http_status
        if http_status >= _FAILED:
            self.failed(f"the provider answered {http_status}")

    @property
    def scope(self) -> Scope:
        """The run that the event belongs to."""
        return Scope.run(self.caller.tenant, self.caller.session, self.caller.run)


def completed(record: CallRecord, cost_usd: float | None) -> LlmCallCompleted:
    """The event of a call. `cost_usd` None: no price is known; a scripted call costs nothing."""
    tokens = record.tokens
    return LlmCallCompleted(
        call_id=record.call_id,
        api=record.api,
        provider=record.provider,
        model=record.model,
        status=record.status,
        http_status=record.http_status,
        error=record.error,
        streamed=record.streamed,
        scripted=record.scripted,
        input_tokens=tokens.input,
        output_tokens=tokens.output,
        cached_input_tokens=tokens.cached,
        cache_write_tokens=tokens.cache_write,
        reasoning_tokens=tokens.reasoning,
        cost_usd=cost_usd,
        priced=cost_usd is not None,
        latency_ms=round(record.latency_ms, 3),
        first_token_ms=None if record.first_token_ms is None else round(record.first_token_ms, 3),
    )


def needs_price(record: CallRecord) -> bool:
    """Whether a price has to be looked up: a real model was used and told how much."""
    return not record.scripted and record.tokens.input is not None


def known_cost(record: CallRecord) -> float | None:
    """The cost of a call that needs no price list; None when only that could tell."""
    if record.scripted or record.api in ("count_tokens", "gemini_count_tokens"):
        return 0.0
    return None
