"""What tokens cost: the offline price list of `genai-prices`, read in when the first real call has ended.

The list costs half a second and some 90 MB, so a stack without provider keys never loads it.
"""

import asyncio
from typing import Any

from runyard_llm_gateway.usage import Tokens


class PriceList:
    """Prices in US dollars by provider and model."""

    def __init__(self) -> None:
        self._calc: Any = None
        self._usage: Any = None

    async def load(self) -> None:
        """Reads the list in, off the event loop; done once."""
        if self._calc is None:
            await asyncio.to_thread(self._import)

    def _import(self) -> None:
        from genai_prices import Usage, calc_price  # noqa: PLC0415

        self._calc, self._usage = calc_price, Usage
        self.cost("openai", "gpt-4o", Tokens(input=1, output=1))  # builds its lookup tables

    def cost(self, provider: str, model: str, tokens: Tokens) -> float | None:
        """The cost of a call; None when the list does not know the model. `load` first.

        `tokens.input` includes cached and cache-write tokens, as the list takes it.
        """
        usage = self._usage(
            input_tokens=tokens.input or 0,
            output_tokens=tokens.output or 0,
            cache_read_tokens=tokens.cached or 0,
            cache_write_tokens=tokens.cache_write or 0,
        )
        for provider_id in (provider, None):
            try:
                return float(self._calc(usage, model_ref=model, provider_id=provider_id).total_price)
            except (LookupError, ValueError):
                continue
        return None
