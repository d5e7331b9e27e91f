"""How a turn ended, from the `result` lines that Claude wrote in it."""

from collections.abc import Sequence
from typing import Any, cast

from runyard_events.catalogue import Usage, UsageUpdated
from runyard_runner.adapter import TurnEnd
from runyard_runner_claude.native import Json, number, obj, optional_text, text


def usage_of(usage: Json) -> dict[str, int]:
    """Tokens in neutral words: the input counts everything that was read, cached or not."""
    cached = number(usage.get("cache_read_input_tokens"))
    written = number(usage.get("cache_creation_input_tokens"))
    return {
        "input_tokens": number(usage.get("input_tokens")) + cached + written,
        "output_tokens": number(usage.get("output_tokens")),
        "cached_input_tokens": cached,
        "cache_write_tokens": written,
        "reasoning_tokens": number(obj(usage.get("output_tokens_details")).get("thinking_tokens")),
    }


def turn_usage(results: Sequence[Json]) -> UsageUpdated | None:
    """Tokens of the whole run, if any: one prompt can bring several results, each with its own count."""
    total = _sum(results)
    return UsageUpdated(scope="turn", **total) if any(total.values()) else None


def end_of(results: Sequence[Json], *, interrupted: bool) -> TurnEnd:
    """The end of a turn whose agent has become idle (or left) after these results.

    A failed model call is a result of subtype "success" that says `is_error`.
    """
    if not results:
        if interrupted:
            return TurnEnd(status="interrupted")
        return TurnEnd(status="error", reason="agent_error", message="Claude ended without a result.")
    last, usage = results[-1], Usage(**_sum(results))
    reason = text(last.get("terminal_reason"))
    if reason.startswith("aborted") or (interrupted and last.get("is_error")):
        return TurnEnd(status="interrupted", usage=usage)
    if last.get("is_error"):
        of_model = last.get("api_error_status") is not None or reason == "api_error"
        return TurnEnd(
            status="error",
            reason="model_error" if of_model else "agent_error",
            message=_message(last),
            usage=usage,
        )
    return TurnEnd(status="completed", usage=usage, final_text=optional_text(last.get("result")))


def _message(result: Json) -> str:
    errors = result.get("errors")
    if isinstance(errors, list) and errors:
        return "; ".join(str(each) for each in cast("list[Any]", errors))
    return optional_text(result.get("result")) or text(result.get("subtype")) or "Claude failed."


def _sum(results: Sequence[Json]) -> dict[str, int]:
    total: dict[str, int] = {}
    for result in results:
        for name, tokens in usage_of(obj(result.get("usage"))).items():
            total[name] = total.get(name, 0) + tokens
    return total
