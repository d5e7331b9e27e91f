"""Prometheus metrics of the data plane. Models are not labels: callers choose their names."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from runyard_llm_gateway.domain import CallRecord
from runyard_llm_gateway.ledger import Ledger

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Measures:
    """Counts calls, tokens and delays."""

    def __init__(self, registry: CollectorRegistry, ledger: Ledger) -> None:
        self._calls = Counter("llm_calls_total", "Calls ended.", ["api", "provider", "status"], registry=registry)
        self._refused = Counter("llm_refused_total", "Calls not taken on.", ["api", "status"], registry=registry)
        self._tokens = Counter("llm_tokens_total", "Tokens used.", ["provider", "kind"], registry=registry)
        self._first = Histogram(
            "llm_first_token_seconds",
            "To the first token of a stream.",
            ["provider"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._whole = Histogram(
            "llm_call_seconds", "To the end of a call.", ["provider"], buckets=_SECONDS, registry=registry
        )
        backlog = Gauge("llm_ledger_backlog", "Ended calls not yet in the event log.", registry=registry)
        backlog.set_function(lambda: ledger.backlog)

    def refused(self, api: str, status: int) -> None:
        """Counts a call that was turned away."""
        self._refused.labels(api, str(status)).inc()

    def ended(self, record: CallRecord) -> None:
        """Counts a call that is over."""
        self._calls.labels(record.api, record.provider, record.status).inc()
        self._whole.labels(record.provider).observe(record.latency_ms / 1000)
        if record.first_token_ms is not None:
            self._first.labels(record.provider).observe(record.first_token_ms / 1000)
        if record.tokens.input:
            self._tokens.labels(record.provider, "input").inc(record.tokens.input)
        if record.tokens.output:
            self._tokens.labels(record.provider, "output").inc(record.tokens.output)
