"""The service's own routes: usage and plain chat. The model APIs are in `plane.py`."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from runyard_chassis import CallerDep, Forbidden
from runyard_chassis.auth import BearerToken
from runyard_llm_gateway.handlers import ChatDesk, UsageQueries
from runyard_llm_gateway.run_tokens import TokenExchange
from runyard_llm_gateway.store import UsageFilter

Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")]
_EVERYTHING = 2**62


class ChatMessage(BaseModel):
    """One message."""

    model_config = ConfigDict(extra="forbid")
    role: Literal["system", "user", "assistant"]
    content: str = Field(min_length=1)


class ChatMetadata(BaseModel):
    """On whose account: a tenant and one of its runs."""

    model_config = ConfigDict(extra="forbid")
    tenant_id: Identifier
    run_id: Identifier


class Chat(BaseModel):
    """A question to a model."""

    model_config = ConfigDict(extra="forbid")
    provider: Literal["openai", "anthropic"]
    model: str = Field(min_length=1, max_length=200)
    messages: list[ChatMessage] = Field(min_length=1, max_length=1000)
    metadata: ChatMetadata
    max_tokens: int | None = Field(default=None, ge=1, le=1_000_000)


class ChatUsage(BaseModel):
    """Tokens of one answer; null when the provider does not tell."""

    input_tokens: int | None
    output_tokens: int | None


class ChatReply(BaseModel):
    """The model's answer. `scripted` says that no language model is behind it."""

    text: str
    usage: ChatUsage
    call_id: str
    scripted: bool


class RunTokenWanted(BaseModel):
    """A run of the session whose token is presented."""

    model_config = ConfigDict(extra="forbid")
    run_id: Identifier
    lifetime_seconds: int = Field(default=3600, ge=1, le=7 * 24 * 3600)


class RunToken(BaseModel):
    """What an agent presents where a provider's key would stand."""

    token: str


class UsageEntry(BaseModel):
    """One call to a model. `cost_usd` is null when no price is known."""

    call_id: str
    run_id: str
    session_id: str
    at: datetime
    api: str
    provider: str
    model: str
    status: str
    http_status: int | None
    error: str | None
    streamed: bool
    scripted: bool
    input_tokens: int | None
    output_tokens: int | None
    cached_input_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    cost_usd: float | None
    priced: bool
    latency_ms: float
    first_token_ms: float | None


class UsageTotals(BaseModel):
    """Sums over everything that the filters select."""

    input_tokens: int
    output_tokens: int
    cost_usd: float
    unpriced_calls: int


class Usage(BaseModel):
    """A page of calls, newest first. `next_cursor` is null on the last one."""

    entries: list[UsageEntry]
    total_count: int
    totals: UsageTotals
    next_cursor: str | None


def chat_desk(request: Request) -> ChatDesk:
    """The desk that the lifespan has opened."""
    desk: ChatDesk = request.app.state.chat_desk
    return desk


def usage_queries(request: Request) -> UsageQueries:
    """The usage table."""
    queries: UsageQueries = request.app.state.usage_queries
    return queries


def exchange(request: Request) -> TokenExchange:
    """The exchange that the lifespan has opened."""
    found: TokenExchange = request.app.state.exchange
    return found


router = APIRouter(tags=["models"])


@router.post("/run-tokens", status_code=201, summary="A run's token for a session's")
async def run_token(
    body: RunTokenWanted, token: BearerToken, desk: Annotated[TokenExchange, Depends(exchange)]
) -> RunToken:
    """For the runner in a session's container: a token for one run of that session, as long as the run goes on."""
    return RunToken(token=await desk.for_run(token, body.run_id, lifetime_seconds=body.lifetime_seconds))


@router.post("/chat", summary="Ask a model")
async def chat(body: Chat, caller: CallerDep, desk: Annotated[ChatDesk, Depends(chat_desk)]) -> ChatReply:
    """Asks a model once, without streaming; the call is recorded on the run."""
    if body.metadata.tenant_id != caller.tenant:
        raise Forbidden("metadata.tenant_id is not the tenant of the token.")
    messages = [message.model_dump() for message in body.messages]
    answer, record = await desk.ask(
        caller,
        body.metadata.run_id,
        provider_name=body.provider,
        model=body.model,
        messages=messages,
        max_tokens=body.max_tokens,
    )
    usage = ChatUsage(input_tokens=answer.tokens.input, output_tokens=answer.tokens.output)
    return ChatReply(text=answer.text, usage=usage, call_id=record.call_id, scripted=record.scripted)


@router.get("/usage", summary="What was used and what it cost")
async def usage(
    caller: CallerDep,
    queries: Annotated[UsageQueries, Depends(usage_queries)],
    *,
    run_id: Annotated[Identifier | None, Query()] = None,
    session_id: Annotated[Identifier | None, Query()] = None,
    since: Annotated[datetime | None, Query(alias="from")] = None,
    until: Annotated[datetime | None, Query(alias="to")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[int | None, Query(ge=0, le=_EVERYTHING)] = None,
) -> Usage:
    """The tenant's calls, newest first; `from` is inclusive, `to` exclusive."""
    wanted = UsageFilter(caller.tenant, run_id, session_id, since, until)
    entries, sums, following = await queries.read(wanted, before=cursor, limit=limit)
    return Usage(
        entries=[_entry(entry) for entry in entries],
        total_count=sums.count,
        totals=UsageTotals(
            input_tokens=sums.input_tokens,
            output_tokens=sums.output_tokens,
            cost_usd=sums.cost_usd,
            unpriced_calls=sums.unpriced,
        ),
        next_cursor=None if following is None else str(following),
    )


def _entry(row: dict[str, Any]) -> UsageEntry:
    return UsageEntry.model_validate({name: row[name] for name in UsageEntry.model_fields})
