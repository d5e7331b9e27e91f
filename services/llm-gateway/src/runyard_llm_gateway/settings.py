"""What llm-gateway is configured with. It alone knows the providers' keys."""

from pydantic import Field, SecretStr

from runyard_chassis import ServiceSettings, derive_key

MIB = 1024 * 1024


class LlmGatewaySettings(ServiceSettings):
    """Settings of llm-gateway.

    A provider is used when its key or its base URL is set; a base URL alone is for endpoints that ask for no
    key. Whatever has neither is answered by the scripted offline model.
    """

    port: int = Field(default=9108, ge=0, le=65535)
    max_body_bytes: int = Field(default=32 * MIB, ge=1)
    run_token_key: SecretStr | None = None
    """The key of run tokens; by default derived from `jwt_secret_key` as the stack derives it."""

    openai_api_key: SecretStr | None = None
    codex_api_key: SecretStr | None = None
    """For the Responses API before `openai_api_key`; each stands in for the other."""
    openai_base_url: str | None = None
    """With its version, as the OpenAI SDK takes it: `https://api.openai.com/v1`."""
    anthropic_api_key: SecretStr | None = None
    anthropic_auth_token: SecretStr | None = None
    """Sent as a bearer token instead of `x-api-key`, for endpoints that want that."""
    anthropic_base_url: str | None = None
    """Without its version, as the Anthropic SDK takes it: `https://api.anthropic.com`."""
    gemini_api_key: SecretStr | None = None
    """Before `google_api_key`, which other tools of Google's read as well."""
    google_api_key: SecretStr | None = None
    google_gemini_base_url: str | None = None
    """Without its version, as Google's SDK takes it: `https://generativelanguage.googleapis.com`."""
    runyard_openai_model: str = "gpt-5.5"
    runyard_anthropic_model: str = "claude-sonnet-5-5"
    runyard_gemini_model: str = "gemini-2.5-pro"
    upstream_proxy: str | None = None

    connect_timeout_seconds: float = Field(default=10, gt=0)
    first_byte_timeout_seconds: float = Field(default=300, gt=0)
    idle_timeout_seconds: float = Field(default=300, gt=0)
    upstream_retries: int = Field(default=2, ge=0, le=10)
    upstream_connections: int = Field(default=512, ge=1)
    max_answer_bytes: int = Field(default=64 * MIB, ge=1)
    """Of answers that are not streams; those are held until they are whole."""

    ledger_capacity: int = Field(default=10_000, ge=1)
    """Calls that may be open or not yet in the event log; further ones wait."""
    ledger_wait_seconds: float = Field(default=30, gt=0)

    def run_key(self) -> str:
        """The key that run tokens are signed with."""
        if self.run_token_key is not None:
            return self.run_token_key.get_secret_value()
        return derive_key(self.jwt_secret_key, "run")
