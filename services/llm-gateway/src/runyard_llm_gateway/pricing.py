"""What tokens cost: the offline price list of `genai-prices`, read in when the first real call has ended.

The list costs half a second and some 90 MB, so a stack without provider keys never loads it.
"""

import asyncio
import time
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, cast

from runyard_llm_gateway.usage import Tokens

_MILLION = 1_000_000
_FRESH_SECONDS = 60.0
"""Prices may depend on the date and the hour, so what is known of a model is asked for again after this."""
_KEPT = 512


@dataclass(frozen=True, slots=True)
class Rates:
    """Dollars for a million tokens of each kind, of a model whose price is the same for the first and the last."""

    fresh: float
    cached: float
    written: float
    output: float

    def cost(self, tokens: Tokens) -> float:
        """The cost of a call; `tokens.input` includes what was read from and written to the cache."""
        read, cached, written = tokens.input or 0, tokens.cached or 0, tokens.cache_write or 0
        fresh = max(read - cached - written, 0)
        dollars = fresh * self.fresh + cached * self.cached + written * self.written
        return (dollars + (tokens.output or 0) * self.output) / _MILLION


class PriceList:
    """Prices in US dollars by provider and model."""

    def __init__(self) -> None:
        self._snapshot: Any = None
        self._usage: Any = None
        self._known: dict[tuple[str, str], tuple[float, Rates | None]] = {}

    async def load(self) -> None:
        """Reads the list in, off the event loop; done once."""
        if self._snapshot is None:
            await asyncio.to_thread(self._import)

    def _import(self) -> None:
        from genai_prices import Usage  # noqa: PLC0415
        from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415

        self._usage = Usage
        snapshot = get_snapshot()
        self._listed(snapshot, "openai", "gpt-4o", Tokens(input=1, output=1))  # builds its lookup tables
        self._snapshot = snapshot

    def cost(self, provider: str, model: str, tokens: Tokens) -> float | None:
        """The cost of a call; None when the list does not know the model. `load` first."""
        known = self._known.get((provider, model))
        if known is None or time.monotonic() > known[0]:
            if len(self._known) >= _KEPT:
                self._known.clear()
            rates = self._rates(provider, model)
            self._known[provider, model] = (time.monotonic() + _FRESH_SECONDS, rates)
        else:
            rates = known[1]
        if rates is not None:
            return rates.cost(tokens)
        price = self._listed(self._snapshot, provider, model, tokens)
        return None if price is None else float(price.total_price)

    def _rates(self, provider: str, model: str) -> Rates | None:
        """The rates of a model; None when it is unknown or its price depends on the size of the call."""
        price = self._listed(self._snapshot, provider, model, Tokens(input=1, output=1))
        if price is None:
            return None
        prices = cast("dict[str, Any]", vars(price.model_price))
        if not all(value is None or isinstance(value, Decimal) for value in prices.values()):
            return None

        def million(**kind: int) -> float:
            found = self._listed(self._snapshot, provider, model, Tokens(**kind))
            return float(found.total_price) if found is not None else 0.0

        return Rates(
            fresh=million(input=_MILLION),
            cached=million(input=_MILLION, cached=_MILLION),
            written=million(input=_MILLION, cache_write=_MILLION),
            output=million(input=0, output=_MILLION),
        )

    def _listed(self, snapshot: Any, provider: str, model: str, tokens: Tokens) -> Any:
        """The list's own calculation; models that the provider is not listed with are looked for everywhere."""
        usage = self._usage(
            input_tokens=tokens.input or 0,
            output_tokens=tokens.output or 0,
            cache_read_tokens=tokens.cached or 0,
            cache_write_tokens=tokens.cache_write or 0,
        )
        for provider_id in (provider, None):
            try:
                return snapshot.calc(usage, model, provider_id, None, None, None)
            except (LookupError, ValueError):
                continue
        return None
