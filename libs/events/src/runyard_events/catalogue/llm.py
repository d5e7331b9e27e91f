"""What a run's model calls used and cost. Written by llm-gateway, one event per call, failed ones too."""

from typing import ClassVar, Literal

from runyard_events.catalogue.base import Family, Payload


class LlmCallCompleted(Payload):
    """One call to a model. Tokens are the provider's figures; cost is in US dollars, null when unpriced."""

    TYPE: ClassVar[str] = "llm.call.completed"
    FAMILY: ClassVar[Family] = "llm"
    call_id: str
    api: Literal[
        "responses",
        "chat_completions",
        "messages",
        "count_tokens",
        "generate_content",
        "gemini_count_tokens",
        "chat",
    ]
    provider: str
    model: str
    status: Literal["ok", "error", "aborted"]
    http_status: int | None = None
    error: str | None = None
    streamed: bool
    scripted: bool = False
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost_usd: float | None = None
    priced: bool = False
    latency_ms: float
    first_token_ms: float | None = None
