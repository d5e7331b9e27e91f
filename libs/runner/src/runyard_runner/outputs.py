"""Payloads too large for an event: whole in the object store, a preview and a reference in the log."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from runyard_events.catalogue import (
    AnyPayload,
    AssistantFinal,
    DiffUpdated,
    FileChanged,
    RawReceived,
    RawSent,
    ReasoningFinal,
    ToolCall,
    ToolOutputDelta,
    ToolResult,
)
from runyard_events.ids import new_id
from runyard_events.redact import Redactor
from runyard_events.subjects import Scope
from runyard_runner.output_store import Away, NotKept, OutputStore

logger = structlog.get_logger(__name__)

LARGE = 64 * 1024
PREVIEW = 16 * 1024
LONGEST_TEXT = 2 * LARGE


class Outputs:
    """The large outputs of one run."""

    def __init__(self, store: OutputStore, scope: Scope, redactor: Redactor) -> None:
        self._store = store
        self._scope = scope
        self._redactor = redactor

    async def fit(self, payload: AnyPayload) -> AnyPayload:
        """The payload as it may stand in the log: unchanged when small, else shortened and kept whole elsewhere."""
        match payload:
            case RawReceived(root=value) | RawSent(root=value):
                if weight(value, LARGE) <= LARGE:
                    return payload
                text = json.dumps(value, ensure_ascii=False)
                reference = await self._keep(text)
                return type(payload)(
                    {"truncated": True, "bytes": len(text.encode()), "ref": reference, "preview": self._head(text)}
                )
            case ToolResult(output=output) if weight(output, LARGE) > LARGE:
                text = output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)
                return payload.model_copy(
                    update={
                        "output": self._head(text),
                        "truncated": True,
                        "output_ref": await self._keep(text),
                        "output_bytes": len(text.encode()),
                    }
                )
            case ToolCall(input=value) if weight(value, LARGE) > LARGE:
                return payload.model_copy(update={"input": clipped(value, PREVIEW)})
            case AssistantFinal() | ReasoningFinal() | DiffUpdated() | FileChanged() | ToolOutputDelta():
                return shortened(payload, LONGEST_TEXT)
            case _:
                return payload

    def _head(self, text: str) -> str:
        # Cleaned before it is cut: half a secret has no shape.
        return self._redactor.clean(text)[:PREVIEW]

    async def _keep(self, text: str) -> str | None:
        """Its name in the store; None: it is not there, and the preview is all that there is."""
        name = f"{self._scope.tenant_id}/{self._scope.aggregate_id}/{new_id()}"
        content = self._redactor.clean(text).encode()
        while True:
            try:
                await self._store.put(name, content)
            except Away:
                await asyncio.sleep(0.5)  # the agent waits until it is back
            except NotKept as error:
                logger.warning("output.not_kept", name=name, error=str(error))
                return None
            else:
                return name


def weight(value: Any, enough: int) -> int:
    """Characters of all strings in a JSON value; counting stops when it is more than `enough`."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return _sum((*value.keys(), *value.values()), enough)  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
    if isinstance(value, Sequence):
        return _sum(value, enough)  # pyright: ignore[reportUnknownArgumentType]
    return 8


def _sum(values: Sequence[Any], enough: int) -> int:
    total = 0
    for value in values:
        total += weight(value, enough - total) + 2
        if total > enough:
            break
    return total


def shortened(payload: AnyPayload, limit: int) -> AnyPayload:
    """The payload with its long text fields cut to `limit` characters and saying so."""
    if isinstance(payload, RawReceived | RawSent):
        return payload
    long = {
        name: clipped(value, limit)
        for name in type(payload).model_fields
        if isinstance(value := getattr(payload, name), str) and len(value) > limit
    }
    return payload.model_copy(update=long) if long else payload


def clipped(value: Any, limit: int) -> Any:
    """A JSON value as it is, or when it is longer than `limit` characters the beginning of its text."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"{text[:limit]}\n[{len(text) - limit} more characters]" if len(text) > limit else value
