"""Which provider answers: by the API spoken, the model asked for, and what is configured."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from runyard_llm_gateway.providers.base import Api, Provider
from runyard_llm_gateway.providers.http import Endpoint
from runyard_llm_gateway.settings import LlmGatewaySettings

SCRIPTED_PREFIXES = ("scripted", "runyard-scripted")
OPENAI_BASE = "https://api.openai.com/v1"
ANTHROPIC_BASE = "https://api.anthropic.com/v1"
GEMINI_BASE = "https://generativelanguage.googleapis.com"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The configured endpoints; None where nothing is configured."""

    responses: Endpoint | None
    chat: Endpoint | None
    anthropic: Endpoint | None
    anthropic_chat: Endpoint | None
    """Anthropic speaks Chat Completions too, with a bearer key."""
    gemini: Endpoint | None


def endpoints(settings: LlmGatewaySettings) -> Endpoints:
    """The endpoints that the settings name."""
    openai_key = settings.openai_api_key or settings.codex_api_key
    codex_key = settings.codex_api_key or settings.openai_api_key
    base = _versioned(settings.openai_base_url or OPENAI_BASE)
    has_openai = openai_key is not None or settings.openai_base_url is not None
    bearer = settings.anthropic_auth_token
    key = bearer or settings.anthropic_api_key
    root = (settings.anthropic_base_url or ANTHROPIC_BASE).rstrip("/").removesuffix("/v1") + "/v1"
    has_anthropic = key is not None or settings.anthropic_base_url is not None
    header = "x-api-key" if bearer is None else "Authorization"
    google_key = settings.gemini_api_key or settings.google_api_key
    google = (settings.google_gemini_base_url or GEMINI_BASE).rstrip("/").removesuffix("/v1beta")
    has_gemini = google_key is not None or settings.google_gemini_base_url is not None
    return Endpoints(
        responses=Endpoint("openai", base, codex_key) if has_openai else None,
        chat=Endpoint("openai", base, openai_key) if has_openai else None,
        anthropic=Endpoint("anthropic", root, key, header) if has_anthropic else None,
        anthropic_chat=Endpoint("anthropic", root, key) if has_anthropic else None,
        gemini=Endpoint("google", google, google_key, "x-goog-api-key", "") if has_gemini else None,
    )


def _versioned(base: str) -> str:
    """OpenAI's convention: a base names its version; one that is only a host gets `/v1`."""
    base = base.rstrip("/")
    return base if urlsplit(base).path else f"{base}/v1"


@dataclass(frozen=True, slots=True)
class Routes:
    """The providers in use."""

    scripted: Provider
    responses: Provider | None = None
    chat: Provider | None = None
    anthropic: Provider | None = None
    anthropic_chat: Provider | None = None
    gemini: Provider | None = None

    def provider(self, api: Api, model: str) -> Provider:
        """Who answers a call. A model whose name begins with `scripted` is the offline one, keys or not."""
        if model.startswith(SCRIPTED_PREFIXES):
            return self.scripted
        if api in ("messages", "count_tokens"):
            return self.anthropic or self.scripted
        if api in ("generate_content", "gemini_count_tokens"):
            return self.gemini or self.scripted
        if api == "responses":
            return self.responses or self.scripted
        if model.startswith("claude") and self.anthropic_chat is not None:
            return self.anthropic_chat
        return self.chat or self.scripted
